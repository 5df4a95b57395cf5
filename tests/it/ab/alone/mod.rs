//! `bench-ci ab` end to end, against the simulator: verdicts, exit codes, what an interruption leaves.
//!
//! Effects are large and no other test runs beside these, so that a busy machine cannot hide them; nothing
//! here asserts a speed.

mod bisect;
mod bounds;
mod real_llama_server;
mod verdicts;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bench_ci::artifact::{AB_SCHEMA, ab_json_schema, unexplained_nulls};
use serde_json::Value;

/// Two users, and what was measured is in the report.
const SMALL: [&str; 4] = ["--users", "2", "--progress", "none"];
/// Turns as short as they may be.
const SHORT_ANSWERS: [&str; 2] = ["--max-tokens", "24"];

struct Session {
    folder: tempfile::TempDir,
}

struct Ran {
    exit: i32,
    stderr: String,
    report: Option<Value>,
}

impl Session {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BENCH_CI_CACHE", self.folder.path().join("cache"))
            .arg("ab")
            .args(SMALL)
            .args(["--out-dir", "out"]);
        if !arguments.contains(&"--server") {
            command.args(["--server", "sim"]);
        }
        if !arguments.contains(&SHORT_ANSWERS[0]) {
            command.args(SHORT_ANSWERS);
        }
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let report = std::fs::read(self.out().join("ab.json"))
            .ok()
            .map(|text| serde_json::from_slice(&text).unwrap());
        if let Some(report) = &report {
            sound(report, &self.out());
        }
        Ran {
            exit: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report,
        }
    }
}

impl Session {
    /// The same, carried on where a busy machine left its budget too short for all pairs.
    fn complete(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.run(arguments);
        for _ in 0..4 {
            let short = |report: &Value| report["design"]["stopped_because"] == "budget";
            if !ran.report.as_ref().is_some_and(short) {
                break;
            }
            let again = if arguments.contains(&"--resume") { &[][..] } else { &["--resume"] };
            ran = self.run(&[arguments, again].concat());
        }
        ran
    }

    /// Played until it comes to a conclusion, three times at most: on a busy machine a comparison may
    /// honestly end without one. A wrong conclusion is one all the same, and has no second try.
    fn concluded(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.complete(arguments);
        for _ in 0..2 {
            let concluded = ["regressed", "improved", "no-regression"];
            if concluded.iter().any(|verdict| report(&ran)["verdict"] == *verdict) {
                break;
            }
            ran = self.complete(arguments);
        }
        ran
    }
}

/// What holds of every `ab.json`.
fn sound(report: &Value, out: &Path) {
    let validator = jsonschema::validator_for(&ab_json_schema()).unwrap();
    let violations: Vec<String> =
        validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert_eq!(violations, [""; 0]);
    assert_eq!(unexplained_nulls(report), [""; 0]);
    assert_eq!(report["schema"], AB_SCHEMA);
    assert!(out.join("ab.md").is_file());
    for trial in report["trials"].as_array().unwrap() {
        let folder = out.join(trial["folder"].as_str().unwrap());
        assert!(folder.join("trial.json").is_file(), "{folder:?}");
        assert!(folder.join("requests.jsonl").is_file(), "{folder:?}");
    }
}

fn report(ran: &Ran) -> &Value {
    ran.report.as_ref().unwrap_or_else(|| panic!("no ab.json: {}", ran.stderr))
}

#[test]
fn a_head_that_is_half_as_fast_regressed() {
    let session = Session::new();
    let ran = session.concluded(&[
        "--head-args",
        "--sim-slowdown 100",
        "--budget",
        "90s",
        "--pairs",
        "9",
        "--restart-mode",
        "--seed",
        "7",
    ]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["verdict"], "regressed");
    assert_eq!(report["design"]["seed"], 7);
    assert_eq!(report["design"]["kind"], "restart");
    let rate = &report["comparisons"][0];
    assert_eq!(rate["metric"], "output_tokens_per_second");
    let change = rate["change_pct"].as_f64().unwrap();
    assert!((-65.0..-35.0).contains(&change), "{change}");
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    assert!(page.starts_with("**❌ regressed:** Head is slower: "), "{page}");
}

