//! What the live view shows: the state that events make, and its rows at a given width.
//!
//! Main type: [`Scene`]. It knows no terminal: what is drawn is in `screen`, when in `live`.

use std::time::{Duration, Instant};

use super::screen::{Row, Tone, usable, wrapped};
use super::words::{cell_sentence, clock, done_sentence, fitting_sentence, size, two};
use crate::event::{ComparisonProgress, Event, LoadProgress, LoadStep, Stage};
use crate::report::number::{short, whole};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Columns of what stands before each row.
const LABEL: usize = 13;

/// Values kept for a sparkline: more than the widest one has columns.
const MOST_VALUES: usize = 240;

/// Rows of metrics in a comparison; a table of more belongs into the report.
const MOST_METRICS: usize = 6;

#[derive(Debug)]
pub(super) struct Scene {
    verbose: bool,
    now: Option<Doing>,
    /// A comparison goes on while its servers start and stop.
    comparison: Option<Compared>,
    cell: Option<String>,
    /// What scrolls away above the view as soon as it is drawn.
    above: Vec<(Tone, String)>,
    begun: Instant,
}

/// What goes on.
#[derive(Debug)]
struct Doing {
    name: &'static str,
    what: String,
    since: Instant,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Waiting,
    Transfer { bytes: u64, total_bytes: Option<u64> },
    Load { progress: Box<LoadProgress>, told: Instant, deltas: Vec<f64> },
}

/// How a comparison stands.
#[derive(Debug)]
struct Compared {
    progress: ComparisonProgress,
    told: Instant,
    /// Of each metric, half the width of its interval after each pair.
    widths: Vec<(String, Vec<f64>)>,
}

