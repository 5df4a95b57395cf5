//! Sessions on a made-up machine: what the verdict's statistics are calibrated with.
//!
//! Main type: [`Machine`]. The log-cost of a trial is the version's effect, a linear drift over the
//! session, a slow first-order autoregressive drift, a penalty for the second of a pair, normal noise,
//! and now and then a disturbance. All in per cent of cost; the drift's and the autoregression's
//! figures are a half-width and a *stationary* standard deviation. Shared by the tests and by
//! the example `calibrate`; it measures no real machine, `bench-ci ab --aa` does that.

use std::f64::consts::TAU;

use bench_ci::verdict::design::Order;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How noisy a machine is, in per cent of a trial's cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// The linear drift over a session is uniform in ± this.
    pub(crate) drift: f64,
    /// Standard deviation of the slow drift, whose neighbours correlate at 0.9.
    pub(crate) slow: f64,
    /// What the second of a pair pays.
    pub(crate) position: f64,
    /// Standard deviation of what is new in every trial.
    pub(crate) noise: f64,
    /// Share of trials that are disturbed, a fraction; the disturbance is exponential with mean 5 %.
    pub(crate) disturbed: f64,
    /// Standard deviation of what a fresh start draws once for all its trials.
    pub(crate) start: f64,
}

/// A shared runner.
pub(crate) const NOISY: Machine =
    Machine { drift: 4.0, slow: 2.0, position: 0.5, noise: 0.7, disturbed: 0.05, start: 0.0 };

/// A quiet one.
pub(crate) const QUIET: Machine =
    Machine { drift: 1.0, slow: 1.0, position: 0.0, noise: 0.5, disturbed: 0.0, start: 0.0 };

/// Seeded chance.
pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A seed for something else.
    pub(crate) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in (0, 1].
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let (one, other) = (self.uniform(), self.uniform());
        (-2.0 * one.ln()).sqrt() * (TAU * other).cos()
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }
}

/// Differences (head − base, logarithms) of a session whose head costs `effect` per cent more, in
/// the order given: two adjacent trials a pair, each a fresh start.
pub(crate) fn differences(
    machine: Machine,
    effect: f64,
    order: &[Order],
    chance: &mut Chance,
) -> Vec<f64> {
    let trials = 2 * order.len();
    let slope = machine.drift * (2.0 * chance.uniform() - 1.0);
    let mut slow = machine.slow * chance.normal();
    let mut cost = |trial: usize| {
        if trial > 0 {
            slow = 0.9 * slow + machine.slow * 0.19_f64.sqrt() * chance.normal();
        }
        let disturbance =
            if chance.uniform() < machine.disturbed { chance.exponential(5.0) } else { 0.0 };
        let second = if trial % 2 == 1 { machine.position } else { 0.0 };
        let along = trial as f64 / (trials.max(2) - 1) as f64;
        slope * along
            + slow
            + second
            + disturbance
            + machine.noise * chance.normal()
            + machine.start * chance.normal()
    };
    order
        .iter()
        .enumerate()
        .map(|(pair, order)| {
            let (first, second) = (cost(2 * pair), cost(2 * pair + 1));
            let difference = match order {
                Order::BaseFirst => second - first,
                Order::HeadFirst => first - second,
            };
            // The effect as the user means it: head takes `effect` per cent longer.
            difference / 100.0 + (effect / 100.0).ln_1p()
        })
        .collect()
}

/// The differences of the slices of one block: both starts draw their luck once, and the noise of
/// neighbouring slices correlates at 0.75 and dies away slowly.
pub(crate) fn block(
    machine: Machine,
    effect: f64,
    slices: &[Order],
    chance: &mut Chance,
) -> Vec<f64> {
    let luck = machine.start * (chance.normal() - chance.normal());
    let (mut fast, mut slow) = (chance.normal(), chance.normal());
    let mut cost = || {
        // 0.5·0.6 + 0.5·0.95 ≈ 0.77 one slice apart, 0.3 ten apart.
        fast = 0.6 * fast + 0.8 * chance.normal();
        slow = 0.95 * slow + 0.0975_f64.sqrt() * chance.normal();
        machine.slow * (fast + slow) / 2.0_f64.sqrt() + machine.noise * chance.normal()
    };
    slices
        .iter()
        .map(|order| {
            let (first, second) = (cost(), cost());
            let difference = match order {
                Order::BaseFirst => second - first,
                Order::HeadFirst => first - second,
            };
            (difference + luck) / 100.0 + (effect / 100.0).ln_1p()
        })
        .collect()
}
