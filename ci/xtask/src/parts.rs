//! The real parts that some tests need: each is had once, kept in the cache, and handed to the tests
//! by a variable of its own.
//!
//! Main types: [`Part`] and [`Scope`]. A test that needs a part has the part's marker in its path; so
//! it can be left out, on request and counted, and never silently.

use std::path::PathBuf;

use crate::failure::{Failure, Result};
use crate::{chromium, llama_server, mermaid, prometheus, readers};

/// A real part that some tests need.
#[derive(Debug)]
pub(crate) struct Part {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What the path of each test that needs it contains.
    pub(crate) marker: &'static str,
    /// Where the tests find it.
    pub(crate) variable: &'static str,
    /// Finds it, after getting it if need be.
    pub(crate) ensure: fn() -> Result<PathBuf>,
}

/// All of them.
pub(crate) const PARTS: [Part; 5] = [
    Part {
        name: "llama-server",
        marker: "real_llama_server",
        variable: "BENCH_CI_TEST_LLAMA_SERVER",
        ensure: llama_server::ensure,
    },
    Part {
        name: "mermaid",
        marker: "real_mermaid",
        variable: "BENCH_CI_TEST_MERMAID",
        ensure: mermaid::ensure,
    },
    Part {
        name: "readers",
        marker: "real_readers",
        variable: "BENCH_CI_TEST_READERS",
        ensure: readers::ensure,
    },
    Part {
        name: "chromium",
        marker: "real_chromium",
        variable: "BENCH_CI_TEST_CHROMIUM",
        ensure: chromium::ensure,
    },
    Part {
        name: "prometheus",
        marker: "real_prometheus",
        variable: "BENCH_CI_TEST_PROMETHEUS",
        ensure: prometheus::ensure,
    },
];

/// The part of this name.
pub(crate) fn part(name: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.name == name)
}

/// Which tests may run: all but those that need one of the parts that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    left_out: Vec<&'static str>,
}

impl Scope {
    /// Reads `--without PART`, as often as it is given.
    pub(crate) fn from_flags(rest: &[String]) -> Result<Self> {
        let mut scope = Self::default();
        for pair in rest.chunks(2) {
            let named = match pair {
                [flag, name] if flag == "--without" => part(name),
                _ => None,
            };
            let Some(part) = named else {
                let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
                return Err(Failure::new(format!("unexpected argument \"{}\"", pair.join(" ")))
                    .hint(format!("expected --without {}", names.join(" or "))));
            };
            scope.left_out.push(part.name);
        }
        Ok(scope)
    }

    /// Whether tests that need this part may run.
    pub(crate) fn has(&self, part: &Part) -> bool {
        !self.left_out.contains(&part.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Scope> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Scope::from_flags(&words).ok()
    }

    #[test]
    fn only_a_part_can_be_left_out_and_only_by_name() {
        assert_eq!(scope(""), Some(Scope::default()));
        let without = scope("--without llama-server").expect("a part");
        let left_out = |scope: &Scope| PARTS.iter().filter(|part| !scope.has(part)).count();
        assert_eq!(left_out(&without), 1);
        let both = scope("--without llama-server --without mermaid").expect("two parts");
        assert_eq!(left_out(&both), 2);
        for wrong in ["--without tests", "--without", "tidy", "--without mermaid tidy"] {
            assert_eq!(scope(wrong), None, "{wrong}");
        }
    }
}
