//! What a run has found so far. However it ends, the report is made of this.
//!
//! Main types: [`Findings`] while it runs, [`Finished`] after.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::gates::Abort;
use super::prompts::PromptFacts;
use crate::artifact::{CalibrationStep, Prometheus, Report};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::load::{LoadOutcome, RequestRecord};
use crate::model::ModelFile;
use crate::peaks::Measured;
use crate::prometheus::Settled;
use crate::provenance::Provenance;
use crate::scrape::{ScrapeSummary, ServerIdentity};
use crate::server::{ServerExit, Version};

/// What has been found so far; `None` is what the run has not come to.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Different for every run.
    pub(crate) id: String,
    pub(crate) provenance: Provenance,
    pub(crate) begun: Instant,
    pub(crate) model: Option<ReadyModel>,
    pub(crate) server: Option<ServerFacts>,
    pub(crate) identity: Option<ServerIdentity>,
    pub(crate) workload: Option<WorkloadFacts>,
    pub(crate) load: Option<LoadOutcome>,
    pub(crate) records: Vec<RequestRecord>,
    pub(crate) scrape: Option<ScrapeSummary>,
    /// What a Prometheus had of the load, or why not; `None` where none was to be asked.
    pub(crate) prometheus: Option<Result<Prometheus, String>>,
    /// How publishing our own metrics went.
    pub(crate) published: Settled,
    /// This client against the simulator; `None` without `--calibrate`.
    pub(crate) calibration: Option<CalibrationStep>,
    /// What the processors can do, where it was to be measured.
    pub(crate) peaks: MeasuredPeaks,
    /// The threshold that ended the load early; `None` if none did.
    pub(crate) abort: Option<Abort>,
    pub(crate) server_exit: Option<ServerExit>,
    /// The death of the server under load, in words with its cause; `None` if it lived.
    pub(crate) death: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    pub(crate) fn begin(provenance: Provenance) -> Self {
        // Two runs of one machine cannot have begun in one millisecond as one process, but a process
        // may play several.
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        let moment: String =
            provenance.started_at.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut id = format!("{moment}-{:x}", std::process::id());
        let earlier = BEGUN.fetch_add(1, Ordering::Relaxed);
        if earlier > 0 {
            id.push_str(&format!("-{earlier}"));
        }
        Self {
            id,
            provenance,
            begun: Instant::now(),
            model: None,
            server: None,
            identity: None,
            workload: None,
            load: None,
            records: Vec::new(),
            scrape: None,
            prometheus: None,
            published: Settled::default(),
            calibration: None,
            peaks: MeasuredPeaks::default(),
            abort: None,
            server_exit: None,
            death: None,
            warnings: Vec::new(),
        }
    }
}

/// A model that is there.
#[derive(Debug, Clone)]
pub(crate) struct ReadyModel {
    pub(crate) file: ModelFile,
    /// `None` until a server has been started with it.
    pub(crate) sha256: Option<String>,
}

/// What the processors can do, where it was to be measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct MeasuredPeaks {
    pub(crate) bandwidth: Option<Measured>,
    pub(crate) flops: Option<Measured>,
}

/// What is known of a server once it is ready.
#[derive(Debug, Clone)]
pub(crate) struct ServerFacts {
    pub(crate) base_url: String,
    pub(crate) command: Vec<String>,
    pub(crate) version: Option<Version>,
    pub(crate) start_s: Option<f64>,
}

/// What is known of the work once it is planned to the last request.
#[derive(Debug, Clone)]
pub(crate) struct WorkloadFacts {
    pub(crate) hash: String,
    pub(crate) users: u32,
    /// Requests that are planned in each phase; `None` where only time bounds them.
    pub(crate) requests: Vec<Option<u64>>,
    pub(crate) dataset: String,
    pub(crate) prompts: PromptFacts,
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
