//! A real browser, for the pages with charts.

use std::path::PathBuf;

use crate::debian::needs;
use crate::failure::{Failure, Result};
use crate::shell;

/// What it is called: on Debian, elsewhere, and on GitHub's runners.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The program.
pub(crate) fn ensure() -> Result<PathBuf> {
    let why = "the pages with charts are checked in a real browser";
    needs("chromium", "chromium", why, || find().is_some())?;
    find().ok_or_else(|| Failure::new("there is no Chromium").hint(why.to_owned()))
}

fn find() -> Option<PathBuf> {
    let works = |name: &str| shell::works(shell::command(name).arg("--version"));
    NAMES.into_iter().find(|name| works(name)).map(PathBuf::from)
}
