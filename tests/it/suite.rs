//! Sweeps, suites and searches through the real binary: cells, servers between them, a failing cell,
//! going on after an interruption, and the combined table.

use std::path::Path;
use std::time::{Duration, Instant};

use bench_ci::artifact::unexplained_nulls;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::report::suite_violations;
use crate::run::{Bench, Ran};

mod real_llama_server;

/// Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// Small cells on the simulator; a starved client is no failure here.
const SMALL: &[&str] = &[
    "--server",
    "sim",
    "--scenario",
    "brisk.toml",
    "--max-lateness",
    "100",
    "--max-client-delay",
    "100",
];

fn suite_of(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("suite.json")).unwrap_or_default();
    let suite: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(suite_violations(&suite), [""; 0]);
    assert_eq!(unexplained_nulls(&suite), [""; 0]);
    suite
}

/// Name, status and exit code of every cell.
fn cells(suite: &Value) -> Vec<(String, String, Option<u64>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cells = suite["cells"].as_array().unwrap().iter();
    cells
        .map(|cell| (text(&cell["name"]), text(&cell["status"]), cell["exit_code"].as_u64()))
        .collect()
}

/// Four requests a cell, unless the arguments say otherwise.
fn play(bench: &Bench, arguments: &[&str]) -> Ran {
    let four = if arguments.contains(&"--n-prompts") { &[][..] } else { &["--n-prompts", "4"][..] };
    bench.run("out", &[SMALL, four, arguments].concat())
}

fn starts(suite: &Value) -> usize {
    suite["servers"].as_array().unwrap().len()
}

