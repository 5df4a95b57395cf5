//! Reports that strangers may have written, checked before a line of them is shown.
//!
//! Main function: [`take_in`]. A pull request from a fork runs the fork's code, and that code writes
//! the artifact; so names, sizes, schema, numbers and texts are checked here, and what it claims
//! about itself is held against what GitHub says. What is refused is named with its reason, and its
//! place on the page stays: a broken report must not look like a missing one.

mod inspect;
mod unpack;

use std::path::Path;

pub use inspect::{Expected, Refusal};

use crate::report::comment::{Cell, Content};

/// The only files that are read.
pub(crate) const REPORTS: [&str; 3] = ["ab.json", "report.json", "suite.json"];
/// Files of all artifacts together; a matrix has one or two a job.
pub const MOST_FILES: usize = 64;
/// Of one file. A comparison of sixteen pairs has about 60 kB, a cell of a suite 9 kB, and a run beside a server
/// that offers thousands of metrics 300 bytes for each.
pub const MOST_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Of an archive, which may be packed badly.
pub(crate) const MOST_ARCHIVE_BYTES: u64 = 2 * MOST_FILE_BYTES;
/// What an artifact's name begins with, where the action has uploaded it.
pub const ARTIFACT_PREFIX: &str = "bench-ci-";

/// A file of an artifact, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    /// The artifact, or the folder it lies in.
    pub(super) artifact: String,
    /// Its bytes, or why they were not read.
    pub(super) content: Result<Vec<u8>, Refusal>,
}

/// What was taken in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Intake {
    /// One for each report, the refused ones too.
    pub cells: Vec<Cell>,
    /// What was refused: its name and why.
    pub refused: Vec<(String, Refusal)>,
}

impl Intake {
    /// Notes something that was not even read.
    pub(crate) fn refuse(&mut self, artifact: &str, refusal: Refusal) {
        let parcel = Parcel { artifact: artifact.to_owned(), content: Err(refusal) };
        self.look_into(parcel, &Expected::default());
    }

    fn look_into(&mut self, parcel: Parcel, expected: &Expected) {
        let name = parcel.artifact.strip_prefix(ARTIFACT_PREFIX).unwrap_or(&parcel.artifact);
        let twice = self.cells.iter().any(|cell| cell.name == name);
        let looked = inspect::name(name).and(parcel.content).and_then(|bytes| {
            if twice { Err(Refusal::Twice) } else { inspect::report(&bytes, expected) }
        });
        match looked {
            Ok(content) => self.cells.push(Cell { name: name.to_owned(), content }),
            Err(refusal) => {
                let content = Content::Nothing(format!("its report was refused: {refusal}"));
                // Two of one name: neither is more to be believed than the other.
                match self.cells.iter_mut().find(|cell| cell.name == name) {
                    Some(first) => first.content = content,
                    None => self.cells.push(Cell { name: inspect::harmless(name), content }),
                }
                self.refused.push((inspect::harmless(name), refusal));
            }
        }
    }
}

/// A report by itself, held to the same rules.
pub(crate) fn report(bytes: &[u8], expected: &Expected) -> Result<Content, Refusal> {
    inspect::report(bytes, expected)
}

/// Whether a configuration may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    inspect::name(name).is_ok()
}

/// Reads artifacts: folders as `actions/download-artifact` leaves them, their zip archives, or single
/// reports.
#[must_use]
pub fn take_in(paths: &[&Path], expected: &Expected) -> Intake {
    let parcels = paths.iter().flat_map(|path| unpack::read(path)).collect();
    look_into(parcels, expected)
}

/// The same for an archive in memory, as GitHub's API hands it out.
#[must_use]
pub fn take_in_archives(archives: &[(String, Vec<u8>)], expected: &Expected) -> Intake {
    let parcels = archives.iter().flat_map(|(name, bytes)| unpack::unzip(name, bytes)).collect();
    look_into(parcels, expected)
}

fn look_into(mut parcels: Vec<Parcel>, expected: &Expected) -> Intake {
    let mut intake = Intake::default();
    if parcels.len() > MOST_FILES {
        let files = parcels.len();
        parcels.truncate(MOST_FILES);
        intake.refused.push(("the rest".to_owned(), Refusal::TooManyFiles { files }));
    }
    for parcel in parcels {
        intake.look_into(parcel, expected);
    }
    intake
}
