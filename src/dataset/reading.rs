//! How each kind of dataset is read, from a file on disk to prompts.
//!
//! Main type: [`Reading`]. Everything here blocks. What a record means is `record`'s business, which
//! prompts are kept is `pick`'s.

use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::Path;

use serde::de::{DeserializeSeed, Error as _};
use serde_json::{Map, Value};

use super::format::Format;
use super::lines::{Fault, Lines};
use super::pick::{Conversation, DatasetFile, Picker, PromptSet};
use super::prompt::Prompt;
use super::record::{Carries, Fields, Record, RecordFor};
use super::surrogates::mended;
use super::{Ask, DatasetError, Fetched, extract, json, parquet, recipe, table, trace};
use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage};
use crate::plan::SyntheticSpec;

/// The corpus inside this binary: our own, written for bench-ci, one prompt a line.
pub(super) const BUILT_IN: &str = include_str!("builtin.jsonl");

/// One read from disk.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// What the readers share.
pub(super) struct Reading {
    picker: Picker,
    carries: Carries,
    seed: u64,
    limit: Option<u64>,
    events: Events,
    cancel: Cancel,
}

impl Reading {
    pub(super) fn new(ask: &Ask, events: &Events, cancel: &Cancel) -> Self {
        Self {
            picker: Picker::new(ask.spec.to_string(), ask.filter, ask.limit),
            carries: ask.carries,
            seed: ask.seed,
            limit: ask.limit,
            events: events.clone(),
            cancel: cancel.clone(),
        }
    }

    /// Prompts that somebody wrote for this very run.
    pub(super) fn inline(mut self, prompts: Vec<String>) -> Result<PromptSet, DatasetError> {
        for prompt in prompts {
            if self.picker.offer(Conversation::Given(Prompt::of_text(prompt))).is_break() {
                break;
            }
        }
        self.picker.finish()
    }

    pub(super) fn builtin(mut self) -> Result<PromptSet, DatasetError> {
        extract::read_plain(BUILT_IN, &mut self.picker);
        self.picker.finish()
    }

    pub(super) fn synthetic(mut self, spec: &SyntheticSpec) -> Result<PromptSet, DatasetError> {
        self.picker.reads("synthetic", None);
        for conversation in recipe::synthetic(spec, self.seed, self.limit) {
            if self.picker.offer(conversation).is_break() {
                break;
            }
        }
        self.picker.finish()
    }

    /// A file of any kind; `sha256` is its digest where that is known.
    pub(super) fn file(
        mut self,
        path: &Path,
        sha256: Option<String>,
    ) -> Result<PromptSet, DatasetError> {
        let (source, format) = self.open(path)?;
        self.picker.reads(format.name(), Some(DatasetFile { path: path.to_path_buf(), sha256 }));
        let (carries, cancel) = (self.carries, self.cancel.clone());
        let picker = &mut self.picker;
        match format {
            Format::Json => {
                let records = json::read(source, RecordFor(carries), &mut |record: Record| {
                    let conversation = record.conversation(carries)?;
                    Ok(unless(&cancel, || picker.offer(conversation)))
                });
                records.map_err(|at| malformed(path, at, RECORDS))?;
            }
            Format::Parquet => {
                let rows = parquet::read(source.into_inner().inner, &mut |row| {
                    let record = RecordFor(carries).deserialize(row)?;
                    let asked = record.conversation(carries).map_err(serde_json::Error::custom)?;
                    Ok(unless(&cancel, || picker.offer(asked)))
                });
                rows.map_err(|at| malformed(path, at, RECORDS))?;
            }
            Format::JsonLines => for_each_line(mended(source), path, &cancel, |line| {
                let record = one(line, RecordFor(carries))?;
                Ok(picker.offer(record.conversation(carries).map_err(Fault::Said)?))
            })?,
            Format::Text => for_each_line(source, path, &cancel, |line| {
                Ok(picker.offer(Conversation::Given(Prompt::of_text(line))))
            })?,
            Format::Table { delimiter } => {
                let rows = table::read(source, delimiter, has_a_prompt, |_, row| {
                    let mut fields = Fields::default();
                    for (name, cell) in row {
                        // An empty cell is how a table says that there is nothing.
                        let says_nothing = cell.is_empty() && !PROMPT_COLUMNS.contains(&name);
                        fields.add(name, if says_nothing { Value::Null } else { cell.into() });
                    }
                    let prompt = fields.prompt(carries).map_err(Fault::Said)?;
                    Ok(unless(&cancel, || picker.offer(Conversation::Given(prompt))))
                });
                rows.map_err(|(line, source)| at(path, line, source))?;
            }
        }
        self.go_on()?;
        self.picker.finish()
    }

