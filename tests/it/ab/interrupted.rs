//! A session that is stopped, killed or out of time before it is through: what it leaves, and what it is not
//! carried on with.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Session, report, send, sound};
use crate::hub_server::{Behaviour, HubServer};

/// The budget is the user's; that it is short says nothing about the server.
#[test]
fn a_server_that_needs_more_time_than_there_is_has_not_failed() {
    let session = Session::new();
    let ran = session.run(&["--aa", "--budget", "8s", "--", "--sim-fault", "slow-load:60000"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("the budget of 8 s was spent"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("not healthy"), "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
}

#[test]
fn a_model_that_does_not_come_does_not_overrun_the_budget() {
    let hub = HubServer::start();
    hub.add("o/n", "m.gguf", b"GGUF");
    hub.behave(Behaviour { hang: true, ..Behaviour::default() });
    let session = Session::new();
    let model = ["--aa", "--hf-repo", "o/n", "--hf-file", "m.gguf", "--budget", "6s"];
    let mut command = session.command(&model);
    command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", session.folder.path().join("hub"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Not 6, which is what it would leave with after minutes.
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("the budget of 6 s was spent"), "{stderr}");
    sound(&session.kept(), &session.out());
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_a_second_one_does_not_wait() {
    let session = Session::new();
    let mut child =
        session.command(&["--aa", "--budget", "120s", "--restart-mode"]).spawn().unwrap();
    session.wait_for(&mut child, 1);
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kept = session.kept();
    assert_eq!(kept["run"]["status"], "partial");
    assert_eq!(kept["run"]["exit_code"], 130);
    assert_eq!(kept["design"]["stopped_because"], "interrupted");
    assert!(kept["trials"].as_array().unwrap().len() >= 2);
    assert!(session.out().join("ab-state.json").is_file(), "--resume finds it");

    let session = Session::new();
    let stubborn =
        ["--stop-grace", "300s", "--base-args", "--sim-fault refuse-stop", "--head-args"];
    let stubborn = [&stubborn[..], &["--sim-fault refuse-stop", "--budget", "600s"]].concat();
    let mut child = session.command(&stubborn).spawn().unwrap();
    let begun = Instant::now();
    while !session.out().join("trials").is_dir() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    send(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(60), "the grace of 300 s was waited for");
}

#[test]
fn a_session_is_not_carried_on_with_another_variable_or_dataset() {
    let session = Session::new();
    let prompts = session.folder.path().join("prompts.txt");
    std::fs::write(&prompts, "What is a tide?\nWhat is a wave?\n").unwrap();
    let arguments = |variable: &'static str| {
        let sides = ["--head-env", variable, "--dataset", "prompts.txt", "--restart-mode"];
        [&sides[..], &["--pairs", "2", "--budget", "120s"]].concat()
    };
    let mut child = session.command(&arguments("X=2")).spawn().unwrap();
    session.wait_for(&mut child, 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = |variable: &'static str, what: &str| {
        let ran = session.run(&[&arguments(variable)[..], &["--resume"]].concat());
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(what), "no {what} in {}", ran.stderr);
    };
    refused("X=4", "\"head.env.X\"");
    std::fs::write(&prompts, "What is a current?\n").unwrap();
    refused("X=2", "\"base.files.dataset.");
}
