//! The files for other tools: k6's, bench.py's, JUnit's. What they say is judged by a reader in
//! Python, `read_back.py`, that shares nothing with what wrote them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bench_ci::artifact::{Note, Report, RequestRow, ScrapeRow, Threshold, Unknowns, scrape_rows};
use bench_ci::load::{FailureKind, Outcome};
use bench_ci::report::{junit, k6, mermaid, results_env};
use bench_ci::stats::HeaderSplit;

use super::fixture::{self, Run4};

/// What `read_back.py` prints; its complaint is the test's.
fn read_back(what: &str, paths: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report/read_back.py");
    let output = Command::new("python3").arg(script).arg(what).args(paths).output();
    let output = output.expect("this test needs python3, version 3.10 or later");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn rows(run: &Run4) -> Vec<RequestRow> {
    let origin = run.load.origin;
    run.records.iter().map(|record| RequestRow::new(record, &HeaderSplit::Marked, origin)).collect()
}

/// Scrapes at 1 s, the first before the load, of gauges that rise.
fn scrapes() -> Vec<ScrapeRow> {
    let line = |second: u32| {
        let phase = if second == 0 { "before" } else { "during" };
        format!(
            "{{\"t_s\":{second},\"at\":\"2026-11-22T06:15:{second:02}.250Z\",\"phase\":\"{phase}\",\"took_ms\":0.5,\
             \"metrics\":{{\"llamacpp:prompt_tokens_seconds\":{}.125,\"llamacpp:predicted_tokens_seconds\":{},\
             \"llamacpp:requests_processing\":4,\"llamacpp:requests_deferred\":null}}}}\n",
            second * 100,
            second * 3
        )
    };
    let text: String = (0..5).map(line).collect();
    scrape_rows(&text).unwrap()
}

/// A run of every outcome, connections opened inside the requests.
pub(crate) fn mixed() -> (Report, Vec<RequestRow>) {
    let mut run = fixture::run(4);
    let given_up = Some(run.load.window_end);
    for (index, record) in run.records.iter_mut().enumerate() {
        record.connect_started = Some(record.planned);
        record.connected = record.written;
        let reset = Outcome::Failed { failure: FailureKind::Reset, detail: "gone".to_owned() };
        match index {
            3 => record.outcome = reset,
            7 => record.finish_reason = Some("stop".to_owned()),
            14 => (record.outcome, record.end) = (Outcome::Cut, given_up),
            15 => {
                record.outcome = Outcome::Dropped;
                (record.written, record.first_content, record.end) = (None, None, None);
            }
            _ => {}
        }
    }
    (run.report(), rows(&run))
}

#[test]
fn k6_files_of_a_run_with_every_outcome() {
    let (report, rows) = mixed();
    let samples = k6::Samples::of(&report, &rows, &scrapes());
    let summary = k6::Summary::of(&samples);
    insta::assert_snapshot!("k6_summary", k6::summary_json(&summary));
    insta::assert_snapshot!("k6_results", k6::csv(&samples));
    insta::assert_snapshot!(
        "results_github_env",
        results_env::render(&report, &summary, samples.completed(), &scrapes())
    );
}

#[test]
fn charts_are_there_for_the_gauges_that_the_server_has() {
    let charts = mermaid::charts(&fixture::ok(), 64, &scrapes());
    let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
    let had = ["prompt_tokens_seconds", "predicted_tokens_seconds", "requests_processing"];
    assert_eq!(names, had, "one that is null in every scrape has no chart");
    insta::assert_snapshot!("mermaid", charts[0].1);
    assert_eq!(mermaid::charts(&fixture::ok(), 64, &[]), []);
}

/// A run of which nothing is known but that it failed must say null, not zero, and no `NaN`.
#[test]
fn a_run_in_which_everything_failed_has_no_latencies() {
    let run = fixture::run(2).fail(1, FailureKind::Http5xx, "busy");
    let (report, rows) = (run.report(), rows(&run));
    let samples = k6::Samples::of(&report, &rows, &[]);
    let summary = k6::Summary::of(&samples);
    assert_eq!(summary.stat("http_req_duration", "avg"), None);
    assert_eq!(summary.stat("checks", "fails"), Some(8.0));
    let text = results_env::render(&report, &summary, samples.completed(), &[]);
    let line = "BENCH_RESULTS={\"i\":0,\"req\":{\"p95\":null,\"avg\":null},\
                \"pp\":{\"p95\":null,\"avg\":null,\"0\":0},\"tg\":{\"p95\":null,\"avg\":null,\"0\":0}}";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(!text.contains("NaN") && !k6::summary_json(&summary).contains("null"));
}

/// A commit status holds 140 characters, however slow the server and long the run.
#[test]
fn the_line_for_a_commit_status_fits() {
    let mut run = fixture::run(300);
    for record in &mut run.records {
        let late = |stamp: &mut Option<bench_ci::load::Stamp>| {
            if let Some(stamp) = stamp {
                stamp.0 += 1_234_567_891_234;
            }
        };
        late(&mut record.end);
        record.usage.as_mut().unwrap().prompt_tokens = 12_345;
    }
    let (report, rows) = (run.report(), rows(&run));
    let samples = k6::Samples::of(&report, &rows, &scrapes());
    let text =
        results_env::render(&report, &k6::Summary::of(&samples), samples.completed(), &scrapes());
    let line = text.lines().find_map(|line| line.strip_prefix("BENCH_RESULTS=")).unwrap();
    assert!(line.len() <= 140, "{} characters: {line}", line.len());
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(value["req"]["p95"].as_f64().unwrap() > 1e6, "{line}");
}

/// The lines are put into the environment of a job; a name must not bring a variable of its own.
#[test]
fn no_name_can_set_another_variable() {
    let (mut report, rows) = mixed();
    let hostile = "x\nLD_PRELOAD=/tmp/evil.so\r\nA=b";
    report.run.name = hostile.to_owned();
    report.run.branch = Some(hostile.to_owned());
    report.server.command.extend(["--parallel".to_owned(), hostile.to_owned()]);
    let samples = k6::Samples::of(&report, &rows, &[]);
    let text = results_env::render(&report, &k6::Summary::of(&samples), 1, &[]);
    for line in text.lines() {
        let (name, _) = line.split_once('=').expect("a variable");
        let ours = name.chars().all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit());
        assert!(ours && name != "LD_PRELOAD" && name != "A", "{line}");
    }
}

