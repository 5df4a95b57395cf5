//! One inference request on its way from slot to last byte: what is sent, and every fault in it.
//!
//! Main type: [`Job`]. It never decides when it runs; `engine` steps it at its due instants.

mod breaks;
mod writes;

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use super::clock::now_ns;
use super::connection::{Ending, Wire};
use super::fault::{FaultKind, FaultSet};
use super::http::{Response, stream_head};
use super::metrics::Counters;
use super::model::{Vocabulary, WIDE_CHARACTERS};
use super::render::{self, Content, Finish, Frame, LlamaFinal, Shape, Tally, Told};
use super::routes::{Generation, generation_settings};
use super::truth::{TruthEnd, TruthRecord};

/// Tokens made in one step when there is no interval between them.
const BURST_TOKENS: u64 = 32;
/// A client that does not read holds its job up once so many bytes are queued for it.
const MOST_QUEUED_BYTES: usize = 256 * 1024;
/// Digits of a stamp in a comment: enough for any `u64`, so that it can be filled in at the write.
const STAMP_DIGITS: usize = 20;

/// A request that was accepted.
pub(super) struct Job {
    pub(super) wire: Rc<Wire>,
    pub(super) generation: Generation,
    pub(super) faults: FaultSet,
    pub(super) record: TruthRecord,
    pub(super) answer: Answer,
    /// When the next token is due without jitter.
    pub(super) ideal_ns: u64,
    /// Held up until the client reads.
    pub(super) paused: bool,
    /// Never sends again; waits for the client to go.
    pub(super) hung: bool,
    /// Whether it had to wait for a slot.
    pub(super) waited: bool,
    /// The connection stays after a stream.
    pub(super) keep_alive: bool,
    frame: Frame,
    trigger: Option<(FaultKind, u64)>,
    /// Tokens in one event, events in one write.
    tokens_per_event: u64,
    events_per_write: usize,
    stamps: bool,
    /// What made-up vectors depend on besides their text.
    seed: u64,
    model: String,
    made: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    prompt_us: u64,
    role_sent: bool,
    /// Text of tokens that are in no event yet.
    held: String,
    held_tokens: u64,
    held_content: Content,
    /// Chunks that are not written yet, the content events in them, and where their stamps go.
    out: Vec<u8>,
    out_deltas: usize,
    out_stamps: Vec<usize>,
    payload: Vec<u8>,
    /// The second half of a write that was split inside a character.
    tail: Vec<u8>,
    tail_deltas: usize,
    /// The whole answer, when it is not streamed.
    text: String,
    reasoning: String,
}

/// How long an answer is to be, and why it ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Tokens.
    pub(super) tokens: u64,
    /// `stop` or `length`.
    pub(super) reason: &'static str,
    /// Whether the context ended it.
    pub(super) truncated: bool,
    /// Seed of its words.
    pub(super) seed: u64,
}

/// What a step led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// More tokens follow.
    More,
    /// More tokens follow once the client has read.
    Paused,
    /// It hangs for ever, slot and all.
    Hung,
    /// It is over.
    Over(TruthEnd),
}

