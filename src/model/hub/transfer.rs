//! Fetches a file's bytes, resuming where an earlier attempt or an earlier run ended.
//!
//! Main function: [`fetch`]. hf-hub 1.0 starts every transfer anew, and keeps whatever arrived,
//! an error page too, as the file; hence our own requests. What arrives is checked against the
//! announced size and digest before it gets its name; until then it is `….incomplete`.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::HubFault;
use super::ask::HubAsk;
use super::client::{Hub, in_words};
use super::metadata::{Again, Attempt, Metadata};
use super::place::{Place, create_parent};
use crate::event::Event;
use crate::model::error::free_bytes;
use crate::model::{ModelError, aside, digest};

/// Between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// An attempt that brought this much is not counted against the limit: a large file over a poor
/// line may need many, and each must bring the end nearer.
const GAIN_BYTES: u64 = 8 << 20;

/// Fetches the file and gives it its place. Returns its path and the bytes that came.
pub(super) async fn fetch(
    hub: &Hub<'_>,
    ask: &HubAsk,
    metadata: &Metadata,
    place: &Place,
) -> Result<(PathBuf, u64), ModelError> {
    let incomplete = place.incomplete(ask, metadata);
    let mut transfer = Transfer::open(hub, ask, metadata, incomplete).await?;
    let mut attempts = 0;
    let mut waited = Duration::ZERO;
    loop {
        attempts += 1;
        let before = transfer.position;
        let Attempt { fault, again } = match transfer.attempt().await? {
            Ok(Outcome::Whole) => break,
            Ok(Outcome::Anew) => continue_anew(&mut transfer)?,
            Err(failed) => failed,
        };
        if transfer.position >= before + GAIN_BYTES {
            attempts = 0;
        }
        match hub.pause(again, attempts.max(1), waited) {
            Some(pause) if attempts < hub.limits().attempts => {
                hub.wait(pause).await?;
                waited += pause;
            }
            _ => return Err(ask.failed(hub.counted(fault, attempts, waited)).into()),
        }
    }
    let Transfer { incomplete, received, file, .. } = transfer;
    // The name must not outlive the bytes if the machine goes down.
    file.sync_data().map_err(|error| ModelError::write(&incomplete, error, None))?;
    drop(file);
    Ok((place.keep(ask, metadata, &incomplete)?, received))
}

/// What was kept of an earlier run cannot be continued: forget it, and count the attempt.
fn continue_anew(transfer: &mut Transfer<'_, '_>) -> Result<Attempt, ModelError> {
    transfer.rewind()?;
    let fault = HubFault::Cut {
        received_bytes: 0,
        expected_bytes: transfer.metadata.size_bytes,
        attempts: 0,
        cause: "what an earlier run left could not be continued".to_owned(),
    };
    Ok(Attempt { fault, again: Again::After(Duration::ZERO) })
}

enum Outcome {
    /// Size and digest are the announced ones.
    Whole,
    /// What was there before this run was not the beginning of the file.
    Anew,
}

struct Transfer<'hub, 'run> {
    hub: &'hub Hub<'run>,
    ask: &'hub HubAsk,
    metadata: &'hub Metadata,
    incomplete: PathBuf,
    file: File,
    /// Digest of the bytes before `position`.
    hasher: Sha256,
    /// Bytes in the file.
    position: u64,
    /// Of these, bytes that an earlier run left.
    inherited: u64,
    /// Bytes that came over the network.
    received: u64,
    told: Option<Instant>,
}

