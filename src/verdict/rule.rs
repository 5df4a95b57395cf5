//! The verdict on one metric.
//!
//! Main function: [`Rule::verdict`]. It sees an estimate, an interval and a p that is already
//! adjusted; where they come from is the other files' business.

use super::scale;
use super::signed_rank::{Interval, SignedRank};
use crate::stats::Better;

/// What a comparison of two servers comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Slower, for sure, and by enough to matter.
    Regressed,
    /// Faster, likewise.
    Improved,
    /// Not slower by as much as the bar.
    NoRegression,
    /// This session cannot tell.
    Inconclusive,
    /// The numbers are not evidence.
    Invalid,
}

impl Verdict {
    /// All, worst first as reports order them.
    pub const ALL: [Verdict; 5] = [
        Verdict::Regressed,
        Verdict::Invalid,
        Verdict::Inconclusive,
        Verdict::Improved,
        Verdict::NoRegression,
    ];

    /// As in `ab.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Regressed => "regressed",
            Verdict::Improved => "improved",
            Verdict::NoRegression => "no-regression",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Invalid => "invalid",
        }
    }
}

/// What a metric is for in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It decides.
    Gate,
    /// It is shown with its q, and decides nothing.
    Observe,
    /// It is counted without noise (tokens, errors, memory): compared as it is, without a test.
    Exact,
}

impl Role {
    /// As in `ab.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Gate => "gate",
            Role::Observe => "observe",
            Role::Exact => "exact",
        }
    }
}

/// A metric, and how large a change of it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The public name; of a matrix, with its cell.
    pub metric: String,
    /// Its unit, for people.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// What it is for.
    pub role: Role,
    /// δ: the slow-down that matters, a fraction above 0. 0.02 is 2 %.
    pub bar: f64,
    /// A change of less than this, in the metric's unit, never matters; 0 where there is no such.
    pub floor: f64,
}

impl Rule {
    /// The default bar, 2 %.
    pub const BAR: f64 = 0.02;
    /// The default bar of times to first token, 3 %: they are short and hang on one event.
    pub const BAR_OF_TTFT: f64 = 0.03;
    /// The default floor of latencies, 1 ms: nobody notices less.
    pub const FLOOR_MS: f64 = 1.0;

    /// With the defaults for its name and unit: `ttft…` has the higher bar, milliseconds the floor.
    #[must_use]
    pub fn by_default(metric: &str, unit: &str, better: Better, role: Role) -> Self {
        Self {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            better,
            role,
            bar: if metric.starts_with("ttft") { Self::BAR_OF_TTFT } else { Self::BAR },
            floor: if unit == "ms" { Self::FLOOR_MS } else { 0.0 },
        }
    }

    /// The difference from which on a slow-down matters: ln(1 + δ), or the one that changes base's
    /// value by the floor, whichever is larger. Infinite where base itself is within the floor of
    /// nothing and more is better.
    ///
    /// Both at once, because "at least δ *and* at least the floor" is one bar: a 10 % slow-down by
    /// 0.2 ms then counts as settled and harmless, and not as undecided for ever.
    #[must_use]
    pub fn slower_bar(&self, base: f64) -> f64 {
        self.bar.ln_1p().max(self.floor_as_difference(base, 1.0))
    }

    /// The mirror image for a speed-up, positive too.
    #[must_use]
    pub fn faster_bar(&self, base: f64) -> f64 {
        self.bar.ln_1p().max(self.floor_as_difference(base, -1.0))
    }

    /// Size of the difference by which base moves by the floor, in the direction of slower (1) or
    /// faster (−1).
    fn floor_as_difference(&self, base: f64, direction: f64) -> f64 {
        if self.floor <= 0.0 {
            return 0.0;
        }
        let moved = direction * scale::sign(self.better) * self.floor / base;
        if moved <= -1.0 { f64::INFINITY } else { moved.ln_1p().abs() }
    }

    /// The verdict. `base` is base's median in the metric's unit; `p` is adjusted for all that is
    /// judged together and is compared with `level`; `crossover` is the second opinion, where there
    /// is one. Never [`Verdict::Invalid`].
    #[must_use]
    pub fn verdict(
        &self,
        found: &SignedRank,
        base: f64,
        p: f64,
        level: f64,
        crossover: Option<f64>,
    ) -> (Verdict, Option<Inconclusive>) {
        let Interval { low, high, .. } = found.interval;
        let estimate = found.estimate;
        let (slower_bar, faster_bar) = (self.slower_bar(base), self.faster_bar(base));
        let significant = p <= level;
        let slower = significant && low > 0.0 && estimate >= slower_bar;
        let faster = significant && high < 0.0 && estimate <= -faster_bar;
        if slower || faster {
            // Two estimators that do not even agree on the direction carry no claim about one.
            // Only a claim: around zero they disagree in one session of seven, and mean nothing by it.
            return match crossover {
                Some(other) if other * estimate < 0.0 => {
                    (Verdict::Inconclusive, Some(Inconclusive::EstimatorsDisagree))
                }
                _ if slower => (Verdict::Regressed, None),
                _ => (Verdict::Improved, None),
            };
        }
        if high < slower_bar {
            return (Verdict::NoRegression, None);
        }
        let why = if low > 0.0 && estimate >= slower_bar {
            Inconclusive::NotSignificant
        } else {
            Inconclusive::TooWide
        };
        (Verdict::Inconclusive, Some(why))
    }
}

