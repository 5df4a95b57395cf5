//! What both sides are asked: the same prompts, in the same order, for the same number of tokens.
//!
//! Main types: [`Course`], the requests; [`Sizing`], how many of them make a turn and how many turns a
//! block, found from the first waves and kept for the whole session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::Probe;
use crate::dataset::{Prompt, PromptSet};
use crate::load::{self, HttpTarget, LoadPhase, LoadPlan, Phase, PlannedBody};
use crate::plan::{
    Ask, ClockChoice, Connections, Dialect, Endpoint, LoadShape, RequestTimeouts, RunPlan,
    Workload, body_of,
};
use crate::stats::ServerKind;

/// A turn shorter than this is mostly its own beginning and end.
const SHORTEST_TURN: Duration = Duration::from_millis(100);

/// What a turn is sized for where the answer's length is ours to choose: on a shared machine the error
/// of 150 s of measuring was smallest with turns of this length.
const WANTED_TURN: Duration = Duration::from_millis(120);

/// Fewest generated tokens of a request whose length is ours to choose: fewer have no rhythm.
const FEWEST_TOKENS: u32 = 16;

/// Tokens of the waves that size the rest.
const SIZING_TOKENS: u32 = 32;

/// Pairs of turns that a block should hold, even if fewer blocks fit then; and the most that add anything.
const WANTED_SLICE_PAIRS: usize = 10;
const MOST_SLICE_PAIRS: usize = 300;

/// Waves after which a server counts as warm, however it moves.
const MOST_WARM_UP_WAVES: usize = 10;

/// How a session is sized. Found once; a resumed session keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sizing {
    /// Users at once.
    pub(super) users: u32,
    /// Tokens that each request is made to generate.
    pub(super) tokens: u32,
    /// Requests of one turn.
    pub(super) requests: usize,
    /// Pairs of turns in a block; 1 in restart mode.
    pub(super) slice_pairs: usize,
    /// Waves after which a server counts as warm, however it moves.
    pub(super) warm_up_waves: usize,
    /// One server at a time.
    pub(super) restart: bool,
    /// Why, where it was not asked for.
    pub(super) restart_reason: Option<String>,
    /// The fixed work around each block; `None` while it is sized itself.
    pub(super) probe: Option<Probe>,
    /// Positions of the prompts that fit both servers.
    pub(super) prompts: Vec<usize>,
}

/// What the first waves showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstWaves {
    /// Of a wave of one request a user with [`Course::sizing_tokens`].
    pub(super) lasted: Duration,
    /// Median time to first token.
    pub(super) ttft: Duration,
    /// Tokens of each of its requests.
    pub(super) tokens: u32,
    /// What a turn takes besides its requests.
    pub(super) between: Duration,
}

/// Time that the sizing may spend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// For all pairs.
    pub(super) all: Duration,
    /// Of a pair, besides its turns: starts, warm-up, probes, stops.
    pub(super) overhead: Duration,
    /// Most pairs that are played, repeats included.
    pub(super) most_pairs: usize,
    /// Pairs at the first look.
    pub(super) first_look: usize,
}

/// How long the answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerLength {
    /// The user said so.
    Fixed(u32),
    /// Ours to choose, up to this.
    UpTo(u32),
}

impl AnswerLength {
    /// Tokens, where the user said how many.
    pub(super) fn asked(self) -> Option<u32> {
        match self {
            AnswerLength::Fixed(tokens) => Some(tokens),
            AnswerLength::UpTo(_) => None,
        }
    }

    /// Tokens of the waves that size the rest.
    pub(super) fn while_sizing(self) -> u32 {
        match self {
            AnswerLength::Fixed(tokens) => tokens,
            AnswerLength::UpTo(most) => most.min(SIZING_TOKENS),
        }
    }

    /// For turns as short as they may be.
    pub(super) fn chosen(self, waves: &FirstWaves) -> u32 {
        match self {
            AnswerLength::Fixed(tokens) => tokens,
            AnswerLength::UpTo(most) => {
                let left = WANTED_TURN.saturating_sub(waves.ttft).as_secs_f64();
                let wanted = (left / waves.token_s()).floor();
                (wanted as u32).clamp(FEWEST_TOKENS.min(most), most)
            }
        }
    }
}

