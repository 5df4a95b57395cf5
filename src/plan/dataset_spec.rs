//! A dataset as it is typed: `builtin`, `sharegpt`, or the path of a file.
//!
//! Main type: [`DatasetSpecError`], beside the `FromStr` of [`DatasetSpec`]. It opens no file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use super::DatasetSpec;
use super::problem::nearest;

/// The datasets that have a name.
pub const NAMES: [&str; 2] = ["builtin", "sharegpt"];

/// A text that names no dataset. A fragment: the caller names the value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected builtin, sharegpt or the path of a ShareGPT-shaped JSON file{}", meant(.near))]
pub struct DatasetSpecError {
    /// The known name that is nearest to what was typed; `None` where none is near.
    pub near: Option<&'static str>,
}

fn meant(near: &Option<&'static str>) -> String {
    near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}

impl FromStr for DatasetSpec {
    type Err = DatasetSpecError;

    /// A path is whatever holds a `/`, a `\` or a `.`: a mistyped name is then an error here and
    /// not a missing file later. A file without any is written `./name`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "builtin" => Ok(DatasetSpec::Builtin),
            "sharegpt" => Ok(DatasetSpec::ShareGptHub),
            path if path.contains(['/', '\\', '.']) => {
                Ok(DatasetSpec::ShareGptFile { path: PathBuf::from(path) })
            }
            name => Err(DatasetSpecError { near: nearest(name, NAMES) }),
        }
    }
}

impl DatasetSpec {
    /// The same, with a relative path taken from `folder` (the scenario file's) instead of from
    /// the working directory.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            DatasetSpec::ShareGptFile { path } => {
                DatasetSpec::ShareGptFile { path: folder.join(path) }
            }
            named @ (DatasetSpec::Builtin
            | DatasetSpec::ShareGptHub
            | DatasetSpec::Inline { .. }) => named,
        }
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
            DatasetSpec::ShareGptFile { path } => write!(formatter, "{}", path.display()),
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
            assert_eq!(path.parse(), Ok(DatasetSpec::ShareGptFile { path: path.into() }));
        }
    }

    #[test]
    fn a_mistyped_name_is_not_taken_for_a_file() {
        let error = "sharegtp".parse::<DatasetSpec>().expect_err("no such dataset");
        assert_eq!(
            error.to_string(),
            "expected builtin, sharegpt or the path of a ShareGPT-shaped JSON file; did you mean \"sharegpt\"?"
        );
        assert!("".parse::<DatasetSpec>().is_err());
    }

    #[test]
    fn only_relative_paths_move() {
        let folder = Path::new("/s");
        let moved = |text: &str| text.parse::<DatasetSpec>().expect("valid").relative_to(folder);
        assert_eq!(moved("a.json"), DatasetSpec::ShareGptFile { path: "/s/a.json".into() });
        assert_eq!(moved("/b/a.json"), DatasetSpec::ShareGptFile { path: "/b/a.json".into() });
        assert_eq!(moved("builtin"), DatasetSpec::Builtin);
    }
}
