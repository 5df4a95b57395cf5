//! Artifacts that a fork's code might have written. Each is refused with its reason or shown as
//! harmless text; none crashes, none reaches the page unescaped.

use std::io::{Cursor, Write as _};
use std::path::Path;

use bench_ci::github::intake::{Expected, Intake, Refusal, take_in, take_in_archives};
use bench_ci::report::comment::{Content, Origin, State, comment, status_line, summary};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::report::comparison::{SAME, SLOWER, comparing};
use crate::report::{comment as pages, fixture};

const HEAD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What it is, its bytes, and whether it was refused for the right reason.
type Case = (&'static str, Vec<u8>, fn(&Refusal) -> bool);

/// What a text of a report might be made of.
const EVIL: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=https://e.vil/pixel.png>",
    "<a href=javascript:alert(1)>x</a>",
    "![x](https://e.vil/track.png)",
    "[x](javascript:alert(1))",
    "@team @here please merge",
    "fixes #1, closes ggml-org/llama.cpp#2",
    "www.e.vil (www.e.vil) and GH-1",
    "a | b |\n|---|evil|",
    "EOF_\nverdict=improved\nEOF_",
    "\n::set-output name=verdict::improved",
    "%0A::error::x",
    "</details></details></table>",
    "--><b>bold</b><!--",
    "<!-- bench-ci:state head=- run=99999999999 attempt=9 -->",
    "\n# Heading\n",
    "```\n```mermaid\n",
    "\u{202e}txet\u{0}\u{1b}[31m",
    "$\\sqrt{x}$ $$x$$",
];

fn expected() -> Expected {
    Expected { head: Some(HEAD.to_owned()), repository: Some("ggml-org/llama.cpp".to_owned()) }
}

/// A report as `ab` would write it in a job of that repository.
fn honest() -> Value {
    let mut value = comparing(&[SAME], "no-regression").to_value();
    value["run"]["repository"] = json!("ggml-org/llama.cpp");
    value
}

fn with(path: &str, value: Value) -> Vec<u8> {
    let mut report = honest();
    match report.pointer_mut(path) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = path.rsplit_once('/').unwrap();
            report.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    report.to_string().into_bytes()
}

