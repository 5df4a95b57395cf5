//! One record of a dataset, whatever its fields are called: JSON object or row of a table to prompt.
//!
//! Main types: [`Fields`], and [`Record`], which also holds ShareGPT's conversations and is read by
//! [`RecordFor`]. It knows nothing of files and lines; what is wrong is said in words.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::pick::Conversation;
use super::prompt::{ChatMessage, Content, Prompt};
use super::sharegpt::TurnsFor;
use super::words::words;
use crate::plan::problem::nearest;

/// What a request can carry; decides where a record holds the same prompt in two forms, and how much
/// of a conversation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Messages, as the chat route: a whole chat in one request.
    Chats,
    /// Messages, and after each of the model's answers what the user says next.
    Conversations,
    /// One text or its token ids, as the completion routes and embeddings.
    Texts,
    /// One text and nothing else, as reranking.
    Words,
}

/// Names of a plain text.
const TEXT: [&str; 3] = ["prompt", "text", "question"];
/// Names of a list of messages.
const CHAT: [&str; 2] = ["messages", "conversation"];
/// Names of a list of token ids.
const TOKENS: [&str; 3] = ["prompt_token_ids", "token_ids", "input_ids"];
/// Names of what a user says in turn.
const TURNS: &str = "turns";
/// Names of the answer's budget.
const BUDGET: [&str; 7] = [
    "max_tokens",
    "output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "n_predict",
    "output_len",
    "output_length",
];
/// Names of the dataset's own answer.
const ANSWER: [&str; 4] = ["completion", "response", "answer", "output"];
/// Names of the record's name.
const NAME: [&str; 4] = ["id", "custom_id", "question_id", "request_id"];
/// Where a line of an OpenAI batch file has the whole request.
const BODY: &str = "body";

/// Name of a conversation of ShareGPT.
const CONVERSATIONS: &str = "conversations";

/// Whether a field of this name is looked at.
pub(super) fn means_something(name: &str) -> bool {
    name == CONVERSATIONS || is_known(name)
}

fn is_known(name: &str) -> bool {
    let lists: [&[&str]; 6] = [&TEXT, &CHAT, &TOKENS, &BUDGET, &ANSWER, &NAME];
    [TURNS, BODY].contains(&name) || lists.iter().any(|list| list.contains(&name))
}

/// The fields of one record, in its order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    known: Vec<(String, Value)>,
    /// Names that mean nothing here, for the error where nothing else is there.
    others: Vec<String>,
}

impl Fields {
    /// Adds a field if it means something; null is as good as absent.
    pub(super) fn add(&mut self, name: &str, value: Value) {
        if !is_known(name) {
            self.ignore(name);
        } else if !value.is_null() {
            self.known.push((name.to_owned(), value));
        }
    }

    /// Whether there is anything that a prompt could be made of.
    pub(super) fn hold_a_prompt(&self) -> bool {
        self.known.iter().any(|(name, _)| {
            let lists: [&[&str]; 3] = [&TEXT, &CHAT, &TOKENS];
            [TURNS, BODY].contains(&name.as_str())
                || lists.iter().any(|list| list.contains(&name.as_str()))
        })
    }

    fn ignore(&mut self, name: &str) {
        const ENOUGH_TO_SHOW: usize = 8;
        if self.others.len() < ENOUGH_TO_SHOW {
            self.others.push(name.to_owned());
        }
    }

    fn take(&mut self, names: &[&str]) -> Option<(String, Value)> {
        names.iter().find_map(|name| {
            let position = self.known.iter().position(|(known, _)| known == name)?;
            Some(self.known.swap_remove(position))
        })
    }

