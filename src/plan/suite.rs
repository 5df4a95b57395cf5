//! The complete intention of a suite: cells, each with the plan of a run, and the servers they share.
//!
//! Main type: [`SuitePlan`]. It starts nothing and reads nothing; `resolve` makes it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::search::SearchSpec;
use super::{RunPlan, Target};

/// The folder of the cells inside the output folder.
pub const CELLS: &str = "cells";

/// Everything that a suite will do.
#[derive(Debug, Clone, Serialize)]
pub struct SuitePlan {
    /// The suite's name.
    pub name: String,
    /// The names of all axes, in the order of tables.
    pub axes: Vec<String>,
    /// In the order in which they are played: those that share a server one after the other.
    pub cells: Vec<CellPlan>,
    /// What is searched from the only cell on; `None` where every cell is played as it is.
    pub search: Option<SearchSpec>,
    /// The only folder that is written to.
    pub out_dir: PathBuf,
}

/// One cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellPlan {
    /// Its name, and that of its folder.
    pub name: String,
    /// The scenario's name.
    pub scenario: String,
    /// Where it stands on each axis that it has: name and value.
    pub axes: Vec<(String, String)>,
    /// Which server it is played on, from 0. Cells with the same number share one.
    pub server_index: usize,
    /// The run.
    pub plan: RunPlan,
}

impl SuitePlan {
    /// Puts cells that need the same server side by side, servers in the order of their first cell,
    /// and gives each a folder.
    #[must_use]
    pub fn ordered(
        name: String,
        axes: Vec<String>,
        mut cells: Vec<CellPlan>,
        search: Option<SearchSpec>,
        out_dir: PathBuf,
    ) -> Self {
        let mut servers: Vec<String> = Vec::new();
        for cell in &mut cells {
            let wanted = server_of(&cell.plan.target);
            cell.server_index =
                servers.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                    servers.push(wanted);
                    servers.len() - 1
                });
        }
        cells.sort_by_key(|cell| cell.server_index);
        for cell in &mut cells {
            cell.plan.out_dir = out_dir.join(CELLS).join(&cell.name);
            cell.plan.tags.name = format!("{name}: {}", cell.name);
        }
        Self { name, axes, cells, search, out_dir }
    }

    /// How many servers are started if none of them dies; 0 where the server is not ours.
    #[must_use]
    pub fn server_starts(&self) -> usize {
        let mut indices: Vec<usize> = self
            .cells
            .iter()
            .filter(|cell| matches!(cell.plan.target, Target::Start(_)))
            .map(|cell| cell.server_index)
            .collect();
        indices.dedup();
        indices.len()
    }
}

fn server_of(target: &Target) -> String {
    serde_json::to_string(target).expect("a target has string keys and no failing serializer")
}

/// What a cell's results depend on: its whole plan without the places and the names of the suite.
/// Secrets are not in it.
#[must_use]
pub fn essence(plan: &RunPlan) -> Value {
    let mut plan = plan.clone();
    if let Target::Start(spec) = &mut plan.target {
        spec.extra_args = crate::server::command::redacted(&spec.extra_args);
    }
    let mut value =
        serde_json::to_value(&plan).expect("a plan has string keys and no failing serializer");
    if let Some(fields) = value.as_object_mut() {
        fields.remove("out_dir");
        // Who is told changes nothing of what is measured.
        fields.remove("prometheus");
        fields.remove("scrape_interval");
        if let Some(tags) = fields.get_mut("tags").and_then(Value::as_object_mut) {
            // A title changes nothing, and the state of the work tree changes with every report in it.
            tags.retain(|name, _| matches!(name.as_str(), "branch" | "commit" | "runner_label"));
        }
        if let Some(workload) = fields.get_mut("workload").and_then(Value::as_object_mut) {
            workload.remove("file");
        }
    }
    value
}

/// The digest of an essence: SHA-256 in hex.
#[must_use]
pub fn digest(essence: &Value) -> String {
    let digest = Sha256::digest(essence.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What differs between two essences, a line each: `workload.duration: 5 → 10`. Empty if nothing.
#[must_use]
pub fn differences(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ("", before, now, &mut found);
    found
}

fn differ(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let absent = Value::Null;
                differ(
                    &path,
                    old.get(name).unwrap_or(&absent),
                    new.get(name).unwrap_or(&absent),
                    found,
                );
            }
        }
        _ if before != now => found.push(format!("{path}: {before} → {now}")),
        _ => {}
    }
}

/// The folder of a suite in which a cell's files are.
#[must_use]
pub fn cell_folder(name: &str) -> PathBuf {
    Path::new(CELLS).join(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_path() {
        let before = json!({"a": {"b": 1, "c": [1, 2]}, "gone": true, "same": null});
        let now = json!({"a": {"b": 2, "c": [1, 2]}, "same": null, "new": "x"});
        assert_eq!(
            differences(&before, &now),
            ["a.b: 1 → 2", "gone: true → null", "new: null → \"x\""]
        );
        assert_eq!(differences(&now, &now), [""; 0]);
    }
}
