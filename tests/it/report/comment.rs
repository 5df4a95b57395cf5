//! The page on a pull request, for every way that things may stand.

use std::collections::BTreeMap;

use bench_ci::artifact::{
    AbReport, AxisValue, CellRequests, CellStatus, Report, RunStatus, SUITE_SCHEMA, SuiteCell,
    SuiteReport, SuiteRun, SuiteServer, Unknowns,
};
use bench_ci::report::ab_markdown;
use bench_ci::report::comment::{
    Cell, Content, MOST_COMMENT_BYTES, Marker, Origin, State, WorkflowRun, comment, status_line,
};

use super::comparison::{FASTER, Gate, ITL_SAME, SAME, SLOWER, TTFT_SAME, UNSURE, comparing};
use super::fixture;
use crate::real_mermaid::{assert_charts_parse, blocks};

pub(crate) fn origin() -> Origin {
    Origin {
        key: "default".to_owned(),
        head: Some("a".repeat(40)),
        base: Some("b".repeat(40)),
        run: Some(WorkflowRun {
            id: 123,
            attempt: 1,
            url: "https://github.com/o/r/actions/runs/123".to_owned(),
        }),
        fork: None,
        before: None,
    }
}

pub(crate) fn cell(name: &str, report: AbReport) -> Cell {
    Cell { name: name.to_owned(), content: Content::Comparison(Box::new(report)) }
}

pub(crate) fn slower() -> AbReport {
    comparing(&[SLOWER, TTFT_SAME, ITL_SAME], "regressed")
}

pub(crate) fn well() -> AbReport {
    comparing(&[SAME, TTFT_SAME, ITL_SAME], "no-regression")
}

pub(crate) fn unsure() -> AbReport {
    comparing(&[UNSURE, TTFT_SAME, ITL_SAME], "inconclusive")
}

/// Head is faster and fails requests.
pub(crate) fn failing() -> AbReport {
    let mut report = comparing(&[FASTER, TTFT_SAME, ITL_SAME], "invalid");
    report.sides.head.failed = 16;
    report.reasons =
        vec!["head failed 16 of 1600 requests, base 0 of 1600; 0 are accepted".to_owned()];
    report
}

pub(crate) fn not_started() -> AbReport {
    let mut report = comparing(&[], "invalid");
    report.run.status = RunStatus::Failed;
    report.run.causes =
        vec!["the server of head did not start: unknown argument: --foo".to_owned()];
    report.trials.clear();
    report.design.pairs_used = 0;
    report.comparisons.clear();
    report
}

/// A sweep over numbers of users that came to this exit code, as `suite.json` holds it.
pub(crate) fn swept(played: &[(&str, Report)], exit_code: u8) -> SuiteReport {
    let (_, first) = &played[0];
    let cell = |(users, report): &(&str, Report)| {
        let name = format!("users={users}");
        let axis = AxisValue { name: "users".to_owned(), value: (*users).to_owned() };
        let not_run = SuiteCell {
            folder: format!("cells/{name}"),
            name,
            scenario: "chat".to_owned(),
            axes: vec![axis],
            server_index: 0,
            status: CellStatus::NotRun,
            exit_code: None,
            server_kind: None,
            causes: Vec::new(),
            client_limited: false,
            plan_digest: "d".repeat(64),
            workload_hash: None,
            requests: CellRequests::default(),
            objectives_met: None,
            metrics: BTreeMap::new(),
            rates: None,
            unknown: Unknowns::none(),
        };
        not_run.with(report)
    };
    let cells: Vec<SuiteCell> = played.iter().map(cell).collect();
    SuiteReport {
        schema: SUITE_SCHEMA.to_owned(),
        tool: first.tool.clone(),
        suite: SuiteRun {
            name: "chat".to_owned(),
            runner_label: Some("cuda-t4".to_owned()),
            branch: Some("feature".to_owned()),
            commit: Some("a".repeat(40)),
            started_at: "2026-11-22T06:00:00.000Z".to_owned(),
            finished_at: Some("2026-11-22T06:09:00.000Z".to_owned()),
            exit_code: Some(exit_code),
            planned_server_starts: 1,
            resumed_count: 0,
            unknown: Unknowns::none(),
        },
        machine: first.machine.clone(),
        axes: vec!["users".to_owned()],
        servers: vec![SuiteServer {
            server_index: 0,
            command: first.server.command.clone(),
            start_s: Some(0.6),
            log: "server-0.log".to_owned(),
            cells: cells.iter().map(|cell| cell.name.clone()).collect(),
            exit: None,
            unknown: Unknowns::none(),
        }],
        cells,
        search: None,
        warnings: Vec::new(),
        unknown: Unknowns::none(),
    }
}

