//! Scenario files as people write them, right and wrong.

use std::time::Duration;

use super::*;
use crate::plan::shape::{Stage, UserTarget};

/// The workload of `text`, or its whole error message followed by the hint.
fn check(text: &str, overrides: &Overrides) -> Result<Workload, String> {
    workload(text, &Origin::File(PathBuf::from("my/slow.toml")), overrides).map_err(|error| {
        match error.hint() {
            Some(hint) => format!("{error}\nhint: {hint}"),
            None => error.to_string(),
        }
    })
}

fn error_of(text: &str) -> String {
    check(text, &Overrides::default()).expect_err("the scenario is wrong")
}

fn chat(overrides: &Overrides) -> Workload {
    workload(builtin("chat").expect("built in"), &Origin::BuiltIn("chat"), overrides)
        .expect("valid")
}

#[test]
fn the_chat_scenario_is_the_workload_of_script_js() {
    let workload = chat(&Overrides::default());
    assert_eq!(workload.scenario, "chat");
    assert_eq!(workload.file, None);
    assert_eq!(workload.endpoint, Endpoint::ChatCompletions);
    assert_eq!(workload.users, None);
    assert_eq!(workload.n_prompts, None);
    assert_eq!(workload.think_time, Duration::from_millis(300));
    assert_eq!(workload.duration, Some(Duration::from_secs(60)));
    assert_eq!(workload.graceful_stop, Duration::from_secs(30));
    assert_eq!(workload.warm_up_requests_per_user, 1);
    assert_eq!(
        workload.filter,
        PromptFilter { min_words: 4, max_prompt_words: Some(1024), max_context_words: Some(2048) }
    );
    assert_eq!(workload.request.max_tokens, 512);
    assert_eq!(workload.request.seed, Some(42));
    assert_eq!(workload.request.stop, ["<|im_end|>"]);
    assert!(!workload.request.cache_prompt);
    assert!(workload.request.include_usage);
}

#[test]
fn every_built_in_scenario_is_valid_and_named_as_its_file() {
    for name in builtin_names() {
        let text = builtin(name).expect("listed");
        let workload =
            workload(text, &Origin::BuiltIn(name), &Overrides::default()).expect("valid");
        assert_eq!(workload.scenario, name);
    }
}

#[test]
fn a_file_that_says_little_is_neutral_and_named_after_itself() {
    let workload = check("n_prompts = 3", &Overrides::default()).expect("valid");
    assert_eq!(workload.scenario, "slow");
    assert_eq!(workload.file, Some(PathBuf::from("my/slow.toml")));
    assert_eq!(workload.request.system_prompt, None);
    assert_eq!(workload.think_time, Duration::ZERO);
    assert_eq!(workload.request.seed, None);
    assert_eq!(workload.filter.max_prompt_words, None);
}

