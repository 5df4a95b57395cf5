//! Which verdicts fail a call; the same of `ab`, `bisect` and `compare`.

use clap::ValueEnum;

use crate::exit::ExitCode;
use crate::verdict::Verdict;

/// Which verdicts fail the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Head is slower
    Regressed,
    /// Head is slower, or nobody can tell
    Inconclusive,
    /// Head is slower or faster: nothing may change
    Improved,
    /// None
    Never,
}

impl FailOn {
    /// What a verdict makes the process leave with.
    #[must_use]
    pub const fn exit(self, verdict: Verdict) -> ExitCode {
        match (verdict, self) {
            (_, FailOn::Never) => ExitCode::Ok,
            (Verdict::Regressed, _) | (Verdict::Improved, FailOn::Improved) => ExitCode::Regressed,
            (Verdict::Invalid, _) => ExitCode::NotEvidence,
            (Verdict::Inconclusive, FailOn::Inconclusive) => ExitCode::Inconclusive,
            _ => ExitCode::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_under_each_choice() {
        let codes = |fail_on: FailOn| Verdict::ALL.map(|verdict| fail_on.exit(verdict).code());
        // Regressed, invalid, inconclusive, improved, no regression.
        assert_eq!(codes(FailOn::Regressed), [3, 5, 0, 0, 0]);
        assert_eq!(codes(FailOn::Inconclusive), [3, 5, 4, 0, 0]);
        assert_eq!(codes(FailOn::Improved), [3, 5, 0, 3, 0]);
        assert_eq!(codes(FailOn::Never), [0, 0, 0, 0, 0]);
    }
}
