//! The real Mermaid, which GitHub draws charts with: the tests let it parse every chart they make.
//!
//! It comes from npm, by the lock file in `ci/mermaid/`, and runs in Node.

use std::fs;
use std::path::{Path, PathBuf};

use crate::debian::needs;
use crate::failure::Result;
use crate::kept::kept;
use crate::shell::{self, io};

/// What is copied beside the packages. The lock file names every version and digest.
const FILES: [(&str, &str); 3] = [
    ("package.json", include_str!("../../mermaid/package.json")),
    ("package-lock.json", include_str!("../../mermaid/package-lock.json")),
    ("parse.mjs", include_str!("../../mermaid/parse.mjs")),
];

/// A folder whose `parse.mjs` parses the files it is given.
pub(crate) fn ensure() -> Result<PathBuf> {
    kept("mermaid", whole, fetch)
}

/// The folder, if what is in it is of this checkout and works.
fn whole(folder: &Path) -> Option<PathBuf> {
    let is_ours = FILES.iter().all(|(name, text)| {
        fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text)
    });
    let works = || shell::works(shell::command("node").arg(folder.join("parse.mjs")));
    (is_ours && works()).then(|| folder.to_owned())
}

fn fetch(folder: &Path) -> Result<()> {
    let why = "charts are parsed by the real Mermaid, which runs in Node and comes from npm";
    let has = |name: &'static str| move || shell::works(shell::command(name).arg("--version"));
    needs("node", "nodejs", why, has("node"))?;
    needs("npm", "npm", why, has("npm"))?;
    fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::write(&path, text).map_err(io("write", &path))?;
    }
    let mut npm = shell::command("npm");
    // Standard output may be read by a program.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).stdout(std::io::stderr());
    shell::run(npm.current_dir(folder)).map_err(|failure| {
        failure.hint(
            "the npm registry must be reachable; \
             `--without mermaid` leaves out the tests that need it and counts them as skipped",
        )
    })
}
