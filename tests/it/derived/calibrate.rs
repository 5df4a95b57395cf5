//! `bench-ci calibrate`: files, exit codes, and figures that are those of the simulator's truth.

use bench_ci::artifact::{calibration_json_schema, unexplained_nulls};
use serde_json::Value;

use super::bench;

fn calibration(text: &str) -> Value {
    let found: Value = serde_json::from_str(text).unwrap();
    let schema = calibration_json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&found).map(|error| error.to_string()).collect();
    assert_eq!(wrong, [""; 0], "{found}");
    assert_eq!(unexplained_nulls(&found), [""; 0]);
    found
}

/// The machine may be too busy for the client to be valid, and then 5 is the truth.
#[test]
fn users_and_rates_are_tried_and_told() {
    let bench = bench();
    let flags = ["calibrate", "--users", "4,2", "--rates", "50", "--duration", "1s"];
    let ran = bench.run("out", &flags);
    let found = calibration(&ran.file("calibration.json"));
    assert_eq!(found["schema"], "bench-ci.calibration/1");
    let steps = found["steps"].as_array().unwrap();
    let loads: Vec<String> =
        steps.iter().map(|step| format!("{} {}", step["users"], step["rate_per_second"])).collect();
    assert_eq!(loads, ["2 null", "4 null", "null 50.0"]);
    for step in steps {
        assert!(step["requests"].as_u64().unwrap() >= 4, "{step}");
        assert!(step["deltas"].as_u64().unwrap() > 40, "{step}");
        assert!(step["cpu_us_per_delta"].as_f64().unwrap() > 0.0, "{step}");
        // What the simulator was told to do: 20 ms, or 5 ms at a rate.
        let real = step["ttft_error_ms"]["true_p50"].as_f64().unwrap();
        let told = if step["users"].is_null() { 5.0 } else { 20.0 };
        assert!(real >= told * 0.99, "{step}");
        assert_eq!(
            step["valid"].as_bool(),
            step["reasons"].as_array().map(Vec::is_empty),
            "{step}"
        );
    }
    let valid = |step: &Value| step["valid"] == true;
    let expected = if valid(&steps[0]) && valid(&steps[2]) { 0 } else { 5 };
    assert_eq!(ran.exit, expected, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(found["exit_code"], expected);
    let reached = if !valid(&steps[0]) {
        Value::Null
    } else if valid(&steps[1]) {
        4.into()
    } else {
        2.into()
    };
    assert_eq!(found["valid_up_to_users"], reached);
    for text in [ran.stdout.clone(), ran.file("calibration.md")] {
        assert!(text.contains("2 users") && text.contains("50 requests/s"), "{text}");
        assert!(text.contains("TTFT p99"), "{text}");
    }
    assert!(ran.stderr.contains("calibrate: 4 users"), "{}", ran.stderr);
}

#[test]
fn misuse_ends_before_anything_is_tried() {
    let bench = bench();
    for flags in [
        ["calibrate", "--users", "0"],
        ["calibrate", "--users", "8,many"],
        ["calibrate", "--rates", "-5"],
        ["calibrate", "--duration", "0s"],
        ["calibrate", "--duration", "soon"],
    ] {
        let ran = bench.run("out", &flags);
        assert_eq!(ran.exit, 2, "{flags:?}: {}", ran.stderr);
        assert!(!ran.out.join("calibration.json").exists());
    }
}

#[test]
fn what_was_set_for_a_run_is_not_for_a_calibration() {
    let bench = bench();
    let arguments = ["calibrate", "--users", "2", "--duration", "500ms", "--out-dir", "out", "-q"];
    let mut command = bench.command(&arguments);
    command.env("LLAMA_SERVER_BIN_PATH", "no-such-server").env("SERVER_BENCH_MAX_TOKENS", "none");
    command.env("SERVER_BENCH_DATASET", "no-such-file.json").env("BENCH_CI_API_KEY", "secret");
    let ran = bench.finish("out", command);
    assert!([0, 5].contains(&ran.exit), "{}", ran.stderr);
    assert_eq!(calibration(&ran.file("calibration.json"))["steps"].as_array().unwrap().len(), 1);
    assert!(!ran.stderr.contains("calibrate:"), "quiet: {}", ran.stderr);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_at_once() {
    let bench = bench();
    std::fs::write(bench.path("file"), "in the way").unwrap();
    let ran = bench.run("file/out", &["calibrate", "--users", "2"]);
    assert_eq!(ran.exit, 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("calibrate: 2 users"), "{}", ran.stderr);
}

#[test]
fn an_interrupted_calibration_keeps_what_was_tried_and_leaves_no_simulator() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let bench = bench();
    let arguments = [
        "calibrate",
        "--users",
        "2,3",
        "--duration",
        "60s",
        "--out-dir",
        "out",
        "--progress",
        "plain",
    ];
    let (stdout, stderr) = (bench.path("stdout.txt"), bench.path("stderr.txt"));
    let mut command = bench.command(&arguments);
    command.stdout(std::fs::File::create(&stdout).unwrap());
    command.stderr(std::fs::File::create(&stderr).unwrap());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let begun = std::time::Instant::now();
    while !read(&stderr).contains("calibrate: 2 users") {
        assert!(begun.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", read(&stderr));
    let found = calibration(&read(&bench.path("out/calibration.json")));
    assert_eq!(found["exit_code"], 130);
    assert_eq!(found["steps"].as_array().unwrap().len(), 0, "half a step says nothing");
    assert!(read(&stdout).contains("nothing was tried to its end"), "{}", read(&stdout));
    assert!(!read(&stderr).contains("calibrate: 3 users"), "{}", read(&stderr));
}
