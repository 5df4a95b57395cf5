//! One comment on a pull request, made or brought up to date, whoever else does the same just now.
//!
//! Main function: [`upsert`]. A comment is ours if it begins with our mark *and* we wrote it: anybody
//! can copy a mark. GitHub knows no conditional writes, so the order is: look, write, look again.
//! The oldest of several stays, which every job sees alike.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Repeat};
use super::context::{Context, RepoName};
use super::intake::Expected;
use super::{GithubError, carried};
use crate::report::comment::{
    Cell, MOST_COMMENT_BYTES, Marker, Origin, State, comment_below, worst,
};

/// Jobs of one matrix that get into each other's way are done after a few rounds.
const MOST_ROUNDS: u32 = 12;
/// What a comment is cut to if GitHub refuses it as too long.
const FEWER_BYTES: usize = 16_000;
/// The least that is waited before looking whether a comment was overwritten.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the comment is to say.
pub(super) struct Page<'a> {
    pub(super) origin: Origin,
    pub(super) cells: &'a [Cell],
    /// Whether other jobs of the same run may add their own cells.
    pub(super) shared: bool,
    pub(super) expected: &'a Expected,
    /// Whether it is worth a first comment; an existing one is always brought up to date.
    pub(super) is_news: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new; its address.
    Created(String),
    /// It says something else than before; its address.
    Updated(String),
    /// It said so already; its address.
    Unchanged(String),
    /// A newer run has written it; its address.
    Newer(String),
    /// There is none, and this is no news.
    NotNews,
}

impl Outcome {
    /// The comment's address, if there is one.
    pub(super) fn url(&self) -> Option<&str> {
        match self {
            Outcome::Created(url)
            | Outcome::Updated(url)
            | Outcome::Unchanged(url)
            | Outcome::Newer(url) => Some(url),
            Outcome::NotNews => None,
        }
    }
}

/// A comment of ours.
struct Found {
    id: u64,
    body: String,
    url: String,
}

/// Comments of one pull request.
pub(super) struct Comments<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) context: &'a Context,
    pub(super) repository: &'a RepoName,
    pub(super) number: u64,
}

