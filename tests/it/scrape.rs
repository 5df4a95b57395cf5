//! Scraping a server over HTTP: pages, absence, failures, restarts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench_ci::cancel::{self, Cancel, StopReason};
use bench_ci::plan::{Credentials, Secret, Transport};
use bench_ci::scrape::{ControlPlane, Scrape, ScrapeSummary, Scraper, ServerIdentity, scrape};

const LIMIT: Duration = Duration::from_secs(30);

/// Status, further headers (each ending in CRLF), body.
type Reply = (u16, String, String);

/// A server that answers each path by `reply`, and notes the requests' heads.
struct Fake {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(mut reply: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { return };
                let mut buffer = [0; 8192];
                let count = connection.read(&mut buffer).unwrap_or(0);
                let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, headers, body) = reply(&path);
                noted.lock().expect("not poisoned").push(head);
                // Whoever asked may have gone away.
                let _gone_away = write!(
                    connection,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
                    body.len()
                );
            }
        });
        Self { url, heads }
    }

    fn control(&self) -> ControlPlane {
        ControlPlane::of_child(&self.url, None).expect("a client")
    }
}

fn page(prompt_tokens: u64) -> String {
    format!(
        "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n\
         # TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total {prompt_tokens}\n\
         # TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\n"
    )
}

fn ok(body: String) -> Reply {
    (200, String::new(), body)
}

