//! The hunt for the highest load that a server bears: doubling, then halving, with as many trials at a
//! load as it takes to be sure of it.
//!
//! Main type: [`Hunt`]. A load is borne if the true share of good requests is at least the one asked
//! for; two trials at least must say so, and their difference is part of the doubt.

use super::binomial::interval;
use crate::plan::search::{SearchOver, SearchSpec};

/// Most trials at one load: a share that six cannot tell from the limit lies on it.
const MOST_TRIALS: usize = 6;

/// Below this part of the wanted share one trial is enough: no bad luck costs half of all requests.
const HOPELESS: f64 = 0.5;

/// Part of the wanted precision that a gap beside an undecidable load may be wide.
const SMALL_GAP: f64 = 0.2;

/// Factor between loads while no bound is known.
const GROWTH: f64 = 2.0;

/// One trial at a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Measured requests that were planned, whatever became of them.
    pub requests: u64,
    /// Those that kept every objective.
    pub good: u64,
}

/// A load and its trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Users or requests per second.
    pub load: f64,
    /// In the order of playing, never empty.
    pub trials: Vec<Trial>,
}

/// What is known of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The share is at least the one asked for.
    Borne,
    /// It is below.
    NotBorne,
    /// Either may be.
    Undecided,
}

impl Verdict {
    /// As it stands in `suite.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Borne => "borne",
            Verdict::NotBorne => "not_borne",
            Verdict::Undecided => "undecided",
        }
    }
}

impl Point {
    /// Requests and good ones of all trials.
    #[must_use]
    pub fn totals(&self) -> Trial {
        self.trials.iter().fold(Trial { requests: 0, good: 0 }, |sum, trial| Trial {
            requests: sum.requests + trial.requests,
            good: sum.good + trial.good,
        })
    }

    /// The 95 % interval of the true share. Trials that differ by more than chance allows make every
    /// request count for less: the pooled chi-square over its degrees of freedom is their overdispersion.
    #[must_use]
    pub fn ratio_interval(&self) -> [f64; 2] {
        let Trial { requests, good } = self.totals();
        let (all, good) = (requests as f64, good as f64);
        if all <= 0.0 {
            return [0.0, 1.0];
        }
        let share = good / all;
        let variance = share * (1.0 - share);
        let mut spread = 1.0;
        if self.trials.len() > 1 && variance > 0.0 {
            let chi_square: f64 = self
                .trials
                .iter()
                .filter(|trial| trial.requests > 0)
                .map(|trial| {
                    let expected = trial.requests as f64 * share;
                    (trial.good as f64 - expected).powi(2) / (trial.requests as f64 * variance)
                })
                .sum();
            spread = (chi_square / (self.trials.len() - 1) as f64).max(1.0);
        }
        interval(good / spread, all / spread)
    }

    fn verdict(&self, wanted: f64) -> Verdict {
        let [low, high] = self.ratio_interval();
        let enough = self.trials.len() > 1;
        if low >= wanted && enough {
            Verdict::Borne
        } else if high < wanted && (enough || high < wanted * HOPELESS) {
            Verdict::NotBorne
        } else {
            Verdict::Undecided
        }
    }

