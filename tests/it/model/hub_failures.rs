//! Models from the Hub where it does not go well: every failure in words, with nothing left behind.

use std::time::Duration;

use bench_ci::cancel::Cancel;
use bench_ci::event::Events;
use bench_ci::exit::ExitCode;
use bench_ci::model::{HubFault, ModelError, resolve_in};
use bench_ci::plan::{ModelSource, Secret};

use super::{Bench, FILE, REPO, fault, tiny_gguf};
use crate::hub_server::{Behaviour, HubServer, Refusal};

/// One failure: the error in words, nothing kept that passes for whole, and a cure afterwards.
async fn check_failure(name: &str, behaviour: Behaviour, words: &str, hint: &str) {
    let bench = Bench::new();
    bench.hub.behave(behaviour);
    let error = bench.get().await.expect_err(name);
    let text = error.to_string();
    let expected = format!("cannot get \"{FILE}\" of \"{REPO}\" from {}: ", bench.hub.url());
    assert!(text.starts_with(&expected), "{name}: {text}");
    assert!(text.contains(words), "{name}: {text}");
    let told = error.hint().unwrap_or_default();
    assert!(told.contains(hint), "{name}: {told}");
    assert_eq!(error.exit_code(), ExitCode::Model, "{name}");
    assert!(!bench.blob().exists(), "{name}: a blob");
    assert!(!bench.repo_folder().join("snapshots").exists(), "{name}: a pointer");

    let mut offline = bench.environment.clone();
    offline.hub_offline = true;
    let source = Bench::source(FILE, None);
    let events = Events::default();
    let later = resolve_in(&source, None, &offline, &events, &Cancel::never()).await;
    assert!(later.is_err(), "{name}: a later run took something for whole");

    bench.hub.behave(Behaviour::default());
    let model = bench.get().await.unwrap_or_else(|error| panic!("{name}, then: {error}"));
    assert!(bench.is_right(&model), "{name}");
}

#[tokio::test]
async fn every_failure_says_what_to_do_and_leaves_nothing_that_passes_for_whole() {
    let good = Behaviour::default;
    let refuse = |status, code| Behaviour { refuse: Some(Refusal::always(status, code)), ..good() };
    let bytes = tiny_gguf();
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    let served = |bytes: &[u8]| Behaviour { served: Some(bytes.to_vec()), ..good() };
    let longer = [&bytes[..], b"more"].concat();
    let limited = |seconds| Behaviour {
        refuse: Some(Refusal { retry_after: Some(seconds), ..Refusal::always(429, "") }),
        ..good()
    };

    check_failure("401", refuse(401, ""), "wants a token (status 401)", "set HF_TOKEN").await;
    check_failure("403", refuse(403, ""), "forbids it (status 403)", "set HF_TOKEN").await;
    check_failure("gated", refuse(403, "GatedRepo"), "is gated (status 403)", "accept the terms")
        .await;
    check_failure("repo", refuse(404, "RepoNotFound"), "no such repository", "--hf-repo").await;
    check_failure("private", refuse(401, "RepoNotFound"), "or it is private", "set HF_TOKEN").await;
    check_failure("revision", refuse(404, "RevisionNotFound"), "no such revision", "main").await;
    check_failure("429", refuse(429, ""), "after 4 attempts", "set HF_TOKEN for a higher").await;
    check_failure("429 now", limited(0), "each time asking to wait 0 s", "HF_TOKEN").await;
    check_failure("429 long", limited(3600), "asks to wait 3600 s where at most 60 s", "wait")
        .await;
    check_failure("500", refuse(500, ""), "status 500 in each of 4 attempts", "run again").await;
    check_failure("503", refuse(503, ""), "status 503 in each of 4 attempts", "run again").await;
    check_failure("418", refuse(418, ""), "status 418", "run again").await;
    check_failure(
        "500 to GET alone",
        Behaviour { refuse_get_only: true, ..refuse(500, "") },
        "status 500",
        "run again",
    )
    .await;
    check_failure(
        "cut",
        Behaviour { cut_after_bytes: Some((1000, 99)), ..good() },
        "cut after 4000 of",
        "resumed",
    )
    .await;
    check_failure(
        "cut without ranges",
        Behaviour { cut_after_bytes: Some((1000, 99)), no_ranges: true, ..good() },
        "cut after 1000 of",
        "resumed",
    )
    .await;
    check_failure("longer length", Behaviour { length_lie: 9, ..good() }, "size is wrong", "")
        .await;
    check_failure("shorter", served(&bytes[..5000]), "wrong: 5000 bytes, expected", "proxy").await;
    check_failure("longer", served(&longer), "the size is wrong", "nothing was kept").await;
    check_failure(
        "longer in chunks",
        Behaviour { chunked: true, ..served(&longer) },
        "or more, expected the announced",
        "nothing was kept",
    )
    .await;
    check_failure(
        "shorter in chunks",
        Behaviour { chunked: true, no_ranges: true, ..served(&bytes[..5000]) },
        "cut after 5000 of",
        "resumed",
    )
    .await;
    check_failure("digest", served(&other), "its sha-256 is", "nothing was kept").await;
    check_failure(
        "no Hub",
        Behaviour { no_hub_headers: true, ..good() },
        "not a Hub's: it has no X-Repo-Commit header",
        "HF_ENDPOINT",
    )
    .await;
}

