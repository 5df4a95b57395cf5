//! Looking at a session before its end, without fooling oneself.
//!
//! Main type: [`Looks`]. Whoever looks after every pair and stops when it is significant errs four
//! times as often as he thinks. So the looks are planned, each has its own level, and the levels
//! are such that *all looks together* raise at most 5 % false alarms.

use super::levels::FirstCrossings;

/// False alarms of a whole session, all looks and all gated metrics together.
pub const ALPHA: f64 = 0.05;

/// Blocks at which a session of one to four gated metrics is looked at.
pub const DEFAULT_PAIRS: [usize; 3] = [9, 12, 16];

/// The levels of three looks at one half, three quarters and the whole, found for 8, 12 and 16 pairs
/// and one metric. [`TABLE`] says for which others they hold.
pub const LEVELS: [f64; 3] = [0.0157, 0.02, 0.03];

/// The most pairs that a session may be planned for. The exact distribution of n signed ranks takes n³
/// steps, and looks that are not in [`TABLE`] take n² for each of 100,000 simulated sessions: with 200 pairs
/// that is seconds.
pub const MOST_PAIRS: usize = 200;

/// Simulated sessions behind [`TABLE`], and their seed.
pub const TABLE_SESSIONS: usize = 4_000_000;
/// The seed of [`TABLE`].
pub const TABLE_SEED: u64 = 20_260_101;

/// Looks for which [`LEVELS`] (their last ones, where there are fewer looks) were found to hold:
/// pairs at each look, the most gated metrics, and the worst chance of a false alarm up to that
/// many. Made by `cargo run --release --example calibrate -- levels`; the tests check it again with
/// fewer sessions.
pub const TABLE: &[(&[usize], usize, f64)] = &[
    (&[8, 12, 16], 2, 0.0466),
    (&[9, 12, 16], 4, 0.0469),
    (&[10, 12, 16], 8, 0.0481),
    (&[11, 12, 16], 16, 0.0455),
    (&[12, 16], 32, 0.0409),
];

/// Simulated sessions where the table does not have the looks asked for.
const SESSIONS: usize = 100_000;

/// One planned look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// After how many pairs.
    pub pairs: usize,
    /// The level that Holm's rule shares between the gated metrics.
    pub level: f64,
}

/// The planned looks of a session, ascending, never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    looks: Vec<Look>,
    gated: usize,
}

impl Looks {
    /// The default for so many gated metrics: 9, 12, 16, or fewer and later where 9 blocks cannot
    /// decide anything.
    #[must_use]
    pub fn planned(gated: usize) -> Self {
        let first = least_pairs(gated, LEVELS[0]).max(DEFAULT_PAIRS[0]);
        let mut pairs: Vec<usize> =
            DEFAULT_PAIRS.iter().copied().filter(|pairs| *pairs > first).collect();
        if first <= DEFAULT_PAIRS[2] {
            pairs.insert(0, first);
        }
        Self::at(&pairs, gated)
    }

    /// Looks after these numbers of pairs. Levels come from [`TABLE`] or are found by simulation;
    /// a look at which even the clearest difference could not be significant is left out, for it
    /// would cost of the 5 % and give nothing. Where that leaves none, the last one stays with the
    /// whole level and the session is inconclusive by construction.
    #[must_use]
    pub fn at(pairs: &[usize], gated: usize) -> Self {
        let gated = gated.max(1);
        let mut pairs: Vec<usize> = pairs.iter().copied().filter(|pairs| *pairs > 0).collect();
        pairs.sort_unstable();
        pairs.dedup();
        loop {
            let levels = levels_of(&pairs, gated);
            let decides = |pairs: usize, level: f64| pairs >= least_pairs(gated, level);
            let blind =
                pairs.iter().zip(&levels).position(|(pairs, level)| !decides(*pairs, *level));
            match blind {
                Some(blind) if pairs.len() > 1 => {
                    pairs.remove(blind);
                }
                _ => {
                    let look = |(pairs, level): (usize, f64)| Look { pairs, level };
                    let looks = pairs.into_iter().zip(levels).map(look).collect();
                    return Self { looks, gated };
                }
            }
        }
    }

