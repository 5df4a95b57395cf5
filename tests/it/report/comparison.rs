//! Comparisons of two servers as their files would hold them, for what shows them.

use bench_ci::artifact::AbReport;
use serde_json::{Value, json};

/// One gated metric: name, unit, whether higher is better, base, change and interval per cent,
/// verdict.
pub(crate) struct Gate(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) bool,
    pub(crate) f64,
    pub(crate) [f64; 3],
    pub(crate) &'static str,
);

pub(crate) const SLOWER: Gate =
    Gate("output_tokens_per_second", "tokens/s", true, 812.0, [-3.4, -4.6, -2.3], "regressed");
pub(crate) const TTFT_SAME: Gate =
    Gate("ttft_ms_p50", "ms", false, 41.2, [0.6, -0.9, 2.0], "no-regression");
pub(crate) const ITL_SAME: Gate =
    Gate("itl_ms_p50", "ms", false, 4.9, [0.1, -0.4, 0.5], "no-regression");
pub(crate) const SAME: Gate =
    Gate("output_tokens_per_second", "tokens/s", true, 812.0, [0.2, -0.5, 0.9], "no-regression");
pub(crate) const FASTER: Gate =
    Gate("output_tokens_per_second", "tokens/s", true, 812.0, [20.4, 18.2, 22.7], "improved");
pub(crate) const UNSURE: Gate =
    Gate("output_tokens_per_second", "tokens/s", true, 14.1, [-1.3, -3.9, 1.2], "inconclusive");

fn comparison(gate: &Gate, role: &str) -> Value {
    let Gate(metric, unit, higher, base, [change, low, high], verdict) = gate;
    let head = base * (1.0 + change / 100.0);
    let spread =
        |median: f64| json!({"median": median, "min": 0.98 * median, "max": 1.02 * median});
    let gates = role == "gate";
    json!({
        "metric": metric, "unit": unit, "better": if *higher { "higher" } else { "lower" },
        "role": role, "base": spread(*base), "head": spread(head),
        "change_pct": change, "ci_pct": [low, high], "ci_level": 0.958,
        "p": 0.001, "p_holm": gates.then_some(0.003), "q": (!gates).then_some(0.02),
        "resolution_pct": (high - low) / 2.0, "mde80_pct": 1.6,
        "regression80_pct": gates.then_some(2.9), "pairs": 12, "outliers": 0,
        "position_effect_pct": 0.1, "bar_pct": gates.then_some(if *metric == "ttft_ms_p50" { 3.0 } else { 2.0 }),
        "floor": 0.0, "verdict": gates.then_some(verdict),
        "needed_pairs": (*verdict == "inconclusive").then_some(40),
        "sentence": format!("{metric} changed"),
    })
}

fn side(label: &str, commit: &str) -> Value {
    json!({
        "label": label, "kind": "llama-server", "ref": null, "commit": commit, "build": null,
        "version": "b11434", "command": [format!("{label}/llama-server"), "--model", "m.gguf"],
        "args": [], "env": [], "start_s": 0.6, "requests": 1600, "failed": 0, "failures": {},
        "prompt_tokens": 51200, "output_tokens": 51200, "crash": null,
    })
}

fn trial(pair: u64, slot: u64, side: &str, rate: f64) -> Value {
    json!({
        "pair": pair, "attempt": 0, "slot": slot, "side": side, "folder": format!("trials/{pair}-{side}"),
        "start_s": 0.6, "warmup": {"waves": 4, "settled": true, "failed": 0}, "slices": 30,
        "requests": 120, "failed": 0, "tokens": {"prompt": 3840, "output": 3840},
        "metrics": {"output_tokens_per_second": rate}, "probe": {"before_ms": 200.0, "after_ms": 201.0},
        "steal_pct": 0.0, "load_average": 1.0, "cpu_mhz": 2600.0, "idle_cpu_ratio": 0.0,
        "valid": true, "reason": null,
    })
}

