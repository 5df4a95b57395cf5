//! What the verdict is, and what becomes of it: bars, gates, `--fail-on`.

use std::process::Command;

use super::{Session, report};

#[test]
fn a_slow_head_regressed_in_blocks_too() {
    let session = Session::new();
    let arguments = ["--head-args", "--sim-slowdown 120", "--budget", "40s", "--pairs", "7"];
    let ran = session.concluded(&arguments);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["design"]["kind"], "blocks");
    assert_eq!(report["verdict"], "regressed");
    let change = report["comparisons"][0]["change_pct"].as_f64().unwrap();
    assert!((-70.0..-40.0).contains(&change), "{change}");
}

#[test]
fn one_failed_request_in_a_hundred_is_never_improved() {
    let session = Session::new();
    // The hundredth of every start fails, so a start must last for more than that: two trials in turn.
    let arguments = [
        "--base-args",
        "--sim-slowdown 25",
        "--head-args",
        "--sim-fault error-before --sim-fault-every 100",
        "--restart-mode",
        "--budget",
        "28s",
        "--pairs",
        "2",
    ];
    let ran = session.run(&arguments);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
    let first = report(&ran)["reasons"][0].as_str().unwrap().to_owned();
    assert!(first.starts_with("head fails more requests: "), "{first}");
    // Not even where the user accepts failures. Those that it accepts are not taken for unequal work.
    let ran = session.run(&[&arguments[..], &["--max-failed", "1000000"]].concat());
    let checks = report(&ran)["checks"].as_array().unwrap();
    let equal = checks.iter().find(|check| check["name"] == "equal_work").unwrap();
    assert_eq!(equal["ok"], true, "{equal}");
    assert_ne!(report(&ran)["verdict"], "improved", "{}", ran.stderr);
    let first = report(&ran)["reasons"][0].as_str().unwrap().to_owned();
    assert!(first.starts_with("head fails more requests: "), "{first}");
    // It stands above every number on the page.
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    let first = page.lines().next().unwrap();
    assert!(first.contains(":** head fails more requests: "), "{first}");
}

#[test]
fn a_slow_down_below_the_bar_is_none_and_improved_fails_where_that_is_asked() {
    let session = Session::new();
    // 20 % slower, which the user does not mind.
    let ran = session.concluded(&[
        "--head-args",
        "--sim-slowdown 20",
        "--delta",
        "100%",
        "--budget",
        "30s",
        "--pairs",
        "7",
    ]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "no-regression");
    assert_eq!(report(&ran)["design"]["delta_pct"], 100.0);
    let ran = session.concluded(&[
        "--base-args",
        "--sim-slowdown 150",
        "--fail-on",
        "improved",
        "--budget",
        "30s",
        "--pairs",
        "7",
    ]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "improved");
}

#[test]
fn answers_of_one_token_are_judged_by_what_they_have() {
    let session = Session::new();
    let arguments = ["--head-args", "--sim-slowdown 200", "--max-tokens", "1", "--pairs", "7"];
    let ran = session.concluded(&[&arguments[..], &["--budget", "30s"]].concat());
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let report = report(&ran);
    let of_role = |role: &str| -> Vec<String> {
        let comparisons = report["comparisons"].as_array().unwrap().iter();
        let of_role = comparisons.filter(|comparison| comparison["role"] == role);
        of_role.map(|comparison| comparison["metric"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of_role("gate"), ["output_tokens_per_second", "ttft_ms_p50"]);
    assert!(!of_role("observe").contains(&"itl_ms_p50".to_owned()));
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    assert!(
        page.contains("itl_ms_p50 decides nothing: an answer of one token has no gaps"),
        "{page}"
    );
}

#[test]
fn no_server_fits_itself_to_what_the_other_leaves_unless_somebody_says_so() {
    let session = Session::new();
    let settings = |arguments: &[&str], variable: Option<&str>| {
        let mut command = session.command(&[&["--dry-run"][..], arguments].concat());
        command.envs(variable.map(|value| ("LLAMA_ARG_FIT", value)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).matches("with --fit off, if its --help").count()
    };
    assert_eq!(settings(&["--aa"], None), 2, "both sides");
    assert_eq!(settings(&["--aa"], Some("on")), 0);
    assert_eq!(settings(&["--aa", "--", "--fit", "on"], None), 0);
    // What is said of one side is what is compared; the other is left as it is.
    assert_eq!(settings(&["--head-args", "--fit on"], None), 0);
    assert_eq!(settings(&["--head-env", "LLAMA_ARG_FIT=on"], None), 0);
    assert_eq!(settings(&["--head-args", "--fit-ctx 512"], None), 2);
}

#[test]
fn slots_of_two_sizes_are_warned_of() {
    let session = Session::new();
    let sizes = ["--base-args", "--ctx-size 8192", "--head-args", "--ctx-size 16384"];
    let ran = session.run(&[&sizes[..], &["--budget", "12s", "--pairs", "3"]].concat());
    let warnings = report(&ran)["warnings"].to_string();
    assert!(
        warnings.contains("a slot of base holds 8192 tokens of context and one of head 16384"),
        "{warnings}"
    );
    assert_eq!(warnings.matches("a slot of base").count(), 1, "once: {warnings}");
}

/// Every block starts both servers anew; their flags stay what they were.
#[test]
fn an_executable_is_asked_for_its_flags_once() {
    use std::os::unix::fs::PermissionsExt;
    let session = Session::new();
    let script = session.folder.path().join("server");
    let log = session.folder.path().join("asked");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--help*) echo asked >> '{}';; esac\nexec '{}' sim \"$@\"\n",
        log.display(),
        env!("CARGO_BIN_EXE_bench-ci"),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let ran = session.run(&[
        "--aa",
        "--server",
        script,
        "--model",
        "synthetic",
        "--budget",
        "12s",
        "--pairs",
        "3",
    ]);
    assert!(report(&ran)["trials"].as_array().unwrap().len() >= 4, "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
}

/// The same thing twice tells how far the next verdict of this machine can be believed.
#[test]
fn a_session_is_told_what_those_without_a_change_came_to() {
    let session = Session::new();
    git2::Repository::init(session.folder.path()).unwrap();
    let ran = session.complete(&["--aa", "--budget", "16s", "--pairs", "7"]);
    let reason = &report(&ran)["unknown"]["earlier_aa"];
    assert!(reason.as_str().unwrap().contains("there is no history"), "{reason}");
    let mut append = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
    append.args(["history", "append", "out"]).current_dir(session.folder.path()).env_clear();
    let appended = append.env("HOME", session.folder.path()).output().unwrap();
    assert!(appended.status.success(), "{}", String::from_utf8_lossy(&appended.stderr));
    let ran = session.run(&["--aa", "--budget", "8s", "--pairs", "1"]);
    let earlier = &report(&ran)["earlier_aa"];
    assert_eq!(earlier["sessions"], 1, "{earlier}");
    assert_eq!(earlier["runner"], report(&ran)["run"]["runner_label"], "{earlier}");
}
