//! `--prometheus` against everything that a Prometheus can be besides well.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bench_ci::cancel::{self, Cancel, StopReason};
use bench_ci::load;
use bench_ci::plan::Secret;
use bench_ci::plan::prometheus::{Destination, QuerySpec, matchers};
use bench_ci::prometheus::{Asked, Window, ask};

use super::{Fake, Reply, everything, reply, warnings, with};
use crate::run::Bench;

const JSON: &str = "application/json";

fn spec(url: &str) -> QuerySpec {
    let url = url.to_owned();
    QuerySpec { at: Destination { url, authorization: None }, matchers: Vec::new() }
}

/// Asks of a load that went on for the last ten seconds.
async fn asked(spec: &QuerySpec, cancel: &Cancel) -> Asked {
    let end = load::now();
    let start = load::Stamp(end.0 - 10_000_000_000);
    let window = Window { start, end, own_interval: Duration::from_secs(1) };
    ask(spec, window, "http://127.0.0.1:8080/v1", Path::new("/nonexistent"), cancel).await
}

/// The value of a parameter of a query, as it stands in the path.
fn parameter<'a>(path: &'a str, name: &str) -> &'a str {
    let query = path.split_once('?').expect("a query").1;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.clone().find(|(key, _)| *key == name).unwrap_or_else(|| panic!("no {name}: {path}")).1
}

/// A matrix with these series, whatever was asked, at the first two points of the window.
fn matrix(path: &str, series: &[(&str, [&str; 2])]) -> Reply {
    let start: f64 = parameter(path, "start").parse().unwrap();
    let step: f64 = parameter(path, "step").parse().unwrap();
    let one = |(labels, values): &(&str, [&str; 2])| {
        let [first, second] = values;
        format!(
            r#"{{"metric":{{{labels}}},"values":[[{start},"{first}"],[{},"{second}"]]}}"#,
            start + step
        )
    };
    let all: Vec<String> = series.iter().map(one).collect();
    let body = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
        all.join(",")
    );
    reply(200, JSON, &body)
}

#[tokio::test]
async fn whatever_it_answers_there_is_a_reason_and_a_warning() {
    let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter"}"#;
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    for (answer, expected) in [
        (reply(400, JSON, error), "answered 400: invalid parameter"),
        (reply(401, "text/plain", "Unauthorized\n"), "answered 401: Unauthorized"),
        (reply(500, "text/html", "<html>oh</html>"), "it answered 500"),
        (reply(503, "text/plain", "Service Unavailable"), "answered 503: Service Unavailable"),
        (reply(302, "text/html", ""), "a redirect to \"http://elsewhere.invalid/x\""),
        (reply(200, "text/html", "<html></html>"), "a page: is this a Prometheus?"),
        (reply(200, JSON, "{\"status\":\"success\""), "something else than JSON"),
        (reply(200, JSON, "[]"), "no success"),
        (reply(200, JSON, error), "invalid parameter"),
        (reply(200, JSON, empty), "has no llamacpp: series"),
    ] {
        let fake = Fake::start(move |_| answer.clone());
        let asked = asked(&spec(&fake.url), &Cancel::never()).await;
        let why = asked.found.expect_err(expected);
        assert!(why.contains(expected) && why.contains(&fake.url), "{expected}: {why}");
        assert_eq!(asked.warnings, [why]);
    }
}