/// A comparison of these gates that comes to `verdict`.
pub(crate) fn comparing(gates: &[Gate], verdict: &str) -> AbReport {
    let observed = Gate("e2e_ms_p50", "ms", false, 353.0, [3.1, 2.0, 4.2], "regressed");
    let mut comparisons: Vec<Value> = gates.iter().map(|gate| comparison(gate, "gate")).collect();
    comparisons.push(comparison(&observed, "observe"));
    let (rate, change) = gates.first().map_or((812.0, 0.0), |gate| (gate.3, gate.4[0]));
    let trials: Vec<Value> = (0..12_u64)
        .flat_map(|pair| {
            let wobble = 1.0 + 0.004 * (pair as f64 * 5.0 % 7.0 - 3.0);
            let first = pair % 2;
            [
                trial(pair, first, "base", rate),
                trial(pair, 1 - first, "head", rate * (1.0 + change / 100.0) * wobble),
            ]
        })
        .collect();
    let order: Vec<&str> = (0..12).map(|pair| if pair % 2 == 0 { "AB" } else { "BA" }).collect();
    let value = json!({
        "schema": "bench-ci.ab/1",
        "tool": {"name": "bench-ci", "version": "0.1.0", "commit": null},
        "run": {
            "id": "1", "name": "", "runner_label": "cuda-t4", "branch": "feature", "commit": "a".repeat(40),
            "dirty": false, "started_at": "2026-11-22T06:00:00.000Z", "finished_at": "2026-11-22T06:09:00.000Z",
            "duration_s": 540.0, "status": "completed", "causes": [], "exit_code": 0,
        },
        "machine": {
            "os": "Ubuntu 24.04", "kernel": "6.8.0", "cpu_model": "AMD EPYC 7763 64-Core Processor", "cores": 4,
            "memory_bytes": 16_000_000_000_u64, "gpus": [], "cgroup_cpu_limit": null, "fingerprint": "f",
        },
        "model": {
            "source": "synthetic", "hf_repo": null, "hf_file": null, "revision": null, "file": "15m-f32.gguf",
            "size_bytes": 60_000_000, "sha256": "c".repeat(64), "gguf": null,
        },
        "scenario": {
            "name": "ab", "file": null, "workload_hash": "d".repeat(64), "seed": 42,
            "endpoint": "/v1/chat/completions", "dataset": "builtin", "objectives": [],
            "max_prompt_words": null, "max_context_words": null, "phases": [],
        },
        "design": {
            "kind": "blocks", "aa": false, "seed": 42, "order": order, "pairs_planned": 16, "pairs_used": 12,
            "looks": [{"pairs": 9, "level": 0.0157}, {"pairs": 12, "level": 0.02}, {"pairs": 16, "level": 0.03}],
            "stopped_at": 12, "stopped_because": "answered", "alpha": 0.05, "delta_pct": 2.0, "level": 0.02,
            "slice_pairs": 30, "requests_per_slice": 4, "tokens_per_request": 32, "users": 4,
            "restart_reason": null, "budget_s": 600.0, "plan_digest": "e",
            "sittings": [{"started_at": "2026-11-22T06:00:00.000Z", "duration_s": 540.0}],
        },
        "sides": {"base": side("base", &"b".repeat(40)), "head": side("head", &"a".repeat(40))},
        "trials": trials, "comparisons": comparisons, "checks": [], "sessions": [],
        "verdict": verdict, "reasons": [], "warnings": [], "files": [],
    });
    serde_json::from_value(value).expect("a comparison as `ab` writes it")
}

#[test]
fn a_comparison_that_its_result_ended_early_says_at_which_look() {
    let page = |because: &str, at: u64| {
        let mut report = comparing(&[SAME], "no-regression");
        report.design.stopped_because = Some(because.to_owned());
        report.design.stopped_at = Some(at);
        bench_ci::report::ab_markdown::render(&report)
    };
    assert!(page("answered", 12).contains(", stopped at look 2 of 3, after 12: answered"));
    assert!(page("regressed", 9).contains(", stopped at look 1 of 3, after 9: regressed"));
    // The clock is no look.
    assert!(page("budget", 12).contains(", stopped after 12: budget"));
    assert!(page("interrupted", 10).contains(", stopped after 10: interrupted"));
}

#[test]
fn a_rise_in_failures_that_was_accepted_stands_above_every_number() {
    let first_lines = |gates: &[Gate], verdict: &str, reasons: &[&str]| {
        let mut report = comparing(gates, verdict);
        report.sides.head.failed = 16;
        report.reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        let page = bench_ci::report::ab_markdown::render(&report);
        let shown = bench_ci::report::ab_terminal::render(&report, 200, false);
        [page, shown].map(|text| text.lines().next().unwrap_or_default().to_owned())
    };
    let rise = "head fails more requests: 16 of 1600, base 0 of 1600";
    for (gates, verdict, then) in [
        (&[SLOWER], "regressed", "; head is slower: output_tokens_per_second −3.4 %"),
        (&[SAME], "no-regression", "; no slow-down that matters"),
        (&[UNSURE], "inconclusive", "; cannot tell: output_tokens_per_second −1.3 %"),
        // All gates improved, and that was withheld.
        (
            &[FASTER],
            "inconclusive",
            "; cannot tell: a server that fails more requests is not called improved",
        ),
    ] {
        let [page, shown] = first_lines(gates, verdict, &[rise]);
        assert!(page.contains(&format!(":** {rise}{then}")), "{page}");
        assert!(shown.starts_with(&format!("{verdict}: {rise}")), "{shown}");
    }
    // What is invalid says so first, with its own reason.
    let [page, _] = first_lines(&[FASTER], "invalid", &[rise]);
    assert!(page.contains(&format!(":** No evidence: {rise}")), "{page}");
    // As many failures of more requests are no rise.
    let mut report = comparing(&[SAME], "no-regression");
    (report.sides.base.failed, report.sides.base.requests) = (15, 1500);
    (report.sides.head.failed, report.sides.head.requests) = (16, 1600);
    let page = bench_ci::report::ab_markdown::render(&report);
    assert!(!page.contains("fails more"), "{page}");
}

#[test]
fn a_gate_that_one_side_lacks_is_shown_without_figures() {
    let mut report = comparing(&[ITL_SAME], "inconclusive");
    let gate = &mut report.comparisons[0];
    let why = "itl_ms_p50: no pair has a value of both sides (base has one in 9, head in 0)";
    gate.sentence = why.to_owned();
    (gate.pairs, gate.change_pct, gate.ci_pct, gate.resolution_pct) = (0, None, None, None);
    (gate.base, gate.head) = (None, None);
    gate.verdict = Some(bench_ci::artifact::AbVerdict::Inconclusive);
    let page = bench_ci::report::ab_markdown::render(&report);
    assert!(page.lines().next().unwrap().contains("Cannot tell: itl_ms_p50: no pair"), "{page}");
    assert!(page.contains("| `itl_ms_p50` ↓ | – | – | – | – |"), "{page}");
    let shown = bench_ci::report::ab_terminal::render(&report, 120, false);
    assert!(shown.contains("itl_ms_p50  – → –"), "{shown}");
}
