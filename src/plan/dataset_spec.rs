//! A dataset as it is typed: a name, the path of a file, a file of the Hub, or prompts to be made.
//!
//! Main types: [`DatasetSpec`], and [`DatasetSpecError`] beside its `FromStr`. It opens no file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use super::problem::nearest;
use super::synthetic_spec::SyntheticSpec;
use crate::model::BadName;

/// The datasets that have a name.
pub const NAMES: [&str; 3] = ["builtin", "sharegpt", "synthetic"];

/// Where prompts come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum DatasetSpec {
    /// The corpus inside this binary.
    Builtin,
    /// The public ShareGPT file, from the Hub.
    ShareGptHub,
    /// Prompts that stand in the file which asks for them, round and round.
    Inline {
        /// In their order.
        prompts: Vec<String>,
    },
    /// A file on disk, of any kind that `dataset` reads.
    File {
        /// The file.
        path: PathBuf,
    },
    /// A file of a dataset repository on the Hub, of the same kinds.
    Hub {
        /// Such as `owner/name`.
        repo: String,
        /// Its path inside the repository.
        file: String,
        /// Branch, tag or commit; `None` is `main`.
        revision: Option<String>,
    },
    /// Prompts of asked lengths, made on the spot.
    Synthetic(SyntheticSpec),
    /// The requests of a trace, with their instants.
    Trace {
        /// The file.
        path: PathBuf,
    },
}

/// A text that names no dataset. A fragment: the caller names the value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatasetSpecError {
    /// A word that is no name, and not the path of a file either.
    #[error(
        "expected builtin, sharegpt, synthetic:input=N, hf:OWNER/NAME/FILE or the path of a file{}",
        meant(.near)
    )]
    Unknown {
        /// The known name that is nearest to what was typed; `None` where none is near.
        near: Option<&'static str>,
    },
    /// `hf:` without a repository and a file.
    #[error("expected hf:OWNER/NAME/FILE or hf:OWNER/NAME/FILE@REVISION")]
    Hub,
    /// `hf:` with a part that can be no name on the Hub.
    #[error("\"{value}\" is not {expected}")]
    HubName {
        /// The part.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// `synthetic:` with something that is not understood.
    #[error("{problem}")]
    Synthetic {
        /// What was expected.
        problem: String,
    },
}

fn meant(near: &Option<&'static str>) -> String {
    near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

impl FromStr for DatasetSpec {
    type Err = DatasetSpecError;

    /// A path is whatever holds a `/`, a `\` or a `.`: a mistyped name is then an error here and
    /// not a missing file later. A file without any is written `./name`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return hub(rest);
        }
        if let Some(rest) = text.strip_prefix("synthetic:") {
            let synthetic = rest.parse().map(DatasetSpec::Synthetic);
            return synthetic.map_err(|problem| DatasetSpecError::Synthetic { problem });
        }
        match text {
            "builtin" => Ok(DatasetSpec::Builtin),
            "sharegpt" => Ok(DatasetSpec::ShareGptHub),
            "synthetic" => {
                let problem = "expected lengths, such as synthetic:input=512,output=128".to_owned();
                Err(DatasetSpecError::Synthetic { problem })
            }
            path if path.contains(['/', '\\', '.']) => {
                Ok(DatasetSpec::File { path: PathBuf::from(path) })
            }
            name => Err(DatasetSpecError::Unknown { near: nearest(name, NAMES) }),
        }
    }
}

/// `OWNER/NAME/FILE[@REVISION]`; a revision may hold slashes, as `refs/pr/1` does.
fn hub(text: &str) -> Result<DatasetSpec, DatasetSpecError> {
    let (rest, revision) = match text.split_once('@') {
        Some((rest, revision)) => (rest, Some(revision.to_owned())),
        None => (text, None),
    };
    let mut parts = rest.splitn(3, '/');
    let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(DatasetSpecError::Hub);
    let (owner, name, file) = (part()?, part()?, part()?);
    if revision.as_deref() == Some("") {
        return Err(DatasetSpecError::Hub);
    }
    let (repo, file) = (format!("{owner}/{name}"), file.to_owned());
    BadName::check(&repo, &file, revision.as_deref())
        .map_err(|bad| DatasetSpecError::HubName { value: bad.value, expected: bad.expected })?;
    Ok(DatasetSpec::Hub { repo, file, revision })
}

