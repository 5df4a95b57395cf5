//! ShareGPT's conversations, read no further than requests need them.
//!
//! Main types: [`Turns`], read by [`TurnsFor`]. Of a conversation its first two turns are kept; where
//! conversations are held, also what its human says later. It does not choose: the picker does.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::pick::Conversation;
use super::prompt::Prompt;
use super::record::Carries;
use super::words::words;

/// The first two turns, and what the human says after the first.
pub(super) struct Turns {
    first: Option<Turn>,
    second: Option<Turn>,
    /// Empty where no conversations are held.
    said_later: Vec<String>,
}

impl Turns {
    /// What script.js makes of them.
    ///
    /// # Errors
    ///
    /// A turn that it looks at and that has no text.
    pub(super) fn conversation(self) -> Result<Conversation, &'static str> {
        let Turns { first: Some(first), second: Some(second), said_later } = self else {
            return Ok(Conversation::NotHumanFirst);
        };
        if !first.is_of_human() {
            return Ok(Conversation::NotHumanFirst);
        }
        let prompt = first.value.ok_or("the first turn has no text \"value\"")?;
        let answer = second.value.ok_or("the second turn has no text \"value\"")?;
        let answer_words = Some(words(&answer));
        let prompt = Prompt { answer_words, turns: said_later, ..Prompt::of_text(prompt) };
        Ok(Conversation::Asked(prompt))
    }
}

/// Reads the turns that requests which carry this need; the others are skipped unread.
pub(super) struct TurnsFor(pub(super) Carries);

impl<'de> DeserializeSeed<'de> for TurnsFor {
    type Value = Turns;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Turns, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TurnsFor {
    type Value = Turns;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<Turns, A::Error> {
        let (first, second) = (turns.next_element()?, turns.next_element::<Turn>()?);
        let mut said_later = Vec::new();
        match self.0 {
            Carries::Conversations => {
                said_later.extend(second.as_ref().and_then(Turn::said_by_human));
                while let Some(turn) = turns.next_element::<Turn>()? {
                    said_later.extend(turn.said_by_human());
                }
            }
            Carries::Chats | Carries::Texts | Carries::Words => {
                while turns.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(Turns { first, second, said_later })
    }
}

/// One turn.
#[derive(serde::Deserialize)]
#[serde(expecting = "a turn, such as {\"from\": \"human\", \"value\": \"…\"}")]
struct Turn {
    from: Option<String>,
    value: Option<String>,
}

impl Turn {
    fn is_of_human(&self) -> bool {
        self.from.as_deref() == Some("human")
    }

    /// The words of a human who says anything.
    fn said_by_human(&self) -> Option<String> {
        let text = self.value.as_ref().filter(|_| self.is_of_human())?;
        (!text.trim().is_empty()).then(|| text.clone())
    }
}
