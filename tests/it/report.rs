//! The report: its schema, its nulls, its texts.

use std::path::Path;

use bench_ci::artifact::{self, Report, RequestRow, store, unexplained_nulls};
use bench_ci::exit::ExitCode;
use bench_ci::history::point;
use bench_ci::report::{Verdict, Word, markdown, terminal};
use bench_ci::stats::HeaderSplit;
use serde_json::Value;

pub(crate) mod comment;
pub(crate) mod comparison;
pub(crate) mod exports;
pub(crate) mod fixture;
mod formats;
mod trend;

/// Guards the public contract: the committed schemas are those of the types.
/// `UPDATE_SCHEMA=1 cargo test --test it report` writes them anew.
#[test]
fn the_committed_schemas_are_those_of_the_types() {
    for (name, schema) in [
        (artifact::SCHEMA_FILE, artifact::json_schema()),
        (artifact::AB_SCHEMA_FILE, artifact::ab_json_schema()),
        (artifact::BISECT_SCHEMA_FILE, artifact::bisect_json_schema()),
        (artifact::COMPARE_SCHEMA_FILE, artifact::compare_json_schema()),
        (point::SCHEMA_FILE, point::json_schema()),
    ] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let mut text = serde_json::to_string_pretty(&schema).expect("a value");
        text.push('\n');
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            store::write(&file, text.as_bytes()).expect("the checkout can be written to");
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "{name} differs from the types: run UPDATE_SCHEMA=1 cargo test --test it report"
        );
    }
}

/// The same for suites.
#[test]
fn the_committed_schema_of_suites_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(artifact::SUITE_SCHEMA_FILE);
    let mut text = serde_json::to_string_pretty(&artifact::suite_json_schema()).expect("a value");
    text.push('\n');
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        store::write(&file, text.as_bytes()).expect("the checkout can be written to");
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == text,
        "{} differs from the types: run UPDATE_SCHEMA=1 cargo test --test it report",
        artifact::SUITE_SCHEMA_FILE
    );
}

/// Every sentence that a schema validator has against a report.
pub(crate) fn schema_violations(report: &Value) -> Vec<String> {
    violations(&artifact::json_schema(), report)
}

/// The same for a suite.
pub(crate) fn suite_violations(suite: &Value) -> Vec<String> {
    violations(&artifact::suite_json_schema(), suite)
}

fn violations(schema: &Value, report: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).expect("our schema is one");
    validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn every_report_keeps_the_schema_and_explains_its_nulls() {
    for (name, report) in fixture::all() {
        let value = report.to_value();
        assert_eq!(schema_violations(&value), [""; 0], "{name}");
        assert_eq!(unexplained_nulls(&value), [""; 0], "{name}");
    }
}

/// The walker's promise must not rest on the last guard alone: what the measurement itself yields is
/// explained before it, with the exact reason.
#[test]
fn the_measured_sections_explain_themselves() {
    for (name, report) in fixture::all() {
        let raw = serde_json::to_value(&report).expect("a value");
        for section in ["requests", "metrics", "rates", "reconciliation", "client", "warnings"] {
            assert_eq!(unexplained_nulls(&raw[section]), [""; 0], "{name} {section}");
        }
    }
}

#[test]
fn a_violation_of_the_schema_is_found() {
    let mut value = fixture::ok().to_value();
    value["requests"]["planned"] = Value::from("many");
    value["run"].as_object_mut().expect("an object").remove("branch");
    value["schema"] = Value::from("bench-ci.report/2");
    assert_eq!(schema_violations(&value).len(), 3);
}

#[test]
fn a_number_that_is_not_finite_never_reaches_the_file() {
    let mut report = fixture::ok();
    let ttft = report.metrics.get_mut("ttft_ms").expect("always there");
    (ttft.mean, ttft.max) = (Some(f64::NAN), Some(f64::INFINITY));
    let text = report.to_json();
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["metrics"]["ttft_ms"]["mean"], Value::Null);
    assert_eq!(unexplained_nulls(&value), [""; 0]);
    assert_eq!(schema_violations(&value), [""; 0]);
}

#[test]
fn a_report_is_the_same_after_writing_and_reading() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, report) in fixture::all() {
        let path = folder.path().join(name).join("report.json");
        store::write_report(&path, &report).expect("a new file");
        let read = store::read_report(&path).expect("what was written");
        assert_eq!(read.to_value(), report.to_value(), "{name}");
        let by_folder = store::read_report(&folder.path().join(name)).expect("by its folder");
        assert_eq!(by_folder, read);
        let left: Vec<_> = std::fs::read_dir(folder.path().join(name)).expect("a folder").collect();
        assert_eq!(left.len(), 1, "no temporary file is left behind");
    }
}

