//! What is answered to what, as GitHub's documentation and its refusals in the wild say it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Asked, Comment, REPOSITORY, Reply, Shared, Token, World};

/// Characters of a comment and of a check run's text.
const MOST_CHARACTERS: usize = 65_536;

/// Holds the first lists of comments back until all racers have asked; then each sees the comments of
/// that moment, however late it is answered.
pub(super) fn wait_for_the_others(shared: &Shared, asked: &Asked) -> Option<Vec<Comment>> {
    if asked.method != "GET" || !asked.path.ends_with("/comments") {
        return None;
    }
    let mut world = shared.world.lock().expect("no thread has panicked");
    if world.arrived >= world.meet {
        return None;
    }
    world.arrived += 1;
    let seen = world.comments.clone();
    shared.all_here.notify_all();
    // So long at most: a racer that never comes fails the test by what it leaves undone.
    let waited = shared
        .all_here
        .wait_timeout_while(world, Duration::from_secs(20), |world| world.arrived < world.meet);
    drop(waited);
    Some(seen)
}

/// The API.
pub(super) fn api(
    world: &mut World,
    shared: &Shared,
    asked: &Asked,
    seen: Option<Vec<Comment>>,
) -> Reply {
    let Some(seen) = seen else { return answer(world, shared, asked) };
    let now = std::mem::replace(&mut world.comments, seen);
    let reply = answer(world, shared, asked);
    world.comments = now;
    reply
}

fn answer(world: &mut World, shared: &Shared, asked: &Asked) -> Reply {
    if asked.headers.get("user-agent").is_none_or(String::is_empty) {
        return Reply::refusal(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
        );
    }
    if asked.headers.get("x-github-api-version").is_some_and(|version| version != "2022-11-28") {
        return Reply::refusal(400, "The API version is not supported");
    }
    let graphql = match shared.prefix {
        "" => "/graphql",
        _ => "/api/graphql",
    };
    let token = asked.headers.get("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let Some(token) = token.and_then(|token| world.tokens.get(token)).cloned() else {
        return Reply::refusal(401, "Bad credentials");
    };
    if asked.path == graphql && asked.method == "POST" && !world.no_graphql {
        return Reply::json(200, &json!({"data": {"viewer": {"login": token.login}}}));
    }
    let Some(path) = asked.path.strip_prefix(shared.prefix) else {
        return Reply::refusal(404, "Not Found");
    };
    let own = format!("/repos/{REPOSITORY}/");
    let reply = match path.strip_prefix(&own) {
        Some(rest) => repository(world, shared, asked, &token, rest),
        None if path == "/user" && token.is_app => {
            Reply::refusal(403, "Resource not accessible by integration")
        }
        None if path == "/user" => Reply::json(200, &json!({"login": token.login, "id": 1})),
        None => Reply::refusal(404, "Not Found"),
    };
    conditional(asked, reply)
}

/// 304 for what the client has already.
fn conditional(asked: &Asked, reply: Reply) -> Reply {
    if asked.method != "GET" || reply.status != 200 {
        return reply;
    }
    let mut hasher = DefaultHasher::new();
    reply.body.hash(&mut hasher);
    let etag = format!("W/\"{:016x}\"", hasher.finish());
    if asked.headers.get("if-none-match") == Some(&etag) {
        return Reply::empty(304).with("ETag", &etag);
    }
    reply.with("ETag", &etag)
}