impl<'hub, 'run> Transfer<'hub, 'run> {
    async fn open(
        hub: &'hub Hub<'run>,
        ask: &'hub HubAsk,
        metadata: &'hub Metadata,
        incomplete: PathBuf,
    ) -> Result<Self, ModelError> {
        create_parent(&incomplete)?;
        let failed = |error| ModelError::write(&incomplete, error, metadata.size_bytes);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&incomplete)
            .map_err(failed)?;
        let left_behind = incomplete.clone();
        let hashed = aside(move || {
            let mut hasher = Sha256::new();
            digest::feed(&mut hasher, &left_behind).map(|bytes| (hasher, bytes))
        });
        let (mut hasher, mut position) = tokio::select! {
            hashed = hashed => hashed?,
            reason = hub.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
        };
        if metadata.size_bytes.is_some_and(|size| position > size) {
            file.set_len(0).map_err(failed)?;
            (hasher, position) = (Sha256::new(), 0);
        }
        file.seek(SeekFrom::Start(position)).map_err(failed)?;
        enough_room(&incomplete, metadata.size_bytes.map(|size| size - position))?;
        Ok(Self {
            hub,
            ask,
            metadata,
            incomplete,
            file,
            hasher,
            position,
            inherited: position,
            received: 0,
            told: None,
        })
    }

    /// One request. The outer error ends everything, the inner one an attempt.
    async fn attempt(&mut self) -> Result<Result<Outcome, Attempt>, ModelError> {
        self.tell(true);
        // All bytes are there: an earlier run ended between the last one and the rename.
        if self.position > 0 && self.metadata.size_bytes == Some(self.position) {
            return self.check();
        }
        let mut request = self
            .hub
            .request(Method::GET, &self.ask.resolve_url())
            .header(ACCEPT_ENCODING, "identity");
        if self.position > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.position));
        }
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.hub.limits().answer, request.send()) => answer,
            reason = self.hub.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
        };
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok(Err(self.hub.attempt_failed(&error))),
            Err(_elapsed) => {
                let fault = HubFault::TimedOut { limit: self.hub.limits().answer };
                return Ok(Err(Attempt { fault, again: Again::AfterPause }));
            }
        };
        match response.status() {
            StatusCode::OK => {
                if self.position > 0 {
                    // The range was ignored; the whole file comes.
                    self.rewind()?;
                }
            }
            StatusCode::PARTIAL_CONTENT if self.continues(&response) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
                if self.position > 0 =>
            {
                return Ok(Ok(Outcome::Anew));
            }
            _ => return Ok(Err(self.hub.refused(&response))),
        }
        let offered = response.content_length().map(|left| self.position + left);
        if let (Some(announced), Some(offered)) = (self.metadata.size_bytes, offered)
            && announced != offered
        {
            return Err(self.wrong_size(announced, offered, false));
        }
        let expected = self.metadata.size_bytes.or(offered);
        match self.receive(response, expected).await? {
            Err(cause) => Ok(Err(self.cut(expected, cause))),
            Ok(()) => match expected {
                Some(expected) if self.position < expected => {
                    let cause = "the connection was closed early".to_owned();
                    Ok(Err(self.cut(Some(expected), cause)))
                }
                _ => self.check(),
            },
        }
    }

    /// Takes the body as far as it comes; the inner error says in words why no more came.
    async fn receive(
        &mut self,
        mut response: Response,
        expected: Option<u64>,
    ) -> Result<Result<(), String>, ModelError> {
        let idle = self.hub.limits().idle;
        loop {
            let chunk = tokio::select! {
                chunk = tokio::time::timeout(idle, response.chunk()) => chunk,
                reason = self.hub.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
            };
            let chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(Ok(())),
                Ok(Err(error)) if !error.is_timeout() => return Ok(Err(in_words(&error))),
                Ok(Err(_)) | Err(_) => {
                    return Ok(Err(format!("nothing came for {} s", idle.as_secs())));
                }
            };
            let end = self.position + chunk.len() as u64;
            if let Some(announced) = expected
                && end > announced
            {
                return Err(self.wrong_size(announced, end, true));
            }
            let left = expected.map(|expected| expected - self.position);
            self.file
                .write_all(&chunk)
                .map_err(|error| ModelError::write(&self.incomplete, error, left))?;
            self.hasher.update(&chunk);
            self.position = end;
            self.received += chunk.len() as u64;
            self.tell(false);
        }
    }

    /// Whether the answer begins where we stopped, and is of a file of the announced size.
    fn continues(&self, response: &Response) -> bool {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let parsed = range.and_then(|range| {
            let (span, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
            let (first, _) = span.split_once('-')?;
            Some((first.trim().parse::<u64>().ok()?, total.trim().parse::<u64>().ok()))
        });
        let Some((first, total)) = parsed else { return false };
        let size_fits = match (total, self.metadata.size_bytes) {
            (Some(total), Some(announced)) => total == announced,
            _ => true,
        };
        first == self.position && size_fits
    }

    /// Compares the digest of all that is there with the announced one.
    fn check(&mut self) -> Result<Result<Outcome, Attempt>, ModelError> {
        self.tell(true);
        let Some(expected) = &self.metadata.sha256 else {
            return Ok(Ok(Outcome::Whole));
        };
        let found = digest::in_hex(self.hasher.clone());
        if found == *expected {
            return Ok(Ok(Outcome::Whole));
        }
        if self.inherited > 0 {
            return Ok(Ok(Outcome::Anew));
        }
        self.discard();
        let expected = expected.clone();
        Err(self.ask.failed(HubFault::WrongDigest { expected, found }).into())
    }

    fn cut(&self, expected_bytes: Option<u64>, cause: String) -> Attempt {
        let received_bytes = self.position;
        let fault = HubFault::Cut { received_bytes, expected_bytes, attempts: 0, cause };
        Attempt { fault, again: Again::AfterPause }
    }

    fn wrong_size(&self, announced_bytes: u64, found_bytes: u64, at_least: bool) -> ModelError {
        self.discard();
        let fault = HubFault::WrongSize { announced_bytes, found_bytes, at_least };
        self.ask.failed(fault).into()
    }

    /// Best effort: what stays is never taken for whole, since every run checks it again.
    fn discard(&self) {
        drop(std::fs::remove_file(&self.incomplete));
    }

    fn rewind(&mut self) -> Result<(), ModelError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|error| ModelError::write(&self.incomplete, error, None))?;
        (self.hasher, self.position, self.inherited) = (Sha256::new(), 0, 0);
        Ok(())
    }

    fn tell(&mut self, always: bool) {
        if !always && self.told.is_some_and(|told| told.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        self.told = Some(Instant::now());
        self.hub.events.send(&Event::Transfer {
            stage: self.ask.kind.stage(),
            file: self.ask.file.clone(),
            bytes: self.position,
            total_bytes: self.metadata.size_bytes,
        });
    }
}

/// Says so before the transfer rather than after hours of it.
fn enough_room(path: &Path, needed_bytes: Option<u64>) -> Result<(), ModelError> {
    let (Some(needed), Some(free)) = (needed_bytes, free_bytes(path)) else {
        return Ok(());
    };
    if needed <= free {
        return Ok(());
    }
    let path = path.to_owned();
    Err(ModelError::DiskFull { path, needed_bytes: Some(needed), free_bytes: Some(free) })
}