#[test]
fn blocks_hold_both_servers_and_equal_work() {
    let session = Session::new();
    let ran = session.run(&["--aa", "--budget", "12s", "--pairs", "7"]);
    assert!(ran.exit == 0 || ran.exit == 5, "{}: {}", ran.exit, ran.stderr);
    let report = report(&ran);
    assert_eq!(report["design"]["kind"], "blocks");
    assert_eq!(report["design"]["aa"], true);
    assert_eq!(report["sides"]["base"]["output_tokens"], report["sides"]["head"]["output_tokens"]);
    for side in ["base", "head"] {
        let command = report["sides"][side]["command"].as_array().unwrap();
        assert!(command.windows(2).any(|words| words == ["--fit", "off"]), "{command:?}");
    }
    let trials = report["trials"].as_array().unwrap();
    assert!(!trials.is_empty(), "{}", ran.stderr);
    for pair in trials.chunks(2) {
        assert_eq!(pair[0]["pair"], pair[1]["pair"]);
        let order = report["design"]["order"][pair[0]["pair"].as_u64().unwrap() as usize].clone();
        let first = if order == "AB" { "base" } else { "head" };
        assert_eq!(pair[0]["side"], first);
        assert_eq!(pair[0]["requests"], pair[1]["requests"]);
    }
    for trial in trials {
        assert!(trial["client_late_ratio"].as_f64().is_some_and(|ratio| ratio >= 0.0), "{trial}");
        // A percentile, or how many answers it takes.
        let (tails, few) = (&trial["tails"], trial["requests"].as_u64().unwrap() < 400);
        assert_eq!(tails["ttft_ms_p95"].is_null(), few, "{trial}");
        let why = &tails["unknown"]["ttft_ms_p95"];
        assert!(!few || why.as_str().unwrap().contains("takes 400 answers"), "{trial}");
    }
}

#[test]
fn a_head_that_fails_requests_but_is_faster_is_never_improved() {
    let session = Session::new();
    let ran = session.run(&[
        "--base-args",
        "--sim-slowdown 25",
        "--head-args",
        "--sim-fault error-before --sim-fault-every 20",
        "--budget",
        "30s",
        "--pairs",
        "7",
    ]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["verdict"], "invalid");
    let first = report["reasons"][0].as_str().unwrap();
    assert!(first.starts_with("head fails more requests: "), "{first}");
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    assert!(page.lines().next().unwrap().contains("head fails more requests"), "{page}");
}

