//! The one scale on which sides are compared, and the way back to what people read.
//!
//! Main function: [`difference`]. Logarithms, so that 10 % slower and 10 % faster are equally far
//! from nothing, and a ratio of medians is a difference.

use crate::stats::{Better, Known, Unknown};

/// `s·(ln head − ln base)`: positive is slower.
///
/// A metric that describes the work ([`Better::None`]) is taken as if lower were better, so that
/// its sign is the sign of the change.
///
/// # Errors
/// Where a value is not a positive finite number: there is no ratio to speak of.
pub fn difference(better: Better, base: f64, head: f64) -> Known<f64> {
    for (side, value) in [("base", base), ("head", head)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Unknown::because(format!(
                "{side} is {value}, and a ratio needs more than 0"
            )));
        }
    }
    Ok(sign(better) * (head.ln() - base.ln()))
}

/// How much slower, in per cent: 100·(e^θ − 1). Unit of `difference`: natural logarithm.
#[must_use]
pub fn slow_down_pct(difference: f64) -> f64 {
    100.0 * difference.exp_m1()
}

/// The change of the metric as measured, in per cent of base: a slow-down is a minus on a
/// throughput and a plus on a latency.
#[must_use]
pub fn change_pct(better: Better, difference: f64) -> f64 {
    100.0 * (sign(better) * difference).exp_m1()
}

/// s of the formulas.
pub(super) const fn sign(better: Better) -> f64 {
    match better {
        Better::Higher => -1.0,
        Better::Lower | Better::None => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slower_is_positive_whichever_way_the_metric_points() {
        let latency = difference(Better::Lower, 40.0, 42.0).unwrap();
        let throughput = difference(Better::Higher, 42.0, 40.0).unwrap();
        assert!((latency - throughput).abs() < 1e-15 && latency > 0.0);
        assert!((slow_down_pct(latency) - 5.0).abs() < 1e-9);
        assert!((change_pct(Better::Lower, latency) - 5.0).abs() < 1e-9);
        assert!((change_pct(Better::Higher, throughput) - -4.761_904_761_9).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_with_nothing_is_unknown_and_says_which_side() {
        for (base, head, named) in
            [(0.0, 1.0, "base"), (1.0, -1.0, "head"), (1.0, f64::NAN, "head")]
        {
            let unknown = difference(Better::Lower, base, head).unwrap_err();
            assert!(unknown.reason().starts_with(named), "{unknown}");
        }
    }
}
