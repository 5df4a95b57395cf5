//! At home in GitHub: what a job leaves behind, taken in with distrust, and shown on a pull request.
//!
//! Reports come from [`intake`]; the page is made by [`crate::report::comment`]. [`inputs`] is what the
//! action is given, [`surfaces`] what its job shows.

pub mod inputs;
pub mod intake;
pub mod surfaces;
