//! The final summary on a terminal.
//!
//! Main function: [`render_summary`]. It fits 60 to 200 columns, uses colour only where told, and
//! never lets text from outside move the cursor. Live progress is not here.

use super::drawing;
use super::escape::clean;
use super::markdown::{missing, shown, threshold_in_words, what_ran};
use super::number::{seconds, short, whole};
use super::verdict::{Verdict, Word};
use crate::artifact::{MetricSummary, Report};
use crate::load::{ClockSource, FailureKind};

/// The summary; every line ends with a line end and has at most `width` columns (at least 60, at most
/// 200 are used). `colour` adds escape codes, which take no column.
#[must_use]
pub fn render_summary(report: &Report, width: usize, colour: bool) -> String {
    let mut screen = Screen::new(width, colour);
    let verdict = Verdict::of(report);
    let tone = match verdict.word {
        Word::Ok => Tone::Good,
        Word::Partial | Word::Accepted => Tone::Caution,
        Word::Failed => Tone::Bad,
    };
    screen.paragraph(&format!("{}:", verdict.word.text()), tone, &verdict.sentence, 0);
    screen.paragraph("", Tone::Plain, &what_ran(report), 2);
    metrics(report, &mut screen);
    rates(report, &mut screen);
    drawn(report, &mut screen);
    requests(report, &mut screen);
    thresholds(report, &mut screen);
    split(report, &mut screen);
    client(report, &mut screen);
    for warning in &report.warnings {
        screen.paragraph("warning:", Tone::Caution, &warning.message, 2);
    }
    screen.text
}

/// What a piece of text is to a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Faint,
    Strong,
    Good,
    Caution,
    Bad,
}

/// Text in lines of at most so many columns.
pub(super) struct Screen {
    pub(super) text: String,
    pub(super) width: usize,
    colour: bool,
}

impl Screen {
    /// Nothing yet. 60 to 200 columns are used.
    pub(super) fn new(width: usize, colour: bool) -> Self {
        Self { text: String::new(), width: width.clamp(60, 200), colour }
    }

    pub(super) fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Faint => "2",
            Tone::Strong => "1",
            Tone::Good => "1;32",
            Tone::Caution => "1;33",
            Tone::Bad => "1;31",
        };
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A label and words, wrapped at the width, later lines indented by two more.
    pub(super) fn paragraph(&mut self, label: &str, tone: Tone, words: &str, indent: usize) {
        let mut line = " ".repeat(indent) + &self.paint(label, tone);
        let mut columns = indent + label.chars().count();
        let mut empty = label.is_empty();
        for word in clean(words).split_whitespace() {
            let mut word = word;
            loop {
                let length = word.chars().count();
                let gap = usize::from(!empty);
                if columns + gap + length <= self.width {
                    line.push_str(&" ".repeat(gap));
                    line.push_str(word);
                    columns += gap + length;
                    empty = false;
                    break;
                }
                if !empty {
                    self.text.push_str(line.trim_end());
                    self.text.push('\n');
                    line = " ".repeat(indent + 2);
                    columns = indent + 2;
                    empty = true;
                    continue;
                }
                // A word longer than a line is broken where the line ends.
                let room = self.width - columns;
                let cut = word.char_indices().nth(room).map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..cut]);
                self.text.push_str(&line);
                self.text.push('\n');
                word = &word[cut..];
                line = " ".repeat(indent + 2);
                columns = indent + 2;
            }
        }
        if !empty {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }
}

fn metrics(report: &Report, screen: &mut Screen) {
    const NAME: usize = 26; // "prefill_tokens_per_second" and a blank
    const CELL: usize = 9;
    let known: Vec<(&str, &MetricSummary)> = shown(report)
        .into_iter()
        .map(|(metric, summary)| (metric.name, summary))
        .filter(|(_, summary)| summary.count > 0)
        .collect();
    if known.is_empty() {
        return;
    }
    // As many columns as fit; those that say most come first when they do not.
    let room = (screen.width - 2 - NAME) / CELL;
    let columns: &[&str] = match room {
        0..=3 => &["mean", "p50", "p95"],
        4 => &["mean", "p50", "p95", "max"],
        5 => &["mean", "p50", "p95", "p99", "max"],
        6 => &["mean", "p50", "p90", "p95", "p99", "max"],
        _ => &["n", "mean", "p50", "p90", "p95", "p99", "max"],
    };
    screen.blank();
    let mut head = " ".repeat(2 + NAME);
    for column in columns {
        head.push_str(&format!("{column:>CELL$}"));
    }
    let head = screen.paint(&head, Tone::Faint);
    screen.text.push_str(&head);
    screen.blank();
    for (name, summary) in known {
        let dots = ".".repeat(NAME - 1 - name.len());
        let dots = screen.paint(&dots, Tone::Faint);
        screen.text.push_str(&format!("  {name}{dots} "));
        for column in columns {
            let value = match *column {
                "n" => Some(summary.count as f64),
                "mean" => summary.mean,
                "p50" => summary.p50,
                "p90" => summary.p90,
                "p95" => summary.p95,
                "p99" => summary.p99,
                _ => summary.max,
            };
            // "needs n ≥ 100" is too wide for a column: "n≥100".
            let cell = match value {
                Some(_) if *column == "n" => whole(summary.count),
                Some(value) => short(value),
                None => missing(summary, column).replace("needs ", "").replace(' ', ""),
            };
            let tone = match (value, *column) {
                (None, _) => Tone::Faint,
                (Some(_), "p50") => Tone::Strong,
                _ => Tone::Plain,
            };
            let padding = " ".repeat(CELL.saturating_sub(cell.chars().count()));
            screen.text.push_str(&padding);
            let cell = screen.paint(&cell, tone);
            screen.text.push_str(&cell);
        }
        screen.blank();
    }
}

