//! One row per planned request: `requests.jsonl` and `requests.csv`.
//!
//! Main type: [`RequestRow`]. Both files have the same columns in the same order. In a row a missing
//! value is `null` (an empty cell in CSV) and needs no reason: the outcome says why.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load::{DropCause, FailureKind, Outcome, Phase, RequestRecord, Stamp};
use crate::stats::{self, HeaderSplit, RequestMetrics};

/// No stamp is further than this from the begin of the measured load, in seconds. The longest duration
/// that a plan may have is 10,000 hours; with phases before and after, this is above all that there is,
/// and so near that what counts its seconds comes to an end.
pub(crate) const FURTHEST_S: f64 = 1e8;

/// One planned request. Stamps are in seconds since the begin of the measured load, so those of the
/// warm-up are negative. Metrics are given for completed requests only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRow {
    /// Position in the order of planning, from 0, warm-up first.
    pub index: u64,
    /// `warm_up`, `measured` or `cool_down`; only `measured` is in any figure.
    pub phase: String,
    /// Position of its phase in `scenario.phases` of the report.
    #[serde(default)]
    pub phase_index: u16,
    /// Which conversation it is a turn of, from 0.
    #[serde(default)]
    pub conversation_index: Option<u64>,
    /// Which turn of it, from 1.
    #[serde(default)]
    pub turn: Option<u32>,
    /// `completed`, `failed`, `cancelled` (by us, on purpose), `dropped` or `cut`.
    pub outcome: String,
    /// The kind of failure.
    pub failure: Option<FailureKind>,
    /// What was seen, in words.
    pub failure_detail: Option<String>,
    /// Why it was dropped, where not for time or a cap.
    #[serde(default)]
    pub dropped_because: Option<DropCause>,
    /// Which user sent it, from 0.
    pub user_index: u32,
    /// Which prompt was sent, from 0.
    pub prompt_index: u64,
    /// When the user became free; in an open loop, the instant of the arrival.
    pub planned_s: f64,
    /// Connecting began.
    pub connect_started_s: Option<f64>,
    /// The connection was ready.
    pub connected_s: Option<f64>,
    /// Just before the last request byte was written.
    pub written_s: Option<f64>,
    /// Response headers were complete.
    pub headers_s: Option<f64>,
    /// First content.
    pub first_content_s: Option<f64>,
    /// First content that is no reasoning.
    #[serde(default)]
    pub first_answer_s: Option<f64>,
    /// Last content.
    pub last_content_s: Option<f64>,
    /// Finish reason.
    pub finish_s: Option<f64>,
    /// End of the response; of one that broke or was given up, when that was.
    pub end_s: Option<f64>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Response headers in which the server tells times or what it calls this request.
    #[serde(default)]
    pub server_headers: BTreeMap<String, String>,
    /// The server's finish reason.
    pub finish_reason: Option<String>,
    /// The terminator was seen.
    pub terminated: bool,
    /// Token budget that was asked for.
    pub max_tokens: u32,
    /// Content deltas seen.
    pub content_deltas: u64,
    /// Of those, how many shared a read with an earlier one.
    pub coalesced_deltas: u64,
    /// The second of them came in one read with the first, so `ttft_ms` may be too high.
    #[serde(default)]
    pub first_content_coalesced: bool,
    /// Of the content deltas, how many were reasoning.
    #[serde(default)]
    pub reasoning_deltas: u64,
    /// Embeddings or scores that came.
    #[serde(default)]
    pub results: Option<u32>,
    /// Numbers in each embedding.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// Comment lines (pings) seen.
    pub comments: u64,
    /// Response bytes.
    pub bytes_received: u64,
    /// Sent a second time because the idle connection had been closed.
    pub resent: bool,
    /// See METHODOLOGY.md, as all that follow.
    pub ttft_ms: Option<f64>,
    /// First content − planned.
    pub ttft_scheduled_ms: Option<f64>,
    /// First content that is no reasoning − written.
    #[serde(default)]
    pub time_to_first_answer_ms: Option<f64>,
    /// Headers − written.
    pub queue_ms: Option<f64>,
    /// First content − headers.
    pub prefill_ms: Option<f64>,
    /// Per output token.
    pub tpot_ms: Option<f64>,
    /// End − written.
    pub e2e_ms: Option<f64>,
    /// End − planned.
    pub e2e_scheduled_ms: Option<f64>,
    /// As the server counted.
    pub prompt_tokens: Option<u64>,
    /// As the server counted.
    pub cached_tokens: Option<u64>,
    /// As the server counted.
    pub completion_tokens: Option<u64>,
    /// Of those, reasoning, as the server counted. Where none of it was streamed, it is not in `tpot_ms`.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
    /// (prompt − cached) / prefill.
    pub prefill_tokens_per_second: Option<f64>,
    /// (streamed − 1) / (last − first content).
    pub decode_tokens_per_second: Option<f64>,
    /// `timings.prompt_ms`.
    pub server_prefill_ms: Option<f64>,
    /// `timings.predicted_ms`.
    pub server_decode_ms: Option<f64>,
    /// Accepted / drafted tokens.
    pub draft_acceptance: Option<f64>,
    /// TTFT − `queue_ms` − `server_prefill_ms`: what neither waiting nor the server's prefill explains.
    pub ttft_residual_ms: Option<f64>,
    /// (last − first content) − `server_decode_ms`.
    pub decode_residual_ms: Option<f64>,
}

