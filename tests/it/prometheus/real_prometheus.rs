//! With Debian's Prometheus and Pushgateway running: a run is scraped, asked about, pushed and read back.
//!
//! `cargo xtask test` gets them; by hand: `BENCH_CI_TEST_PROMETHEUS=$(cargo xtask prometheus)`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::examples::example;
use super::{BRISK, ask, get, warnings};
use crate::run::{Bench, Ran};

/// Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port is free when it is looked for, and may be taken a moment later by somebody else.
const ATTEMPTS: u32 = 5;

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("BENCH_CI_TEST_PROMETHEUS").expect(
        "BENCH_CI_TEST_PROMETHEUS is not set: `cargo xtask prometheus` gets it and prints it",
    );
    Path::new(&folder).join(name)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server of the tests' own; killed and waited for when it goes out of scope.
struct Running {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    /// Starts what `command` makes of an address and a folder, and waits until it is ready.
    fn start(command: impl Fn(&str, &Path) -> Command) -> Self {
        let mut logs = Vec::new();
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().unwrap();
            let address = format!("127.0.0.1:{}", free_port());
            let mut command = command(&address, folder.path());
            let log = std::fs::File::create(folder.path().join("log")).unwrap();
            command
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let mut running = Self { child: command.spawn().unwrap(), address, _folder: folder };
            let begun = Instant::now();
            while running.child.try_wait().unwrap().is_none() {
                assert!(begun.elapsed() < PATIENCE, "{:?} is not ready", running.log());
                let ready = ask(&running.address, "GET /-/ready", "");
                if ready.is_ok_and(|(status, _, _)| status == 200) {
                    return running;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            logs.push(running.log());
        }
        panic!("it never became ready: {logs:?}");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default()
    }

    /// A Prometheus that scrapes these, each under its job's name.
    fn prometheus(jobs: &[(&str, &str)]) -> Self {
        let mut config = "global:\n  scrape_interval: 500ms\nscrape_configs:\n".to_owned();
        for (job, target) in jobs {
            config.push_str(&format!(
                "  - job_name: {job}\n    static_configs:\n      - targets: [\"{target}\"]\n"
            ));
        }
        if jobs.is_empty() {
            config = "global: {}\n".to_owned();
        }
        Self::start(|address, folder| {
            std::fs::write(folder.join("prometheus.yml"), &config).unwrap();
            let mut command = Command::new(program("prometheus"));
            command
                .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
                .arg(format!("--web.listen-address={address}"))
                .arg("--web.enable-remote-write-receiver");
            command
        })
    }

    fn pushgateway() -> Self {
        Self::start(|address, _| {
            let mut command = Command::new(program("prometheus-pushgateway"));
            command.arg(format!("--web.listen-address={address}"));
            command
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The result of an instant query.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = get(&self.address, &format!("/api/v1/query?query={encoded}"));
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// All samples of the only series that matches, as `(seconds, value)`.
    fn samples(&self, selector: &str) -> Vec<(f64, f64)> {
        let found = self.query(&format!("{selector}[10m]"));
        assert_eq!(found.len(), 1, "{selector}: {found:?}");
        let values = found[0]["values"].as_array().unwrap().iter();
        values
            .map(|pair| (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse().unwrap()))
            .collect()
    }
}

/// A run of some seconds against the simulator, whose port is known beforehand.
fn run(bench: &Bench, port: u16, more: &[&str]) -> Ran {
    let port = port.to_string();
    let flags = ["--users", "2", "--port", &port, "--duration", "8s"];
    bench.run("out", &[&BRISK[..], &flags, more].concat())
}

#[test]
fn a_prometheus_scrapes_a_run_and_its_series_come_back() {
    let (server, metrics) = (free_port(), free_port());
    let (server_at, metrics_at) = (format!("127.0.0.1:{server}"), format!("127.0.0.1:{metrics}"));
    let prometheus = Running::prometheus(&[("llama", &server_at), ("own", &metrics_at)]);
    let bench = Bench::new();
    let branch = "a\"b\\c";
    let flags =
        ["--serve-metrics", &metrics_at, "--prometheus", &prometheus.url(), "--branch", branch];
    let ran = run(&bench, server, &flags).checked(0);
    let report = ran.report();

    // What came back is what Prometheus really has, sample by sample.
    let section = &report["prometheus"];
    assert!(section.is_object(), "{}", report["unknown"]["prometheus"]);
    assert_eq!(section["instance"]["instance"], server_at.as_str());
    let began = chrono::DateTime::parse_from_rfc3339(section["start"].as_str().unwrap()).unwrap();
    let began = began.timestamp_millis() as f64 / 1e3;
    for metric in ["tokens_predicted_total", "requests_processing", "predicted_tokens_seconds"] {
        let name = format!("llamacpp:{metric}");
        let series = &section["series"][&name];
        let numbers = |column: &str| -> Vec<f64> {
            let numbers = series[column].as_array().unwrap().iter();
            numbers.map(|number| number.as_f64().unwrap()).collect()
        };
        let (times, values) = (numbers("t_s"), numbers("values"));
        assert!(times.len() >= 3, "{metric}: {series}");
        assert!(times.is_sorted_by(|left, right| left < right), "{series}");
        let real = prometheus.samples(&name);
        for (t_s, value) in times.iter().zip(&values) {
            let at = began + t_s;
            let found = real
                .iter()
                .any(|(when, real)| (when - at).abs() < 0.003 && real.to_bits() == value.to_bits());
            assert!(found, "{metric} {value} at {at} in {real:?}");
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((series["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{series}");
    }
    // And it agrees with what we saw ourselves.
    for (name, series) in section["series"].as_object().unwrap() {
        if name.ends_with("_total") && series["values"][0].is_number() {
            let agreement = &series["agreement"];
            assert!(agreement["compared"].as_u64().unwrap() >= 3, "{name}: {series}");
            assert_eq!(agreement["agrees"], true, "{name}: {agreement}");
        }
    }
    assert!(!warnings(&report).iter().any(|it| it.contains("do not agree")), "{report}");
    // The simulator has it not, like llama-server today.
    let absent = &section["series"]["llamacpp:kv_cache_usage_ratio"];
    assert!(absent["mean"].is_null() && absent["unknown"]["mean"].is_string(), "{absent}");

    // Our own metrics were scraped while it lasted.
    let completed = report["requests"]["completed"].as_f64().unwrap();
    let seen = prometheus.samples("bench_ci_requests_completed_total{job=\"own\"}");
    assert!(seen.iter().any(|(_, value)| *value > 0.0), "{seen:?}");
    assert!(seen.iter().all(|(_, value)| *value <= completed), "{seen:?} of {completed}");
    let info = prometheus.query("last_over_time(bench_ci_run_info[10m])");
    assert_eq!(info[0]["metric"]["branch"], branch, "{info:?}");
    let quantile = prometheus.query(
        "histogram_quantile(0.5, sum by (le) (max_over_time(bench_ci_ttft_seconds_bucket[10m])))",
    );
    let quantile: f64 = quantile[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!(quantile > 0.0 && quantile < 60.0, "{quantile}");
    let up = prometheus.samples("up{job=\"own\"}");
    assert!(up.iter().any(|(_, up)| *up > 0.5), "never scraped: {up:?}");
}

#[test]
fn another_server_under_the_same_metrics_is_found_out() {
    // Prometheus scrapes the first simulator while the load goes to the second.
    let (watched, loaded) = (free_port(), free_port());
    let watched_at = format!("127.0.0.1:{watched}");
    let prometheus = Running::prometheus(&[("llama", &watched_at)]);
    let bench = Bench::new();
    let mut idle = bench.command(&["sim", "--port", &watched.to_string(), "--metrics"]);
    let mut idle = idle.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while prometheus.query("up{job=\"llama\"} == 1").is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it is never scraped");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = run(&bench, loaded, &["--prometheus", &prometheus.url()]);
    idle.kill().unwrap();
    idle.wait().unwrap();
    let report = ran.checked(0).report();
    let told = warnings(&report);
    assert!(told.iter().any(|it| it.contains("do not agree within one interval")), "{told:?}");
    let agreement = &report["prometheus"]["series"]["llamacpp:tokens_predicted_total"]["agreement"];
    assert_eq!(agreement["agrees"], false, "{agreement}");
}

#[test]
#[expect(clippy::float_cmp, reason = "they are counts")]
fn what_is_written_and_pushed_is_read_back() {
    let (prometheus, gateway) = (Running::prometheus(&[]), Running::pushgateway());
    let bench = Bench::new();
    let (prometheus_url, gateway_url) = (prometheus.url(), gateway.url());
    let pushing = |more: &[&'static str]| {
        let flags = super::with(&["--prometheus-remote-write", &prometheus_url]);
        let label = ["--metric-label", "testid=4/2", "--runner-label", "a b"];
        let pushed = ["--pushgateway", &gateway_url, "--push-interval", "200ms"];
        let flags: Vec<&str> = [&flags[..], &label, &pushed, more].concat();
        bench.run("out", &flags).checked(0).report()
    };
    let report = pushing(&[]);
    let completed = report["requests"]["completed"].as_f64().unwrap();
    let selector =
        "bench_ci_requests_completed_total{job=\"bench-ci\",instance=\"a b\",testid=\"4/2\"}";
    let samples = prometheus.samples(selector);
    assert_eq!(samples.last().map(|(_, value)| *value), Some(completed), "{samples:?}");
    assert!(samples.len() >= 2, "{samples:?}");
    let buckets = prometheus.query("last_over_time(bench_ci_e2e_seconds_bucket{le=\"+Inf\"}[10m])");
    assert_eq!(buckets[0]["value"][1], completed.to_string().as_str(), "{buckets:?}");
    // The series has ended: without the marker the last value would be there for five minutes.
    assert_eq!(prometheus.query(selector), Vec::<Value>::new());

    let page = get(&gateway.address, "/metrics");
    let line = format!(
        "bench_ci_requests_completed_total{{instance=\"a b\",job=\"bench-ci\",testid=\"4/2\"}} {completed}\n"
    );
    assert!(page.contains(&line), "{line} in {page}");
    assert!(page.contains("bench_ci_ttft_seconds_bucket{"), "{page}");

    // The same group under k6's names: nothing of the earlier run stays in it.
    let report = pushing(&["--metric-names", "k6"]);
    let page = get(&gateway.address, "/metrics");
    assert!(!page.contains("bench_ci_"), "{page}");
    let value = |name: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name}: {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("k6_http_reqs_total"), report["requests"]["completed"].as_f64().unwrap());
    let p99 = value("k6_http_req_duration_p99");
    let longest = report["metrics"]["e2e_ms"]["max"].as_f64().unwrap() / 1e3;
    // From the begin of connecting, so a little longer; three digits are kept.
    assert!(p99 > 0.0 && p99 < longest * 1.01 + 0.1, "{p99} s, and e2e at most {longest} s");
    assert_eq!(prometheus.samples("k6_http_reqs_total").last().map(|(_, value)| *value), Some(6.0));
}

#[test]
fn promtool_takes_the_rules_and_the_configuration_and_the_rules_do_what_they_say() {
    let promtool = |arguments: &[&str], file: &Path| {
        let mut command = Command::new(program("promtool"));
        let output = command.args(arguments).arg(file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    };
    promtool(&["check", "rules"], &example("prometheus/alerts.yml"));
    promtool(&["check", "config"], &example("prometheus/prometheus.yml"));
    promtool(&["test", "rules"], &example("prometheus/alerts.test.yml"));
}
