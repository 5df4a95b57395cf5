//! Why a field is `null`.
//!
//! Main type: [`Unknowns`]. The two walkers below hold the promise of the schema: one finds a `null`
//! without a reason, the other sees to it that none is ever written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::stats::Known;

/// The reasons for the `null`s of one object: field name → words. Empty, and left out of the JSON,
/// where nothing is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Unknowns(BTreeMap<String, String>);

impl Unknowns {
    /// Nothing is unknown.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// True if nothing is unknown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why this field is `null`.
    #[must_use]
    pub fn reason(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Notes why a field is `null`.
    pub fn note(&mut self, field: &str, reason: impl Into<String>) {
        self.0.insert(field.to_owned(), reason.into());
    }

    /// Takes a reason away: the field has a value after all.
    pub fn forget(&mut self, field: &str) {
        self.0.remove(field);
    }

    /// The same, for building an object in one expression.
    #[must_use]
    pub fn with(mut self, field: &str, reason: impl Into<String>) -> Self {
        self.note(field, reason);
        self
    }

    /// A value, or `None` with its reason noted.
    pub fn take<T>(&mut self, field: &str, known: Known<T>) -> Option<T> {
        known.map_err(|unknown| self.note(field, unknown.reason())).ok()
    }

    /// A value that the caller may not have, with the reason to note where it has not.
    pub fn option<T>(&mut self, field: &str, value: Option<T>, reason: &str) -> Option<T> {
        if value.is_none() {
            self.note(field, reason);
        }
        value
    }

    /// A number; one that is not finite becomes `None` with that as its reason.
    pub fn number(&mut self, field: &str, known: Known<f64>) -> Option<f64> {
        let value = self.take(field, known)?;
        if value.is_finite() {
            return Some(value);
        }
        self.note(field, NOT_FINITE);
        None
    }

    /// An interval; one with an end that is not finite becomes `None` with that as its reason.
    pub fn interval(&mut self, field: &str, known: Known<[f64; 2]>) -> Option<[f64; 2]> {
        let value = self.take(field, known)?;
        if value.iter().all(|end| end.is_finite()) {
            return Some(value);
        }
        self.note(field, NOT_FINITE);
        None
    }
}

const NOT_FINITE: &str = "the computed value is not a finite number";

/// Every `null` of a report whose name is not a key of `unknown` in the same object, as JSON
/// pointers. A `null` inside a column of numbers is explained under the column's name.
#[must_use]
pub fn unexplained_nulls(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(report, "", &mut found);
    found
}

fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}/{name}");
                match value {
                    Value::Null if !is_explained(object, name) => found.push(path),
                    Value::Null => {}
                    column if has_gaps(column) && is_explained(object, name) => {}
                    other => walk(other, &path, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let path = format!("{path}/{index}");
                match value {
                    Value::Null => found.push(path),
                    other => walk(other, &path, found),
                }
            }
        }
        _ => {}
    }
}

/// Whether it is a column some values of which are not known. A list of objects is none.
fn has_gaps(value: &Value) -> bool {
    value.as_array().is_some_and(|items| {
        items.iter().any(Value::is_null)
            && items.iter().all(|item| item.is_null() || item.is_number())
    })
}

fn is_explained(object: &Map<String, Value>, name: &str) -> bool {
    object
        .get("unknown")
        .and_then(|unknown| unknown.get(name))
        .and_then(Value::as_str)
        .is_some_and(|reason| !reason.trim().is_empty())
}

/// Gives every `null` field that has no reason one: the usual reason for that field, or that none was
/// recorded; takes away the reasons of fields that are known after all. The last guard before writing:
/// serde_json writes a NaN as `null` without a word.
pub fn explain_nulls(report: &mut Value) {
    explain(report, "");
}

fn explain(value: &mut Value, parent: &str) {
    match value {
        Value::Object(object) => {
            forget_known(object);
            let nameless: Vec<String> = object
                .iter()
                .filter(|(name, value)| {
                    (value.is_null() || has_gaps(value)) && !is_explained(object, name)
                })
                .map(|(name, _)| name.clone())
                .collect();
            if !nameless.is_empty() {
                let unknown = object.entry("unknown").or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(unknown) = unknown {
                    for name in nameless {
                        let reason = usual_reason(parent, &name);
                        unknown.insert(name, Value::String(reason.to_owned()));
                    }
                }
            }
            for (name, value) in object.iter_mut().filter(|(name, _)| *name != "unknown") {
                explain(value, name);
            }
        }
        Value::Array(items) => {
            for item in items {
                explain(item, parent);
            }
        }
        _ => {}
    }
}