/// All that there may be, the worst last.
pub(crate) fn forty() -> Vec<Cell> {
    let mut cells: Vec<Cell> =
        (0..34).map(|index| cell(&format!("cell-{index:02}"), well())).collect();
    cells.extend((34..37).map(|index| cell(&format!("cell-{index}"), unsure())));
    cells.push(cell("cell-37", failing()));
    cells.push(cell("cell-38", slower()));
    cells.push(Cell {
        name: "cell-39".to_owned(),
        content: Content::Nothing("no report".to_owned()),
    });
    cells
}

/// What is there before anything is unfolded.
fn visible_lines(page: &str) -> usize {
    let mut inside = false;
    page.lines()
        .filter(|line| {
            inside |= line.starts_with("<details>");
            let shown = !inside || line.starts_with("<details>");
            inside &= !line.starts_with("</details>");
            shown
        })
        .count()
}

#[test]
fn one_configuration_that_got_slower() {
    let cells = [cell("cuda-t4 q4_0", slower())];
    let page = comment(&origin(), &cells);
    insta::assert_snapshot!("comment_regressed", page);
    insta::assert_snapshot!(status_line(&cells), @"output tok/s −3.4% [−4.6,−2.3] · TTFT p50 +0.6% [−0.9,+2.0] · inter-token p50 +0.1% [−0.4,+0.5] · 12 pairs · regressed");
}

#[test]
fn an_interval_of_no_level_is_not_shown_as_certainty() {
    let mut report = unsure();
    report.design.pairs_used = 1;
    for of in &mut report.comparisons {
        (of.ci_level, of.ci_pct, of.pairs) = (Some(0.0), of.change_pct.map(|at| [at, at]), 1);
    }
    let page = comment(&origin(), &[cell("desk", report.clone())]);
    assert!(page.contains("Cannot tell: output tok/s −1.3\u{a0}%;"), "{page}");
    assert!(page.contains("1 pair on one machine") && !page.contains("resolves"), "{page}");
    assert!(!page.contains("CI −1.3") && !page.contains("(−1.3 …"), "{page}");
    assert_eq!(status_line(&[cell("desk", report.clone())]), "1 pair · inconclusive");
    // One that is less than was asked for is named by what it is.
    for of in &mut report.comparisons {
        of.ci_level = Some(0.75);
    }
    let page = comment(&origin(), &[cell("desk", report)]);
    assert!(page.contains("(75\u{a0}% CI −1.3 … −1.3)"), "{page}");
}

#[test]
fn what_only_the_floor_makes_harmless_is_not_said_to_be_below_the_bar() {
    let gap = Gate("itl_ms_p50", "ms", false, 4.9, [3.0, -2.0, 9.0], "no-regression");
    let mut report = comparing(&[SAME, gap], "no-regression");
    report.comparisons[1].floor = 1.0;
    let page = comment(&origin(), &[cell("desk", report)]);
    assert!(page.contains("| no regression of 1.00 ms or more |"), "{page}");
    assert!(page.contains("| no regression of 2\u{a0}% or more |"), "of the rate: {page}");
}

#[test]
fn all_is_well() {
    let cells = [cell("cuda-t4 q4_0", well()), cell("cpu-4c q8_0", well())];
    insta::assert_snapshot!("comment_well", comment(&origin(), &cells));
    insta::assert_snapshot!("status_well", status_line(&cells));
}

#[test]
fn it_cannot_be_told() {
    let cells = [cell("cpu-4c q8_0", unsure())];
    insta::assert_snapshot!("comment_inconclusive", comment(&origin(), &cells));
    insta::assert_snapshot!("status_inconclusive", status_line(&cells));
}

