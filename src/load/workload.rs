//! What is to be played: the plan of a load run and its hash.
//!
//! Main types: [`LoadPlan`] and its [`LoadPhase`]s. Nothing is sent or timed here.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::Expected;
use super::arrivals::Schedule;
use super::conversation::Conversations;
use super::error::LoadError;
use super::record::Phase;
use super::target::HttpTarget;
use super::whole::Wanted;
use crate::plan::{
    CancelSpec, ClockChoice, Connections, Endpoint, LoadShape, MOST_REQUESTS, RequestTimeouts,
    Yield,
};

/// A load against one server.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where the requests go.
    pub target: HttpTarget,
    /// The request bodies. Request *i* of all phases together (from 0) sends body *i* modulo their
    /// number; warm-up goes backwards from the last one, so that it does not warm the cache for the
    /// first measured.
    pub bodies: Vec<PlannedBody>,
    /// What follows on each body, where bodies are the first turns of conversations; `None` where
    /// each stands for itself.
    pub conversations: Option<Conversations>,
    /// What is played, one after the other; at least one, and at least one that counts. A phase
    /// begins when the one before it closes: users go on with their next request, and what is in
    /// flight ends as part of the phase that it began in.
    pub phases: Vec<LoadPhase>,
    /// Concurrent users, at least 1: those of the warm-up, and of phases that do not say.
    pub users: u32,
    /// Pause of a user between the end of a response and its next request.
    pub think_time: Duration,
    /// How long requests in flight after a phase's duration may still take before they are cut.
    pub graceful_stop: Duration,
    /// How long the request of a user that a ramp takes off may still take before it is cut.
    pub graceful_ramp_down: Duration,
    /// Unmeasured requests per user; all of them end before measuring begins.
    pub warm_up_requests_per_user: u32,
    /// Limits of one request.
    pub timeouts: RequestTimeouts,
    /// After this time from its writing a measured request is hung up and has failed.
    pub deadline: Option<Duration>,
    /// Measured requests that are hung up on purpose.
    pub cancel: Option<CancelSpec>,
    /// Seed of the choice of those.
    pub seed: u64,
    /// When connections are opened.
    pub connections: Connections,
    /// Which clock stamps the reads.
    pub clock: ClockChoice,
    /// Which kind of answer is expected.
    pub endpoint: Endpoint,
    /// Whether it is streamed.
    pub stream: bool,
    /// Send `x-bench-ci-request: <index>`, so that the simulator's truth can be matched to records.
    pub tag_requests: bool,
}

/// A part of the load with one shape.
#[derive(Debug, Clone)]
pub struct LoadPhase {
    /// Whether it counts.
    pub phase: Phase,
    /// Who sends requests, and when.
    pub shape: LoadShape,
    /// The arrivals of an open shape; `None` for a closed one.
    pub schedule: Option<Schedule>,
    /// Concurrent users, from which ramps take their multiples; `None`: those of the plan. Without
    /// effect on an open shape.
    pub users: Option<u32>,
    /// No request of it starts later than this after its begin; `None`: only `total_requests` bounds.
    pub duration: Option<Duration>,
    /// Exactly so many requests are planned; `None`: only `duration` bounds. Without effect where the
    /// shape itself counts: per-user iterations, and the arrivals of an open loop.
    pub total_requests: Option<u64>,
}

impl LoadPhase {
    /// How many requests are planned where the plan has `users`; `None` where only time bounds them.
    #[must_use]
    pub fn requests(&self, users: u32) -> Option<u64> {
        match (&self.schedule, &self.shape) {
            (Some(schedule), _) => Some(schedule.len() as u64),
            (None, LoadShape::PerUserIterations { iterations }) => {
                Some(iterations.saturating_mul(u64::from(self.users.unwrap_or(users))))
            }
            (None, _) => self.total_requests,
        }
    }

    /// Most users at once where the plan has `users`; 0 in an open loop.
    #[must_use]
    pub fn most_users(&self, users: u32) -> u32 {
        if self.shape.is_open() { 0 } else { self.shape.most_users(self.users.unwrap_or(users)) }
    }

