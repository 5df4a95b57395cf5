//! Every chart that bench-ci makes is parsed by the real Mermaid, which GitHub draws them with.
//!
//! Main function: [`assert_charts_parse`]; [`DRAWING`] says where charts come from.
//! `cargo xtask test` gets it; by hand: `BENCH_CI_TEST_MERMAID=$(cargo xtask mermaid)`.

use std::path::Path;
use std::process::Command;

/// What Mermaid says of each chart: one line each, and whether all are right.
fn parse(charts: &[String]) -> (bool, String) {
    let checker = std::env::var("BENCH_CI_TEST_MERMAID")
        .expect("BENCH_CI_TEST_MERMAID is not set: `cargo xtask mermaid` gets it and prints it");
    let folder = tempfile::tempdir().unwrap();
    let mut node = Command::new("node");
    node.arg(Path::new(&checker).join("parse.mjs")).current_dir(folder.path());
    for (index, chart) in charts.iter().enumerate() {
        let name = format!("{index}.mermaid");
        std::fs::write(folder.path().join(&name), chart).unwrap();
        node.arg(name);
    }
    let output = node.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The ` ```mermaid ` blocks of a page, as GitHub takes them out of it.
pub(crate) fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.by_ref().any(|line| line.trim() == "```mermaid") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        blocks.push(block.join("\n"));
    }
    blocks
}

/// Fails with what Mermaid says and the charts, if it does not take all of them.
pub(crate) fn assert_charts_parse(charts: &[String]) {
    assert!(!charts.is_empty(), "there is no chart to parse");
    let (right, said) = parse(charts);
    assert!(right, "{said}\n{}", charts.join("\n\n"));
}

#[test]
fn a_chart_that_is_none_is_refused() {
    let right = "xychart-beta\n    title \"t\"\n    line [1.0, 2.0]".to_owned();
    assert_charts_parse(std::slice::from_ref(&right));
    let (taken, said) = parse(&[right, "xychart-beta\n    line [1.0, NaN]".to_owned()]);
    assert!(!taken && said.contains("1.mermaid: Parse error"), "{said}");
}

/// The source files that draw, and the page of [`every_page_that_draws`] that shows it; `tidy` holds that
/// no other one does.
pub(crate) const DRAWING: [(&str, &str); 5] = [
    ("show/mod", "charts.md"),
    ("report/derived", "report.md"),
    ("report/drawing", "report.md"),
    ("report/mermaid", "requests_processing.mermaid"),
    ("report/comment/details", "summary.md"),
];

/// A folder in which the real binary writes every page that it can write.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// Runs the binary; what it prints becomes the page `name`.
    fn page(&self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        let output = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("BENCH_CI_CACHE", self.folder.path().join("cache"))
            .env_remove("GITHUB_ACTIONS")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        // What was measured here is of no account: a client may be starved, a comparison undecided.
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(code, Some(0 | 3 | 5)), "{arguments:?}: {code:?} {said}");
        std::fs::write(self.folder.path().join(name), output.stdout).unwrap();
    }

    /// Every page below the folder with the charts in it, by its name.
    fn charts(&self) -> Vec<(String, Vec<String>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".mermaid") {
                    found.push((name, vec![std::fs::read_to_string(path).unwrap()]));
                } else if name.ends_with(".md") {
                    let page = std::fs::read_to_string(path).unwrap();
                    let charts = blocks(&page);
                    assert_eq!(charts.len(), page.matches("```mermaid").count(), "{name}: {page}");
                    found.push((name, charts));
                }
            }
        }
        found
    }
}

#[test]
fn every_page_that_draws() {
    let desk = Desk { folder: tempfile::tempdir().unwrap() };
    let sim = [
        "--server",
        "sim",
        "--max-tokens",
        "4",
        "--max-lateness",
        "100",
        "--max-client-delay",
        "100",
        "-q",
    ];
    let run = |more: &[&'static str]| [&sim[..], more].concat();
    let spike = ["--scenario", "spike", "--duration", "2s", "--parallel", "1", "--out-dir", "run"];
    desk.page("run.txt", &run(&spike), &[]);
    desk.page("again.txt", &run(&["--n-prompts", "8", "--out-dir", "again"]), &[]);
    desk.page(
        "suite.txt",
        &run(&["--n-prompts", "4", "--sweep", "users=1,2", "--out-dir", "suite"]),
        &[],
    );
    let summary = desk.folder.path().join("summary.md");
    let ab =
        ["ab", "--aa", "--server", "sim", "--users", "2", "--max-tokens", "24", "--out-dir", "ab"];
    let ab = [&ab[..], &["--restart-mode", "--budget", "20s", "--pairs", "7", "-q"]].concat();
    let job = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())];
    desk.page("ab.txt", &ab, &job);
    desk.page(
        "calibrate.txt",
        &["calibrate", "--users", "2", "--duration", "1s", "-q", "--out-dir", "calibration"],
        &[],
    );
    desk.page("charts.md", &["report", "run", "--format", "mermaid"], &[]);
    desk.page("rendered.md", &["report", "run"], &[]);
    desk.page(
        "compared.md",
        &["compare", "run", "again", "--accept", "workload", "--format", "markdown"],
        &[],
    );
    desk.page("commented.md", &["comment", "ab", "run", "--dry-run"], &[]);
    let repository = git2::Repository::init(desk.folder.path().join("repository")).unwrap();
    let repository = repository.workdir().unwrap().to_str().unwrap().to_owned();
    desk.page("appended.txt", &["history", "append", "again", "--repo", &repository], &[]);
    desk.page("shown.md", &["history", "show", "--repo", &repository], &[]);

    let pages = desk.charts();
    let count = |name: &str| {
        let of_name = pages.iter().filter(|(page, _)| page == name);
        of_name.map(|(_, charts)| charts.len()).sum::<usize>()
    };
    for (source, page) in DRAWING {
        assert!(count(page) > 0, "{page} shows nothing of {source}");
    }
    assert!(count("commented.md") > 0 && count("rendered.md") > 0);
    for page in ["ab.md", "suite.md", "calibration.md", "compared.md", "shown.md"] {
        assert!(pages.iter().any(|(name, _)| name == page), "{page} was not written");
    }
    let charts: Vec<String> = pages.into_iter().flat_map(|(_, charts)| charts).collect();
    assert_charts_parse(&charts);
}

#[test]
fn the_charts_of_a_run_parse_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let name = "\"quoted\" [x] (y) {z}; %% c --> d `e` #quot; <b>ü</b> line [1]";
    let output = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(["--server", "sim", "--n-prompts", "8", "--max-tokens", "8", "--users", "2"])
        .args(["--name", name, "--runner-label", name, "--branch", "a\"b", "--quiet"])
        .args(["--accept-saturated-client"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = folder.path().join("bench-out");
    let mut charts: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mermaid"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(charts.len() >= 4, "{charts:?}");
    charts.extend(blocks(&std::fs::read_to_string(out.join("report.md")).unwrap()));
    assert_charts_parse(&charts);
}
