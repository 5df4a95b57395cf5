//! Blocks that the machine spoiled.
//!
//! Main function: [`contaminated`]. It sees how fast a fixed piece of work ran on the machine
//! itself around each block, and never what the block measured: a rule that looked at the result
//! could repeat until it liked it. Playing the block again is somebody else's.

use super::block::median;
use super::looks::ALPHA;
use super::scale::slow_down_pct;
use super::signed_rank::SignedRank;

/// How far from the median, in median absolute deviations, a probe may lie.
const PROBE_MADS: f64 = 5.0;

/// A probe within this share of the median is never contamination, however steady the others were:
/// on a quiet machine five deviations can be a few microseconds. Half of the default bar, where one
/// side has the machine for itself during a trial.
const PROBE_SHARE: f64 = 0.01;

/// Likewise where both sides take short turns, so that a slow machine is slow for both: only what
/// may have hit some turns harder than others is worth playing again.
const INTERLEAVED_PROBE_SHARE: f64 = 0.10;

/// Below this many blocks there is no telling what is usual.
const FEWEST_BLOCKS: usize = 5;

/// Share of time, in per cent, that the hypervisor may give to others.
const STEAL_PCT: f64 = 5.0;

/// What is known about the machine around one block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BlockMachine {
    /// How long the fixed work took before and after the block, milliseconds; the mean is judged.
    /// `None` where the probe did not run.
    pub probe_ms: Option<[f64; 2]>,
    /// Time stolen during the block, per cent. `None` where the system does not say.
    pub steal_pct: Option<f64>,
}

/// Why a block is to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Contamination {
    /// The fixed work took unusually long, or unusually short.
    #[error("the machine probe took {probe_ms:.1} ms, usual are {median_ms:.1} ms")]
    Probe {
        /// Mean of the two probes of the block, milliseconds.
        probe_ms: f64,
        /// Median over all blocks, milliseconds.
        median_ms: f64,
    },
    /// The hypervisor gave the processor to somebody else.
    #[error("{steal_pct:.1} % of the processor's time was stolen, more than {STEAL_PCT} %")]
    Steal {
        /// Per cent.
        steal_pct: f64,
    },
}

/// For each block whether it is contaminated, in the order given. Pass all blocks of the session,
/// repeated ones too: they say what is usual. `interleaved` where both sides take turns in a block.
#[must_use]
pub fn contaminated(blocks: &[BlockMachine], interleaved: bool) -> Vec<Option<Contamination>> {
    let share = if interleaved { INTERLEAVED_PROBE_SHARE } else { PROBE_SHARE };
    let probe =
        |block: &BlockMachine| block.probe_ms.map(|[before, after]| f64::midpoint(before, after));
    let probes: Vec<f64> = blocks.iter().filter_map(probe).collect();
    let usual = median(probes.iter().copied()).filter(|_| probes.len() >= FEWEST_BLOCKS);
    let limit = usual.and_then(|usual| {
        let mad = median(probes.iter().map(|probe| (probe - usual).abs()))?;
        Some((usual, (PROBE_MADS * mad).max(share * usual)))
    });
    blocks
        .iter()
        .map(|block| {
            if let Some(steal_pct) = block.steal_pct.filter(|steal_pct| *steal_pct > STEAL_PCT) {
                return Some(Contamination::Steal { steal_pct });
            }
            let (probe_ms, (median_ms, limit)) = probe(block).zip(limit)?;
            ((probe_ms - median_ms).abs() > limit)
                .then_some(Contamination::Probe { probe_ms, median_ms })
        })
        .collect()
}

/// How many blocks may be repeated in a session that planned this many: a quarter.
#[must_use]
pub const fn repeats_allowed(planned: usize) -> usize {
    planned / 4
}

/// A machine that favoured one side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Imbalance {
    /// Chance of such a difference on a fair machine.
    pub p: f64,
    /// How much longer the probe took next to head, per cent; below 0 next to base.
    pub pct: f64,
}

