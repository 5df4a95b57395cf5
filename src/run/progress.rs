//! How the load stands, told about once a second.
//!
//! Main functions: [`warm_up`] and [`measure`]. They read counters that the load's thread writes anyway;
//! nothing is asked of it, and it waits for nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use super::so_far::SoFar;
use super::under_load::Bounds;
use crate::event::{Event, Events, LiveServer, LoadProgress, LoadStep, PhaseOf};
use crate::load::{self, LiveCounters, LivePhase, Stamp};
use crate::scrape::{Scraper, SeriesSummary};

/// How often the load is looked at for the people who watch.
const INTERVAL: Duration = Duration::from_secs(1);

/// The first look comes sooner: a run may be over in a second.
const FIRST: Duration = Duration::from_millis(250);

/// Tells how the warm-up stands, until it is dropped.
pub(super) async fn warm_up(live: &LiveCounters, planned: u64, events: &Events) -> Infallible {
    let mut clock = Clock::start(live);
    loop {
        let (elapsed, _, deltas_per_second) = clock.tick(live).await;
        events.send(&Event::LoadProgress(LoadProgress {
            step: LoadStep::WarmUp,
            elapsed_s: elapsed.as_secs_f64(),
            completed: live.warm_up_ended(),
            in_flight: live.in_flight(),
            planned: Some(planned),
            deltas_per_second,
            ..LoadProgress::default()
        }));
    }
}

/// What the measured load is made of, for the people who watch.
pub(super) struct Measuring<'a> {
    pub(super) live: &'a LiveCounters,
    pub(super) so_far: &'a SoFar,
    pub(super) scraper: &'a Scraper,
    pub(super) slots: Option<u64>,
    pub(super) bounds: &'a Bounds,
}

/// Tells how the measured load stands, until it is dropped.
pub(super) async fn measure(of: &Measuring<'_>, events: &Events) -> Infallible {
    let mut clock = Clock::start(of.live);
    loop {
        let (elapsed, requests_per_second, deltas_per_second) = clock.tick(of.live).await;
        let draining = of.live.phase() == LivePhase::Draining;
        let duration = of.bounds.duration.filter(|_| !draining);
        events.send(&Event::LoadProgress(LoadProgress {
            step: if draining { LoadStep::Draining } else { LoadStep::Measuring },
            phase: phase_at(&of.bounds.phases, elapsed).filter(|_| !draining),
            elapsed_s: elapsed.as_secs_f64(),
            remaining_s: duration.map(|all| all.saturating_sub(elapsed).as_secs_f64()),
            completed: of.live.completed(),
            failed: of.live.failed(),
            in_flight: of.live.in_flight(),
            planned: of.bounds.requests,
            requests_per_second,
            deltas_per_second,
            latency: of.so_far.latency(),
            server: server(&of.scraper.so_far(), of.slots),
        }));
    }
}

/// What was counted since the last look.
struct Clock {
    begun: Stamp,
    last: Option<Stamp>,
    completed: u64,
    deltas: u64,
}

impl Clock {
    fn start(live: &LiveCounters) -> Self {
        let (completed, deltas) = (live.completed(), live.content_deltas());
        Self { begun: load::now(), last: None, completed, deltas }
    }

    /// At the next look: the time since the beginning, and requests and deltas per second since the
    /// last look.
    async fn tick(&mut self, live: &LiveCounters) -> (Duration, f64, f64) {
        tokio::time::sleep(if self.last.is_none() { FIRST } else { INTERVAL }).await;
        let (now, completed, deltas) = (load::now(), live.completed(), live.content_deltas());
        let seconds = now.since(self.last.unwrap_or(self.begun)).as_secs_f64().max(f64::EPSILON);
        let rate = |after: u64, before: u64| after.saturating_sub(before) as f64 / seconds;
        let rates = (rate(completed, self.completed), rate(deltas, self.deltas));
        (self.last, self.completed, self.deltas) = (Some(now), completed, deltas);
        (now.since(self.begun), rates.0, rates.1)
    }
}

/// Which phase it is by the clock; `None` where there is but one, or one that no clock ends.
fn phase_at(phases: &[Option<Duration>], elapsed: Duration) -> Option<PhaseOf> {
    if phases.len() < 2 {
        return None;
    }
    let mut ends = Duration::ZERO;
    for (number, duration) in (1..).zip(phases) {
        ends += (*duration)?;
        if elapsed < ends || number == phases.len() as u64 {
            return Some(PhaseOf { number, phases: phases.len() as u64 });
        }
    }
    None
}

fn server(series: &BTreeMap<String, SeriesSummary>, slots: Option<u64>) -> Option<LiveServer> {
    let gauge = |name: &str| {
        let last = series.get(name)?.last;
        // A gauge of requests; `as` saturates, also for what is no number.
        Some(last as u64)
    };
    Some(LiveServer {
        slots_busy: gauge("llamacpp:requests_processing")?,
        slots,
        deferred: gauge("llamacpp:requests_deferred"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_known_by_the_clock_alone() {
        let seconds = |all: &[u64]| -> Vec<Option<Duration>> {
            all.iter().map(|some| Some(Duration::from_secs(*some))).collect()
        };
        let at = |phases: &[Option<Duration>], elapsed: f64| {
            phase_at(phases, Duration::from_secs_f64(elapsed)).map(|of| (of.number, of.phases))
        };
        let three = seconds(&[2, 3, 4]);
        for (elapsed, number) in [(0.0, 1), (1.9, 1), (2.0, 2), (5.0, 3), (9.5, 3)] {
            assert_eq!(at(&three, elapsed), Some((number, 3)), "{elapsed}");
        }
        assert_eq!(at(&seconds(&[5]), 1.0), None);
        assert_eq!(at(&[Some(Duration::from_secs(1)), None], 0.5), Some((1, 2)));
        assert_eq!(at(&[Some(Duration::from_secs(1)), None], 1.5), None);
    }
}