/// A report is for everybody whom the umask allows, as any other file of a build.
#[cfg(unix)]
#[test]
fn a_written_file_has_the_rights_of_a_plain_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
    store::write(&ours, b"x").expect("a new file");
    std::fs::write(&plain, b"x").expect("a new file");
    let mode = |path| std::fs::metadata(path).expect("it exists").permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
fn a_write_that_cannot_be_finished_leaves_the_old_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("report.json");
    std::fs::create_dir(&path).expect("a folder in the way");
    std::fs::write(path.join("inside"), b"old").expect("a new file");
    let error = store::write(&path, b"new").expect_err("a folder is in the way");
    assert_eq!(error.exit_code(), ExitCode::Tool);
    assert_eq!(std::fs::read(path.join("inside")).expect("untouched"), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn what_cannot_be_read_is_exit_9_with_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = fixture::ok().to_json();
    let newer = whole.replacen("bench-ci.report/1", "bench-ci.report/2", 1);
    let mut damaged = fixture::ok().to_value();
    damaged["requests"] = Value::from(3);
    let damaged = damaged.to_string();
    for (name, text, words) in [
        (
            "newer",
            newer.as_str(),
            "is newer than this build: it has schema version 2, this build reads up to 1",
        ),
        ("half", &whole[..whole.len() / 2], "is not JSON"),
        ("empty", "", "is not JSON"),
        (
            "other",
            "{\"schema\":\"k6/1\"}",
            "is not a bench-ci report: expected schema \"bench-ci.report/1\", got \"k6/1\"",
        ),
        ("array", "[1]", "got none"),
        ("zero", "{\"schema\":\"bench-ci.report/0\"}", "got \"bench-ci.report/0\""),
        ("damaged", &damaged, "is damaged"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a new file");
        let error = store::read_report(&path).expect_err(name);
        assert_eq!(error.exit_code(), ExitCode::Report, "{name}");
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{name}");
    }
    let error = store::read_report(&folder.path().join("missing")).expect_err("no such file");
    assert_eq!(error.exit_code(), ExitCode::Report);
    // A comparison where a run is wanted, as in `compare a/ab.json b/ab.json`.
    let comparison = folder.path().join("ab.json");
    std::fs::write(&comparison, "{\"schema\":\"bench-ci.ab/1\"}").expect("a new file");
    let error = store::read_report(&comparison).expect_err("no run");
    assert!(error.hint().is_some_and(|hint| hint.contains("ab --sessions")), "{error}");
}

/// A later build of the same version may add fields.
#[test]
fn fields_of_a_later_build_are_ignored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("report.json");
    let mut value = fixture::ok().to_value();
    value["invented_later"] = Value::from(1);
    value["run"]["invented_later"] = Value::from(1);
    std::fs::write(&path, value.to_string()).expect("a new file");
    assert_eq!(
        store::read_report(&path).expect("still version 1").to_value(),
        fixture::ok().to_value()
    );
}

#[test]
fn rows_cover_every_planned_request() {
    let run = fixture::run(4);
    let rows: Vec<RequestRow> = run
        .records
        .iter()
        .map(|record| RequestRow::new(record, &HeaderSplit::Marked, run.load.origin))
        .collect();
    assert_eq!(artifact::jsonl(&rows).lines().count(), 16);
    assert_eq!(artifact::csv(&rows).lines().count(), 17);
    insta::assert_snapshot!("first_row", serde_json::to_string_pretty(&rows[0]).expect("a row"));
}

#[test]
fn the_first_line_is_what_a_reader_must_act_on() {
    for (report, word, phrases) in [
        (fixture::ok(), Word::Ok, vec!["64 of 64 requests completed"]),
        (
            fixture::failed(),
            Word::Failed,
            vec!["13 of 64 requests failed (13 stream_error)", "these numbers are not evidence"],
        ),
        (
            fixture::partial(),
            Word::Partial,
            vec!["interrupted by Ctrl-C", "20 of 24 requests completed"],
        ),
        (fixture::died(), Word::Failed, vec!["SIGSEGV", "42 of 64", "not evidence"]),
        (
            fixture::simulator(),
            Word::Ok,
            vec!["made with the simulator (bench-ci sim), not a real server"],
        ),
        (fixture::external(), Word::Ok, vec!["64 of 64 requests completed"]),
        (
            fixture::never_began(),
            Word::Failed,
            vec!["nothing was measured", "exited with status 1 before it was healthy"],
        ),
    ] {
        let verdict = Verdict::of(&report);
        assert_eq!(verdict.word, word, "{}", verdict.sentence);
        let page = markdown::render(&report);
        let first = page.lines().next().expect("a first line");
        assert!(first.starts_with(&format!("**{}:** ", word.text())), "{first}");
        let shown = terminal::render_summary(&report, 200, false).replace("\n  ", " ");
        for phrase in phrases {
            assert!(first.contains(phrase), "{first}");
            assert!(shown.contains(phrase), "{shown}");
        }
    }
}

