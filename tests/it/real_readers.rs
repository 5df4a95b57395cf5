//! Our files read by the libraries that people read them with: DuckDB, HdrHistogram, an XML Schema
//! validator.
//!
//! `cargo xtask test` gets them; by hand: `BENCH_CI_TEST_READERS=$(cargo xtask readers)`.

use std::path::Path;
use std::process::Command;

use crate::report::exports::{bench_ci, shown};

/// Runs `libraries.py`; its complaint is the test's.
fn read(what: &str, paths: &[&Path]) -> Result<(), String> {
    let python = std::env::var("BENCH_CI_TEST_READERS")
        .expect("BENCH_CI_TEST_READERS is not set: `cargo xtask readers` gets it and prints it");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report/libraries.py");
    let output = Command::new(python).arg(script).arg(what).args(paths).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn schema() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report/junit.xsd")
}

/// A run in which some answers fail, as the simulator is asked to.
#[test]
fn the_files_of_a_run_are_read_by_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let args = "--server sim --n-prompts 40 --max-tokens 8 --users 4 --quiet --max-failed 100 \
                --accept-saturated-client -- --sim-fault error-in-stream:2 --sim-fault-every 5";
    let ran = bench_ci(folder.path(), &args.split_whitespace().collect::<Vec<_>>());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let out = folder.path().join("bench-out");
    shown(&out, &[".", "--format", "parquet", "--output", "made/requests.parquet"]);
    read("parquet", &[&out.join("made/requests.parquet"), &out]).unwrap();
    shown(&out, &[".", "--format", "hlog", "-o", "latency.hlog"]);
    read("hlog", &[&out.join("latency.hlog"), &out]).unwrap();
    read("junit", &[&schema(), &out.join("junit.xml")]).unwrap();
}

#[test]
fn what_is_wrong_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.xml");
    std::fs::write(&wrong, "<testsuites><testsuite name=\"x\"/></testsuites>").unwrap();
    let said = read("junit", &[&schema(), &wrong]).expect_err("attributes are missing");
    assert!(said.contains("missing required attribute"), "{said}");
    std::fs::write(&wrong, "PAR1").unwrap();
    read("parquet", &[&wrong, folder.path()]).expect_err("there is no file there");
}