/// A reason was noted early and the value came later: it would contradict itself.
fn forget_known(object: &mut Map<String, Value>) {
    let Some(Value::Object(mut reasons)) = object.remove("unknown") else { return };
    let is_unknown = |value: &Value| value.is_null() || has_gaps(value);
    reasons.retain(|name, _| object.get(name).is_some_and(is_unknown));
    if !reasons.is_empty() {
        object.insert("unknown".to_owned(), Value::Object(reasons));
    }
}

/// Why a field is usually absent, for callers that had nothing more exact to say.
fn usual_reason(parent: &str, field: &str) -> &'static str {
    match (parent, field) {
        ("tool", "commit") => "this build does not know its commit",
        ("run", "branch" | "commit" | "dirty") => "no git repository was found, and nobody said it",
        ("run", "runner_label") => "no label was given and the host's name is not known",
        ("run", "exit_code") => "the run had not ended when this was written",
        ("run", "finished_at" | "duration_s") => "the run had not ended when this was written",
        ("machine", "cgroup_cpu_limit") => "no limit is set, or this system has no control groups",
        ("report" | "", "model") => "the model of this server is not known",
        ("report" | "", "prometheus") => "none was asked; see --prometheus",
        ("report" | "", "conversations") => "requests stand for themselves",
        ("model", "hf_repo" | "hf_file" | "revision") => "the model did not come from the Hub",
        ("model", "file") => "no file was used",
        ("model", "gguf") => "the model file was not read",
        ("server", "exit") => "the server was not stopped by this run",
        ("server", "start_s") => "the server was not started by this run",
        ("exit", "code") => "the server was ended by a signal",
        ("exit", "signal") => "the server ended by itself",
        ("scenario", "file") => "it is a built-in scenario",
        ("resources", "server") => "the server is not a process of this run",
        _ => "not recorded",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stats::Unknown;

    #[test]
    fn a_null_without_a_reason_is_found_at_any_depth() {
        let report = json!({
            "a": null,
            "b": {"c": null, "unknown": {"c": "because"}},
            "d": [{"e": null, "unknown": {"e": ""}}, null],
            "unknown": {"x": "another field"},
        });
        assert_eq!(unexplained_nulls(&report), ["/a", "/d/0/e", "/d/1"]);
    }

    #[test]
    fn gaps_of_a_column_are_explained_under_its_name() {
        let mut report = json!({"a": [1, null, 2.5], "b": [1, 2], "c": [{"d": null}, null],
            "unknown": {"b": "early"}});
        assert_eq!(unexplained_nulls(&report), ["/a/1", "/c/0/d", "/c/1"]);
        explain_nulls(&mut report);
        assert_eq!(report["unknown"], json!({"a": "not recorded"}));
        assert_eq!(unexplained_nulls(&report), ["/c/1"]);
        report["a"][1] = json!("no number");
        report["a"][0] = json!(null);
        assert_eq!(unexplained_nulls(&report), ["/a/0", "/c/1"]);
    }

    #[test]
    fn what_is_explained_is_left_alone_and_the_rest_is_given_a_reason() {
        let mut report = json!({
            "run": {"branch": null, "commit": null, "unknown": {"commit": "a tarball"}},
            "list": [{"value": null}],
        });
        explain_nulls(&mut report);
        assert_eq!(unexplained_nulls(&report), [""; 0]);
        assert_eq!(report["run"]["unknown"]["commit"], "a tarball");
        assert_eq!(
            report["run"]["unknown"]["branch"],
            "no git repository was found, and nobody said it"
        );
        assert_eq!(report["list"][0]["unknown"]["value"], "not recorded");
    }

    #[test]
    fn a_known_field_has_no_reason_to_be_unknown() {
        let mut report =
            json!({"a": 1, "b": null, "unknown": {"a": "early", "b": "late", "c": "gone"}});
        explain_nulls(&mut report);
        assert_eq!(report, json!({"a": 1, "b": null, "unknown": {"b": "late"}}));
        let mut report = json!({"a": 1, "unknown": {"a": "early"}});
        explain_nulls(&mut report);
        assert_eq!(report, json!({"a": 1}));
    }

    #[test]
    fn what_is_not_finite_becomes_null_with_a_reason() {
        let mut unknown = Unknowns::none();
        assert_eq!(unknown.number("a", Ok(f64::NAN)), None);
        assert_eq!(unknown.number("b", Ok(f64::INFINITY)), None);
        assert_eq!(unknown.interval("c", Ok([0.0, f64::NAN])), None);
        assert_eq!(unknown.number("d", Err(Unknown::because("no clock"))), None);
        assert!(unknown.number("e", Ok(1.5)).is_some() && unknown.reason("e").is_none());
        for field in ["a", "b", "c"] {
            assert_eq!(unknown.reason(field), Some(NOT_FINITE));
        }
        assert_eq!(unknown.reason("d"), Some("no clock"));
    }
}
