//! A suite as simple as a JSON file can be: a server, how many requests at once, prompts with the
//! lengths of their answers.
//!
//! Main function: [`read`]. Each length in `completions` is a cell: the budget in tokens of every
//! answer to that prompt. It opens no file.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::matrix::{Axis, Typed};
use super::problem::{Place, PlanError, Problem, nearest, quoted};
use super::scenario::{Entry, Origin, Scenario, Suite};
use super::{DatasetSpec, Endpoint, Secret, Workload, duration};

/// Requests of a cell where no flag says how many: each user asks so often, and there are so many at
/// least. 20 are the fewest that have a 95th percentile.
const ROUNDS: u64 = 4;
const LEAST_REQUESTS: u64 = 20;

/// What the file says about the server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonServer {
    /// Its address, without the route; `None` where the file has none.
    pub url: Option<String>,
    /// The `model` field of each request.
    pub model: Option<String>,
    /// Sent as `Authorization: Bearer …`.
    pub auth_token: Option<Secret>,
}

/// Whether a scenario file is one of these, by its name.
#[must_use]
pub fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"))
}

/// Reads it.
///
/// # Errors
/// [`PlanError::Invalid`] with everything that is wrong.
pub fn read(text: &str, origin: &Origin) -> Result<(Suite, JsonServer), PlanError> {
    let invalid = |problems| PlanError::Invalid { subject: origin.subject(), problems };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        invalid(vec![Problem::new(Place::Line(error.line().max(1)), message)])
    })?;
    let mut problems = Vec::new();
    let nothing = Map::new();
    let top = value.as_object().unwrap_or_else(|| {
        problems.push(Problem::new(
            Place::Whole,
            "expected an object with \"server\" and \"test_scenarios\"",
        ));
        &nothing
    });
    known("", top, &["server", "benchmark", "test_scenarios"], &mut problems);
    let empty = Value::Object(Map::new());
    let mut workload = Scenario::silent(origin).workload().clone();
    let server = server(top.get("server").unwrap_or(&empty), &mut workload, &mut problems);
    benchmark(top.get("benchmark").unwrap_or(&empty), &mut workload, &mut problems);
    let mut entries: Vec<Entry> = Vec::new();
    match top.get("test_scenarios").and_then(Value::as_array) {
        Some(scenarios) if !scenarios.is_empty() => {
            for (position, scenario) in scenarios.iter().enumerate() {
                let path = format!("test_scenarios[{position}]");
                let entry = entry(&path, position, scenario, &workload, origin, &mut problems);
                if entries.iter().any(|earlier| earlier.name == entry.name) {
                    let message = format!("{path}: two scenarios have the name \"{}\"", entry.name);
                    problems.push(Problem::new(Place::Whole, message));
                }
                entries.push(entry);
            }
        }
        _ if value.is_object() => problems.push(
            Problem::new(Place::Whole, "test_scenarios must be a list of at least one scenario")
                .hinting(
                    "such as [{\"name\": \"short\", \"completions\": [64], \"prompt\": \"Why?\"}]",
                ),
        ),
        _ => {}
    }
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let name = workload.scenario;
    Ok((Suite { name, entries, named: true, search: None }, server))
}

fn server(value: &Value, workload: &mut Workload, problems: &mut Vec<Problem>) -> JsonServer {
    let Some(fields) = object("server", value, problems) else { return JsonServer::default() };
    known("server", fields, &["url", "model", "auth_token", "timeout"], problems);
    let url = text("server.url", fields.get("url"), problems).map(|url| route(&url, workload));
    match fields.get("timeout") {
        None | Some(Value::Null) => {}
        Some(given) => match seconds(given) {
            Some(total) => {
                // The one limit that the file gives: no other, which it does not name, comes before it.
                let limits = &mut workload.timeouts;
                (limits.total, limits.first, limits.idle) = (total, total, total);
                limits.connect = limits.connect.min(total);
            }
            None => problems.push(Problem::new(
                Place::Whole,
                "invalid value for server.timeout: expected seconds, such as 60, or a time such as \"2m\"",
            )),
        },
    }
    JsonServer {
        url,
        model: text("server.model", fields.get("model"), problems),
        auth_token: text("server.auth_token", fields.get("auth_token"), problems).map(Secret::new),
    }
}

