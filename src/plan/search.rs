//! What a search looks for: how much load a server bears.
//!
//! Main type: [`SearchSpec`], from `[search]` and the flags over it. How it is found is in `search`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is raised until the server no longer bears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SearchOver {
    /// Concurrent users
    Users,
    /// Requests per second of an open loop
    Rate,
}

impl SearchOver {
    /// The name of the axis.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SearchOver::Users => "users",
            SearchOver::Rate => "rate",
        }
    }
}

/// A search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SearchSpec {
    /// What is raised.
    pub over: SearchOver,
    /// Share of the requests that must meet every objective.
    pub goodput_ratio: f64,
    /// Width of the interval, as a share of the value, at which the search ends; above
    /// [`FINEST_PRECISION`]. Users are whole and rates have four digits, so neighbours are always near
    /// enough.
    pub precision: f64,
    /// Least load that is tried; `None`: 1 user, or what a first saturated trial suggests.
    pub at_least: Option<f64>,
    /// Most load that is tried; `None`: as far as it goes.
    pub at_most: Option<f64>,
    /// No trial begins later than this after the first.
    pub budget: Duration,
}

/// Share of requests that must be good: 19 of 20 people.
pub const GOODPUT_RATIO: f64 = 0.95;

/// Width of the interval at which a search ends.
pub const PRECISION: f64 = 0.05;

/// What that width must be above: rates are tried with four digits, and so are this far apart.
pub const FINEST_PRECISION: f64 = 0.001;

/// How long a search may take.
pub const BUDGET: Duration = Duration::from_secs(30 * 60);

/// Length of a trial where neither flag nor file says one: the time in which an overload of 2 % has
/// put off a request by 0.6 s, which no objective forgives.
pub const TRIAL: Duration = Duration::from_secs(30);
