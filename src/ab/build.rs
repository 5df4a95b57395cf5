//! Sides that are commits: found, laid out and built, each once.
//!
//! Main function: [`sides`]. What was built is kept (`kept`) by commit, command and compilers (`toolchain`).
//! It knows no git itself; `provenance::refs` does.

mod kept;
mod toolchain;

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};

use self::kept::{Found, MOST_KEPT, Place};
use super::error::AbError;
use super::sides::{SideChoice, SidePlan, may_be_one, plan};
use super::turn::Until;
use crate::artifact::{Build, Unknowns};
use crate::cli::AbArgs;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::model;
use crate::plan::resolve::Surroundings;
use crate::provenance::refs::{Commits, Wanted};
use crate::server::Guard;
use crate::server::guard::MARK_VARIABLE;
use crate::verdict::Side;

pub(super) use self::kept::Held;

/// Last lines of a failed build in its message.
const SHOWN_LINES: usize = 12;

/// What git sets for its hooks and for `git rebase --exec`. A git in the build command would take the user's
/// own repository for the work tree that is built, and could change it.
const OF_ANOTHER_REPOSITORY: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
];

/// Both sides, ready to be played.
pub(super) struct Ready {
    /// Base and head, planned to the end.
    pub(super) plans: [SidePlan; 2],
    /// What a reader should know about the choice of the commits.
    pub(super) notes: Vec<String>,
    /// Keeps what was built in its place: to be dropped when no server of it runs any more.
    pub(super) held: Vec<Held>,
}

