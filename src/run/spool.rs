//! Where records lie while the load runs: on disk, so that memory stays flat however long it takes,
//! and so that even `kill -9` leaves what was measured.
//!
//! Main type: [`Spool`]. A thread of its own writes; the load thread only hands records over.

use std::fs::File;
use std::future::pending;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::load::RequestRecord;

/// The file's name inside the output folder; gone once `requests.jsonl` is written.
pub(super) const FILE: &str = "requests.partial.jsonl";

/// How much a `kill -9` may lose.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The file of records of a run in progress.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    /// Ends with how many records it wrote.
    writer: JoinHandle<std::io::Result<u64>>,
    /// Told when a record could not be written.
    broken: oneshot::Receiver<()>,
}

impl Spool {
    /// Begins the file; records sent to the other end are in it within about a second.
    /// `watch` sees each record on the writing thread, before it is written.
    pub(super) fn begin(
        out_dir: &Path,
        watch: impl FnMut(&RequestRecord) + Send + 'static,
    ) -> Result<(Self, Sender<RequestRecord>), Error> {
        let path = out_dir.join(FILE);
        let failed = |source| Error::Output { attempt: "write", path: path.clone(), source };
        let file = File::create(&path).map_err(failed)?;
        let (sender, receiver) = channel();
        let (breaks, broken) = oneshot::channel();
        let writer = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                let written = write(&receiver, BufWriter::new(file), watch);
                if written.is_err() {
                    // Where nobody waits any more, `finish` tells.
                    let _nobody_waits = breaks.send(()).is_err();
                }
                written
            })
            .map_err(|source| Error::System {
                attempt: "start the thread that writes records",
                source,
            })?;
        Ok((Self { path, writer, broken }, sender))
    }

    /// Completes once a record could not be written: what is measured from then on is lost.
    pub(super) async fn broke(&mut self) {
        if (&mut self.broken).await.is_err() {
            pending().await
        }
    }

    /// All records by phase and in the order of planning, after the sending half is gone.
    pub(super) fn finish(self) -> Result<Vec<RequestRecord>, Error> {
        let failed = |attempt: &'static str, source| Error::Output {
            attempt,
            path: self.path.clone(),
            source,
        };
        let count = match self.writer.join() {
            Ok(written) => written.map_err(|source| failed("write", source))?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let file = File::open(&self.path).map_err(|source| failed("read", source))?;
        let mut records = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut file = BufReader::new(file);
        let mut line = String::new();
        while file.read_line(&mut line).map_err(|source| failed("read", source))? > 0 {
            let record =
                serde_json::from_str(&line).map_err(|error| failed("read", error.into()))?;
            records.push(record);
            line.clear();
        }
        // In place: a copy for the time of sorting would be the peak of the whole run.
        records.sort_unstable_by_key(|record: &RequestRecord| (record.phase_index, record.index));
        Ok(records)
    }

    /// Removes the file, once its content stands elsewhere.
    pub(super) fn remove(out_dir: &Path) {
        // It may never have been begun; a file that stays does no harm and says what it is.
        drop(std::fs::remove_file(out_dir.join(FILE)));
    }
}

fn write(
    records: &Receiver<RequestRecord>,
    mut file: BufWriter<File>,
    mut watch: impl FnMut(&RequestRecord),
) -> std::io::Result<u64> {
    let mut count = 0;
    let mut flushed = Instant::now();
    loop {
        match records.recv_timeout(FLUSH_INTERVAL) {
            Ok(record) => {
                watch(&record);
                serde_json::to_writer(&mut file, &record)?;
                file.write_all(b"\n")?;
                count += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                file.flush()?;
                return Ok(count);
            }
        }
        if flushed.elapsed() >= FLUSH_INTERVAL {
            file.flush()?;
            flushed = Instant::now();
        }
    }
}
