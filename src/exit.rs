//! Every way to leave: the stable exit codes.
//!
//! Main type: [`ExitCode`]. The table printed by `bench-ci help exit-codes`, the README and
//! `report.json` all read it from here.

/// The exit codes of bench-ci. The numbers are public and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, and nothing that was asked for failed.
    Ok = 0,
    /// The tool itself failed: disk full, internal error.
    Tool = 1,
    /// Bad flag, scenario, threshold or limit.
    Usage = 2,
    /// Verdict: regressed.
    Regressed = 3,
    /// Verdict: cannot tell (only with `--fail-on inconclusive`).
    Inconclusive = 4,
    /// The run is not evidence: failed requests above the limit, client saturated, work not equal.
    NotEvidence = 5,
    /// The model could not be had.
    Model = 6,
    /// The server did not start, died, or never became healthy.
    Server = 7,
    /// Results kept, publishing failed.
    Publish = 8,
    /// A report file is unreadable or newer than this build.
    Report = 9,
    /// A threshold was crossed (k6's code).
    Threshold = 99,
    /// A bug in bench-ci.
    Bug = 101,
    /// Interrupted (SIGINT); the partial report is kept.
    Interrupted = 130,
    /// Terminated (SIGTERM); the partial report is kept.
    Terminated = 143,
}

impl ExitCode {
    /// All codes, ascending.
    pub const ALL: [ExitCode; 14] = [
        ExitCode::Ok,
        ExitCode::Tool,
        ExitCode::Usage,
        ExitCode::Regressed,
        ExitCode::Inconclusive,
        ExitCode::NotEvidence,
        ExitCode::Model,
        ExitCode::Server,
        ExitCode::Publish,
        ExitCode::Report,
        ExitCode::Threshold,
        ExitCode::Bug,
        ExitCode::Interrupted,
        ExitCode::Terminated,
    ];

    /// The number given to the operating system.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One line for a table.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            ExitCode::Ok => "done, and nothing asked for failed",
            ExitCode::Tool => "tool error (disk full, internal)",
            ExitCode::Usage => "bad flag, scenario, threshold or limit",
            ExitCode::Regressed => "verdict: regressed",
            ExitCode::Inconclusive => "verdict: cannot tell (only with --fail-on inconclusive)",
            ExitCode::NotEvidence => {
                "the run is not evidence: failed requests above the limit, client saturated, work not equal"
            }
            ExitCode::Model => "the model could not be had",
            ExitCode::Server => "the server did not start, died, or never became healthy",
            ExitCode::Publish => "results kept, publishing failed",
            ExitCode::Report => "a report file is unreadable or newer than this build",
            ExitCode::Threshold => "a threshold was crossed (k6's code)",
            ExitCode::Bug => "a bug in bench-ci",
            ExitCode::Interrupted => "interrupted; partial report kept",
            ExitCode::Terminated => "terminated; partial report kept",
        }
    }

    /// The table of `bench-ci help exit-codes`, one line a code.
    #[must_use]
    pub fn table() -> String {
        let mut table = String::new();
        for code in ExitCode::ALL {
            table.push_str(&format!("{:>5}  {}\n", code.code(), code.meaning()));
        }
        table
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}
