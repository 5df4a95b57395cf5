//! What GitHub will run, looked at before GitHub does: `zizmor` for what could be abused,
//! `check-jsonschema` for what GitHub would refuse.
//!
//! Both come from the Python package index, in a virtual environment of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::debian::python_with_venv;
use crate::failure::Result;
use crate::kept::kept;
use crate::shell::{self, io};

/// Exact versions: a newer one finds new things, and that should be a change of its own.
const PACKAGES: [&str; 2] = ["zizmor==1.32.0", "check-jsonschema==0.39.0"];

/// Those that run here, and those that are to be copied elsewhere.
const FOLDERS: [&str; 2] = [".github/workflows", "examples/workflows"];

/// Checks every workflow and the action.
pub(crate) fn check() -> Result<()> {
    let bin = ensure()?;
    let mut zizmor = shell::command(bin.join("zizmor"));
    let mut workflows = Vec::new();
    for folder in FOLDERS.map(|folder| shell::root().join(folder)) {
        for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
            workflows.push(entry.map_err(io("list", &folder))?.path());
        }
    }
    workflows.sort();
    // Of a folder it takes what GitHub would run, so that the examples are named one by one.
    zizmor.args(["--offline", "--no-progress", "--persona=regular", "."]).args(&workflows);
    shell::run(&mut zizmor)?;
    validate(&bin, "vendor.github-workflows", &workflows)?;
    let action = shell::root().join("action.yml");
    if action.exists() { validate(&bin, "vendor.github-actions", &[action]) } else { Ok(()) }
}

fn validate(bin: &Path, schema: &str, files: &[PathBuf]) -> Result<()> {
    let mut check = shell::command(bin.join("check-jsonschema"));
    shell::run(check.args(["--builtin-schema", schema]).args(files))
}

/// The folder that the two commands are in.
fn ensure() -> Result<PathBuf> {
    kept("workflow-checks", installed, install)
}

/// The folder with the commands, if both are of the wanted version.
fn installed(venv: &Path) -> Option<PathBuf> {
    let bin = venv.join("bin");
    let is_right = |package: &str| {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        shell::output(shell::command(bin.join(name)).arg("--version"))
            .is_ok_and(|said| said.contains(version))
    };
    (bin.exists() && PACKAGES.into_iter().all(is_right)).then_some(bin)
}

fn install(venv: &Path) -> Result<()> {
    let python = python_with_venv("workflows are checked by zizmor and check-jsonschema")?;
    shell::run(
        shell::command(python).args(["-m", "venv", "--clear"]).arg(venv).stdout(std::io::stderr()),
    )?;
    let mut pip = shell::command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    shell::run(pip.stdout(std::io::stderr())).map_err(|failure| {
        failure.hint("the Python package index must be reachable (PIP_INDEX_URL is honoured)")
    })
}