#[test]
fn a_sweep_starts_a_server_for_each_set_of_flags_and_yields_one_table() {
    let bench = Bench::new();
    let ran = play(
        &bench,
        &["--sweep", "users=1,2", "--sweep", "max_tokens=4,8", "--sweep", "parallel=2,4"],
    );
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    let played = cells(&suite);
    assert_eq!(played.len(), 8);
    assert!(
        played.iter().all(|(_, status, exit)| status == "completed" && *exit == Some(0)),
        "{played:?}"
    );
    assert_eq!(starts(&suite), 2, "one for each set of flags");
    assert_eq!(suite["suite"]["planned_server_starts"], 2);
    let on_first = suite["servers"][0]["cells"].as_array().unwrap();
    assert_eq!(on_first.len(), 4);
    for (name, _, _) in &played {
        let report = ran.file(&format!("cells/{name}/report.json"));
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["requests"]["completed"], 4, "{name}");
        let tokens = if name.contains("max_tokens=8") { 8 } else { 4 };
        assert_eq!(report["scenario"]["phases"][1]["max_tokens"], tokens, "{name}");
        let slots = if name.contains("parallel=4") { 4 } else { 2 };
        assert_eq!(report["server"]["total_slots"], slots, "{name}");
    }
    assert_eq!(ran.file("suite.csv").lines().count(), 9);
    let table = ran.file("suite.md");
    assert!(
        table.contains("| users | max\\_tokens | parallel |")
            || table.contains("| users | max_tokens | parallel |"),
        "{table}"
    );
    assert!(ran.stderr.contains("cell 3 of 8: "), "{}", ran.stderr);
    // Shown again from suite.json alone.
    for (format, file) in [("markdown", "suite.md"), ("csv", "suite.csv")] {
        let shown =
            bench.finish("out", bench.command(&["report", "out/suite.json", "--format", format]));
        assert_eq!((shown.exit, shown.stdout), (0, ran.file(file)), "{format}");
    }
    let refused = bench.finish("out", bench.command(&["report", "out", "--format", "k6"]));
    assert_eq!(refused.exit, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("expected markdown, html, text, csv or json"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_dry_run_names_every_cell_and_the_number_of_servers() {
    let bench = Bench::new();
    let ran = play(&bench, &["--sweep", "users=1,2", "--sweep", "parallel=2,4", "--dry-run"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    for part in ["cells      4", "servers    2 started", "users=2,parallel=4", "--parallel 2"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert!(!ran.out.exists(), "a dry run writes nothing");
}

#[test]
fn a_failing_cell_is_named_and_the_rest_goes_on() {
    let bench = Bench::new();
    // The second server does not know its flag and exits at once.
    let text = format!(
        "{}\n[matrix]\nusers = [1, 2]\nserver = [{{ parallel = 2 }}, {{ no-such-flag = 1 }}, {{ sim-fault = \"status:500\" }}]\n",
        bench_file(&bench, "brisk.toml")
    );
    // A table cannot stand before the keys of the top: the matrix is its end.
    std::fs::write(bench.path("brisk.toml"), text).unwrap();
    let ran = play(&bench, &[]);
    let suite = suite_of(&ran.out);
    let codes: Vec<Option<u64>> = cells(&suite).into_iter().map(|(_, _, exit)| exit).collect();
    assert_eq!(codes[..4], [Some(0), Some(0), Some(7), Some(7)], "{}", ran.stderr);
    assert_eq!(ran.exit, 7, "the worst of all: {}", ran.stdout);
    let table = ran.file("suite.md");
    assert!(table.starts_with("**Failed:** "), "{table}");
    assert!(table.contains("## What went wrong"), "{table}");
    assert!(table.contains("exited with status 1"), "{table}");
}

fn bench_file(bench: &Bench, name: &str) -> String {
    std::fs::read_to_string(bench.path(name)).unwrap()
}

#[test]
fn several_scenarios_come_from_files_and_from_the_suite_itself() {
    let bench = Bench::new();
    std::fs::write(
        bench.path("suite.toml"),
        r#"
name = "nightly"
n_prompts = 4
[[scenario]]
name = "short"
file = "brisk.toml"
[[scenario]]
name = "long"
file = "brisk.toml"
users = 2
[scenario.request]
max_tokens = 24
[scenario.matrix]
seed = [1, 2]
"#,
    )
    .unwrap();
    let arguments = [
        "--server",
        "sim",
        "--scenario",
        "suite.toml",
        "--max-lateness",
        "100",
        "--max-client-delay",
        "100",
    ];
    let ran = bench.run("out", &arguments);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    let names: Vec<String> = cells(&suite).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["short", "long,seed=1", "long,seed=2"]);
    assert_eq!(starts(&suite), 1);
    let long: Value = serde_json::from_str(&ran.file("cells/long,seed=1/report.json")).unwrap();
    assert_eq!(long["scenario"]["phases"][1]["max_tokens"], 24);
    assert_eq!(long["scenario"]["phases"][1]["users"], 2);
    let short: Value = serde_json::from_str(&ran.file("cells/short/report.json")).unwrap();
    assert_eq!(short["scenario"]["phases"][1]["max_tokens"], 12);
}

#[test]
fn mistakes_in_a_suite_are_told_all_at_once_with_their_lines() {
    let bench = Bench::new();
    let text = "[matrix]\nuser = [1]\nparallel = []\n[[scenario]]\nname = \"a\"\nfile = \"nowhere.toml\"\n[[scenario]]\nname = \"a\"\nmax_tokns = 4\n";
    std::fs::write(bench.path("suite.toml"), text).unwrap();
    let ran = bench.run("out", &["--server", "sim", "--scenario", "suite.toml"]);
    assert_eq!(ran.exit, 2);
    for part in [
        "line 2: unknown axis \"user\"",
        "did you mean \"users\"",
        "line 3: no values for \"parallel\"",
        "line 6: ",
        "two scenarios have the name \"a\"",
        "unknown key \"max_tokns\"",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let bench = Bench::new();
    for (arguments, part) in [
        (&["--sweep", "users=1,2", "--users", "3"][..], "--users: \"users\" is swept"),
        (&["--sweep", "users=1,2", "--sweep", "rate=1"], "users and rate cannot be swept together"),
        (&["--sweep", "parallel=1", "--parallel", "2"], "\"parallel\" is swept"),
        (&["--sweep", "users=1,2", "--search", "users"], "a search has no place beside a sweep"),
        (&["--budget", "1m"], "nothing is searched"),
        (&["--search", "rate", "--goodput-ratio", "2"], "--goodput-ratio: invalid value"),
        (
            &["--search", "rate", "--search-precision", "0.001"],
            "--search-precision: invalid value: expected a share above 0.001 and below 1",
        ),
        (&["--resume"], "a single run has no cells"),
        (&["--sweep", "users=1,2", "--resume"], "holds no suite"),
    ] {
        let ran = play(&bench, arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
    }
}

/// Starts a long sweep and ends it with a signal once `cells` cells are whole.
fn interrupted(bench: &Bench, arguments: &[&str], whole: usize, signal: Signal) -> i32 {
    let mut command = bench.command(&[SMALL, &["--out-dir", "out"], arguments].concat());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let done = || {
        let text = std::fs::read_to_string(bench.path("out/suite.json")).unwrap_or_default();
        text.matches("\"status\": \"completed\"").count() >= whole
    };
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never {whole} whole cells");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    child.wait().unwrap().code().unwrap_or(-1)
}

const NINE: &[&str] = &["--sweep", "users=1,2,3", "--sweep", "parallel=2,3,4"];

#[test]
fn after_ctrl_c_it_goes_on_where_it_ended() {
    let bench = Bench::new();
    let slow = [NINE, &["--n-prompts", "20"]].concat();
    let slow: Vec<&str> = slow.into_iter().collect();
    let exit = interrupted(&bench, &slow, 2, Signal::SIGINT);
    assert_eq!(exit, 130);
    let suite = suite_of(&bench.path("out"));
    assert!(suite["suite"]["finished_at"].is_null());
    let before = cells(&suite);
    let whole = before.iter().filter(|(_, status, _)| status == "completed").count();
    assert!((2..9).contains(&whole), "{before:?}");
    let kept: Value = serde_json::from_str(
        &std::fs::read_to_string(bench.path("out/cells").join(&before[0].0).join("report.json"))
            .unwrap(),
    )
    .unwrap();

    // Another plan is not the same suite.
    let other = play(&bench, &[&slow[..], &["--seed", "7", "--resume"]].concat());
    assert_eq!(other.exit, 2, "{}", other.stderr);
    assert!(other.stderr.contains("workload.seed: 42 → 7"), "{}", other.stderr);

    let ran = play(&bench, &[&slow[..], &["--resume"]].concat());
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    assert!(cells(&suite).iter().all(|(_, status, _)| status == "completed"));
    assert_eq!(suite["suite"]["resumed_count"], 1);
    let again: Value =
        serde_json::from_str(&ran.file(&format!("cells/{}/report.json", before[0].0))).unwrap();
    assert_eq!(again["run"]["id"], kept["run"]["id"], "a whole cell is not played again");
}

/// Cells of two datasets under one name do not belong into one table.
#[test]
fn a_dataset_or_a_trace_that_has_changed_is_another_suite() {
    for (flag, line) in [
        ("--dataset", "{\"prompt\": \"Say something.\"}\n"),
        ("--trace", "{\"timestamp\": 0, \"prompt\": \"Say something.\"}\n"),
    ] {
        let bench = Bench::new();
        let file = bench.path("mine.jsonl");
        std::fs::write(&file, line.repeat(4)).unwrap();
        let arguments =
            ["--sweep", "max_tokens=2,4", flag, "./mine.jsonl", "--accept-saturated-client"];
        let ran = play(&bench, &arguments);
        assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
        let again = [&arguments[..], &["--resume"]].concat();
        assert_eq!(play(&bench, &again).exit, 0, "{flag}: nothing has changed");
        std::fs::write(&file, line.repeat(5)).unwrap();
        let ran = play(&bench, &again);
        assert_eq!(ran.exit, 2, "{flag}: {}", ran.stderr);
        assert!(ran.stderr.contains("files.dataset.size_bytes: "), "{flag}: {}", ran.stderr);
    }
}

#[test]
fn after_kill_9_it_goes_on_too_and_no_server_is_left() {
    let bench = Bench::new();
    interrupted(&bench, &[NINE, &["--n-prompts", "20"]].concat(), 1, Signal::SIGKILL);
    let left = || {
        let mark = format!("{}", bench.path("out").display());
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
            .any(|environment| {
                let environment = String::from_utf8_lossy(&environment).into_owned();
                let home = Path::new(&mark).parent().unwrap().join("home");
                environment.contains(&format!("HOME={}\0", home.display()))
            })
    };
    let begun = Instant::now();
    while left() {
        assert!(begun.elapsed() < PATIENCE, "a server outlived us");
        std::thread::sleep(Duration::from_millis(5));
    }
    let ran = play(&bench, &[NINE, &["--n-prompts", "20", "--resume"]].concat());
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(cells(&suite_of(&ran.out)).len(), 9);
}

#[test]
fn a_json_suite_is_taken_as_it_is_and_its_token_is_nowhere() {
    let bench = Bench::new();
    let (sim, address) = bench_ci::sim::Sim::bind(bench_ci::sim::SimArgs {
        port: 0,
        sim_load_ms: 0.0,
        api_key: Some("geheim-4711".to_owned()),
        ..bench_ci::sim::SimArgs::default()
    })
    .unwrap();
    let (canceller, cancel) = bench_ci::cancel::pair();
    let serving = std::thread::spawn(move || sim.serve(cancel));
    let text = format!(
        r#"{{"server": {{"url": "{}", "model": "m", "auth_token": "geheim-4711", "timeout": 60}},
        "benchmark": {{"max_concurrent_requests": 2}},
        "test_scenarios": [{{"name": "sky", "completions": [4, 8], "prompt": "Why is the sky blue?"}},
                           {{"name": "sea", "completions": [4], "prompt": "Why is the sea salty?"}}]}}"#,
        format_args!("http://{address}")
    );
    std::fs::write(bench.path("suite.json"), text).unwrap();
    let arguments =
        ["--scenario", "suite.json", "--max-lateness", "100", "--max-client-delay", "100"];
    let ran = bench.run("out", &arguments);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    canceller.stop(bench_ci::cancel::StopReason::Terminated);
    serving.join().unwrap().unwrap();
    let suite = suite_of(&ran.out);
    let names: Vec<String> = cells(&suite).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(names, ["sky,max_tokens=4", "sky,max_tokens=8", "sea,max_tokens=4"]);
    assert_eq!(suite["cells"][0]["requests"]["completed"], 20);
    assert_eq!(starts(&suite), 0);
    let mut folders = vec![ran.out.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!text.contains("geheim-4711"), "{}", path.display());
            }
        }
    }
}

/// Ten arrivals a trial, on a server that bears them all, searched up to 40 a second.
fn search_rate(bench: &Bench, more: &[&str]) -> (Ran, Value) {
    let few = ["--n-prompts", "10", "--max-tokens", "2", "--arrivals", "constant"];
    let rates = ["--search", "rate", "--search-from", "20", "--search-to", "40"];
    let ran = bench.run("out", &[SMALL, &few[..], &rates[..], more].concat());
    let suite = suite_of(&ran.out);
    (ran, suite)
}

/// No assertion on a time: nobody sends with less than no delay.
const ALWAYS_LATE: &[&str] = &["--max-arrival-lateness", "0", "--arrival-lateness-floor", "0ms"];
const NEVER_LATE: &[&str] = &["--max-arrival-lateness", "1000", "--arrival-lateness-floor", "1m"];
/// What two trials of ten requests can show.
const EASY: &[&str] = &["--objective", "e2e_ms < 60000", "--goodput-ratio", "0.5"];

/// What the client cannot send says nothing about the server, neither good nor bad.
#[test]
fn a_search_does_not_take_this_clients_limit_for_the_servers() {
    for (objective, kind) in [(EASY, "goodput"), (&[], "knee")] {
        let bench = Bench::new();
        let (ran, suite) = search_rate(&bench, &[ALWAYS_LATE, objective].concat());
        assert_eq!(ran.exit, 5, "{kind}: {}{}", ran.stdout, ran.stderr);
        let search = &suite["search"];
        assert_eq!(search["kind"], kind);
        assert!(search["value"].is_null(), "{search}");
        assert_eq!(search["client_limit"], 20.0);
        assert_eq!(search["points"], serde_json::json!([]), "{kind}");
        let trials = suite["cells"].as_array().unwrap();
        assert_eq!(trials.len(), 3, "{kind}: it may have been a bad moment twice");
        assert!(trials.iter().all(|trial| trial["client_limited"] == true), "{kind}: {suite}");
        let said = search["reasons"][0].as_str().unwrap();
        for part in ["at 20 this client was the limit and not the server", "later than planned"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(
            ran.stderr.contains("in 3 of 3 trials this client was the limit"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_search_that_accepts_a_saturated_client_goes_on_and_warns() {
    let accepted = [ALWAYS_LATE, EASY, &["--accept-saturated-client"]].concat();
    let (ran, suite) = search_rate(&Bench::new(), &accepted);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(suite["search"]["value"], 40.0, "{suite}");
    assert!(suite["search"]["client_limit"].is_null());
    let warning = suite["warnings"][0]["message"].as_str().unwrap();
    assert!(
        warning.contains("trials this client was the limit and not the server; they count all")
    );
}

/// Too many in flight is what an overloaded server looks like.
#[test]
fn a_search_takes_dropped_arrivals_for_the_servers_limit() {
    let overloaded = ["--max-in-flight", "1", "--", "--sim-ttft-ms", "500"];
    let (ran, suite) = search_rate(&Bench::new(), &[NEVER_LATE, EASY, &overloaded].concat());
    assert_eq!(ran.exit, 99, "{}{}", ran.stdout, ran.stderr);
    let search = &suite["search"];
    assert_eq!(search["reasons"][0], "not even 20 is borne", "{search}");
    assert!(search["client_limit"].is_null());
    for trial in suite["cells"].as_array().unwrap() {
        assert_eq!(trial["exit_code"], 5);
        assert_eq!(trial["client_limited"], false);
    }
}

#[test]
fn the_search_finds_the_users_that_a_server_bears() {
    let bench = Bench::new();
    // Two slots, and nobody may wait for one: a third user waits for most of an answer.
    let arguments = [
        "--server",
        "sim",
        "--scenario",
        "brisk.toml",
        "--parallel",
        "2",
        "--n-prompts",
        "60",
        "--max-tokens",
        "8",
        "--search",
        "users",
        "--objective",
        "queue_ms < 60",
        "--max-lateness",
        "100",
        "--max-client-delay",
        "100",
        "--",
        "--sim-ttft-ms",
        "5",
        "--sim-itl-ms",
        "40",
    ];
    let ran = bench.run("out", &arguments);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    let search = &suite["search"];
    assert_eq!(search["value"], 2.0, "{search}");
    assert_eq!(search["interval"], serde_json::json!([2.0, 3.0]), "{search}");
    assert_eq!(search["precise"], true);
    assert_eq!(starts(&suite), 1, "one server for all trials");
    assert!(
        ran.file("suite.md").starts_with("**OK:** bears 2.00 users"),
        "{}",
        ran.file("suite.md")
    );
}