async fn scraped(fake: &Fake, lines: usize) -> (ScrapeSummary, Vec<serde_json::Value>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sink = folder.path().join("server-metrics.jsonl");
    let interval = Duration::from_millis(10);
    let scraper = Scraper::start(fake.control(), None, interval, &sink, Cancel::never())
        .await
        .expect("a file");
    let read = || std::fs::read_to_string(&sink).expect("written");
    while read().lines().count() < lines {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let summary = scraper.finish().await;
    let parsed = read().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (summary, parsed)
}

#[tokio::test]
async fn counters_are_differenced_and_every_scrape_is_a_line() {
    let mut tokens = 100;
    let fake = Fake::start(move |_| {
        tokens += 10;
        ok(page(tokens))
    });
    let (summary, lines) = scraped(&fake, 4).await;
    let series = &summary.series["llamacpp:prompt_tokens_total"];
    assert!((series.first - 110.0).abs() < 1e-9);
    assert_eq!(series.delta, Some(10.0 * (lines.len() - 1) as f64));
    assert_eq!(summary.series["llamacpp:requests_processing"].delta, None);
    assert_eq!(summary.throughput().prompt_tokens, series.delta);
    assert_eq!((summary.pages, summary.failures), (lines.len() as u64, 0));
    assert_eq!(summary.warnings, Vec::<String>::new());
    assert!(!summary.restarted && summary.absent.is_none() && summary.server.is_none());
    assert!(summary.client.is_some_and(|client| client.rss_peak_bytes > 0));

    assert_eq!(lines[0]["phase"], "before");
    assert_eq!(lines[1]["phase"], "during");
    assert_eq!(lines[lines.len() - 1]["phase"], "after");
    assert_eq!(lines[0]["metrics"]["llamacpp:prompt_tokens_total"], 110.0);
    assert!(lines[0]["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert!(lines.windows(2).all(|pair| pair[0]["t_s"].as_f64() < pair[1]["t_s"].as_f64()));
}

#[tokio::test]
async fn a_server_without_metrics_is_asked_once_and_is_no_failure() {
    let fake = Fake::start(|_| (501, String::new(), "{}".to_owned()));
    let (summary, lines) = scraped(&fake, 4).await;
    assert_eq!(summary.absent.as_deref(), Some("/metrics answered 501: this server offers none"));
    assert_eq!((summary.pages, summary.failures), (0, 0));
    assert!(summary.series.is_empty() && summary.warnings.is_empty());
    assert!(lines.iter().all(|line| line["metrics"].is_null() && line["reason"].is_string()));
    assert_eq!(fake.heads.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_failed_scrape_is_a_warning_and_the_next_is_tried() {
    let mut count = 0;
    let fake = Fake::start(move |_| {
        count += 1;
        if count == 2 { (500, String::new(), String::new()) } else { ok(page(count)) }
    });
    let (summary, lines) = scraped(&fake, 4).await;
    assert_eq!((summary.failures, summary.pages), (1, lines.len() as u64 - 1));
    assert_eq!(summary.warnings, ["1 scrapes of /metrics failed, the last: /metrics answered 500"]);
}

#[tokio::test]
async fn a_restart_is_noticed_by_its_counters_and_by_its_header() {
    let mut count = 0;
    let fake = Fake::start(move |_| {
        count += 1;
        ok(page(if count < 3 { 1000 + count } else { count }))
    });
    let (summary, _) = scraped(&fake, 4).await;
    assert!(summary.restarted && summary.warnings.len() == 1);
    assert_eq!(summary.series["llamacpp:prompt_tokens_total"].resets, 1);

    let mut count = 0;
    let fake = Fake::start(move |_| {
        count += 1;
        let started = if count < 3 { 1000 } else { 2000 };
        (200, format!("Process-Start-Time-Unix: {started}\r\n"), page(count))
    });
    let (summary, _) = scraped(&fake, 4).await;
    assert!(summary.restarted);
}

#[tokio::test]
async fn a_page_that_is_not_metrics_is_a_failure_and_a_bad_line_is_a_warning() {
    let fake = Fake::start(|_| ok("<html>hello</html>".to_owned()));
    let found = scrape(&fake.control(), LIMIT).await;
    assert!(matches!(found, Scrape::Failed { .. }), "{found:?}");
    let fake = Fake::start(|_| ok(format!("{}broken line without a number\n", page(1))));
    let (summary, _) = scraped(&fake, 2).await;
    assert_eq!(summary.warnings, ["1 lines of /metrics could not be read"]);
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_both_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let control = ControlPlane::of_child(&url, None).expect("a client");
    match scrape(&control, Duration::from_millis(50)).await {
        Scrape::Failed { reason } => assert_eq!(reason, "/metrics gave no answer within 0.05 s"),
        other => panic!("{other:?}"),
    }
    drop(listener);
    match scrape(&control, LIMIT).await {
        // A connection that was queued when the listener went away is reset instead.
        Scrape::Failed { reason } => {
            assert!(reason.contains("refused") || reason.contains("reset"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cancelled_run_still_gets_its_last_scrape() {
    let fake = Fake::start(|_| ok(page(1)));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sink = folder.path().join("server-metrics.jsonl");
    let (canceller, cancel) = cancel::pair();
    let interval = Duration::from_secs(3600);
    let scraper =
        Scraper::start(fake.control(), None, interval, &sink, cancel).await.expect("a file");
    canceller.stop(StopReason::Interrupted);
    assert_eq!(scraper.finish().await.pages, 2);
}

#[tokio::test]
async fn an_external_server_gets_its_key_and_headers_at_its_root() {
    let fake = Fake::start(|path| match path {
        "/v1/models" => ok(r#"{"data":[{"id":"first"},{"id":"second"}]}"#.to_owned()),
        _ => (404, String::new(), String::new()),
    });
    let control = ControlPlane::of_external(
        &format!("{}/v1/", fake.url),
        &Credentials {
            api_key: Some(Secret::new("k3y".to_owned())),
            headers: vec![("X-Team".to_owned(), Secret::new("perf".to_owned()))],
        },
        &Transport::default(),
    )
    .expect("a client");
    let identity = ServerIdentity::ask(&control).await;
    assert_eq!(identity.model_id.as_deref(), Some("first"));
    assert_eq!((identity.total_slots, identity.has_chat_template), (None, None));
    assert_eq!(identity.missing, ["/props answered 404", "/slots answered 404"]);
    let heads = fake.heads.lock().expect("not poisoned");
    assert_eq!(heads.len(), 3);
    for head in heads.iter().map(|head| head.to_ascii_lowercase()) {
        assert!(
            head.contains("authorization: bearer k3y\r\n") && head.contains("x-team: perf\r\n"),
            "{head}"
        );
    }
}
