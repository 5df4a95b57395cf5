//! `ab --sessions`: what belongs together is put together, and nothing else.

use std::path::PathBuf;
use std::process::Command;

use bench_ci::artifact::{AbReport, ab_json_schema, unexplained_nulls};
use serde_json::{Value, json};

use crate::report::comparison::{Gate, ITL_SAME, SAME, SLOWER, TTFT_SAME, UNSURE, comparing};

/// Where the files of the machines lie.
struct Machines {
    folder: tempfile::TempDir,
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
    report: Option<Value>,
}

impl Machines {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A session on a machine of its own, changed as it is wanted.
    fn holds(&self, name: &str, gate: Gate, verdict: &str, change: impl Fn(&mut Value)) {
        let mut report = comparing(&[gate, TTFT_SAME, ITL_SAME], verdict).to_value();
        report["run"]["id"] = json!(format!("run of {name}"));
        report["machine"]["fingerprint"] = json!(format!("machine {name}"));
        change(&mut report);
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ab.json"), report.to_string()).unwrap();
    }

    fn together(&self, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
            .current_dir(self.folder.path())
            .env_clear()
            .args(["ab", "--progress", "none", "--out-dir", "out", "--sessions"])
            .args(words)
            .output()
            .unwrap();
        let text = std::fs::read(self.path("out/ab.json")).ok();
        let report: Option<Value> = text.map(|text| serde_json::from_slice(&text).unwrap());
        if let Some(report) = &report {
            let validator = jsonschema::validator_for(&ab_json_schema()).unwrap();
            let violations: Vec<String> =
                validator.iter_errors(report).map(|error| error.to_string()).collect();
            assert_eq!(violations, [""; 0]);
            assert_eq!(unexplained_nulls(report), [""; 0]);
            let _readable: AbReport = serde_json::from_value(report.clone()).unwrap();
        }
        Said {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report,
        }
    }
}

fn as_it_is(_report: &mut Value) {}

#[test]
fn three_machines_that_say_slower_confirm_it() {
    let machines = Machines::new();
    for name in ["a", "b", "c"] {
        machines.holds(name, SLOWER, "regressed", as_it_is);
    }
    machines.holds("b", SLOWER, "regressed", |report| {
        report["comparisons"][0]["change_pct"] = json!(-3.9);
        report["comparisons"][0]["ci_pct"] = json!([-5.1, -2.6]);
    });
    let said = machines.together(&["a", "b/ab.json", "c"]);
    assert_eq!(said.exit, 3, "{}", said.stderr);
    let words: Vec<&str> = said.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("confirmed by 3 sessions"), "{}", said.stdout);
    let report = said.report.unwrap();
    assert_eq!(report["verdict"], "regressed");
    assert_eq!(report["design"]["kind"], "sessions");
    assert_eq!(report["design"]["pairs_used"], 3);
    assert_eq!(report["sides"]["head"]["requests"], 4800, "counts are sums");
    let rate = &report["comparisons"][0];
    let change = rate["change_pct"].as_f64().unwrap();
    assert!((-3.9..=-3.4).contains(&change), "{change}");
    assert_eq!(rate["pairs"], 3);
    assert_eq!(report["sessions"].as_array().unwrap().len(), 3);
    let spread = &report["heterogeneity"][0];
    assert_eq!(spread["method"], "random-effects");
    assert_eq!(spread["tau_pct"], 0.0, "they differ by less than their noise");
    let page = std::fs::read_to_string(machines.path("out/ab.md")).unwrap();
    assert!(page.contains("| b/ab.json | cuda-t4 machine b | 12 | −3.9 % (−5.1 … −2.6)"), "{page}");
}

