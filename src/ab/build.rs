//! Sides that are commits: found, laid out and built, each once.
//!
//! Main function: [`sides`]. What was built is kept by commit, command and compiler. It knows no git
//! itself; `provenance::refs` does.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::error::AbError;
use super::sides::{SideChoice, SidePlan, plan};
use super::turn::Until;
use crate::artifact::{Build, Unknowns};
use crate::cli::AbArgs;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::model;
use crate::plan::resolve::Surroundings;
use crate::provenance::refs::{Commits, Wanted};
use crate::verdict::Side;

/// Variables that make another program of the same sources.
const TOOLCHAIN_VARIABLES: [&str; 12] = [
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CMAKE_ARGS",
    "CMAKE_GENERATOR",
    "CMAKE_BUILD_TYPE",
    "RUSTFLAGS",
    "CUDACXX",
    "MAKEFLAGS",
];

/// Last lines of a failed build in its message.
const SHOWN_LINES: usize = 12;

/// Marks a build that came to its end.
const DONE: &str = "built.ok";

/// Both sides, built where they are commits, planned to the end; and what a reader should know about
/// the choice of the commits.
pub(super) async fn sides(
    args: &AbArgs,
    choices: &[SideChoice; 2],
    surroundings: &Surroundings,
    out_dir: &Path,
    events: &Events,
    until: &Until,
) -> Result<([SidePlan; 2], Vec<String>), Error> {
    let reference = |choice: &SideChoice| match choice {
        SideChoice::Reference(reference) => Some(reference.clone()),
        SideChoice::Program(_) => None,
    };
    let wanted = Wanted { base: reference(&choices[0]), head: reference(&choices[1]) };
    let commits = if wanted.base.is_some() || wanted.head.is_some() {
        let commits = Commits::find(Path::new("."), &wanted).map_err(AbError::from)?;
        for note in &commits.notes {
            events.send(&Event::Warning { message: note.clone() });
        }
        Some(commits)
    } else {
        None
    };
    let mut planned = Vec::with_capacity(2);
    for (side, choice) in [Side::Base, Side::Head].into_iter().zip(choices) {
        let found = commits.as_ref().and_then(|commits| match side {
            Side::Base => commits.base.clone(),
            Side::Head => commits.head.clone(),
        });
        let built = match (&commits, found) {
            (Some(commits), Some(commit)) => Some((
                commit.clone(),
                one(side, args, commits, &commit, out_dir, events, until).await?,
            )),
            _ => None,
        };
        let program = built.as_ref().map(|(_, (program, _))| program.as_path());
        let mut side_plan = plan(side, args, choice, program, surroundings)?;
        if let (Some((commit, (_, build))), SideChoice::Reference(typed)) = (built, choice) {
            side_plan.label = format!("{} ({typed})", short(&commit));
            side_plan.commit = Some((typed.clone(), commit));
            side_plan.build = Some(build);
        }
        planned.push(side_plan);
    }
    let head = planned.pop().expect("two sides were planned");
    let base = planned.pop().expect("two sides were planned");
    Ok(([base, head], commits.map_or_else(Vec::new, |commits| commits.notes)))
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// Builds one commit, or finds that it was built before.
pub(super) async fn one(
    side: Side,
    args: &AbArgs,
    commits: &Commits,
    commit: &str,
    out_dir: &Path,
    events: &Events,
    until: &Until,
) -> Result<(PathBuf, Build), Error> {
    let command = args.sides.build.clone().unwrap_or_default();
    let server_path = args.sides.server_path.clone().unwrap_or_default();
    let toolchain = toolchain().await;
    let key = key(commit, &command, &toolchain);
    let cache = model::cache_dir().unwrap_or_else(|| out_dir.to_owned());
    // Keys are of one length, so the paths of both sides are.
    let folder = cache.join("builds").join(&key);
    let failed =
        |attempt, path: &Path, source| Error::Output { attempt, path: path.to_owned(), source };
    std::fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
    // Two calls at once: the second waits, and finds what the first has built.
    let _lock = locked(&folder.join("lock"), args.design.budget, until).await?;
    let tree = folder.join("tree");
    let program = tree.join(&server_path);
    let done = folder.join(DONE);
    let words = format!("{side} {} by {command}", short(commit));
    let begun = Instant::now();
    let cached = done.exists() && program.is_file();
    let mut unknown = Unknowns::none();
    if !cached {
        events.send(&Event::StageStarted { stage: Stage::Build, what: words.clone() });
        drop(std::fs::remove_file(&done));
        if tree.exists() {
            std::fs::remove_dir_all(&tree).map_err(|source| failed("replace", &tree, source))?;
        }
        commits.lay_out(commit, &tree).map_err(AbError::from)?;
        let log = out_dir.join(format!("build-{side}.log"));
        build(side, commit, &command, &tree, &log, until).await?;
        if !program.is_file() {
            return Err(AbError::NotBuilt { side, path: program }.into());
        }
        std::fs::write(&done, format!("{commit}\n{command}\n{toolchain}\n"))
            .map_err(|source| failed("write", &done, source))?;
    }
    let took_s = begun.elapsed().as_secs_f64();
    events.send(&Event::StageDone {
        stage: Stage::Build,
        outcome: if cached { format!("{words}: built before") } else { words },
        elapsed_s: took_s,
    });
    Ok((
        program,
        Build {
            command,
            server_path: server_path.display().to_string(),
            cached,
            duration_s: unknown.option(
                "duration_s",
                (!cached).then_some(took_s),
                "it was built by an earlier call",
            ),
            toolchain,
            unknown,
        },
    ))
}

/// The file, once no other call holds it.
///
/// It is asked for again and again: a thread that waits for it hears neither the deadline nor Ctrl-C.
async fn locked(path: &Path, budget: Duration, until: &Until) -> Result<File, Error> {
    const LOOK: Duration = Duration::from_millis(50);
    let failed = |attempt, source| Error::Output { attempt, path: path.to_owned(), source };
    let file = File::create(path).map_err(|source| failed("write", source))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed("lock", source)),
        }
        if let Some(reason) = until.cancel.reason() {
            return Err(Error::Stopped { reason });
        }
        if Instant::now() >= until.deadline {
            return Err(AbError::no_time(budget).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn key(commit: &str, command: &str, toolchain: &str) -> String {
    let mut hash = Sha256::new();
    for part in [commit, command, toolchain] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The compiler's first word about itself, and the variables that change what it does.
async fn toolchain() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let compiler = variable("CC").unwrap_or_else(|| "cc".to_owned());
    let asked = Command::new(&compiler)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await;
    let version = asked
        .ok()
        .and_then(|output| Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned()))
        .unwrap_or_else(|| "no C compiler".to_owned());
    let variables =
        TOOLCHAIN_VARIABLES.iter().filter_map(|name| Some(format!("{name}={}", variable(name)?)));
    [version].into_iter().chain(variables).collect::<Vec<_>>().join("; ")
}

/// Runs the build command in the work tree; its output goes to `log`.
async fn build(
    side: Side,
    commit: &str,
    command: &str,
    tree: &Path,
    log: &Path,
    until: &Until,
) -> Result<(), Error> {
    let failed = |source| Error::Output { attempt: "write", path: log.to_owned(), source };
    let file = File::create(log).map_err(failed)?;
    let also = file.try_clone().map_err(failed)?;
    let mut child = Command::new("sh")
        .args(["-c", command])
        .current_dir(tree)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(also)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::System { attempt: "start the build command by sh", source })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let stop = || {
        if let Some(group) = group {
            // It may have ended just now.
            let _gone_already = killpg(group, Signal::SIGKILL);
        }
    };
    let deadline = tokio::time::Instant::from_std(until.deadline);
    let ended = tokio::select! {
        ended = child.wait() => Some(ended),
        _reason = until.cancel.cancelled() => None,
        () = tokio::time::sleep_until(deadline) => None,
    };
    let how = match ended {
        Some(Ok(status)) if status.success() => return Ok(()),
        Some(Ok(status)) => match status.code() {
            Some(code) => format!("exited with status {code}"),
            None => "was killed by a signal".to_owned(),
        },
        Some(Err(source)) => {
            return Err(Error::System { attempt: "wait for the build command", source });
        }
        None => {
            stop();
            if let Some(reason) = until.cancel.reason() {
                return Err(Error::Stopped { reason });
            }
            "was still running when the budget was spent".to_owned()
        }
    };
    Err(AbError::Build {
        side,
        commit: short(commit).to_owned(),
        how,
        lines: last_lines(log),
        log: log.to_owned(),
    }
    .into())
}

fn last_lines(log: &Path) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut last = VecDeque::with_capacity(SHOWN_LINES);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if last.len() == SHOWN_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
    last.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::{self, StopReason};

    #[tokio::test]
    async fn another_calls_build_is_waited_for_until_the_deadline_or_ctrl_c() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (canceller, cancel) = cancel::pair();
        let until = |after| Until { deadline: Instant::now() + after, cancel: cancel.clone() };
        let (none, long) = (Duration::ZERO, Duration::from_secs(3600));
        let held = locked(&path, long, &until(none)).await.unwrap();
        let late = locked(&path, long, &until(none)).await.unwrap_err();
        assert!(matches!(late, Error::Ab(AbError::NoTime { .. })), "{late}");
        canceller.stop(StopReason::Interrupted);
        let stopped = locked(&path, long, &until(long)).await.unwrap_err();
        assert!(matches!(stopped, Error::Stopped { .. }), "{stopped}");
        drop(held);
        assert!(locked(&path, long, &until(long)).await.is_ok());
    }
}
