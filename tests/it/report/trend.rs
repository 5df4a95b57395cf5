//! `bench-ci report` over many reports: series, what is left out, and no verdict.

use std::path::Path;

use bench_ci::artifact::{Report, store};
use serde_json::Value;

use super::exports::{bench_ci, shown};
use super::{comparison, fixture};

/// The report of a run on a day, its latencies scaled.
fn of_day(day: u32, factor: f64) -> Report {
    let mut report = fixture::ok();
    report.run.id = format!("run-{day}");
    report.run.started_at = format!("2026-11-{day:02}T06:15:00Z");
    report.run.commit = Some(format!("{day:040x}"));
    for metric in report.metrics.values_mut() {
        metric.p50 = metric.p50.map(|value| value * factor);
    }
    report
}

fn write(folder: &Path, name: &str, report: &Report) {
    store::write_report(&folder.join(name), report).unwrap();
}

/// An archive as CI systems keep it: folders of runs, single files, and files of other tools.
fn archive(folder: &Path) {
    write(folder, "a/report.json", &of_day(3, 1.1));
    write(folder, "b/deep/report.json", &of_day(1, 1.0));
    write(folder, "run-2.json", &of_day(2, 1.2));
    let mut failed = fixture::failed();
    failed.run.started_at = "2026-11-04T06:15:00Z".to_owned();
    write(folder, "failed/report.json", &failed);
    let mut elsewhere = of_day(5, 2.0);
    elsewhere.machine.fingerprint = Some("another".to_owned());
    elsewhere.machine.cpu_model = Some("Another | processor".to_owned());
    write(folder, "elsewhere/report.json", &elsewhere);
    std::fs::write(folder.join("a/k6-summary.json"), "{\"metrics\":{}}").unwrap();
    let ab = comparison::comparing(&[comparison::SAME], "no-regression");
    store::write_ab(&folder.join("compared/ab.json"), &ab).unwrap();
}

#[test]
fn runs_are_in_series_by_time_and_the_series_apart() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let page = shown(folder.path(), &["."]);
    insta::assert_snapshot!("trend_markdown", page);
    insta::assert_snapshot!("trend_text", shown(folder.path(), &[".", "--format", "text"]));

    let json = shown(folder.path(), &["a", "b", ".", "--format", "json"]);
    let trend: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(trend["schema"], "bench-ci.trend/1");
    assert_eq!(trend["series"].as_array().unwrap().len(), 2);
    let runs = trend["series"][0]["runs"].as_array().unwrap();
    let ids: Vec<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids[..3], ["run-1", "run-2", "run-3"], "each once, although found twice");
    assert_eq!(runs[3]["evidence"], false);
    // The newest that is evidence is the third; the failed one is not compared.
    let newest = &trend["series"][0]["newest"];
    assert_eq!((newest["id"].as_str(), newest["before"].as_u64()), (Some("run-3"), Some(2)));
    let changes = newest["changes_pct"].as_array().unwrap();
    let e2e = changes.iter().find(|change| change["metric"] == "e2e_ms_p50").unwrap();
    assert!(e2e["change_pct"].as_f64().unwrap().abs() < 1e-9, "1.1 is the middle of 1.0 and 1.2");

    let csv = shown(folder.path(), &[".", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 6, "{csv}");
    let go = shown(folder.path(), &[".", "--format", "go-bench"]);
    assert_eq!(go.lines().filter(|line| line.starts_with("BenchmarkChat")).count(), 4, "{go}");
    assert!(go.contains("left out: it is not evidence"), "{go}");

    for text in [&page, &json] {
        assert!(text.contains("bench-ci ab"), "where a verdict is to be had");
        for word in ["regressed", "improved", "slower:", "faster:"] {
            assert!(!text.to_lowercase().contains(word), "{word} is a verdict: {text}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "good/report.json", &of_day(1, 1.0));
    let whole = of_day(2, 1.0).to_json();
    let newer = whole.replacen("bench-ci.report/1", "bench-ci.report/2", 1);
    for (name, text) in [
        ("newer/report.json", newer.as_str()),
        ("cut/report.json", &whole[..whole.len() / 2]),
        ("broken.json", "{"),
        ("empty/report.json", ""),
        ("other/report.json", "{\"schema\":\"k6/1\"}"),
    ] {
        store::write(&here.join(name), text.as_bytes()).unwrap();
    }
    for format in ["markdown", "text", "json", "csv", "go-bench"] {
        let output = bench_ci(here, &["report", ".", "--format", format]);
        assert_eq!(output.status.code(), Some(9), "{format}");
        let text = String::from_utf8(output.stdout).unwrap();
        let good = if format == "go-bench" { "BenchmarkChat" } else { "phi-2" };
        assert!(text.contains(good), "{format}: {text}");
        if format == "go-bench" {
            continue;
        }
        for name in ["newer/", "cut/", "broken.json", "empty/", "other/"] {
            assert!(text.contains(name), "{format} does not name {name}: {text}");
        }
        assert!(text.contains("newer than this build"), "{format}: {text}");
    }
    // Named one by one: the same, and a file that is not there.
    let output = bench_ci(here, &["report", "good", "newer/report.json", "gone.json"]);
    assert_eq!(output.status.code(), Some(9));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("2 files left out") && text.contains("gone.json"), "{text}");
    // A folder with nothing in it is an error, not an empty page.
    std::fs::create_dir(here.join("nothing")).unwrap();
    let output = bench_ci(here, &["report", "nothing"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(9), 0));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no report in this folder") && said.contains("hint: "), "{said}");
}

#[test]
fn hostile_names_stay_text_in_a_trend() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "a|b\n\n## <img src=x> @admin https://evil.example \x1b[2J =cmd()";
    write(folder.path(), "one/report.json", &super::poison(&fixture::ok(), hostile));
    write(folder.path(), "two/report.json", &of_day(1, 1.0));
    let page = shown(folder.path(), &["."]);
    for forbidden in ["<img", "@admin", "https://", "\x1b", "\n## "] {
        assert!(!page.contains(forbidden), "{forbidden:?} in {page}");
    }
    let mut cells = None;
    for line in page.lines() {
        if !line.starts_with('|') {
            cells = None;
            continue;
        }
        let here = line.replace("\\|", "").matches('|').count();
        assert_eq!(*cells.get_or_insert(here), here, "{line}");
    }
    let text = shown(folder.path(), &[".", "--format", "text"]);
    assert!(!text.contains('\x1b'), "{text}");
}
