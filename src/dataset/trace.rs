//! Traces: requests with the instants at which they really came.
//!
//! Main function: [`Reader::row`]. Knows Mooncake's JSON lines, Azure's and BurstGPT's tables, and
//! whatever has a time and a prompt or a length. It reads no file: rows are handed in.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

use super::prompt::Prompt;
use super::recipe::{Block, BlockKey, Recipe, of_recipe};
use super::record::{Carries, Fields};

/// Tokens that one of Mooncake's `hash_ids` stands for.
const HASH_BLOCK_TOKENS: u64 = 512;

/// Longest prompt that a trace may ask for, in tokens: more is a number of something else.
const MOST_TOKENS: f64 = 10_000_000.0;

/// Names of the instant, written as [`plain`] writes names, and what a bare number is.
const TIMES: [(&str, Unit); 9] = [
    ("timestamp", Unit::AsFits),
    ("timestampms", Unit::Milliseconds),
    ("timestamps", Unit::Seconds),
    ("time", Unit::AsFits),
    ("arrivaltime", Unit::Seconds),
    ("arrivedat", Unit::Seconds),
    ("arrival", Unit::Seconds),
    ("arrivals", Unit::Seconds),
    ("arrivalms", Unit::Milliseconds),
];
/// Names of the prompt's length.
const INPUTS: [&str; 9] = [
    "inputlength",
    "inputlen",
    "inputtokens",
    "contexttokens",
    "prompttokens",
    "promptlength",
    "promptlen",
    "numprefilltokens",
    "requesttokens",
];
/// Names of the answer's length.
const OUTPUTS: [&str; 9] = [
    "outputlength",
    "outputlen",
    "outputtokens",
    "generatedtokens",
    "completiontokens",
    "numdecodetokens",
    "responsetokens",
    "maxtokens",
    "generationtokens",
];
/// Name of the blocks that a prompt shares with others.
const HASHES: &str = "hashids";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    /// As the first number of the file tells; see [`told_by`].
    AsFits,
}

/// Letters and digits in lower case: `Context Tokens`, `context_tokens` and `ContextTokens` are one.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The columns of a table that is no trace, said so.
pub(super) fn check_columns(columns: &[String]) -> Result<(), String> {
    let has = |names: &[&str]| columns.iter().any(|column| names.contains(&plain(column).as_str()));
    if !has(&TIMES.map(|(name, _)| name)) {
        return Err(format!(
            "no column with the time, such as \"timestamp\"; there is \"{}\"",
            columns.join("\", \"")
        ));
    }
    if !has(&INPUTS) && !has(&["prompt", "text"]) {
        return Err(format!(
            "no column with the prompt or its length, such as \"prompt\" or \"input_length\"; there is \"{}\"",
            columns.join("\", \"")
        ));
    }
    Ok(())
}

/// Reads one row after the other.
pub(super) struct Reader {
    carries: Carries,
    seed: u64,
    rows: u64,
    /// What numbers are under a name that does not say it; `None` until the first one is read.
    unit: Option<Unit>,
    /// Of the first row, in nanoseconds since whatever the trace counts from.
    first: Option<i128>,
    last: i128,
}

impl Reader {
    pub(super) fn new(carries: Carries, seed: u64) -> Self {
        Self { carries, seed, rows: 0, unit: None, first: None, last: i128::MIN }
    }

    /// The prompt of the next row, with its arrival counted from that of the first row.
    ///
    /// # Errors
    ///
    /// What is missing, of the wrong kind or out of order, as a fragment.
    pub(super) fn row(&mut self, row: Vec<(String, Value)>) -> Result<Prompt, String> {
        let fields: Vec<(String, String, Value)> = row
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (plain(&name), name, value))
            .collect();
        let find = |wanted: &str| fields.iter().find(|(name, _, _)| name == wanted);
        let input = INPUTS.iter().find_map(|name| find(name));
        let output = OUTPUTS.iter().find_map(|name| find(name));
        let (unit, (_, name, time)) = TIMES
            .iter()
            .find_map(|(name, unit)| Some((*unit, find(name)?)))
            .ok_or("no time: expected \"timestamp\"")?;
        let mooncake = input.is_some_and(|(name, _, _)| name == "inputlength");
        let at = self.instant(name, time, unit, mooncake)?;
        if at < self.last {
            return Err(format!(
                "its {name} lies {} s before that of the row before it; sort the trace by time",
                (self.last - at) as f64 / 1e9
            ));
        }
        self.last = at;
        let arrival =
            u64::try_from(at - *self.first.get_or_insert(at))
                .map(Duration::from_nanos)
                .map_err(|_| format!("its {name} is centuries after that of the first row"))?;
        let answer = output.map(|(_, name, length)| tokens(name, length, 0)).transpose()?;
        // An answer of no tokens cannot be asked for; one token is the least.
        let answer = answer.map(|tokens| tokens.max(1));

