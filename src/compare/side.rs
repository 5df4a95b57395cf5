//! One side of a comparison: its runs, and what each of them was made with.
//!
//! Main types: [`Side`], [`Trial`] and [`Figure`]. They are the same whoever wrote the file; which
//! tool it was is in [`Source`].

use std::collections::BTreeMap;

use crate::stats::Better;
use crate::verdict::{Role, Work};

/// The runs of one side, at least one, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The runs.
    pub trials: Vec<Trial>,
}

/// Who wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `report.json` of `run`.
    BenchCi,
    /// `--summary-export` of k6 with llama.cpp's `script.js`.
    K6,
    /// llama-bench's `-o json` or `-o jsonl`.
    LlamaBench,
}

impl Source {
    /// As in the JSON of a comparison.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Source::BenchCi => "bench-ci",
            Source::K6 => "k6",
            Source::LlamaBench => "llama-bench",
        }
    }
}

/// What two runs may have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Simulator, llama-server or a server that was already there.
    Server,
    /// The model's digest, or what a tool without digests says of it.
    Model,
    /// Digest over every request.
    Workload,
    /// The machine's fingerprint.
    Machine,
    /// What the server was started with.
    Flags,
    /// Major version of bench-ci.
    Tool,
}

impl What {
    /// All, worst first.
    pub const ALL: [What; 6] =
        [What::Server, What::Model, What::Workload, What::Machine, What::Flags, What::Tool];

    /// For people, and in the JSON of a comparison.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            What::Server => "server",
            What::Model => "model",
            What::Workload => "workload",
            What::Machine => "machine",
            What::Flags => "server flags",
            What::Tool => "bench-ci version",
        }
    }
}

/// What identifies one thing: the value that is compared, and how a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Equal values: the same thing.
    pub value: String,
    /// For people.
    pub shown: String,
}

impl Fact {
    /// One that is shown as it is.
    pub(super) fn plain(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { shown: value.clone(), value }
    }
}

/// One finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The file, as it was named.
    pub file: String,
    /// Who wrote it.
    pub source: Source,
    /// Different for every run of bench-ci; `None` where the tool gives none.
    pub id: Option<String>,
    /// When it began, RFC 3339 in UTC; `None` where the tool does not say.
    pub started_at: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// What it was made with, as far as it is known.
    pub facts: BTreeMap<What, Fact>,
    /// Why its numbers are no evidence, each a fragment; empty where they are.
    pub doubts: Vec<String>,
    /// What it did; `None` where the tool does not count.
    pub work: Option<Work>,
    /// Its numbers, in the order of reports.
    pub figures: Vec<Figure>,
}

/// One number of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The public name, with the percentile where it is one: `ttft_ms_p50`.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// Whether it decides, where anything may be decided.
    pub role: Role,
    /// The value, finite.
    pub value: f64,
    /// The run's own 95 % interval; `None` where the file has none. It knows nothing of the luck of
    /// a server's start.
    pub interval: Option<[f64; 2]>,
    /// How many values it was made of; `None` where the file does not say.
    pub count: Option<u64>,
}