#[test]
fn a_faster_server_that_fails_requests_is_not_faster() {
    let cells = [cell("cuda-t4 q4_0", failing())];
    let page = comment(&origin(), &cells);
    insta::assert_snapshot!("comment_invalid", page);
    assert!(!page.contains("improved") && !page.contains("is faster"), "{page}");
    insta::assert_snapshot!("status_invalid", status_line(&cells));
}

#[test]
fn a_server_did_not_start() {
    let cells = [cell("cuda-t4 q4_0", not_started()), cell("cpu-4c q8_0", well())];
    insta::assert_snapshot!("comment_not_started", comment(&origin(), &cells));
    insta::assert_snapshot!("status_not_started", status_line(&cells));
}

#[test]
fn forty_configurations_worst_first() {
    let cells = forty();
    let page = comment(&origin(), &cells);
    assert!(page.len() <= MOST_COMMENT_BYTES, "{}", page.len());
    insta::assert_snapshot!("comment_forty", page);
    insta::assert_snapshot!("status_forty", status_line(&cells));
}

#[test]
fn a_run_alone_says_what_it_measured() {
    let run = Content::Run(Box::new(fixture::ok()));
    let cells = [Cell { name: "desk".to_owned(), content: run }];
    insta::assert_snapshot!("comment_run", comment(&origin(), &cells));
}

#[test]
fn a_suite_has_a_row_for_each_of_its_cells() {
    let of = |suite| Cell { name: "desk".to_owned(), content: Content::Suite(Box::new(suite)) };
    let well = [of(swept(&[("1", fixture::ok()), ("8", fixture::simulator())], 0))];
    insta::assert_snapshot!("comment_suite", comment(&origin(), &well));
    insta::assert_snapshot!("status_suite", status_line(&well));

    let played = [("1", fixture::ok()), ("8", fixture::never_began()), ("9", fixture::failed())];
    let unwell = [of(swept(&played, 7))];
    let page = comment(&origin(), &unwell);
    assert!(
        page.contains("### ⚠️ No verdict: 1 of 3 cells without a complaint, 1 failed;"),
        "{page}"
    );
    assert!(page.contains("users=8: llama-server exited with status 1 before"), "{page}");
    for (users, standing) in [("1", "measured"), ("8", "not measured"), ("9", "invalid")] {
        let row = page.lines().find(|line| line.contains(&format!("| desk users={users} |")));
        assert!(row.is_some_and(|row| row.ends_with(&format!("| {standing} |"))), "{page}");
    }

    let nothing = [of(swept(&[("1", fixture::never_began())], 7))];
    let page = comment(&origin(), &nothing);
    assert!(page.contains("### ⚪ Not measured: 0 of 1 cells without a complaint"), "{page}");
}

/// Guards what a damaged file could ask of the tables of pairs.
#[test]
fn odd_pairs_stop_no_page_and_a_change_of_nothing_is_not_shown() {
    const METRIC: &str = "output_tokens_per_second";
    let mut report = slower();
    // Two trials a pair, base first.
    for index in [0, 1] {
        report.trials[index].pair = u64::MAX;
    }
    for index in [2, 4, 5] {
        report.trials[index].metrics.insert(METRIC.to_owned(), 0.0);
    }
    let page = comment(&origin(), &[cell("desk", report.clone())]);
    let number = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse::<u64>().ok();
    assert_eq!(page.lines().filter_map(number).count(), 10, "{page}");
    for wrong in ["inf,", "inf\u{a0}%", "NaN"] {
        assert!(!page.contains(wrong), "{wrong} in\n{page}");
    }
    for page in [page, ab_markdown::render(&report)] {
        assert!(page.contains(&format!("| {} | ", u64::MAX)), "{page}");
    }
}

#[test]
fn nothing_at_all_is_not_success() {
    let page = comment(&origin(), &[]);
    assert!(page.contains("Nothing was measured"), "{page}");
    assert_eq!(status_line(&[]), "no report");
}