#[test]
fn a_head_that_generates_fewer_tokens_is_no_evidence() {
    let session = Session::new();
    let ran = session.run(&["--head-args", "--sim-fault short", "--budget", "20s", "--pairs", "7"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
    // Whatever the user wants to fail on.
    let ran = session.run(&[
        "--head-args",
        "--sim-fault short",
        "--budget",
        "20s",
        "--pairs",
        "7",
        "--fail-on",
        "never",
    ]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}

#[test]
fn a_head_that_does_not_start_is_exit_7_and_says_whose_log() {
    let session = Session::new();
    let ignored = ["--turns", "2", "--deadline", "9s", "--temperature", "1"];
    let ran = session.run(
        &[&["--head-args", "--sim-fault die-at-start:boom", "--budget", "20s"][..], &ignored]
            .concat(),
    );
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    let events = std::fs::read_to_string(session.out().join("events.jsonl")).unwrap();
    for flag in ignored.iter().filter(|word| word.starts_with("--")) {
        assert!(events.contains(&format!("{flag} is without effect: ")), "{flag}: {events}");
    }
    assert!(ran.stderr.contains("the server of head"), "{}", ran.stderr);
    assert!(ran.stderr.contains("boom"), "{}", ran.stderr);
    assert!(ran.stderr.contains("-head/server.log"), "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
}

#[test]
fn a_head_that_dies_under_load_is_no_evidence() {
    let session = Session::new();
    let ran = session.run(&["--head-args", "--sim-fault crash:10", "--budget", "45s"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    let report = report(&ran);
    assert!(report["sides"]["head"]["crash"].is_string());
    assert!(report["sides"]["base"]["crash"].is_null());
}

/// A machine without room for two: the second server finds the first one's mark, and fails.
#[test]
fn where_two_servers_do_not_fit_they_take_turns() {
    use std::os::unix::fs::PermissionsExt;
    let session = Session::new();
    let script = session.folder.path().join("greedy");
    let lock = session.folder.path().join("memory");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--help*|*--version*) exec \"{ours}\" sim \"$@\";; esac\n\
         mkdir \"{lock}\" 2>/dev/null || {{ echo 'unable to allocate buffer' >&2; exit 1; }}\n\
         trap 'kill -INT $child; wait $child; rmdir \"{lock}\"; exit 0' INT TERM\n\
         \"{ours}\" sim \"$@\" & child=$!\nwait $child; rmdir \"{lock}\"\n",
        ours = env!("CARGO_BIN_EXE_bench-ci"),
        lock = lock.display(),
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let ran = session.run(&[
        "--base-server",
        script,
        "--head-server",
        script,
        "--base-args",
        "--alias one",
        "--model",
        "synthetic",
        "--budget",
        "30s",
        "--pairs",
        "7",
    ]);
    let report = report(&ran);
    assert_eq!(report["design"]["kind"], "restart", "{}", ran.stderr);
    assert!(report["design"]["restart_reason"].as_str().unwrap().contains("starts alone"));
    assert!(!report["trials"].as_array().unwrap().is_empty(), "{}", ran.stderr);
}

#[test]
fn a_killed_session_is_resumed_with_the_same_order() {
    let session = Session::new();
    let arguments = ["--aa", "--budget", "60s", "--pairs", "4", "--restart-mode", "--seed", "11"];
    let mut child = session.command(&arguments).spawn().unwrap();
    let state = session.out().join("ab-state.json");
    let begun = Instant::now();
    // In the middle of the third pair.
    let pairs = || {
        let text = std::fs::read(&state).ok()?;
        let state: Value = serde_json::from_slice(&text).ok()?;
        Some(state["pairs"].as_array()?.len())
    };
    while pairs().is_none_or(|pairs| pairs < 2) {
        assert!(begun.elapsed() < Duration::from_secs(120), "two pairs never came");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();

    let other = session.run(&[
        "--aa",
        "--budget",
        "60s",
        "--pairs",
        "5",
        "--restart-mode",
        "--seed",
        "11",
        "--resume",
    ]);
    assert_eq!(other.exit, 2, "another plan must not be mixed in: {}", other.stderr);

    let mut again = arguments.to_vec();
    again.push("--resume");
    let ran = session.run(&again);
    let report = report(&ran);
    assert_eq!(report["design"]["seed"], 11);
    assert_eq!(report["design"]["sittings"].as_array().unwrap().len(), 2);
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 8, "{}", ran.stderr);
    // What was measured before is in it as it was.
    for (pair, record) in before["pairs"].as_array().unwrap().iter().enumerate() {
        assert_eq!(record["trials"][0]["metrics"], trials[2 * pair]["metrics"]);
    }
    assert!(!state.exists(), "nothing is left to be resumed");
    let ran = session.run(&again);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("no interrupted comparison"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_starts() {
    let session = Session::new();
    let check = |arguments: &[&str], words: &str| {
        let ran = session.run(arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    };
    check(&[], "base and head are the same server");
    check(&["--head-args", "'open"], "a single quote is not closed");
    check(&["--head-ref", "HEAD"], "--build");
    check(&["--aa", "--bar", "ttft=3%"], "no metric \"ttft\"");
    check(&["--aa", "--bar", "ttft_ms_p95=3%"], "is only shown, it never decides");
    // What would be without effect is not taken; of what is, a word is said.
    let of_a_run = [
        "--max-lateness=0.1",
        "--max-client-delay=0.1",
        "--accept-saturated-client",
        "--calibrate",
        "--measure-peaks",
        "--peak-bandwidth=1GB/s",
        "--peak-flops=1TFLOPS",
    ];
    for flag in of_a_run {
        check(&["--aa", flag], "unexpected argument");
    }
    check(&["--aa", "--port", "8080"], "--restart-mode");
    check(&["--aa", "--tpot-difference", "8"], "forces all answers to one length");
    check(&["--aa", "--pairs", "0"], "expected at least 1");
    check(&["--aa", "--pairs", "100000", "--dry-run"], "expected at most 200");
    check(&["--aa", "--resume"], "no interrupted comparison");
}

/// A repository whose "server" is built from its own source: a script around the simulator, twice as
/// slow on the branch `feature`. Checked out is what GitHub makes of the pull request.
fn repository_with_a_pull_request(folder: &Path) -> (String, String) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(folder)
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=n@example.org",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .env_remove("GIT_DIR")
            .output()
            .expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let source = |flags: &str| {
        let ours = env!("CARGO_BIN_EXE_bench-ci");
        let text = format!("#!/bin/sh\nexec '{ours}' sim {flags} \"$@\"\n");
        std::fs::write(folder.join("server.in"), text).unwrap();
        git(&["add", "."]);
    };
    git(&["init", "--quiet", "."]);
    source("");
    git(&["commit", "--quiet", "-m", "what there was"]);
    git(&["branch", "feature"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "base goes on"]);
    git(&["checkout", "--quiet", "feature"]);
    source("--sim-slowdown 100");
    git(&["commit", "--quiet", "-m", "slower"]);
    git(&["checkout", "--quiet", "--detach", "main"]);
    let (base, head) = (git(&["rev-parse", "main"]), git(&["rev-parse", "feature"]));
    git(&["merge", "--quiet", "--no-ff", "-m", &format!("Merge {head} into {base}"), "feature"]);
    (base, git(&["rev-parse", "HEAD"]))
}

#[test]
fn a_pull_request_is_compared_with_its_own_base_and_each_commit_is_built_once() {
    let session = Session::new();
    let repository = session.folder.path().to_owned();
    let (base, head) = repository_with_a_pull_request(&repository);
    let build = "cp server.in built && chmod +x built && git log -1 --format=%H";
    let sides = ["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", build];
    let rest = ["--server-path", "built", "--model", "synthetic", "--budget", "8s", "--pairs", "7"];
    let arguments: Vec<&str> = sides.iter().chain(&rest).copied().collect();
    let ran = session.run(&arguments);
    let first = report(&ran);
    assert_eq!(first["sides"]["base"]["commit"], base.as_str(), "{}", ran.stderr);
    assert_eq!(first["sides"]["head"]["commit"], head.as_str());
    assert_eq!(first["sides"]["head"]["build"]["cached"], false);
    // The work tree is at its commit, and the user's repository knows nothing of it.
    let log = std::fs::read_to_string(session.out().join("build-base.log")).unwrap();
    assert_eq!(log.trim(), base);
    assert!(!repository.join(".git/worktrees").exists());
    let commands = ["base", "head"].map(|side| first["sides"][side]["command"][0].clone());
    if let [Value::String(base), Value::String(head)] = &commands {
        assert_eq!(base.len(), head.len(), "paths of one length");
    }
    let ran = session.run(&arguments);
    assert_eq!(report(&ran)["sides"]["head"]["build"]["cached"], true, "{}", ran.stderr);

    let failing =
        ["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "echo no luck; exit 3"];
    let arguments: Vec<&str> = failing.iter().chain(&rest).copied().collect();
    let ran = session.run(&arguments);
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("exited with status 3"), "{}", ran.stderr);
    assert!(ran.stderr.contains("log: no luck"), "{}", ran.stderr);
    // What is shown comes from a file, so there is one that says what went wrong.
    let report = report(&ran);
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(
        (&report["run"]["status"], &report["run"]["exit_code"]),
        (&"failed".into(), &7.into())
    );
    assert_eq!(report["sides"]["head"]["label"], "HEAD");
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("cannot build base"), "{reason}");
}

#[test]
fn a_shallow_clone_is_told_the_command_that_mends_it() {
    let origin = tempfile::tempdir().unwrap();
    repository_with_a_pull_request(origin.path());
    let session = Session::new();
    let url = format!("file://{}", origin.path().display());
    let clone = Command::new("git")
        .current_dir(session.folder.path())
        .args(["clone", "--quiet", "--depth", "1", &url, "clone"])
        .output()
        .unwrap();
    assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stderr));
    let output = session
        .command(&["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "true"])
        .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
        .current_dir(session.folder.path().join("clone"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("git fetch --deepen=1"), "{stderr}");
}

#[test]
fn the_branch_that_a_pull_request_wants_to_change_is_never_replaced_by_another() {
    let origin = tempfile::tempdir().unwrap();
    repository_with_a_pull_request(origin.path());
    let session = Session::new();
    let clone = session.folder.path().join("clone");
    let git = |folder: &Path, words: &[&str]| {
        let output = Command::new("git").current_dir(folder).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // The pull request left main, which is in the clone, and wants to change a branch that is not.
    let root = git(origin.path(), &["rev-list", "--max-parents=0", "feature"]);
    git(origin.path(), &["branch", "release/1.0", &root]);
    let url = format!("file://{}", origin.path().display());
    git(
        session.folder.path(),
        &["clone", "--quiet", "--single-branch", "-b", "main", &url, "clone"],
    );
    git(&clone, &["fetch", "--quiet", "origin", "feature"]);
    git(&clone, &["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
    let compared = || {
        let output = session
            .command(&["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "exit 3"])
            .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
            .env("GITHUB_BASE_REF", "release/1.0")
            .current_dir(&clone)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, stderr) = compared();
    assert_eq!(exit, Some(2), "{stderr}");
    let cure = "git fetch origin release/1.0:refs/remotes/origin/release/1.0";
    assert!(stderr.contains(cure), "{stderr}");

    let words: Vec<&str> = cure.split(' ').skip(1).collect();
    git(&clone, &words);
    let (exit, stderr) = compared();
    assert_eq!(exit, Some(7), "{stderr}");
    assert!(stderr.contains(&format!("cannot build base ({})", &root[..10])), "{stderr}");
}
