//! The flags of `calibrate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ProgressMode;
use crate::plan::duration;

/// Everything `bench-ci calibrate` takes.
#[derive(Debug, Clone, Args)]
pub struct CalibrateArgs {
    /// Concurrent users to try [default: 8,64,256, unless only --rates is given]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub users: Vec<u32>,
    /// Requests per second to try [default: 100,500,2000, unless only --users is given]
    #[arg(long, value_name = "R,…", value_delimiter = ',', value_parser = rate)]
    pub rates: Vec<f64>,
    /// How long each of them is tried
    ///
    /// A 99th percentile needs 100 requests: with 8 users about 4 seconds.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub duration: Duration,
    /// calibration.json and calibration.md go here and nowhere else
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    pub out_dir: PathBuf,
    /// How progress is shown, on stderr
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
    /// Show nothing but errors and the table
    #[arg(long, short)]
    pub quiet: bool,
}

/// Fastest rate that can be asked for: more connections a second than one address has ports for.
const HIGHEST_RATE: f64 = 1_000_000.0;

fn rate(typed: &str) -> Result<f64, String> {
    match typed.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= HIGHEST_RATE => Ok(rate),
        _ => Err("expected requests per second, above 0 and at most 1,000,000".to_owned()),
    }
}
