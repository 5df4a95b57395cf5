//! Models from the Hub where all goes well in the end: cached, resumed, split, offline.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bench_ci::cancel::{self, Cancel, StopReason};
use bench_ci::dataset::HubFile;
use bench_ci::event::{Event, Events};
use bench_ci::exit::ExitCode;
use bench_ci::model::{HubFault, ModelError, fetch_dataset_file_in, resolve_in};

use super::{Bench, FILE, REPO, fault, tiny_gguf};
use crate::hub_server::{Behaviour, COMMIT, HubServer, Refusal, sha256};

#[tokio::test]
async fn a_model_is_downloaded_once_with_progress_and_then_cached() {
    let bench = Bench::new();
    let model = bench.get().await.unwrap();
    assert!(bench.is_right(&model));
    let size = bench.bytes.len() as u64;
    assert_eq!((model.size_bytes, model.downloaded_bytes), (size, size));
    assert_eq!(model.revision.as_deref(), Some(COMMIT));
    assert_eq!(model.source, "hub");
    assert_eq!(model.sha256, Some(sha256(&bench.bytes)));
    assert_eq!(model.gguf.as_ref().unwrap().quantization, "Q8_0");
    assert_eq!(bench.bodies().iter().map(|it| it.sent_bytes).max(), Some(size));

    let transfers: Vec<(u64, Option<u64>)> = bench
        .told
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Transfer { bytes, total_bytes, .. } => Some((*bytes, *total_bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(transfers.first(), Some(&(0, Some(size))));
    assert_eq!(transfers.last(), Some(&(size, Some(size))));
    assert!(transfers.is_sorted());

    let again = bench.get().await.unwrap();
    assert_eq!(again.path, model.path);
    assert_eq!(again.downloaded_bytes, 0);
    assert_eq!(bench.bodies(), [], "the second run downloads nothing");
    assert_eq!(again.sha256, None, "an old file is not believed without reading it");
    assert_eq!(again.digest().await.unwrap(), sha256(&bench.bytes));
}

#[tokio::test]
async fn the_cache_has_the_layout_of_all_hub_tools() {
    let bench = Bench::new();
    let model = bench.get().await.unwrap();
    let repo = bench.repo_folder();
    assert_eq!(model.path, repo.join("snapshots").join(COMMIT).join(FILE));
    let pointer = std::fs::read_link(&model.path).unwrap();
    assert_eq!(pointer, Path::new("../../../blobs").join(sha256(&bench.bytes)));
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert!(!bench.incomplete().exists());

    // hf-hub itself finds it there, and vice versa.
    let found = hf_hub::HFClient::builder()
        .cache_dir(&bench.environment.hub_cache)
        .endpoint(bench.hub.url())
        .build()
        .unwrap()
        .model("ggml-org", "models")
        .download_file()
        .filename(FILE)
        .send()
        .await
        .unwrap();
    assert_eq!(found, model.path);
    bench.hub.take_log();
    assert_eq!(bench.get().await.unwrap().downloaded_bytes, 0);
    assert_eq!(bench.bodies(), []);
}

#[tokio::test]
async fn a_revision_with_a_slash_is_one_name_on_the_hub_and_a_path_in_the_cache() {
    let bench = Bench::new();
    let source = Bench::source(FILE, Some("refs/pr/1"));
    assert!(bench.is_right(&bench.ask(&source, None).await.unwrap()));
    let reference = bench.repo_folder().join("refs/refs/pr/1");
    assert_eq!(std::fs::read_to_string(reference).unwrap(), COMMIT);
}

#[tokio::test]
async fn a_cached_commit_needs_no_request_at_all() {
    let bench = Bench::new();
    let source = Bench::source(FILE, Some(COMMIT));
    bench.ask(&source, None).await.unwrap();
    bench.hub.take_log();
    let again = bench.ask(&source, None).await.unwrap();
    assert_eq!(again.revision.as_deref(), Some(COMMIT));
    assert_eq!(bench.hub.take_log(), []);
}

#[tokio::test]
async fn without_a_hub_the_cached_model_is_used_and_said_so() {
    let mut bench = Bench::new();
    bench.get().await.unwrap();
    // A port that was free a moment ago, with nobody listening.
    let gone = HubServer::start().url();
    bench.environment.hub_endpoint = gone;
    let model = bench.get().await.unwrap();
    assert_eq!(model.downloaded_bytes, 0);
    assert_eq!(model.revision.as_deref(), Some(COMMIT));
    let warnings = bench.warnings();
    assert!(warnings[0].contains("using the cached file"), "{warnings:?}");
    assert!(warnings[0].contains("cannot be reached"), "{warnings:?}");
}

#[tokio::test]
async fn a_hub_that_fails_or_limits_lets_the_cached_model_be_used() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    for status in [401, 429, 503] {
        let refuse = Some(Refusal::always(status, ""));
        bench.hub.behave(Behaviour { refuse, ..Behaviour::default() });
        assert_eq!(bench.get().await.unwrap().downloaded_bytes, 0, "{status}");
    }
    assert_eq!(bench.warnings().len(), 3);
}

#[tokio::test]
async fn offline_asks_nothing_and_says_what_is_missing() {
    let mut bench = Bench::new();
    bench.environment.hub_offline = true;
    let error = bench.get().await.unwrap_err();
    assert!(matches!(fault(&error), HubFault::Offline { .. }), "{error}");
    assert!(error.hint().unwrap().contains("unset HF_HUB_OFFLINE"));

    bench.environment.hub_offline = false;
    bench.get().await.unwrap();
    bench.hub.take_log();
    bench.environment.hub_offline = true;
    assert!(bench.is_right(&bench.get().await.unwrap()));
    assert_eq!(bench.hub.take_log(), []);
}

#[tokio::test]
async fn a_cut_transfer_is_resumed_where_it_ended() {
    let bench = Bench::new();
    bench.hub.behave(Behaviour { cut_after_bytes: Some((100_000, 2)), ..Behaviour::default() });
    let model = bench.get().await.unwrap();
    assert!(bench.is_right(&model));
    assert_eq!(model.downloaded_bytes, bench.bytes.len() as u64, "no byte came twice");
    let ranges: Vec<_> =
        bench.bodies().into_iter().filter(|it| it.at == "storage").map(|it| it.range).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned()), Some("bytes=200000-".to_owned())]);
}

