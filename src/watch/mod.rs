//! Who watches a run: a live view on a terminal, plain lines in CI, JSON lines for programs, and
//! the log of events in the output folder.
//!
//! Main types: [`LiveView`], [`PlainLines`], [`JsonLines`]. They only show what [`crate::event`]
//! says; nothing is measured or decided here. Everything goes to stderr or a file: stdout belongs
//! to the results.

mod live;
mod plain;
mod scene;
mod screen;
mod words;

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

pub use live::LiveView;
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

#[cfg(test)]
mod tests {
    use super::*;

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
