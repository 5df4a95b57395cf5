//! Durations as people write them: `300ms`, `90s`, `5m`, `1h30m`.
//!
//! Main functions: [`parse`] and its inverse [`format()`]. Scenario files and flags share them, so
//! that a duration means the same wherever it is typed. It knows no calendar: no days, no dates.

use std::time::Duration;

use thiserror::Error;

/// The units, largest first, with their length in nanoseconds.
const UNITS: [(&str, u64); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// Why a text is not a duration. It is a fragment: the caller names the value and where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a number followed by a unit, or units out of order, or a unit twice.
    #[error("expected a number and s, m or h, such as 90s")]
    Shape,
    /// More than a `Duration` can usefully be: above 10,000 hours.
    #[error("expected at most 10000h")]
    TooLong,
}

/// Longest duration that is accepted, in nanoseconds: far above any run, far below overflow of the
/// clock arithmetic behind it.
const LONGEST_NS: u128 = 10_000 * 3_600_000_000_000;

/// Reads a duration: one or more numbers, each with its unit, largest unit first, no blanks inside.
/// A number may have decimals (`1.5s`, `0.3s`). A bare number has no unit and is an error.
///
/// # Errors
///
/// [`DurationError`], worded as the last part of `invalid value "…" for …: …`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut total_ns: u128 = 0;
    let mut units_left: &[(&str, u64)] = &UNITS;
    if rest.is_empty() {
        return Err(DurationError::Shape);
    }
    while !rest.is_empty() {
        let number_end =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Shape)?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let position =
            units_left.iter().position(|(name, _)| *name == unit).ok_or(DurationError::Shape)?;
        let (_, unit_ns) = units_left[position];
        units_left = &units_left[position + 1..];
        total_ns = total_ns
            .checked_add(number_times_unit(number, unit_ns)?)
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    if total_ns > LONGEST_NS {
        return Err(DurationError::TooLong);
    }
    let whole_s = u64::try_from(total_ns / 1_000_000_000).expect("bounded by LONGEST_NS");
    let left_ns = u32::try_from(total_ns % 1_000_000_000).expect("a remainder below 10^9");
    Ok(Duration::new(whole_s, left_ns))
}

/// Exact decimal arithmetic: 0.3 s is 300,000,000 ns, which a float would miss by a little, and the
/// workload hash would see it.
fn number_times_unit(number: &str, unit_ns: u64) -> Result<u128, DurationError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err(DurationError::Shape);
    }
    let whole: u128 = whole.parse().map_err(|_too_many_digits| DurationError::TooLong)?;
    let mut total = whole.checked_mul(u128::from(unit_ns)).ok_or(DurationError::TooLong)?;
    let mut place = u128::from(unit_ns);
    let mut carried: u128 = 0;
    // Digits below a nanosecond are cut off; nobody can mean them.
    let mut scale: u128 = 1;
    for digit in fraction.bytes().take(15) {
        scale *= 10;
        carried = carried * 10 + u128::from(digit - b'0');
    }
    place *= carried;
    total = total.checked_add(place / scale).ok_or(DurationError::TooLong)?;
    Ok(total)
}

/// Writes a duration as [`parse`] reads it, exact to the millisecond and shortest: `1h30m`, `90s`
/// becomes `1m30s`, zero is `0s`. What is below a millisecond is shown as decimals of `ms`.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (unit, unit_ns) in UNITS {
        let unit_ns = u128::from(unit_ns);
        let count = left / unit_ns;
        if unit == "ms" {
            let below = left % unit_ns;
            if below > 0 {
                let decimals = format!("{below:06}");
                text.push_str(&format!("{count}.{}ms", decimals.trim_end_matches('0')));
                return text;
            }
        }
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            left %= unit_ns;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_documented_form_is_read() {
        for (text, ms) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("300ms", 300),
            ("0.3s", 300),
            ("1.5s", 1_500),
            ("1m0.25s", 60_250),
            ("0s", 0),
            (" 10s ", 10_000),
            ("10000h", 36_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_mistake_says_what_was_expected() {
        let shape = "expected a number and s, m or h, such as 90s";
        for text in [
            "10 minutes",
            "",
            " ",
            "10",
            "s",
            "-5s",
            "+5s",
            "1.s",
            ".5s",
            "1..5s",
            "1.2.3s",
            "5m1h",
            "5s5s",
            "5x",
            "1e3s",
            "５s",
            "5 s",
            "1h 30m",
            "5S",
            "inf",
            "1d",
        ] {
            assert_eq!(
                parse(text).map_err(|error| error.to_string()),
                Err(shape.to_owned()),
                "{text:?}"
            );
        }
        for text in
            ["10000h1ms", "99999999999999999999999999999999999999999999h", "18446744073709551616m"]
        {
            assert_eq!(parse(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        for (ms, text) in
            [(0, "0s"), (300, "300ms"), (90_000, "1m30s"), (5_400_000, "1h30m"), (1_500, "1s500ms")]
        {
            assert_eq!(format(Duration::from_millis(ms)), text);
        }
        assert_eq!(format(Duration::from_nanos(1_500_500)), "1.5005ms");
        assert_eq!(format(Duration::from_micros(250)), "0.25ms");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ns in 0u64..36_000_000_000_000_000) {
            let duration = Duration::from_nanos(ns);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            // Whatever the outcome, it is an outcome; a panic fails the test.
            let outcome = parse(&text);
            prop_assert!(outcome.is_ok() || outcome.is_err());
        }
    }
}