impl Job {
    pub(super) fn new(
        wire: Rc<Wire>,
        generation: Generation,
        faults: FaultSet,
        record: TruthRecord,
        answer: Answer,
        identity: &Identity<'_>,
    ) -> Job {
        use FaultKind as F;
        let line_end = if faults.has(F::Crlf) { "\r\n" } else { "\n" };
        let frame =
            Frame::new(generation.shape, line_end, &record.id, identity.created, identity.model);
        let trigger = [
            F::ErrorInStream,
            F::Cut,
            F::CutRaw,
            F::Reset,
            F::HangMid,
            F::NotJson,
            F::BadChunkSize,
        ]
        .into_iter()
        .find_map(|kind| Some((kind, faults.number(kind, 2.0)? as u64)));
        let half = if faults.has(F::HalfUtf8) { 2 } else { 1 };
        let tokens_per_event =
            faults.number(F::MultiDelta, 1.0).map_or(half, |n| (n as u64).max(1));
        let events_per_write = faults.number(F::Coalesce, 1.0).map_or(1, |n| (n as usize).max(1));
        Job {
            wire,
            frame,
            trigger,
            tokens_per_event,
            events_per_write,
            stamps: identity.stamps,
            seed: identity.seed,
            model: identity.model.to_owned(),
            keep_alive: identity.keep_alive,
            generation,
            faults,
            record,
            answer,
            ideal_ns: 0,
            paused: false,
            hung: false,
            waited: false,
            made: 0,
            first_ns: None,
            last_ns: 0,
            prompt_us: 0,
            role_sent: false,
            held: String::new(),
            held_tokens: 0,
            held_content: Content::Plain,
            out: Vec::new(),
            out_deltas: 0,
            out_stamps: Vec::new(),
            payload: Vec::new(),
            tail: Vec::new(),
            tail_deltas: 0,
            text: String::new(),
            reasoning: String::new(),
        }
    }

    /// Tokens made so far.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Whether the headers of the stream are out.
    pub(super) fn has_headers(&self) -> bool {
        self.record.headers_ns.is_some()
    }

    /// Whether half a character waits for its other half.
    pub(super) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// Sends the headers of a stream, once.
    pub(super) fn send_headers(&mut self) {
        if !self.generation.stream || self.has_headers() {
            return;
        }
        let head = stream_head(!self.faults.has(FaultKind::NoContentType));
        self.record.headers_ns = Some(now_ns());
        self.record.status = Some(200);
        self.write_plain(head.as_bytes());
        if self.faults.has(FaultKind::RoleOnly) && self.generation.shape == Shape::Chat {
            self.role_sent = true;
            let mut payload = Vec::new();
            self.frame.role(&mut payload);
            self.write_chunk(&payload);
        }
        if self.faults.has(FaultKind::Ping) {
            self.ping();
        }
    }

    /// Sends a comment ping, if the headers are out and no content is.
    pub(super) fn ping(&mut self) {
        if self.has_headers() && self.first_ns.is_none() {
            let mut payload = Vec::new();
            self.frame.ping(&mut payload);
            self.write_chunk(&payload);
        }
    }

    /// Makes the tokens that are due and sends what follows from them.
    pub(super) fn step(
        &mut self,
        interval_is_zero: bool,
        busy: usize,
        counters: &mut Counters,
    ) -> Step {
        self.send_headers();
        self.flush_tail();
        let full = self.wire.is_full();
        if full && (interval_is_zero || self.wire.queued_bytes() > MOST_QUEUED_BYTES) {
            self.paused = true;
            return Step::Paused;
        }
        if self.first_ns.is_none() {
            self.finish_prompt(counters);
        }
        let burst = if interval_is_zero { BURST_TOKENS } else { 1 };
        for _ in 0..burst {
            if let Some(step) = self.pull_trigger() {
                return step;
            }
            if self.made == self.answer.tokens {
                break;
            }
            counters.decode(busy);
            self.make_token();
        }
        let over = self.made == self.answer.tokens;
        if over || interval_is_zero || self.out_deltas >= self.events_per_write {
            self.write_out();
        }
        if !over {
            return Step::More;
        }
        if let Some(step) = self.pull_trigger() {
            return step;
        }
        self.flush_tail();
        self.finish(counters);
        Step::Over(TruthEnd::Completed)
    }

    /// The record of a request that has ended this way.
    pub(super) fn into_record(mut self, end: TruthEnd) -> TruthRecord {
        if end != TruthEnd::Completed && self.record.end_ns == 0 {
            self.record.end_ns = now_ns();
        }
        self.record.end = if self.hung { TruthEnd::Broken } else { end };
        self.record.completion_tokens = self.made;
        self.record.backpressure |= self.wire.take_pressed();
        self.record
    }

