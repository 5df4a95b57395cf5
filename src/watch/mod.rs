//! Who watches a run: a live line on a terminal, plain lines in CI, JSON lines for programs, and
//! the log of events in the output folder.
//!
//! Main types: [`LiveLine`], [`PlainLines`], [`JsonLines`]. They only show what [`crate::event`]
//! says; nothing is measured or decided here. Everything goes to stderr or a file: stdout belongs
//! to the results.

mod live;
mod plain;

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

pub use live::LiveLine;
pub use plain::PlainLines;

use crate::event::{Event, Listener};

/// One JSON object an event, with the seconds since the listener was made.
pub struct JsonLines<W> {
    started: Instant,
    sink: Mutex<W>,
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `sink`; each line is flushed, so that a crash loses none.
    pub fn new(sink: W) -> Self {
        Self { started: Instant::now(), sink: Mutex::new(sink) }
    }
}

#[derive(serde::Serialize)]
struct TimedEvent<'a> {
    t_s: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl<W: Write + Send> Listener for JsonLines<W> {
    fn on_event(&self, event: &Event) {
        // The server's log has a file of its own; here it would drown the events.
        if matches!(event, Event::ServerLog { .. }) {
            return;
        }
        let timed = TimedEvent { t_s: self.started.elapsed().as_secs_f64(), event };
        let Ok(mut line) = serde_json::to_vec(&timed) else { return };
        line.push(b'\n');
        if let Ok(mut sink) = self.sink.lock() {
            // A closed stderr or a full disk must not end the measurement; the report says the same.
            drop(sink.write_all(&line).and_then(|()| sink.flush()));
        }
    }
}

impl<W> std::fmt::Debug for JsonLines<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JsonLines").finish_non_exhaustive()
    }
}

/// The sentence for a state of the load, shared by the live line and the plain lines.
fn load_sentence(progress: &crate::event::LoadProgress) -> String {
    let requests = match progress.planned {
        Some(planned) => format!("{}/{planned} requests", progress.completed + progress.failed),
        None => format!("{} requests", progress.completed + progress.failed),
    };
    let failed =
        if progress.failed > 0 { format!(", {} FAILED", progress.failed) } else { String::new() };
    let left = match progress.remaining_s {
        Some(remaining_s) => format!(", {} left", clock(remaining_s)),
        None => String::new(),
    };
    format!(
        "{requests}{failed}, {} in flight, {:.0} deltas/s{left}",
        progress.in_flight, progress.deltas_per_second
    )
}

/// `cell 3 of 18: users=4`; in a search `trial 3: rate=8,trial=1`.
fn cell_sentence(number: u64, cells: Option<u64>, name: &str) -> String {
    match cells {
        Some(cells) => format!("cell {number} of {cells}: {name}"),
        None => format!("trial {number}: {name}"),
    }
}

/// The sentence for a state of a comparison: `pair 5 of 16, 2:10 left: base first ·
/// output_tokens_per_second −2.7 % (−3.4 … −2.0)`.
fn comparison_sentence(progress: &crate::event::ComparisonProgress) -> String {
    let pairs = match progress.pairs_planned {
        Some(planned) => format!("{} of {planned} pairs", progress.pairs),
        None => "ab".to_owned(),
    };
    let mut sentence = format!("{pairs}, {} left: {}", clock(progress.remaining_s), progress.doing);
    for standing in &progress.metrics {
        let [low, high] = standing.ci_pct;
        sentence.push_str(&format!(
            " · {} {:+.1} % ({low:+.1} … {high:+.1})",
            standing.metric, standing.change_pct
        ));
    }
    sentence
}

/// `65.2` → `1:05`.
fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped at 0; years would not overflow"
    )]
    let whole = whole as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// `1536` → `1.5 KiB`.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LoadProgress;

    #[test]
    fn failures_stand_out_in_the_sentence() {
        let progress = LoadProgress {
            elapsed_s: 2.0,
            remaining_s: Some(64.2),
            completed: 10,
            failed: 2,
            in_flight: 4,
            planned: None,
            deltas_per_second: 99.6,
        };
        assert_eq!(
            load_sentence(&progress),
            "12 requests, 2 FAILED, 4 in flight, 100 deltas/s, 1:05 left"
        );
    }

    #[test]
    fn a_json_line_is_one_object_with_its_time() {
        let sink = std::sync::Arc::new(Mutex::new(Vec::new()));
        struct Shared(std::sync::Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let listener = JsonLines::new(Shared(sink.clone()));
        listener.on_event(&Event::Warning { message: "a\nb".to_owned() });
        listener.on_event(&Event::ServerLog { line: "not here".to_owned() });
        let text = String::from_utf8(sink.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1);
        let value: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(value["event"], "warning");
        assert_eq!(value["message"], "a\nb");
        assert!(value["t_s"].is_number());
    }
}