    /// Whether the phase is over once its last request has begun, and not only with its time.
    pub(super) fn ends_with_its_requests(&self) -> bool {
        match &self.schedule {
            // Arrivals that time bounds leave a gap behind the last one.
            Some(schedule) => {
                let counted = self.total_requests.is_some_and(|most| most <= schedule.len() as u64);
                counted || self.duration.is_none()
            }
            None => true,
        }
    }

    fn why_not(&self, users: u32) -> Option<&'static str> {
        if self.shape.is_open() != self.schedule.is_some() {
            Some("only an open shape has a schedule of arrivals, and it always has one")
        } else if self.phase == Phase::Measured
            && self.schedule.as_ref().is_some_and(Schedule::is_empty)
        {
            // Nobody looks at what does not count; that nothing came there by chance is no harm.
            Some("no arrival falls within its duration; raise the rate or the duration")
        } else if self.duration.is_none() && self.requests(users).is_none() {
            Some("neither a duration nor a number of requests bounds it")
        } else if !self.shape.is_open() && self.users == Some(0) {
            Some("it has no users")
        } else {
            None
        }
    }
}

/// Most phases of a load, the cool-down among them; each has histograms of its own.
const MOST_PHASES: usize = 101;

impl LoadPlan {
    /// Checks what can be checked before anything starts.
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] where the plan cannot be played.
    pub fn validate(&self) -> Result<(), LoadError> {
        let cause = if self.users == 0 {
            "it has no users"
        } else if self.bodies.is_empty() {
            "it has no request bodies"
        } else if self.conversations.as_ref().is_some_and(|all| all.len() != self.bodies.len()) {
            "it has not one conversation for each body"
        } else if self.phases.iter().all(|phase| phase.phase != Phase::Measured) {
            "it has no phase that counts"
        } else if self.phases.len() > MOST_PHASES {
            "it has more than 101 phases"
        } else if self.requests_of_users() > MOST_REQUESTS {
            // Only now is it known how many users there are to make so many each.
            "it has more than 20000000 requests; lower their number, or play several runs"
        } else {
            match self.phases.iter().find_map(|phase| phase.why_not(self.users)) {
                Some(cause) => cause,
                None => return Ok(()),
            }
        };
        Err(LoadError::Plan { cause })
    }

    /// How many measured requests are planned; `None` where only time bounds them.
    #[must_use]
    pub fn requests(&self) -> Option<u64> {
        let counts = self.phases.iter().zip(self.requests_by_phase());
        counts.filter(|(phase, _)| phase.phase == Phase::Measured).map(|(_, count)| count).sum()
    }

    /// The requests of each phase, measured or not; `None` where only time bounds them.
    #[must_use]
    pub fn requests_by_phase(&self) -> Vec<Option<u64>> {
        let mut before = 0;
        let requests = |phase: &LoadPhase| match &self.conversations {
            // What is counted there is conversations, and they go on from phase to phase.
            Some(all) => phase.total_requests.map(|count| {
                let begun = before;
                before += count;
                all.turns_of(before) - all.turns_of(begun)
            }),
            None => phase.requests(self.users),
        };
        self.phases.iter().map(requests).collect()
    }

    /// The requests of all closed phases that count them; a conversation is one. Arrivals were counted
    /// before their instants were drawn, and chance may have made a few more of them.
    fn requests_of_users(&self) -> u64 {
        let closed = self.phases.iter().filter(|phase| phase.schedule.is_none());
        let counts = closed.filter_map(|phase| phase.requests(self.users));
        counts.fold(0, u64::saturating_add)
    }

    /// How many unmeasured requests go before the phases.
    #[must_use]
    pub fn warm_up_requests(&self) -> u64 {
        u64::from(self.users) * u64::from(self.warm_up_requests_per_user)
    }

    /// How long all phases take at most; `None` where one of them has no duration.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.phases.iter().map(|phase| phase.duration).sum()
    }

    /// What the answer to a body is to be.
    pub(super) fn expected(&self, body: &PlannedBody) -> Expected {
        let results = body.results.unwrap_or(1);
        let whole = match self.endpoint.yields() {
            Yield::Tokens if self.stream => None,
            Yield::Tokens => Some(Wanted::Tokens),
            Yield::Embeddings => Some(Wanted::Embeddings(results)),
            Yield::Scores => Some(Wanted::Scores(results)),
        };
        Expected { whole, keep_text: self.conversations.is_some() }
    }
}