/// A report that left with a bad code must not begin with OK, whatever else it says.
#[test]
fn a_bad_exit_code_is_never_ok() {
    for code in ExitCode::ALL.into_iter().filter(|code| *code != ExitCode::Ok) {
        let mut report = fixture::ok();
        report.run.exit_code = Some(code.code());
        assert_eq!(Verdict::of(&report).word, Word::Failed, "{code:?}");
    }
}

#[test]
fn markdown_of_every_kind_of_run() {
    for (name, report) in fixture::all() {
        insta::assert_snapshot!(format!("markdown_{name}"), markdown::render(&report));
    }
}

#[test]
fn terminal_of_every_kind_of_run() {
    for (name, report) in fixture::all() {
        insta::assert_snapshot!(
            format!("terminal_{name}"),
            terminal::render_summary(&report, 100, false)
        );
    }
    insta::assert_snapshot!(
        "terminal_narrow",
        terminal::render_summary(&fixture::failed(), 60, false)
    );
    insta::assert_snapshot!("terminal_colour", terminal::render_summary(&fixture::ok(), 100, true));
}

/// Removes the escape codes of colours.
fn without_colour(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        let end = rest[at..].find('m').expect("only colours");
        rest = &rest[at + end + 1..];
    }
    plain + rest
}

#[test]
fn the_summary_fits_every_width() {
    for (name, report) in fixture::all() {
        for width in 60..=200 {
            let text = terminal::render_summary(&report, width, false);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{name} at {width}: {line}");
            }
            let coloured = terminal::render_summary(&report, width, true);
            assert_eq!(without_colour(&coloured), text, "{name} at {width}");
        }
    }
}

/// Every string of a report is someone else's: a model's name, a server's error, a branch.
fn poison(report: &Report, poison: &str) -> Report {
    let mut report = report.clone();
    let words = || poison.to_owned();
    report.run.name = words();
    report.run.branch = Some(words());
    report.run.commit = Some(words());
    report.run.runner_label = Some(words());
    report.server.version = Some(words());
    report.server.command = vec![words(), words()];
    report.server.base_url = words();
    report.machine.cpu_model = Some(words());
    if let Some(model) = &mut report.model {
        model.hf_file = Some(words());
        model.revision = Some(words());
    }
    report.scenario.name = words();
    for phase in &mut report.scenario.phases {
        phase.name = words();
    }
    for example in report.requests.error_examples.values_mut() {
        *example = words();
    }
    for note in report.warnings.iter_mut().chain(&mut report.client.reasons) {
        note.message = words();
    }
    report
}

#[test]
fn hostile_strings_neither_break_a_page_nor_move_a_cursor() {
    let clean = poison(&fixture::failed(), "x");
    let hostile = poison(
        &fixture::failed(),
        "a|b\n\n## <img src=x> `@admin` ```\n</details> \x1b[2J\u{202e} https://evil.example",
    );
    let page = markdown::render(&hostile);
    assert_eq!(page.lines().count(), markdown::render(&clean).lines().count());
    let outside: String = page.split("text\n").next().expect("text before the command").to_owned();
    for forbidden in ["<img", "@admin", "https://", "\x1b", "\u{202e}", "\n## "] {
        assert!(!outside.contains(forbidden), "{forbidden:?} in {outside}");
    }
    assert_eq!(page.matches("</details>").count(), 4, "ours, and three inside the code block");
    // A table's row has as many cells as its head.
    let mut cells = None;
    for line in page.lines() {
        if !line.starts_with('|') {
            cells = None;
            continue;
        }
        let here = line.replace("\\|", "").matches('|').count();
        assert_eq!(*cells.get_or_insert(here), here, "{line}");
    }
    let shown = terminal::render_summary(&hostile, 100, false);
    assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}'), "{shown}");
}
