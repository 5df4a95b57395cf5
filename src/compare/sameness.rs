//! Whether two sides can be compared at all: what they have in common, by name.
//!
//! Main function: [`checks`]. It judges no number.

use super::side::{Side, What};

/// One thing that both sides should have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: What,
    /// `None` where a side does not say.
    pub same: Option<bool>,
    /// Base's, for people; `unknown` where it does not say.
    pub base: String,
    /// Head's, likewise.
    pub head: String,
}

impl Check {
    /// Whether a difference forbids the comparison, unless the user accepts it by name. Another
    /// machine or other flags are a warning: they may be what is asked about.
    #[must_use]
    pub const fn forbids(&self) -> bool {
        matches!(self.what, What::Server | What::Model | What::Workload)
            && matches!(self.same, Some(false))
    }

    /// The difference in words; `None` where there is none.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let Check { what, base, head, .. } = self;
        (self.same == Some(false))
            .then(|| format!("the {} differs: base \"{base}\", head \"{head}\"", what.name()))
    }
}

/// All checks, worst first. What neither side knows is left out; so is what only one of two
/// different tools records.
#[must_use]
pub fn checks(base: &Side, head: &Side) -> Vec<Check> {
    let mut checks = Vec::new();
    for what in What::ALL {
        let of =
            |side: &Side| side.trials.first().and_then(|trial| trial.facts.get(&what)).cloned();
        let (base, head) = (of(base), of(head));
        if base.is_none() && head.is_none() {
            continue;
        }
        let same = base.as_ref().zip(head.as_ref()).map(|(base, head)| base.value == head.value);
        let shown = |fact: Option<super::side::Fact>| {
            fact.map_or_else(|| "unknown".to_owned(), |fact| fact.shown)
        };
        checks.push(Check { what, same, base: shown(base), head: shown(head) });
    }
    checks
}

/// What the runs of one side do not have in common, in words; empty where they are of one kind.
#[must_use]
pub(super) fn unlike(side: &Side) -> Vec<(What, String)> {
    let Some(first) = side.trials.first() else { return Vec::new() };
    let mut found: Vec<(What, String)> = Vec::new();
    for trial in &side.trials {
        for what in What::ALL {
            let (one, other) = (first.facts.get(&what), trial.facts.get(&what));
            let differs = one.map(|fact| &fact.value) != other.map(|fact| &fact.value);
            if differs && found.iter().all(|(known, _)| *known != what) {
                let sentence = format!(
                    "the {} of \"{}\" is not that of \"{}\"",
                    what.name(),
                    trial.file,
                    first.file
                );
                found.push((what, sentence));
            }
        }
    }
    found
}
