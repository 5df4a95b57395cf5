//! Every fault of the simulator through the whole job: the failure's name, the exit code, and that no
//! fault makes a server look faster.

use bench_ci::sim::fault::FaultKind;
use serde_json::Value;

use super::{Bench, Ran, metric};

const USERS: f64 = 4.0;
const TOKENS: f64 = 12.0;
/// First token after 20 ms, then 11 gaps of 5 ms: no request can take less, however fast the machine.
const SHORTEST_S: f64 = 0.075;

/// How a run against a fault must end.
enum Ends {
    /// Each request with the fault fails as this kind.
    Fails(&'static str),
    /// All complete; then what else must hold.
    Completes(fn(&Value)),
    /// The server is lost under load.
    ServerDies,
    /// The server never serves.
    NeverServes,
}

/// The fault as it is typed, and what must come of it. A new fault does not compile without a line.
fn expected(kind: FaultKind) -> (&'static str, Ends) {
    use Ends::{Completes, Fails, NeverServes, ServerDies};
    match kind {
        FaultKind::SlowHeaders => (
            "slow-headers:30",
            Completes(|report| {
                assert!(metric(report, "ttft_ms", "min") >= 49.0);
                // The server's timings say that the slot began before: no split is better than a wrong one.
                let queue = &report["metrics"]["queue_ms"];
                assert!(queue["p50"].is_null(), "{queue}");
                assert!(queue["unknown"]["p50"].as_str().unwrap().contains("headers come long"));
            }),
        ),
        FaultKind::EarlyHeaders => ("early-headers", Completes(first_token_after_20_ms)),
        FaultKind::NoContentType => ("no-content-type", Completes(first_token_after_20_ms)),
        FaultKind::Ping => (
            "ping:40",
            // A ping is no content: TTFT waits for the token.
            Completes(|report| assert!(metric(report, "ttft_ms", "min") >= 59.0)),
        ),
        FaultKind::RoleOnly => {
            ("role-only:40", Completes(|report| assert!(metric(report, "ttft_ms", "min") >= 59.0)))
        }
        FaultKind::Reasoning => (
            "reasoning",
            Completes(|report| {
                first_token_after_20_ms(report);
                one_delta_a_token(report);
            }),
        ),
        FaultKind::ToolCalls => (
            "tool-calls",
            Completes(|report| {
                first_token_after_20_ms(report);
                one_delta_a_token(report);
            }),
        ),
        FaultKind::Coalesce => (
            "coalesce:4",
            Completes(|report| {
                let tokens = &report["reconciliation"]["tokens"];
                assert_eq!(tokens["content_deltas"], tokens["usage_completion_tokens"]);
                // Three of four came with another: gaps of nothing, and the reader is told.
                let warnings = report["warnings"].to_string();
                assert!(warnings.contains("coalesced_deltas"), "{warnings}");
                assert!(warnings.contains("first_content_coalesced"), "{warnings}");
            }),
        ),
        FaultKind::MultiDelta => (
            "multi-delta:3",
            // Deltas are no tokens: the counts are the server's, the deltas ours.
            Completes(|report| {
                let tokens = &report["reconciliation"]["tokens"];
                let told = tokens["usage_completion_tokens"].as_u64().unwrap();
                assert_eq!(tokens["content_deltas"].as_u64().unwrap() * 3, told);
            }),
        ),
        FaultKind::HalfUtf8 => ("half-utf8", Completes(has_no_disagreement)),
        FaultKind::Crlf => ("crlf", Completes(one_delta_a_token)),
        FaultKind::SplitBytes => ("split-bytes", Completes(one_delta_a_token)),
        FaultKind::UsageInEveryChunk => ("usage-in-every-chunk", Completes(one_delta_a_token)),
        FaultKind::NoUsage => (
            "no-usage",
            Completes(|report| {
                first_token_after_20_ms(report);
                let rates = &report["rates"];
                assert!(rates["output_tokens_per_second"].is_null(), "deltas are no tokens");
                assert!(rates["unknown"]["output_tokens_per_second"].is_string(), "{rates}");
                let warnings = report["warnings"].to_string();
                assert!(warnings.contains("forced_length_unchecked"), "{warnings}");
            }),
        ),
        FaultKind::NoTerminator => ("no-terminator", Completes(one_delta_a_token)),
        FaultKind::NoFinish => ("no-finish", Completes(one_delta_a_token)),
        FaultKind::Stall => (
            "stall:150:0.02",
            Completes(|report| {
                let longest = metric(report, "itl_ms", "max").max(metric(report, "ttft_ms", "max"));
                assert!(longest >= 100.0, "{longest}");
            }),
        ),
        FaultKind::Empty => ("empty", Fails("empty")),
        FaultKind::Short => ("short", Fails("short")),
        // Only embeddings and scores have numbers to spoil; see `requests`.
        FaultKind::Nan => ("nan", Completes(one_delta_a_token)),
        FaultKind::NotJson => ("not-json", Fails("protocol")),
        FaultKind::BadChunkSize => ("bad-chunk-size", Fails("protocol")),
        FaultKind::ErrorBefore => ("error-before", Fails("http_5xx")),
        FaultKind::Status => ("status:429", Fails("http_4xx")),
        FaultKind::ErrorInStream => ("error-in-stream", Fails("stream_error")),
        FaultKind::Cut => ("cut", Fails("truncated")),
        FaultKind::CutRaw => ("cut-raw", Fails("truncated")),
        FaultKind::Reset => ("reset", Fails("reset")),
        FaultKind::HangBefore => ("hang-before", Fails("timeout_first")),
        FaultKind::HangMid => ("hang-mid", Fails("timeout_idle")),
        FaultKind::Crash => ("crash:6", ServerDies),
        FaultKind::RefuseStop => (
            "refuse-stop",
            Completes(|report| assert_eq!(report["server"]["exit"]["killed"], true)),
        ),
        FaultKind::DieAtStart => ("die-at-start:out of memory", NeverServes),
        FaultKind::NeverHealthy => ("never-healthy", NeverServes),
        FaultKind::SlowLoad => ("slow-load:100", Completes(first_token_after_20_ms)),
        FaultKind::ListenLate => ("listen-late:100", Completes(first_token_after_20_ms)),
    }
}

fn first_token_after_20_ms(report: &Value) {
    assert!(metric(report, "ttft_ms", "min") >= 19.9, "{}", report["metrics"]["ttft_ms"]);
}

fn one_delta_a_token(report: &Value) {
    let tokens = &report["reconciliation"]["tokens"];
    assert_eq!(tokens["content_deltas"], tokens["usage_completion_tokens"], "{tokens}");
    has_no_disagreement(report);
}

fn has_no_disagreement(report: &Value) {
    let found = report["reconciliation"]["disagreements"].as_array().unwrap();
    assert!(found.is_empty(), "{found:?}");
}

/// Sixteen requests of four users, with these faults.
fn play(bench: &Bench, server_flags: &[&str]) -> Ran {
    // Limits that a test of hanging servers can wait for.
    let impatient = super::BRISK.replace("first = \"60s\"", "first = \"1s\"");
    let impatient = impatient.replace("idle = \"60s\"", "idle = \"500ms\"");
    std::fs::write(bench.path("impatient.toml"), impatient).unwrap();
    let flags = ["--server", "sim", "--scenario", "./impatient.toml", "--n-prompts", "16"];
    // The suite shares the machine with other tests, and a late client must not be what is seen.
    let excused = ["--max-lateness", "1", "--start-timeout", "1500ms", "--stop-grace", "1s"];
    let slots = ["--parallel", "4", "--", "--sim-ttft-ms", "20", "--sim-itl-ms", "5"];
    bench.run("out", &[&flags[..], &excused, &slots, server_flags].concat())
}

/// No figure is above what a healthy server on this schedule can give at most.
fn is_no_faster_than_healthy(report: &Value, name: &str) {
    let most = USERS / SHORTEST_S;
    let whole = &report["rates"];
    for (figure, most) in
        [("requests_per_second", most), ("output_tokens_per_second", most * TOKENS)]
    {
        let found = whole[figure].as_f64().unwrap_or(0.0);
        assert!(found <= most * 1.001, "{name}: {figure} {found}, healthy at most {most}");
    }
    let steady = &report["rates"]["steady_state"]["output_tokens_per_second"];
    let found = steady.as_f64().unwrap_or(0.0);
    // Generated tokens are spread over their own time, where they come faster than over the request.
    let most = USERS * TOKENS / (SHORTEST_S - 0.020);
    assert!(found <= most * 1.001, "{name}: steady {found}, healthy at most {most}");
    for (figure, least) in [("ttft_ms", 20.0), ("e2e_ms", SHORTEST_S * 1e3)] {
        if let Some(found) = report["metrics"][figure]["min"].as_f64() {
            assert!(found >= least - 0.3, "{name}: {figure} {found}, healthy at least {least}");
        }
    }
}

fn check_fault(kind: FaultKind) {
    let (typed, ends) = expected(kind);
    assert!(typed.starts_with(kind.name()));
    let bench = Bench::new();
    // Where a fault fails requests, only every second has it: the others must not gain by it.
    let faults = ["--sim-fault", typed];
    let every_second = ["--sim-fault", typed, "--sim-fault-every", "2"];
    match ends {
        Ends::Completes(and) => {
            let ran = play(&bench, &faults).checked(0);
            let report = ran.report();
            assert_eq!(report["requests"]["completed"], 16, "{typed}: {:?}", ran.failures());
            is_no_faster_than_healthy(&report, typed);
            and(&report);
        }
        Ends::Fails(failure) => {
            let ran = play(&bench, &every_second).checked(5);
            let report = ran.report();
            assert_eq!(ran.failures(), [(failure.to_owned(), 8)], "{typed}: {}", ran.stdout);
            assert_eq!(report["requests"]["completed"], 8);
            let reasons = &report["client"]["reasons"];
            assert_eq!(reasons[0]["code"], "failed_requests", "{reasons}");
            let first = ran.first_line();
            assert!(first.contains(&format!("8 of 16 requests failed (8 {failure})")), "{first}");
            is_no_faster_than_healthy(&report, typed);
        }
        Ends::ServerDies => {
            let ran = play(&bench, &faults).checked(7);
            assert!(ran.first_line().contains("killed by SIGABRT"), "{}", ran.first_line());
            is_no_faster_than_healthy(&ran.report(), typed);
        }
        Ends::NeverServes => {
            let ran = play(&bench, &faults);
            assert_eq!(ran.exit, 7, "{typed}: {}", ran.stderr);
            let first = ran.first_line();
            assert!(first.starts_with("**Failed:** nothing was measured: "), "{first}");
        }
    }
}

#[test]
fn a_healthy_server_is_as_fast_as_its_schedule() {
    let bench = Bench::new();
    let ran = play(&bench, &[]).checked(0);
    let report = ran.report();
    is_no_faster_than_healthy(&report, "healthy");
    one_delta_a_token(&report);
    first_token_after_20_ms(&report);
}

/// The faults in parts, so that they are played side by side.
fn check_part(part: usize, parts: usize) {
    for kind in FaultKind::ALL.iter().skip(part).step_by(parts) {
        check_fault(*kind);
    }
}

#[test]
fn every_fault_ends_as_it_must_part_1_of_4() {
    check_part(0, 4);
}

#[test]
fn every_fault_ends_as_it_must_part_2_of_4() {
    check_part(1, 4);
}

#[test]
fn every_fault_ends_as_it_must_part_3_of_4() {
    check_part(2, 4);
}

#[test]
fn every_fault_ends_as_it_must_part_4_of_4() {
    check_part(3, 4);
}
