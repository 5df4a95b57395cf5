//! `bench-ci comment`: from reports to a pull request.
//!
//! Main function: [`main`]. First it finds out which pull request, then which reports, then it tells
//! GitHub; where it must not, the page goes to the job's summary.

use std::path::{Path, PathBuf};

use super::client::Client;
use super::context::{Context, PullRequest, RepoName, Subject, no_repository};
use super::intake::{self, Expected, Intake};
use super::publish::{self, Comments, Outcome, Page};
use super::surfaces::{Command, Level, append_summary, tell};
use super::{GithubError, artifacts, checks, dry, pull_request};
use crate::cancel::{self, Cancel};
use crate::cli::{CommentArgs, CommentWhen, ProgressMode};
use crate::commands::Done;
use crate::error::Error;
use crate::event::{Event, Events};
use crate::report::comment::{Cell, Content, Origin, WorkflowRun};
use crate::{run, signals};

/// Where `run` and `ab` leave their reports if nobody says otherwise.
const OUT_DIR: &str = "bench-out";

/// The `comment` command.
///
/// # Errors
/// What makes no sense (2), what GitHub refuses (8), a stop (130, 143). A token that may only read is
/// no error unless `--require-comment` is given.
pub fn main(args: &CommentArgs) -> Result<Done, Error> {
    let context = Context::read(&|name| std::env::var(name).ok())?;
    let order = Order::of(args, &context)?;
    if args.dry_run {
        return Ok(Done::text(dry::run(&order)?));
    }
    let is_told = args.pull_request.is_some() || matches!(order.source, Source::Run(_));
    if let (Subject::Nothing(why), false, false) = (&order.subject, context.is_job, is_told) {
        return Err(GithubError::Usage {
            what: format!("nothing says which pull request: {why}"),
            hint: "give --repo and --pull-request; --dry-run shows the page without either",
        }
        .into());
    }
    let events = run::person_alone(ProgressMode::Auto, false);
    let runtime = run::runtime()?;
    let said = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        carry_out(&order, &events, &cancel).await.map_err(Error::from)
    })?;
    runtime.shutdown_background();
    Ok(Done::text(said))
}

/// What is to be done, as far as it is known without asking GitHub.
pub(super) struct Order<'a> {
    pub(super) args: &'a CommentArgs,
    pub(super) context: &'a Context,
    /// Where; `None` at a desk without `--repo`.
    pub(super) repository: Option<RepoName>,
    pub(super) subject: Subject,
    pub(super) source: Source,
}

/// Where the reports are.
pub(super) enum Source {
    /// On this machine.
    Paths(Vec<PathBuf>),
    /// With GitHub: the artifacts of this run.
    Run(u64),
}

impl<'a> Order<'a> {
    fn of(args: &'a CommentArgs, context: &'a Context) -> Result<Self, GithubError> {
        let repository = match &args.repo {
            Some(name) => Some(RepoName::parse(name).ok_or_else(|| no_repository(name))?),
            None => context.repository.clone(),
        };
        let elsewhere = match (&repository, &context.repository) {
            (Some(wanted), Some(own)) => !own.is(wanted.as_str()),
            _ => false,
        };
        let subject = if elsewhere {
            Subject::Nothing("the job is another repository's".to_owned())
        } else {
            context.subject.clone()
        };
        if args.pull_request.is_some() {
            if matches!(subject, Subject::PullRequest(_) | Subject::Run(_)) {
                return Err(GithubError::Usage {
                    what: "--pull-request contradicts the job, whose event names its own"
                        .to_owned(),
                    hint: "leave it out; it is for a desk, and for jobs that no pull request has started",
                });
            }
            if repository.is_none() {
                return Err(GithubError::Usage {
                    what: "--pull-request needs --repo".to_owned(),
                    hint: "such as --repo ggml-org/llama.cpp --pull-request 123",
                });
            }
        }
        let source = match (args.run_id, &subject) {
            (Some(id), _) => Source::Run(id),
            (None, _) if !args.paths.is_empty() => Source::Paths(args.paths.clone()),
            (None, Subject::Run(run)) if !has_report(Path::new(OUT_DIR)) => Source::Run(run.id),
            (None, _) if has_report(Path::new(OUT_DIR)) => {
                Source::Paths(vec![PathBuf::from(OUT_DIR)])
            }
            _ => {
                return Err(GithubError::Usage {
                    what: format!(
                        "there is no report: \"{OUT_DIR}\" holds none of {}",
                        intake::REPORTS.join(", ")
                    ),
                    hint: "name a report, a folder or a zip archive, or a workflow run with --run-id",
                });
            }
        };
        if matches!(source, Source::Run(_)) && repository.is_none() {
            return Err(GithubError::Usage {
                what: "--run-id needs --repo".to_owned(),
                hint: "such as --repo ggml-org/llama.cpp --run-id 123456789",
            });
        }
        Ok(Self { args, context, repository, subject, source })
    }

