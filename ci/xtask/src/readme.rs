//! `cargo xtask splice-readme`: the README shows what the tool really wrote, on a named machine.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::shell::{self, io};

const OPEN: &str = "<!-- splice:sim -->\n";
const CLOSE: &str = "<!-- /splice -->";

/// The run whose output is shown: the README's first command.
const RUN: [&str; 4] = ["--server", "sim", "--duration", "10s"];

fn path() -> PathBuf {
    shell::root().join("README.md")
}

fn read() -> Result<String> {
    fs::read_to_string(path()).map_err(io("read", &path()))
}

/// Runs the release binary and writes its output into the README.
pub(crate) fn splice() -> Result<()> {
    let readme = read()?;
    place(&readme)?; // before a minute of building
    shell::run(shell::cargo().args(["build", "--release", "--locked"]))?;

    let scratch = Scratch::new("splice")?;
    let out_dir = scratch.0.join("bench-out");
    let mut run = shell::command(crate::shell::target_dir()?.join("release/bench-ci"));
    run.args(RUN).arg("--out-dir").arg(&out_dir).arg("--progress").arg("none");
    // Escape codes and a changing terminal width have no place in a file.
    run.env("NO_COLOR", "1").env("COLUMNS", "100").current_dir(&scratch.0);
    // Where the output names its own folder, a reader sees the default one.
    let folder = format!("{}/", scratch.0.display());
    let shown = shell::output(&mut run)?.replace(&folder, "");

    let report_path = out_dir.join("report.json");
    let report = fs::read_to_string(&report_path).map_err(io("read", &report_path))?;
    let report: Value = serde_json::from_str(&report)
        .map_err(|error| Failure::new(format!("report.json is not JSON: {error}")))?;
    let block = block(&shown, &machine(&report));
    let (before, after) = place(&readme)?;
    fs::write(path(), format!("{before}{block}{after}")).map_err(io("write", &path()))
}

/// Sees that the place is there and filled. Figures are not compared: they differ by machine.
pub(crate) fn check() -> Result<()> {
    check_text(&read()?)
}

fn check_text(readme: &str) -> Result<()> {
    let (before, after) = place(readme)?;
    let filled = &readme[before.len()..readme.len() - after.len()];
    if filled.trim().is_empty() {
        return Err(Failure::new("README.md shows no output yet")
            .hint("run cargo xtask splice-readme and commit what it writes"));
    }
    Ok(())
}

/// What stands before and after the spliced text, the markers included.
fn place(readme: &str) -> Result<(&str, &str)> {
    let missing = |what: &str| Failure::new(format!("README.md has no line \"{}\"", what.trim()));
    let open = readme.find(OPEN).ok_or_else(|| missing(OPEN))? + OPEN.len();
    let close = open + readme[open..].find(CLOSE).ok_or_else(|| missing(CLOSE))?;
    Ok((&readme[..open], &readme[close..]))
}

fn block(output: &str, machine: &str) -> String {
    format!("```text\n{}\n```\n\n{machine}\n", output.trim_end())
}

/// Names the machine in the words of the report itself.
fn machine(report: &Value) -> String {
    let machine = &report["machine"];
    let cpu = machine["cpu_model"].as_str().unwrap_or("unknown CPU");
    let mut parts = vec![format!("Made on {cpu}")];
    if let Some(cores) = machine["cores"].as_u64() {
        parts.push(format!("{cores} cores"));
    }
    if let Some(bytes) = machine["memory_bytes"].as_u64() {
        parts.push(format!("{:.0} GiB", bytes as f64 / f64::from(1 << 30)));
    }
    let version = report["tool"]["version"].as_str().unwrap_or("?");
    format!("{}, by bench-ci {version}.", parts.join(", "))
}

/// A folder that goes away with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let name = format!("bench-ci-{purpose}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).map_err(io("make the folder", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_between_the_markers_is_replaced_and_nothing_else() {
        let readme = "# x\n<!-- splice:sim -->\nold\n<!-- /splice -->\nend\n";
        let (before, after) = place(readme).expect("markers");
        assert_eq!(
            format!("{before}{}{after}", block("new\n", "Made on X.")),
            "# x\n<!-- splice:sim -->\n```text\nnew\n```\n\nMade on X.\n<!-- /splice -->\nend\n"
        );
    }

    #[test]
    fn a_missing_marker_and_an_empty_place_are_errors() {
        assert!(check_text("no markers").is_err());
        assert!(check_text("<!-- splice:sim -->\nnever closed").is_err());
        assert!(check_text("<!-- splice:sim -->\n\n<!-- /splice -->").is_err());
        assert!(check_text("<!-- splice:sim -->\nsomething\n<!-- /splice -->").is_ok());
    }

    #[test]
    fn an_unknown_machine_is_said_to_be_unknown() {
        let report = serde_json::json!({"tool": {"version": "1.2.3"}, "machine": {"cpu_model": null, "cores": 4}});
        assert_eq!(machine(&report), "Made on unknown CPU, 4 cores, by bench-ci 1.2.3.");
    }
}