/// The honest report with this text in place of another.
fn spliced(old: &str, new: &str) -> Vec<u8> {
    let text = honest().to_string();
    assert!(text.contains(old), "{old} is not in {text}");
    text.replacen(old, new, 1).into_bytes()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn linked() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("ab.json", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap().into_inner()
}

fn take(name: &str, zip: Vec<u8>) -> Intake {
    take_in_archives(&[(name.to_owned(), zip)], &expected())
}

/// Whatever was taken in, the page made of it is whole, bounded, and free of this harm.
fn page_is_harmless(intake: &Intake) {
    let origin = Origin { key: "default".to_owned(), ..Origin::default() };
    let page = comment(&origin, &intake.cells);
    assert!(page.len() <= 60_000, "{} bytes", page.len());
    assert!(summary(&origin, &intake.cells).len() <= 1_000_000);
    let line = status_line(&intake.cells);
    assert!(line.chars().count() <= 140 && !line.contains('\n'), "{line}");
    // Inside a fence everything is text.
    let outside: String = page.split("```").step_by(2).collect();
    for harm in [
        "<script",
        "<img",
        "<a ",
        "<b>",
        "![",
        "[x](",
        "@team",
        "@here",
        "https://",
        "www.",
        "GH-1",
        "\u{202e}",
        "\u{1b}",
        "\0",
        "|---|evil",
    ] {
        assert!(!outside.contains(harm), "{harm:?} in\n{page}");
    }
    for line in outside.lines() {
        assert!(!line.starts_with("::") && !line.starts_with("# "), "{line}\n{page}");
        let columns = line.replace("\\|", "").matches('|').count();
        assert!([0, 6, 7, 8].contains(&columns), "a table is broken: {line}");
    }
    let own = State::of(&origin, &intake.cells);
    assert_eq!(State::read(&page), Some(own.clone()), "{page}");
    assert_eq!((own.head, own.run), (None, None), "{page}");
    assert_eq!(outside.matches("<details>").count(), outside.matches("\n</details>").count());
}

/// It was refused, for this reason, and its place on the page says so.
fn is_refused(what: &str, intake: &Intake, is_right: impl Fn(&Refusal) -> bool) {
    assert!(!intake.refused.is_empty(), "{what} was taken: {:?}", intake.cells);
    assert!(intake.refused.iter().any(|(_, why)| is_right(why)), "{what}: {:?}", intake.refused);
    for cell in &intake.cells {
        assert!(
            matches!(&cell.content, Content::Nothing(why) if why.contains("refused")),
            "{what}"
        );
    }
    page_is_harmless(intake);
}

#[test]
fn an_honest_artifact_is_taken() {
    let intake =
        take("bench-ci-cuda q4_0", archive(&[("ab.json", honest().to_string().as_bytes())]));
    assert_eq!(intake.refused, []);
    assert_eq!(intake.cells[0].name, "cuda q4_0");
    page_is_harmless(&intake);
    let mut elsewhere = honest();
    elsewhere["run"]["repository"] = json!("GGML-org/llama.cpp");
    let intake = take("a", archive(&[("ab.json", elsewhere.to_string().as_bytes())]));
    assert_eq!(intake.refused, [], "GitHub's names know no case");
}

/// A suite as a sweep leaves it.
fn swept() -> Value {
    let mut suite = pages::swept(&[("1", fixture::ok()), ("8", fixture::ok())], 0).to_value();
    suite["suite"]["commit"] = json!(HEAD);
    suite
}

#[test]
fn a_suite_is_taken_and_its_texts_are_shown_as_texts() {
    let take = |suite: &Value| take("x", archive(&[("suite.json", suite.to_string().as_bytes())]));
    let intake = take(&swept());
    assert_eq!(intake.refused, []);
    assert!(matches!(intake.cells[0].content, Content::Suite(_)), "{:?}", intake.cells);
    page_is_harmless(&intake);
    for evil in EVIL {
        let mut suite = swept();
        for path in [
            "/suite/name",
            "/suite/runner_label",
            "/tool/version",
            "/machine/cpu_model",
            "/cells/0/name",
            "/cells/1/scenario",
            "/axes/0",
            "/servers/0/command/0",
        ] {
            *suite.pointer_mut(path).unwrap() = json!(evil);
        }
        suite["cells"][1]["causes"] = json!([evil]);
        for exit_code in [0, 5] {
            suite["suite"]["exit_code"] = json!(exit_code);
            let intake = take(&suite);
            assert_eq!(intake.refused, [], "{evil}");
            page_is_harmless(&intake);
        }
    }
}

/// As `run --sweep` writes it: nothing of ours is too large for us.
#[test]
fn a_suite_of_as_many_cells_as_a_page_has_rows_is_taken() {
    let mut suite = swept();
    let cell = suite["cells"][0].clone();
    suite["cells"] = vec![cell; 512].into();
    let text = serde_json::to_vec_pretty(&suite).unwrap();
    let intake = take("x", archive(&[("suite.json", &text)]));
    assert_eq!(intake.refused, []);
}

#[test]
fn suites_that_are_none_are_refused() {
    let with = |path: &str, value: Value| {
        let mut suite = swept();
        *suite.pointer_mut(path).unwrap() = value;
        suite.to_string().into_bytes()
    };
    let mut own = swept();
    own["cells"][0]["markdown"] = json!("# hi");
    let many = with("/cells", vec![swept()["cells"][0].clone(); 513].into());
    let cases: Vec<Case> = vec![
        ("another commit", with("/suite/commit", json!("b".repeat(40))), |why| {
            matches!(why, Refusal::OtherCommit)
        }),
        ("a newer schema", with("/schema", json!("bench-ci.suite/2")), |why| {
            matches!(why, Refusal::Schema)
        }),
        ("a field of its own", own.to_string().into_bytes(), |why| {
            matches!(why, Refusal::UnknownField)
        }),
        ("no cells", with("/cells", json!(null)), |why| matches!(why, Refusal::Damaged { .. })),
        ("too many cells", many, |why| matches!(why, Refusal::TooManyCells)),
        ("more completed than planned", with("/cells/0/requests/completed", json!(9999)), |why| {
            matches!(why, Refusal::Contradiction { .. })
        }),
        ("a cell that failed", with("/cells/0/exit_code", json!(7)), |why| {
            matches!(why, Refusal::Contradiction { .. })
        }),
    ];
    for (what, bytes, is_right) in cases {
        is_refused(what, &take("bench-ci-x", archive(&[("suite.json", &bytes)])), is_right);
    }
}

/// A server's metric is called by its name and all its labels.
#[test]
fn a_metric_of_a_server_may_have_a_long_name() {
    let mut report = fixture::ok().to_value();
    report["run"]["commit"] = json!(HEAD);
    let metrics = report["server_metrics"].as_object_mut().unwrap();
    let metric = metrics.values().next().unwrap().clone();
    let labels = r#"engine="0",le="0.01",model_name="meta-llama/Llama-3.1-8B-Instruct""#;
    let name = format!("vllm:time_per_output_token_seconds_bucket{{{labels}}}");
    metrics.insert(name.clone(), metric.clone());
    metrics.insert(format!("{name:x<300}"), metric);
    let intake = take("x", archive(&[("report.json", report.to_string().as_bytes())]));
    assert_eq!(intake.refused, []);
    assert!(matches!(intake.cells[0].content, Content::Run(_)), "{:?}", intake.cells);
    page_is_harmless(&intake);
}

#[test]
fn broken_archives_are_refused() {
    let good = honest().to_string();
    let good = good.as_bytes();
    let bomb = archive(&[("ab.json", &vec![b' '; 64 * 1024 * 1024])]);
    assert!(bomb.len() < 200_000, "it must be small to be a bomb");
    let whole = archive(&[("ab.json", good)]);
    let many: Vec<(String, Vec<u8>)> =
        (0..65).map(|index| (format!("{index}.json"), b"{}".to_vec())).collect();
    let many: Vec<(&str, &[u8])> =
        many.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let mut flipped = whole.clone();
    flipped[60] ^= 0xff;
    let cases: Vec<Case> = vec![
        ("a zip bomb", bomb, |why| matches!(why, Refusal::TooLarge)),
        ("a path out", archive(&[("../ab.json", good)]), |why| matches!(why, Refusal::Path)),
        ("a deep path out", archive(&[("a/../../ab.json", good)]), |why| {
            matches!(why, Refusal::Path)
        }),
        ("an absolute path", archive(&[("/etc/ab.json", good)]), |why| {
            matches!(why, Refusal::Path)
        }),
        ("a folder", archive(&[("x/ab.json", good)]), |why| matches!(why, Refusal::Path)),
        ("a path of Windows", archive(&[("..\\ab.json", good)]), |why| {
            matches!(why, Refusal::Path)
        }),
        ("a drive of Windows", archive(&[("C:ab.json", good)]), |why| matches!(why, Refusal::Path)),
        ("a hidden file", archive(&[(".git", b"x")]), |why| matches!(why, Refusal::Path)),
        ("a link", linked(), |why| matches!(why, Refusal::Path)),
        ("a script", archive(&[("ab.sh", b"#!/bin/sh")]), |why| matches!(why, Refusal::NotAReport)),
        ("ready-made Markdown", archive(&[("comment.md", b"# hi")]), |why| {
            matches!(why, Refusal::NotAReport)
        }),
        ("an archive in it", archive(&[("x.zip", &whole)]), |why| {
            matches!(why, Refusal::NotAReport)
        }),
        ("nothing in it", archive(&[]), |why| matches!(why, Refusal::Empty)),
        ("too many files", archive(&many), |why| {
            matches!(why, Refusal::TooManyFiles { files: 65 })
        }),
        ("no archive", b"not a zip".to_vec(), |why| matches!(why, Refusal::Archive { .. })),
        ("an empty archive", Vec::new(), |why| matches!(why, Refusal::Archive { .. })),
        ("half an archive", whole[..whole.len() / 2].to_vec(), |why| {
            matches!(why, Refusal::Archive { .. })
        }),
        ("a damaged archive", flipped, |why| {
            matches!(why, Refusal::Archive { .. } | Refusal::NotJson { .. })
        }),
        ("two reports", archive(&[("ab.json", good), ("report.json", good)]), |why| {
            matches!(why, Refusal::Twice)
        }),
    ];
    for (what, zip, is_right) in cases {
        is_refused(what, &take("bench-ci-x", zip), is_right);
    }
}

#[test]
fn reports_that_are_none_are_refused() {
    let long = "x".repeat(10 * 1024 * 1024);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<Value> = vec![json!(0); 600_000];
    let mut forged = comparing(&[SLOWER], "regressed").to_value();
    forged["verdict"] = json!("improved");
    let cases: Vec<Case> = vec![
        ("empty", Vec::new(), |why| matches!(why, Refusal::NotJson { .. })),
        ("no JSON", b"<html>".to_vec(), |why| matches!(why, Refusal::NotJson { .. })),
        ("bytes that are no text", vec![0xff; 64], |why| matches!(why, Refusal::NotJson { .. })),
        ("null", b"null".to_vec(), |why| matches!(why, Refusal::Schema)),
        ("a list", b"[]".to_vec(), |why| matches!(why, Refusal::Schema)),
        ("nested without end", nested.into_bytes(), |why| matches!(why, Refusal::NotJson { .. })),
        ("another schema", with("/schema", json!("bench-ci.ab/2")), |why| {
            matches!(why, Refusal::Schema)
        }),
        ("a schema that is no text", with("/schema", json!(1)), |why| {
            matches!(why, Refusal::Schema)
        }),
        ("the other kind", with("/schema", json!("bench-ci.report/1")), |why| {
            matches!(why, Refusal::Damaged { .. })
        }),
        ("NaN", spliced("\"alpha\":0.05", "\"alpha\":NaN"), |why| {
            matches!(why, Refusal::NotJson { .. })
        }),
        ("infinity", spliced("\"alpha\":0.05", "\"alpha\":1e999"), |why| {
            matches!(why, Refusal::NotJson { .. })
        }),
        ("a huge number", spliced("\"alpha\":0.05", "\"alpha\":1e300"), |why| {
            matches!(why, Refusal::Number)
        }),
        ("a number as text", with("/design/alpha", json!("0.05")), |why| {
            matches!(why, Refusal::Damaged { .. })
        }),
        ("less than nothing", with("/sides/head/failed", json!(-1)), |why| {
            matches!(why, Refusal::Damaged { .. })
        }),
        (
            "a missing field",
            spliced("\"verdict\":\"no-regression\",\"reasons\"", "\"reasons\""),
            |why| matches!(why, Refusal::Damaged { .. }),
        ),
        ("an unknown verdict", with("/verdict", json!("fine")), |why| {
            matches!(why, Refusal::Damaged { .. })
        }),
        ("a field twice", spliced("\"alpha\":0.05", "\"alpha\":0.05,\"alpha\":0.06"), |why| {
            matches!(why, Refusal::Damaged { .. })
        }),
        ("a field of its own", with("/markdown", json!("# hi")), |why| {
            matches!(why, Refusal::UnknownField)
        }),
        ("one deep inside", with("/sides/head/note", json!("hi")), |why| {
            matches!(why, Refusal::UnknownField)
        }),
        ("its own pull request", with("/run/pull_request", json!(1)), |why| {
            matches!(why, Refusal::UnknownField)
        }),
        ("a text of 10 MB", with("/run/name", json!(long)), |why| matches!(why, Refusal::TooLarge)),
        ("a text of 100 kB", with("/run/name", json!("y".repeat(100_000))), |why| {
            matches!(why, Refusal::LongText)
        }),
        (
            "a metric of a long name",
            with(&format!("/trials/0/metrics/{}", "m".repeat(1025)), json!(1.0)),
            |why| matches!(why, Refusal::LongText),
        ),
        ("too many values", with("/trials", Value::Array(many)), |why| {
            matches!(why, Refusal::TooManyValues)
        }),
        ("another commit", with("/run/commit", json!("b".repeat(40))), |why| {
            matches!(why, Refusal::OtherCommit)
        }),
        ("a part of the commit", with("/run/commit", json!(&HEAD[..7])), |why| {
            matches!(why, Refusal::OtherCommit)
        }),
        ("no commit", with("/run/commit", Value::Null), |why| matches!(why, Refusal::OtherCommit)),
        ("another repository", with("/run/repository", json!("evil/llama.cpp")), |why| {
            matches!(why, Refusal::OtherRepository)
        }),
        ("a verdict of its own", forged.to_string().into_bytes(), |why| {
            matches!(why, Refusal::Contradiction { .. })
        }),
        ("more failures than requests", with("/sides/head/failed", json!(9_999_999)), |why| {
            matches!(why, Refusal::Contradiction { .. })
        }),
        ("a change outside its interval", with("/comparisons/0/change_pct", json!(50.0)), |why| {
            matches!(why, Refusal::Contradiction { .. })
        }),
    ];
    for (what, bytes, is_right) in cases {
        is_refused(what, &take("bench-ci-x", archive(&[("ab.json", &bytes)])), is_right);
    }
}

#[test]
fn names_that_no_artifact_has_are_refused() {
    let good = honest().to_string();
    let long = "n".repeat(200);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "<script>",
        "a\nb",
        "a\u{202e}b",
        "a|b",
        "\u{1b}[31m",
        long.as_str(),
    ] {
        let intake = take(name, archive(&[("ab.json", good.as_bytes())]));
        is_refused(name, &intake, |why| matches!(why, Refusal::Name));
    }
}