    /// The workflow run that the page names: the one that measured.
    pub(super) fn run(&self) -> Option<WorkflowRun> {
        let own =
            (self.repository == self.context.repository).then_some(self.context.run).flatten();
        let (id, attempt) = match (&self.subject, &self.source) {
            (Subject::Run(run), _) => (run.id, run.attempt),
            (_, Source::Run(id)) => match own {
                Some((own, attempt)) if own == *id => (own, attempt),
                _ => (*id, 1),
            },
            _ => own?,
        };
        let url = self.context.run_page(self.repository.as_ref()?, id);
        Some(WorkflowRun { id, attempt, url })
    }

    /// What the page is about.
    pub(super) fn origin(&self, target: Option<&PullRequest>, cells: &[Cell]) -> Origin {
        let commit = match &self.subject {
            Subject::Commit(commit) => Some(commit.clone()),
            _ => None,
        };
        let said =
            |of: fn(&Content) -> Option<&str>| common(cells.iter().map(|cell| of(&cell.content)));
        Origin {
            key: self.args.key.clone(),
            head: target.map(|target| target.head.clone()).or(commit).or_else(|| said(head)),
            // What was built as the base; GitHub only knows where the branch stands now.
            base: said(base),
            run: self.run(),
            fork: target.and_then(|target| target.fork.clone()),
            before: None,
        }
    }

    /// Whether other jobs of the same run may add to the comment: those that bring only their own.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.source, Source::Paths(_)) && self.run().is_some()
    }
}

fn has_report(folder: &Path) -> bool {
    intake::REPORTS.iter().any(|name| folder.join(name).is_file())
}

fn head(content: &Content) -> Option<&str> {
    match content {
        Content::Comparison(report) => {
            report.sides.head.commit.as_deref().or(report.run.commit.as_deref())
        }
        Content::Run(report) => report.run.commit.as_deref(),
        Content::Suite(suite) => suite.suite.commit.as_deref(),
        Content::Nothing(_) => None,
    }
}

fn base(content: &Content) -> Option<&str> {
    match content {
        Content::Comparison(report) => report.sides.base.commit.as_deref(),
        Content::Run(_) | Content::Suite(_) | Content::Nothing(_) => None,
    }
}

/// What all that say something say alike.
fn common<'a>(said: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let mut said = said.flatten();
    let first = said.next()?;
    said.all(|other| other == first).then(|| first.to_owned())
}

/// Reports from this machine. The only one of `bench-out` is called as its run was.
pub(super) fn from_paths(paths: &[PathBuf], expected: &Expected) -> Intake {
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut intake = intake::take_in(&paths, expected);
    for cell in &mut intake.cells {
        let (name, label) = match &cell.content {
            Content::Comparison(report) => (&report.run.name, &report.run.runner_label),
            Content::Run(report) => (&report.run.name, &report.run.runner_label),
            Content::Suite(suite) => (&suite.suite.name, &suite.suite.runner_label),
            Content::Nothing(_) => continue,
        };
        if cell.name == OUT_DIR
            && let Some(name) = [Some(name.as_str()), label.as_deref()]
                .into_iter()
                .flatten()
                .find(|name| intake::is_name(name))
        {
            cell.name = name.to_owned();
        }
    }
    intake
}

