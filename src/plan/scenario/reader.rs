//! Reads the keys of a TOML table one by one and notes every mistake with its line.
//!
//! Main type: [`Section`]. serde stops at the first mistake and knows no nearest name; a person who
//! fixes a scenario file wants all of them at once. It knows TOML, and nothing of scenarios.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::plan::duration;
use crate::plan::problem::{Place, Problem, any_of, nearest, quoted};

/// One table of the file: the keys that are asked of it are its known keys, [`Section::finish`]
/// complains about all others.
pub(super) struct Section<'a, 'i> {
    text: &'i str,
    /// Empty for the top of the file.
    name: &'static str,
    /// `None` where the file does not have it: every key is then absent.
    table: Option<&'a DeTable<'i>>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The top of the file.
    pub(super) fn top(text: &'i str, table: &'a DeTable<'i>) -> Self {
        Self { text, name: "", table: Some(table), known: Vec::new() }
    }

    /// A table inside this one.
    pub(super) fn section(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Section<'a, 'i> {
        let found = self.look_up(key);
        let table = found.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.wrong(problems, key, value, "a table");
                None
            }
        });
        Section { text: self.text, name: key, table, known: Vec::new() }
    }

    /// The tables of a list; `None` where the key is absent or no list of tables.
    pub(super) fn sections(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<Vec<Section<'a, 'i>>> {
        let value = self.look_up(key)?;
        let tables = value.get_ref().as_array().and_then(|array| {
            array.iter().map(|item| item.get_ref().as_table()).collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            self.wrong(problems, key, value, &format!("a list of tables, each below [[{key}]]"));
            return None;
        };
        let section =
            |table| Section { text: self.text, name: key, table: Some(table), known: Vec::new() };
        Some(tables.into_iter().map(section).collect())
    }

    /// Whether the file has this key.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.look_up(key).is_some()
    }

    /// Whether the key holds a string.
    pub(super) fn has_string(&mut self, key: &'static str) -> bool {
        self.look_up(key).is_some_and(|value| value.get_ref().as_str().is_some())
    }

    /// The key is needed here.
    pub(super) fn needed<T>(
        &self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        found: Option<T>,
    ) -> Option<T> {
        let absent = self.table.is_some_and(|table| table.get(key).is_none());
        if absent && found.is_none() {
            let place = self
                .table
                .and_then(|table| table.iter().map(|(key, _)| key.span().start).min())
                .map_or(Place::Whole, |byte| line_of(self.text, byte));
            problems.push(Problem::new(place, format!("{} is needed here", self.path(key))));
        }
        found
    }

    /// A string; `None` where the key is absent or wrong.
    pub(super) fn string(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<String> {
        let value = self.look_up(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(problems, key, value, "a string");
                None
            }
        }
    }

    /// A string that `convert` understands; its error says what was expected.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        convert: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.string(problems, key)?;
        match convert(&text) {
            Ok(converted) => Some(converted),
            Err(expected) => {
                let message =
                    format!("invalid value \"{text}\" for {}: {expected}", self.path(key));
                problems.push(Problem::new(self.place(key), message));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
        self.parsed(problems, key, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice).ok_or_else(
                || match nearest(text, words.iter().copied()) {
                    Some(near) => format!("expected {}; did you mean \"{near}\"?", any_of(&words)),
                    None => format!("expected {}", any_of(&words)),
                },
            )
        })
    }

    /// A duration such as `"90s"`.
    pub(super) fn duration(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<Duration> {
        // A bare number is the likeliest mistake; say what a string would look like instead of
        // only "expected a string".
        let value = self.look_up(key)?;
        if let DeValue::Integer(number) = value.get_ref() {
            let message = format!(
                "invalid value {} for {}: expected a number and s, m or h in quotes, such as \"90s\"",
                number.as_str(),
                self.path(key)
            );
            problems.push(Problem::new(self.place(key), message));
            return None;
        }
        self.parsed(problems, key, duration::parse)
    }

    /// A duration above zero.
    pub(super) fn duration_above_zero(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<Duration> {
        let duration = self.duration(problems, key)?;
        if duration.is_zero() {
            let message = format!("{} must be longer than zero", self.path(key));
            problems.push(Problem::new(self.place(key), message));
            return None;
        }
        Some(duration)
    }

    /// A whole number in a range.
    pub(super) fn whole(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.look_up(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong(problems, key, value, "a whole number");
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!(
                    "invalid value {} for {}: expected a whole number from {} to {}",
                    number.as_str(),
                    self.path(key),
                    range.start(),
                    range.end()
                );
                problems.push(Problem::new(self.place(key), message));
                None
            }
        }
    }

    /// The same, for a field of 32 bits.
    pub(super) fn whole_u32(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let wide = u64::from(*range.start())..=u64::from(*range.end());
        self.whole(problems, key, wide)
            .map(|number| u32::try_from(number).expect("the range is of 32 bits"))
    }

    /// A finite number, at least zero.
    pub(super) fn number(&mut self, problems: &mut Vec<Problem>, key: &'static str) -> Option<f64> {
        self.number_that(problems, key, "a number, zero or above", |number| number >= 0.0)
    }

    /// A finite number.
    pub(super) fn signed(&mut self, problems: &mut Vec<Problem>, key: &'static str) -> Option<f64> {
        self.number_that(problems, key, "a number", |_| true)
    }

    fn number_that(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
        expected: &str,
        fits: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let value = self.look_up(key)?;
        let number: Option<f64> = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite() && fits(*number));
        if number.is_none() {
            self.wrong(problems, key, value, expected);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn switch(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<bool> {
        let value = self.look_up(key)?;
        let switch = value.get_ref().as_bool();
        if switch.is_none() {
            self.wrong(problems, key, value, "true or false");
        }
        switch
    }

    /// A list of strings.
    pub(super) fn strings(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<Vec<String>> {
        let value = self.look_up(key)?;
        let strings: Option<Vec<String>> = value.get_ref().as_array().and_then(|array| {
            array.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        });
        if strings.is_none() {
            self.wrong(problems, key, value, "a list of strings");
        }
        strings
    }

    /// A table of anything that JSON can hold, keys in the order of the file's spelling.
    pub(super) fn json_table(
        &mut self,
        problems: &mut Vec<Problem>,
        key: &'static str,
    ) -> Option<Map<String, Value>> {
        let value = self.look_up(key)?;
        match json(value.get_ref()) {
            Some(Value::Object(fields)) => Some(fields),
            _ => {
                self.wrong(
                    problems,
                    key,
                    value,
                    "a table of what JSON can hold (no dates, no inf, no nan)",
                );
                None
            }
        }
    }

    /// Every key with its place and value, in the order of the file, all of them known by that.
    pub(super) fn entries(self) -> Vec<(&'a str, Place, &'a Spanned<DeValue<'i>>)> {
        let mut entries: Vec<_> = self.table.into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let place = |start| line_of(self.text, start);
        entries
            .into_iter()
            .map(|(key, value)| (key.get_ref().as_ref(), place(key.span().start), value))
            .collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) {
        let Some(table) = self.table else { return };
        for (key, _) in table {
            let typed = key.get_ref().as_ref();
            if self.known.contains(&typed) {
                continue;
            }
            let place = line_of(self.text, key.span().start);
            let within =
                if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            let problem = Problem::new(place, format!("unknown key \"{typed}\"{within}"));
            problems.push(match nearest(typed, self.known.iter().copied()) {
                Some(near) => problem.hinting(format!("did you mean \"{near}\"?")),
                None => problem.hinting(format!("known are {}", quoted(&self.known))),
            });
        }
    }

    /// The line of a key that is there.
    pub(super) fn place(&self, key: &str) -> Place {
        self.table
            .and_then(|table| table.get_key_value(key))
            .map_or(Place::Whole, |(key, _)| line_of(self.text, key.span().start))
    }

    /// The line of its first key; the whole file where it has none.
    pub(super) fn first_place(&self) -> Place {
        let starts = self.table.into_iter().flatten().map(|(key, _)| key.span().start);
        starts.min().map_or(Place::Whole, |start| line_of(self.text, start))
    }

    fn look_up(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn wrong(
        &self,
        problems: &mut Vec<Problem>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) {
        let typed =
            self.text.get(value.span()).unwrap_or_default().lines().next().unwrap_or_default();
        let message = format!("invalid value {typed} for {}: expected {expected}", self.path(key));
        problems.push(Problem::new(self.place(key), message));
    }
}

/// The line that holds a byte of the text.
pub(super) fn line_of(text: &str, byte: usize) -> Place {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    Place::Line(before.iter().filter(|byte| **byte == b'\n').count() + 1)
}

/// The JSON of a TOML value; `None` where there is none.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(signed) => Value::from(signed),
            Err(_) => Value::from(u64::from_str_radix(number.as_str(), number.radix()).ok()?),
        },
        DeValue::Float(number) => Value::Number(Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Boolean(switch) => Value::from(*switch),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| Some((key.get_ref().to_string(), json(item.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}
