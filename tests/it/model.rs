//! Models from a Hub, from disk, and made on the spot; the last in the real llama-server.
//!
//! Main type: [`Bench`], a Hub with one model and a cache of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the message, helpers included")]

mod hub_failures;
mod hub_ways;
mod llama_server;
mod local;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench_ci::cancel::Cancel;
use bench_ci::event::{Event, Events, Listener};
use bench_ci::model::{
    Environment, HubFault, HubLimits, ModelError, ModelFile, resolve_in, synthetic,
};
use bench_ci::plan::ModelSource;

use crate::hub_server::{HubServer, Logged, sha256};

const REPO: &str = "ggml-org/models";
const FILE: &str = "tiny/model.gguf";

/// A Hub with one model, a cache, and everything that was told.
struct Bench {
    hub: HubServer,
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    environment: Environment,
    told: Arc<Mutex<Vec<Event>>>,
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Listener for Recorder {
    fn on_event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = HubServer::start();
        let bytes = tiny_gguf();
        hub.add(REPO, FILE, &bytes);
        hub.add(REPO, "tiny/model-q8_0.gguf", &bytes);
        hub.add(REPO, "README.md", b"# models");
        let environment = Environment {
            hub_endpoint: hub.url(),
            hub_token: None,
            hub_cache: folder.path().join("hub"),
            hub_offline: false,
            hub_limits: HubLimits { pause: Duration::from_millis(1), ..HubLimits::default() },
            proxy_variables: Vec::new(),
            bench_ci_cache: Some(folder.path().join("bench-ci")),
        };
        Self { hub, folder, bytes, environment, told: Arc::default() }
    }

    fn source(file: &str, revision: Option<&str>) -> ModelSource {
        let revision = revision.map(str::to_owned);
        ModelSource::Hub { repo: REPO.to_owned(), file: file.to_owned(), revision }
    }

    async fn ask(&self, source: &ModelSource, dir: Option<&Path>) -> Result<ModelFile, ModelError> {
        let events = Events::new(vec![Box::new(Recorder(Arc::clone(&self.told)))]);
        resolve_in(source, dir, &self.environment, &events, &Cancel::never()).await
    }

    async fn get(&self) -> Result<ModelFile, ModelError> {
        self.ask(&Self::source(FILE, None), None).await
    }

    /// Whether a model came out that is byte for byte the Hub's.
    fn is_right(&self, model: &ModelFile) -> bool {
        std::fs::read(&model.path).unwrap() == self.bytes
    }

    fn repo_folder(&self) -> PathBuf {
        self.environment.hub_cache.join("models--ggml-org--models")
    }

    fn blob(&self) -> PathBuf {
        self.repo_folder().join("blobs").join(sha256(&self.bytes))
    }

    fn incomplete(&self) -> PathBuf {
        self.blob().with_file_name(format!("{}.incomplete", sha256(&self.bytes)))
    }

    fn warnings(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.iter()
            .filter_map(|event| match event {
                Event::Warning { message } => Some(message.clone()),
                _ => None,
            })
            .collect()
    }

    /// Bodies of files that were sent since the last look.
    fn bodies(&self) -> Vec<Logged> {
        let log = self.hub.take_log();
        log.into_iter().filter(|it| it.method == "GET" && !it.path.starts_with("/api")).collect()
    }
}

fn tiny_gguf() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let shape = "tiny,type=q8_0".parse().unwrap();
    synthetic::make(&shape, &path, &Events::default(), &Cancel::never()).unwrap();
    std::fs::read(&path).unwrap()
}

fn fault(error: &ModelError) -> &HubFault {
    match error {
        ModelError::Hub(error) => &error.fault,
        other => panic!("not about the Hub: {other}"),
    }
}