    /// What its slot has in its cache afterwards: the last token was never fed back.
    pub(super) fn cache(&mut self) -> Vec<u32> {
        let mut cache = std::mem::take(&mut self.generation.prompt);
        let vocabulary = Vocabulary::shared();
        let fed = self.made.saturating_sub(1);
        cache.extend((0..fed).map(|index| vocabulary.answer_token(self.answer.seed, index)));
        cache
    }

    fn finish_prompt(&mut self, counters: &mut Counters) {
        if self.faults.has(FaultKind::Crash) {
            std::process::abort();
        }
        if let Some(ms) = self.faults.number(FaultKind::Stall, 0.0) {
            std::thread::sleep(Duration::from_secs_f64(ms / 1e3));
        }
        let now = now_ns();
        let started = self.record.started_ns.unwrap_or(now);
        self.first_ns = Some(now);
        self.last_ns = now;
        self.prompt_us = micros(now.saturating_sub(started));
        let processed = self.record.prompt_tokens.saturating_sub(self.record.cached_tokens);
        counters.prompt(processed, self.record.cached_tokens, self.prompt_us * 1_000);
    }

    fn make_token(&mut self) {
        let index = self.made;
        let vocabulary = Vocabulary::shared();
        let token = vocabulary.answer_token(self.answer.seed, index);
        self.made += 1;
        self.last_ns = now_ns();
        let last = self.made == self.answer.tokens;
        let content = self.content_kind(index);
        if content != self.held_content {
            // A group never mixes reasoning with content.
            self.render_held(token);
            self.held_content = content;
        }
        self.held_tokens += 1;
        if self.faults.has(FaultKind::HalfUtf8) {
            // The first half of a character is no text; the last token may have no other half.
            if self.held_tokens.is_multiple_of(2) || last {
                let wide = WIDE_CHARACTERS.get(index as usize / 2 % WIDE_CHARACTERS.len());
                self.held.push_str(wide.copied().unwrap_or_default());
            }
        } else {
            self.held.push_str(vocabulary.word(token));
        }
        if self.held_tokens >= self.tokens_per_event || last {
            self.render_held(token);
        }
    }

    fn content_kind(&self, index: u64) -> Content {
        if self.generation.shape != Shape::Chat {
            return Content::Plain;
        }
        if self.faults.has(FaultKind::ToolCalls) {
            return Content::ToolCall { first: index < self.tokens_per_event };
        }
        let half = (self.answer.tokens / 2) as f64;
        match self.faults.number(FaultKind::Reasoning, half) {
            Some(until) if (index as f64) < until => Content::Reasoning,
            _ => Content::Plain,
        }
    }

    /// Turns the held tokens into one event, as a chunk of its own.
    fn render_held(&mut self, token: u32) {
        if self.held_tokens == 0 {
            return;
        }
        self.held_tokens = 0;
        if !self.generation.stream {
            let whole = if self.held_content == Content::Reasoning {
                &mut self.reasoning
            } else {
                &mut self.text
            };
            whole.push_str(&self.held);
            self.held.clear();
            return;
        }
        let tally = self.tally();
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        if !self.role_sent {
            self.role_sent = true;
            self.frame.role(&mut payload);
        }
        let stamp_at = self.stamps.then(|| {
            payload.extend_from_slice(b": sim-sent-ns ");
            let at = payload.len();
            payload.extend_from_slice(&[b'0'; STAMP_DIGITS]);
            payload.extend_from_slice(self.frame.line_end.as_bytes());
            at
        });
        let told = if self.faults.has(FaultKind::UsageInEveryChunk) {
            Told::Usage
        } else if self.generation.timings_per_token {
            Told::Timings
        } else {
            Told::Nothing
        };
        self.frame.content(&mut payload, self.held_content, &self.held, token, &tally, told);
        self.held.clear();
        render::chunk(&mut self.out, &payload);
        if let Some(at) = stamp_at {
            self.out_stamps.push(self.out.len() - 2 - payload.len() + at);
        }
        self.out_deltas += 1;
        self.payload = payload;
    }

