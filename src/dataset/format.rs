//! Of which kind a dataset file is: told by its name, and by its first bytes where the name is silent.
//!
//! Main type: [`Format`]. It reads nothing itself.

use std::path::Path;

/// The kinds of files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON array of records, or JSON records in a row.
    Json,
    /// One JSON record a line.
    JsonLines,
    /// Rows of typed columns, compressed.
    Parquet,
    /// Columns with a header, between these marks.
    Table {
        /// A comma or a tab.
        delimiter: u8,
    },
    /// One prompt a line.
    Text,
}

impl Format {
    /// A word for the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::JsonLines => "jsonl",
            Format::Parquet => "parquet",
            Format::Table { .. } => "csv",
            Format::Text => "text",
        }
    }

    /// The format of a file with this name that begins with these bytes. The name goes first, but
    /// what is certainly no text is refused whatever its name.
    ///
    /// # Errors
    ///
    /// Why it cannot be read: a fragment.
    pub(super) fn of(path: &Path, head: &[u8]) -> Result<Self, &'static str> {
        if head.starts_with(b"PAR1") {
            return Ok(Format::Parquet);
        }
        const BINARY: [(&[u8], &str); 6] = [
            (b"ARROW1", "it is an Arrow file; convert it to JSON lines first"),
            (b"\x1f\x8b", "it is compressed with gzip; decompress it first"),
            (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; decompress it first"),
            (b"PK\x03\x04", "it is a ZIP archive; unpack it first"),
            (b"\xff\xfe", "it is text in UTF-16; save it as UTF-8"),
            (b"\xfe\xff", "it is text in UTF-16; save it as UTF-8"),
        ];
        if let Some((_, why)) = BINARY.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(why);
        }
        let extension =
            path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
        let looks_like_json = matches!(first, Some(b'[' | b'{'));
        match extension.as_deref() {
            // Not a few files of lines are called .json, and of arrays .jsonl.
            Some("jsonl" | "ndjson") if first != Some(&b'[') => Ok(Format::JsonLines),
            Some("json" | "jsonl" | "ndjson") => Ok(Format::Json),
            Some("csv") => Ok(Format::Table { delimiter: b',' }),
            Some("tsv") => Ok(Format::Table { delimiter: b'\t' }),
            Some("txt" | "md") => Ok(Format::Text),
            _ if looks_like_json => Ok(Format::Json),
            _ => Ok(Format::Text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_and_the_first_bytes_where_it_does_not() {
        let comma = Format::Table { delimiter: b',' };
        for (name, head, format) in [
            ("a.jsonl", "{}", Format::JsonLines),
            ("a.JSONL", "x", Format::JsonLines),
            ("a.jsonl", " [{}]", Format::Json),
            ("a.json", "{}", Format::Json),
            ("a.csv", "{", comma),
            ("a.tsv", "", Format::Table { delimiter: b'\t' }),
            ("a.txt", "[1]", Format::Text),
            ("a", "\u{feff} [", Format::Json),
            ("a.dat", "{", Format::Json),
            ("a", "Hello", Format::Text),
            ("a", "", Format::Text),
        ] {
            assert_eq!(Format::of(Path::new(name), head.as_bytes()), Ok(format), "{name} {head:?}");
        }
        assert_eq!(Format::of(Path::new("a"), b"PAR1..."), Ok(Format::Parquet));
        for (head, why) in
            [(&b"ARROW1.."[..], "Arrow"), (b"\x1f\x8b\x08", "gzip"), (b"\xff\xfeh\0", "UTF-16")]
        {
            let error = Format::of(Path::new("a.jsonl"), head).expect_err("no text");
            assert!(error.contains(why), "{error}");
        }
    }
}
