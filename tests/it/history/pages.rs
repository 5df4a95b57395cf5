//! What a history shows, of good points and of hostile ones.

use bench_ci::history::point;
use bench_ci::history::store::{Addition, Branch};
use proptest::prelude::*;

use super::Place;

/// A history of this many days with a slow-down from `from` on. Values follow a fixed small pattern.
fn with_step(place: &Place, days: u32, from: u32) {
    let files: Vec<String> = (1..=days)
        .map(|day| {
            let noise = [0.0, 0.4, -0.3, 0.1, -0.5, 0.2, 0.3][day as usize % 7];
            let rate = if day >= from { 95.0 } else { 100.0 } + noise;
            let commit = char::from(b'a' + (day % 6) as u8);
            place.report(&format!("run{day}"), commit, day, rate).to_str().unwrap().to_owned()
        })
        .collect();
    for file in files {
        assert_eq!(place.history(&["append", &file]).exit, 0);
    }
}

#[test]
fn a_slow_down_is_told_with_its_commit_and_how_to_know() {
    let place = Place::new();
    with_step(&place, 24, 17);
    let words = ["check", "--metric", "output_tokens_per_second", "--max-age", "99999d"];
    let done = place.history(&words);
    assert_eq!(done.exit, 0, "a history is advisory: {done:?}");
    assert!(
        done.stdout.contains("output_tokens_per_second worse: its level changed by −"),
        "{done:?}"
    );
    let words_alone = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words_alone.contains("bench-ci ab --base-ref eeeeeeeeee --head-ref ffffffffff"),
        "{done:?}"
    );
    let gate = place.history(&[&words[..], &["--fail-on", "regressed"]].concat());
    assert_eq!(gate.exit, 3, "{gate:?}");
    // Accepted, nothing is left to tell.
    place.history(&["annotate", "--reason", "a new compiler", "--author", "ann"]);
    let quiet = place.history(&words);
    assert!(quiet.stdout.contains("nothing moved"), "{quiet:?}");
}

#[test]
fn a_history_that_nobody_keeps_is_an_alarm() {
    let place = Place::new();
    let report = place.report("run", 'a', 3, 100.0);
    place.history(&["append", report.to_str().unwrap()]);
    let stale = place.history(&["check", "--max-age", "0d"]);
    assert_eq!(stale.exit, 8, "{stale:?}");
    assert!(stale.stdout.starts_with("stale: 1 point, the newest"), "{stale:?}");
    for (fail_on, exit) in [("never", 0), ("regressed", 0), ("regressed,stale", 8)] {
        let done = place.history(&["check", "--max-age", "0d", "--fail-on", fail_on]);
        assert_eq!(done.exit, exit, "only what is named fails: {fail_on} {done:?}");
    }
    assert_eq!(place.history(&["check", "--max-age", "99999d"]).exit, 0);
    assert_eq!(place.history(&["check", "--max-age", "soon"]).exit, 2);
}