impl Scene {
    pub(super) fn new(verbose: bool, now: Instant) -> Self {
        Self { verbose, now: None, comparison: None, cell: None, above: Vec::new(), begun: now }
    }

    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        match event {
            Event::StageStarted { stage, what } => {
                self.now = Some(Doing::begin(stage.name(), what.clone(), now));
            }
            Event::StageDone { stage, outcome, elapsed_s } => {
                self.now = None;
                if *stage == Stage::Report {
                    (self.cell, self.comparison) = (None, None);
                }
                // Servers come and go in each pair of a comparison: no news.
                if self.comparison.is_none() {
                    let sentence = done_sentence(stage.name(), outcome, *elapsed_s);
                    self.above.push((Tone::Plain, format!("✓ {sentence}")));
                }
            }
            Event::CellStarted { number, cells, name } => {
                let sentence = cell_sentence(*number, *cells, name);
                self.above.push((Tone::Strong, sentence.clone()));
                self.cell = Some(sentence);
            }
            Event::Transfer { stage, file, bytes, total_bytes } => {
                let doing = self.doing(stage.name(), now);
                doing.what.clone_from(file);
                doing.part = Part::Transfer { bytes: *bytes, total_bytes: *total_bytes };
            }
            Event::Fitting { stage, prompts, total_prompts } => {
                self.doing(stage.name(), now).what = fitting_sentence(*prompts, *total_prompts);
            }
            Event::LoadProgress(progress) => {
                let name = match progress.step {
                    LoadStep::WarmUp => Stage::WarmUp.name(),
                    LoadStep::Measuring | LoadStep::Draining => Stage::Load.name(),
                };
                let doing = self.doing(name, now);
                let mut deltas = match &mut doing.part {
                    Part::Load { deltas, .. } => std::mem::take(deltas),
                    _ => Vec::new(),
                };
                push(&mut deltas, progress.deltas_per_second);
                doing.part = Part::Load { progress: Box::new(*progress), told: now, deltas };
            }
            Event::Comparison(progress) => {
                let before = self.comparison.take();
                let pairs = before.as_ref().map_or(0, |before| before.progress.pairs);
                let mut widths = before.map_or_else(Vec::new, |before| before.widths);
                for standing in &progress.metrics {
                    let [low, high] = standing.ci_pct;
                    let known = widths.iter_mut().find(|(metric, _)| *metric == standing.metric);
                    match known {
                        // Also told before long waits, when nothing was learned.
                        Some((_, all)) if progress.pairs > pairs => push(all, (high - low) / 2.0),
                        Some(_) => {}
                        None => widths.push((standing.metric.clone(), vec![(high - low) / 2.0])),
                    }
                }
                self.comparison = Some(Compared { progress: progress.clone(), told: now, widths });
            }
            Event::MetricsServed { url } => {
                self.above.push((Tone::Plain, format!("metrics: {url}")));
            }
            Event::Warning { message } => {
                self.above.push((Tone::Bad, format!("warning: {message}")));
            }
            Event::ServerLog { line } => {
                if self.verbose {
                    self.above.push((Tone::Faint, format!("server| {line}")));
                }
            }
        }
    }

    /// What goes on under this name; it begins now if it has not.
    fn doing(&mut self, name: &'static str, now: Instant) -> &mut Doing {
        if self.now.as_ref().is_none_or(|doing| doing.name != name) {
            self.now = Some(Doing::begin(name, String::new(), now));
        }
        self.now.as_mut().expect("it was just put there")
    }

    /// What has been done and said since the last picture.
    pub(super) fn drain(&mut self, width: usize) -> Vec<Row> {
        let columns = usable(width);
        let above = std::mem::take(&mut self.above);
        above.iter().flat_map(|(tone, text)| wrapped(*tone, text, columns, 2)).collect()
    }

    /// What goes on.
    pub(super) fn rows(&self, width: usize, now: Instant) -> Vec<Row> {
        let columns = usable(width);
        let turn = now.duration_since(self.begun).as_millis() / 120;
        let spinner = SPINNER[usize::try_from(turn).unwrap_or(0) % SPINNER.len()];
        let mut rows = Vec::new();
        if let Some(cell) = &self.cell {
            rows.push(Row::new().with(Tone::Faint, cell));
        }
        if let Some(compared) = &self.comparison {
            rows.extend(comparison(compared, now, columns));
        }
        let Some(doing) = &self.now else { return rows };
        rows.extend(match &doing.part {
            Part::Waiting => vec![waiting(spinner, doing, now)],
            Part::Transfer { bytes, total_bytes } => {
                vec![transfer(spinner, doing, (*bytes, *total_bytes), columns, now)]
            }
            Part::Load { progress, told, deltas } => {
                let since = now.duration_since(*told).as_secs_f64();
                load(doing.name, progress, since, deltas, columns)
            }
        });
        rows
    }
}

impl Doing {
    fn begin(name: &'static str, what: String, now: Instant) -> Self {
        Self { name, what, since: now, part: Part::Waiting }
    }
}

fn push(values: &mut Vec<f64>, value: f64) {
    if values.len() == MOST_VALUES {
        values.remove(0);
    }
    values.push(value);
}

/// `⠋ server   llama-server  3 s`.
fn waiting(spinner: &str, doing: &Doing, now: Instant) -> Row {
    let waited = now.duration_since(doing.since);
    let row = Row::new()
        .with(Tone::Good, spinner)
        .with(Tone::Strong, &format!(" {:<width$}", doing.name, width = LABEL - 2))
        .with(Tone::Plain, &doing.what);
    if waited < Duration::from_secs(1) {
        return row;
    }
    row.with(Tone::Faint, &format!("  {}", clock(waited.as_secs_f64().floor())))
}

