//! Sessions in which both sides were the same: what a history keeps of them, and who is told.

use bench_ci::artifact::{AbReport, EarlierAa};
use bench_ci::history::{self, noise};

use super::Place;
use crate::report::comparison::{SAME, TTFT_SAME, comparing};

fn session(id: usize, verdict: &str, change: fn(&mut AbReport)) -> AbReport {
    let mut report = comparing(&[SAME, TTFT_SAME], verdict);
    report.run.id = id.to_string();
    report.design.aa = true;
    change(&mut report);
    report
}

fn append(place: &Place, sessions: &[AbReport]) {
    let files: Vec<String> = sessions
        .iter()
        .map(|session| {
            let file = place.path(&format!("{}.json", session.run.id));
            std::fs::write(&file, session.to_json()).unwrap();
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let words: Vec<&str> =
        std::iter::once("append").chain(files.iter().map(String::as_str)).collect();
    let done = place.history(&words);
    assert_eq!(done.exit, 0, "{done:?}");
}

/// What `ab` finds in the repository of the place.
fn earlier_aa(place: &Place, report: &AbReport) -> Option<EarlierAa> {
    let series = history::aa_sessions(&place.path("repository.git")).unwrap();
    noise::earlier_aa(&series, report)
}

#[test]
fn sessions_of_the_same_question_on_the_same_runner_are_told() {
    let place = Place::new();
    let asked = comparing(&[SAME], "no-regression");
    let repository = place.path("repository.git");
    assert!(history::aa_sessions(&repository).is_err(), "there is no history yet");
    let keep: fn(&mut AbReport) = |_| ();
    append(
        &place,
        &[
            session(1, "no-regression", keep),
            session(2, "regressed", keep),
            session(3, "improved", |report| report.comparisons[0].resolution_pct = Some(3.0)),
            // Hosted machines differ, their label does not; and a pull request may change the flags.
            session(4, "no-regression", |report| {
                report.machine.fingerprint = Some("g".to_owned());
                report.sides.head.command.push("--flash-attn".to_owned());
            }),
            session(5, "regressed", |report| report.run.runner_label = Some("cpu".to_owned())),
            session(6, "regressed", |report| report.design.aa = false),
            session(7, "regressed", |report| report.scenario.dataset = "sharegpt".to_owned()),
            // Too short to be wrong.
            session(8, "inconclusive", |report| report.design.pairs_used = 5),
        ],
    );
    let found = earlier_aa(&place, &asked).unwrap();
    let usual = comparing(&[SAME], "no-regression").comparisons[0].resolution_pct;
    assert_eq!((found.runner.as_str(), found.sessions, found.alarms), ("cuda-t4", 4, 2));
    assert_eq!(found.median_resolution_pct, usual);

    // Without a label it is the machine that counts, and there was none of it.
    let mut desk = asked;
    desk.run.runner_label = None;
    assert_eq!(earlier_aa(&place, &desk), None);

    let shown = place.history(&["show"]).stdout;
    assert!(shown.contains("  A-A on cuda-t4, last 3: 2 alarms, ±"), "{shown}");
    assert!(shown.contains("  A-A on cpu, last 1: 1 alarm, ±"), "{shown}");
}

#[test]
fn a_pull_request_is_told_how_often_its_runner_is_wrong() {
    use bench_ci::report::comment::{Cell, Content, Origin, comment};
    let mut report = comparing(&[SAME, TTFT_SAME], "no-regression");
    let place = Place::new();
    let alarm = session(1, "regressed", |report| {
        report.run.runner_label = Some("a <b>| runner".to_owned());
    });
    append(&place, &[alarm]);
    report.run.runner_label = Some("a <b>| runner".to_owned());
    report.earlier_aa = earlier_aa(&place, &report);
    let page = bench_ci::report::ab_markdown::render(&report);
    assert!(page.contains("A-A on a &lt;b&gt;\\| runner, last 1: 1 alarm, ±"), "{page}");
    let cell = Cell { name: "cell".to_owned(), content: Content::Comparison(Box::new(report)) };
    let visible = comment(&Origin::default(), &[cell]);
    let visible = visible.split("<details>").next().unwrap();
    assert!(visible.contains(" · A-A on a &lt;b&gt;\\| runner, last 1: 1 alarm, ±"), "{visible}");
}
