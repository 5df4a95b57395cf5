//! Large files on the public Hub lie in its deduplicating storage, Xet, which hf-hub speaks.
//!
//! Main function: [`fetch`]. It hands the file to hf-hub and checks what comes out; where that
//! fails, the same file is had over plain HTTP, which the Hub offers for every file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};

use super::HubFault;
use super::ask::{HubAsk, RepoKind};
use super::client::Hub;
use super::metadata::Metadata;
use super::place::{Found, Place};
use crate::event::{Event, Events, Stage};
use crate::model::{ModelError, aside, digest};

/// The file and the bytes that came; `None` if the file must be had over plain HTTP.
pub(super) async fn fetch(
    hub: &Hub<'_>,
    ask: &HubAsk,
    metadata: &Metadata,
    place: &Place,
) -> Result<Option<(Found, u64)>, ModelError> {
    if ask.kind != RepoKind::Model {
        return Ok(None);
    }
    // In a folder hf-hub would write to the final name; without a digest nothing could be checked.
    let (true, Place::Cache(_), Some(expected)) = (metadata.xet, place, &metadata.sha256) else {
        return Ok(None);
    };
    let progress = Arc::new(Progress {
        events: hub.events.clone(),
        stage: ask.kind.stage(),
        file: ask.file.clone(),
        total_bytes: metadata.size_bytes,
        bytes: AtomicU64::new(0),
    });
    let (owner, name) = hf_hub::split_id(&ask.repo);
    let repository = hub.crate_client.model(owner, name);
    let download = repository
        .download_file()
        .filename(ask.file.as_str())
        .revision(ask.revision())
        .progress(Arc::clone(&progress))
        .send();
    let outcome = tokio::select! {
        outcome = download => outcome.map_err(|error| error.to_string()),
        () = stalled(&progress, hub.limits().idle) => {
            Err(format!("nothing came for {} s", hub.limits().idle.as_secs()))
        }
        reason = hub.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
    };
    let failed = match outcome {
        Ok(_) => {
            let target = place.target(ask, metadata);
            let path = target.clone();
            let found = tokio::select! {
                found = aside(move || digest::of_file(&path)) => found,
                reason = hub.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
            };
            match found {
                Ok(found) if found == *expected => {
                    let bytes = metadata.size_bytes.unwrap_or_default();
                    return Ok(place.find(ask, metadata)?.map(|found| (found, bytes)));
                }
                Ok(found) => {
                    std::fs::remove_file(&target)
                        .map_err(|error| ModelError::write(&target, error, None))?;
                    let expected = expected.clone();
                    HubFault::WrongDigest { expected, found }.to_string()
                }
                Err(error) => error.to_string(),
            }
        }
        Err(error) => error,
    };
    // What it left may have holes, so it cannot be continued.
    drop(std::fs::remove_file(place.incomplete(ask, metadata)));
    hub.warn(format!(
        "fetching \"{}\" over plain HTTP, because the Hub's Xet storage failed: {failed}",
        ask.file
    ));
    Ok(None)
}

/// Completes when no byte has come for so long.
async fn stalled(progress: &Progress, idle: std::time::Duration) {
    let mut seen = None;
    loop {
        let bytes = progress.bytes.load(Ordering::Relaxed);
        if seen == Some(bytes) {
            return;
        }
        seen = Some(bytes);
        tokio::time::sleep(idle).await;
    }
}

/// Turns hf-hub's progress into ours.
struct Progress {
    events: Events,
    stage: Stage,
    file: String,
    total_bytes: Option<u64>,
    bytes: AtomicU64,
}

impl ProgressHandler for Progress {
    fn on_progress(&self, event: &ProgressEvent) {
        let bytes = match event {
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                files.iter().map(|file| file.bytes_completed).max()
            }
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => Some(*bytes_completed),
            _ => None,
        };
        let Some(bytes) = bytes else { return };
        if self.bytes.fetch_max(bytes, Ordering::Relaxed) < bytes {
            self.events.send(&Event::Transfer {
                stage: self.stage,
                file: self.file.clone(),
                bytes,
                total_bytes: self.total_bytes,
            });
        }
    }
}