#[test]
fn junit_of_every_kind_of_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut check = |name: &str, report: &Report| {
        let path = folder.path().join(format!("{name}.xml"));
        std::fs::write(&path, junit::render(report)).unwrap();
        files.push(path);
    };
    for (name, report) in fixture::all() {
        insta::assert_snapshot!(format!("junit_{name}"), junit::render(&report));
        check(name, &report);
    }
    // Bad codes that no reason stands for.
    for code in bench_ci::exit::ExitCode::ALL {
        let mut report = fixture::ok();
        report.run.exit_code = Some(code.code());
        check(&format!("code_{}", code.code()), &report);
    }
    let mut crossed = fixture::ok();
    crossed.run.exit_code = Some(99);
    let threshold = |expression: &str, ok| Threshold {
        expression: expression.to_owned(),
        ok,
        observed: Some(312.5),
        aborted: false,
        unknown: Unknowns::none(),
    };
    crossed.thresholds = vec![threshold("ttft_ms:p(95)<300", false), threshold("x>1", true)];
    check("threshold", &crossed);
    insta::assert_snapshot!("junit_threshold", junit::render(&crossed));
    let mut hostile = super::poison(&fixture::failed(), "]]> <a b=\"c\"> & \u{0}\u{b}\u{fffe} \n ");
    hostile.run.started_at = "2026-11-22T06:15:00.123456Z".to_owned();
    check("hostile", &hostile);
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    read_back("junit", &paths);
}

/// No case fails in a run that left with 0: the flag excuses all that is the client's own doing.
#[test]
fn an_excused_client_fails_no_case() {
    for code in ["achieved_rate", "dispatch_lateness", "client_delay"] {
        let mut report = fixture::ok();
        let message = "the client was too slow".to_owned();
        report.client.valid = false;
        report.client.reasons = vec![Note { code: code.to_owned(), message }];
        report.client.limits.accept_saturated_client = true;
        let text = junit::render(&report);
        assert!(text.contains("failures=\"0\" errors=\"0\" skipped=\"1\""), "{code}: {text}");
        report.client.limits.accept_saturated_client = false;
        let text = junit::render(&report);
        assert!(text.contains("failures=\"1\" errors=\"0\" skipped=\"0\""), "{code}: {text}");
    }
}