    /// What it looks like, sure or not.
    fn leans_to_borne(&self, wanted: f64) -> bool {
        match self.verdict(wanted) {
            Verdict::Borne => true,
            Verdict::NotBorne => false,
            Verdict::Undecided => {
                let Trial { requests, good } = self.totals();
                requests > 0 && good as f64 >= wanted * requests as f64
            }
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Play a trial at this load.
    Try(f64),
    /// Enough is known, or no more can be.
    Done(Found),
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The highest load that was shown to be borne; `None` if none was.
    pub value: Option<f64>,
    /// From there to the lowest load above it that was shown not to be; `None` where one end is open.
    pub interval: Option<[f64; 2]>,
    /// Whether the interval is as narrow as asked for.
    pub precise: bool,
    /// How it ended.
    pub reason: String,
}

/// A search under way.
#[derive(Debug, Clone)]
pub struct Hunt {
    spec: SearchSpec,
    start: f64,
    /// Ascending.
    points: Vec<Point>,
}

impl Hunt {
    /// One that has tried nothing.
    #[must_use]
    pub fn new(spec: SearchSpec) -> Self {
        let start = spec.at_least.or(spec.at_most.map(|most| most.min(1.0))).unwrap_or(1.0);
        Self { spec, start: snap(spec.over, start), points: Vec::new() }
    }

    /// What was tried so far, ascending.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// What is known of a point of this hunt.
    #[must_use]
    pub fn verdict(&self, point: &Point) -> Verdict {
        point.verdict(self.spec.goodput_ratio)
    }

    /// Takes the outcome of a trial in.
    pub fn note(&mut self, load: f64, trial: Trial) {
        match self.points.iter_mut().find(|point| point.load.total_cmp(&load).is_eq()) {
            Some(point) => point.trials.push(trial),
            None => {
                let at = self.points.partition_point(|point| point.load < load);
                self.points.insert(at, Point { load, trials: vec![trial] });
            }
        }
    }

    /// What to try next.
    #[must_use]
    pub fn next(&self) -> Next {
        let wanted = self.spec.goodput_ratio;
        if self.points.is_empty() {
            return Next::Try(self.start);
        }
        // The first load that looks unbearable bounds the hunt; what looks good above it is luck.
        let high = self.points.iter().position(|point| !point.leans_to_borne(wanted));
        let low = high.unwrap_or(self.points.len()).checked_sub(1);
        let (low, high) = (low.map(|at| &self.points[at]), high.map(|at| &self.points[at]));
        match (low, high) {
            (None, None) => Next::Try(self.start),
            (Some(low), None) => {
                let more = snap(self.spec.over, (low.load * GROWTH).min(self.most()));
                if more > low.load { Next::Try(more) } else { self.settle(Some(low), None) }
            }
            (None, Some(high)) => {
                let least = self.spec.at_least.unwrap_or(match self.spec.over {
                    SearchOver::Users => 1.0,
                    SearchOver::Rate => self.start / 1024.0,
                });
                let less = snap(self.spec.over, (high.load / GROWTH).max(least));
                if less < high.load { Next::Try(less) } else { self.settle(None, Some(high)) }
            }
            (Some(low), Some(high)) => match self.between(low.load, high.load) {
                Some(middle) if !self.is_narrow(low.load, high.load) => Next::Try(middle),
                _ => self.settle(Some(low), Some(high)),
            },
        }
    }

    /// What can be said where no more can be tried.
    #[must_use]
    pub fn give_up(&self, why: &str) -> Found {
        let mut found = self.found();
        found.precise = false;
        found.reason = why.to_owned();
        found
    }

    /// Makes sure of the ends before the hunt is over, and comes as near as it can to a load that no
    /// number of trials can tell from the limit.
    fn settle(&self, low: Option<&Point>, high: Option<&Point>) -> Next {
        let open = |point: &&Point| {
            self.verdict(point) == Verdict::Undecided && point.trials.len() < MOST_TRIALS
        };
        if let Some(point) = [low, high].into_iter().flatten().find(open) {
            return Next::Try(point.load);
        }
        let (borne, failed) = self.ends();
        let inside = |point: &&Point| {
            borne.is_none_or(|borne| point.load > borne)
                && failed.is_none_or(|failed| point.load < failed)
        };
        // From the crossing outwards, since what is decided there leaves the rest outside.
        let crossing = low.or(high).map_or(1.0, |point| point.load);
        let nearest = self
            .points
            .iter()
            .filter(inside)
            .filter(open)
            .min_by(|a, b| distance(a.load, crossing).total_cmp(&distance(b.load, crossing)));
        if let Some(point) = nearest {
            return Next::Try(point.load);
        }
        if let Some(load) = self.wider_gap(borne, failed, &inside) {
            return Next::Try(load);
        }
        Next::Done(self.found())
    }

    /// The middle of the wider gap between what is decided and what cannot be; `None` where both are
    /// too small to matter.
    fn wider_gap(
        &self,
        borne: Option<f64>,
        failed: Option<f64>,
        inside: &dyn Fn(&&Point) -> bool,
    ) -> Option<f64> {
        let (borne, failed) = borne.zip(failed)?;
        if self.is_narrow(borne, failed) {
            return None;
        }
        let unclear = || self.points.iter().filter(inside).map(|point| point.load);
        let (first, last) = (unclear().min_by(f64::total_cmp)?, unclear().max_by(f64::total_cmp)?);
        let (below, above) = (distance(borne, first), distance(last, failed));
        if below.max(above) <= self.spec.precision * SMALL_GAP {
            return None;
        }
        let (from, to) = if below > above { (borne, first) } else { (last, failed) };
        self.between(from, to)
    }

    /// The load half way between two; `None` of neighbours, between which there is none to be tried.
    fn between(&self, low: f64, high: f64) -> Option<f64> {
        let load = snap(self.spec.over, (low * high).sqrt());
        (load > low && load < high).then_some(load)
    }

    /// The highest load that is borne for sure and the lowest that is not.
    fn ends(&self) -> (Option<f64>, Option<f64>) {
        let of = |verdict: Verdict| {
            self.points
                .iter()
                .filter(move |point| self.verdict(point) == verdict)
                .map(|point| point.load)
        };
        let failed = of(Verdict::NotBorne).min_by(f64::total_cmp);
        let borne = of(Verdict::Borne)
            .filter(|load| failed.is_none_or(|failed| *load < failed))
            .max_by(f64::total_cmp);
        (borne, failed)
    }

    fn found(&self) -> Found {
        let (borne, failed) = self.ends();
        let precise = borne.zip(failed).is_some_and(|(low, high)| self.is_narrow(low, high));
        let reason = match (borne, failed) {
            (Some(_), Some(_)) if precise => "the interval is as narrow as asked for".to_owned(),
            (Some(_), Some(_)) => {
                format!("{MOST_TRIALS} trials at a load between could not tell whether it is borne")
            }
            (Some(low), None) => format!("{low} is the most that was to be tried, and it is borne"),
            (None, Some(high)) => format!("not even {high} is borne"),
            (None, None) => "no load could be told to be borne or not".to_owned(),
        };
        Found {
            value: borne,
            interval: borne.zip(failed).map(|(low, high)| [low, high]),
            precise,
            reason,
        }
    }

    fn most(&self) -> f64 {
        let possible = match self.spec.over {
            SearchOver::Users => 60_000.0,
            SearchOver::Rate => 1_000_000.0,
        };
        self.spec.at_most.map_or(possible, |most| most.min(possible))
    }

    fn is_narrow(&self, low: f64, high: f64) -> bool {
        (high - low) / low <= self.spec.precision || self.between(low, high).is_none()
    }
}

/// How far apart two loads are, as a share.
fn distance(a: f64, b: f64) -> f64 {
    (a / b).ln().abs()
}

/// Users are whole; rates are kept to four digits, so that they can be read.
fn snap(over: SearchOver, load: f64) -> f64 {
    match over {
        SearchOver::Users => load.round().max(1.0),
        SearchOver::Rate => {
            let digits = 10_f64.powf(load.abs().max(1e-9).log10().floor() - 3.0);
            (load / digits).round() * digits
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::plan::search::BUDGET;

    fn spec(over: SearchOver) -> SearchSpec {
        SearchSpec {
            over,
            goodput_ratio: 0.95,
            precision: 0.05,
            at_least: None,
            at_most: None,
            budget: BUDGET,
        }
    }

    /// A server that bears `capacity`: below it requests are good but for bad luck, above it the share
    /// falls as the backlog grows. Now and then a whole trial is spoilt.
    fn hunt(spec: SearchSpec, capacity: f64, seed: u64, spoilt: f64) -> (Found, usize) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = move || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut hunt = Hunt::new(spec);
        for played in 0..500 {
            match hunt.next() {
                Next::Done(found) => return (found, played),
                Next::Try(load) => {
                    let overload = (load / capacity - 1.0).max(0.0);
                    let mut share = (0.995 - 8.0 * overload).max(0.02);
                    if uniform() < spoilt {
                        share -= 0.2;
                    }
                    let good = (0..200).filter(|_| uniform() < share).count() as u64;
                    hunt.note(load, Trial { requests: 200, good });
                }
            }
        }
        panic!("no end: {:?}", hunt.points());
    }

    #[test]
    fn the_capacity_lies_in_the_interval_and_the_value_within_five_per_cent() {
        let mut precise = 0;
        for seed in 0..200 {
            let capacity = 3.0 + (seed as f64) * 1.7;
            let (found, played) = hunt(spec(SearchOver::Rate), capacity, seed, 0.0);
            let value = found.value.unwrap();
            precise += usize::from(found.precise);
            // At 95 % a share of 0.995 − 8·overload is met up to an overload of 0.56 %.
            assert!((value / capacity - 1.0).abs() < 0.055, "{capacity}: {found:?}");
            assert!(played < 80, "{capacity}: {played} trials");
        }
        assert!(precise >= 190, "{precise} of 200");
    }

    #[test]
    fn a_spoilt_trial_now_and_then_is_outvoted() {
        let mut near = 0;
        for seed in 0..200 {
            let (found, _) = hunt(spec(SearchOver::Rate), 40.0, seed, 0.05);
            near +=
                usize::from(found.value.is_some_and(|value| (value / 40.0 - 1.0).abs() < 0.055));
        }
        assert!(near >= 185, "{near} of 200");
    }

    #[test]
    fn users_are_found_exactly() {
        for capacity in [1.0, 2.0, 4.0, 7.0, 33.0] {
            let mut hunt = Hunt::new(spec(SearchOver::Users));
            let found = loop {
                match hunt.next() {
                    Next::Done(found) => break found,
                    Next::Try(users) => {
                        let good = if users <= capacity { 100 } else { 40 };
                        hunt.note(users, Trial { requests: 100, good });
                    }
                }
            };
            // From 40 users on an interval of two is narrow enough.
            assert!(
                found.value.is_some_and(|value| value <= capacity && value >= capacity - 1.0),
                "{found:?}"
            );
            assert!(found.precise);
        }
    }

    /// A precision that no rate of four digits can have must not ask for the same load for ever.
    #[test]
    fn a_search_ends_at_rates_between_which_there_is_none() {
        for (capacity, ends) in [(10.004, [10.0, 10.01]), (0.99964, [0.9996, 0.9997])] {
            let finest = SearchSpec { precision: 1e-9, ..spec(SearchOver::Rate) };
            let mut hunt = Hunt::new(finest);
            let found = (0..100).find_map(|_| match hunt.next() {
                Next::Done(found) => Some(found),
                Next::Try(load) => {
                    let good = if load <= capacity { 1_000 } else { 100 };
                    hunt.note(load, Trial { requests: 1_000, good });
                    None
                }
            });
            let found = found.expect("a hundred trials are more than enough");
            let [low, high] = found.interval.expect("both ends are known");
            assert!((low - ends[0]).abs() < 1e-9 && (high - ends[1]).abs() < 1e-9, "{found:?}");
            assert!(found.precise, "{found:?}");
        }
    }

    #[test]
    fn what_is_never_or_always_borne_has_an_open_end() {
        let always = |good| {
            let mut hunt = Hunt::new(SearchSpec { at_most: Some(64.0), ..spec(SearchOver::Users) });
            loop {
                match hunt.next() {
                    Next::Done(found) => return found,
                    Next::Try(load) => hunt.note(load, Trial { requests: 100, good }),
                }
            }
        };
        let found = always(100);
        assert_eq!((found.value, found.interval, found.precise), (Some(64.0), None, false));
        assert!(found.reason.starts_with("64 is the most"), "{}", found.reason);
        let found = always(10);
        assert_eq!((found.value, found.interval), (None, None));
        assert!(found.reason.starts_with("not even 1"), "{}", found.reason);
    }

    #[test]
    fn one_trial_does_not_decide_and_trials_that_disagree_decide_less() {
        let point = |trials: &[(u64, u64)]| Point {
            load: 1.0,
            trials: trials
                .iter()
                .map(|(requests, good)| Trial { requests: *requests, good: *good })
                .collect(),
        };
        assert_eq!(point(&[(400, 400)]).verdict(0.95), Verdict::Undecided);
        assert_eq!(point(&[(200, 200), (200, 200)]).verdict(0.95), Verdict::Borne);
        assert_eq!(point(&[(200, 10)]).verdict(0.95), Verdict::NotBorne);
        assert_eq!(point(&[(200, 180), (200, 180)]).verdict(0.95), Verdict::NotBorne);
        let [low, high] = point(&[(200, 160), (200, 200)]).ratio_interval();
        let [calm_low, calm_high] = point(&[(200, 180), (200, 180)]).ratio_interval();
        assert!(low < calm_low - 0.1 && high > calm_high, "{low} {high}");
    }
}
