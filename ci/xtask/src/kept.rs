//! What is downloaded or built once and kept outside `target/`, so that a clean build keeps it.
//!
//! Main function: [`kept`]. Things are made under a lock file, so that two runs do not collide.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::shell::io;

/// What `find` finds in the folder `name` of the cache, after `make` has filled it if need be.
///
/// `find` looks hard enough that something half made is not taken for whole; `make` copes with what
/// an earlier, interrupted one left behind.
pub(crate) fn kept<T>(
    name: &str,
    find: impl Fn(&Path) -> Option<T>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<T> {
    let cache = cache_dir()?;
    let folder = cache.join(name);
    if let Some(found) = find(&folder) {
        return Ok(found);
    }
    fs::create_dir_all(&cache).map_err(io("make the folder", &cache))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(io("make the lock file", &lock_path))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another run that is making {}", folder.display());
        lock.lock().map_err(io("lock", &lock_path))?;
    }
    // Held until `lock` goes out of scope, also if we are killed. Whoever held it may have made it.
    if let Some(found) = find(&folder) {
        return Ok(found);
    }
    make(&folder)?;
    find(&folder).ok_or_else(|| {
        Failure::new(format!("\"{}\" was made, but does not work", folder.display()))
            .hint(format!("remove \"{}\" and try again", folder.display()))
    })
}

/// Where downloads and builds of the tests are kept.
fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| {
        std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    })
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let own = variable("BENCH_CI_CACHE");
    let dir = own
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("bench-ci")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/bench-ci")))
        .ok_or_else(|| {
            Failure::new("no folder to keep the tests' parts in").hint("set BENCH_CI_CACHE or HOME")
        })?;
    // Commands run in the root of the repository, so a relative path must not mean two places.
    Ok(std::path::absolute(&dir).unwrap_or(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_help_says() {
        let from = |set: &[(&str, &str)]| {
            let set: Vec<(String, PathBuf)> = set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), PathBuf::from(value)))
                .collect();
            cache_dir_from(move |name| {
                set.iter().find(|(set_name, _)| set_name == name).map(|(_, value)| value.clone())
            })
            .ok()
        };
        let all = [("BENCH_CI_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
        assert_eq!(from(&all), Some(PathBuf::from("/a")));
        assert_eq!(from(&all[1..]), Some(PathBuf::from("/b/bench-ci")));
        assert_eq!(from(&all[2..]), Some(PathBuf::from("/c/.cache/bench-ci")));
        assert_eq!(from(&[]), None);
    }
}