    /// The prompt of the record, for a route that carries this.
    ///
    /// # Errors
    ///
    /// What is missing or of the wrong kind, as a fragment.
    pub(super) fn prompt(mut self, carries: Carries) -> Result<Prompt, String> {
        let id = self.take(&NAME).and_then(|(_, name)| match name {
            Value::String(name) => Some(name),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let max_tokens =
            self.take(&BUDGET).map(|(name, value)| budget(&name, &value)).transpose()?;
        if let Some((_, Value::Object(request))) = self.take(&[BODY]) {
            let mut inner = Fields::default();
            request.into_iter().for_each(|(name, value)| inner.add(&name, value));
            let mut prompt = inner.content(carries, TrailingAnswer::IsSent)?;
            prompt.id = id.or(prompt.id);
            return Ok(prompt);
        }
        let mut prompt = self.content(carries, TrailingAnswer::IsTheAnswer)?;
        prompt.id = id;
        prompt.max_tokens = max_tokens.or(prompt.max_tokens);
        Ok(prompt)
    }

    fn content(mut self, carries: Carries, trailing: TrailingAnswer) -> Result<Prompt, String> {
        let max_tokens =
            self.take(&BUDGET).map(|(name, value)| budget(&name, &value)).transpose()?;
        let order: [&[&str]; 4] = match carries {
            Carries::Chats | Carries::Conversations => [&CHAT, &TEXT, &[TURNS], &TOKENS],
            Carries::Texts => [&TOKENS, &TEXT, &[TURNS], &CHAT],
            Carries::Words => [&TEXT, &[TURNS], &TOKENS, &CHAT],
        };
        let (name, value) =
            order.iter().find_map(|names| self.take(names)).ok_or_else(|| self.nothing_said())?;
        let mut prompt = if CHAT.contains(&name.as_str()) {
            chat(&name, value, trailing, carries)?
        } else if name == TURNS {
            turns(value)?
        } else {
            plain(&name, value, trailing, carries)?
        };
        match (&prompt.content, carries) {
            (Content::Tokens(_), Carries::Chats | Carries::Conversations) => {
                return Err(format!(
                    "\"{name}\" holds token ids, which the chat route does not take; \
                     choose /completion or /v1/completions as the endpoint"
                ));
            }
            (Content::Tokens(_), Carries::Words) => {
                return Err(format!(
                    "\"{name}\" holds token ids, which reranking does not take; give the texts"
                ));
            }
            (Content::Chat(_), Carries::Texts | Carries::Words) => {
                return Err(format!(
                    "\"{name}\" holds a chat, which this route does not take; \
                     choose /v1/chat/completions as the endpoint"
                ));
            }
            _ => {}
        }
        if let Some((_, Value::String(answer))) = self.take(&ANSWER) {
            prompt.answer_words = Some(words(&answer));
        }
        prompt.max_tokens = max_tokens;
        Ok(prompt)
    }

    fn nothing_said(&self) -> String {
        let expected =
            "no prompt: expected \"prompt\", \"messages\", \"text\" or \"prompt_token_ids\"";
        let near = self.others.iter().find_map(|other| {
            nearest(other, ["prompt", "messages", "text", "prompt_token_ids", "conversations"])
        });
        match (near, self.others.as_slice()) {
            (Some(near), _) => format!("{expected}; did you mean \"{near}\"?"),
            (None, []) => expected.to_owned(),
            (None, others) => format!("{expected}; there is \"{}\"", others.join("\", \"")),
        }
    }
}

/// What the assistant says after the last user, in a list of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrailingAnswer {
    /// Of a dataset: the answer that a model is to learn.
    IsTheAnswer,
    /// Of a request: the beginning of an answer, to be gone on with.
    IsSent,
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn budget(name: &str, value: &Value) -> Result<u32, String> {
    let number = match value {
        // Tables hold texts only, and data frames write whole numbers as 128.0.
        Value::String(text) => text.trim().parse::<f64>().ok(),
        value => value.as_f64(),
    };
    number
        .filter(|number| number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(number))
        .map(|number| number as u32)
        .ok_or_else(|| {
            format!("\"{name}\" is {value}; expected a whole number from 1 to {}", u32::MAX)
        })
}

fn not_empty(name: &str, text: String) -> Result<Prompt, String> {
    if text.is_empty() { Err(format!("\"{name}\" is empty")) } else { Ok(Prompt::of_text(text)) }
}

/// A text; also token ids or a chat, which the interfaces of servers take under the same name.
fn plain(
    name: &str,
    value: Value,
    trailing: TrailingAnswer,
    carries: Carries,
) -> Result<Prompt, String> {
    match value {
        Value::String(text) => not_empty(name, text),
        Value::Array(list) if list.is_empty() => Err(format!("\"{name}\" is empty")),
        Value::Array(list) if list.iter().all(Value::is_object) => {
            chat(name, Value::Array(list), trailing, carries)
        }
        Value::Array(list) if list.iter().all(Value::is_number) => {
            let ids: Option<Vec<u32>> =
                list.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect();
            ids.map(|ids| Prompt::new(Content::Tokens(ids)))
                .ok_or_else(|| format!("\"{name}\" holds a number that is no token id"))
        }
        Value::Array(list) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => not_empty(name, text),
            _ => Err(format!("\"{name}\" is a list of neither token ids nor messages")),
        },
        other => {
            let expected = if TOKENS.contains(&name) { "a list of token ids" } else { "a text" };
            Err(format!("\"{name}\" is {}; expected {expected}", kind(&other)))
        }
    }
}

fn chat(
    name: &str,
    value: Value,
    trailing: TrailingAnswer,
    carries: Carries,
) -> Result<Prompt, String> {
    let Value::Array(list) = value else {
        return Err(format!("\"{name}\" is {}; expected a list of messages", kind(&value)));
    };
    let mut messages = Vec::with_capacity(list.len());
    for (index, message) in list.into_iter().enumerate() {
        if message.get("role").and_then(Value::as_str).is_none() {
            return Err(format!("{name}[{index}] has no text \"role\""));
        }
        let message: ChatMessage = serde_json::from_value(message)
            .map_err(|error| format!("{name}[{index}] is no message: {error}"))?;
        messages.push(message);
    }
    let mut answer_words = None;
    if trailing == TrailingAnswer::IsTheAnswer {
        while let Some(last) = messages.pop_if(|last| last.role == "assistant") {
            answer_words = last.content.as_str().map(words);
        }
    }
    if messages.is_empty() {
        return Err(format!("\"{name}\" holds nothing that a user says"));
    }
    if carries == Carries::Conversations
        && let Some(later) = split_off_later(&mut messages)
    {
        let answer_words = later.first().and_then(|answer| answer.content.as_str()).map(words);
        let turns = said_later(name, messages.len(), &later)?;
        return Ok(Prompt { answer_words, turns, ..Prompt::new(Content::Chat(messages)) });
    }
    Ok(Prompt { answer_words, ..Prompt::new(Content::Chat(messages)) })
}

/// Leaves of the messages those up to the first answer to the user, which open the conversation, and
/// gives the others; `None`, and all are left, where the user says nothing after that answer.
fn split_off_later(messages: &mut Vec<ChatMessage>) -> Option<Vec<ChatMessage>> {
    let next = |role: &str, from: usize| {
        let found = messages.iter().skip(from).position(|message| message.role == role);
        found.map(|position| from + position)
    };
    let asked = next("user", 0)?;
    let answered = next("assistant", asked)?;
    next("user", answered)?;
    Some(messages.split_off(answered))
}

/// What the user says in messages of which the first is number `from`. Those of the assistant are
/// dropped: in their place stand the answers of the model.
fn said_later(name: &str, from: usize, later: &[ChatMessage]) -> Result<Vec<String>, String> {
    let mut turns = Vec::new();
    for (message, index) in later.iter().zip(from..) {
        match message.role.as_str() {
            "assistant" => {}
            "user" => turns.push(message.plain_text().ok_or_else(|| {
                format!(
                    "{name}[{index}] holds more than text, which a later turn of a conversation \
                     cannot; leave it out, or --turns and [conversation]"
                )
            })?),
            role => {
                return Err(format!(
                    "{name}[{index}] is of the role \"{role}\", which has no place in a conversation \
                     whose answers are the model's own; leave it out, or --turns and [conversation]"
                ));
            }
        }
    }
    Ok(turns)
}

fn turns(value: Value) -> Result<Prompt, String> {
    let expected = || format!("\"{TURNS}\" is no list of texts");
    let Value::Array(list) = value else { return Err(expected()) };
    let mut said = list.into_iter().map(|turn| match turn {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(expected()),
    });
    let first = said.next().ok_or_else(|| format!("\"{TURNS}\" is empty"))??;
    let turns = said.collect::<Result<_, _>>()?;
    Ok(Prompt { turns, ..Prompt::of_text(first) })
}

/// One record, already reduced to what is needed of it.
pub(super) struct Record(Kind);

enum Kind {
    Conversation(Conversation),
    Fields(Fields),
}

impl Record {
    /// What it asks.
    pub(super) fn conversation(self, carries: Carries) -> Result<Conversation, String> {
        match self.0 {
            Kind::Conversation(conversation) => Ok(conversation),
            Kind::Fields(fields) => fields.prompt(carries).map(Conversation::Given),
        }
    }
}

/// Reads a record as far as requests that carry this need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordFor(pub(super) Carries);

impl<'de> DeserializeSeed<'de> for RecordFor {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordFor {
    type Value = Record;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a record, such as {\"prompt\": \"…\"} or {\"conversations\": […]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let (mut turns, mut fields) = (None, Fields::default());
        while let Some(name) = map.next_key::<String>()? {
            if name == CONVERSATIONS {
                turns = Some(map.next_value_seed(TurnsFor(self.0))?);
            } else if is_known(&name) {
                fields.add(&name, map.next_value()?);
            } else {
                fields.ignore(&name);
                map.next_value::<IgnoredAny>()?;
            }
        }
        match turns {
            Some(turns) => {
                let conversation = turns.conversation().map_err(A::Error::custom)?;
                Ok(Record(Kind::Conversation(conversation)))
            }
            None => Ok(Record(Kind::Fields(fields))),
        }
    }
}
