//! What the small commands print, as snapshots; what differs from run to run is taken out.

use super::{Bench, Ran};

/// Prints without anything of this machine or this moment.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"/\S+/bench-ci sim", "[FOLDER]/bench-ci sim");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn printed(bench: &Bench, arguments: &[&str]) -> String {
    let ran = bench.finish("out", bench.command(arguments));
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout
}

#[test]
fn a_dry_run_prints_the_whole_plan_and_touches_nothing() {
    let bench = Bench::new();
    let plan = ["--dry-run", "--server", "sim", "--model", "synthetic", "--parallel", "4"];
    let tags = ["--name", "n", "--runner-label", "r", "--branch", "b", "--commit", "c"];
    let load = ["--n-prompts", "8", "--api-key", "s3cret", "--", "--sim-ttft-ms", "20"];
    let text = printed(&bench, &[&plan[..], &tags, &load].concat());
    assert!(!text.contains("s3cret"), "{text}");
    check("dry_run", &text);
    let left: Vec<_> = std::fs::read_dir(bench.path("")).unwrap().map(Result::unwrap).collect();
    let mut names: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
    names.sort();
    assert_eq!(names, ["brisk.toml", "stderr.txt", "stdout.txt"]);
}

#[test]
fn a_model_that_was_made_is_inspected() {
    let bench = Bench::new();
    let made = printed(&bench, &["model", "make", "tiny", "tiny.gguf"]);
    assert_eq!(printed(&bench, &["model", "inspect", "tiny.gguf"]), made);
    check("model_inspect", &made);
    std::fs::write(bench.path("broken.gguf"), "GGUF or so").unwrap();
    for (file, exit) in [("broken.gguf", 6), ("missing.gguf", 6)] {
        let ran = bench.finish("out", bench.command(&["model", "inspect", file]));
        assert_eq!(ran.exit, exit, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(file), "{}", ran.stderr);
    }
}

#[test]
fn a_finished_report_is_rendered_again() {
    let bench = Bench::new();
    let flags = ["--server", "sim", "--scenario", "./brisk.toml", "--n-prompts", "4"];
    let ran: Ran = bench.run("out", &[&flags[..], &["--max-lateness", "1"]].concat()).checked(0);
    let page = ran.file("report.md");
    assert_eq!(printed(&bench, &["report", "out/report.json"]), page);
    assert_eq!(printed(&bench, &["report", "out"]), page, "the folder will do");
    let text = printed(&bench, &["report", "out", "--format", "text"]);
    assert!(text.starts_with("OK: 4 of 4 requests completed"), "{text}");

    let newer = ran.file("report.json").replacen("bench-ci.report/1", "bench-ci.report/2", 1);
    std::fs::write(bench.path("newer.json"), newer).unwrap();
    std::fs::write(bench.path("cut.json"), &ran.file("report.json")[..100]).unwrap();
    for (file, words) in [
        ("newer.json", "is newer than this build"),
        ("cut.json", "is not JSON"),
        ("none.json", "cannot read report"),
    ] {
        let refused = bench.finish("out", bench.command(&["report", file]));
        assert_eq!(refused.exit, 9, "{}", refused.stderr);
        assert!(refused.stderr.contains(words) && refused.stderr.contains("hint: "));
    }
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let bench = Bench::new();
    let manual = printed(&bench, &["man"]);
    assert!(manual.starts_with(".ie") || manual.contains(".TH bench-ci 1"), "{manual}");
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&bench, &["completions", shell]);
        for command in ["run", "doctor", "bench-py", "report", "model"] {
            assert!(script.contains(command), "{shell}: {command}");
            let escaped = command.replace('-', "\\-");
            assert!(manual.contains(command) || manual.contains(&escaped), "{command}");
        }
        assert!(!script.contains("__guard"), "{shell} offers what is not for people");
        assert!(script.contains("n-prompts") || shell == "fish", "{shell}");
    }
}