/// Both sides, built where they are commits.
pub(super) async fn sides(
    args: &AbArgs,
    choices: &[SideChoice; 2],
    surroundings: &Surroundings,
    out_dir: &Path,
    events: &Events,
    until: &Until,
) -> Result<Ready, Error> {
    let reference = |choice: &SideChoice| match choice {
        SideChoice::Reference(reference) => Some(reference.clone()),
        SideChoice::Program(_) => None,
    };
    let wanted = Wanted { base: reference(&choices[0]), head: reference(&choices[1]) };
    let commits = if wanted.base.is_some() || wanted.head.is_some() {
        let commits = Commits::find(Path::new("."), &wanted).map_err(AbError::from)?;
        if let (Some(base), Some(head)) = (&commits.base, &commits.head)
            && base == head
            && !may_be_one(args)
        {
            let both = [&wanted.base, &wanted.head].map(|typed| typed.clone().unwrap_or_default());
            return Err(AbError::SameCommit { both, commit: short(base).to_owned() }.into());
        }
        for note in &commits.notes {
            events.send(&Event::Warning { message: note.clone() });
        }
        Some(commits)
    } else {
        None
    };
    let mut planned = Vec::with_capacity(2);
    let mut held = Vec::new();
    for (side, choice) in [Side::Base, Side::Head].into_iter().zip(choices) {
        let found = commits.as_ref().and_then(|commits| match side {
            Side::Base => commits.base.clone(),
            Side::Head => commits.head.clone(),
        });
        let built = match (&commits, found) {
            (Some(commits), Some(commit)) => {
                let built = one(side, args, commits, &commit, out_dir, events, until).await?;
                Some((commit, built))
            }
            _ => None,
        };
        let program = built.as_ref().map(|(_, built)| built.program.as_path());
        let mut side_plan = plan(side, args, choice, program, surroundings)?;
        if let (Some((commit, built)), SideChoice::Reference(typed)) = (built, choice) {
            side_plan.label = format!("{} ({typed})", short(&commit));
            side_plan.commit = Some((typed.clone(), commit));
            side_plan.build = Some(built.build);
            held.push(built.held);
        }
        planned.push(side_plan);
    }
    let head = planned.pop().expect("two sides were planned");
    let base = planned.pop().expect("two sides were planned");
    let notes = commits.map_or_else(Vec::new, |commits| commits.notes);
    Ok(Ready { plans: [base, head], notes, held })
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// What came of a commit.
pub(super) struct Built {
    program: PathBuf,
    build: Build,
    held: Held,
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
) -> Result<Built, Error> {
    let command = args.sides.build.clone().unwrap_or_default();
    let server_path = args.sides.server_path.clone().unwrap_or_default();
    let toolchain = toolchain::asked().await;
    let builds = model::cache_dir().unwrap_or_else(|| out_dir.to_owned()).join("builds");
    // Keys are of one length, so the paths of both sides are.
    let folder = builds.join(key(commit, &command, &toolchain.digested));
    let place = Place::new(folder, server_path.clone())?;
    let wish = Wish { side, commits, commit, command: &command, log: log_of(side, out_dir) };
    let words = format!("{side} {} by {command}", short(commit));
    let mut took_s = None;
    // Two calls at once: the second waits, and finds what the first has built.
    let held = loop {
        let _alone = match place.hold(args.design.budget, until).await? {
            Found::Built(held) => break held,
            Found::Nothing(alone) => alone,
        };
        let begun = Instant::now();
        events.send(&Event::StageStarted { stage: Stage::Build, what: words.clone() });
        for message in kept::prune(&builds, MOST_KEPT - 1) {
            events.send(&Event::Warning { message });
        }
        wish.make(&place, until).await?;
        place.finish(&format!("{commit}\n{command}\n{}\n", toolchain.words))?;
        took_s = Some(begun.elapsed().as_secs_f64());
    };
    let cached = took_s.is_none();
    events.send(&Event::StageDone {
        stage: Stage::Build,
        outcome: if cached { format!("{words}: built before") } else { words },
        elapsed_s: took_s.unwrap_or_default(),
    });
    let mut unknown = Unknowns::none();
    let duration_s = unknown.option("duration_s", took_s, "it was built by an earlier call");
    let server_path = server_path.display().to_string();
    let toolchain = toolchain.words;
    let build = Build { command, server_path, cached, duration_s, toolchain, unknown };
    Ok(Built { program: place.program(), build, held })
}

fn key(commit: &str, command: &str, toolchain: &str) -> String {
    let mut hash = Sha256::new();
    for part in [commit, command, toolchain] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn log_of(side: Side, out_dir: &Path) -> PathBuf {
    out_dir.join(format!("build-{side}.log"))
}

/// What is to be built.
struct Wish<'a> {
    side: Side,
    commits: &'a Commits,
    commit: &'a str,
    command: &'a str,
    /// Takes what the command writes.
    log: PathBuf,
}

impl Wish<'_> {
    /// Lays the commit out and builds it.
    async fn make(&self, place: &Place, until: &Until) -> Result<(), Error> {
        place.clear()?;
        let tree = place.tree();
        self.commits.lay_out(self.commit, &tree).map_err(AbError::from)?;
        self.build(&tree, until).await?;
        if place.program().is_file() {
            return Ok(());
        }
        Err(AbError::NotBuilt { side: self.side, path: place.program() }.into())
    }

    /// Runs the build command in the work tree.
    async fn build(&self, tree: &Path, until: &Until) -> Result<(), Error> {
        let failed = |source| Error::Output { attempt: "write", path: self.log.clone(), source };
        let file = File::create(&self.log).map_err(failed)?;
        let also = file.try_clone().map_err(failed)?;
        // A build that outlived us, by a kill -9, would go on writing in a work tree whose lock has ended
        // with us. Without the watchdog it is only that.
        let guard = Guard::start().ok();
        let mut command = Command::new("sh");
        for name in OF_ANOTHER_REPOSITORY {
            command.env_remove(name);
        }
        let mut child = command
            .args(["-c", self.command])
            .envs(guard.as_ref().map(|guard| (MARK_VARIABLE, guard.new_mark())))
            .current_dir(tree)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(also)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::System { attempt: "start the build command by sh", source })?;
        let group = group_of(&child);
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
                kill(group);
                if let Some(reason) = until.cancel.reason() {
                    return Err(Error::Stopped { reason });
                }
                "was still running when the budget was spent".to_owned()
            }
        };
        Err(AbError::Build {
            side: self.side,
            commit: short(self.commit).to_owned(),
            how,
            lines: last_lines(&self.log),
            log: self.log.clone(),
            submodules: tree.join(".gitmodules").is_file(),
        }
        .into())
    }
}

/// The process group that a child was started in, as its leader.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// Ends a process group with all that it has started.
fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended just now.
        let _gone_already = killpg(group, Signal::SIGKILL);
    }
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
