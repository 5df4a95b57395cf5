//! Rates as a person writes them: `50GB/s`, `1.5TFLOPS`.
//!
//! Main types: [`Bandwidth`] and [`Flops`]. A bare number would leave its unit to guessing, so the
//! unit is asked for.

use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// Bytes per second, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Bandwidth(pub f64);

/// Floating point operations per second, above zero; a multiplication and an addition are two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Flops(pub f64);

/// A text that is no such rate. A fragment: the caller names the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// No bandwidth.
    #[error("expected a number above zero and MB/s, GB/s, TB/s or GiB/s, such as 50GB/s")]
    Bandwidth,
    /// No arithmetic rate.
    #[error("expected a number above zero and GFLOPS, TFLOPS or PFLOPS, such as 1.5TFLOPS")]
    Flops,
}

const BANDWIDTHS: [(&str, f64); 9] = [
    ("kb/s", 1e3),
    ("mb/s", 1e6),
    ("gb/s", 1e9),
    ("tb/s", 1e12),
    ("kib/s", 1024.0),
    ("mib/s", 1_048_576.0),
    ("gib/s", 1_073_741_824.0),
    ("tib/s", 1_099_511_627_776.0),
    ("b/s", 1.0),
];

const FLOPS: [(&str, f64); 8] = [
    ("mflops", 1e6),
    ("gflops", 1e9),
    ("tflops", 1e12),
    ("pflops", 1e15),
    ("mflop/s", 1e6),
    ("gflop/s", 1e9),
    ("tflop/s", 1e12),
    ("pflop/s", 1e15),
];

fn parse(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let value = number.parse::<f64>().ok()? * factor;
    (value.is_finite() && value > 0.0).then_some(value)
}

impl FromStr for Bandwidth {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &BANDWIDTHS).map(Self).ok_or(QuantityError::Bandwidth)
    }
}

impl FromStr for Flops {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &FLOPS).map(Self).ok_or(QuantityError::Flops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        assert_eq!("50GB/s".parse(), Ok(Bandwidth(50e9)));
        assert_eq!("1.5 TB/s".parse(), Ok(Bandwidth(1.5e12)));
        assert_eq!("2gib/s".parse(), Ok(Bandwidth(2_147_483_648.0)));
        assert_eq!("1TFLOPS".parse(), Ok(Flops(1e12)));
        assert_eq!("312 tflop/s".parse(), Ok(Flops(312e12)));
        for text in ["", "50", "GB/s", "0GB/s", "-1GB/s", "1e3GB/s", "50GB", "nanGB/s", "1.2.3GB/s"]
        {
            assert_eq!(text.parse::<Bandwidth>(), Err(QuantityError::Bandwidth), "{text}");
        }
        for text in ["1", "1GB/s", "0TFLOPS", "infTFLOPS"] {
            assert_eq!(text.parse::<Flops>(), Err(QuantityError::Flops), "{text}");
        }
    }
}
