//! The engine: one heap of due instants on one thread, the slots, the queue before them, and the
//! truth of what they did.
//!
//! Main type: [`Engine`]. Deadlines are absolute: a token that was late does not delay the next.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::SimArgs;
use super::clock::{ms_between, ms_to_ns, now_ns};
use super::connection::Wire;
use super::fault::{FaultKind, FaultSet};
use super::http::{Request, Response};
use super::job::{Answer, Identity, Job, Step, chat_id};
use super::metrics::Counters;
use super::model::{fraction, mix};
use super::pacer::Pacer;
use super::routes::Generation;
use super::slots::Slots;
use super::truth::{Quantiles, TruthEnd, TruthLine, TruthRecord, TruthSummary, TruthWriter};

/// The engine as the connections share it; all of them live on its thread.
pub(super) type SharedEngine = Rc<RefCell<Engine>>;

/// Events carried out before the sockets are looked at again.
const EVENTS_AT_ONCE: u32 = 64;
/// Between the two halves of a split character.
const TAIL_DELAY_NS: u64 = 200_000;
/// Pings of the fault `ping` after the first.
const MORE_PINGS: u64 = 3;
/// Mean length of an answer that ends by itself, in tokens: within half and one and a half of it. A
/// short paragraph, and well below the budget of `chat`, so that most answers are whole.
const NATURAL_TOKENS: u32 = 128;
/// Gaps kept for the summary; beyond them it would cost memory without end.
const MOST_SUMMARY_GAPS: usize = 4_000_000;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Headers,
    Ping,
    Tail,
    Token,
    Stall,
}

/// When the engine wants to run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At once, after the sockets had their turn.
    Now,
    /// At this instant.
    At(u64),
    /// When something happens.
    Idle,
}

/// See the module.
pub(super) struct Engine {
    pub(super) args: SimArgs,
    pub(super) slots: Slots,
    pub(super) counters: Counters,
    /// `CLOCK_MONOTONIC` when the process began to serve.
    pub(super) began_ns: u64,
    loaded_at_ns: Option<u64>,
    pacer: Rc<Pacer>,
    jobs: HashMap<u64, Box<Job>>,
    queue: VecDeque<u64>,
    due: BinaryHeap<Reverse<(u64, u64, What, u64)>>,
    scheduled: u64,
    ordinal: u64,
    truth: Option<TruthWriter>,
    ended: Ended,
}

/// What the summary is computed from.
#[derive(Default)]
struct Ended {
    requests: u64,
    completed: u64,
    completion_tokens: u64,
    ttft_ms: Vec<f64>,
    itl_ms: Vec<f64>,
}

impl Engine {
    pub(super) fn new(args: SimArgs, pacer: Rc<Pacer>, truth: Option<TruthWriter>) -> Engine {
        let faults = args.process_faults();
        let began_ns = now_ns();
        let load_ms = faults.number(FaultKind::SlowLoad, 0.0).unwrap_or(args.sim_load_ms);
        let loaded_at_ns = (!faults.has(FaultKind::NeverHealthy))
            .then(|| began_ns.saturating_add(ms_to_ns(load_ms)));
        Engine {
            slots: Slots::new(args.slot_count()),
            args,
            counters: Counters::default(),
            began_ns,
            loaded_at_ns,
            pacer,
            jobs: HashMap::new(),
            queue: VecDeque::new(),
            due: BinaryHeap::new(),
            scheduled: 0,
            ordinal: 0,
            truth,
            ended: Ended::default(),
        }
    }

    /// Whether the model is still loading.
    pub(super) fn is_loading(&self) -> bool {
        self.loaded_at_ns.is_none_or(|at| now_ns() < at)
    }

    /// Requests that wait for a slot.
    pub(super) fn deferred(&self) -> usize {
        self.queue.len()
    }

    /// The job that has this number, if it is not over.
    pub(super) fn job(&self, id: u64) -> Option<&Job> {
        self.jobs.get(&id).map(Box::as_ref)
    }