fn repository(
    world: &mut World,
    shared: &Shared,
    asked: &Asked,
    token: &Token,
    rest: &str,
) -> Reply {
    if asked.method != "GET" && !token.may_write {
        return Reply::refusal(403, "Resource not accessible by integration");
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    match (asked.method.as_str(), parts.as_slice()) {
        (method, ["issues", issue, "comments"]) => {
            let issue = number(issue);
            if !world.pulls.iter().any(|pull| pull["number"] == issue) {
                return Reply::refusal(404, "Not Found");
            }
            match method {
                "GET" => comments(world, shared, asked, issue),
                _ => create(world, asked, token, issue),
            }
        }
        (method, ["issues", "comments", id]) => one(world, asked, method, number(id)),
        ("GET", ["pulls"]) => pulls(world, shared, asked),
        ("GET", ["pulls", id]) => {
            let found = world.pulls.iter().find(|pull| pull["number"] == number(id));
            found.map_or_else(|| Reply::refusal(404, "Not Found"), |pull| Reply::json(200, pull))
        }
        ("GET", ["actions", "runs", id]) => world
            .runs
            .get(&number(id))
            .map_or_else(|| Reply::refusal(404, "Not Found"), |run| Reply::json(200, run)),
        ("GET", ["actions", "runs", id, "artifacts"]) => {
            artifacts(world, shared, asked, number(id))
        }
        ("GET", ["actions", "artifacts", id, "zip"]) => {
            match world.artifacts.iter().find(|artifact| artifact.id == number(id)) {
                None => Reply::refusal(404, "Not Found"),
                Some(artifact) if artifact.expired => Reply::refusal(410, "Artifact has expired"),
                Some(_) => Reply::empty(302)
                    .with("Location", &format!("http://{}/blob/{id}?sig=s3cr3t", shared.storage)),
            }
        }
        ("POST", ["statuses", sha]) => status(world, asked, sha),
        ("GET", ["commits", sha, "check-runs"]) => {
            let name = asked.query.get("check_name");
            let found: Vec<&Value> = world
                .checks
                .iter()
                .filter(|check| check["head_sha"] == **sha)
                .filter(|check| name.is_none_or(|name| check["name"] == **name))
                .collect();
            Reply::json(200, &json!({"total_count": found.len(), "check_runs": found}))
        }
        ("POST", ["check-runs"]) => check(world, asked, token, None),
        ("PATCH", ["check-runs", id]) => check(world, asked, token, Some(number(id))),
        _ => Reply::refusal(404, "Not Found"),
    }
}

fn shown(comment: &Comment) -> Value {
    json!({
        "id": comment.id, "body": comment.body,
        "html_url": format!("https://github.test/{REPOSITORY}/pull/{}#issuecomment-{}", comment.number, comment.id),
        "user": {"login": comment.login, "type": if comment.login.ends_with("[bot]") { "Bot" } else { "User" }},
    })
}

/// One page of a list, with the links to others that GitHub gives.
fn page(shared: &Shared, asked: &Asked, all: &[Value]) -> (Vec<Value>, Option<String>) {
    let number = |name: &str| asked.query.get(name).and_then(|text| text.parse::<usize>().ok());
    let size = number("per_page").unwrap_or(30).clamp(1, 100);
    let page = number("page").unwrap_or(1).max(1);
    let shown: Vec<Value> = all.iter().skip((page - 1) * size).take(size).cloned().collect();
    let host = asked.headers.get("host").cloned().unwrap_or_default();
    let mut links = Vec::new();
    let mut link = |to: usize, rel: &str| {
        let mut query = asked.query.clone();
        query.insert("page".to_owned(), to.to_string());
        let mut url =
            reqwest::Url::parse(&format!("http://{host}{}", asked.path)).expect("it was asked for");
        url.query_pairs_mut().extend_pairs(&query);
        links.push(format!("<{url}>; rel=\"{rel}\""));
    };
    debug_assert!(asked.path.starts_with(shared.prefix));
    if page > 1 {
        link(page - 1, "prev");
    }
    if page * size < all.len() {
        link(page + 1, "next");
        link(all.len().div_ceil(size), "last");
    }
    (shown, (!links.is_empty()).then(|| links.join(", ")))
}

fn listed(body: &Value, links: Option<String>) -> Reply {
    let reply = Reply::json(200, body);
    match links {
        Some(links) => reply.with("Link", &links),
        None => reply,
    }
}

fn comments(world: &mut World, shared: &Shared, asked: &Asked, issue: u64) -> Reply {
    if world.lagging_lists > 0 {
        world.lagging_lists -= 1;
        return Reply::json(200, &json!([]));
    }
    let all: Vec<Value> =
        world.comments.iter().filter(|comment| comment.number == issue).map(shown).collect();
    let (page, links) = page(shared, asked, &all);
    listed(&Value::Array(page), links)
}

/// The text of a comment, or why it is refused.
fn text(asked: &Asked) -> Result<String, Reply> {
    let body: Value = serde_json::from_str(&asked.body)
        .map_err(|_| Reply::refusal(400, "Problems parsing JSON"))?;
    let text = body["body"].as_str().unwrap_or_default();
    if text.trim().is_empty() {
        return Err(Reply::invalid("IssueComment", "body", "Body cannot be blank"));
    }
    if text.chars().count() > MOST_CHARACTERS {
        return Err(Reply::invalid(
            "IssueComment",
            "data",
            "Body is too long (maximum is 65536 characters)",
        ));
    }
    Ok(text.to_owned())
}

fn create(world: &mut World, asked: &Asked, token: &Token, issue: u64) -> Reply {
    match text(asked) {
        Err(refusal) => refusal,
        Ok(text) => {
            let id = world.add_comment(issue, &token.login, &text);
            let made = world.comments.iter().find(|comment| comment.id == id);
            Reply::json(201, &shown(made.expect("it was just made")))
        }
    }
}

fn one(world: &mut World, asked: &Asked, method: &str, id: u64) -> Reply {
    let Some(at) = world.comments.iter().position(|comment| comment.id == id) else {
        return Reply::refusal(404, "Not Found");
    };
    match method {
        "DELETE" => {
            world.comments.remove(at);
            Reply::empty(204)
        }
        "PATCH" => match text(asked) {
            Err(refusal) => refusal,
            // Whoever may write may change anybody's comment, as with the real one.
            Ok(text) => {
                world.comments[at].body = text;
                Reply::json(200, &shown(&world.comments[at]))
            }
        },
        _ => Reply::json(200, &shown(&world.comments[at])),
    }
}

fn pulls(world: &World, shared: &Shared, asked: &Asked) -> Reply {
    // A filter that is not understood is ignored.
    let head = asked.query.get("head").filter(|head| head.contains(':'));
    let state = asked.query.get("state").map_or("open", String::as_str);
    let all: Vec<Value> = world
        .pulls
        .iter()
        .filter(|pull| state == "all" || pull["state"] == state)
        .filter(|pull| {
            let own = format!(
                "{}:{}",
                pull["head"]["user"]["login"].as_str().unwrap_or_default(),
                pull["head"]["ref"].as_str().unwrap_or_default()
            );
            head.is_none_or(|head| *head == own)
        })
        .cloned()
        .collect();
    let (page, links) = page(shared, asked, &all);
    listed(&Value::Array(page), links)
}

fn artifacts(world: &World, shared: &Shared, asked: &Asked, run: u64) -> Reply {
    let all: Vec<Value> = world
        .artifacts
        .iter()
        .filter(|artifact| artifact.run == run)
        .map(|artifact| {
            json!({
                "id": artifact.id, "name": artifact.name, "expired": artifact.expired,
                "size_in_bytes": artifact.announced_bytes,
                "archive_download_url": "http://127.0.0.1:9/never",
            })
        })
        .collect();
    let (page, links) = page(shared, asked, &all);
    listed(&json!({"total_count": all.len(), "artifacts": page}), links)
}

fn status(world: &mut World, asked: &Asked, sha: &str) -> Reply {
    let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let description = body["description"].as_str().unwrap_or_default();
    if description.chars().count() > 140 {
        return Reply::invalid(
            "Status",
            "description",
            "description is too long (maximum is 140 characters)",
        );
    }
    if !["error", "failure", "pending", "success"].contains(&body["state"].as_str().unwrap_or("")) {
        return Reply::invalid("Status", "state", "state is not included in the list");
    }
    world.statuses.push((sha.to_owned(), body.clone()));
    Reply::json(201, &body)
}

fn check(world: &mut World, asked: &Asked, token: &Token, id: Option<u64>) -> Reply {
    if !token.is_app {
        return Reply::refusal(403, "You must authenticate via a GitHub App.");
    }
    let mut body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
    let summary = body["output"]["summary"].as_str().unwrap_or_default();
    if summary.chars().count() >= MOST_CHARACTERS {
        return Reply::invalid("CheckRun", "summary", "summary exceeds a maximum length of 65535");
    }
    match id {
        None => {
            let id = world.next_id();
            body["id"] = json!(id);
            world.checks.push(body.clone());
            Reply::json(201, &body)
        }
        Some(id) => match world.checks.iter_mut().find(|check| check["id"] == id) {
            None => Reply::refusal(404, "Not Found"),
            Some(known) => {
                body["id"] = json!(id);
                *known = body.clone();
                Reply::json(200, &body)
            }
        },
    }
}

/// The storage behind downloads. A signed address and a token are one authorization too many for it.
pub(super) fn storage(world: &mut World, asked: &Asked) -> Reply {
    if asked.headers.contains_key("authorization") {
        return Reply::refusal(400, "InvalidAuthenticationInfo");
    }
    if asked.query.get("sig").map(String::as_str) != Some("s3cr3t") {
        return Reply::refusal(403, "AuthenticationFailed");
    }
    let id = asked.path.rsplit('/').next().and_then(|id| id.parse::<u64>().ok());
    let found = world.artifacts.iter().find(|artifact| Some(artifact.id) == id);
    found.map_or_else(
        || Reply::refusal(404, "BlobNotFound"),
        |artifact| Reply { status: 200, headers: Vec::new(), body: artifact.bytes.clone() },
    )
}
