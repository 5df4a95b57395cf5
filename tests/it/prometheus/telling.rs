//! Our own metrics, served and pushed, without a real Prometheus.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use super::{BRISK, Fake, ask, everything, reply, warnings, with};
use crate::run::Bench;

/// A run that lasts until it is stopped, and where its metrics are.
struct Serving {
    child: std::process::Child,
    address: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Serving {
    fn start(bench: &Bench, more: &[&str]) -> Self {
        let mut command = bench.command(&BRISK);
        command.args(["--users", "2", "--serve-metrics", "127.0.0.1:0"]).args(more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended without an address");
            if let Some(url) = line.strip_prefix("metrics: http://") {
                break url.trim().trim_end_matches("/metrics").to_owned();
            }
        };
        Self { child, address, stderr }
    }

    /// Reads the page until `value` of a series is above 0.
    fn page_with(&self, series: &str, accept: &str) -> (String, String) {
        loop {
            let (status, head, body) = ask(&self.address, "GET /metrics", accept).unwrap();
            assert_eq!(status, 200, "{head}");
            let value = body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            let value: f64 =
                value.unwrap_or_else(|| panic!("no {series}: {body}")).parse().unwrap();
            if value > 0.0 {
                return (head, body);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// SIGINT, as by a person; its exit code and all that it said.
    fn stop(mut self) -> (i32, String) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }
}

#[test]
#[expect(clippy::float_cmp, reason = "they are counts")]
fn metrics_are_served_in_the_format_that_is_asked_for() {
    let bench = Bench::new();
    let branch = "a\"b\\c";
    let serving = Serving::start(&bench, &["--branch", branch, "--metric-label", "testid=4 2"]);
    let open = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let completed = "bench_ci_requests_completed_total{testid=\"4 2\"}";
    let (head, page) = serving.page_with(completed, open);
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    assert!(page.contains("# TYPE bench_ci_requests_completed counter\n"), "{page}");
    assert!(page.contains("# TYPE bench_ci_run info\n"), "{page}");
    assert!(page.contains(r#"branch="a\"b\\c""#), "{page}");
    assert!(page.contains("bench_ci_phase{phase=\"measuring\",testid=\"4 2\"} 1\n"), "{page}");
    assert!(page.contains("bench_ci_requests_failed_total{kind=\"http_5xx\",testid=\"4 2\"} 0\n"));

    let (head, page) = serving.page_with(completed, "");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(!page.contains("# EOF"), "{page}");
    assert!(page.contains("# TYPE bench_ci_requests_completed_total counter\n"), "{page}");
    // Whatever is counted is counted once in each: a page is of one instant.
    let value = |series: &str| -> f64 {
        let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series}: {page}")).parse().unwrap()
    };
    let labels = "{testid=\"4 2\"}";
    let completed = value(completed);
    assert!(completed >= 1.0);
    for histogram in ["ttft", "e2e"] {
        let count = value(&format!("bench_ci_{histogram}_seconds_count{labels}"));
        assert_eq!(count, completed, "{histogram}");
        let last = format!("bench_ci_{histogram}_seconds_bucket{{le=\"+Inf\",testid=\"4 2\"}}");
        assert_eq!(value(&last), count, "{histogram}");
        assert!(value(&format!("bench_ci_{histogram}_seconds_sum{labels}")) > 0.0);
    }
    // 12 tokens each, so 11 gaps; those of requests that end just now may be there before the rest.
    assert!(value(&format!("bench_ci_itl_seconds_count{labels}")) >= 11.0 * completed);
    assert_eq!(value(&format!("bench_ci_output_tokens_total{labels}")), 12.0 * completed);
    assert!(value(&format!("bench_ci_requests_started_total{labels}")) >= completed);

    let (exit, said) = serving.stop();
    assert_eq!(exit, 130, "{said}");
}

#[test]
fn strange_questions_are_answered_plainly_and_change_nothing() {
    let bench = Bench::new();
    let serving = Serving::start(&bench, &[]);
    let status = |request: &str| ask(&serving.address, request, "").unwrap().0;
    for (request, expected) in [
        ("GET /", 200),
        ("GET /metrics?x=y", 200),
        ("GET /other", 404),
        ("GET /metrics/../etc", 404),
        ("POST /metrics", 405),
        ("DELETE /metrics", 405),
    ] {
        assert_eq!(status(request), expected, "{request}");
    }
    let (_, head, body) = ask(&serving.address, "HEAD /metrics", "").unwrap();
    assert!(body.is_empty() && !head.contains("Content-Length: 0\r\n"), "{head}");
    for garbage in [&b"\0\x01\x02 nonsense\r\n\r\n"[..], &[b'a'; 40_000]] {
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        // It may be hung up on before it has said all of it.
        drop(stream.write_all(garbage));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
    }
    // One that says nothing keeps nobody else from being answered.
    let _silent = TcpStream::connect(&serving.address).unwrap();
    // Two requests on one connection.
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut both = String::new();
    stream.read_to_string(&mut both).unwrap();
    assert!(both.contains("200 OK") && both.contains("404 Not Found"), "{both}");
    let (exit, said) = serving.stop();
    assert_eq!(exit, 130, "{said}");
}

#[test]
fn an_address_that_cannot_be_had_ends_the_run_before_anything_starts() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (address, expected) in [
        (address.as_str(), "another process listens there"),
        // An address of documentation, which no machine has.
        ("192.0.2.1:9464", "no such address"),
        ("127.0.0.1", "it ends in no port"),
    ] {
        let ran = bench.run("out", &with(&["--serve-metrics", address]));
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("hint: "), "{}", ran.stderr);
        assert!(!bench.path("out/server.log").exists(), "a server was started");
        assert!(!bench.path("out/report.json").exists());
    }
}

#[test]
fn a_push_that_is_refused_keeps_the_results_and_is_exit_code_8() {
    let bench = Bench::new();
    for (flag, status, expected) in [
        ("--prometheus-remote-write", 404, "--web.enable-remote-write-receiver"),
        ("--pushgateway", 400, "answered 400: no such group"),
    ] {
        let fake = Fake::start(move |_| reply(status, "text/plain", "no such group\n"));
        let ran = bench.run("out", &with(&[flag, &fake.url])).checked(8);
        let report = ran.report();
        assert_eq!(report["run"]["status"], "completed");
        assert_eq!(report["requests"]["completed"], 6);
        let told = warnings(&report);
        let found = told.iter().any(|it| it.contains("published") && it.contains(expected));
        assert!(found, "{expected} in {told:?}");
        assert!(ran.stderr.contains(&fake.url), "{}", ran.stderr);
        assert!(ran.first_line().contains("publishing failed"), "{}", ran.first_line());
    }
}

#[test]
fn a_push_that_fails_once_and_then_goes_well_is_no_failure() {
    let bench = Bench::new();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let fake = Fake::start(move |_| {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if first { reply(503, "text/plain", "wait") } else { reply(200, "text/plain", "") }
    });
    let ran = bench.run("out", &with(&["--pushgateway", &fake.url])).checked(0);
    let told = warnings(&ran.report());
    assert!(told.iter().any(|it| it.contains("1 of ") && it.contains("failed")), "{told:?}");
}

#[test]
fn what_is_pushed_goes_where_it_was_asked_to_with_its_own_secret() {
    let bench = Bench::new();
    let gateway = Fake::start(|_| reply(200, "text/plain", ""));
    let writer = Fake::start(|_| reply(204, "text/plain", ""));
    let flags = with(&[
        "--pushgateway",
        &gateway.url,
        "--prometheus-remote-write",
        &writer.url,
        "--metric-label",
        "testid=a b",
        "--metric-label",
        "instance=x/y",
        "--out-dir",
        "out",
    ]);
    let mut command = bench.command(&flags);
    command
        .env("BENCH_CI_PUSHGATEWAY_USERNAME", "me")
        .env("BENCH_CI_PUSHGATEWAY_PASSWORD", "gateway-hunter2")
        .env("BENCH_CI_REMOTE_WRITE_BEARER_TOKEN", "writer-hunter2");
    let ran = bench.finish("out", command).checked(0);
    let (gateway, writer) = (gateway.heads(), writer.heads());
    for head in &gateway {
        assert!(
            head.starts_with("PUT /metrics/job/bench-ci/instance@base64/eC95/testid/a%20b "),
            "{head}"
        );
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains("authorization: basic bwu6z2f0zxdhes1odw50zxiy"), "{head}");
        assert!(lower.contains("content-type: text/plain; version=0.0.4"), "{head}");
    }
    for head in &writer {
        assert!(head.starts_with("POST /api/v1/write "), "{head}");
        let lower = head.to_ascii_lowercase();
        for header in [
            "authorization: bearer writer-hunter2",
            "content-type: application/x-protobuf",
            "content-encoding: snappy",
            "x-prometheus-remote-write-version: 0.1.0",
        ] {
            assert!(lower.contains(header), "{header} in {head}");
        }
    }
    assert!(gateway.len() >= 2 && writer.len() >= 2, "at the beginning and at the end");
    let all = everything(&bench, "out") + &ran.stderr + &ran.stdout;
    assert!(!all.contains("hunter2"));
}

#[test]
fn a_sweep_that_cannot_be_told_keeps_its_cells_and_is_exit_code_8() {
    let bench = Bench::new();
    let gateway = Fake::start(|_| reply(400, "text/plain", "refused"));
    let swept = ["--n-prompts", "4", "--sweep", "users=1,2", "--pushgateway", &gateway.url];
    let ran = bench.run("out", &[&BRISK[..], &swept].concat());
    assert_eq!(ran.exit, 8, "{}{}", ran.stdout, ran.stderr);
    let suite: serde_json::Value = serde_json::from_str(&ran.file("suite.json")).unwrap();
    assert_eq!(suite["suite"]["exit_code"], 8);
    assert!(suite["cells"].as_array().unwrap().iter().all(|cell| cell["exit_code"] == 0));
    let told = warnings(&suite);
    assert!(told.iter().any(|it| it.contains("published") && it.contains("refused")), "{told:?}");
}