#[test]
fn of_two_both_must_say_it() {
    let machines = Machines::new();
    machines.holds("a", SLOWER, "regressed", as_it_is);
    machines
        .holds("b", UNSURE, "inconclusive", |report| report["comparisons"][0]["p"] = json!(0.3));
    let said = machines.together(&["a", "b"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert_eq!(said.report.unwrap()["verdict"], "inconclusive");
    let said = machines.together(&["a", "b", "--fail-on", "inconclusive"]);
    assert_eq!(said.exit, 4, "{}", said.stderr);
    machines.holds("b", SLOWER, "regressed", as_it_is);
    let said = machines.together(&["a", "b"]);
    assert_eq!(said.exit, 3, "{}", said.stderr);
    assert_eq!(said.report.unwrap()["heterogeneity"][0]["method"], "both");
    assert_eq!(machines.together(&["a", "b", "--fail-on", "never"]).exit, 0);
}

#[test]
fn machines_that_contradict_one_another_are_no_confirmation() {
    let machines = Machines::new();
    let rate = |change: f64| {
        move |report: &mut Value| {
            report["comparisons"][0]["change_pct"] = json!(change);
            report["comparisons"][0]["ci_pct"] = json!([change - 1.0, change + 1.0]);
        }
    };
    machines.holds("a", SLOWER, "regressed", rate(-9.0));
    machines.holds("b", SAME, "no-regression", rate(0.5));
    machines.holds("c", SAME, "no-regression", rate(-0.5));
    let said = machines.together(&["a", "b", "c"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let report = said.report.unwrap();
    assert_eq!(report["verdict"], "inconclusive");
    assert!(report["heterogeneity"][0]["i_squared_pct"].as_f64().unwrap() > 90.0);
    let checks = report["checks"].as_array().unwrap();
    let agree = checks.iter().find(|check| check["name"] == "machines_agree").unwrap();
    assert_eq!(agree["ok"], false, "{agree}");
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let check = |words: &str, change: fn(&mut Value)| {
        let machines = Machines::new();
        machines.holds("a", SLOWER, "regressed", as_it_is);
        machines.holds("b", SLOWER, "regressed", change);
        let said = machines.together(&["a", "b"]);
        assert_eq!(said.exit, 2, "{words}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
        assert!(said.report.is_none(), "{words}");
    };
    check("differ in the model", |report| report["model"]["sha256"] = json!("9".repeat(64)));
    check("differ in the workload", |report| report["scenario"]["dataset"] = json!("sharegpt"));
    check("differ in the workload", |report| report["scenario"]["name"] = json!("chat"));
    check("differ in the bars", |report| report["comparisons"][0]["bar_pct"] = json!(5.0));
    check("differ in the bars", |report| report["comparisons"][1]["role"] = json!("observe"));
    check("differ in head", |report| report["sides"]["head"]["commit"] = json!("e".repeat(40)));
    check("differ in the flags of head alone", |report| {
        report["sides"]["head"]["args"] = json!(["--ubatch-size", "64"]);
    });
    check("differ in the kind of server", |report| {
        report["sides"]["base"]["kind"] = json!("sim");
        report["sides"]["head"]["kind"] = json!("sim");
    });
    check("differ in --aa", |report| report["design"]["aa"] = json!(true));
    check("are one session, given twice", |report| report["run"]["id"] = json!("run of a"));
    check("was itself put together", |report| report["design"]["kind"] = json!("sessions"));
}

#[test]
fn paths_and_ports_of_a_machine_are_no_difference() {
    let machines = Machines::new();
    let command = |folder: &str, port: u16| {
        json!([
            format!("{folder}/llama-server"),
            "--model",
            format!("{folder}/m.gguf"),
            "--port",
            port.to_string(),
            "--parallel",
            "4"
        ])
    };
    for (name, folder, port) in [("a", "/opt/one", 8080), ("b", "/mnt/two", 9090)] {
        machines.holds(name, SLOWER, "regressed", |report| {
            report["sides"]["base"]["command"] = command(folder, port);
            report["sides"]["head"]["command"] = command(folder, port);
        });
    }
    assert_eq!(machines.together(&["a", "b"]).exit, 3);
}

#[test]
fn one_is_not_several_and_files_that_are_none_are_exit_9() {
    let machines = Machines::new();
    machines.holds("a", SLOWER, "regressed", as_it_is);
    let said = machines.together(&["a"]);
    assert_eq!(said.exit, 2, "{}", said.stderr);
    assert!(said.stderr.contains("nothing to be put together with"), "{}", said.stderr);
    assert_eq!(machines.together(&["a", "nowhere"]).exit, 9);
    machines.holds("b", SLOWER, "regressed", |report| report["schema"] = json!("bench-ci.ab/2"));
    let said = machines.together(&["a", "b"]);
    assert_eq!(said.exit, 9);
    assert!(said.stderr.contains("newer than this build"), "{}", said.stderr);
    std::fs::write(machines.path("b/ab.json"), "{").unwrap();
    assert_eq!(machines.together(&["a", "b"]).exit, 9);
}

#[test]
fn more_pairs_than_a_session_may_have_are_refused_and_nothing_is_computed_from_them() {
    let machines = Machines::new();
    machines.holds("a", SLOWER, "regressed", as_it_is);
    let check = |said: &str, change: fn(&mut Value)| {
        machines.holds("b", SLOWER, "regressed", change);
        let done = machines.together(&["a", "b"]);
        assert_eq!(done.exit, 9, "{}", done.stderr);
        assert!(done.stderr.contains(said), "{said}: {}", done.stderr);
    };
    let words =
        "b/ab.json\" is damaged: it has 1000000000000 pairs of \"output_tokens_per_second\"";
    check(words, |report| report["comparisons"][0]["pairs"] = json!(1_000_000_000_000_u64));
    // The page draws an interval after each of them, which takes the fourth power of their number.
    check("it has 201 pairs of \"e2e_ms_p50\", a session has 200 at most", |report| {
        report["comparisons"][3]["pairs_pct"] = json!(vec![-1.5; 201]);
    });
}

#[test]
fn a_session_that_is_no_evidence_is_named_and_a_small_one_left_out() {
    let machines = Machines::new();
    for name in ["a", "b"] {
        machines.holds(name, SLOWER, "regressed", as_it_is);
    }
    machines.holds("c", SLOWER, "invalid", |report| {
        report["reasons"] = json!(["head fails more requests: 3 of 1600, base 0 of 1600"]);
        report["sides"]["head"]["failed"] = json!(3);
    });
    let said = machines.together(&["a", "b", "c"]);
    assert_eq!(said.exit, 5, "{}", said.stderr);
    let report = said.report.unwrap();
    assert_eq!(report["verdict"], "invalid");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("session c is no evidence: head fails more requests: 3"), "{reasons}");
    assert!(
        report["reasons"][0].as_str().unwrap().starts_with("head fails more requests: 3 of 4800")
    );

    machines.holds("c", SAME, "inconclusive", |report| report["design"]["pairs_used"] = json!(3));
    let said = machines.together(&["a", "b", "c"]);
    assert_eq!(said.exit, 3, "{}", said.stderr);
    let report = said.report.unwrap();
    assert_eq!(report["design"]["pairs_used"], 2);
    assert!(report["warnings"].to_string().contains("c has 3 pairs"), "{}", report["warnings"]);
    let said = machines.together(&["a", "c"]);
    assert_eq!(said.exit, 5, "one is left: {}", said.stderr);
}

#[test]
fn machines_that_cannot_be_told_apart_are_said_to_be_so() {
    let machines = Machines::new();
    for name in ["a", "b"] {
        machines.holds(name, SLOWER, "regressed", |report| {
            report["machine"]["fingerprint"] = json!("the same");
        });
    }
    let report = machines.together(&["a", "b"]).report.unwrap();
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("a and b come from machines that cannot be told apart"),
        "{warnings}"
    );
}

#[test]
fn cells_of_a_matrix_are_judged_together() {
    let machines = Machines::new();
    machines.holds("a", SLOWER, "regressed", |report| report["run"]["name"] = json!("q4 | cpu"));
    machines.holds("b", SAME, "no-regression", |report| {
        report["run"]["name"] = json!("q8");
        report["model"]["sha256"] = json!("9".repeat(64));
    });
    let said = machines.together(&["a", "b"]);
    assert_eq!(said.exit, 2);
    assert!(said.stderr.contains("--matrix"), "{}", said.stderr);
    let said = machines.together(&["a", "b", "--matrix"]);
    assert_eq!(said.exit, 3, "{}", said.stderr);
    let report = said.report.unwrap();
    let rows = report["comparisons"].as_array().unwrap();
    let gates: Vec<&str> = rows
        .iter()
        .filter(|row| row["role"] == "gate")
        .map(|row| row["metric"].as_str().unwrap())
        .collect();
    assert_eq!(gates.len(), 6, "{gates:?}");
    assert!(gates.contains(&"output_tokens_per_second [q4 _ cpu]"), "{gates:?}");
    let slower = rows.iter().find(|row| row["verdict"] == "regressed").unwrap();
    // p 0.001 at a look with level 0.02, of six.
    assert!((slower["p_holm"].as_f64().unwrap() - 0.015).abs() < 1e-9, "{slower}");
    assert!(!said.stdout.contains("confirmed"), "one session of each: {}", said.stdout);
}

#[test]
fn nothing_is_written_over_what_it_is_made_of() {
    let machines = Machines::new();
    machines.holds("a", SLOWER, "regressed", as_it_is);
    machines.holds("out", SLOWER, "regressed", as_it_is);
    let before = std::fs::read(machines.path("out/ab.json")).unwrap();
    let said = machines.together(&["a", "out"]);
    assert_eq!(said.exit, 2, "{}", said.stderr);
    assert!(said.stderr.contains("--out-dir"), "{}", said.stderr);
    assert_eq!(std::fs::read(machines.path("out/ab.json")).unwrap(), before);
}

#[test]
fn flags_of_playing_are_refused_beside_it() {
    let machines = Machines::new();
    for flag in
        [["--pairs", "9"], ["--base-server", "sim"], ["--model", "synthetic"], ["--delta", "5%"]]
    {
        let said = machines.together(&[&["a", "b"][..], &flag].concat());
        assert_eq!(said.exit, 2, "{flag:?}: {}", said.stderr);
        assert!(said.stderr.contains("cannot be used with"), "{flag:?}: {}", said.stderr);
    }
}
