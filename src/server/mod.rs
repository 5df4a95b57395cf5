//! Owns the llama-server child, from its command line to its reaping.
//!
//! Main types: [`Launch`], what [`start`] needs, and [`RunningServer`], what it gives: a server that
//! is ours, owns its port and answers `/health` with 200. The parts, in the order of their work:
//!
//! | Part | Purpose |
//! |---|---|
//! | [`resolve`] | which executable |
//! | [`capabilities`], [`mod@probe`] | what this build of it understands |
//! | [`command`] | its command line (pure) |
//! | `process`, `log`, [`guard`] | the child, what it writes, and that it dies with us |
//! | `health`, [`ports`], `listening`, [`proc`] | when it is ready, and whose port it is |
//! | [`cause`], [`error`] | why it is not |
//! | [`running`] | the finished server: watching, sampling and stopping it |
//!
//! This room does not send load, does not read `/metrics`, and does not look at the environment.

pub mod capabilities;
pub mod cause;
pub mod command;
pub mod error;
pub mod guard;
mod health;
mod listening;
mod log;
pub mod ports;
pub mod probe;
pub mod proc;
mod process;
pub mod resolve;
pub mod running;

pub use capabilities::{Capabilities, Version};
pub use command::ServerCommand;
pub use error::ServerError;
pub use guard::{GUARD_COMMAND, Guard, guard_main};
pub use probe::probe;
pub use resolve::{Program, own_executable, resolve_program};
pub use running::{Ending, Launch, RunningServer, ServerExit, ServerGroup, start};
