//! How a commit that is not in the clone is brought into it, in words and as a command to type.
//!
//! Main function: [`cure`]. Each command leaves something behind that the next call finds; a plain
//! `git fetch origin NAME` would set FETCH_HEAD alone in a clone of a single branch. It fetches nothing
//! itself.

use git2::{Reference, Repository};

use super::refs::found;

/// The most that git takes for a depth; it stands for all there is.
const WHOLE_HISTORY: u32 = 0x7fff_ffff;

/// Digits of a whole hash. A server hands out a commit by all of them, and by no fewer.
const HASH_DIGITS: usize = 40;

/// Fewer hexadecimal digits than this are rather a name.
const LEAST_HASH_DIGITS: usize = 7;

/// How far a reference goes back from the name that it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// At most so many commits; 0 where it is the name alone.
    Commits(u32),
    /// Nobody can tell without the history, such as of `^{/words}`.
    Untold,
    /// To what this clone alone has noted, such as `@{1}`.
    Noted,
}

/// What to do about a reference that the repository has nothing for.
pub(super) fn cure(repository: &Repository, reference: &str) -> String {
    let (name, back) = parts(reference);
    let is_here = found(repository, name).is_some();
    match back {
        Back::Noted => format!(
            "name a branch, a tag or a hash: \"{reference}\" asks for what this clone has noted itself"
        ),
        _ if !is_here => fetch(repository, name, back),
        _ if !repository.is_shallow() => {
            format!("\"{name}\" is here and has no such ancestor; check the rest")
        }
        Back::Commits(steps) if steps < WHOLE_HISTORY => {
            format!("bring it into the clone: git fetch --deepen={steps}")
        }
        _ => "bring it into the clone: git fetch --unshallow".to_owned(),
    }
}

/// For a name that is not here.
fn fetch(repository: &Repository, name: &str, back: Back) -> String {
    let (remote, there) = remote_of(repository, name);
    let here = match there.starts_with("refs/") {
        true => there.to_owned(),
        false => format!("refs/remotes/{remote}/{there}"),
    };
    if repository.find_remote(remote).is_err() || !Reference::is_valid_name(&here) {
        return "check its spelling: it must be a branch, a tag or a hash".to_owned();
    }
    let shallow = repository.is_shallow();
    let depth = match back {
        Back::Commits(steps) if shallow && steps < WHOLE_HISTORY => {
            format!("--depth={} ", steps + 1)
        }
        _ => String::new(),
    };
    let what = match digits(name) {
        Some(HASH_DIGITS) => name.to_owned(),
        Some(_) => {
            return format!(
                "check its spelling, or bring it here by all {HASH_DIGITS} digits of its hash: git fetch {depth}{remote} HASH"
            );
        }
        None => format!("{there}:{here}"),
    };
    let words =
        if shallow { "bring it into the clone" } else { "check its spelling, or bring it here" };
    format!("{words}: git fetch {depth}{remote} {what}")
}

/// The remote that a name begins with, and the name there; `origin` where it begins with none.
fn remote_of<'name>(repository: &Repository, name: &'name str) -> (&'name str, &'name str) {
    let plain = name.strip_prefix("refs/remotes/").unwrap_or(name);
    match plain.split_once('/') {
        Some((remote, branch)) if repository.find_remote(remote).is_ok() => (remote, branch),
        _ => ("origin", plain),
    }
}

/// How many digits of a hash the name is; `None` where it is a word.
fn digits(name: &str) -> Option<usize> {
    let hexadecimal = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = name.bytes().any(|byte| byte.is_ascii_digit());
    (hexadecimal && number && (LEAST_HASH_DIGITS..=HASH_DIGITS).contains(&name.len()))
        .then_some(name.len())
}

/// The name that a reference begins with, and how far it goes back from there.
fn parts(reference: &str) -> (&str, Back) {
    let signs = ["~", "^", ":", "@{"];
    let end = signs.iter().filter_map(|sign| reference.find(sign)).min();
    let (name, rest) = reference.split_at(end.unwrap_or(reference.len()));
    let back = if rest.contains("@{") {
        Back::Noted
    } else {
        steps(rest).map_or(Back::Untold, Back::Commits)
    };
    (name, back)
}

/// Of `~`, `~3`, `^`, `^2` and several of them; `None` of anything else.
fn steps(mut rest: &str) -> Option<u32> {
    let mut steps: u32 = 0;
    while let Some(sign) = rest.chars().next() {
        let after = rest.get(sign.len_utf8()..)?;
        rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = match &after[..after.len() - rest.len()] {
            "" => 1,
            digits => digits.parse().unwrap_or(WHOLE_HISTORY),
        };
        steps = steps.saturating_add(match sign {
            '~' => number,
            // Whichever parent it is.
            '^' => number.min(1),
            _ => return None,
        });
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_and_a_way_back() {
        for (reference, name, back) in [
            ("main", "main", Back::Commits(0)),
            ("HEAD~", "HEAD", Back::Commits(1)),
            ("HEAD~12", "HEAD", Back::Commits(12)),
            ("origin/main^^2~3^0", "origin/main", Back::Commits(5)),
            ("v1~99999999999999999999", "v1", Back::Commits(WHOLE_HISTORY)),
            ("main^{/a fix}", "main", Back::Untold),
            (":/a fix", "", Back::Untold),
            ("main:src", "main", Back::Untold),
            ("main@{upstream}~1", "main", Back::Noted),
            ("HEAD~1@{2}", "HEAD", Back::Noted),
        ] {
            assert_eq!(parts(reference), (name, back), "{reference}");
        }
    }

    #[test]
    fn a_hash_is_told_from_a_word() {
        assert_eq!(digits("0123abc"), Some(7));
        assert_eq!(digits(&"4".repeat(40)), Some(40));
        for word in ["", "main", "facade", "defaced", "12", "v1.0.0-7"] {
            assert_eq!(digits(word), None, "{word}");
        }
    }
}
