//! At home in GitHub: what a job leaves behind, taken in with distrust, and shown on a pull request.
//!
//! Main function: [`comment`], the command of that name. Reports come from [`intake`]; the page is
//! made by [`crate::report::comment`]; which pull request it is for is found out in [`context`] and
//! verified in `pull_request`; `client` speaks HTTP, `publish` keeps one comment, `checks` makes
//! statuses and check runs. [`inputs`] is what the action is given, [`surfaces`] what its job shows.

mod artifacts;
mod carried;
mod checks;
mod client;
mod command;
pub mod context;
mod dry;
mod error;
pub mod inputs;
pub mod intake;
mod publish;
mod pull_request;
pub mod surfaces;

pub use command::main as comment;
pub use error::GithubError;