/// Makes or changes the comment; the cells that it shows in the end, too.
pub(super) async fn upsert(
    comments: &Comments<'_>,
    page: &Page<'_>,
) -> Result<(Outcome, Vec<Cell>), GithubError> {
    let attempt = comments.attempt();
    let marker = Marker::of(&page.origin.key);
    let mut me = who_am_i(comments.client, comments.context).await?;
    let mut most = MOST_COMMENT_BYTES;
    let mut outcome = None;
    // Ours, even if a list that lags behind does not show it yet.
    let mut created: Option<u64> = None;
    let mut doubtful = None;
    // Written, and not looked at since.
    let mut unsettled = false;
    for round in 1..=MOST_ROUNDS {
        let begun = Instant::now();
        let mut own = comments.own(&marker, &me).await?;
        if let Some(made) = created
            && own.iter().all(|found| found.id != made)
            && let Some(still) = comments.one(made).await?
        {
            own.push(still);
        }
        own.sort_by_key(|found| found.id);
        let states: Vec<State> = own.iter().filter_map(|found| State::read(&found.body)).collect();
        let cells = merged(page, &own);
        let origin = Origin {
            before: states.first().and_then(|state| state.before(page.origin.head.as_deref())),
            ..page.origin.clone()
        };
        let ours = State::of(&origin, &cells);
        if let Some(newer) = own
            .iter()
            .find(|found| State::read(&found.body).is_some_and(|state| state.is_newer_than(&ours)))
        {
            // What we made meanwhile goes, but never the oldest: that is the one which others keep.
            let second = own.iter().skip(1).find(|found| Some(found.id) == created);
            if let Some(second) = second.filter(|second| second.id != newer.id) {
                comments.remove(second.id).await?;
            }
            return Ok((Outcome::Newer(newer.url.clone()), cells));
        }
        let body = render(most, page, &origin, &cells);
        let Some((first, others)) = own.split_first() else {
            if !page.is_news {
                return Ok((Outcome::NotNews, cells));
            }
            match comments.create(&body).await {
                Ok((made, author)) => {
                    // GitHub's own word for who we are.
                    me = author.unwrap_or(me);
                    outcome = Some(Outcome::Created(made.url.clone()));
                    created = Some(made.id);
                    unsettled = true;
                }
                Err(GithubError::Unprocessable { .. }) if most > FEWER_BYTES => most = FEWER_BYTES,
                // Nobody knows whether it was made: the next round looks.
                Err(
                    error @ (GithubError::ServerFailed { .. } | GithubError::Unreachable { .. }),
                ) => {
                    if round > 4 {
                        return Err(error.after(round));
                    }
                    doubtful = Some(error);
                    comments.client.settle(round).await?;
                }
                Err(error) => return Err(error),
            }
            continue;
        };
        if same(&first.body, &body) {
            outcome.get_or_insert_with(|| {
                // An attempt that brought no answer may have made it after all.
                if doubtful.is_some() {
                    Outcome::Created(first.url.clone())
                } else {
                    Outcome::Unchanged(first.url.clone())
                }
            });
        } else {
            // Read again just before it is written: pages of comments take a while.
            match comments.one(first.id).await? {
                Some(now) if same(&now.body, &first.body) => {}
                // Gone, or changed by somebody.
                _ => continue,
            }
            match comments.change(first.id, &body).await {
                Ok(()) => {}
                // Deleted this very moment.
                Err(GithubError::NotFound { .. }) => continue,
                Err(GithubError::Unprocessable { .. }) if most > FEWER_BYTES => {
                    most = FEWER_BYTES;
                    continue;
                }
                Err(error) => return Err(error),
            }
            unsettled = true;
            if !matches!(outcome, Some(Outcome::Created(_))) {
                outcome = Some(Outcome::Updated(first.url.clone()));
            }
        }
        for other in others {
            comments.remove(other.id).await?;
        }
        // Another job that read the comment before we wrote it may write over ours; then its own
        // comment lacks us, and the next round adds us again. It takes no longer for that than we do.
        if page.shared && std::mem::take(&mut unsettled) {
            comments.client.pause(LOOK_AGAIN.max(begun.elapsed() * 3)).await?;
            continue;
        }
        let outcome = outcome.unwrap_or_else(|| Outcome::Unchanged(first.url.clone()));
        return Ok((outcome, cells));
    }
    Err(doubtful.unwrap_or(GithubError::Contended { attempt, rounds: MOST_ROUNDS }))
}

/// Our cells, and those that other jobs of the same run and commit have written.
fn merged(page: &Page<'_>, own: &[Found]) -> Vec<Cell> {
    let mut cells = page.cells.to_vec();
    if !page.shared {
        return cells;
    }
    let run = page.origin.run.as_ref().map(|run| run.id);
    for found in own {
        let Some(state) = State::read(&found.body) else { continue };
        if state.head == page.origin.head && state.run.map(|(id, _)| id) == run {
            for cell in carried::unpack(&found.body, page.expected) {
                if cells.iter().all(|known| known.name != cell.name) {
                    cells.push(cell);
                }
            }
        }
    }
    cells.sort_by(|one, other| one.name.cmp(&other.name));
    cells
}

fn render(most: usize, page: &Page<'_>, origin: &Origin, cells: &[Cell]) -> String {
    let carried =
        (page.shared && most == MOST_COMMENT_BYTES).then(|| carried::pack(cells)).flatten();
    match carried {
        Some(line) => {
            let text = comment_below(most.saturating_sub(line.len() + 1), origin, cells);
            format!("{text}{line}\n")
        }
        None => comment_below(most, origin, cells),
    }
}

/// The page as it would be sent now, with nothing there yet.
pub(super) fn first_body(page: &Page<'_>) -> String {
    render(MOST_COMMENT_BYTES, page, &page.origin, page.cells)
}

/// GitHub may change line ends and drop blanks at the end.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
    plain(one) == plain(other)
}

/// Whether a first comment is worth a reviewer's mail.
pub(super) fn is_news(cells: &[Cell]) -> bool {
    let standing = worst(cells);
    standing.is_bad()
        || cells.iter().any(|cell| cell.standing() == crate::report::comment::Standing::Improved)
}

