//! What is noted while a pair is played, and the record and files that are made of it.
//!
//! Main types: [`Notes`], of one side; [`Around`], the machine at one moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::machine::{self, Moment, Probe};
use super::metrics::{self, FAILED, SERVER_CPU, START, TAILS};
use super::pair::{Number, index};
use super::state::{PairRecord, Point, WorkRecord};
use super::turn::{Stay, Turn, Until};
use crate::artifact::{
    RequestRow, Trial, TrialGpu, TrialProbe, TrialTails, TrialTokens, TrialWarmUp, Unknowns, jsonl,
    store,
};
use crate::error::Error;
use crate::gpu::Reading;
use crate::load::{RequestRecord, Stamp};
use crate::stats::{Better, HeaderSplit, ServerKind};
use crate::verdict::block::{BlockValue, SlicePair};
use crate::verdict::{Side, Work, difference};

/// Of a block's turns, one in so many must have a value of a metric, or the block has none.
const FEWEST_TURNS_SHARE: usize = 2;

/// Whether a block of so many turns has a value of a metric that `with_value` of them have.
fn is_enough(with_value: usize, turns: usize) -> bool {
    with_value * FEWEST_TURNS_SHARE >= turns
}

/// The machine at one moment.
pub(super) struct Around {
    moment: Moment,
    gpus: Vec<(u32, Reading)>,
    probe_ms: f64,
}

impl Around {
    /// Now; does the fixed work.
    pub(super) async fn now(probe: Probe) -> Self {
        // What was loaded until now is asked before the fixed work, which lets it cool down.
        let looked = tokio::task::spawn_blocking(move || (machine::gpus(), probe.run())).await;
        let (gpus, probe_ms) = looked.expect("neither a probe nor a driver's answer panics");
        Self { moment: Moment::now(), gpus, probe_ms }
    }
}

/// What is noted of one side.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Values of its turns, in order.
    values: Vec<BTreeMap<&'static str, f64>>,
    /// Its turns, with what belongs to them.
    loaded: Duration,
    /// Tokens of turns that neither side failed.
    tokens: Option<(Option<u64>, Option<u64>)>,
    probe_ms: Option<[f64; 2]>,
    steal_pct: Option<f64>,
    load_average: Option<f64>,
    cpu_mhz: Option<f64>,
    gpus: Vec<(u32, Reading)>,
    /// Sums over its turns: how late our client sent, and how long the answers took.
    late_ms: f64,
    answered_ms: f64,
    /// Its processor time while the other was loaded, and how long that was.
    pub(super) idle_cpu: Duration,
    pub(super) idle: Duration,
    /// Turns of the other before which it did not fall silent.
    pub(super) restless: u64,
    /// How it died by itself.
    pub(super) death: Option<String>,
    start_s: f64,
    cpu_used: Option<Duration>,
    work: Work,
    turns: usize,
    warm_up: (usize, bool, u64),
    failures: BTreeMap<String, String>,
    records: Vec<RequestRecord>,
}

impl Notes {
    /// A turn; `clean` where neither side failed in it.
    pub(super) fn add(&mut self, turn: Turn, clean: bool) {
        let (prompt, output) = self.tokens.unwrap_or((Some(0), Some(0)));
        let sum = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        self.tokens = Some(if clean {
            (sum(prompt, turn.work.prompt_tokens), sum(output, turn.work.output_tokens))
        } else {
            (prompt, output)
        });
        self.loaded += turn.took;
        if turn.answered_ms > 0.0 {
            self.late_ms += turn.late_ms;
            self.answered_ms += turn.answered_ms;
        }
        self.values.push(turn.values);
    }

    /// The machine before and after.
    pub(super) fn around(&mut self, before: &Around, after: &Around) {
        self.probe_ms = Some([before.probe_ms, after.probe_ms]);
        self.steal_pct = after.moment.steal_pct_since(&before.moment);
        self.load_average = after.moment.load_average;
        self.cpu_mhz = after.moment.cpu_mhz;
        self.gpus.clone_from(&after.gpus);
    }

    /// What a server that is still up has to say.
    pub(super) fn take(&mut self, stay: &Stay) {
        self.start_s = stay.host().facts().start_s.unwrap_or_default();
        self.cpu_used = stay.cpu_used();
        self.work = stay.work;
        self.turns = stay.turns;
        self.warm_up = stay.warm_up;
        self.failures.clone_from(&stay.failures);
    }

    /// Stops it.
    pub(super) async fn end(&mut self, mut stay: Stay, warnings: &mut Vec<String>, until: &Until) {
        self.records = std::mem::take(&mut stay.records);
        self.death = stay.end(warnings, until).await;
    }

    fn work_record(&self) -> WorkRecord {
        let (prompt_tokens, output_tokens) = self.tokens.unwrap_or((Some(0), Some(0)));
        WorkRecord {
            requests: self.work.requests,
            failed: self.work.failed,
            prompt_tokens,
            output_tokens,
            failures: self.failures.clone(),
        }
    }

