//! `bench-ci comment --dry-run`: the page, and every request that would be sent. It sends none.

use serde_json::{Value, json};

use super::command::{Order, Source, from_paths};
use super::context::{PullRequest, Subject};
use super::intake::Expected;
use super::publish::{self, Page};
use super::{GithubError, checks};
use crate::cli::CommentWhen;

/// What stands for a number that only GitHub knows.
const UNKNOWN: u64 = 0;

/// The page first, then the requests, one a line.
pub(super) fn run(order: &Order<'_>) -> Result<String, GithubError> {
    let Source::Paths(paths) = &order.source else {
        return Err(GithubError::Usage {
            what: "--dry-run asks nothing of GitHub, so it cannot download artifacts".to_owned(),
            hint: "name the reports, or folders or zip archives with them",
        });
    };
    let target = match &order.subject {
        Subject::PullRequest(found) => Some(found.clone()),
        Subject::Run(run) => {
            let own = order.repository.as_ref().is_some_and(|own| own.is(&run.repository));
            let fork = (!own).then(|| run.repository.clone());
            Some(PullRequest { number: UNKNOWN, head: run.head.clone(), fork })
        }
        Subject::Commit(_) | Subject::Nothing(_) => None,
    };
    let expected = Expected {
        head: target.as_ref().map(|target| target.head.clone()),
        repository: order.repository.as_ref().map(|own| own.as_str().to_owned()),
    };
    let taken = from_paths(paths, &expected);
    let origin = order.origin(target.as_ref(), &taken.cells);
    let page = Page {
        origin: origin.clone(),
        cells: &taken.cells,
        shared: order.is_shared(),
        expected: &expected,
        is_news: order.args.when == CommentWhen::Always || publish::is_news(&taken.cells),
    };
    let body = publish::first_body(&page);
    let mut text = body.clone();
    for (name, why) in &taken.refused {
        text.push_str(&format!("\nrefused: the report of \"{name}\": {why}\n"));
    }
    let mut requests = Requests { text: String::new() };
    let args = order.args;
    let number = args.pull_request.or(target.as_ref().map(|target| target.number));
    let (Some(repository), true) =
        (&order.repository, number.is_some() || args.status || args.check)
    else {
        text.push_str("\nNo request would be sent: nothing says which pull request.\n");
        return Ok(text);
    };
    let context = order.context;
    if let Subject::Run(run) = &order.subject {
        let mut url = context.url(&format!("repos/{repository}/pulls"));
        url.query_pairs_mut()
            .append_pair("state", "open")
            .append_pair("head", &format!("{}:{}", run.owner, run.branch))
            .append_pair("per_page", "100");
        requests.add("GET", url.as_str(), None);
    } else if let Some(number) = args.pull_request {
        let url = context.url(&format!("repos/{repository}/pulls/{number}"));
        requests.add("GET", url.as_str(), None);
    }
    if let (Some(number), true) = (number, args.when != CommentWhen::Never) {
        requests.add("GET", context.url("user").as_str(), None);
        let list = publish::list_url(context, repository, number);
        let list = match number {
            UNKNOWN => list.as_str().replace("/issues/0/", "/issues/NUMBER/"),
            _ => list.as_str().to_owned(),
        };
        requests.add("GET", &format!("{list}?per_page=100"), None);
        let sent = json!({ "body": body });
        if page.is_news {
            requests.add("POST", &list, Some(&sent));
        }
        let one = context.url(&format!("repos/{repository}/issues/comments/ID"));
        requests.say("or, if our comment is there already");
        requests.add("PATCH", one.as_str(), Some(&sent));
    }
    let head = origin.head.as_deref();
    if let (Some(head), true) = (head, args.status) {
        let url = checks::status_url(context, repository, head);
        let body = checks::status_body(&origin, &taken.cells);
        requests.add("POST", url.as_str(), Some(&body));
    }
    if let (Some(head), true) = (head, args.check) {
        let url = checks::check_url(context, repository);
        let body = checks::check_body(&origin, head, &taken.cells);
        requests.add("POST", url.as_str(), Some(&body));
    }
    text.push_str("\nRequests that would be sent:\n\n");
    text.push_str(&requests.text);
    Ok(text)
}

/// Lines of what would be sent; none holds the token, for none has headers.
struct Requests {
    text: String,
}

impl Requests {
    fn add(&mut self, method: &str, url: &str, body: Option<&Value>) {
        self.text.push_str(&format!("{method} {url}\n"));
        if let Some(body) = body {
            self.text.push_str(&format!("{body}\n"));
        }
    }

    fn say(&mut self, what: &str) {
        self.text.push_str(&format!("({what})\n"));
    }
}
