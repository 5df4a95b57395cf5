//! `cargo xtask ci`: the one gate, here and in every workflow; and `cargo xtask schema`.

use crate::failure::{Failure, Result};
use crate::parts::Scope;
use crate::shell;
use crate::tally::Tally;
use crate::{readme, test, workflows};

/// Runs every step, the quick ones first, and goes on after a failed one, so that one run tells
/// everything. A failed step counts as one failure in the closing line.
pub(crate) fn run(scope: &Scope) -> Tally {
    let before = work_tree();
    let mut steps = Tally::default();
    let mut step = |name: &str, outcome: Result<()>| {
        if let Err(failure) = outcome {
            eprintln!("{failure}");
            steps.step_failed(name);
        }
    };
    step("formatting", shell::run(shell::cargo().args(["fmt", "--all", "--check"])));
    step("README.md", readme::check());
    step("clippy", clippy());
    step("documentation", documentation());
    step("workflows", workflows::check());
    let tests = test::run(scope);
    step("generated files", before.and_then(|before| unchanged(&before)));

    // The tests' sums first: the steps only add failures to them.
    let mut tally = tests;
    tally.add(steps);
    tally
}

fn clippy() -> Result<()> {
    shell::run(shell::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))
}

/// Builds the documentation, so that a link to something that is gone is an error.
fn documentation() -> Result<()> {
    let mut doc = shell::cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--locked"]);
    shell::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// The state of the work tree; `None` where there is no git or no repository (a source archive).
fn work_tree() -> Result<Option<String>> {
    let mut git = shell::command("git");
    if !shell::works(git.args(["rev-parse", "--git-dir"])) {
        return Ok(None);
    }
    let mut status = shell::command("git");
    let status = shell::output(status.args(["status", "--porcelain"]))?;
    let mut diff = shell::command("git");
    let diff = shell::output(diff.args(["diff", "--no-color", "--no-ext-diff"]))?;
    Ok(Some(status + &diff))
}

/// Schema and snapshots are compared by tests, which must not write; so a file that changed during
/// the gate is one that a test wrote where it should have failed, or litter in the work tree.
fn unchanged(before: &Option<String>) -> Result<()> {
    if *before == work_tree()? {
        return Ok(());
    }
    shell::run(shell::command("git").args(["--no-pager", "status", "--short"]))?;
    Err(Failure::new("the gate changed files of the work tree")
        .hint("look at git status and git diff; commit what is generated, ignore what is not ours"))
}

/// Writes the JSON Schema of the report anew.
pub(crate) fn write_schema() -> Result<()> {
    let mut test = shell::cargo();
    test.args(["test", "--locked", "--package", "bench-ci", "schema"]);
    shell::run(test.env("UPDATE_SCHEMA", "1"))
}
