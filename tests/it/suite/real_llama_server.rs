//! A sweep of 3 × 3 × 2 cells on the real llama-server.

use nix::sys::signal::Signal;

use super::{PATIENCE, cells, starts, suite_of};
use crate::run::{Bench, real_server};

#[test]
fn eighteen_cells_with_two_sets_of_flags_restart_it_once_and_go_on_after_ctrl_c() {
    let bench = Bench::new();
    let server = real_server();
    let arguments = [
        "--server",
        &server,
        "--model",
        "synthetic",
        "--scenario",
        "brisk.toml",
        "--n-prompts",
        "6",
        "--ctx-size",
        "8192",
        "--sweep",
        "users=1,2,4",
        "--sweep",
        "max_tokens=4,8,16",
        "--sweep",
        "ubatch-size=64,128",
        "--max-lateness",
        "100",
        "--max-client-delay",
        "100",
    ];
    let run = |more: &[&str]| bench.run("out", &[&arguments[..], more].concat());
    let ran = run(&[]);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    assert_eq!(cells(&suite).len(), 18);
    assert!(
        cells(&suite).iter().all(|(_, status, exit)| status == "completed" && *exit == Some(0))
    );
    assert_eq!(starts(&suite), 2, "{}", suite["servers"]);
    assert_eq!(ran.file("suite.csv").lines().count(), 19);

    // The same again, interrupted inside the second server's cells, and gone on with.
    let mut command = bench.command(&[&arguments[..], &["--out-dir", "out"]].concat());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = std::time::Instant::now();
    let whole = || {
        let text = std::fs::read_to_string(bench.path("out/suite.json")).unwrap_or_default();
        text.matches("\"status\": \"completed\"").count()
    };
    while !(10..18).contains(&whole())
        || bench
            .path("out/cells/users=1,max_tokens=4,ubatch-size=64/report.json")
            .metadata()
            .is_err()
    {
        assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "{}", whole());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let ran = run(&["--resume"]);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let suite = suite_of(&ran.out);
    assert!(cells(&suite).iter().all(|(_, status, _)| status == "completed"));
    // The second one was started once more, and the first was not.
    assert_eq!(starts(&suite), 3, "{}", suite["servers"]);
    assert_eq!(suite["servers"][2]["server_index"], 1);
}
