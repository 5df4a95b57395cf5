//! Knowing an event again by what surrounds its text.
//!
//! Main type: [`Template`]. Consecutive events of a stream differ in the content's text alone, so
//! after one was parsed in full, the next is known by comparing bytes: same bytes before the text,
//! same bytes after it, and between them a non-empty JSON string without escapes. JSON being
//! context-free, such a payload parses exactly as the learned one did; a property test holds this
//! against the full parse.

#![deny(clippy::indexing_slicing)] // the bytes come from a stranger; a panic is his to cause

/// Payloads with more around their text than this are parsed in full: the memory is per stream.
const SURROUNDINGS_LIMIT: usize = 4096;

/// What surrounds the text of the last payload that said content and nothing else.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// Bytes before the text, then bytes after it; empty before anything was learned.
    surroundings: Vec<u8>,
    /// How many of them stand before the text.
    before: usize,
    /// Whether that text is reasoning.
    reasoning: bool,
}

/// A payload that says content of choice 0 and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainContent<'p> {
    /// The text, valid UTF-8 without escapes.
    pub text: &'p [u8],
    /// The text is what the model says to itself.
    pub reasoning: bool,
}

impl Template {
    pub(super) fn reset(&mut self) {
        self.surroundings.clear();
        self.before = 0;
    }

    /// The text, only if the payload says content of choice 0 and nothing else.
    pub(super) fn text<'p>(&self, payload: &'p [u8]) -> Option<PlainContent<'p>> {
        if self.surroundings.is_empty() {
            return None;
        }
        let (before, after) = self.surroundings.split_at_checked(self.before)?;
        let text = payload.strip_prefix(before)?.strip_suffix(after)?;
        is_plain_text(text).then_some(PlainContent { text, reasoning: self.reasoning })
    }

    /// Learns from a payload; `content` must be a slice of it, standing between quotes.
    pub(super) fn learn(&mut self, payload: &str, content: &str, reasoning: bool) {
        self.reset();
        let Some(start) = (content.as_ptr() as usize).checked_sub(payload.as_ptr() as usize) else {
            return;
        };
        let end = start + content.len();
        // Both hold for any string that serde_json borrowed; checked because a wrong template
        // would invent content.
        let (Some(before), Some(after)) = (payload.get(..start), payload.get(end..)) else {
            return;
        };
        if !before.ends_with('"')
            || !after.starts_with('"')
            || payload.get(start..end) != Some(content)
            || before.len() + after.len() > SURROUNDINGS_LIMIT
        {
            return;
        }
        self.surroundings.extend_from_slice(before.as_bytes());
        self.surroundings.extend_from_slice(after.as_bytes());
        self.before = before.len();
        self.reasoning = reasoning;
    }
}

/// A non-empty JSON string without escapes: valid UTF-8 without quote, backslash or control
/// character.
fn is_plain_text(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\')
        && std::str::from_utf8(bytes).is_ok()
}
