//! `bench-ci compare`: files in, text and exit code out.
//!
//! Main function: [`main`].

use super::{Comparison, What, compare, read};
use crate::cli::{AcceptArg, CompareArgs, CompareFormat, FailOn};
use crate::commands::{Done, terminal_width};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::report;

/// Carries out `compare`.
///
/// # Errors
/// Where a file cannot be read, or the sides cannot be compared.
pub fn main(args: &CompareArgs) -> Result<Done, Error> {
    let of = |one: &Option<std::path::PathBuf>, several: &[std::path::PathBuf]| {
        one.iter().chain(several).cloned().collect::<Vec<_>>()
    };
    let base = read::side(&of(&args.base_file, &args.base))?;
    let head = read::side(&of(&args.head_file, &args.head))?;
    let accepted: Vec<What> = args
        .accept
        .iter()
        .map(|accept| match accept {
            AcceptArg::Server => What::Server,
            AcceptArg::Model => What::Model,
            AcceptArg::Workload => What::Workload,
        })
        .collect();
    let mut comparison = compare(&base, &head, &accepted)?;
    if comparison.verdict.is_none() && args.fail_on.is_some_and(|asked| asked != FailOn::Never) {
        comparison.warnings.push(
            "--fail-on has nothing to act on: without repeated runs there is no verdict".to_owned(),
        );
    }
    let stdout = match args.format {
        CompareFormat::Text => report::compare::text(&base, &head, &comparison, terminal_width()),
        CompareFormat::Markdown => report::compare::markdown(&base, &head, &comparison),
        CompareFormat::Json => report::compare::json(&base, &head, &comparison),
    };
    Ok(Done { stdout, exit: exit(&comparison, args.fail_on.unwrap_or(FailOn::Regressed)) })
}

fn exit(comparison: &Comparison, fail_on: FailOn) -> ExitCode {
    if fail_on == FailOn::Never {
        return ExitCode::Ok;
    }
    if !comparison.doubts.is_empty() {
        return ExitCode::NotEvidence;
    }
    comparison.verdict.map_or(ExitCode::Ok, |verdict| fail_on.exit(verdict))
}