#[test]
fn every_key_is_read() {
    let text = r#"
        name = "all"
        endpoint = "/v1/completions"
        dataset = "data/mine.json"
        n_prompts = 10
        users = 3
        think_time = "1s"
        duration = "2m"
        graceful_stop = "0s"
        warm_up_requests_per_user = 0
        connections = "fresh"
        seed = 7
        [filter]
        min_words = 1
        max_prompt_words = 100
        max_context_words = 200
        [request]
        model = "m"
        max_tokens = 16
        stop = []
        seed = 8
        temperature = 0
        cache_prompt = true
        ignore_eos = true
        include_usage = false
        extra = { top_k = 1, logit_bias = [[1, 0.5]], nested = { a = "b" } }
        [timeouts]
        connect = "1s"
        first = "2s"
        idle = "3s"
        total = "4s"
    "#;
    let workload = check(text, &Overrides::default()).expect("valid");
    assert_eq!(workload.scenario, "all");
    assert_eq!(workload.endpoint, Endpoint::Completions);
    assert_eq!(workload.dataset, DatasetSpec::File { path: PathBuf::from("my/data/mine.json") });
    assert_eq!((workload.n_prompts, workload.users, workload.seed), (Some(10), Some(3), 7));
    assert_eq!(workload.graceful_stop, Duration::ZERO);
    assert_eq!(workload.warm_up_requests_per_user, 0);
    assert_eq!(workload.connections, Connections::Fresh);
    assert_eq!(workload.request.sampling.temperature, Some(0.0));
    assert!(
        workload.request.cache_prompt
            && workload.request.ignore_eos
            && !workload.request.include_usage
    );
    assert_eq!(
        serde_json::Value::Object(workload.request.extra.clone()),
        serde_json::json!({"top_k": 1, "logit_bias": [[1, 0.5]], "nested": {"a": "b"}})
    );
    let seconds = |duration: Duration| duration.as_secs();
    let timeouts = workload.timeouts;
    assert_eq!(
        [timeouts.connect, timeouts.first, timeouts.idle, timeouts.total].map(seconds),
        [1, 2, 3, 4]
    );
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let text = "usres = 3\nduration = 60\nendpoint = \"/v1/chat/completion\"\n[request]\nmax_token = 5\nseed = -1\n\
                stop = \"x\"\ncache_prompt = 1\n[timeouts]\nfirst = \"0s\"\nidle = \"10 minutes\"\n";
    let overrides = Overrides { users: Some(0), ..Overrides::default() };
    let expected = r#"scenario file "my/slow.toml" has 10 problems
  line 1: unknown key "usres" (did you mean "users"?)
  line 2: invalid value 60 for duration: expected a number and s, m or h in quotes, such as "90s"
  line 3: invalid value "/v1/chat/completion" for endpoint: expected "/v1/chat/completions", "/v1/completions", "/completion", "/v1/embeddings", "/v1/rerank" or "/rerank"; did you mean "/v1/chat/completions"?
  line 5: unknown key "max_token" in [request] (did you mean "max_tokens"?)
  line 6: invalid value -1 for request.seed: expected a whole number from 0 to 4294967294
  line 7: invalid value "x" for request.stop: expected a list of strings
  line 8: invalid value 1 for request.cache_prompt: expected true or false
  line 10: timeouts.first must be longer than zero
  line 11: invalid value "10 minutes" for timeouts.idle: expected a number and s, m or h, such as 90s
  --users: must be at least 1"#;
    assert_eq!(check(text, &overrides), Err(expected.to_owned()));
}

#[test]
fn one_problem_is_one_sentence_with_a_hint() {
    assert_eq!(
        error_of("n_prompts = 1\n[filter]\nmin_word = 4"),
        "scenario file \"my/slow.toml\": line 3: unknown key \"min_word\" in [filter]\nhint: did you mean \"min_words\"?"
    );
    assert_eq!(
        error_of(""),
        "scenario file \"my/slow.toml\": nothing bounds the run: neither duration nor n_prompts is given\n\
         hint: pass --duration or --n-prompts, or set one of them in the scenario"
    );
}

#[test]
fn a_syntax_error_is_reported_with_its_line_and_nothing_after_it() {
    let error = error_of("n_prompts = 1\nusers = = 3\nbanana = 4\n");
    assert!(error.starts_with("scenario file \"my/slow.toml\": line 2: "), "{error}");
    assert!(!error.contains("banana"), "{error}");
}

#[test]
fn a_key_that_is_there_twice_is_an_error() {
    let error = error_of("n_prompts = 1\nn_prompts = 2\n");
    assert!(error.contains("line 2: duplicate key"), "{error}");
}

#[test]
fn a_section_that_is_no_table_is_an_error() {
    let error = error_of("n_prompts = 1\nrequest = 5\n");
    assert_eq!(
        error,
        "scenario file \"my/slow.toml\": line 2: invalid value 5 for request: expected a table"
    );
}

