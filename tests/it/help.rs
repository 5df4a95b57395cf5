//! The help pages: every one as a snapshot, so that a change of what a newcomer reads is seen.

use std::path::Path;
use std::process::Command;

use bench_ci::cli::Cli;
use clap::CommandFactory;

/// What a first line may be wide, so that it stands on one line of a small terminal.
const FIRST_LINE: usize = 80;

/// What the binary prints for these words, with no variable set that a page could show.
fn page(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(words)
        .env_clear()
        .output()
        .expect("the binary can be started");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// Every visible command as the words that lead to it; the first is none, the program itself.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    fn collect(
        command: &clap::Command,
        words: &[String],
        found: &mut Vec<(Vec<String>, clap::Command)>,
    ) {
        found.push((words.to_vec(), command.clone()));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let mut words = words.to_vec();
            words.push(sub.get_name().to_owned());
            collect(sub, &words, found);
        }
    }
    let mut found = Vec::new();
    collect(&Cli::command(), &[], &mut found);
    assert!(found.len() > 8, "the commands were not found");
    found
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(true);
    settings.set_omit_expression(true);
    settings.add_filter(&env!("CARGO_PKG_VERSION").replace('.', r"\."), "[version]");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn every_command_has_a_short_and_a_long_page() {
    for (words, _) in commands() {
        let mut name = vec!["page".to_owned()];
        name.extend(words.iter().cloned());
        let name = name.join("_");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        snapshot(&format!("{name}_short"), &page(&[&words[..], &["-h"]].concat()));
        snapshot(&format!("{name}_long"), &page(&[&words[..], &["--help"]].concat()));
    }
}

#[test]
fn every_topic_has_a_page() {
    for topic in ["exit-codes", "environment"] {
        snapshot(&format!("topic_{topic}"), &page(&["help", topic]));
    }
}

#[test]
fn help_and_the_flag_say_the_same_of_every_command() {
    for (words, _) in commands() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let asked = page(&[&["help"], &words[..]].concat());
        assert_eq!(asked.trim(), page(&[&words[..], &["--help"]].concat()).trim(), "{words:?}");
    }
}

#[test]
fn the_first_page_says_what_to_do_next() {
    for flag in ["-h", "--help"] {
        let page = page(&[flag]);
        for next in ["bench-ci --server sim --duration 10s", "bench-ci doctor", "help exit-codes"] {
            assert!(page.contains(next), "{flag}: {next}");
        }
    }
}

#[test]
fn every_flag_is_in_a_committed_snapshot_with_a_line_that_stands_alone() {
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    for (words, command) in commands() {
        let mut file = vec!["it__help__page".to_owned()];
        file.extend(words.iter().cloned());
        let file = snapshots.join(format!("{}_long.snap", file.join("_")));
        let snapshot = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let name = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => continue,
            };
            assert!(snapshot.contains(&name), "{} lacks {name}", file.display());
            let line = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!line.is_empty(), "{words:?} {name} says nothing");
            assert!(line.chars().count() <= FIRST_LINE, "{words:?} {name}: {line}");
            let states_default = line.contains("[default");
            let has_default = !argument.get_default_values().is_empty();
            assert!(!(states_default && has_default), "{words:?} {name} states its default twice");
        }
    }
}
