//! What is asked of the Hub, checked so that it can be part of an address and of a path.
//!
//! Main type: [`HubAsk`]; what cannot be asked is a [`BadName`].

use std::fmt;

use reqwest::Url;

use super::{HubError, HubFault};
use crate::event::Stage;
use crate::model::environment::Environment;

/// The Hub's kinds of repositories that bench-ci reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset, whose addresses begin with `datasets/`.
    Dataset,
}

/// A file of a repository on a Hub.
#[derive(Clone, PartialEq, Eq)]
pub struct HubAsk {
    /// What kind of repository it is.
    pub kind: RepoKind,
    /// Such as `ggml-org/models`.
    pub repo: String,
    /// Such as `tinyllamas/stories15M.gguf`.
    pub file: String,
    /// Branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
    /// The Hub's address, without user and password.
    pub endpoint: String,
    /// The address that is really asked.
    pub(super) base: Url,
}

impl RepoKind {
    /// The stage of a run in which such a file is fetched.
    pub(super) const fn stage(self) -> Stage {
        match self {
            RepoKind::Model => Stage::Model,
            RepoKind::Dataset => Stage::Dataset,
        }
    }
}

impl HubAsk {
    /// Checks the names.
    ///
    /// # Errors
    ///
    /// [`HubFault::BadName`] and [`HubFault::BadEndpoint`].
    pub fn new(
        kind: RepoKind,
        repo: &str,
        file: &str,
        revision: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Box<HubError>> {
        let parsed = Url::parse(&environment.hub_endpoint);
        let nowhere = || Url::parse("http://invalid").expect("a constant address");
        let base = parsed.clone().unwrap_or_else(|_| nowhere());
        let shown = without_password(base.clone()).unwrap_or_else(nowhere);
        let ask = Self {
            kind,
            repo: repo.to_owned(),
            file: file.to_owned(),
            revision: revision.map(str::to_owned),
            endpoint: shown.as_str().trim_end_matches('/').to_owned(),
            base,
        };
        match parsed {
            Err(error) => {
                return Err(ask.failed(HubFault::BadEndpoint { reason: error.to_string() }));
            }
            Ok(url) if !["http", "https"].contains(&url.scheme()) => {
                let reason = "expected http:// or https://".to_owned();
                return Err(ask.failed(HubFault::BadEndpoint { reason }));
            }
            Ok(_) => {}
        }
        BadName::check(repo, file, revision).map_err(|bad| ask.failed(bad.into()))?;
        Ok(ask)
    }

    /// The same repository and revision, another file.
    pub(super) fn with_file(&self, file: &str) -> Self {
        Self { file: file.to_owned(), ..self.clone() }
    }

    /// The revision that is asked for.
    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Where the Hub has the file.
    pub(super) fn resolve_url(&self) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .pop_if_empty()
            .extend((self.kind == RepoKind::Dataset).then_some("datasets"))
            .extend(self.repo.split('/'))
            // `push` encodes the slashes of refs/pr/1, as the Hub wants it.
            .push("resolve")
            .push(self.revision())
            .extend(self.file.split('/'));
        url
    }

    /// An error about this.
    pub(super) fn failed(&self, fault: HubFault) -> Box<HubError> {
        Box::new(HubError { ask: self.clone(), fault })
    }
}

impl fmt::Debug for HubAsk {
    /// Without the address that is really asked, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HubAsk({self})")
    }
}

impl fmt::Display for HubAsk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind: _, repo, file, revision, endpoint, base: _ } = self;
        write!(formatter, "\"{file}\" of \"{repo}\"")?;
        if let Some(revision) = revision {
            write!(formatter, " at \"{revision}\"")?;
        }
        write!(formatter, " from {endpoint}")
    }
}

/// The address without user and password; `None` of one that can have neither, such as a file's.
fn without_password(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// What was typed and cannot be a name on the Hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value \"{value}\" for {flag}: expected {expected}")]
pub struct BadName {
    /// Which flag.
    pub flag: &'static str,
    /// Its value.
    pub value: String,
    /// What it takes.
    pub expected: &'static str,
}

impl BadName {
    /// What to do about it.
    pub const HINT: &'static str =
        "such as --hf-repo ggml-org/models --hf-file tinyllamas/stories15M.gguf";

    /// Whether these can be part of an address and of a path.
    ///
    /// # Errors
    ///
    /// The first that cannot.
    pub fn check(repo: &str, file: &str, revision: Option<&str>) -> Result<(), Self> {
        let bad =
            |flag, value: &str, expected| Err(Self { flag, value: value.to_owned(), expected });
        let segments: Vec<&str> = repo.split('/').collect();
        if segments.len() > 2 || !segments.iter().all(|segment| is_plain_name(segment)) {
            return bad(
                "--hf-repo",
                repo,
                "OWNER/NAME of letters, digits, dots, dashes and underscores",
            );
        }
        if !is_relative_path(file) {
            return bad("--hf-file", file, "a path inside the repository");
        }
        match revision {
            Some(revision) if !is_relative_path(revision) => {
                bad("--hf-revision", revision, "a branch, tag or commit")
            }
            _ => Ok(()),
        }
    }
}

/// Whether the text can be one folder's name anywhere.
pub(super) fn is_plain_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether the text stays below the folder that it is joined to.
fn is_relative_path(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && text.split('/').all(|part| {
            !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '\n', '\r'])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(repo: &str, file: &str, revision: Option<&str>) -> Result<HubAsk, Box<HubError>> {
        let environment = Environment::from_variables(|name| {
            (name == "HF_ENDPOINT").then(|| "http://user:secret@hub.test/mirror/".to_owned())
        });
        HubAsk::new(RepoKind::Model, repo, file, revision, &environment)
    }

    #[test]
    fn names_become_one_address_and_the_password_is_not_shown() {
        let ask = ask("o/n", "a b/c#1.gguf", Some("refs/pr/1")).unwrap();
        assert_eq!(ask.resolve_url().path(), "/mirror/o/n/resolve/refs%2Fpr%2F1/a%20b/c%231.gguf");
        assert_eq!(
            ask.to_string(),
            "\"a b/c#1.gguf\" of \"o/n\" at \"refs/pr/1\" from http://hub.test/mirror"
        );
        let error = ask.failed(HubFault::NotFound);
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn an_endpoint_that_is_no_address_of_a_hub_is_refused_whatever_it_is() {
        for endpoint in ["file://server/x", "file:///x", "mailto:x", "ftp://u:secret@h/", "", "x"] {
            let environment = Environment::from_variables(|name| {
                (name == "HF_ENDPOINT").then(|| endpoint.to_owned())
            });
            let asked = HubAsk::new(RepoKind::Model, "o/n", "f", None, &environment);
            if endpoint.is_empty() {
                assert!(asked.is_ok(), "an empty variable is none");
                continue;
            }
            let error = asked.unwrap_err();
            assert!(matches!(error.fault, HubFault::BadEndpoint { .. }), "{endpoint}: {error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for (repo, file, revision) in [
            ("..", "f", None),
            ("a/b/c", "f", None),
            ("a/..", "f", None),
            ("", "f", None),
            ("o/n", "../f", None),
            ("o/n", "/etc/passwd", None),
            ("o/n", "", None),
            ("o/n", "f", Some("../main")),
            ("o/n", "f", Some("")),
        ] {
            let refused = ask(repo, file, revision).unwrap_err();
            assert!(matches!(refused.fault, HubFault::BadName(_)), "{repo} {file} {revision:?}");
        }
    }
}
