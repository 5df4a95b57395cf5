//! What a run has found so far. However it ends, the report is made of this.
//!
//! Main types: [`Findings`] while it runs, [`Finished`] after.

use std::path::PathBuf;
use std::time::Instant;

use super::gates::Abort;
use super::prompts::PromptFacts;
use crate::artifact::Report;
use crate::error::Error;
use crate::exit::ExitCode;
use crate::load::{LoadOutcome, RequestRecord};
use crate::model::ModelFile;
use crate::provenance::Provenance;
use crate::scrape::{ScrapeSummary, ServerIdentity};
use crate::server::{ServerExit, Version};

/// What has been found so far; `None` is what the run has not come to.
#[derive(Debug)]
pub(super) struct Findings {
    /// Different for every run.
    pub(super) id: String,
    pub(super) provenance: Provenance,
    pub(super) begun: Instant,
    pub(super) model: Option<ModelFile>,
    pub(super) model_sha256: Option<String>,
    pub(super) server: Option<ServerFacts>,
    pub(super) identity: Option<ServerIdentity>,
    pub(super) workload: Option<WorkloadFacts>,
    pub(super) load: Option<LoadOutcome>,
    pub(super) records: Vec<RequestRecord>,
    pub(super) scrape: Option<ScrapeSummary>,
    /// The threshold that ended the load early; `None` if none did.
    pub(super) abort: Option<Abort>,
    pub(super) server_exit: Option<ServerExit>,
    /// The death of the server under load, in words with its cause; `None` if it lived.
    pub(super) death: Option<String>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn begin(provenance: Provenance) -> Self {
        // Two runs of one machine cannot have begun in one millisecond as one process.
        let moment: String =
            provenance.started_at.chars().filter(char::is_ascii_alphanumeric).collect();
        let id = format!("{moment}-{:x}", std::process::id());
        Self {
            id,
            provenance,
            begun: Instant::now(),
            model: None,
            model_sha256: None,
            server: None,
            identity: None,
            workload: None,
            load: None,
            records: Vec::new(),
            scrape: None,
            abort: None,
            server_exit: None,
            death: None,
            warnings: Vec::new(),
        }
    }
}

/// What is known of a server once it is ready.
#[derive(Debug, Clone)]
pub(super) struct ServerFacts {
    pub(super) base_url: String,
    pub(super) command: Vec<String>,
    pub(super) version: Option<Version>,
    pub(super) start_s: Option<f64>,
}

/// What is known of the work once it is planned to the last request.
#[derive(Debug, Clone)]
pub(super) struct WorkloadFacts {
    pub(super) hash: String,
    pub(super) users: u32,
    /// Measured requests that are planned; `None` where only time bounds them.
    pub(super) requests: Option<u64>,
    pub(super) dataset: String,
    pub(super) prompts: PromptFacts,
}

/// A run that is over; its files are written.
#[derive(Debug)]
pub struct Finished {
    /// What `report.json` holds.
    pub report: Report,
    /// Where the files are.
    pub out_dir: PathBuf,
    /// What the process should leave with, unless `error` says otherwise.
    pub exit: ExitCode,
    /// What kept the run from its end; `None` if it came to it.
    pub error: Option<Error>,
}
