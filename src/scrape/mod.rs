//! What the server and the system say while the load runs, off the stamping path.
//!
//! Main type: [`Scraper`], one task that asks `/metrics` and `/proc` at an interval. Absence is
//! normal here: a server without `/metrics`, a system without `/proc`, a metric that a build does not
//! have are told as such and never as zeros. This room judges nothing and sends no load.

pub mod http;
pub mod identity;
pub mod metrics;
pub mod scraper;
pub mod series;

pub use http::ControlPlane;
pub use identity::ServerIdentity;
pub use metrics::{Kind, Page, Scrape, scrape};
pub use scraper::{ResourceSummary, ScrapeSummary, Scraper};
pub use series::{SeriesSummary, ServerThroughput};