        let mut said = Fields::default();
        for (name, as_written, value) in &fields {
            if !OUTPUTS.contains(&name.as_str()) {
                said.add(as_written, value.clone());
            }
        }
        let mut prompt = match input {
            _ if said.hold_a_prompt() => Prompt {
                max_tokens: answer.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
                ..said.prompt(self.carries)?
            },
            Some((_, name, length)) => {
                let hashes = find(HASHES).map(|(_, name, hashes)| ids(name, hashes)).transpose()?;
                let tokens = tokens(name, length, 1)?;
                let blocks = blocks(tokens, hashes.as_deref().unwrap_or_default(), self.rows);
                of_recipe(Recipe { blocks, seed: self.seed }, answer)
            }
            None => {
                return Err(
                    "no prompt and no length: expected \"prompt\" or \"input_length\"".to_owned()
                );
            }
        };
        prompt.arrival = Some(arrival);
        self.rows += 1;
        Ok(prompt)
    }

    /// Nanoseconds since whatever the trace counts from. What a bare number is, is settled once: a
    /// whole one in the middle must not be another unit than the fraction before it.
    fn instant(
        &mut self,
        name: &str,
        value: &Value,
        unit: Unit,
        mooncake: bool,
    ) -> Result<i128, String> {
        let Some(number) = number(value) else {
            let date = value.as_str().and_then(date);
            return date.ok_or_else(|| {
                format!(
                    "\"{name}\" is {value}; expected seconds, milliseconds or a date such as \
                     2023-11-16T18:15:46.680Z"
                )
            });
        };
        let unit = match unit {
            Unit::AsFits => *self.unit.get_or_insert_with(|| told_by(number, mooncake)),
            said => said,
        };
        nanoseconds(number, unit).ok_or_else(|| {
            format!("\"{name}\" is {value}, which is no time in seconds or milliseconds")
        })
    }
}

/// The blocks of a prompt of so many tokens: those that are named, as far as it reaches, then its own.
fn blocks(tokens: u64, hashes: &[u64], row: u64) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(hashes.len() + 1);
    let mut left = tokens;
    for hash in hashes {
        let tokens = left.min(HASH_BLOCK_TOKENS);
        if tokens > 0 {
            blocks.push(Block { key: BlockKey::Shared(*hash), tokens });
        }
        left -= tokens;
    }
    if left > 0 {
        blocks.push(Block { key: BlockKey::Own(row), tokens: left });
    }
    blocks
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    }
    .filter(|number: &f64| number.is_finite())
}

fn tokens(name: &str, value: &Value, least: u64) -> Result<u64, String> {
    number(value)
        .filter(|tokens| tokens.fract() == 0.0 && (least as f64..=MOST_TOKENS).contains(tokens))
        .map(|tokens| tokens as u64)
        .ok_or_else(|| {
            format!(
                "\"{name}\" is {value}; expected a number of tokens from {least} to {MOST_TOKENS}"
            )
        })
}

fn ids(name: &str, value: &Value) -> Result<Vec<u64>, String> {
    let list = value.as_array().map(|list| list.iter().map(Value::as_u64).collect());
    list.flatten().ok_or_else(|| format!("\"{name}\" is no list of whole numbers"))
}

/// Seconds farther than this are no time: three centuries after 1970.
const FARTHEST: f64 = 1e10;

