//! What a scenario file and the flags say about requests: their route, body, limits, turns, and when
//! they are hung up.
//!
//! Main functions: [`read`], [`apply`] and [`together`], each a part of its namesake in `scenario`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::endpoint::{Endpoint, Yield};
use super::super::problem::{Place, Problem};
use super::super::request::{
    CancelAfter, CancelSpec, ConversationSpec, LoraChoice, PLACEHOLDER, Sampling,
};
use super::super::shape::LoadShape;
use super::super::subject::{Figure, Subject};
use super::super::threshold::Crossing;
use super::reader::Section;
use super::{LARGEST_SEED, Workload, keep, set};
use crate::stats::metric::{self, Metric};

/// What the flags about requests change of a scenario. `None` leaves the scenario's own value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestOverrides {
    /// `--endpoint`. What of the scenario has no place in another route is dropped with it.
    pub endpoint: Option<Endpoint>,
    /// `--no-stream`.
    pub stream: Option<bool>,
    /// `--deadline`.
    pub deadline: Option<Duration>,
    /// `--temperature` and its like.
    pub sampling: Sampling,
    /// `--extra-body`, as typed; later ones go before earlier ones.
    pub extra_body: Vec<String>,
    /// `--prompt-template`, its text.
    pub prompt_template: Option<String>,
    /// `--inputs-per-request`.
    pub inputs_per_request: Option<u32>,
    /// `--turns`.
    pub turns: Option<u32>,
}

/// `[request]`, `[[lora]]`, `deadline`, `[cancel]` and `[conversation]`.
pub(super) fn read(
    workload: &mut Workload,
    top: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) {
    let mut request = top.section(problems, "request");
    let caches = request.has("cache_prompt");
    read_request(workload, &mut request, problems);
    request.finish(problems);
    for mut section in top.sections(problems, "lora").unwrap_or_default() {
        workload.request.lora.extend(lora(&mut section, problems));
        section.finish(problems);
    }
    keep(&mut workload.deadline, top.duration_above_zero(problems, "deadline"));
    if top.has("cancel") {
        let mut section = top.section(problems, "cancel");
        workload.cancel = cancel(&mut section, problems);
        section.finish(problems);
    }
    if top.has("conversation") {
        let mut section = top.section(problems, "conversation");
        let turns = section.whole_u32(problems, "turns", 2..=MOST_TURNS);
        let turns = section.needed(problems, "turns", turns);
        section.finish(problems);
        workload.conversation = turns.map(|turns| ConversationSpec { turns });
        // A server that reads the whole conversation anew in each turn is not what anybody runs.
        workload.request.cache_prompt |= !caches;
    }
}

/// More turns than this fit no context.
const MOST_TURNS: u32 = 1_000;

fn read_request(
    workload: &mut Workload,
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) {
    let request = &mut workload.request;
    keep(&mut request.model, section.string(problems, "model"));
    keep(&mut request.system_prompt, section.string(problems, "system_prompt"));
    keep(&mut request.prompt_template, section.parsed(problems, "prompt_template", template));
    set(&mut request.stream, section.switch(problems, "stream"));
    set(&mut request.max_tokens, section.whole_u32(problems, "max_tokens", 1..=u32::MAX));
    keep(
        &mut request.inputs_per_request,
        section.whole_u32(problems, "inputs_per_request", 1..=MOST_INPUTS),
    );
    set(&mut request.stop, section.strings(problems, "stop"));
    keep(&mut request.seed, section.whole(problems, "seed", 0..=LARGEST_SEED));
    let sampling = &mut request.sampling;
    keep(&mut sampling.temperature, section.number(problems, "temperature"));
    keep(&mut sampling.top_p, section.number(problems, "top_p"));
    keep(&mut sampling.top_k, section.whole_u32(problems, "top_k", 0..=u32::MAX));
    keep(&mut sampling.min_p, section.number(problems, "min_p"));
    keep(&mut sampling.repeat_penalty, section.number(problems, "repeat_penalty"));
    keep(&mut sampling.presence_penalty, section.signed(problems, "presence_penalty"));
    keep(&mut sampling.frequency_penalty, section.signed(problems, "frequency_penalty"));
    set(&mut request.cache_prompt, section.switch(problems, "cache_prompt"));
    set(&mut request.ignore_eos, section.switch(problems, "ignore_eos"));
    set(&mut request.include_usage, section.switch(problems, "include_usage"));
    set(&mut request.extra, section.json_table(problems, "extra"));
    own_fields(&request.extra, section.place("extra"), "request.extra", problems);
}

