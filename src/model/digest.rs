//! The sha-256 of models, computed off the async threads and remembered.
//!
//! Main functions: [`of_model`] and [`of_file`]. What is remembered is keyed by path, size and
//! modification time, so that a changed file is read again.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::{ModelError, ModelFile};

/// Read at once: large enough that system calls do not count, small enough to stay in cache.
const BLOCK_BYTES: usize = 1 << 18;

/// See [`ModelFile::digest`].
pub(super) async fn of_model(model: &ModelFile) -> Result<String, ModelError> {
    let parts = model.parts.clone();
    let expected = model.expected_sha256.clone();
    let remembered = model.digests.clone();
    super::aside(move || {
        let mut digests = Vec::new();
        for (path, expected) in parts.iter().zip(&expected) {
            let found = of_file_remembered(path, remembered.as_deref())?;
            match expected {
                Some(expected) if *expected != found => {
                    let expected = expected.clone();
                    return Err(ModelError::CachedDigest { path: path.clone(), expected, found });
                }
                _ => digests.push(found),
            }
        }
        Ok(of_parts(&digests))
    })
    .await
}

/// The model's digest from its parts': the only one, or that of all of them as lines.
pub(super) fn of_parts(digests: &[String]) -> String {
    match digests {
        [only] => only.clone(),
        _ => {
            let mut hasher = Sha256::new();
            for digest in digests {
                hasher.update(digest.as_bytes());
                hasher.update(b"\n");
            }
            in_hex(hasher)
        }
    }
}

/// The file's digest.
pub(super) fn of_file(path: &Path) -> Result<String, ModelError> {
    let mut hasher = Sha256::new();
    feed(&mut hasher, path)?;
    Ok(in_hex(hasher))
}

/// Adds a file's bytes to a digest in the making.
pub(super) fn feed(hasher: &mut Sha256, path: &Path) -> Result<u64, ModelError> {
    let mut file = std::fs::File::open(path).map_err(|error| ModelError::read(path, error))?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut block).map_err(|error| ModelError::read(path, error))?;
        if read == 0 {
            return Ok(bytes);
        }
        hasher.update(&block[..read]);
        bytes += read as u64;
    }
}

/// 64 lower-case hex digits.
pub(super) fn in_hex(hasher: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

/// Whether this is a sha-256 in hex, as the Hub's etag of a large file is.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn of_file_remembered(
    path: &Path,
    remembered: Option<&Path>,
) -> Result<String, ModelError> {
    let note = remembered.and_then(|folder| note_path(path, folder));
    if let Some(note) = &note
        && let Ok(digest) = std::fs::read_to_string(note)
        && is_sha256(digest.trim())
    {
        return Ok(digest.trim().to_owned());
    }
    let digest = of_file(path)?;
    if let Some(note) = note {
        remember(&note, &digest);
    }
    Ok(digest)
}

/// Where the digest of this file in its present state is remembered.
fn note_path(path: &Path, folder: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut hasher = Sha256::new();
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(metadata.len().to_le_bytes());
    hasher.update(modified.as_nanos().to_le_bytes());
    Some(folder.join(in_hex(hasher)))
}

/// Best effort: a digest that is not remembered is computed again.
fn remember(note: &Path, digest: &str) {
    let Some(folder) = note.parent() else { return };
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::NamedTempFile::new_in(folder))
        .and_then(|file| std::fs::write(file.path(), digest).map(|()| file));
    if let Ok(file) = written {
        drop(file.persist(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let notes = folder.path().join("notes");
        std::fs::write(&path, "abc").unwrap();
        let first = of_file_remembered(&path, Some(&notes)).unwrap();
        assert_eq!(first, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

        // The note is what answers, as long as the file is the same.
        let note = note_path(&path, &notes).unwrap();
        std::fs::write(&note, "0".repeat(64)).unwrap();
        assert_eq!(of_file_remembered(&path, Some(&notes)).unwrap(), "0".repeat(64));

        std::fs::write(&path, "abcd").unwrap();
        let changed = of_file_remembered(&path, Some(&notes)).unwrap();
        assert_eq!(changed, "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589");
    }

    #[test]
    fn a_split_model_has_the_digest_of_its_parts_digests() {
        // printf '%s\n' aa bb | sha256sum
        let digest = of_parts(&["aa".to_owned(), "bb".to_owned()]);
        assert_eq!(digest, "329d670e59ead1543a2d36865895972560bc434204c5f4a0c8219005dd312719");
    }
}