fn transfer(
    spinner: &str,
    doing: &Doing,
    (bytes, total): (u64, Option<u64>),
    columns: usize,
    now: Instant,
) -> Row {
    let elapsed = now.duration_since(doing.since).as_secs_f64();
    let row = Row::new()
        .with(Tone::Good, spinner)
        .with(Tone::Strong, &format!(" {:<width$}", doing.name, width = LABEL - 2))
        .with(Tone::Plain, &doing.what);
    let mut words = match total {
        Some(total) => format!("  {} of {}", size(bytes), size(total)),
        None => format!("  {}", size(bytes)),
    };
    if elapsed >= 1.0 {
        let rate = bytes as f64 / elapsed;
        words.push_str(&format!(", {}/s", size(rate as u64)));
        if let Some(total) = total.filter(|total| *total > bytes && rate >= 1.0) {
            words.push_str(&format!(", {} left", clock((total - bytes) as f64 / rate)));
        }
    }
    // The figures matter more than the end of a long name.
    let room = columns.saturating_sub(words.chars().count());
    row.cut(room.max(LABEL + 8)).with(Tone::Faint, &words)
}

/// Parts of a row, the most important first: as many as fit.
struct Parts {
    row: Row,
    columns: usize,
    is_first: bool,
}

impl Parts {
    fn begin(label: &str, columns: usize) -> Self {
        let row = Row::new().with(Tone::Faint, &format!("  {label:<width$}", width = LABEL - 2));
        Self { row, columns, is_first: true }
    }

    fn add(mut self, tone: Tone, text: &str) -> Self {
        let gap = if self.is_first { "" } else { " · " };
        let longer = self.row.clone().with(Tone::Faint, gap).with(tone, text);
        if longer.columns() <= self.columns {
            self.row = longer;
            self.is_first = false;
        }
        self
    }

    fn room(&self) -> usize {
        self.columns.saturating_sub(self.row.columns())
    }
}

/// The load: where it stands, requests, rates with the course of the last minutes, latencies.
fn load(
    name: &str,
    progress: &LoadProgress,
    since: f64,
    deltas: &[f64],
    columns: usize,
) -> Vec<Row> {
    let elapsed = progress.elapsed_s + since;
    let remaining = progress.remaining_s.map(|left| (left - since).max(0.0));
    let ended = progress.completed + progress.failed;
    let by_time = remaining.map(|left| elapsed / (elapsed + left).max(f64::EPSILON));
    let by_count =
        progress.planned.filter(|all| *all > 0).map(|planned| ended as f64 / planned as f64);
    // Whichever is nearer ends it.
    let share = [by_time, by_count]
        .into_iter()
        .flatten()
        .fold(None, |most: Option<f64>, share| Some(most.map_or(share, |most| most.max(share))));
    let mut words = match (progress.planned, remaining) {
        (Some(planned), _) => format!("{}/{} requests", whole(ended), whole(planned)),
        (None, _) => clock(elapsed.floor()),
    };
    match (progress.step, remaining) {
        (LoadStep::Draining, _) => words.push_str(", waiting for the last answers"),
        (_, Some(left)) => words.push_str(&format!(", at most {} left", clock(left))),
        (_, None) => {}
    }
    if let Some(of) = progress.phase {
        words.push_str(&format!(", phase {} of {}", of.number, of.phases));
    }
    let mut rows = vec![headline(name, share, &words, columns)];

    let mut requests = Parts::begin("requests", columns);
    if progress.failed > 0 {
        requests = requests.add(Tone::Bad, &format!("{} FAILED", whole(progress.failed)));
    }
    requests = requests
        .add(Tone::Plain, &format!("{} completed", whole(progress.completed)))
        .add(Tone::Plain, &format!("{} in flight", whole(progress.in_flight)));
    if let Some(server) = progress.server {
        let slots = server.slots.map_or_else(String::new, |slots| format!(" of {slots}"));
        requests = requests.add(Tone::Plain, &format!("slots {}{slots}", server.slots_busy));
        if let Some(deferred) = server.deferred.filter(|deferred| *deferred > 0) {
            requests = requests.add(Tone::Plain, &format!("{} waiting", whole(deferred)));
        }
    }
    rows.push(requests.row);

    let mut rates = Parts::begin("rates", columns);
    if progress.step != LoadStep::WarmUp {
        rates =
            rates.add(Tone::Plain, &format!("{} requests/s", short(progress.requests_per_second)));
    }
    rates = rates.add(Tone::Plain, &format!("{} deltas/s", short(progress.deltas_per_second)));
    let room = rates.room().saturating_sub(2);
    let drawn = sparkline(deltas, room);
    rows.push(rates.row.with(Tone::Good, &format!("  {drawn}")));

    if let Some(latency) = progress.latency {
        let mut parts = Parts::begin("p50/p95 ms", columns);
        let known =
            [("TTFT", latency.ttft_ms), ("TPOT", latency.tpot_ms), ("E2E", Some(latency.e2e_ms))];
        for (name, quantiles) in known {
            if let Some(quantiles) = quantiles {
                parts = parts.add(Tone::Plain, &format!("{name} {}", two(quantiles)));
            }
        }
        rows.push(parts.row);
    }
    rows
}

