//! Plain lines on stderr, for CI logs and pipes: no escape codes, and not too many.

use std::io::Write;
use std::sync::Mutex;

use super::words::{
    cell_sentence, comparison_sentence, done_sentence, fitting_sentence, load_sentence, size,
};
use crate::event::{Event, Listener, LoadStep, Stage};
use crate::report::escape::clean;

/// Seconds between two lines about the load: often enough to see life, rare enough to read.
const LOAD_LINE_INTERVAL_S: f64 = 5.0;

/// Bytes between two lines about a transfer.
const TRANSFER_LINE_BYTES: u64 = 64 << 20;

/// Writes one line a thing that happened.
#[derive(Debug, Default)]
pub struct PlainLines {
    /// Show the server's log too.
    verbose: bool,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    load_line_s: f64,
    transfer_file: String,
    transfer_bytes: u64,
}

impl PlainLines {
    /// With `verbose`, the server's log is shown too.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self { verbose, last: Mutex::default() }
    }

    fn line_for(&self, event: &Event) -> Option<String> {
        let mut last = self.last.lock().ok()?;
        match event {
            Event::StageStarted { stage, what } => {
                *last = Last::default();
                Some(format!("{}: {what}", stage.name()))
            }
            Event::StageDone { stage, outcome, elapsed_s } => {
                Some(done_sentence(stage.name(), outcome, *elapsed_s))
            }
            Event::CellStarted { number, cells, name } => {
                Some(format!("\n{}", cell_sentence(*number, *cells, name)))
            }
            Event::Transfer { stage, file, bytes, total_bytes } => {
                let begun = last.transfer_file != *file;
                let done = Some(*bytes) == *total_bytes;
                if !begun && !done && *bytes < last.transfer_bytes + TRANSFER_LINE_BYTES {
                    return None;
                }
                last.transfer_file.clone_from(file);
                last.transfer_bytes = *bytes;
                let total =
                    total_bytes.map_or_else(String::new, |total| format!(" of {}", size(total)));
                Some(format!("{}: {file}: {}{total}", stage.name(), size(*bytes)))
            }
            Event::Fitting { stage, prompts, total_prompts } => {
                Some(format!("{}: {}", stage.name(), fitting_sentence(*prompts, *total_prompts)))
            }
            Event::LoadProgress(progress) => {
                if progress.elapsed_s < last.load_line_s + LOAD_LINE_INTERVAL_S {
                    return None;
                }
                last.load_line_s = progress.elapsed_s;
                let stage = match progress.step {
                    LoadStep::WarmUp => Stage::WarmUp,
                    LoadStep::Measuring | LoadStep::Draining => Stage::Load,
                };
                let (stage, elapsed_s) = (stage.name(), progress.elapsed_s);
                Some(format!("{stage}: {elapsed_s:.0} s, {}", load_sentence(progress)))
            }
            Event::Comparison(progress) => Some(comparison_sentence(progress)),
            Event::MetricsServed { url } => Some(format!("metrics: {url}")),
            Event::Warning { message } => Some(format!("warning: {message}")),
            Event::ServerLog { line } => self.verbose.then(|| format!("server| {line}")),
        }
    }
}

impl Listener for PlainLines {
    fn on_event(&self, event: &Event) {
        if let Some(line) = self.line_for(event) {
            // What a server or a file name says may hold escape codes; a line between two is ours.
            let line: Vec<String> = line.split('\n').map(clean).collect();
            let line = line.join("\n");
            // A closed stderr must not end the measurement.
            drop(writeln!(std::io::stderr().lock(), "{line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LoadProgress;

    fn progress(elapsed_s: f64) -> Event {
        Event::LoadProgress(LoadProgress {
            elapsed_s,
            completed: 1,
            in_flight: 1,
            planned: Some(2),
            deltas_per_second: 5.0,
            ..LoadProgress::default()
        })
    }

    #[test]
    fn load_lines_come_every_five_seconds_only() {
        let lines = PlainLines::new(false);
        let shown = (1..=12)
            .filter(|second| lines.line_for(&progress(f64::from(*second))).is_some())
            .count();
        assert_eq!(shown, 2);
    }

    #[test]
    fn the_server_log_is_shown_only_when_asked() {
        let event = Event::ServerLog { line: "hello".to_owned() };
        assert_eq!(PlainLines::new(false).line_for(&event), None);
        assert_eq!(PlainLines::new(true).line_for(&event).as_deref(), Some("server| hello"));
    }

    #[test]
    fn a_transfer_shows_its_first_and_last_line_and_few_between() {
        let lines = PlainLines::new(false);
        let total = 200 << 20;
        let shown = (0..=200u64)
            .filter(|mebibyte| {
                let event = Event::Transfer {
                    stage: Stage::Model,
                    file: "m".to_owned(),
                    bytes: mebibyte << 20,
                    total_bytes: Some(total),
                };
                lines.line_for(&event).is_some()
            })
            .count();
        assert_eq!(shown, 5, "0, 64, 128, 192 and 200 MiB");
    }

    #[test]
    fn counting_before_the_load_is_no_silence() {
        let event = Event::Fitting { stage: Stage::Dataset, prompts: 500, total_prompts: 2100 };
        let line = PlainLines::new(false).line_for(&event);
        assert_eq!(line.as_deref(), Some("dataset: 500 of 2100 prompts looked at"));
    }

    #[test]
    fn stages_are_named() {
        let event = Event::StageStarted { stage: Stage::WarmUp, what: "4 requests".to_owned() };
        assert_eq!(PlainLines::new(false).line_for(&event).as_deref(), Some("warm-up: 4 requests"));
    }
}