    /// Processor milliseconds for each generated token.
    fn cpu_per_token(&self) -> Option<f64> {
        let tokens = self.work_record().output_tokens.filter(|tokens| *tokens > 0)?;
        (self.work.failed == 0).then_some(())?;
        Some(1e3 * self.cpu_used?.as_secs_f64() / tokens as f64)
    }

    fn medians(&self) -> BTreeMap<String, f64> {
        let mut medians = BTreeMap::new();
        for name in metrics::names() {
            let mut values: Vec<f64> =
                self.values.iter().filter_map(|turn| turn.get(name).copied()).collect();
            if !is_enough(values.len(), self.values.len()) {
                continue;
            }
            values.sort_by(f64::total_cmp);
            if let (Some(low), Some(high)) =
                (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2))
            {
                medians.insert(name.to_owned(), f64::midpoint(*low, *high));
            }
        }
        medians.extend(self.cpu_per_token().map(|value| (SERVER_CPU.to_owned(), value)));
        medians
    }

    /// Of all its answers together: a turn has too few of them.
    fn tails(&self) -> TrialTails {
        let mut unknown = Unknowns::none();
        let [ttft_ms_p95, ttft_ms_p99, e2e_ms_p95, e2e_ms_p99] =
            TAILS.map(|tail| unknown.take(tail.name, tail.of(&self.records)));
        TrialTails { ttft_ms_p95, ttft_ms_p99, e2e_ms_p95, e2e_ms_p99, unknown }
    }

    fn trial(&self, number: Number, slot: usize, side: Side) -> Trial {
        let no_count = "a request came without a count of tokens";
        let mut tokens = Unknowns::none();
        let (prompt, output) = self.tokens.unwrap_or((Some(0), Some(0)));
        let mut probe = Unknowns::none();
        let mut unknown = Unknowns::none();
        let silent = "the system does not say";
        let idle_s = self.idle.as_secs_f64();
        Trial {
            pair: number.pair as u64,
            attempt: u64::from(number.attempt),
            slot: slot as u64,
            side: side.to_string(),
            folder: number.folder(side),
            start_s: self.start_s,
            warmup: TrialWarmUp {
                waves: self.warm_up.0 as u64,
                settled: self.warm_up.1,
                failed: self.warm_up.2,
            },
            slices: self.turns as u64,
            requests: self.work.requests,
            failed: self.work.failed,
            tokens: TrialTokens {
                prompt: tokens.option("prompt", prompt, no_count),
                output: tokens.option("output", output, no_count),
                unknown: tokens,
            },
            metrics: self.medians(),
            tails: Some(self.tails()),
            probe: TrialProbe {
                before_ms: probe.option("before_ms", self.probe_ms.map(|ms| ms[0]), "it broke off"),
                after_ms: probe.option("after_ms", self.probe_ms.map(|ms| ms[1]), "it broke off"),
                unknown: probe,
            },
            steal_pct: unknown.option("steal_pct", self.steal_pct, silent),
            load_average: unknown.option("load_average", self.load_average, silent),
            cpu_mhz: unknown.option("cpu_mhz", self.cpu_mhz, silent),
            gpus: self.gpus.iter().map(|(index, reading)| gpu(*index, reading)).collect(),
            idle_cpu_ratio: unknown.option(
                "idle_cpu_ratio",
                (idle_s > 0.0).then(|| self.idle_cpu.as_secs_f64() / idle_s),
                "no other server ran beside it, or the system does not say",
            ),
            client_late_ratio: unknown.option(
                "client_late_ratio",
                (self.answered_ms > 0.0).then(|| self.late_ms / self.answered_ms),
                "no request was answered",
            ),
            valid: true,
            reason: unknown.option("reason", None, "it counts"),
            unknown,
        }
    }

    fn write(&self, folder: &Path, trial: &Trial, kind: ServerKind) -> Result<(), Error> {
        let split = HeaderSplit::detect(&self.records, kind);
        let origin = self.records.iter().filter_map(|record| record.written).min();
        let rows: Vec<RequestRow> = self
            .records
            .iter()
            .map(|record| RequestRow::new(record, &split, origin.unwrap_or(Stamp(0))))
            .collect();
        store::write(&folder.join("requests.jsonl"), jsonl(&rows).as_bytes())?;
        let turns = serde_json::json!({ "trial": trial, "turns": self.values });
        let mut text = serde_json::to_string_pretty(&turns).expect("keys are strings");
        text.push('\n');
        Ok(store::write(&folder.join("trial.json"), text.as_bytes())?)
    }
}

fn gpu(index: u32, reading: &Reading) -> TrialGpu {
    let mut unknown = Unknowns::none();
    TrialGpu {
        index,
        temperature_c: unknown.number("temperature_c", reading.temperature_c.clone()),
        sm_clock_mhz: unknown.number("sm_clock_mhz", reading.sm_clock_mhz.clone()),
        memory_clock_mhz: unknown.number("memory_clock_mhz", reading.memory_clock_mhz.clone()),
        unknown,
    }
}

