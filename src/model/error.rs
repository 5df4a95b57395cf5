//! Every way in which a model cannot be had, each with what to do about it.
//!
//! Main type: [`ModelError`]. What can go wrong with the Hub is in [`super::hub::HubError`].

use std::io;
use std::path::{Path, PathBuf};

use super::gguf::GgufError;
use super::gguf::bytes_in_words;
use super::hub::{HubError, HubFault};
use super::synthetic::ShapeError;
use crate::cancel::StopReason;
use crate::exit::ExitCode;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The run was stopped meanwhile.
    #[error("stopped while getting the model")]
    Cancelled(StopReason),
    /// The shape of a synthetic model makes no sense.
    #[error("cannot make a synthetic model: {0}")]
    Shape(#[from] ShapeError),
    /// The file is not there.
    #[error("cannot use the model: no such file \"{}\"", path.display())]
    NoFile {
        /// What was asked for.
        path: PathBuf,
        /// GGUF files in the same folder with names like it, the nearest first; may be empty.
        nearest: Vec<String>,
    },
    /// The path is a folder or a device.
    #[error("cannot use the model: \"{}\" is not a file", path.display())]
    NotAFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// A part of a split model is not there.
    #[error(
        "cannot use the split model \"{}\": part {index} of {count} is missing: no such file \"{}\"",
        path.display(),
        part.display()
    )]
    MissingPart {
        /// What was asked for.
        path: PathBuf,
        /// The missing part's file.
        part: PathBuf,
        /// Its number, from 1.
        index: u32,
        /// How many parts there are.
        count: u32,
    },
    /// The file is not a whole GGUF.
    #[error("cannot use the model \"{}\": {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// The file could not be read.
    #[error("cannot read \"{}\": {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The file or folder could not be written.
    #[error("cannot write \"{}\": {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// No room for the file.
    #[error(
        "cannot write \"{}\": the disk is full{}",
        path.display(),
        needed_in_words(*needed_bytes, *free_bytes)
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What is still to be written, in bytes; `None` where nobody said.
        needed_bytes: Option<u64>,
        /// What is free, in bytes; `None` where the system did not say.
        free_bytes: Option<u64>,
    },
    /// The file on disk is not what its place in the cache says.
    #[error(
        "cannot use the model \"{}\": its sha-256 is \"{found}\", expected \"{expected}\"",
        path.display()
    )]
    CachedDigest {
        /// The file.
        path: PathBuf,
        /// The digest that the Hub announced for it.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// Neither `BENCH_CI_CACHE` nor a home folder says where to keep made files.
    #[error("cannot make a synthetic model: no folder to keep it in, because HOME is not set")]
    NoCacheFolder,
    /// The Hub did not give it.
    #[error(transparent)]
    Hub(#[from] Box<HubError>),
}

impl ModelError {
    /// What to do about it, as a line of its own; `None` where there is nothing to add.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ModelError::Cancelled(_) => return None,
            ModelError::Shape(error) => error.hint(),
            ModelError::NoFile { nearest, .. } if !nearest.is_empty() => {
                format!("in that folder there is {}", quoted_list(nearest))
            }
            ModelError::NoFile { .. } | ModelError::NotAFile { .. } => {
                "pass --model FILE.gguf, --hf-repo with --hf-file, or --model synthetic".to_owned()
            }
            ModelError::MissingPart { .. } => {
                "all parts must lie in one folder; fetch the missing one, or use --hf-repo, which fetches all"
                    .to_owned()
            }
            ModelError::Unreadable { source, .. } if !source.is_damage() => {
                "this build reads GGUF 2 and 3; look for a newer bench-ci".to_owned()
            }
            ModelError::Unreadable { .. } => {
                "fetch or convert the file again; bench-ci model inspect FILE shows what is readable"
                    .to_owned()
            }
            ModelError::Read { .. } => "check that this user may read it".to_owned(),
            ModelError::Write { .. } => {
                "check that this user may write there, or choose another place with \
                 --model-path-prefix, HF_HOME or BENCH_CI_CACHE"
                    .to_owned()
            }
            ModelError::DiskFull { .. } => {
                "free some space, or choose another place with --model-path-prefix, HF_HOME or BENCH_CI_CACHE"
                    .to_owned()
            }
            ModelError::CachedDigest { path, .. } => {
                format!("delete \"{}\" and run again to fetch it anew", path.display())
            }
            ModelError::NoCacheFolder => {
                "set BENCH_CI_CACHE to a folder that may be written".to_owned()
            }
            ModelError::Hub(error) => return error.hint(),
        })
    }

    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ModelError::Cancelled(StopReason::Interrupted) => ExitCode::Interrupted,
            ModelError::Cancelled(StopReason::Terminated) => ExitCode::Terminated,
            ModelError::Shape(_) => ExitCode::Usage,
            ModelError::Hub(error) if matches!(error.fault, HubFault::BadName(_)) => {
                ExitCode::Usage
            }
            _ => ExitCode::Model,
        }
    }

    /// A failed write, told apart by its cause. `needed_bytes` is what was still to be written.
    pub(crate) fn write(path: &Path, source: io::Error, needed_bytes: Option<u64>) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ModelError::DiskFull {
                path: path.to_owned(),
                needed_bytes,
                free_bytes: free_bytes(path),
            },
            _ => ModelError::Write { path: path.to_owned(), source },
        }
    }

    /// A failed read.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        ModelError::Read { path: path.to_owned(), source }
    }
}

