//! Which request comes next: the tickets of the phases.
//!
//! Main type: [`Tickets`]. Pure: instants are handed in, nothing is sent.

use super::record::{Phase, Stamp};

/// The right to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Position in the order of planning, warm-up first.
    pub(super) index: u64,
    /// Which body is sent.
    pub(super) body: usize,
    pub(super) phase: Phase,
    /// As of the record: 0 is the warm-up before the phases, 1 the first phase.
    pub(super) phase_index: u16,
    /// Position among the requests of its phase, or among its conversations.
    pub(super) ordinal: u64,
    /// The same over all phases; of the warm-up before them, over that.
    pub(super) overall: u64,
}

/// Hands out the requests of a load, shared by all users.
#[derive(Debug)]
pub(super) struct Tickets {
    bodies: u64,
    /// Warm-up requests in all.
    warm_up: u64,
    warm_up_taken: u64,
    /// Of all phases.
    taken: u64,
    /// Requests begun: the tickets taken, and the later turns of the conversations that some stand
    /// for.
    requests_taken: u64,
    phases: Vec<Book>,
}

/// The requests of one phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Book {
    phase: Phase,
    /// Requests in all, if they are counted.
    total: Option<u64>,
    taken: u64,
    /// None starts at or after this instant.
    closes: Option<Stamp>,
}

impl Book {
    pub(super) fn new(phase: Phase, total: Option<u64>) -> Self {
        Self { phase, total, taken: 0, closes: None }
    }

    fn is_used_up(&self) -> bool {
        self.total.is_some_and(|total| self.taken >= total)
    }
}

impl Tickets {
    /// `bodies` must not be 0; `warm_up` is the number of requests before the phases.
    pub(super) fn new(bodies: usize, warm_up: u64, phases: Vec<Book>) -> Self {
        let bodies = (bodies as u64).max(1);
        Self { bodies, warm_up, warm_up_taken: 0, taken: 0, requests_taken: 0, phases }
    }

    /// The index of the next turn of a conversation that has its ticket.
    pub(super) fn later_turn(&mut self) -> u64 {
        let index = self.warm_up + self.requests_taken;
        self.requests_taken += 1;
        index
    }

    /// Whether a request of this phase may start at this instant, be it one that is counted already.
    pub(super) fn is_open_at(&self, phase: usize, planned: Stamp) -> bool {
        self.phases[phase].closes.is_none_or(|closes| planned < closes)
    }

    /// Whether the requests of this phase are counted, so that those which never start are told.
    pub(super) fn are_counted(&self, phase: usize) -> bool {
        self.phases[phase].total.is_some()
    }

    /// Sets the instant at or after which no request of this phase starts.
    pub(super) fn close_at(&mut self, phase: usize, instant: Stamp) {
        self.phases[phase].closes = Some(instant);
    }

    /// A warm-up request. Bodies go backwards from the last, so that prompts which are measured
    /// early are not in the server's cache because of us, as far as there are enough bodies.
    pub(super) fn warm_up(&mut self) -> Ticket {
        let index = self.warm_up_taken;
        self.warm_up_taken += 1;
        let body = (self.bodies - 1 - index % self.bodies) as usize;
        let (ordinal, overall) = (index, index);
        Ticket { index, body, phase: Phase::WarmUp, phase_index: 0, ordinal, overall }
    }

    /// The next request of a phase, if one may start at `now`.
    pub(super) fn next(&mut self, phase: usize, now: Stamp) -> Option<Ticket> {
        let is_closed = self.phases[phase].closes.is_some_and(|closes| now >= closes);
        if is_closed { None } else { self.take(phase) }
    }

    /// A request that could still be planned for `planned`; used to see whether waiting for that
    /// instant is of any use.
    pub(super) fn has_more_at(&self, phase: usize, planned: Stamp) -> bool {
        let book = self.phases[phase];
        self.is_open_at(phase, planned) && !book.is_used_up()
    }

    /// Whether every request of a phase that counts them was taken.
    pub(super) fn is_used_up(&self, phase: usize) -> bool {
        self.phases[phase].is_used_up()
    }

