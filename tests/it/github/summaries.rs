//! The page in a job's summary, for every way that things may stand, as the file of
//! `GITHUB_STEP_SUMMARY` holds it: written by what `run`, `ab` and `comment` write it with.

use bench_ci::github::surfaces::append_summary;
use bench_ci::report::comment::{Cell, Content, Origin};

use super::fake::READING_TOKEN;
use super::job::{Job, github};
use crate::report::comment::{cell, failing, forty, not_started, origin, slower, unsure, well};

/// What GitHub drops a step's summary above.
const MOST: usize = 1024 * 1024;

/// What is behind `before` once the page was appended, and the warning if there is one.
fn appended(before: &str, origin: &Origin, cells: &[Cell]) -> (String, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("summary");
    std::fs::write(&path, before).unwrap();
    let warning = append_summary(&path, origin, cells).err();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() <= MOST, "{}", text.len());
    (text.strip_prefix(before).expect("what stood there stays").to_owned(), warning)
}

fn whole(cells: &[Cell]) -> String {
    let (page, warning) = appended("", &origin(), cells);
    assert_eq!(warning, None);
    // The marks of a comment are no business of a summary: nobody looks for it.
    assert!(!page.contains("<!-- bench-ci:"), "{page}");
    page
}

#[test]
fn one_configuration_that_got_slower() {
    let cells = [cell("cuda-t4 q4_0", slower()), cell("cpu-4c q8_0", well())];
    insta::assert_snapshot!("summary_regressed", whole(&cells));
}

#[test]
fn all_is_well() {
    insta::assert_snapshot!("summary_well", whole(&[cell("cuda-t4 q4_0", well())]));
}

#[test]
fn it_cannot_be_told() {
    insta::assert_snapshot!("summary_inconclusive", whole(&[cell("cpu-4c q8_0", unsure())]));
}

#[test]
fn a_comparison_that_is_no_evidence() {
    insta::assert_snapshot!("summary_invalid", whole(&[cell("cuda-t4 q4_0", failing())]));
}

#[test]
fn a_server_did_not_start() {
    insta::assert_snapshot!("summary_not_started", whole(&[cell("cuda-t4 q4_0", not_started())]));
}

#[test]
fn nothing_was_written_at_all() {
    let content = Content::Nothing("llama-server exited with status 1".to_owned());
    let cells = [Cell { name: "cuda-t4".to_owned(), content }];
    insta::assert_snapshot!("summary_nothing", whole(&cells));
}

/// A summary has room for what a comment has not: nothing is left out.
#[test]
fn forty_configurations_have_all_their_pairs() {
    let page = whole(&forty());
    assert!(!page.contains("Left out"), "{page}");
    assert_eq!(page.matches("```mermaid").count(), 39, "one chart for each that has pairs");
    insta::assert_snapshot!("summary_forty", page);
}

/// The less room other steps have left, the more is left out, in the stated order; those that are not
/// well to the last.
#[test]
fn forty_configurations_in_what_other_steps_have_left() {
    let before = |room: usize| "x".repeat(MOST - room);
    let full = whole(&forty());
    let mut seen = Vec::new();
    let mut room = full.len() + 1;
    while room > 700 {
        let (page, warning) = appended(&before(room), &origin(), &forty());
        assert_eq!(warning.is_some(), room <= full.len(), "{room}: {warning:?}");
        assert!(page.len() <= room);
        assert!(page.starts_with("\n### ❌ "), "{room}: {page}");
        if room > 3_000 {
            for bad in ["cell-37", "cell-38", "cell-39"] {
                assert!(page.contains(bad), "{room}: {bad} is lost\n{page}");
            }
        }
        let shows = ["Every pair", "Observed metrics", "Machine, model", "cell-00"];
        seen.push(shows.map(|part| page.contains(part)));
        room = room * 24 / 25;
    }
    seen.dedup();
    let stated = [
        [true, true, true, true],
        [false, true, true, true],
        [false, false, true, true],
        [false, false, false, true],
        [false, false, false, false],
    ];
    assert_eq!(seen, stated);
    let (page, _) = appended(&before(3_000), &origin(), &forty());
    insta::assert_snapshot!("summary_forty_short", page);

    // Not even the first line: then nothing, and never a half of one.
    for room in [0, 1, 20] {
        let (page, warning) = appended(&before(room), &origin(), &forty());
        assert_eq!(page, "", "{room}");
        assert!(warning.is_some());
    }
}

/// The real binary, with a token that may not comment, in a summary that another step has filled.
#[test]
fn what_the_binary_appends_is_this_page() {
    let github = github();
    let mut job = Job::of_pull_request(&github, (100, 1));
    job.set("GITHUB_TOKEN", READING_TOKEN);
    let before = "x".repeat(MOST - 800);
    job.put("summary.md", before.as_bytes());
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let summary = job.summary();
    assert!(summary.len() <= MOST, "{}", summary.len());
    let page = summary.strip_prefix(&before).unwrap();
    assert!(page.starts_with("\n### ❌ Server is slower"), "{page}");
    assert!(page.ends_with('\n') && !page.contains("Every pair"), "{page}");
}
