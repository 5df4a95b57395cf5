//! What must stay the same for a session to be carried on, with no secret in clear.
//!
//! Main function: [`essence`], of one side's plan. It only tells; comparing and refusing is in `state`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sides::PADDING;
use crate::plan::{RunPlan, Target, suite};
use crate::provenance;

/// Everything that a side's figures depend on, the files behind its plan too.
///
/// Arguments and variables may hold secrets, and what is kept of an interrupted session outlives it. So
/// their words are in it as digests: another word is seen, and none can be read.
pub(super) fn essence(plan: &RunPlan) -> Value {
    let mut plan = plan.clone();
    let mut arguments = Value::Null;
    let mut variables = BTreeMap::new();
    if let Target::Start(spec) = &mut plan.target {
        arguments = json!(suite::digest(&json!(spec.extra_args)));
        for (name, value) in std::mem::take(&mut spec.env) {
            // It follows from the other words of both sides, and would be named in their place.
            if name != PADDING {
                let digest = suite::digest(&json!([name, value.expose()]));
                variables.insert(name, digest);
            }
        }
    }
    let files = provenance::files_behind(&plan);
    let mut settings = suite::essence(&plan);
    if let Some(fields) = settings.as_object_mut() {
        // What it is called changes nothing of what is measured; the commit of a side is told by itself.
        fields.remove("tags");
    }
    json!({
        "plan": settings,
        "arguments": arguments,
        "env": variables,
        "files": files,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::plan::resolve::{Surroundings, resolve};
    use crate::plan::{DatasetSpec, ModelSource, Secret};

    /// A plan of the simulator with these further arguments.
    fn plan(extra: &[&str]) -> RunPlan {
        let words = [&["bench-ci", "run", "--server", "sim", "--"][..], extra].concat();
        let Some(Command::Run(args)) = Cli::try_parse_from(words).unwrap().command else {
            panic!("it is a run");
        };
        let here =
            Surroundings { own_executable: PathBuf::from("bench-ci"), ..Surroundings::default() };
        resolve(&args, &here).unwrap()
    }

    fn with_variable(name: &str, value: &str) -> RunPlan {
        let mut plan = plan(&[]);
        if let Target::Start(spec) = &mut plan.target {
            spec.env.push((name.to_owned(), Secret::new(value.to_owned())));
        }
        plan
    }

    #[test]
    fn another_secret_is_seen_and_none_is_told() {
        let one = essence(&plan(&["--api-key", "s3cret"]));
        assert!(!one.to_string().contains("s3cret"), "{one}");
        assert_eq!(one, essence(&plan(&["--api-key", "s3cret"])));
        assert_ne!(one, essence(&plan(&["--api-key", "an0ther"])));
        let one = essence(&with_variable("X", "2-s3cret"));
        assert!(!one.to_string().contains("s3cret"), "{one}");
        assert_ne!(one, essence(&with_variable("X", "4-s3cret")), "another value of one length");
        assert_ne!(one, essence(&with_variable("Y", "2-s3cret")));
    }

    #[test]
    fn what_evens_out_both_sides_and_what_a_session_is_called_change_nothing() {
        let mut other = with_variable(PADDING, "xxxx");
        other.tags.name = "another".to_owned();
        other.tags.commit = Some("a".repeat(40));
        other.out_dir = PathBuf::from("elsewhere");
        assert_eq!(essence(&other), essence(&plan(&[])));
    }

    #[test]
    fn another_model_or_dataset_under_the_same_name_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut model = plan(&[]);
        model.model = Some(ModelSource::Path { path: file.clone() });
        let mut dataset = plan(&[]);
        dataset.workload.dataset = DatasetSpec::File { path: file.clone() };
        let mut trace = plan(&[]);
        trace.workload.dataset = DatasetSpec::Trace { path: file.clone() };
        let all = || [&model, &dataset, &trace].map(essence);
        std::fs::write(&file, "one").unwrap();
        let before = all();
        assert_eq!(before, all());
        std::fs::write(&file, "three").unwrap();
        for (before, now) in before.iter().zip(all()) {
            assert_ne!(*before, now);
        }
    }
}
