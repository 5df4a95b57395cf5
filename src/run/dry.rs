//! `--dry-run`: the whole plan as text, with nothing started, downloaded or written.
//!
//! Main function: [`show`].

use crate::dataset::Prompt;
use crate::error::Error;
use crate::plan::threshold::Crossing;
use crate::plan::{Dialect, LoadShape, ModelSource, RunPlan, Target, body, duration};
use crate::server::{Capabilities, Program, command};

/// Stands for the text of a prompt in the shown request.
const PROMPT: &str = "<a prompt of the dataset>";

/// Commands, requests, files, and then every setting.
pub(crate) fn show(plan: &RunPlan) -> Result<String, Error> {
    let workload = &plan.workload;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10} {value}\n"));
    line("model", &plan.model.as_ref().map_or_else(|| "none".to_owned(), ModelSource::to_string));
    let dialect = match &plan.target {
        Target::External { base_url } => {
            line("server", &format!("{base_url} (already running, neither started nor stopped)"));
            Dialect::OpenAi
        }
        Target::Start(spec) => {
            let program = Program::from_plan(&spec.program)?;
            let model = plan.model.as_ref().map(|_| std::path::Path::new("MODEL"));
            // What the build knows is asked of it when it is started; here every flag is taken to exist.
            let command =
                command::build(spec, &program, model, &Capabilities::default(), spec.port.max(1))?;
            line("server", &command.shell_line());
            if spec.port == 0 {
                line("", "with a free port in place of --port 1, and flags adapted to its --help");
            }
            if spec.fit_off {
                line("", "with --fit off, if its --help has that flag");
            }
            Dialect::LlamaCpp
        }
    };
    let phases = workload.sequence();
    for phase in &phases {
        let (name, words) = match (&phase.shape, phase.users.or(workload.users)) {
            (shape, _) if shape.is_open() => ("arrivals", shape.in_words(0)),
            (shape, Some(users)) => ("users", shape.in_words(users)),
            (LoadShape::ConstantUsers, None) => {
                ("users", "as many as the server has slots".to_owned())
            }
            (shape, None) => {
                ("users", format!("{}, where the server has one slot", shape.in_words(1)))
            }
        };
        if phases.len() == 1 {
            line(name, &words);
            continue;
        }
        let mut words = vec![words];
        words.extend(phase.n_prompts.map(|count| format!("{count} requests")));
        words.extend(phase.duration.map(|time| format!("at most {} s", time.as_secs_f64())));
        words.extend((!phase.measured).then(|| "not measured".to_owned()));
        line("phase", &format!("{}: {}", phase.name, words.join(", ")));
    }
    let requests =
        workload.n_prompts.map_or_else(|| "round and round".to_owned(), |count| count.to_string());
    let time = workload
        .duration
        .map_or_else(String::new, |time| format!(", for at most {} s", time.as_secs_f64()));
    line(
        "requests",
        &format!(
            "{requests}{time}, after {} of warm-up a user",
            workload.warm_up_requests_per_user
        ),
    );
    line("prompts", &workload.dataset.to_string());
    for (position, threshold) in workload.thresholds.iter().enumerate() {
        let mut words = threshold.to_string();
        if threshold.crossing == Crossing::Warns {
            words.push_str(", only warns");
        }
        if threshold.abort {
            words.push_str(", ends the load when it is crossed");
        }
        if threshold.abort && !threshold.delay.is_zero() {
            let delay = duration::format(threshold.delay);
            words.push_str(&format!(", not before {delay}"));
        }
        line(if position == 0 { "thresholds" } else { "" }, &words);
    }
    if !workload.objectives.is_empty() {
        let objectives: Vec<String> = workload.objectives.iter().map(ToString::to_string).collect();
        line("objectives", &objectives.join(" and "));
    }
    let shown = body(workload, dialect, &Prompt::of_text(PROMPT));
    line("each", &format!("POST {} {}", workload.endpoint.path(), String::from_utf8_lossy(&shown)));
    line("files", &format!("{}: {}", plan.out_dir.display(), super::OUTPUT_FILES.join(", ")));
    let mut shown = plan.clone();
    if let Target::Start(spec) = &mut shown.target {
        spec.extra_args = command::redacted(&spec.extra_args);
    }
    let settings = serde_json::to_string_pretty(&shown)
        .expect("a plan has string keys and no failing serializer");
    text.push_str(&format!("\nall settings:\n{settings}\n"));
    Ok(text)
}
