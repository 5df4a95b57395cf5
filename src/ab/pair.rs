//! One pair: both servers started anew and loaded in turns, or in restart mode one after the other.
//!
//! Main type: [`Arena`], which plays it; the outcome is a [`PairRecord`]. It looks at no result and
//! decides nothing about the session.

use std::path::Path;
use std::time::{Duration, Instant};

use super::course::{AnswerLength, Course, FirstWaves, Room, Sizing, turns, warm_up_waves};
use super::error::AbError;
use super::machine::Probe;
use super::notes::{Around, Notes};
use super::sides::SidePlan;
use super::state::PairRecord;
use super::turn::{Stay, Turn, Until};
use crate::dataset::PromptSet;
use crate::error::Error;
use crate::event::Events;
use crate::load::Phase;
use crate::plan::{Target, Workload};
use crate::run::findings::Findings;
use crate::run::fit;
use crate::server::ServerError;
use crate::stats::ServerKind;
use crate::verdict::Side;
use crate::verdict::design::{Order, slice_order};

/// Users where nobody says how many slots the servers have.
const USERS_WITHOUT_SLOTS: u32 = 4;

/// Waves that size a session; the first of them is cold and not looked at.
const SIZING_WAVES: usize = 4;

/// How long the fixed work around a block takes.
const SHORTEST_PROBE: Duration = Duration::from_millis(20);
const LONGEST_PROBE: Duration = Duration::from_millis(200);

/// Looking whether the other server is silent.
const SILENCE: Duration = Duration::from_millis(3);

/// Both servers' ways out.
const STOPS: Duration = Duration::from_millis(500);

/// More failures than this share of a block's requests, and the rest of it would show nothing more.
const HOPELESS_SHARE: u64 = 4;

/// One side, all through a session.
pub(super) struct SideState {
    pub(super) plan: SidePlan,
    pub(super) findings: Findings,
}

/// Where pairs are played.
pub(super) struct Arena<'a> {
    /// Base and head.
    pub(super) sides: &'a mut [SideState; 2],
    pub(super) prompts: &'a PromptSet,
    pub(super) out_dir: &'a Path,
    pub(super) events: &'a Events,
    pub(super) until: &'a Until,
    pub(super) seed: u64,
    pub(super) answer: AnswerLength,
    /// Time for all pairs of the session, from now.
    pub(super) time: Duration,
    /// Pairs at most, and at the first look.
    pub(super) most_pairs: usize,
    pub(super) first_look: usize,
    pub(super) server_kind: ServerKind,
    /// What a reader should know.
    pub(super) warnings: &'a mut Vec<String>,
    /// How much of a pair's time went into sizing the session.
    pub(super) sized_in: Duration,
}

/// Why a pair was not played to its end.
pub(super) enum Broken {
    /// Time is over, or somebody pressed Ctrl-C.
    Cut,
    /// Both servers do not fit at once.
    DoesNotFit(String),
    /// Something is wrong.
    Failed(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Failed(error)
    }
}

/// Which pair it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) pair: usize,
    pub(super) attempt: u32,
    pub(super) order: Order,
}

impl Number {
    /// The folder of a side's trial, below the output folder.
    pub(super) fn folder(self, side: Side) -> String {
        let number = self.pair + 1;
        match self.attempt {
            0 => format!("trials/{number:03}-{side}"),
            again => format!("trials/{number:03}-again{again}-{side}"),
        }
    }

    pub(super) fn sides(self) -> [Side; 2] {
        sides_of(self.order)
    }
}

pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::Base => 0,
        Side::Head => 1,
    }
}

const fn other(side: Side) -> Side {
    match side {
        Side::Base => Side::Head,
        Side::Head => Side::Base,
    }
}