/// The name, a bar as long as there is room for it, and where it stands.
fn headline(name: &str, share: Option<f64>, words: &str, columns: usize) -> Row {
    let row = Row::new().with(Tone::Strong, &format!("{name:<LABEL$}"));
    let room = columns.saturating_sub(LABEL + words.chars().count() + 2).min(60);
    let Some(share) = share.filter(|_| room >= 8) else { return row.with(Tone::Plain, words) };
    let full = (share.clamp(0.0, 1.0) * room as f64).round() as usize;
    row.with(Tone::Good, &"━".repeat(full))
        .with(Tone::Faint, &"─".repeat(room - full.min(room)))
        .with(Tone::Plain, &format!("  {words}"))
}

/// The newest values, one a column, from nothing to the largest of them.
fn sparkline(values: &[f64], columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(columns)..];
    let full = shown.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| {
        let height = if full > 0.0 { value / full * 7.0 } else { 0.0 };
        // `as` saturates, also for what is no number.
        BLOCKS[(height.round() as usize).min(7)]
    };
    shown.iter().map(block).collect()
}

/// The comparison: how far it is, and for each gated metric the interval and how it has narrowed.
fn comparison(compared: &Compared, now: Instant, columns: usize) -> Vec<Row> {
    let Compared { progress, told, widths } = compared;
    let since = now.duration_since(*told).as_secs_f64();
    let left = clock((progress.remaining_s - since).max(0.0));
    let (share, pairs) = match progress.pairs_planned {
        Some(planned) => {
            let share = progress.pairs as f64 / planned.max(1) as f64;
            (Some(share), format!("{} of at most {planned} pairs", progress.pairs))
        }
        None => (None, format!("{} pairs", progress.pairs)),
    };
    let mut rows = vec![
        headline("ab", share, &format!("{pairs}, {left} left"), columns),
        Parts::begin("now", columns).add(Tone::Plain, &progress.doing).row,
    ];
    let shown = &progress.metrics[..progress.metrics.len().min(MOST_METRICS)];
    let name = shown.iter().map(|standing| standing.metric.len()).max().unwrap_or(0);
    // One scale for all, the same to both sides of no change.
    let reach = shown
        .iter()
        .flat_map(|standing| standing.ci_pct)
        .chain([1.0])
        .fold(0.0, |most: f64, end| if end.is_finite() { most.max(end.abs()) } else { most });
    for standing in shown {
        let [low, high] = standing.ci_pct;
        let figures = format!("{:+.1} % ({low:+.1} … {high:+.1})", standing.change_pct);
        let row = Row::new()
            .with(Tone::Plain, &format!("  {:<name$}  ", standing.metric))
            .with(Tone::Strong, &format!("{figures:<25}"));
        let room = columns.saturating_sub(row.columns());
        let row = match room {
            27.. => row.with(
                Tone::Plain,
                &format!("  {}", interval(standing.change_pct, [low, high], reach)),
            ),
            _ => row,
        };
        let room = columns.saturating_sub(row.columns() + 2);
        let course = widths.iter().find(|(metric, _)| *metric == standing.metric);
        let drawn = course.map_or_else(String::new, |(_, widths)| sparkline(widths, room));
        rows.push(row.with(Tone::Good, &format!("  {drawn}")));
    }
    rows
}

