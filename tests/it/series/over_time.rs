//! Requests, tokens and processes over time.

use std::path::Path;

use serde_json::Value;

use super::{NO_LIBRARY, SIM, column, integral, known, play, sum, whole};
use crate::run::stranger::{Stranger, plain, stream};
use crate::run::{Bench, Ran, json_lines};

/// How many rows there are in each step, by an instant of theirs.
fn counted(ran: &Ran, line: &Value, field: &str, is: impl Fn(&Value) -> bool) -> Vec<Option<f64>> {
    let step = line["step_s"].as_f64().unwrap();
    let mut counts = vec![Some(0.0); line["in_flight"].as_array().unwrap().len()];
    let last = counts.len() - 1;
    for row in ran.rows().iter().filter(|row| row["phase"] == "measured" && is(row)) {
        if let Some(at) = row[field].as_f64() {
            let count = &mut counts[((at / step) as usize).min(last)];
            *count = count.map(|count| count + 1.0);
        }
    }
    counts
}

#[test]
fn every_column_agrees_with_the_rows_and_the_totals() {
    let bench = Bench::new();
    let load = ["--n-prompts", "40", "--max-tokens", "16"];
    let server = ["--", "--sim-ttft-ms", "20", "--sim-itl-ms", "10"];
    let arguments = [&SIM[..], &load, &server].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    let steps = whole(line);
    assert!(steps > 4, "{steps}");

    assert_eq!(column(&line["started"]), counted(&ran, line, "written_s", |_| true));
    let completed = |row: &Value| row["outcome"] == "completed";
    assert_eq!(column(&line["completed"]), counted(&ran, line, "end_s", completed));
    assert!((sum(&column(&line["started"])) - 40.0).abs() < 1e-9);
    assert!((sum(&column(&line["failed"]))).abs() < 1e-9);
    for in_flight in known(&line["in_flight"]) {
        assert!((0.0..=4.0).contains(&in_flight), "{in_flight} in flight of 4 users");
    }

    let tokens = report["reconciliation"]["tokens"]["usage_completion_tokens"].as_f64().unwrap();
    assert!((tokens - 640.0).abs() < 1e-9, "{tokens}");
    assert!((sum(&column(&line["output_tokens"])) - tokens).abs() < 0.001 * steps as f64);
    let integral_of_rate = integral(line, &line["output_tokens_per_second"]);
    assert!((integral_of_rate / tokens - 1.0).abs() < 1e-3, "{integral_of_rate}");

    // The largest of all steps is the largest of the run, and no step has a median above its largest.
    for metric in ["ttft_ms", "itl_ms"] {
        let largest = known(&line[format!("{metric}_max")]).into_iter().fold(0.0, f64::max);
        let of_run = report["metrics"][metric]["max"].as_f64().unwrap();
        assert!((largest - of_run).abs() < 0.001, "{metric}: {largest}, {of_run} over the run");
        let medians = column(&line[format!("{metric}_p50")]);
        for (median, most) in medians.iter().zip(column(&line[format!("{metric}_max")])) {
            assert_eq!(median.is_some(), most.is_some(), "{metric}");
            assert!(*median <= most, "{metric}: {median:?} above {most:?}");
        }
    }

    let began = line["started_at"].as_str().unwrap();
    assert!(began > report["run"]["started_at"].as_str().unwrap(), "{began}");
    assert!(began < report["run"]["finished_at"].as_str().unwrap(), "{began}");
}