    fn finish(&mut self, counters: &mut Counters) {
        let tally = self.tally();
        counters.answer(self.made, tally.predicted_us * 1_000, tally.prompt_tokens + self.made);
        let reason =
            if self.faults.has(FaultKind::ToolCalls) { "tool_calls" } else { self.answer.reason };
        let reason = (!self.faults.has(FaultKind::NoFinish)).then_some(reason);
        let finish = Finish {
            reason,
            tally,
            tells_usage: !self.faults.has(FaultKind::NoUsage),
            include_usage: self.generation.include_usage,
            truncated: self.answer.truncated,
        };
        self.record.finish_reason = reason.map(str::to_owned);
        let (settings, prompt) = if self.generation.shape == Shape::Llama {
            (
                generation_settings(&self.generation),
                Vocabulary::shared().detokenize(&self.generation.prompt),
            )
        } else {
            (String::new(), String::new())
        };
        let llama = LlamaFinal {
            slot: self.record.slot.unwrap_or_default(),
            settings: &settings,
            prompt: &prompt,
        };
        if let Some(batch) = &self.generation.batch {
            let body = batch.answer(&self.model, self.seed, &self.faults);
            self.respond(&Response::json(body));
            return;
        }
        if !self.generation.stream {
            let body = self.frame.whole(&finish, &llama, &self.text, &self.reasoning);
            self.respond(&Response::json(body));
            return;
        }
        let mut payload = Vec::new();
        if !self.role_sent {
            self.frame.role(&mut payload);
        }
        self.frame.finish(&mut payload, &finish, &llama);
        let mut end = Vec::new();
        if !payload.is_empty() {
            render::chunk(&mut end, &payload);
        }
        if self.generation.shape != Shape::Llama && !self.faults.has(FaultKind::NoTerminator) {
            payload.clear();
            self.frame.event(&mut payload, &["[DONE]"]);
            render::chunk(&mut end, &payload);
        }
        end.extend_from_slice(render::LAST_CHUNK);
        self.record.end_ns = now_ns();
        self.write_plain(&end);
        self.wire.end(if self.keep_alive { Ending::KeepAlive } else { Ending::Close });
    }

    /// Sends a response that is known whole, and ends with it.
    pub(super) fn respond(&mut self, response: &Response) {
        let close = response.closes() || !self.generation.keep_alive;
        let now = now_ns();
        self.record.headers_ns = Some(now);
        self.record.end_ns = now;
        self.record.status = Some(response.status);
        self.write_plain(&response.to_bytes(close));
        self.wire.end(if close { Ending::Close } else { Ending::KeepAlive });
    }

    fn tally(&self) -> Tally {
        let first = self.first_ns.unwrap_or(self.last_ns);
        Tally {
            prompt_tokens: self.record.prompt_tokens,
            cached_tokens: self.record.cached_tokens,
            completion_tokens: self.made,
            prompt_us: self.prompt_us,
            predicted_us: micros(self.last_ns.saturating_sub(first)),
        }
    }
}

/// What an answer says about the server.
pub(super) struct Identity<'a> {
    pub(super) model: &'a str,
    /// Of the server.
    pub(super) seed: u64,
    /// Seconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) stamps: bool,
    pub(super) keep_alive: bool,
}

/// A new id in llama-server's form, different for each request and the same for each seed.
pub(super) fn chat_id(seed: u64, ordinal: u64) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::from("chatcmpl-");
    for place in 0..32 {
        let letter = super::model::mix(seed ^ super::model::mix(ordinal * 64 + place)) % 62;
        let letter = LETTERS.get(letter as usize).copied().unwrap_or(b'0');
        write!(id, "{}", char::from(letter)).expect("writing to a string cannot fail");
    }
    id
}

/// Whole microseconds, rounded.
fn micros(ns: u64) -> u64 {
    (ns + 500) / 1_000
}
