//! What a comparison must not forget: written after each pair, read by `--resume`.
//!
//! Main type: [`State`], the file `ab-state.json`. It holds what was measured and what was decided
//! before; what it comes to is worked out anew from it each time, so that a resumed session and an
//! uninterrupted one are judged by the same code.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::course::{Cost, Sizing};
use super::error::AbError;
use crate::artifact::{Sitting, Trial, store};
use crate::error::Error;
use crate::verdict::contamination::BlockMachine;
use crate::verdict::design::Order;
use crate::verdict::{Side, Work};

/// The file's name inside the output folder; gone once the comparison is over.
pub(super) const FILE: &str = "ab-state.json";

/// Everything that a session has come to so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Everything that must stay the same for the session to be carried on.
    pub(super) plan: Value,
    /// Seed of every order.
    pub(super) seed: u64,
    /// `None` until the first waves have shown it.
    pub(super) sizing: Option<Sizing>,
    /// Every pair that was played to its end, spoilt ones too, in order.
    pub(super) pairs: Vec<PairRecord>,
    /// The calls that it took.
    pub(super) sittings: Vec<Sitting>,
    /// The digest of the model, once it is known.
    pub(super) model_sha256: Option<String>,
    /// What a reader should know, once each.
    pub(super) warnings: Vec<String>,
}

/// One pair as it was played.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PairRecord {
    /// From 0.
    pub(super) pair: usize,
    /// How often it had been played before.
    pub(super) attempt: u32,
    /// `AB` or `BA`.
    pub(super) order: String,
    /// In the order in which the sides came.
    pub(super) trials: Vec<Trial>,
    /// Each metric, by public name.
    pub(super) points: BTreeMap<String, Point>,
    /// What base did.
    pub(super) base: WorkRecord,
    /// What head did.
    pub(super) head: WorkRecord,
    /// Turns before which the other side's server did not fall silent, of both sides together.
    #[serde(default)]
    pub(super) restless: u64,
    /// The machine around it: the mean probe before and after, milliseconds.
    pub(super) probe_ms: Option<[f64; 2]>,
    /// Probes next to base and next to head, in restart mode.
    pub(super) probes_by_side: Option<(f64, f64)>,
    /// Per cent.
    pub(super) steal_pct: Option<f64>,
    /// Which side's server died, and how.
    pub(super) crash: Option<(String, String)>,
    /// It was played to its end.
    pub(super) complete: bool,
    /// Why the machine spoilt it; `None` where it did not, or where nobody can tell yet.
    pub(super) spoilt: Option<String>,
    /// Seconds from the first start to the last stop.
    pub(super) took_s: f64,
    /// Of those, finding out how much to ask; only of the first.
    #[serde(default)]
    pub(super) sizing_s: f64,
    /// Of those, the measured turns of both sides.
    pub(super) loaded_s: f64,
}

/// One metric in one pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    /// Positive is slower; `None` where there is no ratio.
    pub(super) difference: Option<f64>,
    /// In the metric's unit.
    pub(super) base: f64,
    /// In the metric's unit.
    pub(super) head: f64,
}

/// What one side did in one pair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct WorkRecord {
    /// Measured requests.
    pub(super) requests: u64,
    /// Failed ones.
    pub(super) failed: u64,
    /// Of turns in which neither side failed; `None` where a request came without a count.
    pub(super) prompt_tokens: Option<u64>,
    /// Likewise.
    pub(super) output_tokens: Option<u64>,
    /// An example of each kind of failure.
    pub(super) failures: BTreeMap<String, String>,
}

impl WorkRecord {
    /// Adds another pair's.
    pub(super) fn add(&self, to: &mut Work) {
        let sum = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        to.requests += self.requests;
        to.failed += self.failed;
        to.prompt_tokens = sum(to.prompt_tokens, self.prompt_tokens);
        to.output_tokens = sum(to.output_tokens, self.output_tokens);
    }
}

impl PairRecord {
    /// Which side went first.
    pub(super) fn order(&self) -> Order {
        if self.order == Order::BaseFirst.name() { Order::BaseFirst } else { Order::HeadFirst }
    }

    /// Whether a side has a value of a metric, even where the other has none to compare it with.
    pub(super) fn has_value(&self, side: Side, metric: &str) -> bool {
        let side = side.to_string();
        self.trials.iter().any(|trial| trial.side == side && trial.metrics.contains_key(metric))
    }