impl Comments<'_> {
    fn attempt(&self) -> String {
        format!("comment on {}#{}", self.repository, self.number)
    }

    fn one_url(&self, id: u64) -> reqwest::Url {
        self.context.url(&format!("repos/{}/issues/comments/{id}", self.repository))
    }

    async fn own(&self, marker: &Marker, me: &str) -> Result<Vec<Found>, GithubError> {
        let attempt = format!("read the comments of {}#{}", self.repository, self.number);
        let mut url = list_url(self.context, self.repository, self.number);
        url.query_pairs_mut().append_pair("per_page", "100");
        let listed = self
            .client
            .list(&attempt, &url, |page| match page {
                Value::Array(items) => Some(items),
                _ => None,
            })
            .await?;
        Ok(listed
            .iter()
            .filter(|value| author(value).is_some_and(|login| login.eq_ignore_ascii_case(me)))
            .filter_map(found)
            .filter(|found| marker.is_in(&found.body))
            .collect())
    }

    async fn one(&self, id: u64) -> Result<Option<Found>, GithubError> {
        match self.client.get(&self.attempt(), &self.one_url(id)).await {
            Ok(value) => Ok(found(&value)),
            Err(GithubError::NotFound { .. } | GithubError::Refused { status: 410, .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, body: &str) -> Result<(Found, Option<String>), GithubError> {
        let url = list_url(self.context, self.repository, self.number);
        let attempt = self.attempt();
        let made = self
            .client
            .send(&attempt, Method::POST, &url, &json!({ "body": body }), Repeat::MakesAnother)
            .await?;
        let cause = "it describes no comment".to_owned();
        let found = found(&made).ok_or(GithubError::Answer { attempt, cause })?;
        Ok((found, author(&made).map(str::to_owned)))
    }

    async fn change(&self, id: u64, body: &str) -> Result<(), GithubError> {
        self.client
            .send(
                &self.attempt(),
                Method::PATCH,
                &self.one_url(id),
                &json!({ "body": body }),
                Repeat::Harmless,
            )
            .await
            .map(drop)
    }

    async fn remove(&self, id: u64) -> Result<(), GithubError> {
        let attempt = format!("delete our second comment on {}#{}", self.repository, self.number);
        self.client.delete(&attempt, &self.one_url(id)).await
    }
}

pub(super) fn list_url(context: &Context, repository: &RepoName, number: u64) -> reqwest::Url {
    context.url(&format!("repos/{repository}/issues/{number}/comments"))
}

fn author(value: &Value) -> Option<&str> {
    value.pointer("/user/login").and_then(Value::as_str)
}

fn found(value: &Value) -> Option<Found> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Found {
        id: value.get("id")?.as_u64()?,
        body: text("body")?,
        url: text("html_url").unwrap_or_default(),
    })
}

/// The name that GitHub signs our comments with.
///
/// A person's token may ask for it. A job's token is an app's and may not (403), but the other API
/// tells it; where there is none, it is the one that every job has.
pub(super) async fn who_am_i(
    client: &Client<'_>,
    context: &Context,
) -> Result<String, GithubError> {
    const OF_EVERY_JOB: &str = "github-actions[bot]";
    let attempt = "ask GitHub who we are";
    let login = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    };
    let asked = client.get(attempt, &context.url("user")).await;
    match asked {
        Ok(value) => {
            if let Some(login) = login(&value, "/login") {
                return Ok(login);
            }
        }
        Err(GithubError::Forbidden { .. } | GithubError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let query = json!({ "query": "query { viewer { login } }" });
    match client.send(attempt, Method::POST, &context.graphql, &query, Repeat::Harmless).await {
        Ok(value) => Ok(login(&value, "/data/viewer/login").unwrap_or(OF_EVERY_JOB.to_owned())),
        Err(error @ (GithubError::Stopped(_) | GithubError::Unauthorized { .. })) => Err(error),
        Err(_unknown_there) => Ok(OF_EVERY_JOB.to_owned()),
    }
}
