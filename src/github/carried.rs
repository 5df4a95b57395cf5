//! The reports behind a comment, carried in it unseen, so that the jobs of a matrix that each know
//! only their own can make one comment of all.
//!
//! Main functions: [`pack`], [`unpack`]. What is read back is trusted no more than an artifact: it
//! goes through the same checks, and through the same escaping when it is shown.

use std::io::{Cursor, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::intake::{self, Expected, MOST_FILE_BYTES, MOST_FILES};
use crate::report::comment::{Cell, Content};

/// Half of a comment: the other half is for its readers. About four whole comparisons, or twenty
/// without their trials.
const MOST_BYTES: usize = 30_000;
const START: &str = "<!-- bench-ci:reports ";
const END: &str = " -->";

/// One line with all reports, the trials left out if they are too long; `None` if they still are.
pub(super) fn pack(cells: &[Cell]) -> Option<String> {
    let line = |cells: &[Cell]| Some(format!("{START}{}{END}", STANDARD.encode(archive(cells)?)));
    line(cells)
        .filter(|line| line.len() <= MOST_BYTES)
        .or_else(|| line(&without_trials(cells)).filter(|line| line.len() <= MOST_BYTES))
}

fn without_trials(cells: &[Cell]) -> Vec<Cell> {
    let mut cells = cells.to_vec();
    for cell in &mut cells {
        if let Content::Comparison(report) = &mut cell.content {
            report.trials.clear();
        }
    }
    cells
}

fn archive(cells: &[Cell]) -> Option<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        // The same cells give the same bytes, so that an unchanged comment is known for one.
        .last_modified_time(zip::DateTime::default());
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for cell in cells {
        let text = match &cell.content {
            Content::Comparison(report) => serde_json::to_vec(report).ok()?,
            Content::Run(report) => serde_json::to_vec(report).ok()?,
            Content::Suite(suite) => serde_json::to_vec(suite).ok()?,
            Content::Nothing(why) => serde_json::to_vec(why).ok()?,
        };
        writer.start_file(cell.name.as_str(), options).ok()?;
        writer.write_all(&text).ok()?;
    }
    writer.finish().ok().map(Cursor::into_inner)
}

/// What a comment carries, checked like an artifact; what does not hold is left out, for whoever has
/// it will say it again.
pub(super) fn unpack(body: &str, expected: &Expected) -> Vec<Cell> {
    let line =
        body.lines().rev().find_map(|line| line.trim_end().strip_prefix(START)?.strip_suffix(END));
    let Some(bytes) = line.and_then(|line| STANDARD.decode(line).ok()) else { return Vec::new() };
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else { return Vec::new() };
    let mut cells: Vec<Cell> = Vec::new();
    for index in 0..archive.len().min(MOST_FILES) {
        let Ok(entry) = archive.by_index(index) else { continue };
        let Ok(name) = entry.name().map(|name| name.into_owned()) else { continue };
        if !intake::is_name(&name) || cells.iter().any(|cell| cell.name == name) {
            continue;
        }
        let mut text = Vec::new();
        let whole = entry.take(MOST_FILE_BYTES + 1).read_to_end(&mut text);
        if whole.is_err() || text.len() as u64 > MOST_FILE_BYTES {
            continue;
        }
        let content = match serde_json::from_slice::<String>(&text) {
            Ok(why) => Content::Nothing(why.chars().take(300).collect()),
            Err(_no_text) => match intake::report(&text, expected) {
                Ok(content) => content,
                Err(_refused) => continue,
            },
        };
        cells.push(Cell { name, content });
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(name: &str, why: &str) -> Cell {
        Cell { name: name.to_owned(), content: Content::Nothing(why.to_owned()) }
    }

    #[test]
    fn what_is_carried_comes_back_and_nothing_else_does() {
        let cells = [cell("a", "no -->report"), cell("b c", "@team")];
        let line = pack(&cells).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(line.matches("--").count(), 2, "{line}");
        assert_eq!(pack(&cells), Some(line.clone()), "packing is repeatable");
        assert_eq!(unpack(&format!("text\n{line}\n"), &Expected::default()), cells);
        for other in ["", "text", "<!-- bench-ci:reports AAAA -->", "<!-- bench-ci:reports ! -->"] {
            assert_eq!(unpack(other, &Expected::default()), []);
        }
        let evil = pack(&[cell("../x", "y"), cell("ok", "z")]).unwrap();
        assert_eq!(unpack(&evil, &Expected::default()), [cell("ok", "z")]);
    }

    #[test]
    fn what_is_too_long_is_not_carried() {
        let noise: String = (0..200_000_u32)
            .filter_map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 20_000))
            .collect();
        assert_eq!(pack(&[cell("a", &noise)]), None);
    }
}