fn bench_ci(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("HF_HOME", folder.join("hf"))
        .env("BENCH_CI_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

/// bench.py's own command line, but for the server, the port and what there is to download.
const BENCH_PY: &str = "bench-py --name n --runner-label l --branch master --commit abc --scenario script.js \
    --duration 1m --model synthetic --server sim --dataset builtin --parallel 4 --n-gpu-layers 0 \
    --batch-size 512 --ubatch-size 256 --ctx-size 8192 --n-prompts 12 --max-prompt-tokens 256 \
    --max-tokens 512 --answer-tokens 8 --host 127.0.0.1 --port 0 --quiet --accept-saturated-client";

/// The whole promise: bench.py's command line leaves bench.py's files, its own way of reading them
/// accepts them, and the stored report renders to the same again.
#[test]
fn bench_pys_command_leaves_bench_pys_files() {
    let folder = tempfile::tempdir().unwrap();
    let ran = bench_ci(folder.path(), &BENCH_PY.split_whitespace().collect::<Vec<_>>());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let out = folder.path().join("bench-out");
    let text = |name: &str| std::fs::read_to_string(out.join(name)).expect(name);

    let env = text("results.github.env");
    let titles = env.find("BENCH_GRAPH_TITLE=").unwrap();
    assert_eq!(env[..titles], read_back("bench-py", &[&out]), "variables but for the titles");
    assert_eq!(
        env[titles..],
        *"BENCH_GRAPH_TITLE=llama.cpp n on l  duration=1m 12 iterations\n\
          BENCH_GRAPH_XLABEL=synthetic-tiny-f32-8ce5949593bd.gguf parallel=4 ctx-size=8192 ngl=0 batch-size=512 \
          ubatch-size=256 pp=256 pp+tg=512 branch=master commit=abc\n"
    );
    read_back("percentiles", &[&out]);
    read_back("csv", &[&out]);
    read_back("junit", &[&out.join("junit.xml")]);
    assert_eq!(text("k6-results.json"), text("k6-summary.json"));

    for (format, file) in [
        ("k6", "k6-summary.json"),
        ("k6-csv", "k6-results.csv"),
        ("github-env", "results.github.env"),
        ("junit", "junit.xml"),
        ("csv", "requests.csv"),
    ] {
        let again = bench_ci(&out, &["report", ".", "--format", format]);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), text(file), "{format}");
    }
    let charts = bench_ci(&out, &["report", "report.json", "--format", "mermaid"]);
    let charts = String::from_utf8(charts.stdout).unwrap();
    for gauge in ["prompt_tokens_seconds", "requests_processing", "requests_deferred"] {
        assert!(charts.contains(&text(&format!("{gauge}.mermaid"))), "{gauge}: {charts}");
    }

    // Every file is on the report's list, and nothing was written beside the folder.
    let report = bench_ci::artifact::store::read_report(&out).unwrap();
    let mut listed: Vec<&str> = report.files.iter().map(|file| file.name.as_str()).collect();
    listed.sort_unstable();
    let names = |path: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(listed, names(&out));
    assert_eq!(names(folder.path()), ["bench-out", "cache"]);

    // A run of `run` has no use for bench.py's second name, and takes an older one away.
    let args =
        "--server sim --n-prompts 2 --max-tokens 2 --users 1 --quiet --accept-saturated-client";
    let ran = bench_ci(folder.path(), &args.split_whitespace().collect::<Vec<_>>());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!out.join("k6-results.json").exists() && out.join("k6-summary.json").exists());

    std::fs::remove_file(out.join("requests.jsonl")).unwrap();
    let missing = bench_ci(&out, &["report", ".", "--format", "k6"]);
    assert_eq!(missing.status.code(), Some(9));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("requests.jsonl") && said.contains("whole folder"), "{said}");
}

/// As `<(git show main:report.json)` in a shell.
#[test]
fn a_report_that_comes_through_a_pipe_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = fixture::ok().to_json();
    std::fs::write(folder.path().join("a.json"), &text).unwrap();
    let said = |words: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
            .args(words)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, text) = (child.stdin.take().unwrap(), text.clone());
        // Whoever has read enough, or nothing, closes it.
        let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["report", "/dev/stdin"]), said(&["report", "a.json"]));
    let compared = said(&["compare", "/dev/stdin", "a.json"]);
    assert_eq!(compared.replace("/dev/stdin", "a.json"), said(&["compare", "a.json", "a.json"]));
}
