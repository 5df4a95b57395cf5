//! Conversations: requests that carry the answers to earlier ones.
//!
//! Main types: [`Conversations`], what users say after their first words, and the part of [`Stage`] that
//! plays one. A turn's body is made between two requests, before the turn is due, so that its making is
//! in no latency and in no lateness: it lengthens the user's pause, if anything.

use std::rc::Rc;
use std::sync::Arc;

use super::record::{DropCause, Outcome, Stamp};
use super::request::{Errand, Player, Turn};
use super::schedule::Ticket;
use super::stage::Stage;
use super::stamp::now;
use super::workload::PlannedBody;
use crate::dataset::ChatMessage;
use crate::plan::{Budget, Dialect, Workload, continued};

/// What follows on the bodies of a plan.
#[derive(Debug, Clone)]
pub struct Conversations {
    /// One for each body, in their order.
    pub scripts: Vec<Script>,
    /// What later bodies are made by.
    pub workload: Arc<Workload>,
    /// Which server is spoken to.
    pub dialect: Dialect,
}

/// One conversation, as far as its user decides it.
#[derive(Debug, Clone)]
pub struct Script {
    /// The messages of the first body.
    pub opening: Vec<ChatMessage>,
    /// What the user says after each answer but the last.
    pub turns: Vec<String>,
    /// The length of each answer, where the prompt brings it along.
    pub budget: Budget,
    /// Which adapter of the workload answers; `None`: the server's own.
    pub lora: Option<usize>,
}

impl Script {
    /// Requests of the conversation.
    fn length(&self) -> u32 {
        u32::try_from(self.turns.len()).unwrap_or(u32::MAX - 1) + 1
    }
}

impl Conversations {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Requests of the first so many conversations, which go round.
    pub(super) fn turns_of(&self, conversations: u64) -> u64 {
        let lengths = || self.scripts.iter().map(|script| u64::from(script.length()));
        let count = (self.len() as u64).max(1);
        let rest = usize::try_from(conversations % count).unwrap_or(0);
        conversations / count * lengths().sum::<u64>() + lengths().take(rest).sum::<u64>()
    }

    /// Everything said after the first turns, with the position of its conversation; for the hash.
    pub(super) fn later_turns(&self) -> impl Iterator<Item = (u64, &String)> {
        self.scripts
            .iter()
            .zip(0_u64..)
            .flat_map(|(script, position)| script.turns.iter().map(move |turn| (position, turn)))
    }

    fn next_body(&self, script: &Script, said: &[ChatMessage], first: &PlannedBody) -> PlannedBody {
        let lora = script.lora.and_then(|lora| self.workload.request.lora.get(lora));
        let body = continued(&self.workload, self.dialect, said, script.budget, lora);
        PlannedBody { body: body.into(), ..first.clone() }
    }
}

/// Turns that are not sent any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsent {
    pub(super) ticket: Ticket,
    /// The first of them, from 1.
    pub(super) from_turn: u32,
    pub(super) user_index: u32,
    /// When it would have been due.
    pub(super) planned: Stamp,
}

impl Stage {
    /// Holds one conversation of a phase, whose requests are cut at `cut` and whose first turn is
    /// planned for `planned`. `None` if none may begin any more, or the run was stopped.
    pub(super) async fn converse(
        self: &Rc<Self>,
        conversations: &Conversations,
        player: &mut Player,
        (phase, cut): (usize, Stamp),
        mut planned: Stamp,
    ) -> Option<()> {
        if !self.tickets.borrow().has_more_at(phase, planned) {
            return None;
        }
        player.idle(self, planned).await.ok()?;
        let mut acted = now();
        let ticket = self.take(phase, acted)?;
        let script = conversations.scripts.get(ticket.body)?;
        let first = self.body(ticket).clone();
        let nth = |number| Some(Turn { number, of: script.length() });
        let mut errand = Errand { ticket, index: ticket.index, body: first.clone(), turn: nth(1) };
        let mut said = script.opening.clone();
        let mut turn = 1;
        for words in &script.turns {
            let outcome = self.run_errand(player, &errand, (planned, acted), cut).await;
            turn += 1;
            let user_index = player.user_index;
            let left = |planned| Unsent { ticket, from_turn: turn, user_index, planned };
            match outcome {
                Outcome::Failed { .. } => {
                    let cause = Some(DropCause::ConversationBroken);
                    self.drop_turns(conversations, left(player.freed), cause);
                    return Some(());
                }
                // Whoever hung up goes on from what was said until then.
                Outcome::Completed | Outcome::Cancelled => {}
                Outcome::Cut | Outcome::Dropped => {
                    self.drop_if_counted(conversations, phase, left(player.freed));
                    return None;
                }
            }
            said.push(ChatMessage::text("assistant", player.take_text()));
            said.push(ChatMessage::text("user", words.as_str()));
            let body = conversations.next_body(script, &said, &first);
            planned = player.freed.after(self.pause(player)).max(now());
            let is_open = self.tickets.borrow().is_open_at(phase, planned);
            if !is_open || player.idle(self, planned).await.is_err() {
                self.drop_if_counted(conversations, phase, left(planned));
                return is_open.then_some(());
            }
            acted = now();
            let index = self.tickets.borrow_mut().later_turn();
            errand = Errand { ticket, index, body, turn: nth(turn) };
        }
        let outcome = self.run_errand(player, &errand, (planned, acted), cut).await;
        (outcome != Outcome::Cut).then_some(())
    }

    fn drop_if_counted(&self, conversations: &Conversations, phase: usize, unsent: Unsent) {
        if self.tickets.borrow().are_counted(phase) {
            self.drop_turns(conversations, unsent, None);
        }
    }

    /// Turns that are not sent are records too.
    pub(super) fn drop_turns(
        &self,
        conversations: &Conversations,
        unsent: Unsent,
        cause: Option<DropCause>,
    ) {
        let Unsent { ticket, from_turn, user_index, planned } = unsent;
        let Some(script) = conversations.scripts.get(ticket.body) else { return };
        for turn in from_turn..=script.length() {
            let index = match turn {
                1 => ticket.index,
                _ => self.tickets.borrow_mut().later_turn(),
            };
            let body = self.body(ticket).clone();
            let turn = Some(Turn { number: turn, of: script.length() });
            let errand = Errand { ticket, index, body, turn };
            let mut record = errand.blank_record(user_index, planned);
            record.dropped_because = cause;
            self.file_unsent(record);
        }
    }
}
