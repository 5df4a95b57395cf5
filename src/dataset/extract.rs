//! A compact extract of a large dataset: the first human turn and the answer's length, and where
//! conversations are held the later human turns too; one JSON object a line, so that the large file is
//! read once.
//!
//! Main types: [`Writer`], and the functions [`read`] and [`read_plain`]. The compiled-in corpus
//! has the same lines. An extract is written to a temporary name and renamed, and ends in a line
//! that counts what was read: a half one is never taken for whole.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::Fetched;
use super::pick::{Conversation, Picker};
use super::prompt::Prompt;
use super::record::Carries;
use crate::cancel::{Cancel, StopReason};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Conversations of the source between the line before and this one that are no prompts.
    #[serde(default, skip_serializing_if = "is_zero")]
    skipped: u64,
    prompt: String,
    /// What the same human says later; only in extracts for conversations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    turns: Vec<String>,
    answer_words: Option<u64>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    /// Lines before this one.
    lines: u64,
    /// Conversations after the last line that are no prompts.
    skipped: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference to skip_serializing_if"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What an extract is kept under: the source's digest, or what else tells its content; `None` if
/// nothing does. The version changes when the lines do. Conversations have an extract of their own:
/// nobody else is to read through all that was said.
pub(super) fn key(fetched: &Fetched, carries: Carries) -> Option<String> {
    let mut digest = Sha256::new();
    digest.update(match carries {
        Carries::Conversations => "bench-ci extract 1 of conversations\n",
        Carries::Chats | Carries::Texts | Carries::Words => "bench-ci extract 1\n",
    });
    match &fetched.sha256 {
        Some(sha256) => digest.update(sha256.as_bytes()),
        None => {
            let about = std::fs::metadata(&fetched.path).ok()?;
            let modified = about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            let path = std::fs::canonicalize(&fetched.path).ok()?;
            digest.update(format!("{} {} {}", path.display(), about.len(), modified.as_nanos()));
        }
    }
    Some(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The file's name under the cache folder.
pub(super) fn file_name(key: &str) -> String {
    format!("sharegpt-{key}.jsonl")
}

/// What came of looking for an extract.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is none.
    Absent,
    /// It was read as far as the picker wanted.
    Done,
}

/// Why an extract is of no use.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Not what [`Writer`] wrote; in words.
    Damaged(String),
    /// Somebody asked to stop.
    Cancelled(StopReason),
}

/// Offers the lines of an extract, if there is one.
pub(super) fn read(
    path: &Path,
    picker: &mut Picker,
    cancel: &Cancel,
) -> Result<Outcome, ReadError> {
    let damaged = |cause: &dyn std::fmt::Display| ReadError::Damaged(cause.to_string());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Outcome::Absent),
        Err(error) => return Err(damaged(&error)),
    };
    let mut lines_read = 0;
    for text in BufReader::with_capacity(super::reading::READ_BYTES, file).lines() {
        if let Some(reason) = cancel.reason() {
            return Err(ReadError::Cancelled(reason));
        }
        let text = text.map_err(|error| damaged(&error))?;
        match serde_json::from_str::<Line>(&text) {
            Ok(line) => {
                lines_read += 1;
                if offer(line, picker).is_break() {
                    return Ok(Outcome::Done);
                }
            }
            Err(error) => {
                let end: End =
                    serde_json::from_str(&text).map_err(|_no_end_either| damaged(&error))?;
                if end.lines != lines_read {
                    return Err(damaged(&format!("{lines_read} lines instead of {}", end.lines)));
                }
                for _ in 0..end.skipped {
                    if picker.offer(Conversation::NotHumanFirst).is_break() {
                        break;
                    }
                }
                return Ok(Outcome::Done);
            }
        }
    }
    Err(damaged(&"it has no end"))
}

/// Offers the lines of the compiled-in corpus.
pub(super) fn read_plain(text: &str, picker: &mut Picker) {
    for line in text.lines() {
        let line: Line =
            serde_json::from_str(line).expect("a test reads every line of the built-in corpus");
        if offer(line, picker).is_break() {
            return;
        }
    }
}

fn offer(line: Line, picker: &mut Picker) -> ControlFlow<()> {
    for _ in 0..line.skipped {
        picker.offer(Conversation::NotHumanFirst)?;
    }
    let Line { skipped: _, prompt, turns, answer_words } = line;
    let prompt = Prompt { turns, answer_words, ..Prompt::of_text(prompt) };
    picker.offer(Conversation::Asked(prompt))
}

/// Writes an extract beside the reading of its source.
pub(super) struct Writer<'p> {
    path: &'p Path,
    file: BufWriter<NamedTempFile>,
    lines: u64,
    skipped: u64,
    /// The first failure; later lines are not tried.
    failed: Option<std::io::Error>,
}

impl<'p> Writer<'p> {
    /// Begins one under a temporary name in the folder of `path`, which is made.
    pub(super) fn create(path: &'p Path) -> std::io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let file =
            BufWriter::with_capacity(super::reading::READ_BYTES, NamedTempFile::new_in(folder)?);
        Ok(Self { path, file, lines: 0, skipped: 0, failed: None })
    }

    /// Adds the next conversation of the source.
    pub(super) fn add(&mut self, conversation: &Conversation) {
        if self.failed.is_some() {
            return;
        }
        match conversation {
            Conversation::NotHumanFirst => self.skipped += 1,
            Conversation::Asked(prompt) | Conversation::Given(prompt) => {
                let line = Line {
                    skipped: self.skipped,
                    prompt: prompt.text().expect("ShareGPT holds texts only").to_owned(),
                    turns: prompt.turns.clone(),
                    answer_words: prompt.answer_words,
                };
                self.failed = self.line(&line).err();
                self.lines += 1;
                self.skipped = 0;
            }
        }
    }

    /// Ends it and gives it its name. Dropping it instead leaves nothing behind.
    pub(super) fn finish(mut self) -> std::io::Result<()> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let end = End { lines: self.lines, skipped: self.skipped };
        self.line(&end)?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.persist(self.path).map_err(|error| error.error)?;
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from)?;
        self.file.write_all(b"\n")
    }
}
