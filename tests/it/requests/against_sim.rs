//! Against the simulator.

use serde_json::Value;

use super::{on_sim, turns};
use crate::run::{Bench, json_lines, metric};

/// Every route, streamed and not: all complete, the counts agree, and only what the route has is shown.
fn check_route(endpoint: &str, more: &[&str], expected_rate: &str, no_tokens_known: bool) {
    let bench = Bench::new();
    let lines = format!("endpoint = \"{endpoint}\"");
    let flags = [&["--n-prompts", "8", "--users", "2"][..], more].concat();
    let ran = on_sim(&bench, &lines, "[request]\nmax_tokens = 8\n", &flags).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 8, "{endpoint}");
    assert_eq!(report["scenario"]["endpoint"], endpoint);
    assert!(metric(&report, "e2e_ms", "mean") > 0.0);
    assert!(report["rates"][expected_rate].as_f64().unwrap() > 0.0, "{}", report["rates"]);
    let disagreements = report["reconciliation"]["disagreements"].as_array().unwrap();
    assert!(disagreements.is_empty(), "{endpoint}: {disagreements:?}");
    let ttft = &report["metrics"]["ttft_ms"];
    assert_eq!(ttft["mean"].is_null(), no_tokens_known, "{endpoint}: {ttft}");
    let page = ran.file("report.md");
    assert_eq!(page.contains("| `ttft_ms` |"), !no_tokens_known, "{endpoint}: {page}");
    assert_eq!(
        page.contains("No first token and no time between tokens: "),
        no_tokens_known,
        "{endpoint}: {page}"
    );
    assert!(page.contains("`e2e_ms`"), "{page}");
}

#[test]
fn every_route_of_tokens_works_streamed_and_whole() {
    for endpoint in ["/v1/chat/completions", "/v1/completions", "/completion"] {
        check_route(endpoint, &[], "output_tokens_per_second", false);
        check_route(endpoint, &["--no-stream"], "output_tokens_per_second", true);
    }
}

#[test]
fn embeddings_and_scores_have_rates_of_their_own() {
    for more in [&[][..], &["--inputs-per-request", "3"]] {
        check_route("/v1/embeddings", more, "embeddings_per_second", true);
        check_route("/v1/rerank", more, "documents_per_second", true);
    }
    check_route("/rerank", &[], "documents_per_second", true);
    // Queries and documents are texts, of whatever length they were asked for.
    let synthetic = ["--dataset", "synthetic:input=12"];
    check_route("/v1/rerank", &synthetic, "documents_per_second", true);
    check_route("/v1/embeddings", &synthetic, "embeddings_per_second", true);
}

#[test]
fn a_whole_answer_says_as_many_tokens_as_were_forced() {
    let bench = Bench::new();
    let tables = "[request]\nmax_tokens = 8\nignore_eos = true\n";
    let flags = ["--n-prompts", "4", "--users", "2", "--no-stream", "--", "--sim-fault", "short:3"];
    let ran = on_sim(&bench, "", tables, &flags).checked(5);
    assert_eq!(ran.failures(), [("short".to_owned(), 4)]);
}

#[test]
fn what_breaks_embeddings_and_scores_is_a_failure_of_its_kind() {
    for (endpoint, fault, kind) in [
        ("/v1/embeddings", "nan", "protocol"),
        ("/v1/embeddings", "empty", "empty"),
        ("/v1/embeddings", "short:1", "short"),
        ("/v1/embeddings", "status:503", "http_5xx"),
        ("/rerank", "nan", "protocol"),
        ("/rerank", "short:1", "short"),
    ] {
        let bench = Bench::new();
        let lines = format!("endpoint = \"{endpoint}\"");
        let flags = ["--n-prompts", "3", "--users", "1", "--inputs-per-request", "2"];
        let faults = ["--", "--sim-fault", fault];
        let ran = on_sim(&bench, &lines, "", &[&flags[..], &faults].concat()).checked(5);
        assert_eq!(ran.failures(), [(kind.to_owned(), 3)], "{endpoint} {fault}");
    }
}

#[test]
fn cached_tokens_grow_with_the_conversation() {
    let bench = Bench::new();
    let tables = "[conversation]\nturns = 4\n[request]\nmax_tokens = 8\nignore_eos = true\n[filter]\nmax_prompt_words = 40\n";
    let flags = ["--n-prompts", "3", "--users", "2", "--parallel", "3"];
    let ran = on_sim(&bench, "think_time = \"1ms\"", tables, &flags).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 12);
    let conversations = &report["conversations"];
    assert_eq!((&conversations["begun"], &conversations["completed"]), (&3.into(), &3.into()));
    let turns = turns(&report);
    assert_eq!(turns.len(), 4);
    for (earlier, later) in turns.iter().zip(&turns[1..]) {
        assert!(later.0 > earlier.0 && later.1 > earlier.1, "{turns:?}");
        // What was read before need not be read again, but for the last token of all.
        assert!(later.0 + 1.0 >= earlier.1, "{turns:?}");
    }
    // The turns of a conversation are one user's, in order, and say in the page what they cost.
    let rows = ran.rows();
    for conversation in 0..3 {
        let own: Vec<&Value> =
            rows.iter().filter(|row| row["conversation_index"] == conversation).collect();
        let turns: Vec<u64> = own.iter().map(|row| row["turn"].as_u64().unwrap()).collect();
        assert_eq!(turns, [1, 2, 3, 4]);
        assert!(own.iter().all(|row| row["user_index"] == own[0]["user_index"]));
    }
    assert!(ran.file("report.md").contains("### Turns of conversations"));
}

