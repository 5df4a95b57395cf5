//! The libraries that people read our files with: the tests let them read what we write.
//!
//! They come from the Python package index, with their versions, into a virtual environment.

use std::path::{Path, PathBuf};

use crate::debian::python_with_venv;
use crate::failure::Result;
use crate::kept::kept;
use crate::shell;

/// DuckDB reads Parquet; `hdrh` reads logs of HdrHistogram; `xmlschema` checks JUnit.
const PACKAGES: [&str; 3] = ["duckdb==2.0.0", "hdrhistogram==0.10.8", "xmlschema==4.3.2"];

/// Ends with status 0 where all of these versions are there and can be loaded.
const WORKS: &str = "import duckdb, hdrh.log, xmlschema, sys; from importlib.metadata import version; \
                     sys.exit(any(version(n) != v for n, v in (p.split('==') for p in sys.argv[1:])))";

/// The python that has them.
pub(crate) fn ensure() -> Result<PathBuf> {
    kept("readers", whole, make)
}

fn whole(venv: &Path) -> Option<PathBuf> {
    let python = venv.join("bin/python");
    let works = shell::works(shell::command(&python).args(["-c", WORKS]).args(PACKAGES));
    works.then_some(python)
}

fn make(venv: &Path) -> Result<()> {
    let python = python_with_venv("the readers of our files come as Python packages")?;
    // Whatever an earlier one left behind is made anew.
    let mut fresh = shell::command(python);
    shell::run(fresh.args(["-m", "venv", "--clear"]).arg(venv).stdout(std::io::stderr()))?;
    let mut pip = shell::command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install"]).args(PACKAGES).stdout(std::io::stderr());
    pip.env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    shell::run(&mut pip).map_err(|failure| {
        failure.hint(
            "the Python package index must be reachable (PIP_INDEX_URL is honoured); \
             `--without readers` leaves out the tests that need it and counts them as skipped",
        )
    })
}
