//! What a job of GitHub Actions shows of a run: its summary, its outputs, its annotations.
//!
//! Main types: [`Job`], which notices that it is in a job and writes, and [`Found`], what there is to
//! show. Rendering is in `command` and `outputs`, which touch nothing. No surface can fail a run: what
//! cannot be written is a warning. `GITHUB_ENV` is never written: what was measured must not become
//! the environment of later steps.

mod command;
mod job;
mod outputs;
mod summary;

pub use command::{Command, Level, harmless};
pub use job::Job;
pub(super) use job::tell;
pub use outputs::{Found, Output, artifact_key, assignment};
pub use summary::append_summary;