/// One request body and what is expected of its answer.
#[derive(Debug, Clone)]
pub struct PlannedBody {
    /// The JSON, exactly as it is sent.
    pub body: Arc<[u8]>,
    /// Which prompt of the prompt set it holds, from 0.
    pub prompt_index: u64,
    /// The answer's budget in tokens. With 0 an answer without content is complete.
    pub max_tokens: u32,
    /// Exactly `max_tokens` tokens are forced (`ignore_eos`); fewer are a failure.
    pub forced: bool,
    /// So many embeddings or scores are to come back; `None` where tokens are generated.
    pub results: Option<u32>,
}

/// SHA-256 in lower-case hex over every body in order and the rule by which they are planned.
///
/// Not covered: the target, connections, timeouts and clocks; the same work sent elsewhere has the
/// same hash. Every field is written with its length, so that no two plans write the same bytes.
#[must_use]
pub fn workload_hash(plan: &LoadPlan) -> String {
    let mut hash = Sha256::new();
    hash.update(b"bench-ci workload 2\n");
    let mut number = |value: u64| hash.update(value.to_le_bytes());
    number(u64::from(plan.users));
    number(nanos(plan.think_time));
    number(u64::from(plan.warm_up_requests_per_user));
    hash.update(plan.endpoint.path().as_bytes());
    hash.update((plan.bodies.len() as u64).to_le_bytes());
    for planned in &plan.bodies {
        hash.update((planned.body.len() as u64).to_le_bytes());
        hash.update(&planned.body);
        hash.update(u64::from(planned.max_tokens).to_le_bytes());
        hash.update([u8::from(planned.forced)]);
    }
    for phase in &plan.phases {
        let mut number = |value: u64| hash.update(value.to_le_bytes());
        number(u64::from(phase.phase == Phase::Measured));
        number(u64::from(phase.most_users(plan.users)));
        number(phase.duration.map_or(u64::MAX, nanos));
        number(phase.total_requests.unwrap_or(u64::MAX));
        let shape = serde_json::to_vec(&phase.shape).expect("a shape has no failing serializer");
        number(shape.len() as u64);
        hash.update(&shape);
        let arrivals = phase.schedule.as_ref().map_or(&[][..], Schedule::nanos);
        hash.update((arrivals.len() as u64).to_le_bytes());
        for offset in arrivals {
            hash.update(offset.to_le_bytes());
        }
    }
    // What only newer plans have is written only where it is there, so that older hashes stay.
    let mut more = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    };
    if let Some(deadline) = plan.deadline {
        more("deadline", &nanos(deadline).to_le_bytes());
    }
    if let Some(cancel) = &plan.cancel {
        let json = serde_json::to_vec(cancel).expect("it has no failing serializer");
        more("cancel", &json);
        more("seed", &plan.seed.to_le_bytes());
    }
    for (position, turn) in plan.conversations.iter().flat_map(Conversations::later_turns) {
        more("turn", &position.to_le_bytes());
        more("says", turn.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LoadPlan {
        let body = |text: &str| PlannedBody {
            body: text.as_bytes().into(),
            prompt_index: 0,
            max_tokens: 8,
            forced: false,
            results: None,
        };
        LoadPlan {
            target: HttpTarget::parse("http://127.0.0.1:1", "/v1/chat/completions", &[], None)
                .unwrap(),
            bodies: vec![body("one"), body("two")],
            conversations: None,
            phases: vec![LoadPhase {
                phase: Phase::Measured,
                shape: LoadShape::ConstantUsers,
                schedule: None,
                users: None,
                duration: Some(Duration::from_secs(1)),
                total_requests: None,
            }],
            users: 2,
            think_time: Duration::from_millis(300),
            graceful_stop: Duration::from_secs(30),
            graceful_ramp_down: Duration::from_secs(30),
            warm_up_requests_per_user: 0,
            timeouts: RequestTimeouts {
                connect: Duration::from_secs(1),
                first: Duration::from_secs(1),
                idle: Duration::from_secs(1),
                total: Duration::from_secs(1),
            },
            deadline: None,
            cancel: None,
            seed: 42,
            connections: Connections::Ahead,
            clock: ClockChoice::Auto,
            endpoint: Endpoint::ChatCompletions,
            stream: true,
            tag_requests: false,
        }
    }

    #[test]
    fn the_hash_sees_the_work_and_not_the_target() {
        // A hash that covered the target would refuse to compare two builds on two ports.
        let hash = workload_hash(&plan());
        assert_eq!(hash.len(), 64);
        let mut elsewhere = plan();
        elsewhere.target =
            HttpTarget::parse("http://127.0.0.1:2", "/v1/chat/completions", &[], None).unwrap();
        assert_eq!(workload_hash(&elsewhere), hash);

        let mut swapped = plan();
        swapped.bodies.reverse();
        assert_ne!(workload_hash(&swapped), hash);
        let mut shifted = plan();
        shifted.bodies[0].body = b"onet".as_slice().into();
        shifted.bodies[1].body = b"wo".as_slice().into();
        assert_ne!(workload_hash(&shifted), hash);
        let mut paced = plan();
        paced.think_time = Duration::from_millis(301);
        assert_ne!(workload_hash(&paced), hash);
        let mut hasty = plan();
        hasty.deadline = Some(Duration::from_secs(2));
        assert_ne!(workload_hash(&hasty), hash);
        let after = crate::plan::CancelAfter::AfterTokens(3);
        let mut fickle = plan();
        fickle.cancel = Some(CancelSpec { share: 0.5, after });
        let cancelled = workload_hash(&fickle);
        assert_ne!(cancelled, hash);
        fickle.seed = 43;
        assert_ne!(workload_hash(&fickle), cancelled);
    }

    #[test]
    fn the_hash_sees_every_phase_and_whether_it_counts() {
        let hash = workload_hash(&plan());
        let mut cooled = plan();
        cooled.phases.push(LoadPhase { phase: Phase::CoolDown, ..plan().phases[0].clone() });
        let mut counted = cooled.clone();
        counted.phases[1].phase = Phase::Measured;
        let mut longer = cooled.clone();
        longer.phases[1].duration = Some(Duration::from_secs(2));
        let mut hashes = [&cooled, &counted, &longer].map(workload_hash).to_vec();
        hashes.push(hash);
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
        assert_eq!((counted.duration(), counted.requests()), (Some(Duration::from_secs(2)), None));
    }

    #[test]
    fn a_plan_without_a_bound_is_refused() {
        let mut endless = plan();
        endless.phases[0].duration = None;
        assert!(endless.validate().is_err());
        endless.phases[0].total_requests = Some(1);
        assert!(endless.validate().is_ok());
        endless.phases[0].phase = Phase::CoolDown;
        assert!(endless.validate().is_err(), "nothing would be measured");
    }

    #[test]
    fn more_requests_than_anybody_could_keep_are_refused() {
        let mut each = plan();
        each.users = 4;
        let iterations = |iterations| LoadShape::PerUserIterations { iterations };
        each.phases[0].shape = iterations(MOST_REQUESTS / 4);
        assert!(each.validate().is_ok());
        each.phases[0].shape = iterations(MOST_REQUESTS / 4 + 1);
        let error = each.validate().expect_err("too many").to_string();
        assert!(error.contains(&format!("more than {MOST_REQUESTS} requests")), "{error}");
    }

    #[test]
    fn only_a_phase_that_counts_must_have_arrivals() {
        let open = |phase| LoadPhase {
            phase,
            shape: LoadShape::Arrivals {
                process: crate::plan::ArrivalProcess::Poisson,
                rate_per_second: 0.1,
                max_in_flight: None,
            },
            schedule: Some(Schedule::of_trace(Vec::new())),
            ..plan().phases[0].clone()
        };
        let mut cooled = plan();
        cooled.phases.push(open(Phase::CoolDown));
        assert!(cooled.validate().is_ok());
        cooled.phases[1].phase = Phase::Measured;
        let error = cooled.validate().expect_err("a phase without figures");
        assert!(error.to_string().contains("no arrival falls within its duration"), "{error}");
    }
}
