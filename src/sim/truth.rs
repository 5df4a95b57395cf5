//! What the simulator really sent, and when: the reference with which the client is proved.
//!
//! Main types: [`TruthRecord`], one per inference request; [`Truth`], a truth file read back; and
//! [`TruthSummary`], the exact figures of a set of records. The figures are computed here and not
//! by `stats`, so that the two can disagree.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::clock::ms_between;

/// One inference request as the simulator saw and answered it.
///
/// Clock of every `_ns` field: `CLOCK_MONOTONIC` in nanoseconds, as in `load::Stamp`. A field is
/// `None` where the thing never happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// Number of the request, in order of arrival, from 1.
    pub ordinal: u64,
    /// The value of the client's `x-bench-ci-request` header; `None` without one.
    pub client_request: Option<u64>,
    /// The `id` in the answer.
    pub id: String,
    /// The path that was asked, such as `/v1/chat/completions`.
    pub route: String,
    /// Whether the answer was streamed. Without a stream there are no `deltas`.
    pub stream: bool,
    /// The slot that worked on it; `None` if it never had one.
    pub slot: Option<u32>,
    /// When the last byte of the request arrived.
    pub received_ns: u64,
    /// Whose clock `received_ns` was read from.
    pub received_by: ReceiveClock,
    /// When a slot began the prompt.
    pub started_ns: Option<u64>,
    /// Just before the write of the headers of a stream (of the whole answer without one).
    pub headers_ns: Option<u64>,
    /// Just before the write that completes each content event, one entry a content event, in
    /// order. Content is what a client counts: text, reasoning or tool calls. Events of one write
    /// have equal entries.
    pub deltas: Vec<u64>,
    /// Just before the last write or the close, whichever ended it.
    pub end_ns: u64,
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the prompt that were in the slot's cache.
    pub cached_tokens: u64,
    /// Tokens of the answer that were made, whether or not they were sent.
    pub completion_tokens: u64,
    /// The HTTP status; `None` if no status line was sent.
    pub status: Option<u16>,
    /// How it ended.
    pub end: TruthEnd,
    /// Names of the faults that acted on it, joined by commas; `None` without any.
    pub fault: Option<String>,
    /// The finish reason that was sent; `None` if none was.
    pub finish_reason: Option<String>,
    /// Whether the socket was ever full, so that the kernel took bytes later than the stamps say.
    pub backpressure: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TruthEnd {
    /// As a healthy server ends it; a fault may have changed its form.
    Completed,
    /// A fault ended it early: the client must see a failure.
    Broken,
    /// Answered with an error status.
    Rejected,
    /// The client closed the connection.
    ClientGone,
    /// The simulator was stopped.
    Stopped,
}

/// Whose clock a receive stamp was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiveClock {
    /// The kernel's stamp of the packet.
    Kernel,
    /// Our own clock after the read: late by however long we took to read.
    User,
}

/// One line of a truth file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TruthLine {
    /// A request that has ended; lines are in order of their ends.
    Request(TruthRecord),
    /// The last line of a simulator that was stopped and not killed.
    Summary(TruthSummary),
}

/// A truth file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// The requests, in order of their ends.
    pub records: Vec<TruthRecord>,
    /// The figures that the simulator computed when it was stopped; `None` if it was killed.
    pub summary: Option<TruthSummary>,
}

/// Why a truth file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The file could not be read.
    #[error("cannot read truth file \"{path}\"")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not what this build writes.
    #[error("line {line} of the truth file is not a truth line")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

impl TruthError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            TruthError::Read { .. } => Some("start the simulator with --sim-truth FILE".to_owned()),
            TruthError::Line { .. } => {
                Some("write it again with this build of bench-ci sim".to_owned())
            }
        }
    }
}

impl Truth {
    /// Reads the text of a truth file. A last line without its line feed is left out: the
    /// simulator was killed while it wrote.
    ///
    /// # Errors
    ///
    /// [`TruthError::Line`] for a whole line that is not a truth line.
    pub fn parse(text: &str) -> Result<Truth, TruthError> {
        let mut truth = Truth::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(line) = line.strip_suffix('\n') else { break };
            match serde_json::from_str(line) {
                Ok(TruthLine::Request(record)) => truth.records.push(record),
                Ok(TruthLine::Summary(summary)) => truth.summary = Some(summary),
                Err(source) => return Err(TruthError::Line { line: index + 1, source }),
            }
        }
        Ok(truth)
    }

    /// Reads a truth file.
    ///
    /// # Errors
    ///
    /// [`TruthError`].
    pub fn read(path: &Path) -> Result<Truth, TruthError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TruthError::Read { path: path.display().to_string(), source })?;
        Truth::parse(&text)
    }
}

/// Exact figures of a set of records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthSummary {
    /// Records.
    pub requests: u64,
    /// Of these, the ones that ended as a healthy server ends them.
    pub completed: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// First delta − received, in ms, of the records that have a delta. Unit: milliseconds.
    pub ttft_ms: Quantiles,
    /// Gaps between consecutive deltas, pooled. Unit: milliseconds.
    pub itl_ms: Quantiles,
}

/// Quantiles of one set of values; all `None` where the set is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Smallest.
    pub min: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
}