/// An address that names the route too says which one is meant.
fn route(url: &str, workload: &mut Workload) -> String {
    let trimmed = url.trim().trim_end_matches('/');
    for (route, endpoint) in [
        ("/chat/completions", Endpoint::ChatCompletions),
        ("/v1/completions", Endpoint::Completions),
        ("/completion", Endpoint::LlamaCompletion),
    ] {
        if let Some(root) = trimmed.strip_suffix(route) {
            workload.endpoint = endpoint;
            return root.to_owned();
        }
    }
    trimmed.to_owned()
}

fn benchmark(value: &Value, workload: &mut Workload, problems: &mut Vec<Problem>) {
    let Some(fields) = object("benchmark", value, problems) else { return };
    known("benchmark", fields, &["max_concurrent_requests"], problems);
    match fields.get("max_concurrent_requests") {
        None | Some(Value::Null) => {}
        Some(given) => match given.as_u64().and_then(|users| u32::try_from(users).ok()) {
            Some(users) if users > 0 => workload.users = Some(users),
            _ => problems.push(Problem::new(
                Place::Whole,
                format!("invalid value {given} for benchmark.max_concurrent_requests: expected a whole number from 1 on"),
            )),
        },
    }
    let users = u64::from(workload.users.unwrap_or(1));
    workload.n_prompts = Some((users * ROUNDS).max(LEAST_REQUESTS));
}

fn entry(
    path: &str,
    position: usize,
    value: &Value,
    workload: &Workload,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Entry {
    let nothing = Map::new();
    let fields = object(path, value, problems).unwrap_or(&nothing);
    known(path, fields, &["name", "completions", "prompt"], problems);
    let mut workload = workload.clone();
    let name = text(&format!("{path}.name"), fields.get("name"), problems)
        .unwrap_or_else(|| format!("scenario-{}", position + 1));
    workload.scenario.clone_from(&name);
    workload.filter.min_words = 0;
    let prompts = match fields.get("prompt") {
        Some(Value::String(prompt)) if !prompt.is_empty() => Some(vec![prompt.clone()]),
        Some(Value::Array(prompts)) if !prompts.is_empty() => {
            prompts.iter().map(|prompt| prompt.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    match prompts {
        Some(prompts) => workload.dataset = DatasetSpec::Inline { prompts },
        None => problems.push(
            Problem::new(Place::Whole, format!("{path}.prompt must be a text"))
                .hinting("what the user says, or a list of such texts"),
        ),
    }
    let lengths = match fields.get("completions") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(lengths)) => lengths.clone(),
        Some(single) => vec![single.clone()],
    };
    let mut axes = Vec::new();
    if !lengths.is_empty() {
        let typed = lengths.iter().map(|length| Typed::Text(length.to_string())).collect();
        match Axis::new("max_tokens", typed) {
            Ok(axis) => axes.push(axis),
            Err((message, _)) => problems.push(
                Problem::new(Place::Whole, format!("{path}.completions: {message}"))
                    .hinting("a list of answer lengths in tokens, such as [64, 256]"),
            ),
        }
    }
    Entry { name, scenario: Scenario::of(origin.clone(), workload), axes }
}

fn object<'v>(
    path: &str,
    value: &'v Value,
    problems: &mut Vec<Problem>,
) -> Option<&'v Map<String, Value>> {
    let fields = value.as_object();
    if fields.is_none() {
        problems.push(Problem::new(Place::Whole, format!("{path} must be an object")));
    }
    fields
}