/// Why one metric is inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inconclusive {
    /// The interval holds both harmless and harmful changes.
    TooWide,
    /// The interval lies above zero, but p is above the level of this look for so many metrics.
    NotSignificant,
    /// Signed ranks and crossover point in opposite directions.
    EstimatorsDisagree,
    /// Too few pairs for any difference to be significant, by construction.
    BelowFloor,
    /// No pair has a value of both sides, though one of them may have its own.
    OneSided,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(better: Better, unit: &str) -> Rule {
        Rule::by_default("itl_ms", unit, better, Role::Gate)
    }

    fn found(low: f64, estimate: f64, high: f64) -> SignedRank {
        SignedRank { pairs: 12, estimate, p: 0.001, interval: Interval { low, high, level: 0.958 } }
    }

    /// Verdict with base 100 ms, in per cent.
    fn verdict(low: f64, estimate: f64, high: f64, p: f64, crossover: f64) -> Verdict {
        let ln = |percent: f64| (percent / 100.0).ln_1p();
        rule(Better::Lower, "ms")
            .verdict(&found(ln(low), ln(estimate), ln(high)), 100.0, p, 0.03, Some(crossover))
            .0
    }

    #[test]
    fn each_row_of_the_specification() {
        assert_eq!(verdict(1.0, 3.0, 5.0, 0.01, 0.03), Verdict::Regressed);
        assert_eq!(verdict(-5.0, -3.0, -1.0, 0.01, -0.03), Verdict::Improved);
        assert_eq!(verdict(-1.0, 0.3, 1.5, 0.4, 0.0), Verdict::NoRegression);
        // Slower for sure, and below the bar.
        assert_eq!(verdict(0.2, 0.8, 1.4, 0.001, 0.008), Verdict::NoRegression);
        assert_eq!(verdict(-1.0, 1.0, 3.0, 0.4, 0.01), Verdict::Inconclusive);
        // Slower by less than the bar, though perhaps by more.
        assert_eq!(verdict(0.2, 1.8, 3.4, 0.001, 0.018), Verdict::Inconclusive);
        // Faster by less than the bar is no improvement.
        assert_eq!(verdict(-1.5, -1.0, -0.5, 0.001, -0.01), Verdict::NoRegression);
    }

    #[test]
    fn every_condition_of_regressed_is_needed() {
        assert_eq!(verdict(1.0, 3.0, 5.0, 0.03, 0.03), Verdict::Regressed);
        assert_eq!(verdict(1.0, 3.0, 5.0, 0.031, 0.03), Verdict::Inconclusive);
        assert_eq!(verdict(-0.1, 3.0, 5.0, 0.01, 0.03), Verdict::Inconclusive);
        assert_eq!(verdict(1.0, 1.9, 5.0, 0.01, 0.02), Verdict::Inconclusive);
        assert_eq!(verdict(1.0, 3.0, 5.0, 0.01, -0.001), Verdict::Inconclusive);
        assert_eq!(verdict(-5.0, -3.0, -1.0, 0.01, 0.001), Verdict::Inconclusive);
    }

    #[test]
    fn the_reason_of_inconclusive_is_the_condition_that_failed() {
        let rule = rule(Better::Lower, "ms");
        let why =
            |found: &SignedRank, p, crossover| rule.verdict(found, 100.0, p, 0.03, crossover).1;
        assert_eq!(why(&found(0.01, 0.03, 0.05), 0.04, None), Some(Inconclusive::NotSignificant));
        assert_eq!(why(&found(-0.01, 0.03, 0.05), 0.01, None), Some(Inconclusive::TooWide));
        let disagree = Some(Inconclusive::EstimatorsDisagree);
        assert_eq!(why(&found(0.01, 0.03, 0.05), 0.01, Some(-0.01)), disagree);
        assert_eq!(why(&found(0.01, 0.03, 0.05), 0.01, None), None);
    }

    #[test]
    fn a_change_within_the_floor_is_settled_and_harmless() {
        // 2 ms, 10 % slower: 0.2 ms, where the floor is 1 ms.
        let ln = |percent: f64| (percent / 100.0_f64).ln_1p();
        let slower = found(ln(9.0), ln(10.0), ln(11.0));
        let of_base = |base| rule(Better::Lower, "ms").verdict(&slower, base, 0.001, 0.03, None).0;
        assert_eq!(of_base(2.0), Verdict::NoRegression);
        assert_eq!(of_base(9.0), Verdict::NoRegression, "0.9 ms, and 0.99 ms at the upper end");
        assert_eq!(of_base(9.5), Verdict::Inconclusive, "0.95 ms, and 1.05 ms at the upper end");
        assert_eq!(of_base(10.1), Verdict::Regressed);
        let faster = found(ln(-11.0), ln(-10.0), ln(-9.0));
        let of_base = |base| rule(Better::Lower, "ms").verdict(&faster, base, 0.001, 0.03, None).0;
        assert_eq!(of_base(2.0), Verdict::NoRegression);
        assert_eq!(of_base(10.1), Verdict::Improved);
    }

    #[test]
    fn a_floor_larger_than_the_value_itself_cannot_be_passed_downwards() {
        let mut rate = rule(Better::Higher, "tokens/s");
        rate.floor = 5.0;
        assert!(rate.slower_bar(4.0).is_infinite());
        assert!((rate.slower_bar(50.0) - -(0.9_f64.ln())).abs() < 1e-12);
        assert!((rate.faster_bar(50.0) - 1.1_f64.ln()).abs() < 1e-12);
        assert!((rate.slower_bar(5000.0) - 0.02_f64.ln_1p()).abs() < 1e-12);
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let ttft = Rule::by_default("ttft_ms", "ms", Better::Lower, Role::Gate);
        assert_eq!((ttft.bar, ttft.floor), (0.03, 1.0));
        let rate =
            Rule::by_default("output_tokens_per_second", "tokens/s", Better::Higher, Role::Gate);
        assert_eq!((rate.bar, rate.floor), (0.02, 0.0));
    }
}
