//! Models on disk and models made on the spot.

use bench_ci::exit::ExitCode;
use bench_ci::model::inspect;
use bench_ci::plan::ModelSource;

use super::Bench;
use crate::hub_server::sha256;

#[tokio::test]
async fn a_file_on_disk_is_used_as_it_is_and_its_digest_is_sha256sums() {
    let bench = Bench::new();
    let path = bench.folder.path().join("model.gguf");
    std::fs::write(&path, &bench.bytes).unwrap();
    let model = bench.ask(&ModelSource::Path { path: path.clone() }, None).await.unwrap();
    assert_eq!((model.path.clone(), model.source.as_str()), (path.clone(), "path"));
    assert_eq!(model.digest().await.unwrap(), sha256(&bench.bytes));
    assert_eq!(bench.hub.take_log(), []);

    let missing = bench.folder.path().join("modle.gguf");
    let error = bench.ask(&ModelSource::Path { path: missing }, None).await.unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
    assert_eq!(error.hint().unwrap(), "in that folder there is \"model.gguf\"");
    assert_eq!(error.exit_code(), ExitCode::Model);

    std::fs::write(&path, &bench.bytes[..bench.bytes.len() - 1]).unwrap();
    let error = bench.ask(&ModelSource::Path { path }, None).await.unwrap_err();
    assert!(error.to_string().contains("truncated: tensor \"output.weight\""), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Model);
}

#[tokio::test]
async fn a_split_model_on_disk_needs_all_its_parts() {
    let bench = Bench::new();
    let part = |index: u32| bench.folder.path().join(format!("m-{index:05}-of-00002.gguf"));
    std::fs::write(part(2), &bench.bytes).unwrap();
    let source = ModelSource::Path { path: part(2) };
    let error = bench.ask(&source, None).await.unwrap_err();
    assert!(error.to_string().contains("part 1 of 2 is missing"), "{error}");
    std::fs::write(part(1), &bench.bytes).unwrap();
    let model = bench.ask(&source, None).await.unwrap();
    assert_eq!((model.path, model.parts), (part(1), vec![part(1), part(2)]));
    assert!(inspect(&part(2)).unwrap().contains("part"));
}

#[tokio::test]
async fn a_synthetic_model_is_made_once() {
    let bench = Bench::new();
    let source = ModelSource::Synthetic { shape: "tiny".to_owned() };
    let model = bench.ask(&source, None).await.unwrap();
    assert!(model.path.starts_with(bench.folder.path().join("bench-ci/models")));
    assert_eq!(model.source, "synthetic");
    let modified = model.path.metadata().unwrap().modified().unwrap();
    let again = bench.ask(&source, None).await.unwrap();
    assert_eq!(again.path.metadata().unwrap().modified().unwrap(), modified);

    std::fs::write(&model.path, b"GGUF").unwrap();
    let repaired = bench.ask(&source, None).await.unwrap();
    assert_eq!(repaired.size_bytes, model.size_bytes, "a short file is made again");

    let wrong = ModelSource::Synthetic { shape: "tinny".to_owned() };
    let error = bench.ask(&wrong, None).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert!(error.to_string().contains("the nearest known is \"tiny\""), "{error}");
}

#[tokio::test]
async fn inspect_says_what_a_gguf_is() {
    let bench = Bench::new();
    let path = bench.folder.path().join("model.gguf");
    std::fs::write(&path, &bench.bytes).unwrap();
    let folder = bench.folder.path().to_str().unwrap().to_owned();
    insta::assert_snapshot!(inspect(&path).unwrap().replace(&folder, "FOLDER"));
}