    pub(super) fn trace(mut self, path: &Path) -> Result<PromptSet, DatasetError> {
        let (source, format) = self.open(path)?;
        self.picker.reads("trace", Some(DatasetFile { path: path.to_path_buf(), sha256: None }));
        let cancel = self.cancel.clone();
        let mut reader = trace::Reader::new(self.carries, self.seed);
        let picker = &mut self.picker;
        match format {
            Format::Json => {
                let seed = PhantomData::<Map<String, Value>>;
                let rows = json::read(source, seed, &mut |row: Map<String, Value>| {
                    let prompt = reader.row(row.into_iter().collect())?;
                    Ok(unless(&cancel, || picker.offer(Conversation::Given(prompt))))
                });
                rows.map_err(|at| malformed(path, at, REQUESTS))?;
            }
            Format::JsonLines => for_each_line(mended(source), path, &cancel, |line| {
                let row = one(line, PhantomData::<Map<String, Value>>)?;
                let prompt = reader.row(row.into_iter().collect()).map_err(Fault::Said)?;
                Ok(picker.offer(Conversation::Given(prompt)))
            })?,
            Format::Table { delimiter } => {
                let rows = table::read(source, delimiter, trace::check_columns, |_, row| {
                    let cell = |(name, cell): (&str, String)| {
                        let cell = if cell.is_empty() { Value::Null } else { cell.into() };
                        (name.to_owned(), cell)
                    };
                    let row = row.into_iter().map(cell).collect();
                    let prompt = reader.row(row).map_err(Fault::Said)?;
                    Ok(unless(&cancel, || picker.offer(Conversation::Given(prompt))))
                });
                rows.map_err(|(line, source)| at(path, line, source))?;
            }
            Format::Parquet | Format::Text => {
                let why = "a trace is a JSON, JSONL or CSV file, and its name ends so";
                return Err(DatasetError::Format { path: path.to_path_buf(), why });
            }
        }
        self.go_on()?;
        self.picker.finish()
    }

    /// The public file, or its extract if there is one.
    ///
    /// A run with a limit reads the file only as far as it needs, which takes milliseconds and
    /// is no reason to write an extract; a run over all prompts reads it whole, once.
    pub(super) fn sharegpt(
        mut self,
        fetched: &Fetched,
        cache_dir: Option<&Path>,
    ) -> Result<PromptSet, DatasetError> {
        let file = DatasetFile { path: fetched.path.clone(), sha256: fetched.sha256.clone() };
        self.picker.reads("sharegpt", Some(file));
        let extract_path = cache_dir.and_then(|dir| {
            Some(dir.join(extract::file_name(&extract::key(fetched, self.carries)?)))
        });
        if let Some(path) = &extract_path {
            match extract::read(path, &mut self.picker, &self.cancel) {
                Ok(extract::Outcome::Done) => return self.picker.finish(),
                Ok(extract::Outcome::Absent) => {}
                Err(extract::ReadError::Cancelled(reason)) => {
                    return Err(DatasetError::Cancelled(reason));
                }
                Err(extract::ReadError::Damaged(cause)) => {
                    self.picker = self.picker.restarted();
                    self.warn(format!(
                        "the extract \"{}\" is damaged ({cause}) and is made anew",
                        path.display()
                    ));
                }
            }
        }
        let (source, _) = self.open(&fetched.path)?;
        let mut writer = match extract_path.as_deref().filter(|_| !self.picker.has_limit()) {
            Some(path) => match extract::Writer::create(path) {
                Ok(writer) => Some(writer),
                Err(cause) => {
                    self.warn(format!(
                        "cannot keep an extract of the dataset in \"{}\": {cause}",
                        path.display()
                    ));
                    None
                }
            },
            None => None,
        };
        let carries = self.carries;
        let records = json::read(source, RecordFor(carries), &mut |record: Record| {
            let conversation = record.conversation(carries)?;
            if let Some(writer) = &mut writer {
                writer.add(&conversation);
            }
            Ok(unless(&self.cancel, || self.picker.offer(conversation)))
        });
        records.map_err(|at| malformed(&fetched.path, at, RECORDS))?;
        self.go_on()?;
        if let Some(Err(cause)) = writer.map(extract::Writer::finish) {
            self.warn(format!("cannot keep an extract of the dataset: {cause}"));
        }
        self.picker.finish()
    }

