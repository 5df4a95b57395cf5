//! How much load a server bears, from trials that are allowed to be unlucky: statistics only.
//!
//! Main types: [`Hunt`], which says what to try next and when enough is known, and [`knee::Knee`], the
//! load at which more of it brings no more. Nothing here plays a trial; that is in `suite`.

mod binomial;
mod hunt;
pub mod knee;

pub use binomial::interval;
pub use hunt::{Found, Hunt, Next, Point, Trial, Verdict};