/// Whether the machine favoured one side: the probes next to base against those next to head, one
/// pair of probes a pair, in any unit. `None` where it did not, where it did by less than 1 %, which
/// could make no verdict, and below the six pairs that a p under 0.05 takes. To be asked once, at
/// the end: asked at every look it would cry wolf.
#[must_use]
pub fn imbalance(probes: &[(f64, f64)]) -> Option<Imbalance> {
    let differences: Vec<f64> = probes
        .iter()
        .map(|(base, head)| head.ln() - base.ln())
        .filter(|difference| difference.is_finite())
        .collect();
    let found = SignedRank::of(&differences).ok().filter(|_| differences.len() >= 6)?;
    let pct = slow_down_pct(found.estimate);
    (found.p < ALPHA && pct.abs() >= 100.0 * PROBE_SHARE).then_some(Imbalance { p: found.p, pct })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(probes: &[f64]) -> Vec<BlockMachine> {
        probes
            .iter()
            .map(|probe| BlockMachine { probe_ms: Some([*probe, *probe]), steal_pct: Some(0.0) })
            .collect()
    }

    fn flagged(blocks: &[BlockMachine]) -> Vec<usize> {
        contaminated(blocks, false)
            .iter()
            .enumerate()
            .filter_map(|(index, found)| found.map(|_| index))
            .collect()
    }

    #[test]
    fn a_probe_far_from_the_others_is_contamination_in_both_directions() {
        // Median 200, deviations 0 1 2 3 4 40: MAD 2.5 at most, limit 12.5.
        assert_eq!(flagged(&probed(&[200.0, 201.0, 198.0, 203.0, 196.0, 240.0])), [5]);
        assert_eq!(flagged(&probed(&[200.0, 201.0, 198.0, 203.0, 196.0, 160.0])), [5]);
        assert_eq!(flagged(&probed(&[200.0, 201.0, 198.0, 203.0, 196.0, 208.0])), [0_usize; 0]);
    }

    #[test]
    fn on_a_very_steady_machine_one_per_cent_is_still_nothing() {
        assert_eq!(flagged(&probed(&[200.0, 200.0, 200.0, 200.0, 200.0, 201.9])), [0_usize; 0]);
        assert_eq!(flagged(&probed(&[200.0, 200.0, 200.0, 200.0, 200.0, 202.1])), [5]);
    }

    #[test]
    fn turns_share_a_slow_machine_up_to_a_tenth() {
        let flags = |last| contaminated(&probed(&[200.0, 200.0, 200.0, 200.0, 200.0, last]), true);
        assert!(flags(219.0).iter().all(Option::is_none));
        assert!(flags(221.0)[5].is_some());
        assert!(flags(179.0)[5].is_some());
    }

    #[test]
    fn four_blocks_do_not_tell_what_is_usual() {
        assert_eq!(flagged(&probed(&[200.0, 200.0, 200.0, 400.0])), [0_usize; 0]);
    }

    #[test]
    fn stolen_time_counts_without_any_probe() {
        let steal = |steal_pct| BlockMachine { probe_ms: None, steal_pct };
        assert_eq!(flagged(&[steal(Some(5.0)), steal(Some(5.1)), steal(None)]), [1]);
        let found = contaminated(&[steal(Some(12.0))], true)[0].unwrap();
        assert_eq!(found.to_string(), "12.0 % of the processor's time was stolen, more than 5 %");
    }

    #[test]
    fn a_quarter_may_be_repeated() {
        assert_eq!([8, 9, 12, 16, 3].map(repeats_allowed), [2, 2, 3, 4, 0]);
    }

    #[test]
    fn probes_that_always_favour_one_side_are_an_imbalance() {
        let tilted = |ms: f64| -> Vec<_> {
            (0..8).map(|pair| (200.0, 200.0 + ms + 0.1 * f64::from(pair))).collect()
        };
        let found = imbalance(&tilted(3.0)).unwrap();
        assert!(found.p < 0.05 && (1.0..2.0).contains(&found.pct), "{found:?}");
        let mirrored: Vec<_> = tilted(3.0).into_iter().map(|(base, head)| (head, base)).collect();
        assert!(imbalance(&mirrored).unwrap().pct < -1.0);
        assert_eq!(imbalance(&tilted(0.1)), None, "always, and by next to nothing");
        let fair: Vec<_> = (0..8)
            .map(|pair| if pair % 2 == 0 { (200.0, 210.0) } else { (210.0, 200.0) })
            .collect();
        assert_eq!(imbalance(&fair), None);
        assert_eq!(imbalance(&tilted(3.0)[..5]), None);
    }
}