    /// All of them, ascending.
    #[must_use]
    pub fn all(&self) -> &[Look] {
        &self.looks
    }

    /// How many gated metrics they were planned for.
    #[must_use]
    pub const fn gated(&self) -> usize {
        self.gated
    }

    /// The number of pairs at the last look; 0 if none was asked for.
    #[must_use]
    pub fn most_pairs(&self) -> usize {
        self.looks.last().map_or(0, |look| look.pairs)
    }

    /// Which look, from 0, comes after exactly this many pairs.
    #[must_use]
    pub fn look_at(&self, pairs: usize) -> Option<usize> {
        self.looks.iter().position(|look| look.pairs == pairs)
    }

    /// The level for a session that ends after this many pairs, planned or not.
    ///
    /// One that a budget ends between two looks is judged at the level of the look before, which
    /// is the stricter one; before the first look at that of the first. Time, not the result, ended
    /// it, so this look takes the place of the later ones.
    #[must_use]
    pub fn level_at(&self, pairs: usize) -> f64 {
        let passed = self.looks.iter().rev().find(|look| look.pairs <= pairs);
        passed.or(self.looks.first()).map_or(ALPHA, |look| look.level)
    }
}

/// The fewest pairs at which any of `gated` metrics can be significant at `level` after Holm:
/// n ≥ 1 + log₂(k/α), because the smallest p of n pairs is 2^(1−n).
#[must_use]
pub fn least_pairs(gated: usize, level: f64) -> usize {
    let exact = 1.0 + (gated.max(1) as f64 / level).log2();
    // 2^(1−n) = α/k exactly is enough; the logarithm may be a bit above the whole number.
    (exact - 1e-9).ceil().max(1.0) as usize
}

fn levels_of(pairs: &[usize], gated: usize) -> Vec<f64> {
    let in_table = TABLE.iter().any(|(looks, most, _)| *looks == pairs && gated <= *most);
    if in_table {
        return LEVELS[LEVELS.len() - pairs.len()..].to_vec();
    }
    if pairs.len() <= 1 {
        return vec![ALPHA; pairs.len()];
    }
    let shape = shape(pairs);
    let last = shape.last().copied().unwrap_or(ALPHA);
    let crossings = FirstCrossings::simulate(pairs, &shape, SESSIONS, TABLE_SEED);
    let factor = crossings.largest_factor(gated, ALPHA, ALPHA / last);
    shape.into_iter().map(|level| level * factor).collect()
}

/// How strict the looks are to one another: [`LEVELS`] at one half, three quarters and the whole,
/// straight lines between them and on to nothing at the start.
fn shape(pairs: &[usize]) -> Vec<f64> {
    let known = [(0.0, 0.0), (0.5, LEVELS[0]), (0.75, LEVELS[1]), (1.0, LEVELS[2])];
    let last = pairs.last().copied().unwrap_or(1) as f64;
    let level = |share: f64| {
        let span = known.windows(2).find(|span| share <= span[1].0).unwrap_or(&known[2..]);
        let along = (share - span[0].0) / (span[1].0 - span[0].0);
        span[0].1 + along * (span[1].1 - span[0].1)
    };
    pairs.iter().map(|pairs| level(*pairs as f64 / last)).collect()
}

