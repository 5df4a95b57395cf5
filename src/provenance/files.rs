//! The files that a plan stands on, told apart by size and time: one that was written anew is another.
//!
//! Main function: [`behind`].

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::plan::{DatasetSpec, ModelSource, RunPlan, ServerProgram, Target};

/// Of the executable, the model and the dataset or trace of a plan, as far as they are files on this
/// machine: `size_bytes` and `modified`, seconds and nanoseconds since 1970; `null` of what is none.
pub(crate) fn behind(plan: &RunPlan) -> Value {
    let program = match &plan.target {
        Target::Start(spec) => match &spec.program {
            ServerProgram::Executable(path) => stamp(path),
            ServerProgram::Sim => None,
        },
        Target::External { .. } => None,
    };
    let model = match &plan.model {
        Some(ModelSource::Path { path }) => stamp(path),
        _ => None,
    };
    let dataset = match &plan.workload.dataset {
        DatasetSpec::File { path } | DatasetSpec::Trace { path } => stamp(path),
        DatasetSpec::Builtin
        | DatasetSpec::ShareGptHub
        | DatasetSpec::Inline { .. }
        | DatasetSpec::Hub { .. }
        | DatasetSpec::Synthetic(_) => None,
    };
    json!({"program": program, "model": model, "dataset": dataset})
}

fn stamp(path: &Path) -> Option<Value> {
    let about = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let modified = [modified.as_secs(), u64::from(modified.subsec_nanos())];
    Some(json!({"size_bytes": about.len(), "modified": modified}))
}