#[test]
fn a_turn_that_fails_ends_its_conversation() {
    let bench = Bench::new();
    let tables =
        "[conversation]\nturns = 3\n[request]\nmax_tokens = 4\n[filter]\nmax_prompt_words = 40\n";
    let flags = ["--n-prompts", "2", "--users", "1", "--max-failed", "1"];
    let faults = ["--", "--sim-fault", "status:500", "--sim-fault-at", "2"];
    let ran = on_sim(&bench, "", tables, &[&flags[..], &faults].concat()).checked(0);
    let report = ran.report();
    let counts = &report["requests"];
    assert_eq!((&counts["planned"], &counts["completed"]), (&6.into(), &4.into()), "{counts}");
    assert_eq!((&counts["failed"], &counts["dropped"]), (&1.into(), &1.into()), "{counts}");
    assert_eq!(report["conversations"]["broken"], 1);
    let dropped: Vec<_> =
        ran.rows().into_iter().filter(|row| row["outcome"] == "dropped").collect();
    assert_eq!(dropped[0]["dropped_because"], "conversation_broken");
    assert_eq!((&dropped[0]["conversation_index"], &dropped[0]["turn"]), (&0.into(), &3.into()));
}

#[test]
fn conversations_that_time_ends_leave_no_gap_in_the_rows() {
    let bench = Bench::new();
    let tables =
        "[conversation]\nturns = 50\n[request]\nmax_tokens = 4\n[filter]\nmax_prompt_words = 20\n";
    let flags = ["--duration", "1s", "--users", "2", "--ctx-size", "200000"];
    let ran = on_sim(&bench, "", tables, &flags).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["dropped"], 0);
    assert!(report["requests"]["completed"].as_u64().unwrap() > 4);
    // Held to their end are those whose last turn is there, whatever the time allowed.
    let rows = ran.rows();
    let last_turns = rows.iter().filter(|row| row["phase"] == "measured" && row["turn"] == 50);
    assert_eq!(report["conversations"]["completed"], last_turns.count() as u64);
    let code = |warning: &Value| warning["code"] == "repeated_prompts";
    assert!(!report["warnings"].as_array().unwrap().iter().any(code), "turns repeat nothing");
}

#[test]
fn conversations_are_numbered_over_all_phases() {
    let bench = Bench::new();
    let phase = |name: &str| format!("[[phase]]\nname = \"{name}\"\nn_prompts = 2\n");
    let text = format!(
        "dataset = \"builtin\"\nwarm_up_requests_per_user = 0\n{}{}[conversation]\nturns = 2\n\
         [request]\nmax_tokens = 4\n[filter]\nmax_prompt_words = 20\n",
        phase("one"),
        phase("two")
    );
    std::fs::write(bench.path("talks.toml"), text).unwrap();
    let flags = ["--server", "sim", "--scenario", "./talks.toml", "--users", "1"];
    let ran = bench.run("out", &[&flags[..], &["--max-lateness", "1000"]].concat()).checked(0);
    let conversations = &ran.report()["conversations"];
    assert_eq!((&conversations["begun"], &conversations["completed"]), (&4.into(), &4.into()));
    let mut numbers: Vec<u64> =
        ran.rows().iter().filter_map(|row| row["conversation_index"].as_u64()).collect();
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn the_deadline_is_a_failure_and_hanging_up_is_none() {
    let bench = Bench::new();
    // The second of four answers a second late.
    let faults = ["--", "--sim-fault", "hang-mid:3", "--sim-fault-at", "2"];
    let flags = ["--n-prompts", "4", "--users", "1", "--max-tokens", "8", "--deadline", "800ms"];
    let ran = on_sim(&bench, "", "", &[&flags[..], &faults].concat()).checked(5);
    assert_eq!(ran.failures(), [("deadline".to_owned(), 1)]);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 3);
    let row = ran.rows().into_iter().find(|row| row["outcome"] == "failed").unwrap();
    assert!(row["failure_detail"].as_str().unwrap().contains("800ms passed after 3 content"));
}