/// `······├──●──┤·|········`: an interval beside no change, on a scale of so many per cent to both sides.
fn interval(change: f64, [low, high]: [f64; 2], reach: f64) -> String {
    const HALF: usize = 12;
    let place = |value: f64| {
        let step = (value / reach * HALF as f64).round().clamp(-(HALF as f64), HALF as f64);
        // Clamped just above.
        (step + HALF as f64) as usize
    };
    let (low, high, change) = (place(low), place(high), place(change));
    let mark = |at: usize| match at {
        at if at == change => '●',
        at if at == HALF => '|',
        at if at == low => '├',
        at if at == high => '┤',
        at if at > low && at < high => '─',
        _ => '·',
    };
    (0..=2 * HALF).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LiveLatency, LiveQuantiles, LiveServer, PhaseOf, Standing};

    fn scene(events: &[Event]) -> (Scene, Instant) {
        let now = Instant::now();
        let mut scene = Scene::new(false, now);
        events.iter().for_each(|event| scene.take(event, now));
        (scene, now)
    }

    fn shown(scene: &Scene, width: usize, now: Instant) -> Vec<String> {
        let rows = scene.rows(width, now).into_iter();
        let rows: Vec<String> = rows.map(|row| row.cut(usable(width)).text()).collect();
        assert!(rows.iter().all(|row| row.chars().count() < width), "{width}: {rows:#?}");
        rows.iter().map(|row| row.trim_end().to_owned()).collect()
    }

    fn loaded() -> LoadProgress {
        let two = |p50, p95| LiveQuantiles { p50, p95 };
        LoadProgress {
            step: LoadStep::Measuring,
            phase: Some(PhaseOf { number: 2, phases: 3 }),
            elapsed_s: 75.0,
            remaining_s: Some(225.0),
            completed: 812,
            failed: 3,
            in_flight: 8,
            planned: Some(4_000),
            requests_per_second: 12.4,
            deltas_per_second: 812.0,
            latency: Some(LiveLatency {
                ttft_ms: Some(two(41.2, 88.0)),
                tpot_ms: Some(two(4.93, 6.12)),
                e2e_ms: two(353.0, 602.0),
            }),
            server: Some(LiveServer { slots_busy: 8, slots: Some(8), deferred: Some(2) }),
        }
    }

    #[test]
    fn a_load_has_its_figures_and_its_course() {
        let mut events = vec![Event::StageStarted { stage: Stage::Load, what: String::new() }];
        for deltas_per_second in [100.0, 400.0, 812.0] {
            events.push(Event::LoadProgress(LoadProgress { deltas_per_second, ..loaded() }));
        }
        let (scene, now) = scene(&events);
        assert_eq!(
            shown(&scene, 80, now),
            [
                "load         ━━━──────────  815/4,000 requests, at most 3:45 left, phase 2 of 3",
                "  requests   3 FAILED · 812 completed · 8 in flight · slots 8 of 8 · 2 waiting",
                "  rates      12.4 requests/s · 812 deltas/s  ▂▄█",
                "  p50/p95 ms TTFT 41.2/88.0 · TPOT 4.93/6.12 · E2E 353/602",
            ]
        );
        // What fits least is left out, and failures are never.
        let narrow = shown(&scene, 60, now);
        assert!(narrow[1].contains("3 FAILED") && !narrow[1].contains("2 waiting"), "{narrow:#?}");
        for width in 20..=220 {
            shown(&scene, width, now);
        }
    }

    #[test]
    fn time_goes_on_between_two_looks() {
        let progress = LoadProgress { planned: None, phase: None, ..loaded() };
        let (scene, now) = scene(&[Event::LoadProgress(progress)]);
        let later = shown(&scene, 100, now + Duration::from_secs(25));
        assert!(later[0].ends_with("1:40, at most 3:20 left"), "{later:#?}");
    }

    #[test]
    fn an_interval_is_drawn_beside_no_change() {
        assert_eq!(interval(-2.0, [-4.0, 0.0], 4.0), "├─────●─────|············");
        assert_eq!(interval(1.0, [-1.0, 3.0], 3.0), "········├───|───●───────┤");
        assert_eq!(interval(f64::NAN, [f64::NEG_INFINITY, 9.0], 3.0).chars().count(), 25);
    }

    #[test]
    fn a_comparison_stays_while_its_servers_come_and_go() {
        let told = |pairs, width| {
            Event::Comparison(ComparisonProgress {
                doing: "pair 5, base first".to_owned(),
                pairs,
                pairs_planned: Some(16),
                remaining_s: 130.0,
                metrics: vec![Standing {
                    metric: "output_tokens_per_second".to_owned(),
                    change_pct: -2.7,
                    ci_pct: [-2.7 - width, -2.7 + width],
                }],
            })
        };
        let events = [
            told(3, 4.0),
            told(4, 2.0),
            told(4, 2.0),
            Event::StageStarted { stage: Stage::Server, what: "llama-server".to_owned() },
        ];
        let (mut scene, now) = scene(&events);
        assert_eq!(
            shown(&scene, 100, now),
            [
                "ab           ━━━━━━━━━━━━━───────────────────────────────────────  4 of at most 16 pairs, 2:10 left",
                "  now        pair 5, base first",
                "  output_tokens_per_second  -2.7 % (-4.7 … -0.7)       ├────●────┤·|············  █▅",
                "⠋ server     llama-server",
            ]
        );
        for width in 20..=220 {
            shown(&scene, width, now);
        }
        let done = |stage| Event::StageDone { stage, outcome: "well".to_owned(), elapsed_s: 1.0 };
        scene.take(&done(Stage::Server), now);
        assert_eq!(scene.drain(80), []);
        assert_eq!(shown(&scene, 100, now).len(), 3);
        scene.take(&done(Stage::Report), now);
        assert_eq!((scene.drain(80).len(), shown(&scene, 100, now).len()), (1, 0));
    }

    #[test]
    fn counting_before_the_load_says_how_far_it_is() {
        let what = "which of 2100 prompts fit 512 tokens".to_owned();
        let (mut scene, now) = scene(&[Event::StageStarted { stage: Stage::Dataset, what }]);
        let stage = Stage::Dataset;
        scene.take(&Event::Fitting { stage, prompts: 500, total_prompts: 2100 }, now);
        let rows = shown(&scene, 80, now + Duration::from_secs(2));
        assert!(rows[0].ends_with("dataset    500 of 2100 prompts looked at  0:02"), "{rows:?}");
    }

    #[test]
    fn a_transfer_says_how_long_it_will_take() {
        let started = Event::StageStarted { stage: Stage::Model, what: "o/r".to_owned() };
        let (mut scene, now) = scene(&[started]);
        let later = now + Duration::from_secs(4);
        let (file, total_bytes) = ("a-long-name-of-a-model.Q4_K_M.gguf".to_owned(), Some(4 << 30));
        scene.take(
            &Event::Transfer { stage: Stage::Model, file, bytes: 1 << 30, total_bytes },
            later,
        );
        let row = shown(&scene, 80, later).remove(0);
        assert!(row.ends_with("…  1.00 GiB of 4.00 GiB, 256.00 MiB/s, 0:12 left"), "{row}");
    }

    #[test]
    fn only_who_asks_for_it_sees_the_servers_log() {
        let log = Event::ServerLog { line: "\x1b[31mhello".to_owned() };
        let (mut quiet, now) = scene(std::slice::from_ref(&log));
        assert_eq!(quiet.drain(80), []);
        let mut verbose = Scene::new(true, now);
        verbose.take(&log, now);
        assert_eq!(verbose.drain(80)[0].text(), "server| [31mhello");
    }
}
