//! One configuration of a matrix on the page, and how it stands.
//!
//! Main types: [`Cell`], [`Standing`]. Nothing is judged anew: the verdict is the report's own.

use super::measured;
use crate::artifact::{
    AbReport, AbVerdict, ComparisonRole, MetricComparison, Report, RunStatus, SuiteReport,
};
use crate::report::{Verdict, Word};

/// One configuration: a job of a matrix, with what it left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// What it is called, such as `cuda-t4 q4_0`. From outside; escaped when shown.
    pub name: String,
    /// What it left behind.
    pub content: Content,
}

/// What a configuration left behind.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A comparison of two servers.
    Comparison(Box<AbReport>),
    /// A run without anything to compare with.
    Run(Box<Report>),
    /// Several runs in one.
    Suite(Box<SuiteReport>),
    /// No report, or one that was refused: why, as a fragment.
    Nothing(String),
}

/// How a configuration, or one metric of it, stands. The order is the order on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Slower, for sure.
    Regressed,
    /// The numbers are not evidence.
    Invalid,
    /// There are no numbers.
    NotMeasured,
    /// It cannot be told.
    Inconclusive,
    /// Faster, for sure.
    Improved,
    /// Not slower by as much as matters.
    NoRegression,
    /// Measured, and compared with nothing.
    Measured,
}

impl Standing {
    /// A sign that can be told without colours; a word always stands beside it.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Standing::Regressed => "❌",
            Standing::Invalid => "⚠️",
            Standing::NotMeasured => "⚪",
            Standing::Inconclusive => "❔",
            Standing::Improved | Standing::NoRegression => "✅",
            Standing::Measured => "📏",
        }
    }

    /// In which a reviewer must act, or somebody must look at the machine.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Standing::Regressed | Standing::Invalid | Standing::NotMeasured)
    }

    /// The one that a word stands for, with a dash where the word has a blank.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        [
            Standing::Regressed,
            Standing::Invalid,
            Standing::NotMeasured,
            Standing::Inconclusive,
            Standing::Improved,
            Standing::NoRegression,
            Standing::Measured,
        ]
        .into_iter()
        .find(|standing| standing.word().replace(' ', "-") == word)
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Standing::Regressed => "regressed",
            Standing::Invalid => "invalid",
            Standing::NotMeasured => "not measured",
            Standing::Inconclusive => "inconclusive",
            Standing::Improved => "improved",
            Standing::NoRegression => "no regression",
            Standing::Measured => "measured",
        }
    }
}

impl From<AbVerdict> for Standing {
    fn from(verdict: AbVerdict) -> Self {
        match verdict {
            AbVerdict::Regressed => Standing::Regressed,
            AbVerdict::Improved => Standing::Improved,
            AbVerdict::NoRegression => Standing::NoRegression,
            AbVerdict::Inconclusive => Standing::Inconclusive,
            AbVerdict::Invalid => Standing::Invalid,
        }
    }
}

impl Cell {
    /// How it stands as a whole.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.content {
            Content::Nothing(_) => Standing::NotMeasured,
            Content::Comparison(report) if report.run.status == RunStatus::Failed => {
                Standing::NotMeasured
            }
            Content::Comparison(report) => report.verdict.into(),
            Content::Run(report) if report.run.status == RunStatus::Failed => Standing::NotMeasured,
            Content::Run(report) => match Verdict::of(report).word {
                Word::Ok => Standing::Measured,
                Word::Partial | Word::Accepted | Word::Failed => Standing::Invalid,
            },
            Content::Suite(suite) => measured::standing(suite),
        }
    }

    /// Why it stands where it does, in words from outside; empty where its figures say it.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.content {
            Content::Nothing(why) => why.clone(),
            Content::Comparison(report) if self.standing() == Standing::NotMeasured => {
                report.run.causes.join("; ")
            }
            Content::Comparison(report) => report.reasons.first().cloned().unwrap_or_default(),
            Content::Run(report) if self.standing() == Standing::NotMeasured => {
                report.run.causes.join("; ")
            }
            Content::Run(report) => Verdict::of(report).sentence,
            Content::Suite(suite) => measured::reason(suite),
        }
    }

    /// The comparison, if it is one.
    pub(super) fn comparison(&self) -> Option<&AbReport> {
        match &self.content {
            Content::Comparison(report) => Some(report),
            _ => None,
        }
    }

    /// The gated metrics of a comparison, worst first; those that stand alike as the report has them,
    /// but of two that got slower the one that got slower by more.
    #[must_use]
    pub fn gated(&self) -> Vec<&MetricComparison> {
        let mut gated: Vec<&MetricComparison> = self
            .comparison()
            .into_iter()
            .flat_map(|report| &report.comparisons)
            .filter(|comparison| comparison.role == ComparisonRole::Gate)
            .collect();
        gated.sort_by(|one, other| {
            let standing = |of: &MetricComparison| of.verdict.map(Standing::from);
            // `None` sorts before everything; a gate without a verdict belongs last.
            let rank = |of: &MetricComparison| standing(of).unwrap_or(Standing::Measured);
            let slower = |of: &MetricComparison| match rank(of) {
                Standing::Regressed => size(of),
                _ => 0.0,
            };
            rank(one).cmp(&rank(other)).then(slower(other).total_cmp(&slower(one)))
        });
        gated
    }
}

/// How large a change is, whichever way.
pub(super) fn size(of: &MetricComparison) -> f64 {
    of.change_pct.unwrap_or(0.0).abs()
}

/// The cells, worst first; equal ones by name.
pub(super) fn worst_first(cells: &[Cell]) -> Vec<&Cell> {
    let mut sorted: Vec<&Cell> = cells.iter().collect();
    let largest = |cell: &Cell| cell.gated().first().map_or(0.0, |of| size(of));
    sorted.sort_by(|one, other| {
        one.standing()
            .cmp(&other.standing())
            .then(largest(other).total_cmp(&largest(one)))
            .then(one.name.cmp(&other.name))
    });
    sorted
}
