//! The knee: the load up to which throughput grows with it, and from which it does not.
//!
//! Main function: [`Knee::of`]: two straight lines that meet, fitted by least relative squares, and a
//! bootstrap over the trials for the interval.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Resamples behind an interval; its ends then move by less than their own width.
const RESAMPLES: usize = 1_000;

/// Beyond the knee a doubling of the load may still bring this much; more, and there is no knee.
const STILL_GROWS: f64 = 0.5;

/// Loads at which a knee is looked for, between the smallest and the largest.
const GRID: u32 = 128;

/// One trial: what was asked, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Users or requests per second.
    pub load: f64,
    /// Requests or tokens per second; above 0.
    pub throughput: f64,
}

/// Where the lines meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// The load.
    pub load: f64,
    /// 95 % of the resamples have it in here.
    pub interval: [f64; 2],
}

impl Knee {
    /// The knee of these trials. `None` with fewer than four loads, or where throughput still grows in
    /// proportion at the end: then the knee is beyond.
    #[must_use]
    pub fn of(samples: &[Sample], seed: u64) -> Option<Self> {
        let loads = distinct(samples);
        if loads.len() < 4 {
            return None;
        }
        let load = fit(samples)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut resampled: Vec<f64> = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            // Within each load, so that none of them is lost.
            let again: Vec<Sample> = loads
                .iter()
                .flat_map(|load| {
                    let here: Vec<Sample> = samples
                        .iter()
                        .filter(|sample| sample.load.total_cmp(load).is_eq())
                        .copied()
                        .collect();
                    (0..here.len())
                        .map(|_| here[below(&mut random, here.len())])
                        .collect::<Vec<_>>()
                })
                .collect();
            resampled.extend(fit(&again));
        }
        resampled.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let position = (share * (resampled.len().saturating_sub(1)) as f64).round();
            // In bounds: a share of the last index.
            resampled.get(position as usize).copied().unwrap_or(load)
        };
        let (low, high) = (at(0.025).min(load), at(0.975).max(load));
        Some(Self { load, interval: [low, high] })
    }
}

fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    // The bias of a remainder of 64 bits is far below what a thousand resamples can show.
    (random.next_u64() % count as u64) as usize
}

fn distinct(samples: &[Sample]) -> Vec<f64> {
    let mut loads: Vec<f64> = samples.iter().map(|sample| sample.load).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup_by(|a, b| a.total_cmp(b).is_eq());
    loads
}

/// The best place for the knee of throughput = rise · min(load, knee) + rest · max(0, load − knee).
fn fit(samples: &[Sample]) -> Option<f64> {
    let loads = distinct(samples);
    let (first, last) = (*loads.first()?, *loads.last()?);
    // A line needs a load of its own on each side.
    let (second_last, from) = (*loads.get(loads.len().checked_sub(2)?)?, first);
    let best = (0..=GRID)
        .map(|step| from * (second_last / from).powf(f64::from(step) / f64::from(GRID)))
        .filter_map(|knee| {
            lines(samples, knee).map(|(rise, rest, misfit)| (knee, rise, rest, misfit))
        })
        .min_by(|a, b| a.3.total_cmp(&b.3))?;
    let (knee, rise, rest, _) = best;
    (last > knee && rise > 0.0 && rest < STILL_GROWS * rise).then_some(knee)
}

/// Both slopes and the sum of squares of relative residuals, for a knee at this load.
fn lines(samples: &[Sample], knee: f64) -> Option<(f64, f64, f64)> {
    // Normal equations of two unknowns, every equation divided by its throughput.
    let (mut uu, mut uv, mut vv, mut u1, mut v1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let scaled = |sample: &Sample| {
        let (before, after) = (sample.load.min(knee), (sample.load - knee).max(0.0));
        (before / sample.throughput, after / sample.throughput)
    };
    for sample in samples.iter().filter(|sample| sample.throughput > 0.0) {
        let (u, v) = scaled(sample);
        uu += u * u;
        uv += u * v;
        vv += v * v;
        u1 += u;
        v1 += v;
    }
    let determinant = uu * vv - uv * uv;
    if determinant.abs() <= f64::EPSILON * uu * vv {
        return None;
    }
    let (rise, rest) = ((u1 * vv - v1 * uv) / determinant, (v1 * uu - u1 * uv) / determinant);
    let misfit = samples
        .iter()
        .filter(|sample| sample.throughput > 0.0)
        .map(|sample| {
            let (u, v) = scaled(sample);
            (1.0 - rise * u - rest * v).powi(2)
        })
        .sum();
    Some((rise, rest, misfit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(knee: f64, noise: f64, seed: u64) -> Vec<Sample> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut samples = Vec::new();
        for load in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0_f64] {
            for _ in 0..3 {
                let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                let throughput = 10.0 * load.min(knee) * (1.0 + noise * (unit - 0.5));
                samples.push(Sample { load, throughput });
            }
        }
        samples
    }

    #[test]
    fn the_knee_is_where_the_lines_meet_and_in_the_interval() {
        for seed in 0..12 {
            let true_knee = 3.0 + seed as f64;
            let knee = Knee::of(&server(true_knee, 0.04, seed), 1).unwrap();
            assert!((knee.load / true_knee - 1.0).abs() < 0.05, "{true_knee}: {knee:?}");
            assert!(knee.interval[0] <= knee.load && knee.load <= knee.interval[1]);
        }
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        let inside = (0..20)
            .filter(|seed| {
                let knee = Knee::of(&server(6.0, 0.1, *seed), *seed).unwrap();
                (knee.interval[0]..=knee.interval[1]).contains(&6.0)
            })
            .count();
        // A bootstrap of three values is known to be too short; 95 % are not to be had.
        assert!(inside >= 13, "{inside} of 20");
    }

    #[test]
    fn where_throughput_still_grows_there_is_no_knee() {
        assert_eq!(Knee::of(&server(1_000.0, 0.02, 1), 1), None);
        assert_eq!(Knee::of(&server(4.0, 0.02, 1)[..9], 1), None, "three loads are no curve");
    }

    #[test]
    fn a_server_that_gets_worse_beyond_its_knee_has_one_too() {
        let samples: Vec<Sample> = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0_f64]
            .iter()
            .map(|load| Sample {
                load: *load,
                throughput: 10.0 * load.min(8.0) - (load - 8.0).max(0.0),
            })
            .collect();
        let knee = Knee::of(&samples, 1).unwrap();
        assert!((knee.load - 8.0).abs() < 0.3, "{knee:?}");
    }
}