#[test]
fn flags_win_over_the_scenario() {
    let workload = chat(&Overrides {
        duration: Some(Duration::from_secs(10)),
        users: Some(8),
        n_prompts: Some(64),
        max_prompt_tokens: Some(100),
        max_tokens: Some(64),
        max_context: Some(300),
        dataset: Some(DatasetSpec::ShareGptHub),
        seed: Some(7),
        request_model: Some("m".to_owned()),
        ..Overrides::default()
    });
    assert_eq!(workload.duration, Some(Duration::from_secs(10)));
    assert_eq!((workload.users, workload.n_prompts), (Some(8), Some(64)));
    assert_eq!(
        (workload.filter.max_prompt_words, workload.filter.max_context_words),
        (Some(100), Some(300))
    );
    assert_eq!(
        (workload.request.max_tokens, workload.request.seed, workload.seed),
        (64, Some(7), 7)
    );
    assert_eq!(workload.dataset, DatasetSpec::ShareGptHub);
    assert_eq!(workload.request.model.as_deref(), Some("m"));
}

#[test]
fn a_seed_is_not_sent_where_the_scenario_sends_none() {
    let overrides = Overrides { seed: Some(7), ..Overrides::default() };
    let workload = check("n_prompts = 1", &overrides).expect("valid");
    assert_eq!((workload.seed, workload.request.seed), (7, None));
}