#[test]
fn some_are_hung_up_on_purpose_and_counted_as_such() {
    let bench = Bench::new();
    let tables =
        "[cancel]\nshare = 0.5\nafter_tokens = 3\n[request]\nmax_tokens = 16\nignore_eos = true\n";
    let flags = ["--n-prompts", "40", "--users", "4", "--", "--sim-itl-ms", "3"];
    let ran = on_sim(&bench, "", tables, &flags).checked(0);
    let report = ran.report();
    let counts = &report["requests"];
    let cancelled = counts["cancelled"].as_u64().unwrap();
    // Five standard deviations of 40 draws around 20, and by seed always the same.
    assert!((5..=35).contains(&cancelled), "{counts}");
    assert_eq!(counts["completed"].as_u64().unwrap() + cancelled, 40);
    assert_eq!(counts["failed"], 0);
    assert_eq!(report["reconciliation"]["disagreements"].as_array().unwrap().len(), 0);
    let rows = ran.rows();
    for row in rows.iter().filter(|row| row["outcome"] == "cancelled") {
        let deltas = row["content_deltas"].as_u64().unwrap();
        assert!((3..16).contains(&deltas), "{row}");
        assert!(row["ttft_ms"].is_null() && row["end_s"].is_number(), "{row}");
    }
    assert!(ran.file("report.md").contains("hung up on purpose"));
    let again = on_sim(&Bench::new(), "", tables, &flags).report();
    assert_eq!(again["requests"]["cancelled"].as_u64(), Some(cancelled));
    assert_eq!(again["scenario"]["workload_hash"], report["scenario"]["workload_hash"]);
}

#[test]
fn hanging_up_by_time_frees_the_slot() {
    let bench = Bench::new();
    let tables =
        "[cancel]\nshare = 1\nafter = \"30ms\"\n[request]\nmax_tokens = 500\nignore_eos = true\n";
    let flags = ["--n-prompts", "6", "--users", "1", "--parallel", "1", "--", "--sim-itl-ms", "5"];
    let ran = on_sim(&bench, "", tables, &flags);
    // Nothing completed, so there is no evidence, but nothing failed either.
    let report = ran.checked(5).report();
    assert_eq!(report["requests"]["cancelled"], 6, "{}", report["requests"]);
    assert_eq!(report["requests"]["failed"], 0);
}

#[test]
fn reasoning_is_told_from_the_answer() {
    let bench = Bench::new();
    let tables = "[request]\nmax_tokens = 12\nignore_eos = true\n";
    let flags = [
        "--n-prompts",
        "4",
        "--users",
        "1",
        "--",
        "--sim-itl-ms",
        "5",
        "--sim-fault",
        "reasoning:6",
    ];
    let ran = on_sim(&bench, "", tables, &flags).checked(0);
    let report = ran.report();
    let (first, answer) =
        (metric(&report, "ttft_ms", "mean"), metric(&report, "time_to_first_answer_ms", "mean"));
    assert!(answer > first + 20.0, "{first} {answer}");
    assert!(ran.rows().iter().all(|row| row["reasoning_deltas"] == 6));
    assert!(ran.file("report.md").contains("`time_to_first_answer_ms`"));
    let bench = Bench::new();
    let plain = on_sim(&bench, "", tables, &["--n-prompts", "2", "--users", "1"]).checked(0);
    assert!(!plain.file("report.md").contains("time_to_first_answer_ms"));
}

#[test]
fn a_metric_that_the_route_has_not_is_refused_before_anything_starts() {
    let bench = Bench::new();
    for (flags, message) in [
        (
            &["--endpoint", "embeddings", "--threshold", "ttft_ms: avg < 3"][..],
            "cannot be judged on /v1/embeddings",
        ),
        (
            &["--no-stream", "--objective", "tpot_ms < 3"],
            "cannot be judged on /v1/chat/completions",
        ),
        (&["--endpoint", "nonsense"], "expected \"/v1/chat/completions\""),
        (
            &["--endpoint", "completion", "--turns", "3"],
            "conversations have no place in /completion",
        ),
        (&["--extra-body", "[1]"], "--extra-body"),
        (&["--prompt-template", "./no-such-file"], "--prompt-template"),
        (&["--turns", "1"], "--turns"),
    ] {
        let ran = bench.run("out", &[&["--server", "sim"][..], flags].concat());
        assert_eq!(ran.exit, 2, "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(message), "{flags:?}: {}", ran.stderr);
        assert!(!ran.out.exists(), "{flags:?}");
    }
}

#[test]
fn flags_of_requests_reach_the_body() {
    let bench = Bench::new();
    std::fs::write(bench.path("template.txt"), "Q: {prompt}\nA:").unwrap();
    let flags = [
        "--server",
        "sim",
        "--dry-run",
        "--endpoint",
        "completions",
        "--temperature",
        "0.5",
        "--top-p",
        "0.9",
        "--top-k",
        "40",
        "--min-p",
        "0.1",
        "--repeat-penalty",
        "1.1",
        "--presence-penalty",
        "-0.5",
        "--extra-body",
        "{\"a\": {\"b\": 1}}",
        "--cache-prompt",
        "true",
        "--prompt-template",
        "template.txt",
    ];
    let ran = bench.run("out", &flags);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let line = ran.stdout.lines().find(|line| line.starts_with("each")).unwrap();
    let body = &line[line.find('{').unwrap()..];
    let body = json_lines(body).remove(0);
    assert_eq!(body["prompt"], "Q: <a prompt of the dataset>\nA:");
    assert_eq!(body["temperature"], 0.5);
    assert_eq!(body["top_k"], 40);
    assert_eq!(body["presence_penalty"], -0.5);
    assert_eq!(body["a"]["b"], 1);
    assert_eq!(body["cache_prompt"], true);
}
