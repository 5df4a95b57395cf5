//! bench-ci: did this change make the LLM server slower?
//!
//! The rooms in reading order, and the way that a run takes through them:
//!
//! ```text
//! text (cli) ─┐
//! scenario ───┼─ plan::resolve ─▶ RunPlan                      all decisions are made; --dry-run prints them
//! provenance ─┘
//! RunPlan ─▶ model ─▶ ModelFile
//!         ─▶ dataset ─▶ PromptSet
//!         ─▶ server ─▶ RunningServer                           our child, healthy, owner of its port
//!         ─▶ load ─▶ RequestRecord, one a planned request      scrape beside it ─▶ ScrapeSummary
//! records ─▶ stats ─▶ artifact ─▶ report.json                  END of measuring
//! report.json ─▶ report ─▶ text                                START of showing: never needs a live run
//! ```
//!
//! [`run`] is the only room that joins the others. For programs: make a [`plan::RunPlan`], hand it
//! to [`run::execute`], read [`run::Finished`].

pub mod cli;
pub mod commands;

pub mod plan;
pub mod provenance;

pub mod dataset;
pub mod model;
pub mod server;
pub mod sim;

pub mod gpu;
pub mod load;
pub mod prometheus;
pub mod scrape;
pub mod transport;

pub mod artifact;
pub mod compare;
pub mod history;
pub mod report;
pub mod stats;
pub mod verdict;

pub mod ab;
pub mod github;
pub mod search;
pub mod show;

pub mod bench_py;
pub mod calibrate;
pub mod doctor;
pub mod peaks;
pub mod run;
pub mod suite;

pub mod cancel;
pub mod error;
pub mod event;
pub mod exit;
pub mod signals;
pub mod watch;