impl FirstWaves {
    /// Seconds that another token takes.
    fn token_s(&self) -> f64 {
        let decoding = self.lasted.saturating_sub(self.ttft).as_secs_f64();
        (decoding / f64::from(self.tokens.saturating_sub(1).max(1))).max(1e-6)
    }

    /// How long a wave of answers of this length takes.
    fn wave(&self, tokens: u32) -> Duration {
        let further = f64::from(tokens) - f64::from(self.tokens);
        Duration::from_secs_f64((self.lasted.as_secs_f64() + further * self.token_s()).max(1e-4))
    }
}

/// Waves in a turn, and pairs of turns in a block.
pub(super) fn turns(waves: &FirstWaves, tokens: u32, room: Room, restart: bool) -> (usize, usize) {
    let wave = waves.wave(tokens);
    let of_pair = |pairs: usize| {
        (room.all / u32::try_from(pairs.max(1)).unwrap_or(u32::MAX)).saturating_sub(room.overhead)
    };
    let times = |time: Duration, of: Duration| (time.as_secs_f64() / of.as_secs_f64()) as usize;
    // A block is a sixteenth of the time; where that holds too few turns it may be longer, but the
    // first look must be reached.
    let usual = of_pair(room.most_pairs);
    let longest = of_pair(room.first_look + 1).max(usual);
    if restart {
        let waves = times(usual / 2, wave).max(times(longest / 2, wave).min(8)).max(1);
        return (waves, 1);
    }
    let in_turn = times(SHORTEST_TURN + wave - Duration::from_nanos(1), wave).clamp(1, 64);
    let turn = wave * u32::try_from(in_turn).unwrap_or(1) + waves.between;
    let pairs = times(usual, 2 * turn)
        .max(times(longest, 2 * turn).min(WANTED_SLICE_PAIRS))
        .clamp(1, MOST_SLICE_PAIRS);
    // As many AB as BA.
    (in_turn, if pairs > 1 { pairs & !1 } else { pairs })
}

/// What a pair that was played cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// From the first start to the last stop, without the waves that sized the session; seconds.
    pub(super) took_s: f64,
    /// Of those, the measured turns of both sides.
    pub(super) loaded_s: f64,
    /// Pairs of turns, or in restart mode requests of a trial.
    pub(super) amount: usize,
}

/// What is still to be played, and the time for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// For all of it.
    pub(super) time: Duration,
    /// Pairs at most, repeats included.
    pub(super) most_pairs: usize,
    /// Pairs until the first look and one more.
    pub(super) first_look: usize,
}

/// Sizes the pairs that follow by what those before really took. Time alone decides, and it is the time
/// of both sides together.
pub(super) fn resized(sizing: &Sizing, costs: &[Cost], ahead: Ahead) -> Sizing {
    let amount: usize = costs.iter().map(|cost| cost.amount).sum();
    let loaded_s: f64 = costs.iter().map(|cost| cost.loaded_s).sum();
    let took_s: f64 = costs.iter().map(|cost| cost.took_s).sum();
    let one_s = loaded_s.max(1e-3) / amount.max(1) as f64;
    let overhead_s = (took_s - loaded_s) / costs.len().max(1) as f64;
    let fit = |pairs: usize| {
        let for_one = ahead.time.as_secs_f64() / pairs.max(1) as f64;
        ((for_one - overhead_s) / one_s).max(0.0)
    };
    let (usual, longest) = (fit(ahead.most_pairs), fit(ahead.first_look));
    let mut sizing = sizing.clone();
    if sizing.restart {
        let users = sizing.users.max(1) as usize;
        let wanted = usual.max(longest.min((8 * users) as f64)) as usize;
        sizing.requests = (wanted / users).max(1) * users;
    } else {
        let wanted = usual.max(longest.min(WANTED_SLICE_PAIRS as f64)) as usize;
        let wanted = wanted.clamp(1, MOST_SLICE_PAIRS);
        // As many AB as BA.
        sizing.slice_pairs = if wanted > 1 { wanted & !1 } else { wanted };
    }
    sizing
}

/// Most waves of warm-up: ten, or what a quarter of a short block has room for.
pub(super) fn warm_up_waves(waves: &FirstWaves, tokens: u32, room: Room) -> usize {
    let block = room.all / u32::try_from(room.most_pairs.max(1)).unwrap_or(u32::MAX);
    let both = 2 * (waves.wave(tokens) + waves.between);
    let waves = (block / 4).as_secs_f64() / both.as_secs_f64();
    (waves as usize).clamp(3, MOST_WARM_UP_WAVES)
}

