//! What GitHub sees, and what it is protected from.

mod comment;
mod failures;
mod fake;
mod forks;
mod hostile;
mod job;
mod races;