#[tokio::test]
async fn an_interrupted_run_is_resumed_by_the_next_one() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.blob().parent().unwrap()).unwrap();
    std::fs::write(bench.incomplete(), &bench.bytes[..150_000]).unwrap();
    let model = bench.get().await.unwrap();
    assert!(bench.is_right(&model));
    assert_eq!(model.downloaded_bytes, bench.bytes.len() as u64 - 150_000);
    assert!(!bench.incomplete().exists());
}

#[tokio::test]
async fn a_run_that_died_before_the_rename_asks_for_no_body() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.blob().parent().unwrap()).unwrap();
    std::fs::write(bench.incomplete(), &bench.bytes).unwrap();
    assert!(bench.is_right(&bench.get().await.unwrap()));
    assert_eq!(bench.bodies(), []);
}

#[tokio::test]
async fn leftovers_that_are_not_the_beginning_are_thrown_away() {
    for leftover in [vec![7; 1000], vec![7; tiny_gguf().len()], vec![7; 10_000_000]] {
        let bench = Bench::new();
        std::fs::create_dir_all(bench.blob().parent().unwrap()).unwrap();
        std::fs::write(bench.incomplete(), &leftover).unwrap();
        assert!(bench.is_right(&bench.get().await.unwrap()), "{} bytes", leftover.len());
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_for_the_whole_again() {
    let bench = Bench::new();
    let behaviour =
        Behaviour { no_ranges: true, cut_after_bytes: Some((100_000, 1)), ..Behaviour::default() };
    bench.hub.behave(behaviour);
    assert!(bench.is_right(&bench.get().await.unwrap()));
}

#[tokio::test]
async fn files_without_redirect_without_length_or_without_digest_are_had_too() {
    for behaviour in [
        Behaviour { no_redirect: true, ..Behaviour::default() },
        Behaviour { chunked: true, ..Behaviour::default() },
        Behaviour { no_redirect: true, git_etags: true, ..Behaviour::default() },
        Behaviour { chunked: true, cut_after_bytes: Some((5000, 1)), ..Behaviour::default() },
        Behaviour { xet: true, ..Behaviour::default() },
        Behaviour {
            renamed: Some((REPO.to_owned(), "ggml-org/renamed".to_owned())),
            ..Behaviour::default()
        },
    ] {
        let bench = Bench::new();
        bench.hub.add("ggml-org/renamed", FILE, &bench.bytes);
        bench.hub.behave(behaviour.clone());
        let model = bench.get().await.unwrap_or_else(|error| panic!("{behaviour:?}: {error}"));
        assert!(bench.is_right(&model), "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_xet_storage_that_fails_is_replaced_by_plain_http_and_said_so() {
    let bench = Bench::new();
    bench.hub.behave(Behaviour { xet: true, ..Behaviour::default() });
    assert!(bench.is_right(&bench.get().await.unwrap()));
    assert!(bench.warnings()[0].contains("over plain HTTP"), "{:?}", bench.warnings());
}

#[tokio::test]
async fn a_blob_that_another_tool_left_short_is_replaced() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    std::fs::write(bench.blob(), &bench.bytes[..1000]).unwrap();
    let model = bench.get().await.unwrap();
    assert!(bench.is_right(&model));
    assert!(model.downloaded_bytes > 0);
}

#[tokio::test]
async fn a_cached_file_of_the_right_size_and_wrong_bytes_is_found_out_by_its_digest() {
    let bench = Bench::new();
    bench.get().await.unwrap();
    let mut damaged = bench.bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(bench.blob(), damaged).unwrap();
    let model = bench.get().await.unwrap();
    let error = model.digest().await.unwrap_err();
    assert!(matches!(error, ModelError::CachedDigest { .. }), "{error}");
    assert!(error.hint().unwrap().contains("delete"));
}

#[tokio::test]
async fn a_split_model_is_fetched_whole_whichever_part_is_named() {
    let bench = Bench::new();
    let parts: Vec<String> = (1..=3).map(|part| format!("s/m-0000{part}-of-00003.gguf")).collect();
    for part in &parts {
        bench.hub.add(REPO, part, &bench.bytes);
    }
    let model = bench.ask(&Bench::source(&parts[1], None), None).await.unwrap();
    assert!(model.path.ends_with(&parts[0]));
    assert_eq!(model.parts.len(), 3);
    assert!(model.parts.iter().zip(&parts).all(|(path, name)| path.ends_with(name)));
    assert_eq!(model.size_bytes, 3 * bench.bytes.len() as u64);
    assert_eq!(model.gguf.as_ref().unwrap().part_count, 3);
    assert_eq!(model.hf_file.as_deref(), Some(parts[1].as_str()));

    let lines = format!("{}\n", sha256(&bench.bytes)).repeat(3);
    assert_eq!(model.digest().await.unwrap(), sha256(lines.as_bytes()));
    bench.hub.take_log();
    let again = bench.ask(&Bench::source(&parts[2], None), None).await.unwrap();
    assert_eq!(again.digest().await.unwrap(), sha256(lines.as_bytes()));
    assert_eq!(bench.bodies(), []);
}

#[tokio::test]
async fn a_split_model_with_a_missing_part_names_it() {
    let bench = Bench::new();
    bench.hub.add(REPO, "m-00001-of-00002.gguf", &bench.bytes);
    let error = bench.ask(&Bench::source("m-00001-of-00002.gguf", None), None).await.unwrap_err();
    assert!(error.to_string().contains("\"m-00002-of-00002.gguf\""), "{error}");
    assert_eq!(bench.bodies(), [], "no part is fetched in vain");
}

#[tokio::test]
async fn a_folder_of_models_has_the_same_guarantees() {
    let mut bench = Bench::new();
    let folder = bench.folder.path().join("models");
    let source = Bench::source(FILE, None);

    bench.hub.behave(Behaviour { cut_after_bytes: Some((1000, 99)), ..Behaviour::default() });
    bench.ask(&source, Some(&folder)).await.unwrap_err();
    assert!(!folder.join(FILE).exists(), "half a file has no name");
    bench.hub.behave(Behaviour::default());
    let model = bench.ask(&source, Some(&folder)).await.unwrap();
    assert_eq!(model.path, folder.join(FILE));
    assert!(bench.is_right(&model));
    assert_eq!(model.downloaded_bytes, bench.bytes.len() as u64 - 4000, "it was resumed");

    bench.hub.take_log();
    let again = bench.ask(&source, Some(&folder)).await.unwrap();
    assert_eq!((again.downloaded_bytes, again.revision.as_deref()), (0, Some(COMMIT)));
    assert_eq!(bench.bodies(), []);

    // Put there by hand: its bytes tell that it is the one.
    std::fs::remove_dir_all(folder.join(".cache")).unwrap();
    assert_eq!(bench.ask(&source, Some(&folder)).await.unwrap().downloaded_bytes, 0);
    // Another file under the same name is replaced.
    std::fs::write(folder.join(FILE), vec![0; bench.bytes.len()]).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    std::fs::File::open(folder.join(FILE)).unwrap().set_modified(later).unwrap();
    assert!(bench.is_right(&bench.ask(&source, Some(&folder)).await.unwrap()));

    bench.environment.hub_endpoint = HubServer::start().url();
    let model = bench.ask(&source, Some(&folder)).await.unwrap();
    assert_eq!(model.revision.as_deref(), Some(COMMIT));
    assert_eq!(bench.warnings().len(), 1);
}

/// As a cache is that jobs may only read: what it has it has under an older commit, and the name of the
/// newer one cannot be made. A file in the place of its folder stops root too.
fn read_only_since(bench: &Bench, older: Option<&str>) {
    let snapshots = bench.repo_folder().join("snapshots");
    match older {
        Some(older) => std::fs::rename(snapshots.join(COMMIT), snapshots.join(older)).unwrap(),
        None => std::fs::remove_dir_all(snapshots.join(COMMIT)).unwrap(),
    }
    std::fs::write(snapshots.join(COMMIT), "").unwrap();
    std::fs::write(bench.repo_folder().join("refs/main"), older.unwrap_or_default()).unwrap();
}

const OLDER: &str = "fedcba9876543210fedcba9876543210fedcba98";

#[tokio::test]
async fn a_cache_that_cannot_be_written_to_gives_what_it_has() {
    for older in [Some(OLDER), None] {
        let bench = Bench::new();
        bench.get().await.unwrap();
        bench.hub.take_log();
        read_only_since(&bench, older);
        let model = bench.get().await.unwrap();
        assert!(bench.is_right(&model));
        assert_eq!(bench.bodies(), [], "nothing is fetched again");
        assert_eq!(model.digest().await.unwrap(), sha256(&bench.bytes));
        let under = |older: &str| bench.repo_folder().join("snapshots").join(older).join(FILE);
        assert_eq!(model.path, older.map_or_else(|| bench.blob(), under));
        let warnings = bench.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("its name cannot be made: cannot write"), "{warnings:?}");
    }
}

#[tokio::test]
async fn parts_in_a_cache_that_cannot_be_written_to_are_used_together_or_not_at_all() {
    let parts: Vec<String> = (1..=2).map(|part| format!("m-0000{part}-of-00002.gguf")).collect();
    for (older, lost) in [(Some(OLDER), false), (Some(OLDER), true), (None, false)] {
        let bench = Bench::new();
        parts.iter().for_each(|part| bench.hub.add(REPO, part, &bench.bytes));
        let source = Bench::source(&parts[0], None);
        bench.ask(&source, None).await.unwrap();
        read_only_since(&bench, older);
        let folder = bench.repo_folder().join("snapshots").join(OLDER);
        if lost {
            std::fs::remove_file(folder.join(&parts[1])).unwrap();
        }
        let model = bench.ask(&source, None).await;
        if older.is_some() && !lost {
            assert_eq!(model.unwrap().path, folder.join(&parts[0]));
        } else {
            // The names of the blobs say nothing of a second part.
            assert_eq!(model.unwrap_err().exit_code(), ExitCode::Model);
        }
    }
}

#[tokio::test]
async fn a_folder_that_takes_no_note_gives_the_file_that_was_put_there() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("models");
    std::fs::create_dir_all(folder.join(FILE).parent().unwrap()).unwrap();
    std::fs::write(folder.join(FILE), &bench.bytes).unwrap();
    std::fs::write(folder.join(".cache"), "").unwrap();
    let model = bench.ask(&Bench::source(FILE, None), Some(&folder)).await.unwrap();
    assert_eq!((model.path.clone(), model.downloaded_bytes), (folder.join(FILE), 0));
    assert_eq!(bench.bodies(), []);
    assert_eq!(bench.warnings().len(), 1, "{:?}", bench.warnings());
}

#[tokio::test]
async fn two_runs_at_once_download_once() {
    let bench = Bench::new();
    let (first, second) = tokio::join!(bench.get(), bench.get());
    assert!(bench.is_right(&first.unwrap()) && bench.is_right(&second.unwrap()));
    let bodies = bench.bodies().into_iter().filter(|it| it.at == "storage").count();
    assert_eq!(bodies, 1);
}

#[tokio::test]
async fn a_stopped_download_ends_at_once_and_is_resumed_later() {
    let bench = Bench::new();
    bench.hub.behave(Behaviour { hang: true, ..Behaviour::default() });
    let (canceller, cancel) = cancel::pair();
    let source = Bench::source(FILE, None);
    let events = Events::default();
    let download = resolve_in(&source, None, &bench.environment, &events, &cancel);
    let stop = async {
        while bench.hub.take_log().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        canceller.stop(StopReason::Terminated);
    };
    let (outcome, ()) = tokio::join!(download, stop);
    let error = outcome.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Terminated);
    bench.hub.behave(Behaviour::default());
    assert!(bench.is_right(&bench.get().await.unwrap()));
}

#[tokio::test]
async fn a_file_of_a_dataset_is_had_the_same_way() {
    let bench = Bench::new();
    let file =
        HubFile { repo: "owner/prompts".into(), file: "prompts.json".into(), revision: None };
    bench.hub.add("datasets/owner/prompts", &file.file, b"[]");
    let get = || async {
        let events = Events::default();
        fetch_dataset_file_in(file.clone(), &bench.environment, &events, &Cancel::never()).await
    };
    let fetched = get().await.unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"[]");
    assert_eq!(fetched.sha256, Some(sha256(b"[]")));
    let folder = bench.environment.hub_cache.join("datasets--owner--prompts");
    assert!(fetched.path.starts_with(folder));
    bench.hub.take_log();
    assert_eq!(get().await.unwrap(), fetched);
    assert_eq!(bench.bodies(), []);

    std::fs::remove_dir_all(&bench.environment.hub_cache).unwrap();
    let refuse = Some(Refusal::always(404, "RepoNotFound"));
    bench.hub.behave(Behaviour { refuse, ..Behaviour::default() });
    let error = get().await.unwrap_err();
    assert!(error.hint.is_some_and(|hint| hint.contains("--dataset builtin")));
}