/// What both sides are asked.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// Users at once.
    pub(super) users: u32,
    /// Limits of a request.
    pub(super) timeouts: RequestTimeouts,
    /// When connections are opened.
    pub(super) connections: Connections,
    /// Which clock stamps the reads.
    pub(super) clock: ClockChoice,
    /// The route.
    pub(super) endpoint: Endpoint,
    /// What kind of server answers.
    pub(super) server_kind: ServerKind,
    bodies: Vec<PlannedBody>,
    requests: usize,
    slice_pairs: usize,
    /// See [`Sizing`].
    pub(super) warm_up_waves: usize,
}

impl Course {
    /// For both sides; `plan` is either's.
    pub(super) fn of(
        plan: &RunPlan,
        prompts: &PromptSet,
        server_kind: ServerKind,
        sizing: &Sizing,
    ) -> Self {
        let workload = equal_work(&plan.workload, sizing.tokens);
        let bodies = sizing
            .prompts
            .iter()
            .filter_map(|position| Some((*position, prompts.prompts.get(*position)?)))
            .map(|(position, prompt)| {
                // A dataset's own budget would make turns unequal.
                let prompt = Prompt { max_tokens: None, ..prompt.clone() };
                let ask = Ask { prompt: &prompt, others: &[], lora: None };
                PlannedBody {
                    body: body_of(&workload, Dialect::LlamaCpp, &ask).into(),
                    prompt_index: position as u64,
                    max_tokens: sizing.tokens,
                    forced: true,
                    results: None,
                }
            })
            .collect();
        Self {
            users: sizing.users,
            timeouts: workload.timeouts,
            connections: workload.connections,
            clock: plan.clock,
            endpoint: workload.endpoint,
            server_kind,
            bodies,
            requests: sizing.requests,
            slice_pairs: sizing.slice_pairs,
            warm_up_waves: sizing.warm_up_waves,
        }
    }

    /// The requests of the pair of turns `position`: the same for both sides and in every block.
    pub(super) fn turn(&self, position: usize) -> Vec<PlannedBody> {
        let first = position * self.requests;
        (first..first + self.requests).map(|index| self.body(index)).collect()
    }

    /// One request a user, from the end of the list, so that what is measured first is not warm. Each
    /// time the same: only then does a change of its length say something about the server.
    pub(super) fn warm_up_wave(&self) -> Vec<PlannedBody> {
        (0..self.users as usize)
            .map(|user| {
                let back = user % self.bodies.len();
                self.bodies[self.bodies.len() - 1 - back].clone()
            })
            .collect()
    }

    /// One request a user, with other prompts for each position: what the session is sized by.
    pub(super) fn sizing_wave(&self, position: usize) -> Vec<PlannedBody> {
        let users = self.users as usize;
        (position * users..(position + 1) * users).map(|index| self.body(index)).collect()
    }

    fn body(&self, index: usize) -> PlannedBody {
        self.bodies[index % self.bodies.len()].clone()
    }

    /// Pairs of turns in a block.
    pub(super) fn slice_pairs(&self) -> usize {
        self.slice_pairs
    }

    /// Requests of one turn.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// One turn with these requests: each is sent once, as fast as the users get their answers.
    pub(super) fn load_plan(
        &self,
        target: HttpTarget,
        bodies: Vec<PlannedBody>,
        timeouts: RequestTimeouts,
    ) -> LoadPlan {
        let users = self.users.min(u32::try_from(bodies.len()).unwrap_or(u32::MAX)).max(1);
        let turn = LoadPhase {
            phase: Phase::Measured,
            shape: LoadShape::ConstantUsers,
            schedule: None,
            users: None,
            duration: None,
            total_requests: Some(bodies.len() as u64),
        };
        LoadPlan {
            target,
            bodies,
            conversations: None,
            phases: vec![turn],
            users,
            think_time: Duration::ZERO,
            graceful_stop: Duration::ZERO,
            graceful_ramp_down: Duration::ZERO,
            warm_up_requests_per_user: 0,
            timeouts,
            deadline: None,
            cancel: None,
            seed: 0,
            connections: self.connections,
            clock: self.clock,
            endpoint: self.endpoint,
            stream: true,
            tag_requests: true,
        }
    }

