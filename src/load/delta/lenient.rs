//! Deserialising strangers' JSON: a field of an unexpected type counts as absent.
//!
//! Main types: [`Choices`] (a fold over the `choices` array that allocates nothing) and the small
//! wrappers. Nothing here knows what a field means for a request.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Whether a value is there (not null), and whether it holds anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Present<'a> {
    /// Absent or null.
    #[default]
    Absent,
    /// `""`, `[]`, `{}`, `false`.
    Empty,
    /// A non-empty string without escapes.
    Text(&'a str),
    /// Anything else.
    Other,
}

impl Present<'_> {
    pub(super) fn is_there(self) -> bool {
        self != Present::Absent
    }

    pub(super) fn is_non_empty(self) -> bool {
        matches!(self, Present::Text(_) | Present::Other)
    }
}

/// A string; another type is absence.
#[derive(Debug, Default)]
pub(super) struct Reason<'a>(pub(super) Option<Cow<'a, str>>);

impl<'a> Reason<'a> {
    /// The reason, if it says anything. Servers written in Go send `""` in every event in which others
    /// leave it out or say `null`.
    pub(super) fn given(self) -> Option<Cow<'a, str>> {
        self.0.filter(|reason| !reason.is_empty())
    }
}

/// `true`; anything else is false.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Truth(pub(super) bool);

/// A whole number, not negative and at most [`MOST_COUNT`]; another value is absence. `44.0` is 44.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::load) struct Count(pub(in crate::load) Option<u64>);

/// 2^53: up to here every whole number has a double of its own, so that JSON names it exactly. Nothing
/// that a server counts comes near it, and what is above would only make sums overflow.
const MOST_COUNT: u64 = 1 << 53;

/// A finite number; another value is absence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number(pub(super) Option<f64>);

/// An object; another type is absence.
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub(super) Option<T>);

/// Any JSON value, boiled down to what the wrappers above need.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Float(f64),
    Borrowed(&'a str),
    Owned(String),
    /// An array or object, and whether it has elements.
    Nested(bool),
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Owned(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut any = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Scalar::Nested(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut any = false;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Scalar::Nested(any))
    }
}

fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scalar<'de>, D::Error> {
    deserializer.deserialize_any(ScalarVisitor)
}

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match scalar(deserializer)? {
            Scalar::Null => Present::Absent,
            Scalar::Borrowed("") | Scalar::Nested(false) | Scalar::Bool(false) => Present::Empty,
            Scalar::Borrowed(text) => Present::Text(text),
            Scalar::Owned(text) if text.is_empty() => Present::Empty,
            Scalar::Owned(_)
            | Scalar::Nested(true)
            | Scalar::Bool(true)
            | Scalar::Unsigned(_)
            | Scalar::Float(_) => Present::Other,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Reason<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Reason(match scalar(deserializer)? {
            Scalar::Borrowed(text) => Some(Cow::Borrowed(text)),
            Scalar::Owned(text) => Some(Cow::Owned(text)),
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Truth(matches!(scalar(deserializer)?, Scalar::Bool(true))))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Count(match scalar(deserializer)? {
            Scalar::Unsigned(count) if count <= MOST_COUNT => Some(count),
            Scalar::Float(count)
                if (0.0..=MOST_COUNT as f64).contains(&count)
                    && count.fract().abs() < f64::EPSILON =>
            {
                Some(count as u64)
            }
            _ => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Number(match scalar(deserializer)? {
            Scalar::Unsigned(number) => Some(number as f64),
            Scalar::Float(number) if number.is_finite() => Some(number),
            _ => None,
        }))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        let object = serde::de::value::MapAccessDeserializer::new(entries);
        T::deserialize(object).map(|object| Object(Some(object)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        ScalarVisitor.visit_seq(elements).map(|_| Object(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Object(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Object(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Object(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Object(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Object(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Object(None))
    }
}

/// What is said: a string, or the texts of a list of parts, as some servers answer; anything else is nothing.
#[derive(Debug, Default)]
pub(super) struct Words<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Words<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor(PhantomData))
    }
}

struct WordsVisitor<'a>(PhantomData<&'a str>);

/// A part of a list that is one of text; others have none.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Reason<'a>,
}

impl<'de: 'a, 'a> Visitor<'de> for WordsVisitor<'a> {
    type Value = Words<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Words(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Words(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut all = String::new();
        while let Some(Object(part)) = parts.next_element::<Object<Part<'a>>>()? {
            all.push_str(part.unwrap_or_default().text.0.as_deref().unwrap_or_default());
        }
        Ok(Words(Cow::Owned(all)))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        ScalarVisitor.visit_map(entries).map(|_| Words::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Words::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Words::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Words::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Words::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Words::default())
    }
}

/// The `choices` array, folded.
#[derive(Debug, Default)]
pub(super) struct Choices<'a> {
    /// Values with content, over all choices.
    pub(super) contents: u32,
    /// Of those, how many are reasoning.
    pub(super) reasonings: u32,
    /// The same in the `message` of an answer that is not streamed; not among `contents`.
    pub(super) whole_contents: u32,
    /// The last content that is a plain string.
    pub(super) content_text: Option<&'a str>,
    /// The last finish reason.
    pub(super) finish: Option<Cow<'a, str>>,
    /// Bit by `index`.
    pub(super) seen: u64,
    /// Bit by `index`.
    pub(super) finished: u64,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Choice<'a> {
    index: Count,
    #[serde(borrow)]
    finish_reason: Reason<'a>,
    #[serde(borrow)]
    delta: Object<DeltaObject<'a>>,
    /// An answer that is not streamed.
    #[serde(borrow)]
    message: Object<DeltaObject<'a>>,
    /// `/v1/completions`.
    #[serde(borrow)]
    text: Present<'a>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct DeltaObject<'a> {
    #[serde(borrow)]
    content: Present<'a>,
    #[serde(borrow)]
    reasoning_content: Present<'a>,
    #[serde(borrow)]
    reasoning: Present<'a>,
    #[serde(borrow)]
    tool_calls: Present<'a>,
    /// What came before `tool_calls`.
    #[serde(borrow)]
    function_call: Present<'a>,
    /// The model's own words when it declines.
    #[serde(borrow)]
    refusal: Present<'a>,
}

impl<'a> DeltaObject<'a> {
    /// What a reader gets to see as the answer.
    fn answers(&self) -> [Present<'a>; 4] {
        [self.content, self.tool_calls, self.function_call, self.refusal]
    }

    /// What the model says to itself first.
    fn reasonings(&self) -> [Present<'a>; 2] {
        [self.reasoning_content, self.reasoning]
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoicesVisitor(PhantomData))
    }
}

struct ChoicesVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for ChoicesVisitor<'a> {
    type Value = Choices<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of choices")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Choices::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut choices = Choices::default();
        while let Some(Object(choice)) = elements.next_element::<Object<Choice<'a>>>()? {
            let Some(choice) = choice else { continue };
            let bit = 1 << choice.index.0.unwrap_or(0).min(63);
            choices.seen |= bit;
            if let Some(reason) = choice.finish_reason.given() {
                choices.finished |= bit;
                choices.finish = Some(reason);
            }
            let delta = choice.delta.0.unwrap_or_default();
            for value in delta.reasonings() {
                choices.reasonings += u32::from(value.is_non_empty());
            }
            let said = delta.answers().into_iter().chain(delta.reasonings());
            for value in std::iter::once(choice.text).chain(said) {
                if value.is_non_empty() {
                    choices.contents += 1;
                }
                if let Present::Text(text) = value {
                    choices.content_text = Some(text);
                }
            }
            let message = choice.message.0.unwrap_or_default();
            for value in message.answers().into_iter().chain(message.reasonings()) {
                choices.whole_contents += u32::from(value.is_non_empty());
            }
        }
        Ok(choices)
    }
}