impl RequestRow {
    /// The row of a record. `origin` is the begin of the measured load.
    #[must_use]
    pub fn new(record: &RequestRecord, split: &HeaderSplit, origin: Stamp) -> Self {
        let seconds = |stamp: Stamp| (stamp.0 as i128 - origin.0 as i128) as f64 / 1e9;
        let at = |stamp: Option<Stamp>| stamp.map(seconds);
        let (outcome, failure, failure_detail) = match &record.outcome {
            Outcome::Completed => ("completed", None, None),
            Outcome::Failed { failure, detail } => ("failed", Some(*failure), Some(detail.clone())),
            Outcome::Dropped => ("dropped", None, None),
            Outcome::Cut => ("cut", None, None),
            Outcome::Cancelled => ("cancelled", None, None),
        };
        let phase = match record.phase {
            Phase::WarmUp => "warm_up",
            Phase::Measured => "measured",
            Phase::CoolDown => "cool_down",
        };
        let metrics = RequestMetrics::of(record, split);
        // A number that is not finite has no text in JSON.
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        Self {
            index: record.index,
            phase: phase.to_owned(),
            phase_index: record.phase_index,
            conversation_index: record.conversation_index,
            turn: record.turn,
            outcome: outcome.to_owned(),
            failure,
            failure_detail,
            dropped_because: record.dropped_because,
            user_index: record.user_index,
            prompt_index: record.prompt_index,
            planned_s: seconds(record.planned),
            connect_started_s: at(record.connect_started),
            connected_s: at(record.connected),
            written_s: at(record.written),
            headers_s: at(record.headers),
            first_content_s: at(record.first_content),
            first_answer_s: at(record.first_answer),
            last_content_s: at(record.last_content),
            finish_s: at(record.finish),
            end_s: at(record.end),
            status: record.status,
            server_headers: record.server_headers.clone(),
            finish_reason: record.finish_reason.clone(),
            terminated: record.terminated,
            max_tokens: record.max_tokens,
            content_deltas: record.content_deltas,
            coalesced_deltas: record.coalesced_deltas,
            first_content_coalesced: record.first_content_coalesced,
            reasoning_deltas: record.reasoning_deltas,
            results: record.results,
            dimensions: record.dimensions,
            comments: record.comments,
            bytes_received: record.bytes_received,
            resent: record.resent,
            ttft_ms: finite(metrics.ttft_ms),
            ttft_scheduled_ms: finite(metrics.ttft_scheduled_ms),
            time_to_first_answer_ms: finite(metrics.time_to_first_answer_ms),
            queue_ms: finite(metrics.queue_ms),
            prefill_ms: finite(metrics.prefill_ms),
            tpot_ms: finite(metrics.tpot_ms),
            e2e_ms: finite(metrics.e2e_ms),
            e2e_scheduled_ms: finite(metrics.e2e_scheduled_ms),
            prompt_tokens: metrics.prompt_tokens,
            cached_tokens: metrics.cached_tokens,
            completion_tokens: metrics.completion_tokens,
            reasoning_tokens: record
                .usage
                .and_then(|usage| usage.reasoning_tokens)
                .filter(|_| record.is_completed()),
            prefill_tokens_per_second: finite(metrics.prefill_tokens_per_second),
            decode_tokens_per_second: finite(metrics.decode_tokens_per_second),
            server_prefill_ms: finite(metrics.server_prefill_ms),
            server_decode_ms: finite(metrics.server_decode_ms),
            draft_acceptance: finite(metrics.draft_acceptance),
            ttft_residual_ms: finite(stats::ttft_residual_ms(&metrics)),
            decode_residual_ms: finite(stats::decode_residual_ms(record)),
        }
    }