#[tokio::test]
async fn a_wrong_length_header_without_a_redirect_is_a_cut_transfer() {
    // HEAD announces the lie too, so only the early end of the body can tell.
    let behaviour = Behaviour {
        no_redirect: true,
        length_lie: 9,
        announced_bytes: Some(tiny_gguf().len() as u64 + 9),
        ..Behaviour::default()
    };
    check_failure("length", behaviour, "the transfer was cut", "resumed").await;
}

#[tokio::test]
async fn a_missing_file_revision_or_repository_is_named_even_without_error_codes() {
    let bench = Bench::new();
    for no_error_codes in [false, true] {
        bench.hub.behave(Behaviour { no_error_codes, ..Behaviour::default() });
        let error = bench.ask(&Bench::source("tiny/modle.gguf", None), None).await.unwrap_err();
        assert!(error.to_string().contains("no such file in the repository"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("the repository has \"tiny/model.gguf\""), "{hint}");
        assert!(!hint.contains("README"), "{hint}");

        let error = bench.ask(&Bench::source(FILE, Some("mian")), None).await.unwrap_err();
        assert!(error.to_string().contains("at \"mian\""), "{error}");
        assert_eq!(*fault(&error), HubFault::RevisionNotFound);

        let source = ModelSource::Hub {
            repo: "ggml-org/modles".to_owned(),
            file: FILE.to_owned(),
            revision: None,
        };
        let error = bench.ask(&source, None).await.unwrap_err();
        assert!(matches!(fault(&error), HubFault::RepoNotFound { .. }), "{error}");
    }
    let no_api = Behaviour { no_error_codes: true, no_api: true, ..Behaviour::default() };
    bench.hub.behave(no_api);
    let error = bench.ask(&Bench::source("x.gguf", None), None).await.unwrap_err();
    assert_eq!(*fault(&error), HubFault::NotFound);
}

#[tokio::test]
async fn a_passing_failure_is_waited_out() {
    for (status, retry_after) in [(429, Some(0)), (429, None), (503, None), (500, Some(0))] {
        let bench = Bench::new();
        let refuse = Some(Refusal { times: 2, retry_after, ..Refusal::always(status, "") });
        bench.hub.behave(Behaviour { refuse, ..Behaviour::default() });
        assert!(bench.is_right(&bench.get().await.unwrap()), "{status}");
    }
}

#[tokio::test]
async fn the_token_reaches_the_hub_alone_and_no_message() {
    let mut bench = Bench::new();
    bench.environment.hub_token = Some(Secret::new("hf_secret".to_owned()));
    let token = Some("hf_secret".to_owned());
    bench.hub.behave(Behaviour { token, ..Behaviour::default() });
    assert!(bench.is_right(&bench.get().await.unwrap()));
    for request in bench.hub.take_log() {
        let expected = (request.at == "hub").then(|| "Bearer hf_secret".to_owned());
        assert_eq!(request.authorization, expected, "{request:?}");
    }

    let mut bench = Bench::new();
    bench.environment.hub_token = Some(Secret::new("hf_secret".to_owned()));
    let message = "Bearer hf_secret is expired".to_owned();
    let refuse = Some(Refusal { message, ..Refusal::always(401, "") });
    bench.hub.behave(Behaviour { refuse, ..Behaviour::default() });
    let error = bench.get().await.unwrap_err();
    let text = format!("{error} {error:?} {:?}", error.hint());
    assert!(!text.contains("hf_secret"), "{text}");
    assert!(text.contains("refuses the token (status 401: \"Bearer *** is"), "{text}");
}

#[tokio::test]
async fn nobody_listening_and_no_such_name_are_told_apart_from_silence() {
    let mut bench = Bench::new();
    bench.environment.hub_endpoint = HubServer::start().url();
    let error = bench.get().await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached after 4 attempts"), "{error}");
    assert!(error.hint().unwrap().contains("HF_ENDPOINT"));

    bench.environment.hub_endpoint = "http://no-such-host.invalid".to_owned();
    bench.environment.proxy_variables = vec!["HTTPS_PROXY".to_owned()];
    bench.environment.hub_limits.attempts = 1;
    let error = bench.get().await.unwrap_err();
    assert!(matches!(fault(&error), HubFault::Unreachable { .. }), "{error}");
    assert!(error.hint().unwrap().contains("the proxy in HTTPS_PROXY"), "{:?}", error.hint());

    let mut bench = Bench::new();
    bench.environment.hub_limits.answer = Duration::from_millis(50);
    bench.hub.behave(Behaviour { hang: true, ..Behaviour::default() });
    let error = bench.get().await.unwrap_err();
    assert!(matches!(fault(&error), HubFault::TimedOut { .. }), "{error}");

    bench.environment.hub_endpoint = "huggingface.co".to_owned();
    let error = bench.get().await.unwrap_err();
    assert!(matches!(fault(&error), HubFault::BadEndpoint { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_no_disk_can_hold_is_refused_before_the_transfer() {
    let bench = Bench::new();
    let announced_bytes = Some(1 << 60);
    bench.hub.behave(Behaviour { announced_bytes, ..Behaviour::default() });
    let error = bench.get().await.unwrap_err();
    assert!(matches!(error, ModelError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(bench.bodies(), []);
}