/// What [`Looks::at`] would find for looks and metrics by simulation: the chance of a false alarm
/// in the whole session. For calibration; takes time in proportion to `sessions`.
#[must_use]
pub fn family_error(looks: &[Look], gated: usize, sessions: usize, seed: u64) -> f64 {
    let (pairs, levels): (Vec<usize>, Vec<f64>) =
        looks.iter().map(|look| (look.pairs, look.level)).unzip();
    FirstCrossings::simulate(&pairs, &levels, sessions, seed).family_error(gated, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(looks: &Looks) -> Vec<usize> {
        looks.all().iter().map(|look| look.pairs).collect()
    }

    #[test]
    fn the_floor_is_where_the_smallest_p_reaches_its_share() {
        assert_eq!([1, 3, 12].map(|gated| least_pairs(gated, ALPHA)), [6, 7, 9]);
        // What the specification says: with three metrics 8 blocks cannot, 9 can.
        assert_eq!(least_pairs(3, 0.0157), 9);
        for gated in 1..40 {
            let least = least_pairs(gated, 0.02);
            let smallest_p = |pairs: usize| 2_f64.powi(1 - pairs as i32) * gated as f64;
            assert!(smallest_p(least) <= 0.02 && smallest_p(least - 1) > 0.02);
        }
        assert_eq!(least_pairs(1, 0.25), 3, "exactly reached is reached");
    }

    #[test]
    fn default_looks_are_those_of_the_specification_and_later_for_more_metrics() {
        assert_eq!(pairs(&Looks::planned(1)), [9, 12, 16]);
        assert_eq!(pairs(&Looks::planned(3)), [9, 12, 16]);
        assert_eq!(pairs(&Looks::planned(5)), [10, 12, 16]);
        assert_eq!(pairs(&Looks::planned(12)), [11, 12, 16]);
        assert_eq!(pairs(&Looks::planned(20)), [12, 16]);
        let levels: Vec<f64> = Looks::planned(3).all().iter().map(|look| look.level).collect();
        assert_eq!(levels, LEVELS);
    }

    #[test]
    fn a_look_that_cannot_decide_is_no_look() {
        assert_eq!(pairs(&Looks::at(&[8, 12, 16], 1)), [8, 12, 16]);
        assert_eq!(pairs(&Looks::at(&[8, 12, 16], 3)), [12, 16]);
        assert_eq!(pairs(&Looks::at(&[4], 3)), [4]);
        assert_eq!(pairs(&Looks::at(&[], 1)), [0_usize; 0]);
    }

    #[test]
    fn one_look_has_the_whole_level() {
        assert_eq!(Looks::at(&[12], 3).all(), [Look { pairs: 12, level: ALPHA }]);
    }

    #[test]
    fn the_table_holds_when_simulated_again() {
        // Another seed, so that it is a check and no copy. With a hundredth of the sessions one
        // standard error is about 0.2 points at 16 metrics; three are allowed.
        for (looks, gated, error) in TABLE {
            let levels = &LEVELS[LEVELS.len() - looks.len()..];
            let again = FirstCrossings::simulate(looks, levels, TABLE_SESSIONS / 100, 7)
                .family_error(*gated, 1.0);
            assert!(*error <= ALPHA, "{looks:?}, {gated}: {error}");
            assert!((again - error).abs() < 0.006, "{looks:?}, {gated}: {again} is not {error}");
        }
    }

    #[test]
    fn levels_of_other_looks_keep_the_error_too() {
        for (asked, gated) in [(&[6, 10, 14, 20][..], 1), (&[10, 24][..], 3)] {
            let looks = Looks::at(asked, gated);
            let error = family_error(looks.all(), gated, 40_000, 99);
            assert!(error <= ALPHA + 0.003, "{looks:?}: {error}");
            assert!(error > 0.03, "not wastefully strict: {looks:?}: {error}");
        }
    }

    #[test]
    fn a_session_cut_short_is_judged_at_the_stricter_level() {
        let looks = Looks::planned(1);
        let levels = [7, 9, 11, 12, 15, 16, 20].map(|pairs| looks.level_at(pairs)).to_vec();
        assert_eq!(levels, vec![0.0157, 0.0157, 0.0157, 0.02, 0.02, 0.03, 0.03]);
        assert_eq!(looks.look_at(12), Some(1));
        assert_eq!(looks.look_at(11), None);
        assert_eq!(looks.most_pairs(), 16);
    }
}
