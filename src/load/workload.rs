//! What is to be played: the plan of a load run and its hash.
//!
//! Main type: [`LoadPlan`]. Nothing is sent or timed here.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::answer::Expected;
use super::arrivals::Schedule;
use super::conversation::Conversations;
use super::error::LoadError;
use super::target::HttpTarget;
use super::whole::Wanted;
use crate::plan::{
    CancelSpec, ClockChoice, Connections, Endpoint, LoadShape, RequestTimeouts, Yield,
};

/// A load against one server.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Where the requests go.
    pub target: HttpTarget,
    /// The request bodies. Measured request *i* (from 0) sends body *i* modulo their number; warm-up
    /// goes backwards from the last one, so that it does not warm the cache for the first measured.
    pub bodies: Vec<PlannedBody>,
    /// What follows on each body, where bodies are the first turns of conversations; `None` where
    /// each stands for itself.
    pub conversations: Option<Conversations>,
    /// Who sends requests, and when.
    pub shape: LoadShape,
    /// The arrivals of an open shape; `None` for a closed one.
    pub schedule: Option<Schedule>,
    /// Concurrent users, at least 1: the constant number of closed shapes, and in an open loop those
    /// of the warm-up.
    pub users: u32,
    /// Pause of a user between the end of a response and its next request.
    pub think_time: Duration,
    /// No measured request starts later than this after the first; `None`: only `total_requests` bounds.
    pub duration: Option<Duration>,
    /// Exactly so many measured requests (or conversations) are planned; `None`: only `duration` bounds. Without effect
    /// where the shape itself counts: per-user iterations, and the arrivals of an open loop.
    pub total_requests: Option<u64>,
    /// How long requests in flight after `duration` may still take before they are cut.
    pub graceful_stop: Duration,
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
        } else if self.shape.is_open() != self.schedule.is_some() {
            "only an open shape has a schedule of arrivals, and it always has one"
        } else if self.schedule.as_ref().is_some_and(Schedule::is_empty) {
            "no arrival falls within its duration; raise the rate or the duration"
        } else if self.duration.is_none() && self.requests().is_none() {
            "neither a duration nor a number of requests bounds it"
        } else {
            return Ok(());
        };
        Err(LoadError::Plan { cause })
    }

    /// How many measured requests are planned; `None` where only time bounds them.
    #[must_use]
    pub fn requests(&self) -> Option<u64> {
        match (&self.schedule, &self.shape) {
            (Some(schedule), _) => Some(schedule.len() as u64),
            (None, LoadShape::PerUserIterations { iterations }) => {
                Some(iterations.saturating_mul(u64::from(self.users)))
            }
            (None, _) => match &self.conversations {
                Some(all) => self.total_requests.map(|count| all.turns_of(count)),
                None => self.total_requests,
            },
        }
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
    hash.update(b"bench-ci workload 1: closed loop\n");
    let mut number = |value: u64| hash.update(value.to_le_bytes());
    number(u64::from(plan.users));
    number(nanos(plan.think_time));
    number(plan.duration.map_or(u64::MAX, nanos));
    number(plan.total_requests.unwrap_or(u64::MAX));
    number(u64::from(plan.warm_up_requests_per_user));
    hash.update(plan.endpoint.path().as_bytes());
    hash.update((plan.bodies.len() as u64).to_le_bytes());
    for planned in &plan.bodies {
        hash.update((planned.body.len() as u64).to_le_bytes());
        hash.update(&planned.body);
        hash.update(u64::from(planned.max_tokens).to_le_bytes());
        hash.update([u8::from(planned.forced)]);
    }
    // A constant number of users is fully told by the numbers above.
    if plan.shape != LoadShape::ConstantUsers {
        let shape = serde_json::to_vec(&plan.shape).expect("a shape has no failing serializer");
        hash.update((shape.len() as u64).to_le_bytes());
        hash.update(&shape);
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
    for offset in plan.schedule.iter().flat_map(Schedule::nanos) {
        hash.update(offset.to_le_bytes());
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
            shape: LoadShape::ConstantUsers,
            schedule: None,
            users: 2,
            think_time: Duration::from_millis(300),
            duration: Some(Duration::from_secs(1)),
            total_requests: None,
            graceful_stop: Duration::from_secs(30),
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
    fn a_plan_without_a_bound_is_refused() {
        let mut endless = plan();
        endless.duration = None;
        assert!(endless.validate().is_err());
        endless.total_requests = Some(1);
        assert!(endless.validate().is_ok());
    }
}