/// Largest batch of texts in one request.
const MOST_INPUTS: u32 = 65_536;

/// A template, if it has a place for the prompt.
fn template(text: &str) -> Result<String, String> {
    match text.contains(PLACEHOLDER) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected a text with {PLACEHOLDER} in it")),
    }
}

fn lora(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<LoraChoice> {
    let model = section.string(problems, "model");
    let id = section.whole_u32(problems, "id", 0..=u32::MAX);
    let scale = section.number(problems, "scale");
    let weight = section.number(problems, "weight");
    if model.is_some() && id.is_some() {
        let message = "an adapter is given by its model name or by its id, not by both";
        problems.push(Problem::new(section.place("id"), message).hinting(
            "id is llama-server's number of it, model the name under which vLLM and others serve it",
        ));
    }
    if weight == Some(0.0) {
        let message = "lora.weight must be above zero";
        problems.push(Problem::new(section.place("weight"), message));
        return None;
    }
    Some(LoraChoice { model, id, scale: scale.unwrap_or(1.0), weight: weight.unwrap_or(1.0) })
}

fn cancel(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<CancelSpec> {
    let share = section.number(problems, "share");
    let share = section.needed(problems, "share", share);
    let tokens = section.whole_u32(problems, "after_tokens", 1..=u32::MAX);
    let time = section.duration_above_zero(problems, "after");
    if share.is_some_and(|share| share > 1.0) {
        let message = "cancel.share is a part of the requests, from 0 to 1";
        problems.push(Problem::new(section.place("share"), message));
    }
    let after = match (tokens, time) {
        (Some(tokens), None) => Some(CancelAfter::AfterTokens(tokens)),
        (None, Some(time)) => Some(CancelAfter::After(time)),
        // A value that was given but is wrong is in the list already.
        (None, None) if section.has("after") || section.has("after_tokens") => None,
        _ => {
            let message = "cancel needs one of after_tokens and after";
            problems.push(
                Problem::new(section.first_place(), message)
                    .hinting("such as after_tokens = 20, or after = \"500ms\""),
            );
            None
        }
    };
    Some(CancelSpec { share: share?, after: after? })
}

/// Fields of the body that have a key of their own or on which the measuring rests, and what to
/// write instead.
const OWN_FIELDS: [(&str, &str); 15] = [
    ("stream", "write request.stream, or pass --no-stream"),
    ("messages", "prompts come from the dataset"),
    ("prompt", "prompts come from the dataset"),
    ("input", "texts come from the dataset"),
    ("query", "queries come from the dataset"),
    ("documents", "documents come from the dataset; request.inputs_per_request is their number"),
    ("encoding_format", "embeddings are checked number by number, so they come as numbers"),
    ("top_n", "every document is to have its score; request.inputs_per_request is their number"),
    ("n", "one answer a request: several in one stream cannot be timed apart"),
    ("max_tokens", "write request.max_tokens"),
    ("max_completion_tokens", "write request.max_tokens"),
    ("n_predict", "write request.max_tokens"),
    ("stop", "write request.stop"),
    ("ignore_eos", "write request.ignore_eos"),
    ("lora", "write [[lora]] tables"),
];

fn own_fields(extra: &Map<String, Value>, place: Place, name: &str, problems: &mut Vec<Problem>) {
    for (own, instead) in OWN_FIELDS {
        if extra.contains_key(own) {
            let message = format!("{name} must not hold \"{own}\"");
            problems.push(Problem::new(place, message).hinting(instead));
        }
    }
}

/// Puts the flags over what the file says.
pub(super) fn apply(
    workload: &mut Workload,
    overrides: &RequestOverrides,
    problems: &mut Vec<Problem>,
) {
    // Destructured, so that a new override cannot be forgotten here.
    let RequestOverrides {
        endpoint,
        stream,
        deadline,
        sampling,
        extra_body,
        prompt_template,
        inputs_per_request,
        turns,
    } = overrides;
    if let Some(endpoint) = *endpoint {
        workload.endpoint = endpoint;
        if endpoint != Endpoint::ChatCompletions {
            workload.request.system_prompt = None;
        }
        if endpoint.yields() != Yield::Tokens {
            workload.request.stop.clear();
        }
    }
    set(&mut workload.request.stream, *stream);
    workload.request.stream &= workload.endpoint.can_stream();
    if endpoint.is_some() || stream.is_some() {
        // A warning about what this route never tells would say nothing.
        let (endpoint, stream) = (workload.endpoint, workload.request.stream);
        workload.thresholds.retain(|threshold| {
            threshold.crossing == Crossing::Fails
                || lack_of(&threshold.subject, endpoint, stream).is_none()
        });
    }
    if deadline.is_some_and(|deadline| deadline.is_zero()) {
        problems.push(Problem::new(Place::Flag("--deadline"), "must be longer than zero"));
    }
    workload.deadline = deadline.or(workload.deadline);
    workload.request.sampling = sampling.or(workload.request.sampling);
    check_sampling(sampling, problems);
    for typed in extra_body {
        let place = Place::Flag("--extra-body");
        match serde_json::from_str::<Map<String, Value>>(typed) {
            Ok(fields) => {
                own_fields(&fields, place, "it", problems);
                workload.request.extra.extend(fields);
            }
            Err(error) => problems.push(
                Problem::new(place, format!("invalid value \"{typed}\": {error}"))
                    .hinting("a JSON object, such as '{\"top_a\": 0.2}'"),
            ),
        }
    }
    if let Some(typed) = prompt_template {
        match template(typed) {
            Ok(template) => workload.request.prompt_template = Some(template),
            Err(expected) => {
                problems.push(Problem::new(Place::Flag("--prompt-template"), expected));
            }
        }
    }
    if inputs_per_request.is_some_and(|inputs| inputs == 0 || inputs > MOST_INPUTS) {
        let message = format!("must be from 1 to {MOST_INPUTS}");
        problems.push(Problem::new(Place::Flag("--inputs-per-request"), message));
    }
    workload.request.inputs_per_request =
        inputs_per_request.or(workload.request.inputs_per_request);
    if let Some(turns) = *turns {
        if !(2..=MOST_TURNS).contains(&turns) {
            let message = format!("must be from 2 to {MOST_TURNS}: one turn is no conversation");
            problems.push(Problem::new(Place::Flag("--turns"), message));
        }
        // A scenario that measures reading switches the cache off, and did not mean conversations.
        workload.request.cache_prompt |= workload.conversation.is_none();
        workload.conversation = Some(ConversationSpec { turns });
    }
}

fn check_sampling(sampling: &Sampling, problems: &mut Vec<Problem>) {
    let zero_or_above = [
        ("--temperature", sampling.temperature),
        ("--top-p", sampling.top_p),
        ("--min-p", sampling.min_p),
        ("--repeat-penalty", sampling.repeat_penalty),
    ];
    let any = [
        ("--presence-penalty", sampling.presence_penalty),
        ("--frequency-penalty", sampling.frequency_penalty),
    ];
    for (flag, value) in zero_or_above {
        if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
            problems.push(Problem::new(Place::Flag(flag), "must be a number, zero or above"));
        }
    }
    for (flag, value) in any {
        if value.is_some_and(|value| !value.is_finite()) {
            problems.push(Problem::new(Place::Flag(flag), "must be a finite number"));
        }
    }
}

/// What does not fit together once everything is applied.
pub(super) fn together(workload: &Workload, problems: &mut Vec<Problem>) {
    let request = &workload.request;
    let path = workload.endpoint.path();
    let is_chat = workload.endpoint == Endpoint::ChatCompletions;
    let tokens = workload.endpoint.yields() == Yield::Tokens;
    let mut wrong = |message: String, hint: &str| {
        problems.push(Problem::new(Place::Whole, message).hinting(hint));
    };
    let another = "remove it, or use another endpoint";
    if !is_chat && request.system_prompt.is_some() {
        wrong(
            format!("request.system_prompt has no place in {path}"),
            "remove it, or use the endpoint /v1/chat/completions",
        );
    }
    if is_chat && request.prompt_template.is_some() {
        wrong(
            format!("a prompt template has no place in {path}: the server applies the model's own"),
            "remove it, or use the endpoint /v1/completions or /completion",
        );
    }
    if request.ignore_eos && !request.stop.is_empty() {
        wrong(
            "request.ignore_eos forces the whole budget, but request.stop would end answers early"
                .to_owned(),
            "remove one of them",
        );
    }
    if !tokens {
        for (name, given) in [
            ("request.ignore_eos", request.ignore_eos),
            ("request.stop", !request.stop.is_empty()),
            ("sampling", request.sampling != Sampling::default()),
        ] {
            if given {
                wrong(format!("{name} has no place in {path}: no tokens are generated"), another);
            }
        }
    } else if request.inputs_per_request.is_some() {
        wrong(
            format!("request.inputs_per_request has no place in {path}: it asks one prompt"),
            "remove it, or use the endpoint /v1/embeddings or /v1/rerank",
        );
    }
    if let Some(CancelSpec { after: CancelAfter::AfterTokens(_), .. }) = workload.cancel
        && !request.stream
    {
        wrong(
            "cancel.after_tokens counts a stream, and answers are not streamed".to_owned(),
            "write cancel.after with a time, or stream",
        );
    }
    if tokens && !request.stream && workload.tpot_difference.is_some() {
        wrong(
            "tpot_difference is found from the last content of a stream, and answers are not streamed"
                .to_owned(),
            "leave out tpot_difference (--tpot-difference), or stream",
        );
    }
    if workload.conversation.is_some() {
        if !is_chat {
            wrong(format!("conversations have no place in {path}"), "use /v1/chat/completions");
        }
        if workload.tpot_difference.is_some() {
            wrong(
                "a conversation goes on from one answer, and the difference method asks for two lengths of it"
                    .to_owned(),
                "leave out tpot_difference (--tpot-difference), or the conversation (--turns)",
            );
        }
        if !workload.sequence().iter().all(|phase| holds_conversations(&phase.shape)) {
            wrong(
                "conversations are held by users: a later turn waits for the answer to the earlier"
                    .to_owned(),
                "remove the rate, the arrivals or iterations_per_user, and bound each load by duration or n_prompts",
            );
        }
    }
    absent_metrics(workload, problems);
}

/// Whether there are users who go on talking, and who are not counted by their requests.
fn holds_conversations(shape: &LoadShape) -> bool {
    matches!(shape, LoadShape::ConstantUsers | LoadShape::RampingUsers { .. })
}

/// Thresholds and objectives on what no request of this workload has.
fn absent_metrics(workload: &Workload, problems: &mut Vec<Problem>) {
    let (endpoint, stream) = (workload.endpoint, workload.request.stream);
    let thresholds = workload.thresholds.iter().filter_map(|threshold| {
        let why = lack_of(&threshold.subject, endpoint, stream)?;
        Some((format!("the threshold \"{threshold}\""), why))
    });
    let objectives = workload.objectives.iter().filter_map(|objective| {
        let why = endpoint.lacks(objective.metric, stream)?;
        Some((format!("the objective \"{objective}\""), why))
    });
    for (what, why) in thresholds.chain(objectives).collect::<Vec<_>>() {
        let message = format!("{what} cannot be judged on {}: {why}", endpoint.path());
        let hint = "take e2e_ms, prompt_tokens, a count, a share or a rate of requests";
        problems.push(Problem::new(Place::Whole, message).hinting(hint));
    }
}

/// Why nothing can be said about this subject; `None` where it can.
fn lack_of(subject: &Subject, endpoint: Endpoint, stream: bool) -> Option<&'static str> {
    let Subject::Own(figure) = subject else { return None };
    let basis: &Metric = match figure {
        Figure::Metric(metric) => metric,
        Figure::ScriptTokensPerSecond
        | Figure::ScriptPromptTokensPerSecond
        | Figure::ScriptFirstTokenSeconds => &metric::TTFT_MS,
        Figure::CompletionTokensTotal
        | Figure::TruncatedRatio
        | Figure::StoppedRatio
        | Figure::OutputTokensPerSecond
        | Figure::TotalTokensPerSecond => &metric::COMPLETION_TOKENS,
        _ => return None,
    };
    endpoint.lacks(basis, stream)
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, Overrides, builtin, workload};
    use super::*;

    fn read(text: &str, overrides: &Overrides) -> Result<Workload, String> {
        let origin = Origin::File("mine.toml".into());
        workload(&format!("n_prompts = 3\n{text}"), &origin, overrides)
            .map_err(|error| format!("{error}\n{}", error.hint().unwrap_or_default()))
    }

    fn flags(requests: RequestOverrides) -> Overrides {
        Overrides { requests, ..Overrides::default() }
    }

    #[test]
    fn every_key_about_requests_is_read() {
        let text = r#"
            endpoint = "/completion"
            deadline = "2s"
            [request]
            stream = true
            prompt_template = "Q: {prompt}\nA:"
            top_p = 0.9
            top_k = 40
            min_p = 0.05
            repeat_penalty = 1.1
            presence_penalty = -0.5
            frequency_penalty = 0.5
            [[lora]]
            id = 0
            scale = 0.5
            weight = 3
            [[lora]]
            [cancel]
            share = 0.1
            after_tokens = 20
        "#;
        let workload = read(text, &Overrides::default()).expect("valid");
        assert_eq!(workload.deadline, Some(Duration::from_secs(2)));
        assert_eq!(workload.request.prompt_template.as_deref(), Some("Q: {prompt}\nA:"));
        assert_eq!(workload.request.sampling.fields().len(), 6);
        assert_eq!(workload.request.sampling.presence_penalty, Some(-0.5));
        let lora: Vec<_> =
            workload.request.lora.iter().map(|one| (one.id, one.scale, one.weight)).collect();
        assert_eq!(lora, [(Some(0), 0.5, 3.0), (None, 1.0, 1.0)]);
        let cancel = CancelSpec { share: 0.1, after: CancelAfter::AfterTokens(20) };
        assert_eq!(workload.cancel, Some(cancel));
        assert!(workload.conversation.is_none() && !workload.request.cache_prompt);
    }

    #[test]
    fn a_conversation_uses_the_cache_unless_told_otherwise() {
        let cached = |text: &str, overrides: &Overrides| {
            let workload = read(text, overrides).expect("valid");
            (workload.conversation.map(|spec| spec.turns), workload.request.cache_prompt)
        };
        let none = Overrides::default();
        assert_eq!(cached("[conversation]\nturns = 4", &none), (Some(4), true));
        let without = "[conversation]\nturns = 4\n[request]\ncache_prompt = false";
        assert_eq!(cached(without, &none), (Some(4), false));
        let flag = flags(RequestOverrides { turns: Some(3), ..RequestOverrides::default() });
        assert_eq!(cached("[request]\ncache_prompt = false", &flag), (Some(3), true));
        assert_eq!(cached(without, &flag), (Some(3), false));
    }

    #[test]
    fn what_does_not_fit_the_route_is_said_before_anything_starts() {
        for (text, message) in [
            (
                "endpoint = \"/v1/embeddings\"\n[request]\nignore_eos = true",
                "request.ignore_eos has no place in /v1/embeddings",
            ),
            (
                "endpoint = \"/v1/embeddings\"\nobjectives = [\"ttft_ms < 3\"]",
                "the objective \"ttft_ms < 3\" cannot be judged on /v1/embeddings: embeddings come in one piece",
            ),
            (
                "[request]\nstream = false\n[[threshold]]\nmetric = \"tpot_ms\"\nexpression = \"avg < 3\"",
                "the threshold \"tpot_ms: avg < 3\" cannot be judged on /v1/chat/completions: answers are not streamed",
            ),
            (
                "endpoint = \"/rerank\"\n[[threshold]]\nmetric = \"truncated_ratio\"\nexpression = \"rate < 0.5\"",
                "cannot be judged on /rerank: scores come in one piece",
            ),
            (
                "endpoint = \"/completion\"\n[conversation]\nturns = 3",
                "conversations have no place in /completion",
            ),
            (
                "duration = \"1s\"\n[arrivals]\nrate = 3\n[conversation]\nturns = 3",
                "conversations are held by users",
            ),
            (
                "tpot_difference = 16\n[conversation]\nturns = 3",
                "a conversation goes on from one answer",
            ),
            (
                "tpot_difference = 16\n[request]\nstream = false",
                "tpot_difference is found from the last content of a stream",
            ),
            ("[conversation]\nturns = 1", "expected a whole number from 2"),
            ("[cancel]\nshare = 0.5", "cancel needs one of after_tokens and after"),
            ("[cancel]\nshare = 1.5\nafter = \"1s\"", "cancel.share is a part of the requests"),
            (
                "[cancel]\nshare = 0.5\nafter_tokens = 3\n[request]\nstream = false",
                "cancel.after_tokens counts a stream",
            ),
            ("[request]\nprompt_template = \"x\"", "expected a text with {prompt} in it"),
            (
                "[request]\nprompt_template = \"{prompt}\"",
                "a prompt template has no place in /v1/chat/completions",
            ),
            ("[[lora]]\nid = 1\nmodel = \"m\"", "by its model name or by its id, not by both"),
            ("[[lora]]\nweight = 0", "lora.weight must be above zero"),
            ("[request.extra]\nn = 2", "request.extra must not hold \"n\""),
            ("deadline = \"0s\"", "deadline must be longer than zero"),
        ] {
            let error = read(text, &Overrides::default()).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains("problems"), "{text}: {error}");
        }
    }

    #[test]
    fn conversations_are_refused_where_any_phase_has_nobody_to_hold_them() {
        let of_phases = |second: &str| {
            let text = format!(
                "[conversation]\nturns = 3\n[[phase]]\nname = \"a\"\nduration = \"5s\"\n\
                 [[phase]]\nname = \"b\"\n{second}\n"
            );
            let origin = Origin::File("mine.toml".into());
            workload(&text, &origin, &Overrides::default()).map_err(|error| error.to_string())
        };
        let open = "duration = \"5s\"\n[phase.arrivals]\nrate = 3";
        let unmeasured = format!("measured = false\n{open}");
        for second in [open, unmeasured.as_str(), "iterations_per_user = 2"] {
            let error = of_phases(second).expect_err(second);
            assert!(error.contains("conversations are held by users"), "{second}: {error}");
        }
        let ramp = "[phase.ramp]\nstages = [{ duration = \"5s\", users = 2 }]";
        for second in ["n_prompts = 4", ramp] {
            of_phases(second).expect(second);
        }
    }

    #[test]
    fn another_route_drops_what_the_scenario_said_for_its_own() {
        let chat = |requests| {
            let text = builtin("chat").expect("built in");
            workload(text, &Origin::BuiltIn("chat"), &flags(requests)).expect("valid")
        };
        let endpoint = Some(Endpoint::Embeddings);
        let embeddings = chat(RequestOverrides { endpoint, ..RequestOverrides::default() });
        assert!(embeddings.request.system_prompt.is_none() && embeddings.request.stop.is_empty());
        assert!(embeddings.thresholds.is_empty() && !embeddings.request.stream);
        let whole = chat(RequestOverrides { stream: Some(false), ..RequestOverrides::default() });
        assert!(!whole.request.stream && whole.request.system_prompt.is_some());
        assert_eq!(whole.thresholds.len(), 1);
    }

    #[test]
    fn extra_bodies_are_merged_and_checked() {
        let typed = |typed: &[&str]| {
            let extra_body = typed.iter().map(|typed| (*typed).to_owned()).collect();
            read("", &flags(RequestOverrides { extra_body, ..RequestOverrides::default() }))
        };
        let workload = typed(&[r#"{"a": 1, "b": {"c": 2}}"#, r#"{"a": 3}"#]).expect("valid");
        let extra = Value::Object(workload.request.extra);
        assert_eq!(extra, serde_json::json!({"a": 3, "b": {"c": 2}}));
        for bad in ["[1]", "{", "x", r#"{"stream": true}"#, r#"{"top_n": 2}"#] {
            let error = typed(&[bad]).expect_err(bad);
            assert!(error.contains("--extra-body: "), "{error}");
        }
    }
}
