//! What the operating system must bring: found, or installed where that is ours to do.

use crate::failure::{Failure, Result};
use crate::shell::{self, shown};

/// Something that a package of Debian brings and that this program can look for.
pub(crate) fn needs(what: &str, package: &str, why: &str, there: impl Fn() -> bool) -> Result<()> {
    if there() {
        return Ok(());
    }
    install_or(package, why)?;
    if there() {
        return Ok(());
    }
    Err(Failure::new(format!("{package} was installed, but {what} is still not to be found"))
        .hint(why.to_owned()))
}

/// A python3 that can make virtual environments; Debian keeps that in a package of its own.
pub(crate) fn python_with_venv(why: &str) -> Result<&'static str> {
    let python = "python3";
    let can = || shell::works(shell::command(python).args(["-c", "import venv, ensurepip"]));
    needs("python3 with its venv and ensurepip modules", "python3-venv", why, can)?;
    Ok(python)
}

/// Installs a package where that is ours to do: as root, on Debian and its kin.
fn install_or(package: &str, why: &str) -> Result<()> {
    let root = shell::output(shell::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let apt = shell::works(shell::command("apt-get").arg("--version"));
    if !(root && apt) {
        return Err(
            Failure::new(why).hint(format!("install it (on Debian: apt-get install {package})"))
        );
    }
    refresh();
    let mut install = apt_get();
    install.args(["-q", "install", "-y", "--no-install-recommends", package]);
    shell::run(&mut install)
        .map_err(|failure| failure.hint(format!("{why}; `{}` failed", shown(&install))))
}

/// Brings the lists of packages up to date, where that is ours to do.
pub(crate) fn refresh() {
    // A stale list is worth a try: the mirror may be out of reach and the package in the cache.
    if let Err(failure) = shell::run(apt_get().args(["-q", "update"])) {
        eprintln!("{failure} (going on)");
    }
}

fn apt_get() -> std::process::Command {
    let mut apt_get = shell::command("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    apt_get
}