impl Arena<'_> {
    /// Plays one pair. Where `sizing` is empty, its first waves fill it.
    pub(super) async fn play(
        &mut self,
        sizing: &mut Option<Sizing>,
        number: Number,
        restart: bool,
    ) -> Result<PairRecord, Broken> {
        let begun = Instant::now();
        self.sized_in = Duration::ZERO;
        let mut record = if restart {
            self.one_after_the_other(sizing, number).await?
        } else {
            self.block(sizing, number).await?
        };
        record.took_s = begun.elapsed().as_secs_f64();
        record.sizing_s = self.sized_in.as_secs_f64();
        Ok(record)
    }

    async fn start(&mut self, number: Number, side: Side) -> Result<Stay, Error> {
        let folder = self.out_dir.join(number.folder(side));
        std::fs::create_dir_all(&folder).map_err(|source| Error::Output {
            attempt: "create",
            path: folder.clone(),
            source,
        })?;
        let state = &mut self.sides[index(side)];
        let started =
            Stay::begin(&state.plan, &mut state.findings, &folder, self.events, self.until).await;
        // Each side reads the model; its digest is taken once.
        let digest = state.findings.model.as_ref().and_then(|model| model.sha256.clone());
        if let Some(model) = &mut self.sides[index(other(side))].findings.model {
            model.sha256 = digest.or(model.sha256.take());
        }
        self.warnings.append(&mut self.sides[index(side)].findings.warnings);
        started
    }

    fn failed(&self, side: Side, error: Error) -> Broken {
        match error {
            Error::Stopped { .. } => Broken::Cut,
            _ if self.until.cancel.reason().is_some() => Broken::Cut,
            error if self.is_hurried(side, &error) => Broken::Cut,
            error => Broken::Failed(AbError::Side { side, source: Box::new(error) }.into()),
        }
    }

    /// Whether the budget gave the server less time to become healthy than it may take: that says nothing
    /// about the server.
    fn is_hurried(&self, side: Side, error: &Error) -> bool {
        let Error::Server(ServerError::NeverHealthy { limit, .. }) = error else { return false };
        let Target::Start(spec) = &self.sides[index(side)].plan.plan.target else { return false };
        *limit < spec.start_timeout
    }

    async fn block(
        &mut self,
        sizing: &mut Option<Sizing>,
        number: Number,
    ) -> Result<PairRecord, Broken> {
        let begun = Instant::now();
        let [first, second] = number.sides();
        let first_stay =
            self.start(number, first).await.map_err(|error| self.failed(first, error))?;
        let second_stay = match self.start(number, second).await {
            Ok(stay) => stay,
            Err(error) => {
                first_stay.end(self.warnings, self.until).await;
                if sizing.is_none() && !self.is_over() {
                    return Err(self.alone(number, second, error).await);
                }
                return Err(self.failed(second, error));
            }
        };
        let mut stays = match first {
            Side::Base => [first_stay, second_stay],
            Side::Head => [second_stay, first_stay],
        };
        self.compare_contexts(stays.each_ref().map(|stay| stay.identity.slot_context));
        let mut notes = [Notes::default(), Notes::default()];
        let played = self.in_turns(&mut stays, &mut notes, sizing, number, begun).await;
        for (stay, notes) in stays.iter().zip(&mut notes) {
            notes.take(stay);
        }
        let [base, head] = stays;
        notes[0].end(base, self.warnings, self.until).await;
        notes[1].end(head, self.warnings, self.until).await;
        Ok(PairRecord::of(self.out_dir, number, notes, played?, self.server_kind)?)
    }

    /// Warns where the sides' slots are not of one size, in tokens; base first.
    fn compare_contexts(&mut self, contexts: [Option<u64>; 2]) {
        if let [Some(base), Some(head)] = contexts
            && base != head
        {
            self.warnings.push(format!(
                "a slot of base holds {base} tokens of context and one of head {head}; unless that is what you \
                 compare, give both the same --ctx-size"
            ));
        }
    }

    /// The second server did not start beside the first: does it alone?
    async fn alone(&mut self, number: Number, side: Side, beside: Error) -> Broken {
        match self.start(number, side).await {
            Ok(stay) => {
                stay.end(self.warnings, self.until).await;
                let why = beside.chain().lines().next().unwrap_or_default().to_owned();
                Broken::DoesNotFit(format!("{side} starts alone, but not beside the other: {why}"))
            }
            Err(error) => self.failed(side, error),
        }
    }

    /// Sizes, warms up and loads two servers that are up; says whether it came to its end.
    async fn in_turns(
        &mut self,
        stays: &mut [Stay; 2],
        notes: &mut [Notes; 2],
        sizing: &mut Option<Sizing>,
        number: Number,
        begun: Instant,
    ) -> Result<bool, Broken> {
        let [base, head] = stays;
        let course = self.course(&mut [base, head], sizing, begun, None).await?;
        let probe = sized_probe(sizing.as_ref());
        for side in number.sides() {
            let warm = stays[index(side)].warm_up(&course, self.until).await;
            warm.map_err(|error| self.failed(side, error))?;
        }
        self.go_on()?;
        let before = Around::now(probe).await;
        let pair = u32::try_from(number.pair).unwrap_or(u32::MAX);
        let order = slice_order(self.seed, pair, number.attempt, course.slice_pairs());
        let planned = (course.slice_pairs() * course.requests()) as u64;
        let mut complete = true;
        for (position, order) in order.into_iter().enumerate() {
            let mut both: [Option<Turn>; 2] = [None, None];
            for side in sides_of(order) {
                let turn = self.one_turn(stays, notes, &course, side, position).await?;
                both[index(side)] = Some(turn);
            }
            let [Some(base), Some(head)] = both else { unreachable!("both sides had their turn") };
            if base.cut || head.cut {
                return Err(Broken::Cut);
            }
            add(notes, [base, head]);
            let failed = stays[0].work.failed.max(stays[1].work.failed);
            if failed * HOPELESS_SHARE > planned || stays.iter().any(|stay| !stay.is_alive()) {
                complete = false;
                break;
            }
        }
        let after = Around::now(probe).await;
        for notes in notes {
            notes.around(&before, &after);
        }
        Ok(complete)
    }

    /// One turn of one side, while the other is silent.
    async fn one_turn(
        &mut self,
        stays: &mut [Stay; 2],
        notes: &mut [Notes; 2],
        course: &Course,
        side: Side,
        position: usize,
    ) -> Result<Turn, Broken> {
        let neighbour = other(side);
        if !stays[index(neighbour)].falls_silent().await {
            notes[index(neighbour)].restless += 1;
        }
        let before = (stays[index(neighbour)].cpu(), Instant::now());
        let turn = stays[index(side)].turn(course, course.turn(position), self.until).await;
        let turn = turn.map_err(|error| self.failed(side, error))?;
        if let (Some(earlier), Some(now)) = (before.0, stays[index(neighbour)].cpu()) {
            let notes = &mut notes[index(neighbour)];
            notes.idle_cpu += now.saturating_sub(earlier);
            notes.idle += before.1.elapsed();
        }
        Ok(turn)
    }

    /// Restart mode: a trial of each side, one after the other.
    async fn one_after_the_other(
        &mut self,
        sizing: &mut Option<Sizing>,
        number: Number,
    ) -> Result<PairRecord, Broken> {
        let mut notes = [Notes::default(), Notes::default()];
        let mut both: [Option<Turn>; 2] = [None, None];
        let mut contexts = [None; 2];
        let mut complete = true;
        for side in number.sides() {
            let begun = Instant::now();
            let mut stay =
                self.start(number, side).await.map_err(|error| self.failed(side, error))?;
            contexts[index(side)] = stay.identity.slot_context;
            let played = self.trial(&mut stay, &mut notes[index(side)], sizing, begun, side).await;
            notes[index(side)].take(&stay);
            notes[index(side)].end(stay, self.warnings, self.until).await;
            both[index(side)] = Some(played?);
            complete &= notes[index(side)].death.is_none();
        }
        let [Some(base), Some(head)] = both else { unreachable!("both sides had their turn") };
        self.compare_contexts(contexts);
        add(&mut notes, [base, head]);
        Ok(PairRecord::of(self.out_dir, number, notes, complete, self.server_kind)?)
    }

    async fn trial(
        &mut self,
        stay: &mut Stay,
        notes: &mut Notes,
        sizing: &mut Option<Sizing>,
        begun: Instant,
        side: Side,
    ) -> Result<Turn, Broken> {
        let course = self.course(&mut [stay], sizing, begun, Some(side)).await?;
        let probe = sized_probe(sizing.as_ref());
        let warm = stay.warm_up(&course, self.until).await;
        warm.map_err(|error| self.failed(side, error))?;
        self.go_on()?;
        let before = Around::now(probe).await;
        let turn = stay.turn(&course, course.turn(0), self.until).await;
        let turn = turn.map_err(|error| self.failed(side, error))?;
        if turn.cut {
            return Err(Broken::Cut);
        }
        let after = Around::now(probe).await;
        notes.around(&before, &after);
        Ok(turn)
    }

    fn go_on(&self) -> Result<(), Broken> {
        if self.is_over() { Err(Broken::Cut) } else { Ok(()) }
    }

    /// Time is over, or somebody pressed Ctrl-C.
    fn is_over(&self) -> bool {
        Instant::now() >= self.until.deadline || self.until.cancel.reason().is_some()
    }

    /// What both sides are asked; sized by the servers that are up where that was not done before.
    /// `alone` is the side that is up, in restart mode.
    async fn course(
        &mut self,
        stays: &mut [&mut Stay],
        sizing: &mut Option<Sizing>,
        begun: Instant,
        alone: Option<Side>,
    ) -> Result<Course, Broken> {
        let plan = self.sides[0].plan.plan.clone();
        if let Some(sizing) = sizing {
            return Ok(Course::of(&plan, self.prompts, self.server_kind, sizing));
        }
        let starts = begun.elapsed();
        let sizing_begun = Instant::now();
        let (users, prompts) = self.users_and_prompts(stays, &plan.workload).await?;
        let mut found = Sizing {
            users,
            tokens: self.answer.while_sizing(),
            requests: users as usize,
            slice_pairs: 1,
            warm_up_waves: SIZING_WAVES,
            restart: alone.is_some(),
            restart_reason: None,
            probe: None,
            prompts,
        };
        let trying = Course::of(&plan, self.prompts, self.server_kind, &found);
        let mut waves = Vec::new();
        for position in 0..SIZING_WAVES {
            for (place, stay) in stays.iter_mut().enumerate() {
                let side = alone.unwrap_or([Side::Base, Side::Head][place.min(1)]);
                let wave = trying.sizing_wave(position);
                let turn = stay.play(&trying, wave, Phase::WarmUp, self.until).await;
                let turn = turn.map_err(|error| self.failed(side, error))?;
                if turn.cut {
                    return Err(Broken::Cut);
                }
                if position > 0 {
                    waves.push(turn);
                }
            }
        }
        let first = first_waves(&waves, found.tokens);
        found.tokens = self.answer.chosen(&first);
        let room = self.room(starts, &first, found.restart);
        let (in_turn, slice_pairs) = turns(&first, found.tokens, room, found.restart);
        found.slice_pairs = slice_pairs;
        found.requests = in_turn * users as usize;
        found.warm_up_waves = warm_up_waves(&first, found.tokens, room);
        let probe_time = self.probe_time();
        let probe = tokio::task::spawn_blocking(move || Probe::sized(probe_time)).await;
        found.probe = Some(probe.expect("a probe does not panic"));
        let course = Course::of(&plan, self.prompts, self.server_kind, &found);
        *sizing = Some(found);
        self.sized_in = sizing_begun.elapsed();
        Ok(course)
    }

    /// A fiftieth of a block, within bounds.
    fn probe_time(&self) -> Duration {
        let blocks = u32::try_from(50 * self.most_pairs.max(1)).unwrap_or(u32::MAX);
        (self.time / blocks).clamp(SHORTEST_PROBE, LONGEST_PROBE)
    }

    fn room(&self, starts: Duration, waves: &FirstWaves, restart: bool) -> Room {
        // Half a dozen waves of warm-up on each side, two probes, the stops.
        let sides = if restart { 2 } else { 1 };
        let overhead = starts * sides
            + 2 * 6 * (waves.lasted + waves.between)
            + 2 * sides * self.probe_time()
            + STOPS;
        Room { all: self.time, overhead, most_pairs: self.most_pairs, first_look: self.first_look }
    }

    async fn users_and_prompts(
        &mut self,
        stays: &mut [&mut Stay],
        workload: &Workload,
    ) -> Result<(u32, Vec<usize>), Broken> {
        let mut slots: Vec<u32> = Vec::new();
        let mut context: Option<u64> = None;
        for stay in stays.iter() {
            slots.extend(stay.identity.total_slots);
            context = match (context, stay.identity.slot_context) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if slots.windows(2).any(|pair| pair[0] != pair[1]) {
            self.warnings.push(format!(
                "base has {} slots and head {}; both get as many users as the smaller has",
                slots[0], slots[1]
            ));
        }
        let users = workload.users.or(slots.into_iter().min()).unwrap_or(USERS_WITHOUT_SLOTS);
        let mut prompts: Vec<_> = self.prompts.prompts.iter().enumerate().collect();
        if let (Some(context), Some(stay)) = (context, stays.first()) {
            let forced = {
                let mut workload = workload.clone();
                workload.request.ignore_eos = true;
                workload.request.max_tokens = match self.answer {
                    AnswerLength::Fixed(tokens) => tokens,
                    AnswerLength::UpTo(_) => self.answer.while_sizing(),
                };
                workload
            };
            let control = stay.host().control();
            let all = prompts.len();
            let fit::LeftOut { too_long, unseen } =
                fit::leave_out_too_long(&mut prompts, &forced, context, control, self.events).await;
            self.warnings.extend(fit::only_the_first(unseen, all));
            if too_long > 0 {
                self.warnings.push(format!(
                    "{too_long} prompts of the dataset do not fit {} and were left out; raise --ctx-size, or \
                     choose shorter ones with --max-prompt-tokens",
                    fit::slot(context)
                ));
            }
        }
        if let Some(wanted) = workload.n_prompts {
            prompts.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        if prompts.is_empty() {
            return Err(Broken::Failed(Error::NothingFits {
                dataset: self.prompts.source.clone(),
                prompts: self.prompts.kept,
                place: fit::slot(context.unwrap_or_default()),
                flag: "--ctx-size",
            }));
        }
        Ok((users.max(1), prompts.into_iter().map(|(position, _)| position).collect()))
    }
}

/// Notes a turn of each side. Their tokens are compared only where neither failed: a request that did has none.
fn add(notes: &mut [Notes; 2], turns: [Turn; 2]) {
    let clean = turns.iter().all(|turn| turn.work.failed == 0);
    for (notes, turn) in notes.iter_mut().zip(turns) {
        notes.add(turn, clean);
    }
}

/// The middle of the waves that size a session.
fn first_waves(waves: &[Turn], tokens: u32) -> FirstWaves {
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let lasted = middle(&mut waves.iter().map(|wave| wave.lasted.as_secs_f64()).collect());
    let ttft = middle(
        &mut waves
            .iter()
            .filter_map(|wave| wave.values.get("ttft_ms_p50").map(|ms| ms / 1e3))
            .collect(),
    );
    let lasted = Duration::from_secs_f64(lasted.unwrap_or(1.0).max(1e-4));
    let between = waves.iter().map(|wave| wave.took.saturating_sub(wave.lasted).as_secs_f64());
    let between = middle(&mut between.collect()).unwrap_or_default();
    FirstWaves {
        lasted,
        ttft: ttft.map_or(lasted / 4, Duration::from_secs_f64).min(lasted),
        tokens,
        between: Duration::from_secs_f64(between) + SILENCE,
    }
}

fn sized_probe(sizing: Option<&Sizing>) -> Probe {
    sizing.and_then(|sizing| sizing.probe).expect("a course for measuring has been sized")
}

fn sides_of(order: Order) -> [Side; 2] {
    match order {
        Order::BaseFirst => [Side::Base, Side::Head],
        Order::HeadFirst => [Side::Head, Side::Base],
    }
}
