//! At home in GitHub: what a job leaves behind, taken in with distrust, and shown on a pull request.
//!
//! Reports come from [`intake`]; the page is made by [`crate::report::comment`].

pub mod intake;