impl DatasetSpec {
    /// The same, with a relative path taken from `folder` (the scenario file's) instead of from
    /// the working directory.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            DatasetSpec::File { path } => DatasetSpec::File { path: folder.join(path) },
            DatasetSpec::Trace { path } => DatasetSpec::Trace { path: folder.join(path) },
            named @ (DatasetSpec::Builtin
            | DatasetSpec::ShareGptHub
            | DatasetSpec::Inline { .. }
            | DatasetSpec::Hub { .. }
            | DatasetSpec::Synthetic(_)) => named,
        }
    }

    /// Whether the lengths of its prompts are asked for instead of found, so that a filter that
    /// was written for another dataset must not meet them.
    #[must_use]
    pub const fn sets_its_own_lengths(&self) -> bool {
        matches!(self, DatasetSpec::Synthetic(_) | DatasetSpec::Trace { .. })
    }
}

impl std::fmt::Display for DatasetSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DatasetSpec::Builtin => formatter.write_str("builtin"),
            DatasetSpec::ShareGptHub => formatter.write_str("sharegpt"),
            DatasetSpec::Inline { prompts } if prompts.len() == 1 => {
                formatter.write_str("1 prompt of the file itself")
            }
            DatasetSpec::Inline { prompts } => {
                write!(formatter, "{} prompts of the file itself", prompts.len())
            }
            DatasetSpec::File { path } => write!(formatter, "{}", path.display()),
            DatasetSpec::Hub { repo, file, revision: None } => {
                write!(formatter, "hf:{repo}/{file}")
            }
            DatasetSpec::Hub { repo, file, revision: Some(revision) } => {
                write!(formatter, "hf:{repo}/{file}@{revision}")
            }
            DatasetSpec::Synthetic(spec) => write!(formatter, "synthetic:{spec}"),
            DatasetSpec::Trace { path } => write!(formatter, "trace {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        assert_eq!("builtin".parse(), Ok(DatasetSpec::Builtin));
        assert_eq!("sharegpt".parse(), Ok(DatasetSpec::ShareGptHub));
        for path in ["a.json", "./a", "/x/sharegpt", "..\\a"] {
            assert_eq!(path.parse(), Ok(DatasetSpec::File { path: path.into() }));
        }
    }

    #[test]
    fn a_file_of_the_hub_may_name_its_revision() {
        let hub = |repo: &str, file: &str, revision: Option<&str>| DatasetSpec::Hub {
            repo: repo.to_owned(),
            file: file.to_owned(),
            revision: revision.map(str::to_owned),
        };
        for (text, spec) in [
            ("hf:o/n/a.jsonl", hub("o/n", "a.jsonl", None)),
            ("hf:o/n/data/a.csv@v1", hub("o/n", "data/a.csv", Some("v1"))),
            ("hf:o/n/a.txt@refs/pr/1", hub("o/n", "a.txt", Some("refs/pr/1"))),
        ] {
            assert_eq!(text.parse(), Ok(spec.clone()));
            assert_eq!(spec.to_string(), text);
        }
        for text in ["hf:", "hf:o", "hf:o/n", "hf:o/n/", "hf:o//a", "hf:/n/a", "hf:o/n/a@"] {
            assert_eq!(text.parse::<DatasetSpec>(), Err(DatasetSpecError::Hub), "{text}");
        }
        for text in ["hf:o p/n/a", "hf:o/../a", "hf:o/n/../a", "hf:o/n/a@../b"] {
            let error = text.parse::<DatasetSpec>().expect_err(text);
            assert!(matches!(error, DatasetSpecError::HubName { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn synthetic_prompts_need_their_lengths() {
        let typed = "synthetic:input=uniform:100-900,output=32";
        assert_eq!(typed.parse::<DatasetSpec>().map(|spec| spec.to_string()), Ok(typed.to_owned()));
        let error = "synthetic".parse::<DatasetSpec>().expect_err("no lengths");
        assert!(error.to_string().contains("synthetic:input=512"), "{error}");
        assert!("synthetic:input=0".parse::<DatasetSpec>().is_err());
    }

    #[test]
    fn a_mistyped_name_is_not_taken_for_a_file() {
        let error = "sharegtp".parse::<DatasetSpec>().expect_err("no such dataset");
        assert_eq!(
            error.to_string(),
            "expected builtin, sharegpt, synthetic:input=N, hf:OWNER/NAME/FILE or the path of a file; did you mean \"sharegpt\"?"
        );
        assert!("".parse::<DatasetSpec>().is_err());
    }

    #[test]
    fn only_relative_paths_move() {
        let folder = Path::new("/s");
        let moved = |text: &str| text.parse::<DatasetSpec>().expect("valid").relative_to(folder);
        assert_eq!(moved("a.json"), DatasetSpec::File { path: "/s/a.json".into() });
        assert_eq!(moved("/b/a.json"), DatasetSpec::File { path: "/b/a.json".into() });
        assert_eq!(moved("builtin"), DatasetSpec::Builtin);
    }
}
