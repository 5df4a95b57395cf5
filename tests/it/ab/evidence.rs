//! Servers that fail, die or do less: no evidence, however fast they were.

use super::{Session, report};

#[test]
fn a_head_that_fails_requests_but_is_faster_is_never_improved() {
    let session = Session::new();
    let ran = session.run(&[
        "--base-args",
        "--sim-slowdown 25",
        "--head-args",
        "--sim-fault error-before --sim-fault-every 20",
        "--budget",
        "30s",
        "--pairs",
        "7",
    ]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["verdict"], "invalid");
    let first = report["reasons"][0].as_str().unwrap();
    assert!(first.starts_with("head fails more requests: "), "{first}");
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    assert!(page.lines().next().unwrap().contains("head fails more requests"), "{page}");
}

#[test]
fn a_head_that_generates_fewer_tokens_is_no_evidence() {
    let session = Session::new();
    let ran = session.run(&["--head-args", "--sim-fault short", "--budget", "12s", "--pairs", "7"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
    // Whatever the user wants to fail on.
    let ran = session.run(&[
        "--head-args",
        "--sim-fault short",
        "--budget",
        "12s",
        "--pairs",
        "7",
        "--fail-on",
        "never",
    ]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}

#[test]
fn a_head_that_does_not_start_is_exit_7_and_says_whose_log() {
    let session = Session::new();
    let ignored = ["--turns", "2", "--deadline", "9s", "--temperature", "1"];
    let ran = session.run(
        &[&["--head-args", "--sim-fault die-at-start:boom", "--budget", "20s"][..], &ignored]
            .concat(),
    );
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    let events = std::fs::read_to_string(session.out().join("events.jsonl")).unwrap();
    for flag in ignored.iter().filter(|word| word.starts_with("--")) {
        assert!(events.contains(&format!("{flag} is without effect: ")), "{flag}: {events}");
    }
    assert!(ran.stderr.contains("the server of head"), "{}", ran.stderr);
    assert!(ran.stderr.contains("boom"), "{}", ran.stderr);
    assert!(ran.stderr.contains("-head/server.log"), "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
}

#[test]
fn a_head_that_dies_under_load_is_no_evidence() {
    let session = Session::new();
    let ran = session.run(&["--head-args", "--sim-fault crash:10", "--budget", "45s"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    let report = report(&ran);
    assert!(report["sides"]["head"]["crash"].is_string());
    assert!(report["sides"]["base"]["crash"].is_null());
}

/// A machine without room for two: the second server finds the first one's mark, and fails.
#[test]
fn where_two_servers_do_not_fit_they_take_turns() {
    use std::os::unix::fs::PermissionsExt;
    let session = Session::new();
    let script = session.folder.path().join("greedy");
    let lock = session.folder.path().join("memory");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--help*|*--version*) exec \"{ours}\" sim \"$@\";; esac\n\
         mkdir \"{lock}\" 2>/dev/null || {{ echo 'unable to allocate buffer' >&2; exit 1; }}\n\
         trap 'kill -INT $child; wait $child; rmdir \"{lock}\"; exit 0' INT TERM\n\
         \"{ours}\" sim \"$@\" & child=$!\nwait $child; rmdir \"{lock}\"\n",
        ours = env!("CARGO_BIN_EXE_bench-ci"),
        lock = lock.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let ran = session.run(&[
        "--base-server",
        script,
        "--head-server",
        script,
        "--base-args",
        "--alias one",
        "--model",
        "synthetic",
        "--budget",
        "20s",
        "--pairs",
        "2",
    ]);
    let report = report(&ran);
    assert_eq!(report["design"]["kind"], "restart", "{}", ran.stderr);
    assert!(report["design"]["restart_reason"].as_str().unwrap().contains("starts alone"));
    assert!(!report["trials"].as_array().unwrap().is_empty(), "{}", ran.stderr);
}
