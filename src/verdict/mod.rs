//! Pairs of measurements → estimate, interval, verdict. The statistics of a comparison, and no more.
//!
//! Main types: [`Session`], what was measured, and [`Judgement`], made of it by [`judge`]. The steps
//! between them are public, because each is checked against an independent computation: the order of
//! what is played ([`design`]), the value of a block ([`block`]), which blocks are repeated
//! ([`contamination`]), the signed-rank test and its interval ([`signed_rank`]), a cross-check
//! ([`crossover`]), several metrics ([`multiple`]) and several looks ([`looks`]) at one session, what
//! a session could have seen ([`power`]), the rule for one metric ([`rule`]), and several sessions on
//! machines of their own put together ([`sessions`]).
//!
//! Nothing here starts a server, reads a clock or knows a file. A *pair* is one base and one head
//! measurement at the level that is analysed: a block of fresh starts, or two adjacent trials. It is
//! never a request: requests of one server process share its luck, and pooling them raises false
//! alarms ten-fold.
//!
//! **Scale.** A difference is `s·(ln head − ln base)` with s = 1 where lower is better and −1 where
//! higher is: *positive is slower*, for every metric. A [`slow_down_pct`] is shown to people.

pub mod block;
pub mod contamination;
pub mod crossover;
pub mod design;
mod evidence;
mod judge;
mod levels;
pub mod looks;
pub mod multiple;
pub mod power;
pub mod rule;
pub(crate) mod scale;
mod sentence;
pub mod sessions;
pub mod signed_rank;
pub mod student_t;

pub use evidence::{Evidence, Invalid, Side, Work};
pub use judge::{
    Alone, Comparison, Judgement, MetricPairs, PairValue, Session, Settled, Spread, Stage, judge,
};
pub use rule::{Inconclusive, Role, Rule, Verdict};
pub use scale::{change_pct, difference, slow_down_pct};
