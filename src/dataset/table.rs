//! Tables: RFC 4180 with a header, every row the same number of cells.
//!
//! Main function: [`read`]. What a column means is the caller's business.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;

use super::lines::Fault;

/// A cell under its column's name, trimmed and in lower case.
pub(super) type Row<'r> = Vec<(&'r str, String)>;

/// A fault and the line at which it was seen, from 1; of a row of several lines, its first.
pub(super) type At = (u64, Fault);

/// Hands every row to `on` with the line where it begins, in order, until that says stop; `head` is
/// shown the columns first.
pub(super) fn read(
    source: BufReader<impl Read>,
    delimiter: u8,
    head: impl FnOnce(&[String]) -> Result<(), String>,
    mut on: impl FnMut(u64, Row<'_>) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), At> {
    let mut records = Records::new(source, delimiter);
    let mut columns: Option<Vec<String>> = None;
    let mut head = Some(head);
    loop {
        let line = records.line();
        let Some(record) = records.next().map_err(|error| (line, Fault::Io(error)))? else { break };
        let cells = cells(record).map_err(|fault| (line, fault))?;
        let Some(columns) = &columns else {
            let names: Vec<String> = cells
                .iter()
                .map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase())
                .collect();
            if let Some(head) = head.take() {
                head(&names).map_err(|why| (line, Fault::Said(why)))?;
            }
            columns = Some(names);
            continue;
        };
        if cells.len() != columns.len() {
            let (here, there) = (cells.len(), columns.len());
            let why = format!(
                "the row has {here} cells and the header {there}; a cell with a comma, a quote or a \
                 line end stands between quotes"
            );
            return Err((line, Fault::Said(why)));
        }
        let row = columns.iter().map(String::as_str).zip(cells).collect();
        if on(line, row).map_err(|fault| (line, fault))?.is_break() {
            return Ok(());
        }
    }
    // The parser takes the rest of a file for one cell. By the standard quotes come in pairs.
    if records.quotes % 2 == 1 {
        let why = "a quote is opened and never closed; a quote inside of a cell is written twice";
        return Err((records.line(), Fault::Said(why.to_owned())));
    }
    Ok(())
}

fn cells<'r>(record: impl Iterator<Item = &'r [u8]>) -> Result<Vec<String>, Fault> {
    let cell = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        _ if bytes.contains(&0) => {
            Err(Fault::Said("there is a zero byte, so this is no text in UTF-8".to_owned()))
        }
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Fault::Said("a cell is not UTF-8".to_owned())),
    };
    record.map(cell).collect()
}

/// The parser and its buffers.
struct Records<R> {
    source: BufReader<R>,
    parser: csv_core::Reader,
    /// All cells of the record at hand, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Quotes read so far.
    quotes: usize,
}

impl<R: Read> Records<R> {
    fn new(source: BufReader<R>, delimiter: u8) -> Self {
        let parser = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        Self { source, parser, text: vec![0; 4096], ends: vec![0; 16], quotes: 0 }
    }

    /// The line that is read next, from 1.
    fn line(&self) -> u64 {
        self.parser.line()
    }

    /// The cells of the next record; `None` after the last.
    fn next(&mut self) -> std::io::Result<Option<impl Iterator<Item = &[u8]>>> {
        let (mut text_length, mut count) = (0, 0);
        loop {
            let input = self.source.fill_buf()?;
            let (result, read, written, ended) = self.parser.read_record(
                input,
                self.text.get_mut(text_length..).unwrap_or_default(),
                self.ends.get_mut(count..).unwrap_or_default(),
            );
            self.quotes += input.iter().take(read).filter(|byte| **byte == b'"').count();
            self.source.consume(read);
            text_length += written;
            count += ended;
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull => {
                    self.text.resize(self.text.len() * 2, 0);
                }
                csv_core::ReadRecordResult::OutputEndsFull => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                csv_core::ReadRecordResult::Record => break,
                csv_core::ReadRecordResult::End => return Ok(None),
            }
        }
        let (text, mut begin) = (&self.text, 0);
        Ok(Some(self.ends.iter().take(count).map(move |end| {
            let cell = text.get(begin..*end).unwrap_or_default();
            begin = *end;
            cell
        })))
    }
}