#[test]
fn the_servers_metrics_and_the_processes_are_on_the_same_steps() {
    let bench = Bench::new();
    let load = ["--n-prompts", "40", "--max-tokens", "16"];
    let server = ["--", "--sim-ttft-ms", "20", "--sim-itl-ms", "10"];
    let arguments = [&SIM[..], &load, &server].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    whole(line);

    let metric = |name: &str| &line["server_metrics"][format!("llamacpp:{name}")];
    assert_eq!(metric("requests_processing")["per_second"], false);
    let at_work = known(&metric("requests_processing")["values"]);
    assert!(at_work.iter().all(|value| (0.0..=4.0).contains(value)), "{at_work:?}");
    assert!(at_work.iter().any(|value| *value > 0.0), "{at_work:?}");
    let busy = known(&line["slots_busy_ratio"]);
    for (share, at_work) in busy.iter().zip(&at_work) {
        assert!((share * 4.0 - at_work).abs() < 0.003, "{share} of 4 slots, {at_work} at work");
    }
    let tokens = metric("tokens_predicted_total");
    assert_eq!(tokens["per_second"], true);
    let counted = report["server_metrics"]["llamacpp:tokens_predicted_total"]["delta"].as_f64();
    let over_time = integral(line, &tokens["values"]);
    // What was counted between the last step and the last scrape is in the one only.
    assert!(over_time <= counted.unwrap() * 1.001 && over_time > counted.unwrap() * 0.5);

    let resources = &line["resources"];
    let lines = json_lines(&ran.file("resources.jsonl"));
    assert_eq!(resources["samples"].as_u64().unwrap() as usize, lines.len());
    assert!(ran.file("resources.jsonl").ends_with('\n') && lines.len() > 4);
    assert!(lines.windows(2).all(|pair| pair[0]["t_s"].as_f64() < pair[1]["t_s"].as_f64()));
    for who in ["server", "client"] {
        let used = report["resources"][who]["cpu_s"].as_f64().unwrap();
        let seen = integral(line, &resources[who]["cpu_cores"]);
        // Samples lie around the load, so a little was used outside; a tick is a hundredth.
        let between = |index: usize, next: usize| {
            let cpu = |index: usize| lines[index][who]["cpu_s"].as_f64().unwrap();
            cpu(next) - cpu(index)
        };
        let edges = between(0, 1) + between(lines.len() - 3, lines.len() - 1);
        assert!(seen <= used + 0.011 && seen >= used - edges - 0.011, "{who}: {seen} of {used}");
        for name in ["rss_bytes", "rss_peak_bytes", "threads"] {
            assert!(known(&resources[who][name]).iter().all(|value| *value >= 1.0), "{who} {name}");
        }
        let peak = report["resources"][who]["rss_peak_bytes"].as_f64().unwrap();
        assert!(known(&resources[who]["rss_bytes"]).iter().all(|bytes| *bytes <= peak));
        let faults = report["resources"][who]["minor_faults"].as_u64().unwrap();
        let spread = integral(line, &resources[who]["minor_faults_per_second"]);
        assert!(spread <= faults as f64 + 1.0, "{who}: {spread} of {faults} faults");
        assert!(report["resources"][who]["threads_max"].as_u64().unwrap() >= 1);
    }
    assert!(known(&resources["machine"]["load_average"]).iter().all(|load| *load >= 0.0));
    for ratio in ["cpu_busy_ratio", "steal_ratio"] {
        let values = known(&resources["machine"][ratio]);
        assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{ratio}: {values:?}");
    }

    // What it costs is told, and is part of what this process used.
    let cost = report["client"]["sampling_cpu_s"].as_f64().unwrap();
    assert!(cost > 0.0, "{cost}");
    assert!(cost <= report["resources"]["client"]["cpu_s"].as_f64().unwrap() + 0.05, "{cost}");

    // No graphics processor is a reason, and nothing to be warned of.
    assert!(resources["gpus"].is_null());
    let reason = resources["unknown"]["gpus"].as_str().unwrap();
    assert!(reason.contains(NO_LIBRARY), "{reason}");
    assert_eq!(report["resources"]["gpus"], serde_json::json!([]));
    assert!(!ran.stderr.contains("nvidia"), "{}", ran.stderr);
}

#[test]
fn failures_stand_in_the_step_in_which_they_happened() {
    let bench = Bench::new();
    let load = ["--n-prompts", "60", "--max-tokens", "8", "--max-failed", "60"];
    let server = ["--", "--sim-ttft-ms", "20", "--sim-itl-ms", "5"];
    let fault = ["--sim-fault", "status:500", "--sim-fault-every", "3"];
    let arguments = [&SIM[..], &load, &server, &fault].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    whole(line);
    let failed = counted(&ran, line, "end_s", |row| row["outcome"] == "failed");
    assert_eq!(column(&line["failed"]), failed);
    assert!((sum(&failed) - report["requests"]["failed"].as_f64().unwrap()).abs() < 1e-9);
    assert!((sum(&failed) - 20.0).abs() < 1e-9, "{failed:?}");
    let tokens = report["reconciliation"]["tokens"]["usage_completion_tokens"].as_f64().unwrap();
    assert!((sum(&column(&line["output_tokens"])) - tokens).abs() < 0.1);
}

