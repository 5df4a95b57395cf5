//! What the server and the system say while the load runs, off the stamping path.
//!
//! Main type: [`Scraper`], one task that asks `/metrics` at an interval, and one thread that asks
//! `/proc`, `/sys` and graphics processors. Absence is normal here: a server without `/metrics`, a system without `/proc`, a metric that a build does not
//! have are told as such and never as zeros. This room judges nothing and sends no load.

mod cost;
pub mod history;
pub mod http;
pub mod identity;
pub mod machine;
pub mod metrics;
mod sampler;
pub mod scraper;
pub mod series;
mod track;

/// Moments of which everything is kept in memory, for the timeline of the report; above this, every second one is
/// forgotten. Half of it is still more than the 300 steps that a timeline has; on disk are all.
const MOST_KEPT: usize = 640;

pub use history::{GpuHistory, GpuPoint, ResourceHistory, ResourceSummary, Sample};
pub use http::ControlPlane;
pub use identity::ServerIdentity;
pub use metrics::{Kind, Page, Scrape, scrape};
pub use scraper::{RESOURCES_FILE, ScrapeSummary, Scraper};
pub use series::{SeriesSummary, ServerThroughput};
pub use track::{Track, Tracks};
