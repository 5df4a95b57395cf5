//! Every way in which a file can fail to be a readable GGUF.
//!
//! Main type: [`GgufError`]. It does not name the file; the caller does.

use std::io;

/// Why a file cannot be read as GGUF.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it begins with {found}, expected \"GGUF\"")]
    Magic {
        /// The first bytes, made printable.
        found: String,
    },
    /// A version that this build does not read.
    #[error("GGUF version {found}, expected 2 or 3")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The file was written for a big-endian machine.
    #[error(
        "a big-endian GGUF (version {version}), which neither this build nor llama.cpp on this machine reads"
    )]
    BigEndian {
        /// The version, read in the file's byte order.
        version: u32,
    },
    /// The file ends before something that it announces.
    #[error("truncated: {what} needs bytes up to {needed_bytes}, but the file has {length_bytes}")]
    Truncated {
        /// What did not fit.
        what: String,
        /// Where it would end, in bytes from the start of the file.
        needed_bytes: u64,
        /// The file's size in bytes.
        length_bytes: u64,
    },
    /// A number that no model has.
    #[error("corrupt: {what} is {value}, more than the {limit} that a model can have")]
    Absurd {
        /// Which number.
        what: String,
        /// Its value.
        value: u64,
        /// The largest that is read.
        limit: u64,
    },
    /// A key whose value has an unknown type.
    #[error("corrupt: key \"{key}\" has value type {kind}, expected 0 to 12")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number in the file.
        kind: u32,
    },
    /// An alignment that is not a power of two.
    #[error("corrupt: general.alignment is {found}, expected a power of two")]
    Alignment {
        /// The value in the file.
        found: u64,
    },
    /// The file could not be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

impl GgufError {
    /// Whether the file is damaged, as opposed to newer than this build.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(self, GgufError::Version { found } if *found > 3)
    }
}
