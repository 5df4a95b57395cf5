//! `--hf-repo` and `--dataset sharegpt` through the real binary, from a Hub on the loopback.

use std::process::Command;

use bench_ci::cancel::Cancel;
use bench_ci::event::Events;
use bench_ci::model::synthetic;

use super::{Bench, Ran, real_server};
use crate::hub_server::{Behaviour, COMMIT, HubServer, Refusal, sha256};

const REPO: &str = "ggml-org/models";
const FILE: &str = "tiny/model.gguf";

/// A small GGUF that a real server loads.
pub(crate) fn tiny_gguf() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let shape = "tiny".parse().unwrap();
    synthetic::make(&shape, &path, &Events::default(), &Cancel::never()).unwrap();
    std::fs::read(&path).unwrap()
}

/// A ShareGPT-shaped file of so many conversations that pass bench.py's filter.
pub(crate) fn sharegpt(conversations: usize) -> String {
    let talk = |number: usize| {
        serde_json::json!({ "id": format!("c{number}"), "conversations": [
            { "from": "human", "value": format!("Please tell me fact number {number} about the sea") },
            { "from": "gpt", "value": "The sea is deep and it is wide and it is salt" },
        ]})
    };
    serde_json::Value::Array((0..conversations).map(talk).collect()).to_string()
}

/// The command, with this Hub in its environment.
pub(crate) fn with_hub(bench: &Bench, hub: &HubServer, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    command.env("HF_ENDPOINT", hub.url());
    command
}

fn play(bench: &Bench, hub: &HubServer, server: &str) -> Ran {
    let model = ["--server", server, "--hf-repo", REPO, "--hf-file", FILE];
    let load = ["--n-prompts", "4", "--max-tokens", "4", "--warm-up", "0", "--max-lateness", "1"];
    let quick = ["--scenario", "./brisk.toml", "--parallel", "2", "--out-dir", "out"];
    bench.finish("out", with_hub(bench, hub, &[&model[..], &load, &quick].concat()))
}

/// GET requests for a body since the last look.
fn bodies(hub: &HubServer) -> usize {
    let log = hub.take_log();
    log.iter().filter(|asked| asked.method == "GET" && asked.at == "storage").count()
}

#[test]
fn a_model_is_downloaded_once_with_progress_and_named_with_its_commit() {
    let (bench, hub, bytes) = (Bench::new(), HubServer::start(), tiny_gguf());
    hub.add(REPO, FILE, &bytes);
    let ran = play(&bench, &hub, &real_server()).checked(0);
    assert_eq!(bodies(&hub), 1);
    let last = format!("{} of {}", size(&bytes), size(&bytes));
    assert!(ran.stderr.contains(&format!("model.gguf: {last}")), "{}", ran.stderr);
    let model = &ran.report()["model"];
    assert_eq!(model["hf_repo"], REPO);
    assert_eq!(model["hf_file"], FILE);
    assert_eq!(model["revision"], COMMIT);
    assert_eq!(model["sha256"], sha256(&bytes));
    assert_eq!(model["size_bytes"], bytes.len());

    let again = play(&bench, &hub, "sim").checked(0);
    assert_eq!(bodies(&hub), 0, "the second run downloads nothing");
    assert_eq!(again.report()["model"]["sha256"], sha256(&bytes));

    // With the Hub gone the cache is enough.
    drop(hub);
    let gone = HubServer::start();
    gone.behave(Behaviour { refuse: Some(Refusal::always(503, "")), ..Behaviour::default() });
    let offline = play(&bench, &gone, "sim");
    assert_eq!(offline.exit, 0, "{}", offline.stderr);
}

/// As the progress lines write it.
fn size(bytes: &[u8]) -> String {
    format!("{:.2} KiB", bytes.len() as f64 / 1024.0)
}