#[test]
fn two_artifacts_of_one_name_are_both_refused() {
    let good = archive(&[("ab.json", honest().to_string().as_bytes())]);
    let twins = [("bench-ci-x".to_owned(), good.clone()), ("bench-ci-x".to_owned(), good)];
    let intake = take_in_archives(&twins, &expected());
    assert_eq!(intake.cells.len(), 1);
    is_refused("twins", &intake, |why| matches!(why, Refusal::Twice));
}

/// What is well-formed and evil in every text is taken, and shown as text.
#[test]
fn evil_texts_are_shown_as_texts() {
    for evil in EVIL {
        let mut report = honest();
        for path in [
            "/run/name",
            "/run/runner_label",
            "/run/branch",
            "/tool/version",
            "/machine/cpu_model",
            "/machine/os",
            "/model/file",
            "/scenario/name",
            "/scenario/dataset",
            "/sides/head/label",
            "/sides/head/version",
            "/comparisons/0/metric",
            "/comparisons/0/unit",
            "/comparisons/0/sentence",
            "/comparisons/1/metric",
        ] {
            *report.pointer_mut(path).unwrap() = json!(evil);
        }
        report["sides"]["head"]["command"] = json!([evil, evil]);
        report["reasons"] = json!([evil]);
        report["sides"]["head"]["commit"] = json!(evil);
        for verdict in ["no-regression", "invalid"] {
            report["verdict"] = json!(verdict);
            let intake = take("x", archive(&[("ab.json", report.to_string().as_bytes())]));
            assert_eq!(intake.refused, [], "{evil}");
            page_is_harmless(&intake);
        }
    }
}

