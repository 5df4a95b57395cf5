//! Every chart that bench-ci makes is parsed by the real Mermaid, which GitHub draws them with.
//!
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
