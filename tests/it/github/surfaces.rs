//! Summary, outputs and the log of a job, written by the tool itself.

use std::process::{Command, Output};

use bench_ci::artifact::AbReport;
use bench_ci::exit::ExitCode;
use bench_ci::github::surfaces::Found;
use bench_ci::report::comment::{Cell, Content};

use super::Step;
use crate::report::comparison::{SAME, SLOWER, TTFT_SAME, UNSURE, comparing};

const SMALL: &[&str] = &[
    "--server",
    "sim",
    "--max-tokens",
    "4",
    "--warm-up",
    "0",
    "--max-lateness",
    "100",
    "--max-client-delay",
    "100",
    "--n-prompts",
    "4",
];

struct Bench {
    folder: tempfile::TempDir,
    step: Step,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let step = Step::new(folder.path());
        Self { folder, step }
    }

    fn run(&self, args: &[&str], change: impl FnOnce(&Self, &mut Command)) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        self.step.environment(&mut command);
        command.current_dir(self.folder.path()).args(args);
        change(self, &mut command);
        command.output().unwrap()
    }
}

fn log(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn secrets_are_masked_before_anything_else_and_no_line_of_the_server_is_obeyed() {
    let bench = Bench::new();
    let output = bench.run(&[SMALL, &["-v"]].concat(), |_, command| {
        command.env("HF_TOKEN", "hf_100%\nsecret");
    });
    let log = log(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("::add-mask::hf_100%25%0Asecret"));
    assert_eq!(lines.next(), Some("::group::bench-ci run"));
    let token = lines.next().and_then(|line| line.strip_prefix("::stop-commands::")).unwrap();
    assert_eq!(token.len(), 32);
    let rest: Vec<&str> = lines.collect();
    let end = rest.iter().position(|line| *line == format!("::{token}::")).unwrap();
    assert_eq!(rest.get(end + 1), Some(&"::endgroup::"), "{log}");
    let server = |line: &&str| line.starts_with("server| ");
    assert!(rest[..end].iter().any(server), "{log}");
    assert!(!rest[end..].iter().any(server), "{log}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"));
}

#[test]
fn a_token_is_another_one_each_time() {
    let token = || {
        let bench = Bench::new();
        let log = log(&bench.run(&[SMALL, &["--scenario", "no-such"]].concat(), |_, _| {}));
        log.lines()
            .find_map(|line| line.strip_prefix("::stop-commands::").map(str::to_owned))
            .unwrap()
    };
    assert_ne!(token(), token());
}

#[test]
fn an_error_that_quotes_somebody_is_not_obeyed() {
    let bench = Bench::new();
    let output = bench
        .run(&["--server", "sim", "--scenario", "x\n::error::pwned\n##[add-mask]a"], |_, _| {});
    let log = log(&output);
    assert_eq!(output.status.code(), Some(2), "{log}");
    let obeyed =
        |line: &&str| line.trim_start().starts_with("::error::pwned") || line.contains("##[");
    // A text inside a command of ours is that command's, and obeyed no further.
    let mut others = log.lines().filter(|line| !line.starts_with("::error title="));
    assert_eq!(others.find(obeyed), None, "{log}");
    assert!(log.lines().any(|line| line.starts_with("::error title=")), "{log}");
}

#[test]
fn it_can_be_switched_off_by_flag_and_by_variable_and_is_off_at_a_desk() {
    let off = |args: &[&str], name: &'static str, value: &'static str| {
        let bench = Bench::new();
        let output = bench.run(&[SMALL, args].concat(), |_, command| {
            command.env(name, value);
        });
        let log = log(&output);
        assert_eq!(output.status.code(), Some(0), "{log}");
        assert!(!log.contains("::"), "{log}");
        assert_eq!((bench.step.summary().as_str(), bench.step.outputs().len()), ("", 0));
    };
    off(&["--no-github"], "X", "");
    off(&[], "BENCH_CI_NO_GITHUB", "1");
    off(&[], "GITHUB_ACTIONS", "");
    off(&[], "GITHUB_ACTIONS", "false");

    let bench = Bench::new();
    let output = bench.run(SMALL, |_, command| {
        command.env("BENCH_CI_NO_GITHUB", "0");
    });
    assert!(bench.step.outputs().len() > 5, "{}", log(&output));
}

#[test]
fn lines_for_a_program_stay_lines_for_a_program() {
    let bench = Bench::new();
    let output = bench.run(&[SMALL, &["--log-format", "json"]].concat(), |_, _| {});
    for line in log(&output).lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert_eq!(bench.step.outputs()["verdict"], "measured");
}

#[test]
fn a_summary_is_appended_and_never_makes_the_step_too_large() {
    let bench = Bench::new();
    bench.run(SMALL, |bench, _| {
        std::fs::write(bench.step.path("summary"), "before\n").unwrap();
    });
    assert!(
        bench.step.summary().starts_with("before\n\n### 📏 Measured"),
        "{}",
        bench.step.summary()
    );

    let bench = Bench::new();
    let output = bench.run(SMALL, |bench, _| {
        std::fs::write(bench.step.path("summary"), "x".repeat(1024 * 1024 - 300)).unwrap();
    });
    assert_eq!(output.status.code(), Some(0));
    let summary = bench.step.summary();
    assert!(summary.len() <= 1024 * 1024 && summary.contains("Measured"), "{}", summary.len());
    assert!(log(&output).contains("warning: the summary was shortened"), "{}", log(&output));
}