fn rates(report: &Report, screen: &mut Screen) {
    let rates = &report.rates;
    let Some(window) = rates.window else { return };
    screen.blank();
    let line = |figures: &crate::artifact::RateFigures| {
        let mut parts = Vec::new();
        for (value, unit) in [
            (figures.requests_per_second, "requests/s"),
            (figures.output_tokens_per_second, "output tokens/s"),
            (figures.prompt_tokens_per_second, "prompt tokens/s"),
            (figures.embeddings_per_second, "embeddings/s"),
            (figures.documents_per_second, "documents/s"),
            (figures.goodput_requests_per_second, "good requests/s"),
        ] {
            parts.extend(value.map(|value| format!("{} {unit}", short(value))));
        }
        parts.join(", ")
    };
    let words = format!("{} over {}", line(&rates.whole), seconds(window.duration_s));
    screen.paragraph("throughput:", Tone::Strong, &words, 2);
    if let Some(steady) = &rates.steady_state {
        let words = format!(
            "{} over {} at {} in flight",
            line(&steady.rates),
            seconds(steady.window.duration_s),
            short(steady.plateau_concurrency)
        );
        screen.paragraph("steady state:", Tone::Strong, &words, 2);
    }
}

fn drawn(report: &Report, screen: &mut Screen) {
    let Some(line) = report.timeline.as_ref().filter(|line| drawing::is_worth_it(line)) else {
        return;
    };
    for row in drawing::sparklines(line, screen.width - 2) {
        screen.text.push_str(&format!("  {row}\n"));
    }
}

fn requests(report: &Report, screen: &mut Screen) {
    let requests = &report.requests;
    let mut words =
        format!("{} planned, {} completed", whole(requests.planned), whole(requests.completed));
    for (count, name) in [
        (requests.failed, "failed"),
        (requests.cancelled, "cancelled"),
        (requests.dropped, "dropped"),
        (requests.cut, "cut"),
    ] {
        if count > 0 {
            words.push_str(&format!(", {} {name}", whole(count)));
        }
    }
    screen.paragraph("requests:", Tone::Strong, &words, 2);
    for kind in FailureKind::ALL {
        if let Some(count) = requests.by_error.get(&kind) {
            let example = requests.error_examples.get(&kind).map_or("", String::as_str);
            let label = format!("{} {}:", whole(*count), kind.name());
            screen.paragraph(&label, Tone::Bad, example, 4);
        }
    }
}

fn thresholds(report: &Report, screen: &mut Screen) {
    for threshold in &report.thresholds {
        let (label, tone) = match threshold.ok {
            true => ("holds:", Tone::Good),
            false => ("crossed:", Tone::Bad),
        };
        screen.paragraph(label, tone, &threshold_in_words(threshold), 2);
    }
}

fn split(report: &Report, screen: &mut Screen) {
    if let Some(split) = &report.reconciliation.ttft {
        let words = format!(
            "{} ms mean = queue {} + server prefill {} + left over {}",
            short(split.ttft_ms_mean),
            short(split.queue_ms_mean),
            short(split.server_prefill_ms_mean),
            short(split.residual_ms_mean)
        );
        screen.paragraph("ttft:", Tone::Strong, &words, 2);
    }
}

fn client(report: &Report, screen: &mut Screen) {
    let client = &report.client;
    let mut parts = Vec::new();
    if let Some(mean) = client.dispatch_lateness_us.mean {
        parts.push(format!("sent {} µs late on average", short(mean)));
    }
    if let Some(p50) = client.client_delay_us.p50 {
        let p99 = client.client_delay_us.p99.map(|p99| format!(", p99 {}", short(p99)));
        parts.push(format!("read {} µs late (p50{})", short(p50), p99.unwrap_or_default()));
    }
    if parts.is_empty() {
        return;
    }
    parts.push(match client.clock_source {
        ClockSource::Kernel => "kernel stamps".to_owned(),
        ClockSource::User => "user-space stamps".to_owned(),
    });
    screen.paragraph("client:", Tone::Strong, &parts.join(", "), 2);
}
