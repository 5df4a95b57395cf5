//! The formats of other tools, each read the way its readers do (`other_tools.py`), and made of a stored
//! report alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bench_ci::artifact::{self, Report, RequestRow, store};
use bench_ci::report::{formats, go_bench};

use super::comparison::{self, SLOWER, TTFT_SAME};
use super::{fixture, formats as k6_formats};

/// What `other_tools.py` says; its complaint is the test's.
fn read_as(what: &str, paths: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report/other_tools.py");
    let output = Command::new("python3").arg(script).arg(what).args(paths).output();
    let output = output.expect("this test needs python3, version 3.11 or later");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn bench_ci(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("BENCH_CI_CACHE", folder.join("cache"))
        .output()
        .unwrap()
}

/// The text of a format, which must be had.
pub(crate) fn shown(folder: &Path, args: &[&str]) -> String {
    let output = bench_ci(folder, &[&["report"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    assert_eq!(said, "", "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder as a run leaves it, without what can be made again.
pub(crate) fn stored(folder: &Path, report: &Report, rows: &[RequestRow]) {
    store::write_report(&folder.join("report.json"), report).unwrap();
    store::write(&folder.join("requests.jsonl"), artifact::jsonl(rows).as_bytes()).unwrap();
}

/// The formats that are read here, with what reads them.
const READ: [(&str, &str); 9] = [
    ("jsonl", "jsonl"),
    ("k6-json", "k6_json"),
    ("benchmark-action-smaller", "benchmark_action_smaller"),
    ("benchmark-action-bigger", "benchmark_action_bigger"),
    ("bencher", "bencher"),
    ("go-bench", "go_bench"),
    ("llama-bench-jsonl", "llama_bench_jsonl"),
    ("llama-bench-sql", "llama_bench_sql"),
    ("vllm", "vllm"),
];

fn read_all(folder: &Path) {
    for (format, reader) in READ {
        let path = folder.join(format!("as.{format}"));
        std::fs::write(&path, shown(folder, &[".", "--format", format])).unwrap();
        read_as(reader, &[&path, folder]);
    }
}

/// The report of session 1 of this project: schema 1 as it was first written. Its fields must be read
/// by every later build, and every format be made of them.
fn first_release() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/report-1")
}

#[test]
fn every_format_is_read_by_what_it_is_for() {
    for (name, report, rows) in [
        ("mixed", k6_formats::mixed().0, k6_formats::mixed().1),
        ("simulator", fixture::simulator(), k6_formats::rows(&fixture::run(30))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        stored(folder.path(), &report, &rows);
        read_all(folder.path());
        assert!(folder.path().join("as.vllm").is_file(), "{name}");
    }
}

#[test]
fn a_report_of_the_first_release_is_shown_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["report.json", "requests.jsonl", "server-metrics.jsonl"] {
        std::fs::copy(first_release().join(name), folder.path().join(name)).unwrap();
    }
    for (format, _, _) in formats::FORMATS {
        if format == "parquet" {
            let path = folder.path().join("requests.parquet");
            shown(folder.path(), &[".", "--format", format, "--output", "requests.parquet"]);
            let bytes = std::fs::read(path).unwrap();
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
            continue;
        }
        let text = shown(folder.path(), &[".", "--format", format]);
        assert!(!text.trim().is_empty(), "{format}");
        // The page's own script may speak of NaN; its figures may not.
        let figures = text.rsplit("application/json").next().unwrap_or_default();
        let figures = figures.split("</script>").next().unwrap_or_default();
        let figures = if format == "html" { figures } else { &text };
        assert!(!figures.contains("NaN"), "{format}");
    }
    read_all(folder.path());
}

/// A run of which nothing is known has no figure anywhere, and no 0 in its place.
#[test]
fn a_run_without_figures_has_none_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    stored(folder.path(), &fixture::never_began(), &[]);
    let text = |format: &str| shown(folder.path(), &[".", "--format", format]);
    assert_eq!(text("bencher"), "{}\n");
    assert_eq!(text("benchmark-action-smaller"), "[]\n");
    assert_eq!(text("benchmark-action-bigger"), "[]\n");
    assert_eq!(text("llama-bench-jsonl"), "");
    assert!(!text("llama-bench-sql").contains("INSERT"));
    assert!(!text("go-bench").contains("\nBenchmark"));
    assert!(text("hlog").lines().all(|line| line.starts_with('#')));
    let vllm: serde_json::Value = serde_json::from_str(&text("vllm")).unwrap();
    for name in ["mean_ttft_ms", "output_throughput", "duration", "total_output_tokens"] {
        assert!(vllm[name].is_null(), "{name}: {}", vllm[name]);
    }
}

#[test]
fn a_format_of_requests_says_that_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    store::write_report(&folder.path().join("report.json"), &fixture::ok()).unwrap();
    for format in [
        "csv",
        "jsonl",
        "parquet",
        "k6",
        "k6-csv",
        "k6-json",
        "llama-bench-jsonl",
        "llama-bench-sql",
        "vllm",
        "hlog",
    ] {
        let output =
            bench_ci(folder.path(), &["report", ".", "--format", format, "--output", "out"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(9), "{format}: {said}");
        assert!(said.contains("requests.jsonl") && said.contains("hint: "), "{format}: {said}");
        assert!(!folder.path().join("out").exists(), "{format}");
    }
    // Those made of the report alone do not ask for them.
    for format in ["markdown", "json", "junit", "bencher", "benchmark-action-bigger", "go-bench"] {
        assert!(!shown(folder.path(), &["report.json", "--format", format]).is_empty(), "{format}");
    }
}

/// Guards what makes something of every second of a run: it would ask for all memory, or panic.
#[test]
fn a_row_that_ends_after_any_run_is_refused_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let (report, mut rows) = k6_formats::mixed();
    for end_s in [1e12, 1e20] {
        rows[1].end_s = Some(end_s);
        stored(folder.path(), &report, &rows);
        for format in ["hlog", "k6", "k6-csv", "k6-json", "github-env", "csv", "vllm"] {
            let output = bench_ci(folder.path(), &["report", ".", "--format", format]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(9), "{format}: {said}");
            assert!(said.contains("requests.jsonl\" is damaged at line 2"), "{format}: {said}");
            assert!(said.contains("end_s is 1e") && said.contains("no run is longer"), "{said}");
        }
    }
}

#[test]
fn what_is_no_text_needs_a_file_and_misuse_is_told() {
    let folder = tempfile::tempdir().unwrap();
    stored(folder.path(), &fixture::ok(), &k6_formats::rows(&fixture::run(16)));
    let ab = comparison::comparing(&[SLOWER, TTFT_SAME], "regressed");
    store::write_ab(&folder.path().join("ab/ab.json"), &ab).unwrap();
    for (args, code, words) in [
        (&["report", ".", "--format", "parquet"][..], 2, "--output FILE"),
        (&["report"], 2, "no report was given"),
        (&["report", ".", ".", "--format", "vllm"], 2, "several reports are not shown as vllm"),
        (
            &["report", "ab", "--format", "vllm"],
            2,
            "expected markdown, html, text, json or go-bench",
        ),
        (&["report", "gone", "--format", "vllm"], 9, "gone"),
        (&["report", ".", "--format", "excel"], 2, "invalid value 'excel'"),
    ] {
        let output = bench_ci(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    let listed = shown(folder.path(), &["--format", "list"]);
    for (format, file, reader) in formats::FORMATS {
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(format));
        let line = line.unwrap_or_else(|| panic!("{format} is not listed"));
        assert!(line.contains(file) && line.ends_with(reader), "{line}");
    }
}

/// Guards the list, the page and the flag against one another.
#[test]
fn the_list_of_formats_is_that_of_the_flag_and_of_the_page() {
    use clap::ValueEnum;
    let listed: Vec<&str> = formats::FORMATS.iter().map(|(name, ..)| *name).collect();
    let mut flags: Vec<String> = bench_ci::cli::ReportFormat::value_variants()
        .iter()
        .map(|format| format.to_possible_value().unwrap().get_name().to_owned())
        .collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    flags.sort_unstable();
    assert_eq!(sorted, flags);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in listed.iter().filter(|name| **name != "list") {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/formats.md");
    }
}

/// Trials are benchstat's samples. What benchstat itself made of this very text is kept beside it:
/// `benchstat -col side -format csv`, golang.org/x/perf at 801c7ef.
#[test]
fn trials_of_a_comparison_are_samples_for_benchstat() {
    let ab = comparison::comparing(&[SLOWER, TTFT_SAME], "regressed");
    let text = go_bench::render_ab(&ab);
    insta::assert_snapshot!("go_bench_ab", text);
    assert_eq!(text.lines().filter(|line| line.starts_with("Benchmark")).count(), 24);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.txt");
    std::fs::write(&path, &text).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/benchstat.csv");
    read_as("go_samples", &[&path, &golden]);
    // A trial that does not count is no sample.
    let mut spoilt = ab.clone();
    spoilt.trials[0].valid = false;
    let lines = go_bench::render_ab(&spoilt);
    assert_eq!(lines.lines().filter(|line| line.starts_with("Benchmark")).count(), 23);
}

/// Every string of a report is someone else's, and a line of these formats is a line.
#[test]
fn no_name_breaks_out_of_a_format() {
    let hostile =
        "x\nBenchmarkEvil 1 1 ns/op\r\ncommit: evil\n'); DROP TABLE llama_bench; --\n#,\"\u{0}";
    let folder = tempfile::tempdir().unwrap();
    let mut report = super::poison(&fixture::ok(), hostile);
    if let Some(model) = &mut report.model {
        model.file = Some(hostile.to_owned());
    }
    stored(folder.path(), &report, &k6_formats::rows(&fixture::run(16)));
    read_all(folder.path());
    let hlog = shown(folder.path(), &[".", "--format", "hlog"]);
    assert!(hlog.lines().all(|line| line.starts_with("Tag=") || line.starts_with('#')), "{hlog}");
    let parquet = &[".", "--format", "parquet", "--output", "out.parquet"];
    assert_eq!(shown(folder.path(), parquet), "");
}

/// The real llama-bench lies beside the real llama-server.
mod real_llama_server {
    use super::*;

    /// Its table takes our rows, so that both can be asked in one query.
    #[test]
    fn llama_benchs_own_table_takes_our_rows() {
        let server = std::env::var("BENCH_CI_TEST_LLAMA_SERVER")
            .expect("BENCH_CI_TEST_LLAMA_SERVER is not set: `cargo xtask llama-server` prints it");
        let llama_bench = Path::new(&server).with_file_name("llama-bench");
        let folder = tempfile::tempdir().unwrap();
        let made = bench_ci(folder.path(), &["model", "make", "tiny", "tiny.gguf"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let args = "-m tiny.gguf -p 8 -n 4 -r 2 -t 1 -o sql";
        let theirs = Command::new(llama_bench)
            .args(args.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("llama-bench lies beside llama-server");
        assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
        let table = folder.path().join("theirs.sql");
        std::fs::write(&table, theirs.stdout).unwrap();
        let (report, rows) = k6_formats::mixed();
        stored(folder.path(), &report, &rows);
        let ours = folder.path().join("ours.sql");
        std::fs::write(&ours, shown(folder.path(), &[".", "--format", "llama-bench-sql"])).unwrap();
        read_as("llama_bench_sql", &[&ours, folder.path(), &table]);
    }
}
