//! The versioned wire format of a finished run.
//!
//! Main types: [`Report`], which is `report.json` (schema `bench-ci.report/1`), [`RequestRow`], a line
//! of `requests.jsonl`, and [`AbReport`], which is `ab.json` (schema `bench-ci.ab/1`). Everything here is pure but [`store`]. Field names are public: they carry
//! their unit and never change their meaning within a schema version.
//!
//! A number that is not known is `null`, and the object it sits in says why in `unknown`.

mod ab;
mod bisect;
mod calibration;
mod comparison;
pub mod derived;
mod from_stats;
mod pretty;
mod prometheus;
mod prompts;
mod report;
mod rows;
mod schema;
mod scrapes;
mod sections;
pub mod store;
mod suite;
pub mod timeline;
mod unknowns;

pub use ab::{
    AB_SCHEMA, AB_SCHEMA_VERSION, AbReport, AbVerdict, Build, Check, ComparisonRole, Design,
    DesignKind, EarlierAa, Heterogeneity, MetricComparison, PairSpread, PlannedLook,
    SessionSummary, SideReport, Sides, Sitting, Trial, TrialGpu, TrialProbe, TrialTails,
    TrialTokens, TrialWarmUp,
};
pub use bisect::{
    BISECT_SCHEMA, BisectCommit, BisectEvidence, BisectFinding, BisectOutcome, BisectPurpose,
    BisectReport, BisectStep,
};
pub use calibration::{CALIBRATION_SCHEMA, Calibration, CalibrationStep, ErrorFigures};
pub use comparison::{
    COMPARE_SCHEMA, CompareCheck, CompareDesign, CompareJudged, CompareReport, CompareRow,
    CompareRun, CompareSides, CompareValue,
};
pub use derived::Derived;
pub use from_stats::{Sections, phase_figures, sections};
pub use prometheus::{Agreement, Prometheus, PrometheusSeries};
pub use prompts::{LengthSpread, Prompts};
pub use report::{
    FileEntry, Gguf, Gpu, Machine, Model, Phase, Report, Run, RunStatus, SCHEMA, SCHEMA_VERSION,
    Scenario, Server, ServerExit, Tool,
};
pub(crate) use rows::{FURTHEST_S, csv_line};
pub use rows::{RequestRow, csv, jsonl, row_schema, write_csv, write_jsonl};
pub use schema::{
    AB_SCHEMA_FILE, BISECT_SCHEMA_FILE, CALIBRATION_SCHEMA_FILE, COMPARE_SCHEMA_FILE, SCHEMA_FILE,
    SUITE_SCHEMA_FILE, ab_json_schema, bisect_json_schema, calibration_json_schema,
    compare_json_schema, json_schema, suite_json_schema,
};
pub(crate) use scrapes::unix_s;
pub use scrapes::{ScrapeRow, began_unix_s, scrape_rows};
pub use sections::{
    Ci95, Client, Conversations, GpuUse, HeaderFigures, Limits, MetricSummary, Note, PhaseFigures,
    ProcessUse, RateFigures, Rates, Reconciliation, RequestsSection, ResidualFigures, Resources,
    ServerMetric, Spread, SteadyState, Threshold, Tokens, TtftFigures, Turn, Unmeasured,
    WindowFigures,
};
pub use suite::{
    AxisValue, CellMetric, CellRates, CellRequests, CellStatus, SUITE_SCHEMA, SUITE_SCHEMA_VERSION,
    SearchKind, SearchPoint, SearchReport, SuiteCell, SuiteReport, SuiteRun, SuiteServer,
};
pub use timeline::Timeline;
pub use unknowns::{Unknowns, explain_nulls, unexplained_nulls};
