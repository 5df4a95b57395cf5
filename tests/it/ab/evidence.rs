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

#[test]
fn failures_of_a_warm_up_are_in_no_figure_and_told_all_the_same() {
    let session = Session::new();
    let cold = "--sim-fault error-before --sim-fault-at 1";
    let ran = session.run(&["--head-args", cold, "--budget", "10s", "--pairs", "2"]);
    let report = report(&ran);
    assert_eq!(report["sides"]["head"]["failed"], 0, "{}", ran.stderr);
    let trials = report["trials"].as_array().unwrap();
    assert!(!trials.is_empty(), "{}", ran.stderr);
    for trial in trials {
        let expected = u64::from(trial["side"] == "head");
        assert_eq!(trial["warmup"]["failed"], expected, "{trial}");
    }
    let starts = trials.len() / 2;
    let words = format!("base 0, head {starts}");
    let with = |list: &str, key: &str, name: &str| {
        let found = report[list].as_array().unwrap().iter().find(|one| one[key] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", report[list])).clone()
    };
    let check = with("checks", "name", "warmed_up");
    assert_eq!(check["ok"], false);
    assert!(check["detail"].as_str().unwrap().ends_with(&words), "{check}");
    let warning = with("warnings", "code", "warm_up_failed");
    assert!(warning["message"].as_str().unwrap().contains(&words), "{warning}");
}

/// One side is no simulator, as far as anybody can see from outside.
#[test]
fn each_side_is_said_to_be_what_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let session = Session::new();
    let script = session.folder.path().join("server");
    let text = format!("#!/bin/sh\nexec '{}' sim \"$@\"\n", env!("CARGO_BIN_EXE_bench-ci"));
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let real = script.to_str().unwrap();
    for (base, head, words) in [
        (real, "sim", "; head is the simulator (bench-ci sim), no real server"),
        ("sim", real, "; base is the simulator (bench-ci sim), no real server"),
    ] {
        let ran = session.run(&[
            "--base-server",
            base,
            "--head-server",
            head,
            "--model",
            "synthetic",
            "--budget",
            "8s",
            "--pairs",
            "1",
        ]);
        let kinds = ["base", "head"].map(|side| report(&ran)["sides"][side]["kind"].clone());
        let kind = |server: &str| if server == "sim" { "sim" } else { "llama-server" };
        assert_eq!(kinds, [kind(base), kind(head)], "{}", ran.stderr);
        let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
        assert!(page.lines().next().unwrap().contains(words), "{page}");
    }
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