#[test]
fn a_bound_that_is_wrong_is_not_also_missing() {
    let error = error_of("duration = 5");
    assert!(!error.contains("nothing bounds"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (text, part) in [
        (
            "n_prompts=1\nendpoint=\"/completion\"\n[request]\nsystem_prompt=\"x\"",
            "request.system_prompt has no place",
        ),
        (
            "n_prompts=1\n[request]\nignore_eos=true\nstop=[\"x\"]",
            "request.stop would end answers early",
        ),
        ("n_prompts=1\n[filter]\nmin_words=9\nmax_prompt_words=8", "no prompt can pass"),
        ("n_prompts=1\n[timeouts]\ntotal=\"1s\"", "timeouts.first is longer"),
        ("n_prompts=1\n[request.extra]\nstream=false", "request.extra must not hold \"stream\""),
        ("n_prompts=1\n[request.extra]\nx=2020-01-01", "a table of what JSON can hold"),
        ("n_prompts=1\n[request]\ntemperature=nan", "a number, zero or above"),
        ("n_prompts=0", "expected a whole number from 1 to"),
        ("n_prompts=1\ndataset=\"sharegtp\"", "did you mean \"sharegpt\"?"),
        ("cool_down=\"1s\"\n[trace]\nfile=\"t.jsonl\"", "behind a trace there is nothing"),
        (
            "[trace]\nfile=\"t.jsonl\"\n[[phase]]\nname=\"a\"\nn_prompts=1",
            "a trace is a whole load, and has no place beside phases",
        ),
    ] {
        let error = error_of(text);
        assert!(error.contains(part), "{text}\n{error}");
    }
    let forced = chat(&Overrides { ignore_eos: Some(true), ..Overrides::default() });
    assert!(forced.request.stop.is_empty() && forced.request.ignore_eos);
}

#[test]
fn an_unknown_scenario_names_the_known_and_the_nearest() {
    assert_eq!(Origin::of("chat"), Ok(Origin::BuiltIn("chat")));
    assert_eq!(Origin::of("./chat"), Ok(Origin::File("./chat".into())));
    assert_eq!(Origin::of("mine.toml"), Ok(Origin::File("mine.toml".into())));
    let error = Origin::of("chats").expect_err("no such scenario");
    assert_eq!(
        error.to_string(),
        "there is no built-in scenario \"chats\"; known are \"chat\", \"load\", \"soak\", \"spike\", \"breakpoint\" and \"conversation\""
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("did you mean \"chat\"? A scenario file is given by its path")
    );
}

#[test]
fn every_shape_is_read() {
    let shape =
        |text: &str| check(text, &Overrides::default()).map(|found| (found.shape, found.duration));
    let seconds = Duration::from_secs;
    fn target<T>(seconds: u64, target: T) -> Stage<T> {
        Stage { duration: Duration::from_secs(seconds), target }
    }
    assert_eq!(
        shape(
            "duration = \"9s\"\n[arrivals]\nprocess = \"gamma:0.5\"\nrate = 2.5\nmax_in_flight = 7"
        ),
        Ok((
            LoadShape::Arrivals {
                process: ArrivalProcess::Gamma { shape: 0.5 },
                rate_per_second: 2.5,
                max_in_flight: Some(7)
            },
            Some(seconds(9))
        ))
    );
    assert_eq!(
        shape(
            "[arrivals]\nstages = [{ duration = \"5s\", rate = 10 }, { duration = \"1m\", rate = 10 }]"
        ),
        Ok((
            LoadShape::RampingArrivals {
                process: ArrivalProcess::Poisson,
                start_rate: 0.0,
                stages: vec![target(5, 10.0), target(60, 10.0)],
                max_in_flight: None
            },
            Some(seconds(65))
        ))
    );
    assert_eq!(
        shape(
            "duration = \"20s\"\n[ramp]\nstages = [{ duration = \"5s\", users = \"2x\" }, { duration = \"5s\", users = 0 }]"
        ),
        Ok((
            LoadShape::RampingUsers {
                start: UserTarget::Count(1),
                stages: vec![target(10, UserTarget::Times(2.0)), target(10, UserTarget::Count(0))],
            },
            Some(seconds(20))
        ))
    );
    assert_eq!(
        shape("iterations_per_user = 3"),
        Ok((LoadShape::PerUserIterations { iterations: 3 }, None))
    );
}

/// The instants of an open loop lie in memory before anything is sent, and what is counted and not sent
/// is recorded all the same: both would fill the machine after the server was started.
#[test]
fn more_requests_than_a_run_can_hold_are_refused_by_their_number() {
    let phases = |seconds: u32| {
        let phase = |name| {
            format!(
                "[[phase]]\nname = \"{name}\"\nduration = \"{seconds}s\"\n[phase.arrivals]\nrate = 1e6\n"
            )
        };
        phase("a") + &phase("b")
    };
    for (text, planned) in [
        ("duration = \"1h\"\n[arrivals]\nrate = 1e6".to_owned(), "3600000000"),
        ("[arrivals]\nstages = [{ duration = \"1h\", rate = 1e6 }]".to_owned(), "1800000000"),
        ("duration = \"19s\"\ncool_down = \"2s\"\n[arrivals]\nrate = 1e6".to_owned(), "21000000"),
        (phases(11), "22000000"),
        ("n_prompts = 10000000000".to_owned(), "10000000000"),
        ("n_prompts = 20001\n[conversation]\nturns = 1000".to_owned(), "20001000"),
        ("n_prompts = 10000001\ntpot_difference = 16".to_owned(), "20000002"),
        ("iterations_per_user = 20000001".to_owned(), "20000001"),
        ("users = 3\niterations_per_user = 10000000".to_owned(), "30000000"),
    ] {
        let error = error_of(&text);
        assert!(error.contains(&format!("{planned} requests are planned")), "{text}: {error}");
        assert!(error.contains("hint: lower the rate"), "{text}: {error}");
    }
    for text in [
        "duration = \"20s\"\n[arrivals]\nrate = 1e6".to_owned(),
        "duration = \"1h\"\nn_prompts = 20000000\n[arrivals]\nrate = 1e6".to_owned(),
        "duration = \"1h\"".to_owned(),
        phases(10),
    ] {
        assert!(check(&text, &Overrides::default()).is_ok(), "{text}");
    }
}

#[test]
fn a_rate_makes_any_scenario_an_open_loop() {
    let rate = Overrides { rate: Some(12.0), ..Overrides::default() };
    let chat = chat(&rate);
    assert_eq!(
        chat.shape,
        LoadShape::Arrivals {
            process: ArrivalProcess::Poisson,
            rate_per_second: 12.0,
            max_in_flight: None
        }
    );
    assert_eq!((chat.think_time, chat.users), (Duration::ZERO, None));
    let ramp = check("[ramp]\nstages = [{ duration = \"5s\", users = 2 }]", &rate).expect("valid");
    assert_eq!(ramp.duration, Some(Duration::from_secs(5)), "the stages' length stays");
}
