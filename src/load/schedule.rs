//! Which request comes next: the closed loop's tickets.
//!
//! Main type: [`Tickets`]. Pure: instants are handed in, nothing is sent.

use super::record::{Phase, Stamp};

/// The right to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Position in the order of planning, warm-up first.
    pub(super) index: u64,
    /// Position among the measured requests, or among the conversations.
    pub(super) ordinal: u64,
    /// Which body is sent.
    pub(super) body: usize,
    pub(super) phase: Phase,
}

/// Hands out the requests of a closed loop, shared by all users.
#[derive(Debug)]
pub(super) struct Tickets {
    bodies: u64,
    /// Warm-up requests in all.
    warm_up: u64,
    warm_up_taken: u64,
    /// Measured requests in all, if they are counted.
    total: Option<u64>,
    taken: u64,
    /// Requests begun: the tickets taken, and the later turns of the conversations that some stand for.
    requests_taken: u64,
    /// No measured request starts at or after this instant.
    closes: Option<Stamp>,
}

impl Tickets {
    /// `bodies` must not be 0.
    pub(super) fn new(bodies: usize, warm_up: u64, total: Option<u64>) -> Self {
        let bodies = (bodies as u64).max(1);
        Self { bodies, warm_up, warm_up_taken: 0, total, taken: 0, requests_taken: 0, closes: None }
    }

    /// The index of the next turn of a conversation that has its ticket.
    pub(super) fn later_turn(&mut self) -> u64 {
        let index = self.warm_up + self.requests_taken;
        self.requests_taken += 1;
        index
    }

    /// Whether a measured request may start at this instant, be it one that is counted already.
    pub(super) fn is_open_at(&self, planned: Stamp) -> bool {
        self.closes.is_none_or(|closes| planned < closes)
    }

    /// Whether the measured requests are counted, so that those which never start are told.
    pub(super) fn are_counted(&self) -> bool {
        self.total.is_some()
    }

    /// Sets the instant at or after which no measured request starts.
    pub(super) fn close_at(&mut self, instant: Stamp) {
        self.closes = Some(instant);
    }

    /// A warm-up request. Bodies go backwards from the last, so that prompts which are measured
    /// early are not in the server's cache because of us, as far as there are enough bodies.
    pub(super) fn warm_up(&mut self) -> Ticket {
        let index = self.warm_up_taken;
        self.warm_up_taken += 1;
        let body = (self.bodies - 1 - index % self.bodies) as usize;
        Ticket { index, ordinal: index, body, phase: Phase::WarmUp }
    }

    /// The next measured request, if one may start at `now`.
    pub(super) fn measured(&mut self, now: Stamp) -> Option<Ticket> {
        let is_closed = self.closes.is_some_and(|closes| now >= closes);
        if is_closed { None } else { self.next_measured() }
    }

    /// A measured request that could still be planned for `planned`; used to see whether waiting
    /// for that instant is of any use.
    pub(super) fn has_more_at(&self, planned: Stamp) -> bool {
        self.closes.is_none_or(|closes| planned < closes)
            && self.total.is_none_or(|total| self.taken < total)
    }

    /// A measured request that was counted in but never started, once the run is over.
    pub(super) fn left_over(&mut self) -> Option<Ticket> {
        self.total.and_then(|_| self.next_measured())
    }

    fn next_measured(&mut self) -> Option<Ticket> {
        if self.total.is_some_and(|total| self.taken >= total) {
            return None;
        }
        let ordinal = self.taken;
        self.taken += 1;
        let index = self.warm_up + self.requests_taken;
        let body = (ordinal % self.bodies) as usize;
        self.requests_taken += 1;
        Some(Ticket { index, ordinal, body, phase: Phase::Measured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_request_i_sends_body_i_modulo_n() {
        let mut tickets = Tickets::new(3, 4, Some(5));
        let taken: Vec<_> = std::iter::from_fn(|| tickets.measured(Stamp(0)))
            .map(|ticket| (ticket.index, ticket.body))
            .collect();
        assert_eq!(taken, [(4, 0), (5, 1), (6, 2), (7, 0), (8, 1)]);
        assert_eq!(tickets.left_over(), None);
    }

    #[test]
    fn later_turns_are_counted_with_the_requests_and_not_with_the_conversations() {
        let mut tickets = Tickets::new(2, 3, Some(2));
        let seen = |ticket: Ticket| (ticket.index, ticket.ordinal, ticket.body);
        assert_eq!(tickets.measured(Stamp(0)).map(seen), Some((3, 0, 0)));
        assert_eq!((tickets.later_turn(), tickets.later_turn()), (4, 5));
        assert_eq!(tickets.measured(Stamp(0)).map(seen), Some((6, 1, 1)));
        assert_eq!(tickets.later_turn(), 7);
        assert_eq!(tickets.measured(Stamp(0)), None);
    }

    #[test]
    fn warm_up_goes_backwards_from_the_last_body() {
        let mut tickets = Tickets::new(3, 4, None);
        let bodies: Vec<_> = (0..4).map(|_| tickets.warm_up().body).collect();
        assert_eq!(bodies, [2, 1, 0, 2]);
    }

    #[test]
    fn nothing_starts_at_or_after_the_close_and_the_rest_is_left_over() {
        let mut tickets = Tickets::new(1, 0, Some(3));
        tickets.close_at(Stamp(10));
        assert!(tickets.has_more_at(Stamp(9)) && !tickets.has_more_at(Stamp(10)));
        assert!(tickets.measured(Stamp(9)).is_some());
        assert!(tickets.measured(Stamp(10)).is_none());
        let left: Vec<_> = std::iter::from_fn(|| tickets.left_over()).collect();
        assert_eq!(left.iter().map(|ticket| ticket.index).collect::<Vec<_>>(), [1, 2]);
        let mut endless = Tickets::new(1, 0, None);
        assert!(endless.left_over().is_none());
    }
}
