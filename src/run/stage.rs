//! A stage of the corridor from its first event to its last.

use std::time::Instant;

use crate::event::{Event, Events, Stage};

/// A stage that has begun.
pub(super) struct Running<'a> {
    events: &'a Events,
    stage: Stage,
    begun: Instant,
}

impl<'a> Running<'a> {
    /// Says that it begins.
    pub(super) fn begin(events: &'a Events, stage: Stage, what: String) -> Self {
        events.send(&Event::StageStarted { stage, what });
        Self { events, stage, begun: Instant::now() }
    }

    /// Says what came of it.
    pub(super) fn done(self, outcome: String) {
        let elapsed_s = self.begun.elapsed().as_secs_f64();
        self.events.send(&Event::StageDone { stage: self.stage, outcome, elapsed_s });
    }
}