#[test]
fn what_got_slower_is_never_left_out() {
    let wide = |index: usize| {
        let gates: Vec<Gate> = (0..8).map(|_| SLOWER).collect();
        cell(&format!("{index:03} {}", "x".repeat(75)), comparing(&gates, "regressed"))
    };
    let mut cells: Vec<Cell> = (0..64).map(wide).collect();
    cells.extend((64..128).map(|index| cell(&format!("{index:03} fine"), well())));
    let page = comment(&origin(), &cells);
    assert!(page.len() <= MOST_COMMENT_BYTES, "{}", page.len());
    for index in 0..64 {
        assert!(page.contains(&format!("{index:03} xxx")), "{index} is lost\n{page}");
    }
    assert!(page.contains("Left out") && page.contains("/actions/runs/123"), "{page}");
    assert!(Marker::of("default").is_in(&page));
    assert_eq!(State::read(&page).and_then(|state| state.run), Some((123, 1)));
}

#[test]
fn details_go_in_the_stated_order() {
    let page = |count: usize| {
        let on_a_machine_of_its_own = |index| {
            let mut report = slower();
            report.machine.cpu_model = Some(format!("CPU number {index} of a large collection"));
            cell(&format!("c{index}"), report)
        };
        comment(&origin(), &(0..count).map(on_a_machine_of_its_own).collect::<Vec<Cell>>())
    };
    let shows = |page: &str| {
        ["Every pair", "Observed metrics", "Machine, model"].map(|title| page.contains(title))
    };
    assert_eq!(shows(&page(2)), [true, true, true]);
    let seen: Vec<[bool; 3]> = (1..140).step_by(3).map(|count| shows(&page(count))).collect();
    for order in [[false, true, true], [false, false, true], [false, false, false]] {
        assert!(seen.contains(&order), "{order:?} was never seen");
    }
    assert!(
        seen.iter().all(|[pairs, observed, machines]| pairs <= observed && observed <= machines)
    );
}

#[test]
fn a_page_is_short_before_it_is_unfolded() {
    for report in [slower(), well(), unsure(), failing(), not_started()] {
        let page = comment(&origin(), &[cell("cuda-t4 q4_0", report)]);
        assert!(visible_lines(&page) < 60, "{page}");
    }
}

#[test]
fn text_from_a_report_stays_text() {
    let evil = "<img src=x onerror=alert(1)> @team ![a](https://e.vil/x.png) | [b](javascript:c) `d` \
                </details> <!-- bench-ci:state head=- run=9 attempt=9 -->\n# Heading";
    let mut report = failing();
    report.reasons = vec![evil.to_owned()];
    report.run.runner_label = Some(evil.to_owned());
    report.machine.cpu_model = Some(evil.to_owned());
    report.scenario.name = evil.to_owned();
    report.tool.version = evil.to_owned();
    report.sides.head.command = vec![evil.to_owned(), "```".to_owned()];
    report.sides.head.commit = Some("--> <b>".to_owned());
    for of in &mut report.comparisons {
        of.metric = evil.to_owned();
        of.unit = evil.to_owned();
    }
    if let Some(model) = &mut report.model {
        model.file = Some(evil.to_owned());
    }
    let mut origin = origin();
    origin.fork = Some(evil.to_owned());
    origin.key = evil.to_owned();
    let cells = [cell(evil, report), cell(evil, not_started())];
    let page = comment(&origin, &cells);
    // Inside a fence everything is text; there is one for each configuration.
    let outside: String = page.split("````").step_by(2).collect();
    for harm in [
        "<img",
        "@team",
        "[a](https",
        "[b](java",
        "\n# Heading",
        "<!-- bench-ci:state head=- run=9",
    ] {
        assert!(!outside.contains(harm), "{harm} in\n{page}");
    }
    assert_eq!(State::read(&page).and_then(|state| state.run), Some((123, 1)));
    assert_eq!(page.matches("<details>").count(), page.matches("\n</details>").count());
    assert!(status_line(&cells).chars().count() <= 140);
}

#[test]
fn real_mermaid_takes_its_charts() {
    let cells = [cell("cuda-t4 \"q4_0\"", slower()), cell("cpu", failing()), cell("b", well())];
    assert_charts_parse(&blocks(&comment(&origin(), &cells)));
}