async fn carry_out(
    order: &Order<'_>,
    events: &Events,
    cancel: &Cancel,
) -> Result<String, GithubError> {
    let (args, context) = (order.args, order.context);
    let Some(repository) = &order.repository else {
        return Ok(nothing("there is no repository"));
    };
    let token = context
        .token
        .as_ref()
        .ok_or(GithubError::NoToken { attempt: "comment on the pull request" })?;
    let client = Client::new(context, token, events, cancel)?;
    let target = match target(&client, order, repository).await? {
        Ok(target) => target,
        Err(why) => return Ok(nothing(&why)),
    };
    let head = match (&target, &order.subject) {
        (Some(target), _) => target.head.clone(),
        (None, Subject::Commit(commit)) if args.status || args.check => commit.clone(),
        (None, Subject::Nothing(why)) => return Ok(nothing(why)),
        (None, _) => return Ok(nothing("the job has no pull request")),
    };
    let expected =
        Expected { head: Some(head.clone()), repository: Some(repository.as_str().to_owned()) };
    let taken = match &order.source {
        Source::Paths(paths) => from_paths(paths, &expected),
        Source::Run(id) => artifacts::of_run(&client, context, repository, *id, &expected).await?,
    };
    for (name, why) in &taken.refused {
        let message = format!("the report of \"{name}\" was refused: {why}");
        events.send(&Event::Warning { message });
    }
    let mut said = Vec::new();
    let mut cells = taken.cells;
    let origin = order.origin(target.as_ref(), &cells);
    let mut first_error = None;
    if let (Some(target), true) = (&target, args.when != CommentWhen::Never) {
        let comments = Comments { client: &client, context, repository, number: target.number };
        let page = Page {
            origin: origin.clone(),
            cells: &cells,
            shared: order.is_shared(),
            expected: &expected,
            is_news: args.when == CommentWhen::Always || publish::is_news(&cells),
        };
        let number = target.number;
        match publish::upsert(&comments, &page).await {
            Ok((outcome, all)) => {
                said.push(in_words(&outcome, number));
                if let Some(url) = outcome.url() {
                    put_output(context, url);
                }
                cells = all;
            }
            Err(error) => {
                let fallen = fall_back(context, &origin, &cells);
                match error {
                    GithubError::Forbidden { .. } if !args.require_comment => {
                        said.extend(noted(context, format!("{error}; {fallen}")));
                    }
                    GithubError::Stopped(_) => return Err(error),
                    error => first_error = Some(error),
                }
            }
        }
    }
    if args.status {
        let body = checks::status_body(&origin, &cells);
        let done = checks::set_status(&client, context, repository, &head, &body).await;
        said.extend(beside(context, done.map(|()| "set the status"), &mut first_error));
    }
    if args.check {
        let body = checks::check_body(&origin, &head, &cells);
        let done = checks::set_check(&client, context, repository, &head, &body).await;
        let done = done.map(|written| {
            if written { "made the check run" } else { "a newer run has written the check run" }
        });
        said.extend(beside(context, done, &mut first_error));
    }
    match first_error {
        Some(error) => {
            // What did work is said too, before the error.
            for line in said {
                events.send(&Event::Warning { message: line });
            }
            Err(error)
        }
        None => Ok(said.into_iter().map(|line| line + "\n").collect()),
    }
}

/// The pull request, verified; why there is none that may be commented on.
async fn target(
    client: &Client<'_>,
    order: &Order<'_>,
    repository: &RepoName,
) -> Result<Result<Option<PullRequest>, String>, GithubError> {
    if let Some(number) = order.args.pull_request {
        return pull_request::by_number(client, order.context, repository, number)
            .await
            .map(|found| Ok(Some(found)));
    }
    let run = match (&order.subject, &order.source) {
        (Subject::PullRequest(found), _) => return Ok(Ok(Some(found.clone()))),
        (Subject::Run(run), Source::Run(id)) if run.id != *id => {
            pull_request::run(client, order.context, repository, *id).await?
        }
        (Subject::Run(run), _) => run.clone(),
        (Subject::Nothing(_), Source::Run(id)) => {
            pull_request::run(client, order.context, repository, *id).await?
        }
        _ => return Ok(Ok(None)),
    };
    Ok(pull_request::of_run(client, order.context, repository, &run).await?.map(Some))
}

fn nothing(why: &str) -> String {
    format!("nothing was posted: {why}\n")
}

fn in_words(outcome: &Outcome, number: u64) -> String {
    match outcome {
        Outcome::Created(url) => format!("commented on the pull request {number}: {url}"),
        Outcome::Updated(url) => format!("updated the comment on the pull request {number}: {url}"),
        Outcome::Unchanged(url) => format!("the comment says so already: {url}"),
        Outcome::Newer(url) => format!("left the comment of a newer run as it is: {url}"),
        Outcome::NotNews => {
            "no comment: nothing got slower or faster, and everything was measured (--when always comments all the same)"
                .to_owned()
        }
    }
}

/// A status or a check is beside the point: it never keeps the other from being told.
fn beside(
    context: &Context,
    done: Result<&str, GithubError>,
    first_error: &mut Option<GithubError>,
) -> Option<String> {
    match done {
        Ok(what) => Some(what.to_owned()),
        Err(error @ GithubError::Forbidden { .. }) => noted(context, error.to_string()),
        Err(error) => {
            first_error.get_or_insert(error);
            None
        }
    }
}

/// In a job the page of the job shows it; what is left to be said elsewhere.
fn noted(context: &Context, text: String) -> Option<String> {
    if !context.is_job {
        return Some(text);
    }
    tell(&[Command::Annotate { level: Level::Notice, title: "bench-ci".to_owned(), text }]);
    None
}

/// The page into the job's summary; where it went, as a fragment.
fn fall_back(context: &Context, origin: &Origin, cells: &[Cell]) -> &'static str {
    const KEPT: &str = "the reports are kept";
    let Some(path) = &context.summary else { return KEPT };
    match append_summary(path, origin, cells) {
        Ok(()) => "the page is in the job's summary instead",
        Err(_full_or_gone) => KEPT,
    }
}

/// The comment's address, for later steps of the job.
fn put_output(context: &Context, url: &str) {
    // One line, or it could set another output.
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if let (Some(path), true) = (&context.outputs, is_plain) {
        // A step that cannot write its outputs has said where the comment is all the same.
        drop(append(path, &format!("comment-url={url}\n")));
    }
}

/// Both files are shared with the other steps of the job.
fn append(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}