/// Bytes free for this user on the file system of the path; `None` where the system does not say.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    // The file itself may not exist yet; the nearest folder above it does.
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let figures = nix::sys::statvfs::statvfs(existing).ok()?;
    #[expect(clippy::useless_conversion, reason = "the widths of these fields differ by platform")]
    u64::from(figures.blocks_available()).checked_mul(u64::from(figures.fragment_size()))
}

fn needed_in_words(needed_bytes: Option<u64>, free_bytes: Option<u64>) -> String {
    match (needed_bytes, free_bytes) {
        (Some(needed), Some(free)) => {
            format!(", {} still needed and {} free", bytes_in_words(needed), bytes_in_words(free))
        }
        (Some(needed), None) => format!(", {} still needed", bytes_in_words(needed)),
        (None, _) => String::new(),
    }
}

/// Such as `"a", "b"`.
pub(crate) fn quoted_list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// The names most like the wanted one, the nearest first, at most `count`.
///
/// Names that are hardly like it are left out, unless `count` or fewer names exist at all.
pub(crate) fn nearest_names(
    wanted: &str,
    names: impl Iterator<Item = String>,
    count: usize,
) -> Vec<String> {
    let mut scored: Vec<(f64, String)> =
        names.map(|name| (strsim::jaro_winkler(wanted, &name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let few = scored.len() <= count;
    // 0.7: typing errors and other quantizations of a model lie above, other models below.
    scored.retain(|(likeness, _)| few || *likeness >= 0.7);
    scored.truncate(count);
    scored.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_a_forbidden_one() {
        let path = Path::new("/somewhere/model.gguf");
        let full = ModelError::write(path, io::Error::from_raw_os_error(28), Some(4_200_000_000));
        let text = full.to_string();
        assert!(text.contains("the disk is full, 4.20 GB still needed"), "{text}");
        assert!(full.hint().is_some_and(|hint| hint.contains("--model-path-prefix")));

        let forbidden = ModelError::write(path, io::Error::from_raw_os_error(13), None);
        assert!(matches!(forbidden, ModelError::Write { .. }));
        assert_eq!(forbidden.exit_code(), ExitCode::Model);
    }

    #[test]
    fn the_nearest_name_comes_first() {
        let names = ["model-q4_0.gguf", "README.md", "model-q8_0.gguf", "x", "y"];
        let nearest =
            nearest_names("model-q4.gguf", names.iter().map(|name| (*name).to_owned()), 2);
        assert_eq!(nearest, ["model-q4_0.gguf", "model-q8_0.gguf"]);
    }
}