/// What the numbers of a file are whose first one this is. Mooncake counts in milliseconds. Of all
/// others seconds since 1970 have ten digits until the year 2286, and milliseconds thirteen.
fn told_by(first: f64, mooncake: bool) -> Unit {
    if mooncake || first.abs() > FARTHEST { Unit::Milliseconds } else { Unit::Seconds }
}

/// Nanoseconds since whatever the trace counts from; `None` of what is no time.
fn nanoseconds(number: f64, unit: Unit) -> Option<i128> {
    let seconds = if unit == Unit::Milliseconds { number / 1e3 } else { number };
    if seconds.abs() > FARTHEST {
        return None;
    }
    // Whole seconds apart, so that fractions since 1970 keep what digits they have.
    let whole = seconds.floor();
    Some(whole as i128 * 1_000_000_000 + ((seconds - whole) * 1e9).round() as i128)
}

fn date(text: &str) -> Option<i128> {
    let text = text.trim();
    let nanos = |seconds: i64, nanos: u32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let with_zone = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z"));
    if let Ok(date) = with_zone {
        return Some(nanos(date.timestamp(), date.timestamp_subsec_nanos()));
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|date| nanos(date.and_utc().timestamp(), date.and_utc().timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataset::Content;

    fn rows(rows: &[Value]) -> Result<Vec<Prompt>, String> {
        let mut reader = Reader::new(Carries::Chats, 42);
        let fields =
            |row: &Value| row.as_object().expect("an object").clone().into_iter().collect();
        rows.iter().map(|row| reader.row(fields(row))).collect()
    }

    fn arrivals_ms(given: &[Value]) -> Vec<u128> {
        let prompts = rows(given).expect("a trace");
        prompts.iter().map(|prompt| prompt.arrival.expect("an arrival").as_millis()).collect()
    }

    #[test]
    fn instants_are_counted_from_the_first_row() {
        let with = |times: &[Value]| -> Vec<Value> {
            times.iter().map(|time| json!({"timestamp": time, "prompt": "Hi"})).collect()
        };
        assert_eq!(arrivals_ms(&with(&[json!(5), json!(5.25), json!(7)])), [0, 250, 2000]);
        let epoch = [json!(1_700_000_000.5), json!(1_700_000_001)];
        assert_eq!(arrivals_ms(&with(&epoch)), [0, 500]);
        let epoch_ms = [json!(1_700_000_000_500_u64), json!(1_700_000_001_000_u64)];
        assert_eq!(arrivals_ms(&with(&epoch_ms)), [0, 500]);
        // Azure's two tables, and what everybody else writes.
        let azure = [json!("2023-11-16 18:15:46.6805900"), json!("2023-11-16 18:15:50.9951690")];
        assert_eq!(arrivals_ms(&with(&azure)), [0, 4314]);
        let azure =
            [json!("2024-05-10 00:00:00.009930+00:00"), json!("2024-05-10 00:00:00.110930+00:00")];
        assert_eq!(arrivals_ms(&with(&azure)), [0, 101]);
        let iso = [json!("2023-11-16T18:00:00Z"), json!("2023-11-16T19:00:01+01:00")];
        assert_eq!(arrivals_ms(&with(&iso)), [0, 1000]);
        assert_eq!(
            arrivals_ms(&with(&[json!("2023-11-16T18:00:00"), json!("2023-11-16T18:00:02")])),
            [0, 2000]
        );
        let ms =
            [json!({"timestamp_ms": 3, "prompt": "a"}), json!({"timestamp_ms": 8, "prompt": "a"})];
        assert_eq!(arrivals_ms(&ms), [0, 5]);
    }

    #[test]
    fn the_first_number_tells_the_unit_of_all() {
        let mooncake = |time: Value| json!({"timestamp": time, "input_length": 5});
        let written = |time: Value| json!({"timestamp": time, "prompt": "Hi"});
        let fractions = [mooncake(json!(0)), mooncake(json!(999.5)), mooncake(json!(1000))];
        assert_eq!(arrivals_ms(&fractions), [0, 999, 1000]);
        let begun_by_a_fraction = [mooncake(json!(27.5)), mooncake(json!(30))];
        assert_eq!(arrivals_ms(&begun_by_a_fraction), [0, 2]);
        // A row that has a length beside its prompt does not count in another way than the others.
        let mixed = [written(json!(1)), mooncake(json!(2)), written(json!(3.5))];
        assert_eq!(arrivals_ms(&mixed), [0, 1000, 2500]);
        let other = [mooncake(json!(1)), written(json!(2))];
        assert_eq!(arrivals_ms(&other), [0, 1]);
        let epoch = [written(json!(1_700_000_000_500_u64)), written(json!(1_700_000_001_000.5))];
        assert_eq!(arrivals_ms(&epoch), [0, 500]);
        // Dates tell nothing about numbers.
        let dated = [written(json!("1970-01-01T00:00:01Z")), mooncake(json!(1500))];
        assert_eq!(arrivals_ms(&dated), [0, 500]);
    }

    #[test]
    fn blocks_of_mooncake_are_shared_and_cut_to_the_length() {
        let prompts = rows(&[
            json!({"timestamp": 0, "input_length": 1200, "output_length": 52, "hash_ids": [1, 2, 3]}),
            json!({"timestamp": 3000, "input_length": 600, "output_length": 0, "hash_ids": [1, 9]}),
            json!({"timestamp": 3001, "input_length": 2000, "output_length": 7, "hash_ids": [1]}),
        ])
        .expect("a trace");
        let blocks = |prompt: &Prompt| match &prompt.content {
            Content::Recipe(recipe) => {
                recipe.blocks.iter().map(|block| (block.key, block.tokens)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let shared = BlockKey::Shared;
        assert_eq!(blocks(&prompts[0]), [(shared(1), 512), (shared(2), 512), (shared(3), 176)]);
        assert_eq!(blocks(&prompts[1]), [(shared(1), 512), (shared(9), 88)]);
        assert_eq!(blocks(&prompts[2]), [(shared(1), 512), (BlockKey::Own(2), 1488)]);
        let answers: Vec<_> =
            prompts.iter().map(|prompt| (prompt.max_tokens, prompt.forced)).collect();
        assert_eq!(answers, [(Some(52), true), (Some(1), true), (Some(7), true)]);
        let arrivals: Vec<_> = prompts.iter().map(|prompt| prompt.arrival).collect();
        assert_eq!(arrivals, [0, 3000, 3001].map(|ms| Some(Duration::from_millis(ms))));
    }

    #[test]
    fn a_prompt_goes_before_a_length_and_keeps_its_budget() {
        let prompts = rows(&[
            json!({"timestamp": 0.0, "prompt": "Tell me", "output_length": 9}),
            json!({"timestamp": 0.5, "messages": [{"role": "user", "content": "Hi"}], "input_length": 5}),
        ])
        .expect("a trace");
        assert_eq!(prompts[0].text(), Some("Tell me"));
        assert_eq!((prompts[0].max_tokens, prompts[0].forced), (Some(9), false));
        assert!(matches!(&prompts[1].content, Content::Chat(messages) if messages.len() == 1));
    }

    #[test]
    fn a_row_that_is_wrong_is_told() {
        for (given, words) in [
            (vec![json!({"prompt": "a"})], "no time"),
            (vec![json!({"timestamp": 0})], "no prompt"),
            (vec![json!({"timestamp": true, "prompt": "a"})], "expected seconds"),
            (vec![json!({"timestamp": "soon", "prompt": "a"})], "expected seconds"),
            (
                vec![json!({"timestamp": 0, "input_length": 0})],
                "expected a number of tokens from 1",
            ),
            (vec![json!({"timestamp": 0, "input_length": 1.5})], "expected a number of tokens"),
            (vec![json!({"timestamp": 0, "input_length": 5, "output_length": -1})], "from 0"),
            (
                vec![json!({"timestamp": 0, "input_length": 5, "hash_ids": ["a"]})],
                "no list of whole",
            ),
            (vec![json!({"timestamp": 1e300, "prompt": "a"})], "no time in seconds"),
            (
                vec![
                    json!({"timestamp": 2.5, "prompt": "a"}),
                    json!({"timestamp": 1, "prompt": "a"}),
                ],
                "lies 1.5 s before",
            ),
        ] {
            let error = rows(&given).expect_err("a mistake");
            assert!(error.contains(words), "{error}");
        }
    }
}