    /// Digest over all that a side can be asked; how often that goes round differs from block to block.
    pub(super) fn hash(&self) -> Option<String> {
        let target = HttpTarget::parse("http://127.0.0.1", self.endpoint.path(), &[], None).ok()?;
        let plan = self.load_plan(target, self.bodies.clone(), self.timeouts);
        Some(load::workload_hash(&plan))
    }
}

/// The workload with everything fixed that could make one side do less: no sampling, no cache, no early
/// end, no pauses.
fn equal_work(workload: &Workload, tokens: u32) -> Workload {
    let mut workload = workload.clone();
    workload.think_time = Duration::ZERO;
    let request = &mut workload.request;
    request.max_tokens = tokens;
    request.ignore_eos = true;
    request.stop.clear();
    request.stream = true;
    request.sampling.temperature = Some(0.0);
    request.lora.clear();
    request.seed = Some(request.seed.unwrap_or(workload.seed));
    request.cache_prompt = false;
    request.include_usage = true;
    workload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn room(all_s: u64, overhead_ms: u64) -> Room {
        Room {
            all: Duration::from_secs(all_s),
            overhead: ms(overhead_ms),
            most_pairs: 16,
            first_look: 9,
        }
    }

    #[test]
    fn a_fast_server_gets_short_turns_and_many_of_them() {
        // 15M parameters on two cores: 4 ms a token, 20 ms to the first.
        let waves =
            FirstWaves { lasted: ms(20 + 31 * 4), ttft: ms(20), tokens: 32, between: ms(6) };
        let tokens = AnswerLength::UpTo(512).chosen(&waves);
        assert_eq!(tokens, 25);
        let (in_turn, pairs) = turns(&waves, tokens, room(160, 3000), false);
        assert_eq!(in_turn, 1);
        assert!((26..=30).contains(&pairs), "{pairs}");
        assert_eq!(AnswerLength::Fixed(128).chosen(&waves), 128);
    }

    #[test]
    fn turns_are_never_shorter_than_a_tenth_of_a_second() {
        let waves = FirstWaves { lasted: ms(7), ttft: ms(2), tokens: 6, between: ms(6) };
        let (in_turn, _) = turns(&waves, 6, room(160, 1000), false);
        assert_eq!(in_turn, 15);
    }

    #[test]
    fn the_pairs_that_were_played_correct_the_size_of_the_others() {
        let sizing = Sizing {
            users: 2,
            tokens: 24,
            requests: 48,
            slice_pairs: 40,
            warm_up_waves: 10,
            restart: false,
            restart_reason: None,
            probe: None,
            prompts: vec![0],
        };
        // 10 s a pair, of which 8 are turns; room for 6 s a pair, so 4 s of turns.
        let cost = |amount| Cost { took_s: 10.0, loaded_s: 8.0, amount };
        let ahead =
            |seconds| Ahead { time: Duration::from_secs(seconds), most_pairs: 17, first_look: 9 };
        let smaller = resized(&sizing, &[cost(40)], ahead(17 * 6));
        assert_eq!((smaller.slice_pairs, smaller.requests), (20, 48));
        // Too little time for all pairs: blocks of ten turns each, as long as the first look is reached.
        assert_eq!(resized(&sizing, &[cost(40)], ahead(17 * 3)).slice_pairs, 10);
        assert_eq!(resized(&sizing, &[cost(40)], ahead(9 * 3)).slice_pairs, 4);
        let much = resized(&sizing, &[cost(40)], ahead(3 * 17 * 6));
        assert_eq!(much.slice_pairs, 80);
        // All pairs so far are looked at together: 60 pairs of turns in 16 s.
        let two = resized(&sizing, &[cost(40), cost(20)], ahead(3 * 17 * 6));
        assert_eq!(two.slice_pairs, 60);
        let restart = resized(&Sizing { restart: true, ..sizing }, &[cost(48)], ahead(17 * 6));
        assert_eq!((restart.slice_pairs, restart.requests), (40, 24));
    }

    #[test]
    fn a_slow_server_gets_fewer_turns_but_its_first_look() {
        let waves =
            FirstWaves { lasted: Duration::from_secs(4), ttft: ms(500), tokens: 8, between: ms(6) };
        let (in_turn, pairs) = turns(&waves, 8, room(600, 5000), false);
        assert_eq!(in_turn, 1);
        assert!(pairs >= 4 && (10 * (pairs * 8 + 5)) <= 600, "{pairs}");
    }
}