    /// Reads a line of `requests.jsonl`.
    ///
    /// # Errors
    /// It is no JSON, a field is missing or of another type, or a stamp is further away than a run is long.
    pub(super) fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        let row: Self = serde_json::from_slice(line)?;
        let is_odd = |(_, seconds): &(&str, f64)| seconds.abs() > FURTHEST_S;
        match row.stamps().into_iter().find(is_odd) {
            None => Ok(row),
            Some((name, seconds)) => Err(serde_json::Error::custom(format!(
                "{name} is {seconds:e} s, and no run is longer than {FURTHEST_S:e} s"
            ))),
        }
    }

    /// Every instant that is known, in seconds, by the name of its field.
    fn stamps(&self) -> Vec<(&'static str, f64)> {
        let stamps = [
            ("planned_s", Some(self.planned_s)),
            ("connect_started_s", self.connect_started_s),
            ("connected_s", self.connected_s),
            ("written_s", self.written_s),
            ("headers_s", self.headers_s),
            ("first_content_s", self.first_content_s),
            ("first_answer_s", self.first_answer_s),
            ("last_content_s", self.last_content_s),
            ("finish_s", self.finish_s),
            ("end_s", self.end_s),
        ];
        stamps.into_iter().filter_map(|(name, seconds)| Some((name, seconds?))).collect()
    }

    /// Every field by name, in the order of the files.
    pub(crate) fn cells(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(cells)) => cells,
            _ => unreachable!("a struct with string keys is an object"),
        }
    }
}

/// The text of `requests.jsonl`: one object a line, no header.
#[must_use]
pub fn jsonl(rows: &[RequestRow]) -> String {
    text_of(|out| write_jsonl(rows, out))
}

/// The same row by row, for a long run has more of them than a small machine has memory for.
///
/// # Errors
///
/// Those of `out`.
pub fn write_jsonl(
    rows: impl IntoIterator<Item = impl Borrow<RequestRow>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row.borrow())?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The text of `requests.csv` (RFC 4180, but with LF line ends): a header line, then a line a row.
/// Without rows it is the header alone.
#[must_use]
pub fn csv(rows: &[RequestRow]) -> String {
    text_of(|out| write_csv(rows, out))
}

/// The same row by row.
///
/// # Errors
///
/// Those of `out`.
pub fn write_csv(
    rows: impl IntoIterator<Item = impl Borrow<RequestRow>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(header().as_bytes())?;
    for row in rows {
        let cells: Vec<Value> = row.borrow().cells().into_iter().map(|(_, value)| value).collect();
        out.write_all(csv_line(&cells).as_bytes())?;
    }
    Ok(())
}

fn text_of(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("a vector takes every byte");
    String::from_utf8(bytes).expect("what was written are strings")
}

/// The JSON Schema of a row: its names and types are there without any row.
#[must_use]
pub fn row_schema() -> Value {
    schemars::schema_for!(RequestRow).to_value()
}

fn header() -> String {
    let schema = row_schema();
    let names: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default();
    names.join(",") + "\n"
}

