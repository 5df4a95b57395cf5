//! `bench-ci compare`: files in, text and exit code out.
//!
//! Main function: [`main`].

use super::{Comparison, What, compare, read};
use crate::cli::{AcceptArg, CompareArgs, CompareFormat, FailOnArg};
use crate::commands::{Done, terminal_width};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::report;
use crate::verdict::Verdict;

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
    if comparison.verdict.is_none() && args.fail_on.is_some_and(|asked| asked != FailOnArg::Never) {
        comparison.warnings.push(
            "--fail-on has nothing to act on: without repeated runs there is no verdict".to_owned(),
        );
    }
    let stdout = match args.format {
        CompareFormat::Text => report::compare::text(&base, &head, &comparison, terminal_width()),
        CompareFormat::Markdown => report::compare::markdown(&base, &head, &comparison),
        CompareFormat::Json => report::compare::json(&base, &head, &comparison),
    };
    Ok(Done { stdout, exit: exit(&comparison, args.fail_on.unwrap_or(FailOnArg::Regressed)) })
}

fn exit(comparison: &Comparison, fail_on: FailOnArg) -> ExitCode {
    if fail_on == FailOnArg::Never {
        return ExitCode::Ok;
    }
    if !comparison.doubts.is_empty() {
        return ExitCode::NotEvidence;
    }
    match comparison.verdict {
        Some(Verdict::Invalid) => ExitCode::NotEvidence,
        Some(Verdict::Regressed) => ExitCode::Regressed,
        Some(Verdict::Improved) if fail_on == FailOnArg::Improved => ExitCode::Regressed,
        Some(Verdict::Inconclusive) if fail_on == FailOnArg::Inconclusive => ExitCode::Inconclusive,
        _ => ExitCode::Ok,
    }
}