    /// Takes a request; its number. The answer goes to `wire`.
    pub(super) fn submit(
        &mut self,
        generation: Generation,
        request: &Request,
        wire: Rc<Wire>,
    ) -> u64 {
        self.ordinal += 1;
        let id = self.ordinal;
        let faults = generation.faults.clone().unwrap_or_else(|| self.args.request_faults(id));
        let record = TruthRecord {
            ordinal: id,
            client_request: request.client_request,
            id: chat_id(self.args.effective_seed(), id),
            route: request.path.clone(),
            stream: generation.stream,
            slot: None,
            received_ns: request.received.at_ns,
            received_by: request.received.by,
            started_ns: None,
            headers_ns: None,
            deltas: Vec::new(),
            end_ns: 0,
            prompt_tokens: generation.prompt.len() as u64,
            cached_tokens: 0,
            completion_tokens: 0,
            status: None,
            end: TruthEnd::Stopped,
            fault: faults.label(),
            finish_reason: None,
            backpressure: false,
        };
        if id == 1
            && let Some((_, at_ms)) = self.args.stall_ms()
        {
            self.schedule(record.received_ns.saturating_add(ms_to_ns(at_ms)), What::Stall, 0);
        }
        let answer = self.answer(&generation, &faults, id);
        let identity = Identity {
            model: self.args.model_name(),
            seed: self.args.effective_seed(),
            created: unix_seconds(),
            stamps: self.args.sim_stamps,
            keep_alive: self.args.sim_keep_alive && generation.keep_alive,
        };
        let rejection = self.rejection(&generation, &faults);
        let mut job = Job::new(wire, generation, faults, record, answer, &identity);
        if let Some(response) = rejection {
            job.respond(&response);
            self.note(job.into_record(TruthEnd::Rejected));
            return id;
        }
        if job.faults.has(FaultKind::HangBefore) {
            job.hung = true;
            self.jobs.insert(id, Box::new(job));
            return id;
        }
        if job.faults.has(FaultKind::EarlyHeaders) {
            job.send_headers();
        }
        self.jobs.insert(id, Box::new(job));
        self.queue.push_back(id);
        self.dispatch();
        if let Some(job) = self.jobs.get_mut(&id) {
            job.waited = job.record.started_ns.is_none();
        }
        id
    }

    /// The client closed its connection.
    pub(super) fn client_gone(&mut self, id: u64) {
        if let Some(job) = self.jobs.remove(&id) {
            self.queue.retain(|&queued| queued != id);
            self.over(*job, TruthEnd::ClientGone);
        }
    }

    /// Everything queued for the client was taken.
    pub(super) fn drained(&mut self, id: u64, now: u64) {
        if let Some(job) = self.jobs.get_mut(&id)
            && std::mem::take(&mut job.paused)
        {
            self.schedule(now, What::Token, id);
        }
    }

    /// Carries out what is due.
    pub(super) fn fire(&mut self) -> Next {
        for _ in 0..EVENTS_AT_ONCE {
            let Some(&Reverse((due, _, what, id))) = self.due.peek() else { return Next::Idle };
            if due > now_ns() {
                return Next::At(due);
            }
            self.due.pop();
            self.carry_out(what, id);
        }
        Next::Now
    }

    /// Ends everything; the summary goes to the truth file.
    pub(super) fn stop(&mut self) -> TruthSummary {
        let mut left: Vec<_> = self.jobs.drain().map(|(_, job)| job).collect();
        left.sort_by_key(|job| job.record.ordinal);
        for job in left {
            self.note(job.into_record(TruthEnd::Stopped));
        }
        let ended = std::mem::take(&mut self.ended);
        let summary = TruthSummary {
            requests: ended.requests,
            completed: ended.completed,
            completion_tokens: ended.completion_tokens,
            ttft_ms: Quantiles::of(ended.ttft_ms),
            itl_ms: Quantiles::of(ended.itl_ms),
        };
        if let Some(truth) = self.truth.take() {
            truth.write(TruthLine::Summary(summary.clone()));
            truth.close();
        }
        summary
    }

    fn carry_out(&mut self, what: What, id: u64) {
        if what == What::Stall {
            if let Some((ms, _)) = self.args.stall_ms() {
                std::thread::sleep(Duration::from_secs_f64(ms / 1e3));
            }
            return;
        }
        // A job that is over or whose client has gone leaves its events behind.
        let Some(mut job) = self.jobs.remove(&id) else { return };
        match what {
            What::Headers => job.send_headers(),
            What::Ping => {
                job.ping();
                if !job.faults.has(FaultKind::Ping) {
                    self.schedule_silence_ping(id, job.ideal_ns);
                }
            }
            What::Tail => job.flush_tail(),
            What::Token => {
                let step = job.step(self.interval_ns() == 0, self.slots.busy(), &mut self.counters);
                match step {
                    Step::More => {
                        if job.has_tail() {
                            self.schedule(now_ns().saturating_add(TAIL_DELAY_NS), What::Tail, id);
                        }
                        job.ideal_ns = job.ideal_ns.saturating_add(self.interval_ns());
                        self.schedule_token(&job);
                    }
                    Step::Paused | Step::Hung => {}
                    Step::Over(end) => {
                        self.over(*job, end);
                        return;
                    }
                }
            }
            What::Stall => {}
        }
        self.jobs.insert(id, job);
    }