/// A line of a table in the style of `requests.csv`: `null` is an empty cell.
pub(crate) fn csv_line(cells: &[Value]) -> String {
    let cells: Vec<String> = cells.iter().map(cell).collect();
    cells.join(",") + "\n"
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(entries) if entries.is_empty() => String::new(),
        // JSON in one cell, quoted as every text is that holds commas.
        Value::Object(_) => cell(&Value::String(value.to_string())),
        Value::String(text) => {
            // A cell that a spreadsheet would take for a formula is made plain text by a quote:
            // the words of a failure come from a server that we do not know.
            let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
            let text = format!("{guard}{text}");
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::{ORIGIN, completed, failed, later};

    fn row(record: &RequestRecord) -> RequestRow {
        RequestRow::new(record, &HeaderSplit::Marked, Stamp(ORIGIN))
    }

    #[test]
    fn a_row_has_stamps_relative_to_the_load_and_metrics() {
        let row = row(&later(completed(3), 1_000.0));
        assert!((row.planned_s - 1.0).abs() < 1e-12);
        assert!(row.first_content_s.is_some_and(|seconds| (seconds - 1.025).abs() < 1e-12));
        assert!(row.ttft_ms.is_some_and(|ms| (ms - 23.0).abs() < 1e-9));
        assert_eq!((row.phase.as_str(), row.outcome.as_str()), ("measured", "completed"));
    }

    #[test]
    fn a_stamp_before_the_load_is_negative() {
        let row =
            RequestRow::new(&completed(0), &HeaderSplit::Marked, Stamp(ORIGIN + 1_000_000_000));
        assert!((row.planned_s + 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_failed_request_is_a_row_with_stamps_and_without_metrics() {
        let row = row(&failed(0, FailureKind::StreamError));
        assert_eq!(row.failure, Some(FailureKind::StreamError));
        assert!(row.first_content_s.is_some() && row.ttft_ms.is_none() && row.e2e_ms.is_none());
    }

    #[test]
    fn jsonl_round_trips() {
        let rows = [row(&completed(0)), row(&failed(1, FailureKind::Reset))];
        let read: Vec<RequestRow> =
            jsonl(&rows).lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
        assert_eq!(read, rows);
    }

    /// Whatever is not refused here is counted second by second, or made a duration.
    #[test]
    fn a_stamp_that_no_run_reaches_is_refused_in_whatever_field_it_is() {
        let mut record = later(completed(0), 1_000.0);
        (record.connect_started, record.connected) = (Some(record.planned), record.written);
        let row = row(&record);
        let names: Vec<&str> = row.stamps().into_iter().map(|(name, _)| name).collect();
        let fields = row.cells();
        let is_stamp = |name: &&String| name.ends_with("_s");
        assert_eq!(names, fields.keys().filter(is_stamp).collect::<Vec<_>>());
        for name in names {
            for odd in [1e12, -1e12, 1e20] {
                let mut fields = fields.clone();
                fields.insert(name.to_owned(), Value::from(odd));
                let error = RequestRow::read(Value::from(fields).to_string().as_bytes());
                let error = error.expect_err("no run is as long").to_string();
                assert!(error.contains(name) && error.contains("no run is longer"), "{error}");
            }
        }
        assert_eq!(RequestRow::read(jsonl(std::slice::from_ref(&row)).as_bytes()).ok(), Some(row));
    }

    #[test]
    fn csv_and_jsonl_have_the_same_columns_in_the_same_order() {
        let row = row(&completed(0));
        let keys: Vec<String> = row.cells().keys().cloned().collect();
        assert_eq!(csv(&[]), keys.join(",") + "\n");
        let text = csv(&[row]);
        let widths: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(widths, [keys.len(), keys.len()]);
    }

    #[test]
    fn csv_cells_are_quoted_and_never_formulas() {
        assert_eq!(cell(&Value::from("a,\"b\"\nc")), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(cell(&Value::from("=cmd()")), "'=cmd()");
        assert_eq!(cell(&Value::Null), "");
        assert_eq!(cell(&serde_json::json!({})), "");
        assert_eq!(cell(&serde_json::json!({"a": "b"})), "\"{\"\"a\"\":\"\"b\"\"}\"");
    }
}
