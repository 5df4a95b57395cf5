//! The instants of an open loop: computed before the run, in nanoseconds, from a seed.
//!
//! Main type: [`Schedule`]. Pure: offsets from the start of measuring, no clock. Every process is
//! one of unit rate (equal, exponential or gamma gaps of mean 1) whose events are due where the
//! integral of the rate reaches them; so ramps and bursts combine, and fractions of an event carry
//! over from one stage to the next.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::plan::shape::{ArrivalProcess, LoadShape, Stage};

/// When each request of an open loop is due, nanoseconds after the start of measuring, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    offsets: Vec<u64>,
}

impl Schedule {
    /// The arrivals of an open shape within `duration`, and at most `requests`. Bound by at least
    /// one of them. `None` for a closed shape, and for a trace, whose instants are its prompts'.
    #[must_use]
    pub fn of(
        shape: &LoadShape,
        seed: u64,
        duration: Option<Duration>,
        requests: Option<u64>,
    ) -> Option<Self> {
        let (process, profile) = match shape {
            LoadShape::Arrivals { process, rate_per_second, .. } => {
                (*process, Profile::constant(*rate_per_second))
            }
            LoadShape::RampingArrivals { process, start_rate, stages, .. } => {
                (*process, Profile::ramp(*start_rate, stages))
            }
            _ => return None,
        };
        let end_s = duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64());
        let most = requests.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let mut events = Events::new(process, &profile, seed);
        let offsets = std::iter::from_fn(|| profile.reaches(events.next_area()))
            .take_while(|offset_s| *offset_s < end_s)
            .take(most)
            // Below 2^53 ns, that is for 104 days, a double holds nanoseconds exactly.
            .map(|offset_s| (offset_s * 1e9).round() as u64)
            .collect();
        Some(Self { offsets })
    }

    /// The arrivals of a trace: these offsets from the start of measuring, ascending.
    #[must_use]
    pub fn of_trace(offsets: Vec<u64>) -> Self {
        debug_assert!(offsets.is_sorted(), "a trace is in order");
        Self { offsets }
    }

    /// How many arrivals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no arrival at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// When arrival `index` is due; `None` past the last.
    pub(super) fn offset(&self, index: u64) -> Option<Duration> {
        let index = usize::try_from(index).ok()?;
        self.offsets.get(index).copied().map(Duration::from_nanos)
    }

    /// All of them, for the hash.
    pub(super) fn nanos(&self) -> &[u64] {
        &self.offsets
    }
}

/// The rate over time: straight pieces, the last of which may go on for ever.
#[derive(Debug)]
struct Profile {
    pieces: Vec<Piece>,
    /// A constant rate has its first equally spaced event at 0, a ramp (as in k6) where the
    /// integral reaches 1: a rate that begins at zero has no event at zero.
    first_at_zero: bool,
}

#[derive(Debug)]
struct Piece {
    begins_s: f64,
    length_s: f64,
    from: f64,
    to: f64,
    /// Integral of the rate up to its begin.
    area_before: f64,
}

impl Profile {
    fn constant(rate: f64) -> Self {
        let piece = Piece {
            begins_s: 0.0,
            length_s: f64::INFINITY,
            from: rate,
            to: rate,
            area_before: 0.0,
        };
        Self { pieces: vec![piece], first_at_zero: true }
    }

    fn ramp(start: f64, stages: &[Stage<f64>]) -> Self {
        let (mut begins_s, mut from, mut area_before) = (0.0, start, 0.0);
        let mut pieces = Vec::with_capacity(stages.len());
        for stage in stages {
            let (length_s, to) = (stage.duration.as_secs_f64(), stage.target);
            pieces.push(Piece { begins_s, length_s, from, to, area_before });
            begins_s += length_s;
            area_before += f64::midpoint(from, to) * length_s;
            from = to;
        }
        Self { pieces, first_at_zero: false }
    }