    /// A request that was counted in but never started, once the run is over.
    pub(super) fn left_over(&mut self, phase: usize) -> Option<Ticket> {
        self.phases[phase].total.and_then(|_| self.take(phase))
    }

    fn take(&mut self, phase: usize) -> Option<Ticket> {
        let book = self.phases.get_mut(phase)?;
        if book.is_used_up() {
            return None;
        }
        let (ordinal, before) = (book.taken, self.taken);
        book.taken += 1;
        self.taken += 1;
        let (kind, index) = (book.phase, self.later_turn());
        Some(Ticket {
            index,
            // Over all phases, so that each goes on with the prompts where the last one stopped.
            body: (before % self.bodies) as usize,
            phase: kind,
            phase_index: u16::try_from(phase + 1).expect("a plan has at most 1000 phases"),
            ordinal,
            overall: before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bodies: usize, warm_up: u64, total: Option<u64>) -> Tickets {
        Tickets::new(bodies, warm_up, vec![Book::new(Phase::Measured, total)])
    }

    #[test]
    fn measured_request_i_sends_body_i_modulo_n() {
        let mut tickets = one(3, 4, Some(5));
        let taken: Vec<_> = std::iter::from_fn(|| tickets.next(0, Stamp(0)))
            .map(|ticket| (ticket.index, ticket.body))
            .collect();
        assert_eq!(taken, [(4, 0), (5, 1), (6, 2), (7, 0), (8, 1)]);
        assert_eq!(tickets.left_over(0), None);
    }

    #[test]
    fn a_phase_goes_on_with_the_prompts_where_the_last_one_stopped() {
        let books = vec![Book::new(Phase::Measured, Some(2)), Book::new(Phase::CoolDown, None)];
        let mut tickets = Tickets::new(3, 1, books);
        let mut next = |phase| tickets.next(phase, Stamp(0)).expect("more");
        let taken = [next(0), next(0), next(1), next(1)];
        assert_eq!(
            taken.map(|ticket| (ticket.index, ticket.body)),
            [(1, 0), (2, 1), (3, 2), (4, 0)]
        );
        assert_eq!(
            taken.map(|ticket| (ticket.phase_index, ticket.ordinal, ticket.overall)),
            [(1, 0, 0), (1, 1, 1), (2, 0, 2), (2, 1, 3)]
        );
        assert_eq!(taken[3].phase, Phase::CoolDown);
        assert!(tickets.is_used_up(0) && !tickets.is_used_up(1));
    }

    #[test]
    fn later_turns_are_counted_with_the_requests_and_not_with_the_conversations() {
        let mut tickets = one(2, 3, Some(2));
        let seen = |ticket: Ticket| (ticket.index, ticket.ordinal, ticket.body);
        assert_eq!(tickets.next(0, Stamp(0)).map(seen), Some((3, 0, 0)));
        assert_eq!((tickets.later_turn(), tickets.later_turn()), (4, 5));
        assert_eq!(tickets.next(0, Stamp(0)).map(seen), Some((6, 1, 1)));
        assert_eq!(tickets.later_turn(), 7);
        assert_eq!(tickets.next(0, Stamp(0)), None);
    }

    #[test]
    fn warm_up_goes_backwards_from_the_last_body() {
        let mut tickets = one(3, 4, None);
        let bodies: Vec<_> = (0..4).map(|_| tickets.warm_up().body).collect();
        assert_eq!(bodies, [2, 1, 0, 2]);
    }

    #[test]
    fn nothing_starts_at_or_after_the_close_and_the_rest_is_left_over() {
        let mut tickets = one(1, 0, Some(3));
        tickets.close_at(0, Stamp(10));
        assert!(tickets.has_more_at(0, Stamp(9)) && !tickets.has_more_at(0, Stamp(10)));
        assert!(tickets.next(0, Stamp(9)).is_some());
        assert!(tickets.next(0, Stamp(10)).is_none());
        let left: Vec<_> = std::iter::from_fn(|| tickets.left_over(0)).collect();
        assert_eq!(left.iter().map(|ticket| ticket.index).collect::<Vec<_>>(), [1, 2]);
        let mut endless = one(1, 0, None);
        assert!(endless.left_over(0).is_none());
    }
}