#[test]
fn folders_are_read_without_following_links_or_reading_more_than_reports() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let good = honest().to_string();
    put("bench-ci-good/ab.json", good.as_bytes());
    put("bench-ci-good/notes.md", b"# not read");
    put("bench-ci-huge/ab.json", &vec![b' '; 9 * 1024 * 1024]);
    put("bench-ci-empty/notes.md", b"");
    put("secret/ab.json", good.as_bytes());
    std::fs::create_dir(folder.path().join("bench-ci-link")).unwrap();
    let link = folder.path().join("bench-ci-link/ab.json");
    std::os::unix::fs::symlink(folder.path().join("secret/ab.json"), link).unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("bench-ci-dir"))
        .unwrap();
    let intake = take_in(&[folder.path()], &expected());
    let why = |name: &str| {
        intake.refused.iter().find(|(refused, _)| refused == name).map(|(_, why)| why.clone())
    };
    assert_eq!(why("good"), None);
    assert_eq!(why("huge"), Some(Refusal::TooLarge));
    assert_eq!(why("empty"), Some(Refusal::Empty));
    assert_eq!(why("link"), Some(Refusal::Path));
    let names: Vec<&str> = intake.cells.iter().map(|cell| cell.name.as_str()).collect();
    assert!(!names.contains(&"dir"), "a linked folder is not an artifact: {names:?}");
    page_is_harmless(&intake);

    let missing = take_in(&[Path::new("no/such/folder")], &expected());
    is_refused("a missing folder", &missing, |why| matches!(why, Refusal::Unreadable { .. }));
}
