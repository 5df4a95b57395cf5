//! One live line at the bottom of a terminal; finished stages scroll up above it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{cell_sentence, comparison_sentence, load_sentence, size};
use crate::event::{Event, Listener};

/// Shows a spinner with the current stage, or a bar where the end is known.
#[derive(Debug)]
pub struct LiveLine {
    verbose: bool,
    bar: ProgressBar,
}

impl LiveLine {
    /// Draws on stderr. With `verbose`, the server's log scrolls by above the line.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner} {prefix:.bold} {wide_msg}"));
        Self { verbose, bar }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Listener for LiveLine {
    fn on_event(&self, event: &Event) {
        match event {
            Event::StageStarted { stage, what } => {
                self.bar.set_style(style("{spinner} {prefix:.bold} {wide_msg}"));
                self.bar.set_prefix(stage.name());
                self.bar.set_message(what.clone());
                self.bar.enable_steady_tick(Duration::from_millis(120));
            }
            Event::StageDone { stage, outcome, elapsed_s } => {
                // The spinner's own thread must not wake up while requests are measured.
                self.bar.disable_steady_tick();
                self.bar.println(format!("✓ {:8} {outcome} ({elapsed_s:.1} s)", stage.name()));
                self.bar.set_message(String::new());
            }
            Event::CellStarted { number, cells, name } => {
                self.bar.println(cell_sentence(*number, *cells, name));
            }
            Event::Transfer { stage: _, file, bytes, total_bytes } => {
                let total =
                    total_bytes.map_or_else(String::new, |total| format!(" of {}", size(total)));
                self.bar.set_message(format!("{file}: {}{total}", size(*bytes)));
            }
            Event::LoadProgress(progress) => {
                self.bar.disable_steady_tick();
                self.bar.set_message(load_sentence(progress));
                self.bar.tick();
            }
            Event::Comparison(progress) => {
                self.bar.disable_steady_tick();
                self.bar.set_prefix("ab");
                self.bar.set_message(comparison_sentence(progress));
                self.bar.tick();
            }
            Event::MetricsServed { url } => self.bar.println(format!("metrics: {url}")),
            Event::Warning { message } => self.bar.println(format!("warning: {message}")),
            Event::ServerLog { line } => {
                if self.verbose {
                    self.bar.println(format!("server| {line}"));
                }
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are constants that parse")
}