    /// What it cost, for those who size the next.
    pub(super) fn cost(&self, restart: bool) -> Cost {
        let amounts = self.trials.iter().map(|trial| {
            usize::try_from(if restart { trial.requests } else { trial.slices })
                .unwrap_or(usize::MAX)
        });
        Cost {
            took_s: self.took_s - self.sizing_s,
            loaded_s: self.loaded_s,
            amount: amounts.max().unwrap_or_default(),
        }
    }

    /// For the rule that knows only the machine.
    pub(super) fn machine(&self) -> BlockMachine {
        BlockMachine { probe_ms: self.probe_ms, steal_pct: self.steal_pct }
    }

    /// Its numbers count.
    pub(super) fn counts(&self) -> bool {
        self.complete && self.spoilt.is_none()
    }
}

impl State {
    /// Of a session that begins.
    pub(super) fn begin(plan: Value, seed: u64) -> Self {
        Self {
            plan,
            seed,
            sizing: None,
            pairs: Vec::new(),
            sittings: Vec::new(),
            model_sha256: None,
            warnings: Vec::new(),
        }
    }

    /// What a reader should know; what was said before is not said again.
    pub(super) fn warn(&mut self, said: &[String]) {
        let new: Vec<String> =
            said.iter().filter(|warning| !self.warnings.contains(warning)).cloned().collect();
        self.warnings.extend(new);
    }

    /// Of a session that was interrupted in this folder.
    ///
    /// # Errors
    /// There is none, it is damaged, or it was begun with other settings.
    pub(super) fn resume(out_dir: &Path, plan: &Value) -> Result<Self, Error> {
        interrupted(out_dir, FILE, plan, |state: &Self| &state.plan)
    }

    /// Writes it: whole, or not at all.
    pub(super) fn save(&self, out_dir: &Path) -> Result<(), Error> {
        keep(self, out_dir, FILE)
    }

    /// Requests of a side that failed before anything was measured: at first waves and warm-ups.
    pub(super) fn failed_in_warm_up(&self, side: Side) -> u64 {
        let side = side.to_string();
        let trials = self.pairs.iter().flat_map(|record| &record.trials);
        trials.filter(|trial| trial.side == side).map(|trial| trial.warmup.failed).sum()
    }

    /// Digest over the plan.
    pub(super) fn digest(&self) -> String {
        let text = self.plan.to_string();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What was kept in this folder, if it was begun with the same plan.
///
/// # Errors
/// There is nothing, it is damaged, or it was begun with other settings.
pub(super) fn interrupted<T: DeserializeOwned>(
    out_dir: &Path,
    file: &str,
    plan: &Value,
    plan_of: fn(&T) -> &Value,
) -> Result<T, Error> {
    let path = out_dir.join(file);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(AbError::NothingToResume { out_dir: out_dir.to_owned() }.into());
        }
        Err(source) => return Err(Error::Output { attempt: "read", path, source }),
    };
    let kept: T =
        serde_json::from_slice(&text).map_err(|source| AbError::State { path, source })?;
    match first_difference(plan_of(&kept), plan, "") {
        None => Ok(kept),
        Some(what) => Err(AbError::OtherPlan { out_dir: out_dir.to_owned(), what }.into()),
    }
}

/// Writes what must not be forgotten: whole, or not at all.
///
/// # Errors
/// The folder cannot be written to.
pub(super) fn keep(what: &impl Serialize, out_dir: &Path, file: &str) -> Result<(), Error> {
    let text = serde_json::to_vec(what).expect("keys are strings, and no number is NaN");
    Ok(store::write(&out_dir.join(file), &text)?)
}

/// The path of the first setting that differs, such as `base.target.extra_args`.
fn first_difference(one: &Value, other: &Value, path: &str) -> Option<String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))).find_map(|key| {
                first_difference(
                    one.get(key).unwrap_or(&Value::Null),
                    other.get(key).unwrap_or(&Value::Null),
                    &below(key),
                )
            })
        }
        _ => (one != other).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::first_difference;

    #[test]
    fn the_first_setting_that_differs_is_named() {
        let one = json!({"a": {"b": [1, 2], "c": 3}, "d": null});
        assert_eq!(first_difference(&one, &one, ""), None);
        let other = json!({"a": {"b": [1, 3], "c": 3}, "d": null});
        assert_eq!(first_difference(&one, &other, ""), Some("a.b".to_owned()));
        let more = json!({"a": {"b": [1, 2], "c": 3}, "d": null, "e": 1});
        assert_eq!(first_difference(&one, &more, ""), Some("e".to_owned()));
    }
}
