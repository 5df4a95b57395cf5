//! The real Prometheus and Pushgateway, which the tests let scrape runs and be pushed to.
//!
//! They come from Debian's packages, unpacked into the cache and not installed: an installed one would
//! be started as a service.

use std::fs;
use std::path::{Path, PathBuf};

use crate::debian::refresh;
use crate::failure::{Failure, Result};
use crate::kept::kept;
use crate::shell::{self, io};

const PACKAGES: [&str; 2] = ["prometheus", "prometheus-pushgateway"];

/// What is in them that the tests run.
const PROGRAMS: [&str; 3] = ["prometheus", "promtool", "prometheus-pushgateway"];

/// The folder of their executables.
pub(crate) fn ensure() -> Result<PathBuf> {
    kept("prometheus-debian", whole, fetch)
}

/// The folder, if all of them start.
fn whole(folder: &Path) -> Option<PathBuf> {
    let programs = folder.join("usr/bin");
    let works = |name: &&str| shell::works(shell::command(programs.join(name)).arg("--version"));
    PROGRAMS.iter().all(works).then_some(programs)
}

fn fetch(folder: &Path) -> Result<()> {
    let hint = "the tests run Debian's prometheus and prometheus-pushgateway, which apt-get downloads; \
                `--without prometheus` leaves out the tests that need them and counts them as skipped";
    let has = |name: &'static str| shell::works(shell::command(name).arg("--version"));
    if !(has("apt-get") && has("dpkg-deb")) {
        return Err(Failure::new("there is no apt-get and dpkg-deb").hint(hint));
    }
    refresh();
    let archives = folder.join("archives");
    // What an interrupted one left behind.
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io("remove the broken", folder))?;
    }
    fs::create_dir_all(&archives).map_err(io("make the folder", &archives))?;
    let mut download = shell::command("apt-get");
    // Standard output may be read by a program.
    download.args(["-q", "download"]).args(PACKAGES).stdout(std::io::stderr());
    shell::run(download.current_dir(&archives)).map_err(|failure| failure.hint(hint))?;
    for entry in fs::read_dir(&archives).map_err(io("read", &archives))? {
        let archive = entry.map_err(io("read", &archives))?.path();
        let mut unpack = shell::command("dpkg-deb");
        shell::run(unpack.arg("-x").arg(&archive).arg(folder))
            .map_err(|failure| failure.hint(hint))?;
    }
    fs::remove_dir_all(&archives).map_err(io("remove", &archives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_not_taken_for_a_prometheus() {
        assert_eq!(whole(Path::new("/nonexistent/prometheus")), None);
    }
}
