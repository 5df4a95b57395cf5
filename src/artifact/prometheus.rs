//! What a Prometheus had of the server over the load, in `report.json`.
//!
//! Main type: [`Prometheus`]. It is beside our own scrape (`server_metrics`), and compared with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknowns::Unknowns;

/// The server's metrics as a Prometheus scraped them during the measured load (`--prometheus`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prometheus {
    /// Which Prometheus was asked.
    pub url: String,
    /// The window: begin of the measured load, RFC 3339, UTC.
    pub start: String,
    /// Its end.
    pub end: String,
    /// Between two points that were asked for, in seconds; a Prometheus that scrapes more often has
    /// more samples than are here.
    pub step_s: f64,
    /// The labels of the instance that the series are of.
    pub instance: BTreeMap<String, String>,
    /// Shortest time between two of its scrapes, in seconds.
    pub scrape_interval_s: Option<f64>,
    /// By metric, without labels.
    pub series: BTreeMap<String, PrometheusSeries>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One metric over the load. Samples that are not finite are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusSeries {
    /// When each sample was taken, in seconds since the begin of the measured load, ascending.
    pub t_s: Vec<f64>,
    /// The samples, as many.
    pub values: Vec<f64>,
    /// Smallest of them.
    pub min: Option<f64>,
    /// Their mean, each counted alike.
    pub mean: Option<f64>,
    /// Largest of them.
    pub max: Option<f64>,
    /// Beside our own scrape.
    pub agreement: Option<Agreement>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How samples lie beside our own: one agrees if it lies between the least and the most that we saw
/// from one of our intervals before it to one after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Samples that could be compared.
    pub compared: u64,
    /// Of those, the ones that agree.
    pub within: u64,
    /// Whether all do. Of counters alone: a gauge may jump between two scrapes.
    pub agrees: Option<bool>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}
