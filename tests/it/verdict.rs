//! The statistics of a comparison: against other people's programs, against a simulated machine,
//! and case by case.

mod calibration;
mod golden;
mod judging;
mod sessions;

#[path = "../../ci/calibration/model.rs"]
mod model;
#[path = "../../ci/calibration/play.rs"]
mod play;