    /// The earliest instant, in seconds, at which the integral reaches `area`; `None` if it never
    /// does.
    fn reaches(&self, area: f64) -> Option<f64> {
        self.pieces.iter().find_map(|piece| piece.reaches(area))
    }
}

impl Piece {
    fn reaches(&self, area: f64) -> Option<f64> {
        let wanted = area - self.area_before;
        if wanted <= 0.0 {
            return Some(self.begins_s);
        }
        if !self.length_s.is_finite() {
            return (self.from > 0.0).then(|| self.begins_s + wanted / self.from);
        }
        if wanted > f64::midpoint(self.from, self.to) * self.length_s {
            return None;
        }
        // from·t + slope·t²/2 = wanted, solved without the difference of two near numbers.
        let slope = (self.to - self.from) / self.length_s;
        let root = (self.from * self.from + 2.0 * slope * wanted).max(0.0).sqrt();
        let after_s = 2.0 * wanted / (self.from + root);
        Some(self.begins_s + after_s.min(self.length_s))
    }
}

/// The integrals at which events are due: sums of gaps of mean 1.
struct Events {
    process: ArrivalProcess,
    random: ChaCha12Rng,
    area: f64,
    count: u64,
    first: u64,
}

impl Events {
    fn new(process: ArrivalProcess, profile: &Profile, seed: u64) -> Self {
        let random = ChaCha12Rng::seed_from_u64(seed);
        Self { process, random, area: 0.0, count: 0, first: u64::from(!profile.first_at_zero) }
    }

    fn next_area(&mut self) -> f64 {
        match self.process {
            // Counted, not summed, so that no rounding builds up.
            ArrivalProcess::Constant => self.area = (self.first + self.count) as f64,
            ArrivalProcess::Poisson => self.area += exponential(&mut self.random),
            ArrivalProcess::Gamma { shape } => {
                self.area += gamma(shape, &mut self.random) / shape;
            }
        }
        self.count += 1;
        self.area
    }
}

/// Uniform in (0, 1), 53 bits, never 0 or 1: its logarithm is always a finite number.
fn uniform(random: &mut impl Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn exponential(random: &mut impl Rng) -> f64 {
    -uniform(random).ln()
}

/// Marsaglia's polar method; the second value is thrown away to keep no state.
fn normal(random: &mut impl Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * uniform(random) - 1.0, 2.0 * uniform(random) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

/// Gamma with scale 1 by Marsaglia and Tsang (2000). Our own and not a crate's, because the seed
/// promises the same arrivals in every later version, and crates do not promise that.
fn gamma(shape: f64, random: &mut impl Rng) -> f64 {
    if shape < 1.0 {
        let power = uniform(random).powf(1.0 / shape);
        return gamma(shape + 1.0, random) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let cube = (1.0 + c * x).powi(3);
        if cube > 0.0 && uniform(random).ln() < 0.5 * x * x + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}

/// From when to when a user of a ramp starts requests, offsets from the start of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// The spans in which user `user` (from 0) is on: whenever the number of users is above `user`.
/// Within a stage users come and go one at a time, the i-th of n at i/n of its length, as k6's do.
pub(super) fn spans(start: u32, stages: &[Stage<u32>], user: u32) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut on_since = (start > user).then_some(Duration::ZERO);
    let (mut begins, mut from) = (Duration::ZERO, start);
    for stage in stages {
        let (before, after) = (from > user, stage.target > user);
        let steps = f64::from(from.abs_diff(stage.target));
        if after && !before {
            let share = f64::from(user + 1 - from) / steps;
            on_since = Some(begins + stage.duration.mul_f64(share));
        } else if before && !after {
            let share = f64::from(from - user) / steps;
            let to = begins + stage.duration.mul_f64(share);
            spans.extend(on_since.take().map(|from| Span { from, to }));
        }
        begins += stage.duration;
        from = stage.target;
    }
    spans.extend(on_since.map(|from| Span { from, to: begins }));
    spans.retain(|span| span.from < span.to);
    spans
}

#[cfg(test)]
#[path = "arrivals_tests.rs"]
mod tests;