#[test]
fn hostile_lines_are_skipped_and_named_and_hostile_words_stay_words() {
    let place = Place::new();
    let mut report = crate::report::fixture::ok();
    report.scenario.name = "<script>alert(1)</script>\u{1b}[31m".to_owned();
    report.run.name = "=HYPERLINK(\"x\")".to_owned();
    let file = place.write("run.json", &report);
    assert_eq!(place.history(&["append", file.to_str().unwrap()]).exit, 0);
    let repository = place.path("repository.git");
    let mut branch = Branch::open(&repository, "bench-ci-history").unwrap();
    let shards = branch.read().unwrap();
    let shard = shards.iter().find(|shard| shard.path.ends_with("11.jsonl")).unwrap();
    let folder = shard.path.split('/').nth(1).unwrap().to_owned();
    let hostile = [
        "not json".to_owned(),
        "{}".to_owned(),
        shard.text.trim_end().replace("\"value\":", "\"value\":-"),
        shard.text.trim_end().replace("2026-11-", "2026-99-"),
        format!("\"{}\"", "x".repeat(20_000)),
        "[".repeat(10_000),
    ];
    let line = |line: &String, folder: &str| Addition {
        folder: folder.to_owned(),
        month: "2026-12".to_owned(),
        line: format!("{line}\n"),
        mark: None,
        beside: None,
    };
    let mut additions: Vec<Addition> = hostile.iter().map(|text| line(text, &folder)).collect();
    additions.push(line(&hostile[0], "annotations"));
    additions.push(line(&hostile[0], "no-series"));
    branch.append(&additions, "hostile").unwrap();

    let html = place.path("page.html");
    for words in [
        vec!["show"],
        vec!["export"],
        vec!["check"],
        vec!["show", "--html", html.to_str().unwrap()],
    ] {
        let done = place.history(&words);
        assert!([0, 8].contains(&done.exit), "{done:?}");
        for number in 1..=6 {
            let named = format!("/2026-12.jsonl\" line {number} is skipped: ");
            assert!(done.stderr.contains(&named), "{words:?} {number} {}", done.stderr);
        }
        assert!(done.stderr.contains("annotations/2026-12.jsonl\" line 1"), "{}", done.stderr);
        assert!(done.stderr.contains("no-series/2026-12.jsonl\" is no file of a history"));
        assert!(!done.stdout.contains('\u{1b}') && !done.stderr.contains('\u{1b}'), "{done:?}");
    }
    let page = std::fs::read_to_string(html).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    let csv = place.history(&["export"]).stdout;
    assert!(csv.contains("\"'=HYPERLINK(\"\"x\"\")\""), "{csv}");
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let place = Place::new();
    with_step(&place, 24, 17);
    let file = place.path("page.html");
    let done = place.history(&["show", "--html", file.to_str().unwrap()]);
    assert_eq!(done.exit, 0, "{done:?}");
    let page = std::fs::read_to_string(file).unwrap();
    for outside in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("color-scheme: light dark"));
    assert!(page.contains("<svg") && page.contains("class=\"moved\""));
    assert!(!page.contains("NaN") && !page.contains("inf"));
    // Every tag that is opened is closed, in order.
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or("")) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !["!DOCTYPE", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn a_series_or_metric_that_is_not_there_is_named() {
    let place = Place::new();
    let report = place.report("run", 'a', 3, 100.0);
    place.history(&["append", report.to_str().unwrap()]);
    let done = place.history(&["show", "--metric", "ttft_ms_p5"]);
    assert_eq!(done.exit, 2, "{done:?}");
    assert!(done.stderr.contains("there is \"ttft_ms_p50\""), "{done:?}");
    assert_eq!(place.history(&["show", "--series", "ffffffffffffffff0"]).exit, 2);
}

proptest! {
    /// Whatever stands in a shard, good lines are read, bad ones are told, and nothing panics.
    #[test]
    fn any_text_is_a_shard(lines in prop::collection::vec(any::<String>(), 0..20), place in 0_usize..20) {
        let good = r#"{"id":"1","at":"2026-11-03T12:00:00Z","commit":null,"branch":null,"name":"","tool":"0.1.0","trials":1,"metrics":{"ttft_ms_p50":{"value":1.5,"unit":"ms","better":"lower"}}}"#;
        let mut lines: Vec<String> = lines.into_iter().map(|line| line.replace(['\n', '\r'], " ")).collect();
        lines.insert(place.min(lines.len()), good.to_owned());
        let mut complaints = Vec::new();
        let points = point::points(&lines.join("\n"), |line, _| complaints.push(line));
        prop_assert_eq!(points.len(), 1);
        let empty = lines.iter().filter(|line| line.trim().is_empty()).count();
        prop_assert_eq!(points.len() + complaints.len() + empty, lines.len());
    }

    /// A point survives being written and read.
    #[test]
    fn a_point_is_what_its_line_says(value in 1e-9_f64..1e12, name in ".{0,50}", trials in any::<u32>()) {
        let mut point = point::Point::of(&[&crate::report::fixture::ok()]).unwrap();
        point.name = name;
        point.trials = trials;
        point.metrics.values_mut().for_each(|reading| reading.value = value);
        let read = point::points(&point.line(), |_, why| panic!("{why}"));
        prop_assert_eq!(read, vec![point]);
    }
}
