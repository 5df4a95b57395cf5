//! The folder of a suite: what is in it, what of an earlier one is kept, and what is refused.
//!
//! Main functions: [`prepare`] and [`resumed`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::{SuiteReport, store};
use crate::error::Error;
use crate::plan::suite::{CELLS, CellPlan, SuitePlan, differences, essence};
use crate::provenance;
use crate::run;

pub(super) const SUITE_JSON: &str = "suite.json";
pub(super) const SUITE_MD: &str = "suite.md";
pub(super) const SUITE_HTML: &str = "report.html";
pub(super) const SUITE_CSV: &str = "suite.csv";
/// What was planned, for `--resume`.
const SUITE_PLAN: &str = "suite-plan.json";

/// The files of a suite beside its cells.
pub(crate) const FILES: [&str; 5] = [SUITE_JSON, SUITE_MD, SUITE_HTML, SUITE_CSV, SUITE_PLAN];

/// Differences that are told one by one; more of them are counted.
const TOLD: usize = 8;

#[derive(Serialize, Deserialize)]
struct Planned {
    schema: String,
    cells: BTreeMap<String, Value>,
}

const PLAN_SCHEMA: &str = "bench-ci.suite-plan/1";

/// Everything that a cell's results depend on, the files behind its plan too.
pub(super) fn essence_of(cell: &CellPlan) -> Value {
    let mut value = essence(&cell.plan);
    value["files"] = provenance::files_behind(&cell.plan);
    value
}

/// Makes the folder. What an earlier run or suite left in it is removed, unless it is gone on with.
pub(super) fn prepare(plan: &SuitePlan, resume: bool) -> Result<(), Error> {
    if !resume {
        run::prepare(&plan.out_dir)?;
        let cells = plan.out_dir.join(CELLS);
        for entry in std::fs::read_dir(&cells).into_iter().flatten().flatten() {
            let folder = entry.path();
            if folder.is_dir() {
                run::forget_earlier(&folder);
                // Somebody's own file in it keeps it.
                drop(std::fs::remove_dir(&folder));
            }
        }
        for entry in std::fs::read_dir(&plan.out_dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("server-") && name.ends_with(".log") {
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }
    let cells = plan.cells.iter().map(|cell| (cell.name.clone(), essence_of(cell))).collect();
    let planned = Planned { schema: PLAN_SCHEMA.to_owned(), cells };
    let text = serde_json::to_string_pretty(&planned)
        .expect("keys are strings, and no type here has a serializer that fails");
    store::write(&plan.out_dir.join(SUITE_PLAN), text.as_bytes())?;
    Ok(())
}

/// The suite that is gone on with; `None` where it was killed before it wrote one.
///
/// # Errors
/// There is none, it cannot be read, or it was another one: then with what differs.
pub(super) fn resumed(plan: &SuitePlan) -> Result<Option<SuiteReport>, Error> {
    let refuse = |why: String, hint: &str| Error::Resume { why, hint: hint.to_owned() };
    if plan.search.is_some() {
        return Err(refuse("a search is played as a whole".to_owned(), "leave out --resume"));
    }
    let path = plan.out_dir.join(SUITE_PLAN);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse(
                format!("\"{}\" holds no suite", plan.out_dir.display()),
                "leave out --resume to begin one, or name its folder with --out-dir",
            ));
        }
        Err(source) => return Err(Error::Output { attempt: "read", path, source }),
    };
    let before: Planned = match serde_json::from_str(&text) {
        Ok(planned) => planned,
        Err(error) => {
            return Err(refuse(
                format!("\"{}\" is damaged: {error}", path.display()),
                "leave out --resume to begin anew",
            ));
        }
    };
    if before.schema != PLAN_SCHEMA {
        return Err(refuse(
            format!("\"{}\" is of another version: {}", path.display(), before.schema),
            "leave out --resume to begin anew",
        ));
    }
    let mut changed = Vec::new();
    for cell in &plan.cells {
        if let Some(then) = before.cells.get(&cell.name) {
            for difference in differences(then, &essence_of(cell)) {
                // One change mostly touches every cell in the same way.
                if !changed.contains(&difference) {
                    changed.push(difference);
                }
            }
        }
    }
    let planned = |name: &String| plan.cells.iter().any(|cell| cell.name == *name);
    let gone = before.cells.keys().filter(|name| !planned(name));
    changed.extend(gone.map(|name| format!("cell {name} is no longer planned")));
    if !changed.is_empty() {
        let more = changed.len().saturating_sub(TOLD);
        changed.truncate(TOLD);
        let mut why = format!("the plan has changed since:\n  {}", changed.join("\n  "));
        if more > 0 {
            why.push_str(&format!("\n  and {more} more"));
        }
        return Err(refuse(why, "undo the change, or leave out --resume to begin anew"));
    }
    match store::read_suite(&plan.out_dir.join(SUITE_JSON)) {
        Ok(suite) => Ok(Some(suite)),
        Err(store::StoreError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
