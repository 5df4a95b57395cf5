//! What `bench-ci model inspect` prints.
//!
//! Main function: [`inspect_parts`]. It lays out what was read and reads nothing itself.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{GgufFile, GgufSummary, Value, weights_by_type};

/// Longest value that is shown in one line.
const VALUE_CHARACTERS_MAX: usize = 60;

/// A table for a person. The parts are of one model, the first first.
pub(crate) fn inspect_parts(paths: &[PathBuf], parts: &[GgufFile]) -> String {
    let Some(summary) = GgufSummary::of(parts) else {
        return String::new();
    };
    let size_bytes: u64 = parts.iter().map(|part| part.length_bytes).sum();
    let mut rows: Vec<(String, String)> = Vec::new();
    for (path, part) in paths.iter().zip(parts) {
        rows.push((
            if parts.len() == 1 { "file" } else { "part" }.to_owned(),
            format!("{} ({})", path.display(), bytes_in_words(part.length_bytes)),
        ));
    }
    let mut row = |name: &str, value: Option<String>| {
        let value = value.map_or_else(|| "not said".to_owned(), |value| printable(&value));
        rows.push((name.to_owned(), value));
    };
    if parts.len() > 1 {
        row("size", Some(bytes_in_words(size_bytes)));
    }
    row("format", Some(format!("GGUF version {}", summary.version)));
    row("architecture", summary.architecture.clone());
    row("name", summary.name.clone());
    row("parameters", Some(count_in_words(summary.parameters)));
    row("quantization", Some(summary.quantization.clone()));
    row("context length", summary.context_length.map(grouped));
    row("layers", summary.block_count.map(grouped));
    row("embedding length", summary.embedding_length.map(grouped));
    row("feed-forward length", summary.feed_forward_length.map(grouped));
    row(
        "attention heads",
        summary.head_count.map(|heads| match summary.head_count_kv {
            Some(kv) if kv != heads => format!("{heads} ({kv} for keys and values)"),
            _ => heads.to_string(),
        }),
    );
    row("vocabulary", summary.vocabulary_count.map(grouped));
    row("chat template", Some(if summary.has_chat_template { "yes" } else { "no" }.to_owned()));
    row("tensors", Some(grouped(summary.tensor_count)));

    let mut text = String::new();
    table(&mut text, &rows);

    text.push_str("\nweights by type\n");
    let weights = weights_by_type(parts.iter().flat_map(|part| &part.tensors));
    let mut weights: Vec<_> = weights.into_iter().collect();
    weights.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows: Vec<_> =
        weights.iter().map(|(kind, count)| (kind.name(), count_in_words(*count))).collect();
    table(&mut text, &rows);

    text.push_str("\nkeys\n");
    let rows: Vec<_> = parts
        .first()
        .into_iter()
        .flat_map(|part| &part.keys)
        .map(|(key, value)| (printable(key), value_in_words(value)))
        .collect();
    table(&mut text, &rows);
    text
}

fn table(text: &mut String, rows: &[(String, String)]) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in rows {
        writeln!(text, "  {name:<width$}  {value}").expect("writing to a String cannot fail");
    }
}

fn value_in_words(value: &Value) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => {
            let mut shown: String = text.chars().take(VALUE_CHARACTERS_MAX).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("\"{}\"", printable(&shown))
        }
        Value::Array { of, count } => format!("[{} × {of}]", grouped(*count)),
    }
}

/// Without control characters: a file must not steer the terminal it is shown on.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control();
            let plain = (!escaped).then_some(character);
            let code = escaped.then(|| character.escape_default());
            plain.into_iter().chain(code.into_iter().flatten())
        })
        .collect()
}

/// Such as `1.10 billion (1,100,048,384)`.
fn count_in_words(count: u64) -> String {
    let units = [(1_000_000_000, "billion"), (1_000_000, "million")];
    for (unit, word) in units {
        if count >= unit {
            let scaled = count as f64 / unit as f64;
            return format!("{scaled:.2} {word} ({})", grouped(count));
        }
    }
    grouped(count)
}

/// Such as `1.02 MB`.
pub(crate) fn bytes_in_words(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, word) in units {
        if bytes >= unit {
            return format!("{:.2} {word}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} bytes")
}

/// With commas between the thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_named() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count_in_words(1_100_048_384), "1.10 billion (1,100,048,384)");
        assert_eq!(bytes_in_words(999), "999 bytes");
        assert_eq!(bytes_in_words(1_020_000), "1.02 MB");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
