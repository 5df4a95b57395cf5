//! What a person at a terminal sees while it runs and in the end, on a screen of 60, 80 and 200 columns.

#[path = "terminal/pty.rs"]
mod pty;

use pty::Terminal;

use crate::report::comparison::{ITL_SAME, SLOWER, TTFT_SAME, comparing};

/// Some seconds of load on the simulator. A starved client is no failure here.
const LOAD: [&str; 12] = [
    "--server",
    "sim",
    "--duration",
    "4s",
    "--users",
    "4",
    "--max-tokens",
    "16",
    "--max-lateness",
    "100",
    "--max-client-delay",
    "100",
];

const COLOURS: &[(&str, &str)] = &[("TERM", "xterm-256color")];

/// Without what is another number each time.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut last = ' ';
    for character in text.chars() {
        let class = match character {
            '0'..='9' => '#',
            '▁'..='█' => '▂',
            '━' | '─' => '━',
            other => other,
        };
        // Numbers of other lengths, bars and the blanks around them.
        let again = class == last && "#▂━ ".contains(class);
        let inside = matches!(class, '.' | ',' | ':') && last == '#';
        if !again && !inside {
            shape.push(class);
            last = class;
        }
    }
    shape
}

/// What of a screen belongs to the view: all from its headline on.
fn view(text: &str, headline: &str) -> String {
    let from = text.lines().position(|line| line.starts_with(headline));
    text.lines()
        .skip(from.expect("the headline is there"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn bars(text: &str) -> usize {
    text.chars().filter(|character| ('▁'..='█').contains(character)).count()
}

fn has_load(text: &str) -> bool {
    text.contains("\nload ") && text.contains("TTFT") && bars(text) >= 2
}

/// A run at this width: its view in the middle and its last screen.
fn watched(columns: u16) -> (String, String) {
    let mut terminal = Terminal::start(columns, &LOAD, COLOURS);
    let middle = terminal.until("the load", has_load);
    terminal.seen().assert_nothing_wraps();
    let view = view(&middle, "load ");
    assert!(view.lines().all(|line| line.chars().count() < usize::from(columns)), "{view}");
    let (code, _) = terminal.end();
    let seen = terminal.seen();
    assert_eq!(code, Some(0), "{}", seen.text());
    seen.assert_nothing_wraps();
    seen.assert_nothing_is_left_of_the_view();
    (view, seen.text())
}

/// Stages once and in their order, then the verdict, then the table.
fn final_screen(text: &str, columns: usize) {
    let mut rest = text;
    for part in
        ["✓ server: ", "✓ load: ", "✓ stop: ", "✓ report: ", "OK: ", "ttft_ms..", "throughput:"]
    {
        assert_eq!(text.matches(part).count(), 1, "{part}\n{text}");
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{part} is late:\n{text}"));
        rest = after;
    }
    assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
}

#[test]
fn sixty_columns() {
    let (view, last) = watched(60);
    insta::assert_snapshot!("view_60", shape(&view));
    final_screen(&last, 60);
}

#[test]
fn eighty_columns() {
    let (view, last) = watched(80);
    insta::assert_snapshot!("view_80", shape(&view));
    final_screen(&last, 80);
}

#[test]
fn two_hundred_columns() {
    let (view, last) = watched(200);
    insta::assert_snapshot!("view_200", shape(&view));
    final_screen(&last, 200);
    // Every column of the table that there is.
    let head = last.lines().find(|line| line.trim_end().ends_with(" max")).unwrap();
    assert_eq!(head.split_whitespace().count(), 7, "{last}");
}

#[test]
fn a_terminal_that_changes_its_size_shows_one_view() {
    let mut terminal = Terminal::start(80, &LOAD, &[]);
    terminal.until("the load", has_load);
    for columns in [60, 200, 70] {
        terminal.resize(columns);
        let before = terminal.seen().bytes.len();
        let redrawn = |bytes: &[u8]| bytes.windows(3).filter(|three| three == b"\x1b[J").count();
        while redrawn(&terminal.seen().bytes[before..]) < 2 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let text = terminal.seen().text();
        assert_eq!(text.matches("deltas/s").count(), 1, "{columns}:\n{text}");
        assert_eq!(text.matches("✓ server: ").count(), 1, "{columns}:\n{text}");
        terminal.seen().assert_nothing_wraps();
    }
    let (code, _) = terminal.end();
    assert_eq!(code, Some(0));
    terminal.seen().assert_nothing_is_left_of_the_view();
}

#[test]
fn ctrl_c_leaves_a_clean_terminal_and_a_report() {
    let long: Vec<&str> = LOAD.map(|word| if word == "4s" { "60s" } else { word }).to_vec();
    let mut terminal = Terminal::start(80, &long, COLOURS);
    terminal.until("the load", has_load);
    terminal.press(b"\x03");
    let (code, _) = terminal.end();
    let seen = terminal.seen();
    assert_eq!(code, Some(130), "{}", seen.text());
    seen.assert_nothing_is_left_of_the_view();
    assert!(!seen.text().contains("^C"), "{}", seen.text());
    let hiding = |code: &[u8]| seen.bytes.windows(code.len()).any(|found| found == code);
    assert!(!hiding(b"\x1b[?25l"), "a cursor that is never hidden need not be shown again");
    assert!(terminal.path("bench-out/report.json").is_file());
}

#[test]
fn a_terminal_that_is_held_holds_up_no_run() {
    let mut terminal = Terminal::start(80, &LOAD, &[]);
    terminal.until("the load", has_load);
    terminal.press(b"\x13"); // Ctrl-S
    terminal.until_there(&terminal.path("bench-out/report.json"));
    terminal.press(b"\x11"); // Ctrl-Q
    let (code, _) = terminal.end();
    assert_eq!(code, Some(0), "{}", terminal.seen().text());
    terminal.seen().assert_nothing_is_left_of_the_view();
}

/// However many events there are: the painter rests after each picture, so that this cannot fail on a
/// machine that is slow.
#[test]
fn it_is_drawn_a_few_times_a_second() {
    let arguments = [&LOAD[..], &["-v"]].concat();
    let mut terminal = Terminal::start(80, &arguments, &[]);
    let (_, seconds) = terminal.end();
    let seen = terminal.seen();
    let pictures = seen.bytes.windows(3).filter(|three| three == b"\x1b[J").count();
    assert!(pictures > 5, "{pictures} pictures in {seconds} s");
    assert!((pictures as f64) < seconds * 5.0 + 5.0, "{pictures} pictures in {seconds} s");
    assert!(seen.text().contains("server| "), "{}", seen.text());
}

#[test]
fn without_colours_there_is_a_view_all_the_same() {
    for variables in [&[("NO_COLOR", "1"), COLOURS[0]][..], &[("CLICOLOR", "0"), COLOURS[0]]] {
        let mut terminal = Terminal::start(80, &LOAD, variables);
        terminal.until("the load", has_load);
        terminal.end();
        assert_eq!(codes(&terminal.seen().bytes, b'm'), 0, "{variables:?}");
        assert!(codes(&terminal.seen().bytes, b'A') > 0, "{variables:?}");
    }
    let mut terminal = Terminal::start(80, &LOAD, COLOURS);
    terminal.end();
    assert!(codes(&terminal.seen().bytes, b'm') > 0);
}

/// Escape codes that end with this letter.
fn codes(bytes: &[u8], last: u8) -> usize {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let ends =
        |code: &str| code.find(|c: char| c.is_ascii_alphabetic()).map(|at| code.as_bytes()[at]);
    text.split("\x1b[").skip(1).filter(|code| ends(code) == Some(last)).count()
}

#[test]
fn plain_lines_have_no_escape_codes_even_on_a_terminal() {
    for (arguments, variables) in [
        (&[][..], &[("TERM", "dumb")][..]),
        (&[], &[("CI", "true"), ("NO_COLOR", "1")]),
        (&["--progress", "plain"], &[("NO_COLOR", "1")]),
        (&["--progress", "none"], &[("NO_COLOR", "1")]),
    ] {
        let short = [
            "--server",
            "sim",
            "--n-prompts",
            "8",
            "--max-tokens",
            "4",
            "--accept-saturated-client",
        ];
        let mut terminal = Terminal::start(60, &[&short[..], arguments].concat(), variables);
        let (code, _) = terminal.end();
        let seen = terminal.seen();
        assert_eq!(code, Some(0), "{}", seen.text());
        assert!(!seen.bytes.contains(&0x1b), "{variables:?}: {}", seen.text());
        let lines = seen.text().contains("load: 8 completed, 0 failed");
        assert_eq!(lines, !arguments.contains(&"none"), "{}", seen.text());
    }
}

#[test]
fn what_is_piped_has_no_escape_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(["--server", "sim", "--n-prompts", "8", "--max-tokens", "4", "-v"])
        .args(["--accept-saturated-client"])
        .current_dir(folder.path())
        .env("TERM", "xterm-256color")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    for bytes in [output.stdout, output.stderr] {
        assert!(!bytes.is_empty() && !bytes.contains(&0x1b));
    }
}

#[test]
fn a_comparison_shows_its_intervals_as_they_narrow() {
    let arguments = [
        "ab",
        "--aa",
        "--server",
        "sim",
        "--users",
        "2",
        "--max-tokens",
        "24",
        "--restart-mode",
        "--budget",
        "90s",
        "--pairs",
        "7",
        "--seed",
        "7",
    ];
    for columns in [60, 80, 200] {
        let mut terminal = Terminal::start(columns, &arguments, &[]);
        let text = terminal.until("an interval", |text| {
            text.contains("of at most") && text.contains("…") && text.contains(" % (")
        });
        let view = view(&text, "ab ");
        terminal.seen().assert_nothing_wraps();
        let row = view.lines().find(|line| line.contains("output_tokens_per_second")).unwrap();
        assert!(bars(row) >= 1 || columns == 60, "{view}");
        assert_eq!(row.contains('●'), columns > 80, "{view}");
        terminal.press(b"\x03");
        let (code, _) = terminal.end();
        assert_eq!(code, Some(130), "{}", terminal.seen().text());
        terminal.seen().assert_nothing_is_left_of_the_view();
    }
}

#[test]
fn a_suite_says_which_cell_it_is() {
    let arguments = [&LOAD[2..], &["--server", "sim", "--sweep", "users=1,2"]].concat();
    let arguments: Vec<&str> =
        arguments.into_iter().filter(|word| *word != "--users" && *word != "4").collect();
    let mut terminal = Terminal::start(80, &arguments, &[]);
    for cell in ["cell 1 of 2: users=1\nload ", "cell 2 of 2: users=2\nload "] {
        terminal.until(cell, |text| text.contains(cell));
    }
    let (code, _) = terminal.end();
    let seen = terminal.seen();
    assert_eq!(code, Some(0), "{}", seen.text());
    seen.assert_nothing_is_left_of_the_view();
    assert_eq!(seen.text().matches("cell 1 of 2: users=1").count(), 1, "{}", seen.text());
}

#[test]
fn the_end_of_a_comparison_fits_the_terminal() {
    let mut report = comparing(&[SLOWER, TTFT_SAME, ITL_SAME], "regressed");
    report.sides.head.label = "\u{1b}[2Ja-server-whose-path-is-longer-than-any-terminal/".repeat(5);
    for columns in [60, 80, 200] {
        let text = bench_ci::report::ab_terminal::render(&report, columns, false);
        assert!(!text.contains('\u{1b}'));
        assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
        let row = if columns < 100 {
            "(−4.6 … −2.3)\n"
        } else {
            "(−4.6 … −2.3)  regressed\n"
        };
        assert!(text.contains(row), "{columns}:\n{text}");
    }
    report.sides.head.label = "pr".to_owned();
    let narrow = bench_ci::report::ab_terminal::render(&report, 60, false);
    let wide = bench_ci::report::ab_terminal::render(&report, 100, false);
    assert!(narrow.contains("  output_tokens_per_second  regressed\n    "), "{narrow}");
    assert!(wide.contains("  output_tokens_per_second   812 → 784  tokens/s"), "{wide}");
    let painted = bench_ci::report::ab_terminal::render(&report, 100, true);
    assert!(painted.contains("\u{1b}[1;31mregressed:\u{1b}[0m"), "{painted}");
}