#[test]
fn a_foreign_server_has_its_requests_over_time_and_no_process() {
    const TOKEN: &str = r#"data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    const END: &str = r#"data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let server = Stranger::answering(|asked| match asked.method.as_str() {
        "POST" => stream(&[TOKEN, TOKEN, END, "data: [DONE]"]),
        _ if asked.path.ends_with("/v1/models") => plain(
            200,
            "application/json",
            r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#,
        ),
        _ => plain(404, "application/json", "{}"),
    });
    let scenario = std::fs::read_to_string(Bench::new().path("brisk.toml")).unwrap();
    let bench = Bench::new();
    let scenario = scenario.replace("ignore_eos = true", "");
    std::fs::write(bench.path("plain.toml"), scenario).unwrap();
    let url = server.url("/v1");
    let flags = ["--url", &url, "--scenario", "./plain.toml", "--users", "2", "--n-prompts", "6"];
    let flags = [&flags[..], &["--max-lateness", "1000"]].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &flags).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    whole(line);
    assert!((sum(&column(&line["completed"])) - 6.0).abs() < 1e-9);
    for place in [&line["resources"], &report["resources"]] {
        assert!(place["server"].is_null());
        assert_eq!(place["unknown"]["server"], "the server is not a process of this run");
    }
    assert!(line["resources"]["client"]["cpu_cores"].is_array());
    assert!(line["slots_busy_ratio"].is_null() && line["unknown"]["slots_busy_ratio"].is_string());
    // Tokens were not counted by the server, so none are made up.
    assert!(line["output_tokens"].is_null() && line["unknown"]["output_tokens"].is_string());
    assert_eq!(line["server_metrics"], serde_json::json!({}));
}

#[test]
fn several_phases_have_no_single_plan_and_all_the_rest() {
    let bench = Bench::new();
    let phases = std::fs::read_to_string(bench.path("brisk.toml")).unwrap()
        + "\n[[phase]]\nname = \"low\"\nusers = 1\nduration = \"400ms\"\n[[phase]]\nname = \"high\"\nusers = 3\nduration = \"400ms\"\n";
    std::fs::write(bench.path("phases.toml"), phases.replace("duration = \"60s\"\n", "")).unwrap();
    let flags = ["--server", "sim", "--scenario", "./phases.toml", "--parallel", "4"];
    let more = ["--max-lateness", "100", "--", "--sim-ttft-ms", "10", "--sim-itl-ms", "2"];
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &[&flags[..], &more].concat()).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    whole(line);
    for field in ["unit", "planned", "achieved"] {
        assert!(line[field].is_null(), "{field}");
        assert!(line["unknown"][field].as_str().unwrap().contains("several phases"), "{field}");
    }
    assert_eq!(
        sum(&column(&line["started"])) as u64,
        report["requests"]["started"].as_u64().unwrap()
    );
    assert!(!ran.file("report.md").contains("Load over time"));
}

#[test]
fn a_report_from_before_all_this_is_still_read() {
    let bench = Bench::new();
    let load = ["--n-prompts", "8", "--max-tokens", "4"];
    let server = ["--", "--sim-ttft-ms", "5", "--sim-itl-ms", "1"];
    let arguments = [&SIM[..], &load, &server].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments).checked(0);
    let mut old = ran.report();
    let line = old["timeline"].as_object_mut().unwrap();
    let first = [
        "step_s",
        "unit",
        "varies",
        "planned",
        "achieved",
        "in_flight",
        "started",
        "completed",
        "failed",
        "output_tokens",
        "unknown",
    ];
    line.retain(|name, _| first.contains(&name.as_str()));
    old["client"].as_object_mut().unwrap().remove("sampling_cpu_s");
    for who in ["server", "client"] {
        let used = old["resources"][who].as_object_mut().unwrap();
        used.retain(|name, _| ["cpu_s", "rss_peak_bytes", "unknown"].contains(&name.as_str()));
    }
    let report: bench_ci::artifact::Report = serde_json::from_value(old).expect("an old report");
    assert!(bench_ci::report::markdown::render(&report).contains("Resources"));
    let again = report.to_value();
    assert_eq!(bench_ci::artifact::unexplained_nulls(&again), [""; 0]);
}

#[test]
fn an_interval_that_is_too_short_is_refused() {
    let bench = Bench::new();
    let arguments = ["--server", "sim", "--scrape-interval", "1ms", "--dry-run"];
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--scrape-interval"), "{}", ran.stderr);
}
