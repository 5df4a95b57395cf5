//! What is refused, and what is shown, before anything starts.

use super::Session;

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
    for path in ["/usr/bin/llama-server", "../llama-server"] {
        let sides =
            ["--base-ref", "a", "--head-ref", "b", "--build", "true", "--server-path", path];
        check(&sides, "is not inside the work tree of a commit");
    }
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

#[test]
fn gates_come_from_the_scenario_and_flags_stand_over_them() {
    let session = Session::new();
    let scenario = session.folder.path().join("gates.toml");
    let text = "[[gate]]\nmetric = \"e2e_ms_p50\"\nbar = \"4%\"\nfloor = 2.5\n\n\
                [[gate]]\nmetric = \"output_tokens_per_second\"\nbar = \"7%\"\n";
    std::fs::write(&scenario, text).unwrap();
    let shown = |more: &[&str]| {
        let arguments =
            [&["--aa", "--dry-run", "--duration", "9s", "--scenario", "gates.toml"][..], more]
                .concat();
        let output = session.command(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let gates = text.lines().filter_map(|line| line.strip_prefix("gate"));
        gates.map(|gate| gate.trim().to_owned()).collect::<Vec<_>>()
    };
    let gates = shown(&[]);
    assert!(gates.contains(&"output_tokens_per_second: bar 7 %".to_owned()), "{gates:?}");
    assert!(gates.contains(&"e2e_ms_p50: bar 4 %, floor 2.5 ms".to_owned()), "{gates:?}");
    assert_eq!(gates.len(), 4, "{gates:?}");
    let gates = shown(&["--bar", "output_tokens_per_second=9%", "--floor", "e2e_ms_p50=4ms"]);
    assert!(gates.contains(&"output_tokens_per_second: bar 9 %".to_owned()), "{gates:?}");
    assert!(gates.contains(&"e2e_ms_p50: bar 4 %, floor 4 ms".to_owned()), "{gates:?}");
    // Without a bar it decides all the same, by those of any gate.
    std::fs::write(&scenario, "[[gate]]\nmetric = \"tpot_ms\"\n").unwrap();
    let gates = shown(&["--bar", "server_cpu_ms_per_output_token=3%"]);
    assert!(gates.contains(&"tpot_ms_p50: bar 2 %, floor 1 ms".to_owned()), "{gates:?}");
    assert!(gates.contains(&"server_cpu_ms_per_output_token: bar 3 %".to_owned()), "{gates:?}");
    assert_eq!(shown(&["--delta", "5%"])[3], "tpot_ms_p50: bar 5 %, floor 1 ms");
    std::fs::write(&scenario, "[[gate]]\nmetric = \"speed\"\nbar = \"4%\"\n").unwrap();
    let ran = session.run(&["--aa", "--scenario", "gates.toml", "--duration", "9s"]);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("speed"), "{}", ran.stderr);
}
