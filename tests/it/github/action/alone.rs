//! The step that compares.

use super::Caller;

#[test]
fn a_comparison_that_finds_a_slower_head_fails_the_step_and_says_by_how_much() {
    let mut caller = Caller::new(&[
        ("mode", "ab"),
        ("server", "sim"),
        ("budget", "60s"),
        ("pairs", "7"),
        (
            "args",
            "--users 2\n--max-tokens 24\n--restart-mode\n--seed 7\n--head-args --sim-slowdown 100\n",
        ),
    ]);
    caller.matrix = r#"{"ftype": "q8_0"}"#;
    // A machine that is busy with something else spoils pairs: then it is no evidence, and played again.
    let left = (0..2).map(|_| caller.play()).find(|left| left.code != 5);
    let left = left.unwrap_or_else(|| caller.play());
    assert_eq!(left.code, 3, "{}", left.log);
    assert_eq!((left.output("verdict"), left.output("exit-code")), ("regressed", "3"));
    let number = |name: &str| {
        left.output(name).parse::<f64>().unwrap_or_else(|_| panic!("{name}: {}", left.output(name)))
    };
    // Half as fast; which metric is the worst is the machine's luck.
    assert!(number("change-pct").abs() > 25.0, "{}", left.log);
    assert!(number("ci-low") <= number("change-pct") && number("change-pct") <= number("ci-high"));
    // On a quiet machine the simulator's pairs are so alike that their interval rounds to nothing.
    assert!(number("pairs") >= 7.0 && number("resolution-pct") >= 0.0);
    assert_eq!(left.output("failed-requests"), "0");
    assert_eq!(left.output("report-json"), "bench-out/ab.json");
    assert_eq!(left.output("report-md"), "bench-out/ab.md");
    assert!(left.summary.starts_with("### ❌ "), "{}", left.summary);
    assert!(
        left.log.contains("\n::error title=bench-ci%3A regressed (bench-q8_0)::"),
        "{}",
        left.log
    );
    let [(_, with)] = &left.used[..] else { panic!("{:?}", left.used) };
    assert_eq!(
        (with["name"].as_str(), with["path"].as_str()),
        ("bench-ci-bench-q8_0", "bench-out/ab.json")
    );
}