/// Exit code 6, the cure in words, and a later run that takes nothing for whole.
fn check_failure(name: &str, behaviour: Behaviour, words: &str, hint: &str) {
    let (bench, hub, bytes) = (Bench::new(), HubServer::start(), tiny_gguf());
    hub.add(REPO, FILE, &bytes);
    hub.behave(behaviour);
    let ran = play(&bench, &hub, "sim");
    assert_eq!(ran.exit, 6, "{name}: {}", ran.stderr);
    let said: Vec<&str> = ran.stderr.lines().rev().take(2).collect();
    assert!(said[1].starts_with("error: ") && said[1].contains(words), "{name}: {said:?}");
    assert!(said[0].starts_with("hint: ") && said[0].contains(hint), "{name}: {said:?}");
    let first = ran.first_line();
    assert!(first.starts_with("**Failed:** nothing was measured: "), "{name}: {first}");
    let report = ran.report();
    assert_eq!(report["run"]["exit_code"], 6, "{name}");
    assert_eq!(super::schema_violations(&report), [""; 0], "{name}");
    assert_eq!(bench_ci::artifact::unexplained_nulls(&report), [""; 0], "{name}");

    hub.take_log();
    hub.behave(Behaviour::default());
    let again = play(&bench, &hub, "sim").checked(0);
    assert_eq!(bodies(&hub), 1, "{name}: the rest, or all of it, is fetched");
    assert_eq!(again.report()["model"]["sha256"], sha256(&bytes), "{name}");
}

fn refused(status: u16, code: &'static str) -> Behaviour {
    Behaviour { refuse: Some(Refusal::always(status, code)), ..Behaviour::default() }
}

#[test]
fn a_model_that_may_not_be_had_is_exit_code_6() {
    check_failure("401", refused(401, ""), "(status 401)", "HF_TOKEN");
    check_failure("404", refused(404, "EntryNotFound"), FILE, "");
    check_failure("repository", refused(404, "RepoNotFound"), "no such repository", "--hf-repo");
}

#[test]
fn a_hub_that_is_busy_or_broken_is_exit_code_6() {
    let limited = Refusal { retry_after: Some(3600), ..Refusal::always(429, "") };
    let limited = Behaviour { refuse: Some(limited), ..Behaviour::default() };
    check_failure("429", limited, "3600 s", "");
    check_failure("500", refused(500, ""), "status 500", "again");
}

#[test]
fn a_cut_or_wrong_transfer_is_exit_code_6_and_never_taken_for_whole() {
    let cut = Behaviour { cut_after_bytes: Some((1000, u32::MAX)), ..Behaviour::default() };
    check_failure("cut", cut, "cut after", "resumed");
    let longer = [&tiny_gguf()[..], b"more"].concat();
    let wrong = Behaviour { served: Some(longer), ..Behaviour::default() };
    check_failure("wrong size", wrong, FILE, "");
}

#[test]
fn the_public_dataset_comes_from_the_hub_once() {
    let (bench, hub) = (Bench::new(), HubServer::start());
    let (repo, file) = (bench_ci::dataset::SHAREGPT.repo, bench_ci::dataset::SHAREGPT.file);
    hub.add(&format!("datasets/{repo}"), &file, sharegpt(40).as_bytes());
    let run = || {
        let flags = ["--server", "sim", "--parallel", "2", "--scenario", "./brisk.toml"];
        let load = ["--dataset", "sharegpt", "--n-prompts", "8", "--max-lateness", "1"];
        let arguments = [&flags[..], &load, &["--out-dir", "out"]].concat();
        bench.finish("out", with_hub(&bench, &hub, &arguments)).checked(0)
    };
    let first = run();
    assert_eq!(bodies(&hub), 1);
    assert!(first.stderr.contains(&*file), "{}", first.stderr);
    let second = run();
    assert_eq!(bodies(&hub), 0, "the second run downloads nothing");
    let hash = |ran: &Ran| ran.report()["scenario"]["workload_hash"].clone();
    assert_eq!(hash(&first), hash(&second));
    let dataset = first.report()["scenario"]["dataset"].to_string();
    assert!(dataset.contains("sharegpt"), "{dataset}");

    hub.behave(refused(503, ""));
    let fresh = Bench::new();
    let flags = ["--server", "sim", "--dataset", "sharegpt", "--out-dir", "out"];
    let ran = fresh.finish("out", with_hub(&fresh, &hub, &flags));
    assert_eq!(ran.exit, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}