    /// Gives free slots to those who wait, in order of arrival.
    fn dispatch(&mut self) {
        let mut at = 0;
        while let Some(&id) = self.queue.get(at) {
            if !self.slots.is_free(None) {
                return;
            }
            let wanted = self.jobs.get(&id).and_then(|job| job.generation.slot);
            if self.slots.is_free(wanted) {
                self.queue.remove(at);
                self.start(id);
            } else {
                at += 1;
            }
        }
    }

    fn start(&mut self, id: u64) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        let generation = &job.generation;
        let (slot, cached) =
            self.slots.take(id, &generation.prompt, generation.slot, generation.cache_prompt);
        let now = now_ns();
        job.record.slot = Some(slot);
        job.record.cached_tokens = cached;
        job.record.started_ns = Some(now);
        // A request that found a free slot is timed from its arrival, so that our own delay between
        // the two does not shift the schedule.
        let base = if job.waited { now } else { job.record.received_ns };
        let number = |kind, default| ms_to_ns(job.faults.number(kind, default).unwrap_or(0.0));
        let slow_headers = number(FaultKind::SlowHeaders, 0.0);
        let extra = slow_headers + number(FaultKind::Ping, 0.0) + number(FaultKind::RoleOnly, 50.0);
        let prefill = match self.args.sim_ttft_ms {
            Some(ms) => ms_to_ns(ms * self.slowdown()),
            None => {
                let processed = job.record.prompt_tokens.saturating_sub(cached);
                ms_to_ns(
                    processed as f64 / self.args.sim_prefill_tps.max(1e-6) * 1e3 * self.slowdown(),
                )
            }
        };
        job.ideal_ns = base.saturating_add(prefill).saturating_add(extra);
        if slow_headers > 0 && !job.has_headers() {
            self.schedule(now.saturating_add(slow_headers), What::Headers, id);
        } else {
            job.send_headers();
        }
        if job.faults.has(FaultKind::Ping) {
            let silence = job.ideal_ns.saturating_sub(now) / (MORE_PINGS + 1);
            for ping in 1..=MORE_PINGS {
                self.schedule(now.saturating_add(ping * silence), What::Ping, id);
            }
        } else {
            self.schedule_silence_ping(id, job.ideal_ns);
        }
        self.schedule_token(&job);
        self.jobs.insert(id, job);
    }

    /// A real server breaks long silences with a comment.
    fn schedule_silence_ping(&mut self, id: u64, first_token_ns: u64) {
        let Ok(seconds) = u64::try_from(self.args.sse_ping_interval) else { return };
        let at = now_ns().saturating_add(seconds.max(1).saturating_mul(1_000_000_000));
        if at < first_token_ns {
            self.schedule(at, What::Ping, id);
        }
    }

    fn over(&mut self, mut job: Job, end: TruthEnd) {
        if let Some(slot) = job.record.slot {
            let cache = job.cache();
            self.slots.release(slot, cache);
        }
        self.note(job.into_record(end));
        self.dispatch();
    }

    fn note(&mut self, record: TruthRecord) {
        self.ended.requests += 1;
        self.ended.completed += u64::from(record.end == TruthEnd::Completed);
        self.ended.completion_tokens += record.completion_tokens;
        let first = record.deltas.first();
        self.ended.ttft_ms.extend(first.map(|&first| ms_between(record.received_ns, first)));
        if self.ended.itl_ms.len() < MOST_SUMMARY_GAPS {
            let gaps = record.deltas.iter().zip(record.deltas.iter().skip(1));
            self.ended.itl_ms.extend(gaps.map(|(&a, &b)| ms_between(a, b)));
        }
        if let Some(truth) = &self.truth {
            truth.write(TruthLine::Request(record));
        }
    }

    fn schedule_token(&mut self, job: &Job) {
        let late = self.args.sim_jitter.min(1.0)
            * fraction(self.args.effective_seed() ^ mix(job.record.ordinal), job.made())
            * self.interval_ns() as f64;
        self.schedule(job.ideal_ns.saturating_add(late as u64), What::Token, job.record.ordinal);
    }

    fn schedule(&mut self, due_ns: u64, what: What, id: u64) {
        self.scheduled += 1;
        self.due.push(Reverse((due_ns, self.scheduled, what, id)));
        self.pacer.arm(due_ns);
    }

    /// From one token of a slot to its next, while as many slots are busy as now.
    fn interval_ns(&self) -> u64 {
        let ms = self.args.sim_itl_ms.unwrap_or_else(|| {
            let others = self.slots.busy().saturating_sub(1) as f64;
            self.args.sim_decode_ms * (1.0 + self.args.sim_batch_slowdown * others)
        });
        ms_to_ns(ms * self.slowdown())
    }

    fn slowdown(&self) -> f64 {
        (1.0 + self.args.sim_slowdown / 100.0).max(0.0)
    }

    fn answer(&self, generation: &Generation, faults: &FaultSet, ordinal: u64) -> Answer {
        let own_seed = self.args.effective_seed();
        if generation.batch.is_some() {
            return Answer { tokens: 0, reason: "stop", truncated: false, seed: own_seed };
        }
        let prompt = generation.prompt.iter().fold(0, |hash, &token| mix(hash ^ u64::from(token)));
        let seed = mix(own_seed ^ generation.seed.unwrap_or(ordinal)) ^ prompt;
        let room =
            u64::from(self.args.slot_context()).saturating_sub(generation.prompt.len() as u64);
        let budget = generation.budget.or_else(|| u64::try_from(self.args.n_predict).ok());
        // A real server makes one token even where none was asked for.
        let tokens = budget.map_or(room, |budget| budget.min(room)).max(1);
        let mut answer = Answer {
            tokens,
            reason: "length",
            truncated: budget.is_none_or(|budget| budget > room),
            seed,
        };
        let mean = self.args.sim_eos.unwrap_or(NATURAL_TOKENS);
        // 0: no answer ends by itself; one without a budget fills the context, as on a real server.
        if mean > 0 && !generation.ignore_eos {
            let length =
                (f64::from(mean) * (0.5 + fraction(seed, u64::MAX))).round().max(1.0) as u64;
            if length < answer.tokens {
                answer = Answer { tokens: length, reason: "stop", truncated: false, seed };
            }
        }
        let half = (answer.tokens / 2) as f64;
        if let Some(short) = faults.number(FaultKind::Short, half) {
            answer =
                Answer { tokens: (short as u64).clamp(1, answer.tokens), reason: "stop", ..answer };
        }
        if faults.has(FaultKind::Empty) {
            answer = Answer { tokens: 0, reason: "stop", ..answer };
        }
        answer
    }

    /// The answer to a request that gets no slot.
    fn rejection(&self, generation: &Generation, faults: &FaultSet) -> Option<Response> {
        let longest = generation.batch.as_ref().map(|batch| batch.all().iter().map(Vec::len).max());
        let prompt = longest.flatten().unwrap_or(generation.prompt.len());
        let context = self.args.slot_context();
        if prompt as u64 >= u64::from(context) {
            let error = serde_json::json!({"error": {
                "code": 400,
                "message": format!(
                    "request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it"
                ),
                "type": "exceed_context_size_error",
                "n_prompt_tokens": prompt,
                "n_ctx": context,
            }});
            return Some(Response { status: 400, ..Response::json(error.to_string()) });
        }
        let status = faults
            .number(FaultKind::ErrorBefore, 500.0)
            .or_else(|| faults.number(FaultKind::Status, 500.0))?;
        // `as` saturates; a status that HTTP does not have becomes the nearest one.
        let status = (status as u16).clamp(400, 599);
        let kind = match status {
            429 => "rate_limit_error",
            503 => "unavailable_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        Some(Response::error(status, kind, "simulated failure"))
    }
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Steps the engine at its due instants until the future is dropped.
pub(super) async fn drive(engine: SharedEngine, pacer: Rc<Pacer>) {
    loop {
        let next = engine.borrow_mut().fire();
        match next {
            Next::Now => tokio::task::yield_now().await,
            Next::At(due) => {
                pacer.arm(due);
                pacer.tick().await;
            }
            Next::Idle => pacer.tick().await,
        }
    }
}