#[test]
fn a_suite_is_one_page_with_all_its_cells() {
    let bench = Bench::new();
    let output = bench.run(&[SMALL, &["--sweep", "users=1,2"]].concat(), |_, _| {});
    let log = log(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let outputs = bench.step.outputs();
    assert_eq!(outputs["verdict"], "measured", "{log}");
    assert_eq!(outputs["failed-requests"], "0");
    assert_eq!(outputs["report-json"], "bench-out/suite.json");
    let summary = bench.step.summary();
    assert_eq!(
        summary.matches("4 of 4").count(),
        2 + usize::from(summary.starts_with("### 📏 Measured: 4"))
    );
    assert!(!log.contains("::warning") && !log.contains("::error"), "{log}");
}

#[test]
fn files_that_cannot_be_written_are_a_warning() {
    let bench = Bench::new();
    let output = bench.run(SMALL, |bench, command| {
        command.env("GITHUB_STEP_SUMMARY", bench.folder.path().join("no/such/folder"));
        command.env("GITHUB_OUTPUT", bench.folder.path());
    });
    let log = log(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("warning: cannot append to GITHUB_STEP_SUMMARY"), "{log}");
    assert!(log.contains("warning: cannot append to GITHUB_OUTPUT"), "{log}");
}

fn found(report: AbReport, exit: ExitCode) -> Found {
    let content = Content::Comparison(Box::new(report));
    let json = Some("bench-out/ab.json".into());
    let name = "cuda".to_owned();
    Found { cells: vec![Cell { name: name.clone(), content }], name, exit, json, markdown: None }
}

fn said(found: &Found) -> Vec<String> {
    found.annotations().iter().map(ToString::to_string).collect()
}

#[test]
fn a_comparison_has_its_deciding_metric_in_the_outputs() {
    let report = comparing(&[SLOWER, TTFT_SAME], "regressed");
    let metric =
        report.comparisons.iter().find(|metric| metric.metric == "output_tokens_per_second");
    let metric = metric.unwrap().clone();
    let pairs = report.design.pairs_used;
    let found = found(report, ExitCode::Regressed);
    let outputs: std::collections::BTreeMap<_, _> = found.outputs().into_iter().collect();
    let two = |value: f64| format!("{value:.2}");
    assert_eq!(outputs["verdict"], "regressed");
    assert_eq!(outputs["exit-code"], "3");
    assert_eq!(outputs["metric"], "output_tokens_per_second");
    assert_eq!(outputs["change-pct"], two(metric.change_pct.unwrap()));
    assert_eq!(outputs["ci-low"], two(metric.ci_pct.unwrap()[0]));
    assert_eq!(outputs["ci-high"], two(metric.ci_pct.unwrap()[1]));
    assert_eq!(outputs["pairs"], pairs.to_string());
    assert_eq!(outputs["artifact-name"], "bench-ci-cuda");

    let [error] = &said(&found)[..] else { panic!("{:?}", said(&found)) };
    assert!(
        error.starts_with("::error title=bench-ci%3A regressed (cuda)::output_tokens_per_second "),
        "{error}"
    );
}

#[test]
fn only_what_is_bad_is_annotated() {
    let of = |report: AbReport, exit| said(&found(report, exit));
    assert_eq!(of(comparing(&[SAME, TTFT_SAME], "no-regression"), ExitCode::Ok), [""; 0]);
    assert_eq!(of(comparing(&[UNSURE, TTFT_SAME], "inconclusive"), ExitCode::Ok), [""; 0]);
    assert_eq!(of(comparing(&[SLOWER], "regressed"), ExitCode::Interrupted), [""; 0]);
    // With --fail-on never it is still to be seen, and fails nothing.
    let [warning] = &of(comparing(&[SLOWER], "regressed"), ExitCode::Ok)[..] else { panic!() };
    assert!(warning.starts_with("::warning title="), "{warning}");
    // Whoever asks for a failure is told why the step is red.
    assert_eq!(of(comparing(&[UNSURE], "inconclusive"), ExitCode::Inconclusive).len(), 1);
    let mut invalid = comparing(&[SAME], "invalid");
    invalid.reasons = vec!["100 % wrong\n::add-mask::x".to_owned()];
    let [error] = &of(invalid, ExitCode::NotEvidence)[..] else { panic!() };
    assert!(error.ends_with("::100 %25 wrong%0A::add-mask::x"), "{error}");
}

#[test]
fn at_most_ten_annotations_are_made() {
    let mut report = comparing(&[SLOWER], "regressed");
    let slower = report.comparisons[0].clone();
    report.comparisons = vec![slower; 14];
    assert_eq!(said(&found(report, ExitCode::Regressed)).len(), 10);
}
