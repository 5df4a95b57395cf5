//! One metric's verdict in words.
//!
//! Main function: [`sentence`]. Says the number, how sure it is, and what it means; for
//! *inconclusive* also what cannot be excluded and what it would take. Plain text, no markup.

use super::judge::Comparison;
use super::looks::MOST_PAIRS;
use super::rule::{Inconclusive, Rule, Verdict};
use super::scale::slow_down_pct;
use super::signed_rank::SignedRank;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Of one session.
    Pair,
    /// Several put together.
    Session,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Unit::Pair => "pair",
            Unit::Session => "session",
        }
    }
}

/// A fragment without final full stop. `least_pairs` and `level` are those of the session.
pub(super) fn sentence(
    of: &Comparison,
    gated: usize,
    least_pairs: usize,
    level: f64,
    unit: Unit,
) -> String {
    let Some((found, verdict)) = of.found.as_ref().zip(of.verdict) else {
        return match of.change_pct() {
            Some(change) => format!("{} ({})", values(of), percent_signed(change)),
            None => format!("{}: {}", of.rule.metric, without_figures(of, unit)),
        };
    };
    let numbers = numbers(of, found, unit);
    match (verdict, of.why) {
        (Verdict::NoRegression, _) => format!("{numbers}: {}", harmless(of, found)),
        (Verdict::Inconclusive, Some(why)) => {
            format!("{numbers}: {}", undecided(of, found, why, gated, least_pairs, level, unit))
        }
        _ => numbers,
    }
}

fn without_figures(of: &Comparison, unit: Unit) -> String {
    let (base, head) = (of.alone.base, of.alone.head);
    match (of.why, base + head) {
        (Some(Inconclusive::OneSided), 1..) => format!(
            "no {0} has a value of both sides (base has one in {base}, head in {head}), so there is nothing to \
             compare",
            unit.name()
        ),
        _ => format!("no {} has a value", unit.name()),
    }
}

/// `itl_ms 40.1 → 41.5 ms (+3.4 %, 95.8 % CI +2.3 … +4.6, 12 pairs, bar 2 %)`.
fn numbers(of: &Comparison, found: &SignedRank, unit: Unit) -> String {
    let change = of.change_pct().map_or_else(String::new, percent_signed);
    let interval = of.ci_pct().map_or_else(String::new, |[low, high]| {
        format!("{:.1} % CI {} … {}", 100.0 * found.interval.level, signed(low), signed(high))
    });
    let pairs = found.pairs;
    let plural = if pairs == 1 { "" } else { "s" };
    let unit = unit.name();
    format!("{} ({change}, {interval}, {pairs} {unit}{plural}, {})", values(of), bar(&of.rule))
}

fn values(of: &Comparison) -> String {
    let unit = &of.rule.unit;
    let space = if unit.is_empty() { "" } else { " " };
    format!(
        "{} {} → {}{space}{unit}",
        of.rule.metric,
        few_digits(of.base.median),
        few_digits(of.head.median)
    )
}

fn harmless(of: &Comparison, found: &SignedRank) -> String {
    let size = plain(slow_down_pct(found.estimate));
    // A slow-down of the bar itself may not be excluded; then the floor is what makes it harmless.
    let by_floor = found.interval.high >= of.rule.bar.ln_1p();
    let floor = || format!("{} {}", few_digits(of.rule.floor), of.rule.unit);
    if found.interval.low > 0.0 {
        let below = if by_floor {
            format!("below the floor of {}", floor())
        } else {
            format!("below the {} bar", bar_pct(&of.rule))
        };
        format!("slower by {size} %, {below}")
    } else if found.interval.high < 0.0 {
        format!("faster by {} %", plain(-slow_down_pct(found.estimate)))
    } else {
        let least = if by_floor { floor() } else { bar_pct(&of.rule) };
        format!("no slow-down of {least} or more")
    }
}

fn undecided(
    of: &Comparison,
    found: &SignedRank,
    why: Inconclusive,
    gated: usize,
    least_pairs: usize,
    level: f64,
    unit: Unit,
) -> String {
    let settle = match of.needed_pairs {
        Some(needed) => format!("about {needed} {}s would settle it", unit.name()),
        None if unit == Unit::Pair => {
            format!("it would take more than {MOST_PAIRS} pairs to settle it")
        }
        None => "more sessions would not settle it, the change lies at the bar".to_owned(),
    };
    let most = slow_down_pct(found.interval.high);
    let cannot = format!("cannot exclude a slow-down up to {} %; {settle}", plain(most));
    match why {
        Inconclusive::TooWide => cannot,
        Inconclusive::NotSignificant if unit == Unit::Session => format!(
            "p = {:.3} after Holm over {gated} metrics is above {level}; {cannot}",
            of.p_adjusted.unwrap_or(1.0)
        ),
        Inconclusive::NotSignificant => format!(
            "p = {:.3} after Holm is above the level {level:.4} of this look; {cannot}",
            of.p_adjusted.unwrap_or(1.0)
        ),
        Inconclusive::EstimatorsDisagree if unit == Unit::Session => {
            "mean and median of the sessions disagree on the direction".to_owned()
        }
        Inconclusive::EstimatorsDisagree => {
            let other = of.crossover.as_ref().map_or(0.0, |crossover| crossover.estimate);
            format!(
                "the estimators disagree on the direction (Hodges–Lehmann {}, crossover {}, positive \
                 is slower)",
                percent_signed(slow_down_pct(found.estimate)),
                percent_signed(slow_down_pct(other))
            )
        }
        // Those have no figures, and so no such sentence.
        Inconclusive::OneSided => cannot,
        Inconclusive::BelowFloor => {
            let metrics = if gated == 1 { "metric" } else { "metrics" };
            format!(
                "{} of at least {least_pairs} pairs; with fewer, {gated} gated {metrics} cannot become \
                 significant",
                found.pairs
            )
        }
    }
}

fn bar(rule: &Rule) -> String {
    format!("bar {}", bar_pct(rule))
}

/// `2 %`, `0.5 %`.
fn bar_pct(rule: &Rule) -> String {
    let percent = format!("{:.2}", 100.0 * rule.bar);
    format!("{} %", percent.trim_end_matches('0').trim_end_matches('.'))
}

fn percent_signed(percent: f64) -> String {
    format!("{} %", signed(percent))
}

/// One decimal, with a real minus sign, and a plus where it rises.
fn signed(value: f64) -> String {
    let digits = format!("{:.1}", value.abs());
    match digits.as_str() {
        "0.0" => digits,
        _ if value < 0.0 => format!("−{digits}"),
        _ => format!("+{digits}"),
    }
}

fn plain(value: f64) -> String {
    format!("{value:.1}").replace('-', "−")
}

/// Three or four digits.
fn few_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size > 0.0 => 3,
        _ => 0,
    };
    let digits = format!("{value:.decimals$}");
    if decimals == 0 {
        digits
    } else {
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_signs_are_real() {
        assert_eq!(
            [812.4, 41.23, 2.0, 0.0312, 0.0].map(few_digits),
            ["812", "41.2", "2", "0.031", "0"]
        );
        assert_eq!([-3.44, 0.04, 2.0].map(signed), ["−3.4", "0.0", "+2.0"]);
        assert_eq!(plain(-0.3), "−0.3");
    }
}