#[tokio::test]
async fn nobody_there_is_found_out_at_the_first_question() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asked = asked(&spec(&format!("http://{closed}")), &Cancel::never()).await;
    let why = asked.found.expect_err("nobody");
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_one_that_never_answers() {
    // Its queue takes the connection, and nobody ever reads it.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", mute.local_addr().unwrap());
    let (canceller, cancel) = cancel::pair();
    let spec = spec(&url);
    let asking = asked(&spec, &cancel);
    tokio::pin!(asking);
    tokio::select! {
        _ = &mut asking => panic!("it answered"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    canceller.stop(StopReason::Interrupted);
    let why = asking.await.found.expect_err("stopped");
    assert!(why.contains("stopped"), "{why}");
}

#[tokio::test]
async fn what_is_asked_is_a_query_range_of_the_window_with_the_matchers_in_it() {
    let fake = Fake::start(|path| matrix(path, &[(r#""instance":"h:1""#, ["1", "3"])]));
    let mut spec = spec(&format!("{}/behind/a/prefix", fake.url));
    spec.matchers = matchers("instance=h:1,job=~'a|b'").unwrap();
    spec.at.authorization = Some(Secret::new("Bearer hidden".to_owned()));
    let section = asked(&spec, &Cancel::never()).await.found.expect("an answer");
    let heads = fake.heads();
    for metric in ["prompt_tokens_seconds", "kv_cache_usage_ratio", "tokens_predicted_total"] {
        let query = format!(
            "query=llamacpp%3A{metric}%7Binstance%3D%22h%3A1%22%2Cjob%3D%7E%22a%7Cb%22%7D&"
        );
        let head = heads.iter().find(|head| head.contains(&query));
        let head = head.unwrap_or_else(|| panic!("{query} in {heads:#?}"));
        assert!(head.starts_with("GET /behind/a/prefix/api/v1/query_range?"), "{head}");
        assert!(head.to_ascii_lowercase().contains("authorization: bearer hidden"), "{head}");
        let path = head.split(' ').nth(1).unwrap();
        let number = |name| parameter(path, name).parse::<f64>().unwrap();
        assert!((number("end") - number("start") - 10.0).abs() < 0.01, "{path}");
        assert!(number("step") >= 1.0, "{path}");
    }
    let series = &section.series["llamacpp:prompt_tokens_seconds"];
    assert_eq!((series.min, series.mean, series.max), (Some(1.0), Some(2.0), Some(3.0)));
    assert_eq!(series.values, [1.0, 3.0]);
    assert_eq!(section.instance["instance"], "h:1");
    assert!(!serde_json::to_string(&section).unwrap().contains("hidden"));
}

#[tokio::test]
async fn values_that_are_none_are_left_out_and_a_metric_of_only_such_is_null() {
    let fake = Fake::start(|path| {
        if path.contains("requests_deferred") {
            return matrix(path, &[(r#""instance":"h:1""#, ["NaN", "+Inf"])]);
        }
        if path.contains("kv_cache") {
            return reply(422, JSON, r#"{"status":"error","error":"too many samples"}"#);
        }
        matrix(path, &[(r#""instance":"h:1""#, ["NaN", "2"])])
    });
    let section = asked(&spec(&fake.url), &Cancel::never()).await.found.expect("an answer");
    let some = &section.series["llamacpp:requests_processing"];
    assert_eq!((some.values.as_slice(), some.mean), (&[2.0][..], Some(2.0)));
    for (metric, expected) in
        [("requests_deferred", "is a number"), ("kv_cache_usage_ratio", "too many samples")]
    {
        let none = &section.series[&format!("llamacpp:{metric}")];
        assert_eq!(none.mean, None);
        let why = none.unknown.reason("mean").unwrap();
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn several_instances_are_not_guessed_among_unless_one_has_our_address() {
    let fake = Fake::start(|path| {
        matrix(
            path,
            &[
                (r#""instance":"a:1","job":"x""#, ["1", "1"]),
                (r#""instance":"b:1","job":"x""#, ["2", "2"]),
            ],
        )
    });
    let why = asked(&spec(&fake.url), &Cancel::never()).await.found.expect_err("two");
    for part in ["2 instances", r#"instance="a:1""#, r#"instance="b:1""#, "--prometheus-match"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let fake = Fake::start(|path| {
        matrix(
            path,
            &[(r#""instance":"a:1""#, ["1", "1"]), (r#""instance":"127.0.0.1:8080""#, ["2", "2"])],
        )
    });
    let section = asked(&spec(&fake.url), &Cancel::never()).await.found.expect("ours");
    assert_eq!(section.series["llamacpp:requests_processing"].mean, Some(2.0));
}

#[test]
fn a_run_is_the_same_with_a_prometheus_that_is_down() {
    let bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let mut command = bench.command(&with(&["--prometheus", &url, "--out-dir", "out"]));
    command.env("BENCH_CI_PROMETHEUS_BEARER_TOKEN", "very-hidden");
    let ran = bench.finish("out", command).checked(0);
    let report = ran.report();
    assert!(report["prometheus"].is_null());
    let why = report["unknown"]["prometheus"].as_str().unwrap();
    assert!(why.contains(&url) && why.contains("refused"), "{why}");
    assert!(warnings(&report).iter().any(|warning| warning.contains(why)), "{report}");
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    let all = everything(&bench, "out") + &ran.stderr + &ran.stdout;
    assert!(!all.contains("very-hidden"));
}

#[test]
fn without_the_flag_the_report_says_that_nobody_was_asked() {
    let bench = Bench::new();
    let ran = bench.run("out", &with(&[])).checked(0);
    let why = &ran.report()["unknown"]["prometheus"];
    assert!(why.as_str().unwrap().contains("--prometheus"), "{why}");
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let bench = Bench::new();
    for flag in ["--prometheus", "--prometheus-remote-write", "--pushgateway"] {
        let ran = bench.run("out", &with(&[flag, "http://me:hidden@127.0.0.1:1"]));
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: ") && ran.stderr.contains(flag), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hidden"), "{}", ran.stderr);
    }
}