impl TruthSummary {
    /// The figures of these records; the caller chooses which (such as the completed ones).
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a TruthRecord>) -> TruthSummary {
        let (mut requests, mut completed, mut completion_tokens) = (0, 0, 0);
        let (mut ttft, mut itl) = (Vec::new(), Vec::new());
        for record in records {
            requests += 1;
            completed += u64::from(record.end == TruthEnd::Completed);
            completion_tokens += record.completion_tokens;
            ttft.extend(record.deltas.first().map(|&first| ms_between(record.received_ns, first)));
            itl.extend(
                record
                    .deltas
                    .iter()
                    .zip(record.deltas.iter().skip(1))
                    .map(|(&a, &b)| ms_between(a, b)),
            );
        }
        TruthSummary {
            requests,
            completed,
            completion_tokens,
            ttft_ms: Quantiles::of(ttft),
            itl_ms: Quantiles::of(itl),
        }
    }
}

impl Quantiles {
    /// The quantiles of these values, in any order.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Quantiles {
        values.sort_by(f64::total_cmp);
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        Quantiles {
            count: values.len() as u64,
            mean,
            min: values.first().copied(),
            p50: quantile(&values, 0.5),
            p90: quantile(&values, 0.9),
            p95: quantile(&values, 0.95),
            p99: quantile(&values, 0.99),
            max: values.last().copied(),
        }
    }
}

/// The `q`-quantile of ascending values by linear interpolation at `q·(n−1)`, as k6 and NumPy have
/// it; `None` of an empty set.
#[must_use]
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let position = q.clamp(0.0, 1.0) * ascending.len().checked_sub(1)? as f64;
    let below = *ascending.get(position.floor() as usize)?;
    let above = *ascending.get(position.ceil() as usize)?;
    Some(below + (above - below) * position.fract())
}

/// Hands records to a thread of its own that writes them, so that a slow disk never delays a token.
pub(super) struct TruthWriter {
    sender: mpsc::Sender<TruthLine>,
    thread: JoinHandle<()>,
}

impl TruthWriter {
    /// Opens the file for appending and starts the thread.
    pub(super) fn open(path: &Path) -> std::io::Result<TruthWriter> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (sender, receiver) = mpsc::channel::<TruthLine>();
        let thread = std::thread::Builder::new().name("sim-truth".to_owned()).spawn(move || {
            let mut writer = BufWriter::new(file);
            while let Ok(line) = receiver.recv() {
                let written = serde_json::to_writer(&mut writer, &line)
                    .map_err(std::io::Error::from)
                    .and_then(|()| writer.write_all(b"\n"))
                    // Flushed line by line: what a kill interrupts has lost at most one request.
                    .and_then(|()| writer.flush());
                if written.is_err() {
                    // A full disk: the reader of the file sees that records are missing.
                    return;
                }
            }
        })?;
        Ok(TruthWriter { sender, thread })
    }

    /// Queues one line; never blocks.
    pub(super) fn write(&self, line: TruthLine) {
        // The thread ends early only when the disk is full, and then there is nowhere to write.
        drop(self.sender.send(line));
    }

    /// Waits until everything queued is in the file.
    pub(super) fn close(self) {
        drop(self.sender);
        drop(self.thread.join());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sim) fn record(received_ns: u64, deltas: &[u64]) -> TruthRecord {
        TruthRecord {
            ordinal: 1,
            client_request: Some(7),
            id: "chatcmpl-x".to_owned(),
            route: "/completion".to_owned(),
            stream: true,
            slot: Some(0),
            received_ns,
            received_by: ReceiveClock::Kernel,
            started_ns: Some(received_ns),
            headers_ns: Some(received_ns),
            deltas: deltas.to_vec(),
            end_ns: 9_000_000,
            prompt_tokens: 3,
            cached_tokens: 0,
            completion_tokens: deltas.len() as u64,
            status: Some(200),
            end: TruthEnd::Completed,
            fault: None,
            finish_reason: Some("length".to_owned()),
            backpressure: false,
        }
    }

    #[test]
    fn quantiles_interpolate_at_q_times_n_minus_1() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[4.0], 0.99), Some(4.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.9), Some(9.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), Some(3.0));
    }

    #[test]
    fn a_summary_pools_gaps_and_skips_records_without_deltas() {
        let records =
            [record(1_000_000, &[3_000_000, 4_000_000, 7_000_000]), record(1_000_000, &[])];
        let summary = TruthSummary::of(&records);
        assert_eq!((summary.requests, summary.ttft_ms.count, summary.itl_ms.count), (2, 1, 2));
        assert_eq!(summary.ttft_ms.p50, Some(2.0));
        assert_eq!((summary.itl_ms.p50, summary.itl_ms.max), (Some(2.0), Some(3.0)));
    }

    #[test]
    fn a_truth_file_survives_being_cut_in_its_last_line() {
        let line = serde_json::to_string(&TruthLine::Request(record(5, &[6]))).expect("serialises");
        let whole = format!("{line}\n{line}\n");
        assert_eq!(Truth::parse(&whole).expect("valid").records.len(), 2);
        let cut = Truth::parse(&whole[..whole.len() - 9]).expect("a cut line is left out");
        assert_eq!(cut.records, [record(5, &[6])]);
        assert!(matches!(Truth::parse("{}\n"), Err(TruthError::Line { line: 1, .. })));
    }
}