    /// The file, and of which kind it is.
    fn open(&self, path: &Path) -> Result<(BufReader<Counted>, Format), DatasetError> {
        let refused = |source| DatasetError::Open { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(refused)?;
        let about = file.metadata().map_err(refused)?;
        if about.is_dir() {
            return Err(refused(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let counted = Counted {
            inner: file,
            events: self.events.clone(),
            file: name,
            bytes: 0,
            told: 0,
            total_bytes: about.is_file().then_some(about.len()),
        };
        let mut source = BufReader::with_capacity(READ_BYTES, counted);
        let head = source.fill_buf().map_err(refused)?;
        let format = Format::of(path, head)
            .map_err(|why| DatasetError::Format { path: path.to_path_buf(), why })?;
        Ok((source, format))
    }

    fn go_on(&self) -> Result<(), DatasetError> {
        match self.cancel.reason() {
            Some(reason) => Err(DatasetError::Cancelled(reason)),
            None => Ok(()),
        }
    }

    fn warn(&self, message: String) {
        self.events.send(&Event::Warning { message });
    }
}

/// What records of prompts look like.
const RECORDS: &str = "expected [{\"conversations\": [{\"from\": \"human\", \"value\": \"…\"}, {\"from\": \"gpt\", \"value\": \"…\"}]}, …], \
                       or [{\"prompt\": \"…\"}, …]";

/// What records of a trace look like.
const REQUESTS: &str = "expected [{\"timestamp\": 0, \"input_length\": 512, \"output_length\": 128}, …], \
                        or a \"prompt\" in place of the length";

/// Columns whose empty cell is an empty prompt.
const PROMPT_COLUMNS: [&str; 3] = ["prompt", "text", "question"];

fn has_a_prompt(columns: &[String]) -> Result<(), String> {
    if columns.iter().any(|column| PROMPT_COLUMNS.contains(&column.as_str())) {
        return Ok(());
    }
    Err(format!("no column \"prompt\" or \"text\"; there is \"{}\"", columns.join("\", \"")))
}

fn at(path: &Path, line: u64, source: Fault) -> DatasetError {
    DatasetError::Line { path: path.to_path_buf(), line, source }
}

fn malformed(path: &Path, (record, source): json::At, expected: &'static str) -> DatasetError {
    DatasetError::Malformed { path: path.to_path_buf(), record, expected, source }
}

fn unless(cancel: &Cancel, work: impl FnOnce() -> ControlFlow<()>) -> ControlFlow<()> {
    if cancel.reason().is_some() { ControlFlow::Break(()) } else { work() }
}

/// Hands every line that is not blank to `on`, until that says stop.
fn for_each_line(
    source: BufReader<impl Read>,
    path: &Path,
    cancel: &Cancel,
    mut on: impl FnMut(&str) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), DatasetError> {
    let mut lines = Lines::new(source);
    loop {
        let flow = match lines.next() {
            Ok(None) => return Ok(()),
            Ok(Some(line)) if line.trim().is_empty() => Ok(ControlFlow::Continue(())),
            Ok(Some(line)) => on(line),
            Err(fault) => Err(fault),
        };
        let flow = flow.map_err(|fault| at(path, lines.number(), fault))?;
        if flow.is_break() || cancel.reason().is_some() {
            return Ok(());
        }
    }
}

/// One value from one line.
fn one<T>(line: &str, seed: impl for<'de> DeserializeSeed<'de, Value = T>) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_str(line);
    let value = seed.deserialize(&mut json).map_err(Fault::Json)?;
    json.end().map(|()| value).map_err(Fault::Json)
}

/// How often a reader tells how far it is: small files never, the public one some twenty times.
const TELL_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Tells the listeners how far a long file has been read.
struct Counted {
    inner: std::fs::File,
    events: Events,
    file: String,
    bytes: u64,
    told: u64,
    total_bytes: Option<u64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes - self.told >= TELL_EVERY_BYTES
            || (count == 0 && self.told > 0 && self.told < self.bytes)
        {
            self.told = self.bytes;
            self.events.send(&Event::Transfer {
                stage: Stage::Dataset,
                file: self.file.clone(),
                bytes: self.bytes,
                total_bytes: self.total_bytes,
            });
        }
        Ok(count)
    }
}