impl PairRecord {
    /// Of what was noted of base and head; also writes the trials' files.
    pub(super) fn of(
        out_dir: &Path,
        number: Number,
        notes: [Notes; 2],
        complete: bool,
        kind: ServerKind,
    ) -> Result<Self, Error> {
        let mut trials = Vec::with_capacity(2);
        for (slot, side) in number.sides().into_iter().enumerate() {
            let trial = notes[index(side)].trial(number, slot, side);
            notes[index(side)].write(&out_dir.join(number.folder(side)), &trial, kind)?;
            trials.push(trial);
        }
        let [base, head] = &notes;
        let crash = [(Side::Base, base), (Side::Head, head)]
            .into_iter()
            .find_map(|(side, notes)| Some((side.to_string(), notes.death.clone()?)));
        let probes = base.probe_ms.zip(head.probe_ms);
        let mean = |ends: [f64; 2]| f64::midpoint(ends[0], ends[1]);
        // In a block both sides share one pair of probes.
        let shared = base.idle > Duration::ZERO || base.probe_ms == head.probe_ms;
        Ok(Self {
            pair: number.pair,
            attempt: number.attempt,
            order: number.order.name().to_owned(),
            trials,
            points: points(base, head),
            base: base.work_record(),
            head: head.work_record(),
            restless: base.restless + head.restless,
            probe_ms: probes.map(
                |(base, head)| {
                    if shared { base } else { [mean(base), mean(head)] }
                },
            ),
            probes_by_side: probes.filter(|_| !shared).map(|(base, head)| (mean(base), mean(head))),
            steal_pct: match (base.steal_pct, head.steal_pct) {
                (Some(base), Some(head)) => Some(base.max(head)),
                (one, other) => one.or(other),
            },
            complete: complete && crash.is_none(),
            crash,
            spoilt: None,
            took_s: 0.0,
            sizing_s: 0.0,
            loaded_s: (base.loaded + head.loaded).as_secs_f64(),
        })
    }
}

/// Each metric of the pair.
fn points(base: &Notes, head: &Notes) -> BTreeMap<String, Point> {
    let mut points = BTreeMap::new();
    for (name, better) in metrics::directions() {
        let slices: Vec<SlicePair> = base
            .values
            .iter()
            .zip(&head.values)
            .filter_map(|(base, head)| {
                Some(SlicePair { base: *base.get(name)?, head: *head.get(name)? })
            })
            .collect();
        // Turns in which everything failed have no value; they are counted as failures. Nor has one whose
        // median is 0. Its partner of the other side is left out with it.
        if !is_enough(slices.len(), base.values.len()) {
            continue;
        }
        if let Ok(value) = BlockValue::of(better, &slices) {
            let point =
                Point { difference: Some(value.difference), base: value.base, head: value.head };
            points.insert(name.to_owned(), point);
        }
    }
    let mut single = |name: &str, base: Option<f64>, head: Option<f64>| {
        if let (Some(base), Some(head)) = (base, head) {
            let difference = difference(Better::Lower, base, head).ok();
            points.insert(name.to_owned(), Point { difference, base, head });
        }
    };
    single(SERVER_CPU, base.cpu_per_token(), head.cpu_per_token());
    single(START, Some(base.start_s), Some(head.start_s));
    for tail in TAILS {
        single(tail.name, tail.of(&base.records).ok(), tail.of(&head.records).ok());
    }
    let (base_failed, head_failed) = (base.work.failed as f64, head.work.failed as f64);
    points.insert(
        FAILED.to_owned(),
        Point { difference: None, base: base_failed, head: head_failed },
    );
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A side whose turns have these values of one metric.
    fn notes(values: &[Option<f64>]) -> Notes {
        let turn =
            |value: &Option<f64>| value.map(|value| ("itl_ms_p50", value)).into_iter().collect();
        Notes { values: values.iter().map(turn).collect(), ..Notes::default() }
    }

    #[test]
    fn a_block_has_a_value_where_half_of_its_turns_have_one_and_a_side_likewise() {
        let all = notes(&[Some(2.0); 4]);
        let half = notes(&[Some(3.0), None, None, Some(3.0)]);
        let fewer = notes(&[Some(3.0), None, None, None]);
        let value = |base: &Notes, head: &Notes| points(base, head).get("itl_ms_p50").copied();
        let point = value(&all, &half).expect("half of the turns are enough");
        assert_eq!((point.base, point.head), (2.0, 3.0));
        assert_eq!(value(&all, &fewer), None);
        assert_eq!(value(&fewer, &fewer), None);
        // What a side is said to have is held against the same rule.
        assert!(half.medians().contains_key("itl_ms_p50"));
        assert!(!fewer.medians().contains_key("itl_ms_p50"));
    }
}
