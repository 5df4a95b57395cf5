//! The gaps between content deltas over time, in memory that does not grow with the run.
//!
//! Main type: [`GapsOverTime`]. It is for drawing: its quantiles are off by up to 3 %. The figures of
//! a report come from the histograms of [`super::LoadOutcome`].

use super::record::Stamp;

/// Length of a bin at first, nanoseconds; it doubles whenever the bins are too many.
const FIRST_BIN_NS: u64 = 125_000_000;

/// With 2 kB a bin, no load takes more than 1.2 MB.
const MOST_BINS: usize = 600;

/// Buckets of an octave: each is 1/16 of it wide, so that its middle is at most 3 % off.
const OCTAVE: usize = 16;

/// Up to 1,024 ns everything is one bucket; 2^42 ns are 73 minutes.
const FIRST_OCTAVE: u32 = 10;
const OCTAVES: usize = 32;

/// One bin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapBin {
    buckets: Vec<u32>,
    count: u64,
    max_ns: u64,
}

impl GapBin {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { buckets: Vec::new(), count: 0, max_ns: 0 }
    }

    fn add(&mut self, gap_ns: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; OCTAVE * OCTAVES];
        }
        let bucket = &mut self.buckets[bucket(gap_ns)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.max_ns = self.max_ns.max(gap_ns);
    }

    /// Takes in another bin.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.buckets.is_empty() {
            *self = other.clone();
            return;
        }
        for (mine, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*others);
        }
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many gaps there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest, nanoseconds; `None` without gaps.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max_ns)
    }

    /// The gap of rank `fraction` × (n − 1), nanoseconds, off by up to 3 %; `None` without gaps.
    #[must_use]
    pub fn quantile_ns(&self, fraction: f64) -> Option<f64> {
        let rank = (self.count.checked_sub(1)? as f64 * fraction).round() as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen > rank
        })?;
        Some(middle(found).min(self.max_ns as f64))
    }
}

impl Default for GapBin {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(gap_ns: u64) -> usize {
    let octave = gap_ns.max(1).ilog2();
    let Some(octaves) = octave.checked_sub(FIRST_OCTAVE) else { return 0 };
    let within = (gap_ns >> (octave - 4)) as usize & (OCTAVE - 1);
    (octaves as usize * OCTAVE + within).min(OCTAVE * OCTAVES - 1)
}

fn middle(bucket: usize) -> f64 {
    let octave = f64::powi(2.0, (bucket / OCTAVE) as i32 + FIRST_OCTAVE as i32);
    octave * (1.0 + ((bucket % OCTAVE) as f64 + 0.5) / OCTAVE as f64)
}

/// Bins of equal length from an origin on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapsOverTime {
    origin: Stamp,
    bin_ns: u64,
    bins: Vec<GapBin>,
}

impl GapsOverTime {
    /// Empty bins from `origin` on.
    #[must_use]
    pub fn since(origin: Stamp) -> Self {
        Self { origin, bin_ns: FIRST_BIN_NS, bins: Vec::new() }
    }

    /// Adds the gaps of one answer, in order, the first of which began at `first`.
    pub fn add(&mut self, first: Stamp, gaps_ns: &[u64]) {
        let mut at = first.0;
        for gap in gaps_ns {
            at = at.saturating_add(*gap);
            self.at(at).add(*gap);
        }
    }

    fn at(&mut self, instant: u64) -> &mut GapBin {
        let since = instant.saturating_sub(self.origin.0);
        while since / self.bin_ns >= MOST_BINS as u64 {
            self.halve();
        }
        let index = (since / self.bin_ns) as usize;
        if index >= self.bins.len() {
            self.bins.resize_with(index + 1, GapBin::new);
        }
        &mut self.bins[index]
    }

    fn halve(&mut self) {
        self.bin_ns *= 2;
        let pairs = self.bins.chunks(2).map(|pair| {
            let mut both = pair[0].clone();
            pair.iter().skip(1).for_each(|second| both.merge(second));
            both
        });
        self.bins = pairs.collect();
    }

    /// Where the first bin begins.
    #[must_use]
    pub fn origin(&self) -> Stamp {
        self.origin
    }

    /// Each bin with the instant at which it begins, in order.
    pub fn bins(&self) -> impl Iterator<Item = (Stamp, &GapBin)> {
        self.bins
            .iter()
            .enumerate()
            .map(|(index, bin)| (Stamp(self.origin.0 + index as u64 * self.bin_ns), bin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent_over_the_whole_range() {
        for exponent in 10..40 {
            for step in 0..37 {
                let gap = (f64::powi(2.0, exponent) * (1.0 + f64::from(step) / 37.0)) as u64;
                let mut bin = GapBin::new();
                bin.add(gap);
                bin.add(u64::MAX >> 20);
                let found = bin.quantile_ns(0.0).unwrap();
                assert!((found / gap as f64 - 1.0).abs() < 0.0313, "{gap}: {found}");
            }
        }
        assert_eq!(GapBin::new().quantile_ns(0.5), None);
        let mut bin = GapBin::new();
        for gap in [0, 3, u64::MAX] {
            bin.add(gap);
        }
        assert!(bin.quantile_ns(0.5).unwrap() < 2_000.0);
        assert_eq!((bin.count(), bin.max_ns()), (3, Some(u64::MAX)));
    }

    #[test]
    fn a_gap_stands_where_it_ended() {
        let mut gaps = GapsOverTime::since(Stamp(1_000));
        // Ends 100 ms, 200 ms and 10 s after the origin.
        gaps.add(Stamp(1_000), &[100_000_000, 100_000_000, 9_800_000_000]);
        let counts: Vec<(u64, u64)> = gaps
            .bins()
            .filter(|(_, bin)| bin.count() > 0)
            .map(|(at, bin)| (at.0, bin.count()))
            .collect();
        assert_eq!(counts, [(1_000, 1), (125_001_000, 1), (10_000_001_000, 1)]);
    }

    #[test]
    fn a_long_run_has_longer_bins_and_loses_nothing() {
        let mut gaps = GapsOverTime::since(Stamp(0));
        for second in 0..100_000_u64 {
            gaps.add(Stamp(second * 1_000_000_000), &[5_000_000, 5_000_000]);
        }
        let bins: Vec<_> = gaps.bins().collect();
        assert!((MOST_BINS / 2..=MOST_BINS).contains(&bins.len()), "{}", bins.len());
        assert_eq!(bins.iter().map(|(_, bin)| bin.count()).sum::<u64>(), 200_000);
        let length = bins[1].0.0;
        assert!(length % FIRST_BIN_NS == 0 && (length / FIRST_BIN_NS).is_power_of_two());
    }

    #[test]
    fn what_came_before_the_origin_is_in_the_first_bin() {
        let mut gaps = GapsOverTime::since(Stamp(5_000_000_000));
        gaps.add(Stamp(1), &[7]);
        assert_eq!(gaps.bins().next().map(|(_, bin)| bin.count()), Some(1));
    }
}