fn text(path: &str, value: Option<&Value>, problems: &mut Vec<Problem>) -> Option<String> {
    match value {
        None | Some(Value::Null) => None,
        // As in a variable of a CI system: empty is unset.
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        // Its value is not shown: it may be the secret, unquoted.
        Some(_) => {
            problems.push(Problem::new(Place::Whole, format!("{path} must be a string")));
            None
        }
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    let time = match value {
        Value::Number(number) => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
        Value::String(text) => duration::parse(text).ok()?,
        _ => return None,
    };
    (!time.is_zero()).then_some(time)
}

fn known(
    path: &str,
    fields: &Map<String, Value>,
    names: &[&'static str],
    problems: &mut Vec<Problem>,
) {
    for typed in fields.keys().filter(|typed| !names.contains(&typed.as_str())) {
        let within = if path.is_empty() { String::new() } else { format!(" in {path}") };
        let problem = Problem::new(Place::Whole, format!("unknown field \"{typed}\"{within}"));
        problems.push(match nearest(typed, names.iter().copied()) {
            Some(near) => problem.hinting(format!("did you mean \"{near}\"?")),
            None => problem.hinting(format!("known are {}", quoted(names))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Overrides;
    use crate::plan::matrix;

    const WHOLE: &str = r#"{
      "server": {"url": "http://127.0.0.1:8080/v1/chat/completions", "model": "m", "auth_token": "geheim", "timeout": 60},
      "benchmark": {"max_concurrent_requests": 8},
      "test_scenarios": [
        {"name": "short", "completions": [16, 64], "prompt": "Why is the sky blue?"},
        {"name": "long", "completions": [512], "prompt": "Tell me everything."}
      ]
    }"#;

    fn read_text(text: &str) -> Result<(Suite, JsonServer), PlanError> {
        read(text, &Origin::File("suite.json".into()))
    }

    #[test]
    fn a_whole_file_is_taken_as_it_is() {
        let (suite, server) = read_text(WHOLE).unwrap();
        assert_eq!(server.url.as_deref(), Some("http://127.0.0.1:8080/v1"));
        assert_eq!(server.auth_token.as_ref().map(Secret::expose), Some("geheim"));
        assert!(!format!("{server:?}").contains("geheim"));
        let cells: Vec<String> = suite
            .entries
            .iter()
            .flat_map(|entry| {
                matrix::cells(&entry.axes)
                    .into_iter()
                    .map(|cell| matrix::name(Some(&entry.name), &cell))
            })
            .collect();
        assert_eq!(cells, ["short,max_tokens=16", "short,max_tokens=64", "long,max_tokens=512"]);
        let workload =
            suite.entries[0].scenario.clone().into_workload(&Overrides::default()).unwrap();
        assert_eq!(workload.users, Some(8));
        assert_eq!(workload.n_prompts, Some(32));
        assert_eq!(workload.timeouts.total, Duration::from_secs(60));
        assert_eq!(workload.timeouts.first, Duration::from_secs(60));
        // Somebody who waits for 15 minutes waits so long for the first token too.
        let (suite, _) = read_text(&WHOLE.replace("\"timeout\": 60", "\"timeout\": 900")).unwrap();
        let limits = suite.entries[0].scenario.workload().timeouts;
        assert_eq!([limits.first, limits.idle, limits.total], [Duration::from_secs(900); 3]);
    }

    #[test]
    fn every_mistake_is_told_and_no_secret() {
        let text = r#"{"sever": {}, "server": {"auth_tokn": "geheim", "auth_token": 5, "timeout": -1},
            "benchmark": {"max_concurrent_requests": 0},
            "test_scenarios": [{"name": "a", "completions": ["x"], "prompts": ["b"]}]}"#;
        let told = read_text(text).unwrap_err().to_string();
        for part in [
            "unknown field \"sever\" (did you mean \"server\"?)",
            "unknown field \"auth_tokn\" in server (did you mean \"auth_token\"?)",
            "server.auth_token must be a string",
            "invalid value for server.timeout",
            "invalid value 0 for benchmark.max_concurrent_requests",
            "unknown field \"prompts\" in test_scenarios[0] (did you mean \"prompt\"?)",
            "test_scenarios[0].prompt must be a text",
            "test_scenarios[0].completions: invalid value",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("geheim"), "{told}");
    }

    #[test]
    fn what_is_no_such_file_says_so() {
        for (text, part) in
            [("{", "line 1"), ("[]", "expected an object"), ("{}", "test_scenarios must be a list")]
        {
            let told = read_text(text).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }
}
