//! Appending: nothing is lost, nothing is there twice, nothing else is touched.

use std::process::Stdio;

use super::{Place, said};

#[test]
fn fifty_writers_at_once_lose_nothing() {
    let place = Place::new();
    let repository = place.path("repository.git");
    // The branch does not exist yet: even the first commit is raced for.
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let report = place.report(&format!("run{writer}"), 'a', 1 + writer % 28, 100.0);
            let mut command = place.command(&repository, &["append", report.to_str().unwrap()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut lines = place.lines(&repository);
    assert_eq!(lines.len(), 50);
    let validator = jsonschema::validator_for(&bench_ci::history::point::json_schema()).unwrap();
    assert!(lines.iter().all(|line| validator.is_valid(&serde_json::from_str(line).unwrap())));
    assert!(!validator.is_valid(&serde_json::json!({"id": "a point without anything else"})));
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 50);
    let git = git2::Repository::open(&repository).unwrap();
    let mut walk = git.revwalk().unwrap();
    walk.push_ref("refs/heads/bench-ci-history").unwrap();
    assert_eq!(walk.count(), 50, "one commit a point, in one line");
}

#[test]
fn the_work_tree_the_index_and_head_are_not_touched() {
    let place = Place::new();
    let folder = place.path("work");
    let repository = git2::Repository::init(&folder).unwrap();
    std::fs::write(folder.join("source"), "one").unwrap();
    let mut index = repository.index().unwrap();
    index.add_path(std::path::Path::new("source")).unwrap();
    index.write().unwrap();
    let author = git2::Signature::now("a", "a@example.org").unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let commit = repository.commit(Some("HEAD"), &author, &author, "one", &tree, &[]).unwrap();
    std::fs::write(folder.join("source"), "two").unwrap();
    let before = std::fs::read(folder.join(".git/index")).unwrap();

    let report = place.report("run", 'a', 3, 100.0);
    let done = place.history_in(&folder, &["append", report.to_str().unwrap()]);
    assert_eq!(done.exit, 0, "{done:?}");
    assert_eq!(std::fs::read(folder.join(".git/index")).unwrap(), before);
    assert_eq!(std::fs::read_to_string(folder.join("source")).unwrap(), "two");
    assert_eq!(repository.head().unwrap().peel_to_commit().unwrap().id(), commit);
    assert!(!folder.join(".git/FETCH_HEAD").exists());
    // An orphan: it shares no commit with the code.
    let history = repository.find_reference("refs/heads/bench-ci-history").unwrap();
    let history = history.peel_to_commit().unwrap();
    assert_eq!(history.parent_count(), 0);
    assert!(history.tree().unwrap().get_name("source").is_none());
}

#[test]
fn the_same_report_twice_is_one_point_and_reports_of_one_commit_are_too() {
    let place = Place::new();
    let one = place.report("one", 'a', 3, 100.0);
    let (one, other) = (one.to_str().unwrap().to_owned(), place.report("other", 'a', 4, 110.0));
    for expected in ["1 point appended", "0 points appended"] {
        let done = place.history(&["append", &one, other.to_str().unwrap()]);
        assert!(done.stdout.starts_with(expected), "{done:?}");
    }
    let lines = place.lines(&place.path("repository.git"));
    assert_eq!(lines.len(), 1);
    let point: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(point["trials"], 2);
    assert_eq!(point["metrics"]["output_tokens_per_second"]["value"], 105.0, "their median");
    assert!(lines[0].len() < 4096, "a point is at most 4 KiB: {}", lines[0].len());
}

#[test]
fn runs_of_an_unknown_commit_are_points_of_their_own() {
    let place = Place::new();
    let nights: Vec<String> = (1..=3)
        .map(|night| {
            let mut report = crate::report::fixture::ok();
            report.run.id = format!("night {night}");
            report.run.commit = report.run.unknown.option("commit", None, "there is no repository");
            report.run.started_at = format!("2026-11-{night:02}T12:00:00.000Z");
            place.write(&format!("{night}.json"), &report).to_str().unwrap().to_owned()
        })
        .collect();
    let mut words = vec!["append"];
    words.extend(nights.iter().map(String::as_str));
    words.push(&nights[0]);
    let done = place.history(&words);
    assert!(done.stdout.starts_with("3 points appended"), "{done:?}");
    assert_eq!(place.lines(&place.path("repository.git")).len(), 3);
}

#[test]
fn another_machine_model_or_flag_is_another_series() {
    let place = Place::new();
    let mut files = Vec::new();
    for (name, change) in [
        ("same", (|_| {}) as fn(&mut bench_ci::artifact::Report)),
        ("machine", |report| report.machine.fingerprint = Some("0123456789abcdef".to_owned())),
        ("model", |report| report.model.as_mut().unwrap().sha256 = Some("f".repeat(64))),
        ("flags", |report| report.server.command.push("--flash-attn".to_owned())),
        ("work", |report| report.scenario.workload_hash = Some("e".repeat(64))),
        ("major", |report| report.tool.version = "9.0.0".to_owned()),
    ] {
        let mut report = crate::report::fixture::ok();
        report.run.id = name.to_owned();
        change(&mut report);
        files.push(place.write(&format!("{name}.json"), &report).to_str().unwrap().to_owned());
    }
    let words: Vec<&str> =
        std::iter::once("append").chain(files.iter().map(String::as_str)).collect();
    let done = place.history(&words);
    assert!(done.stdout.starts_with("6 points appended"), "{done:?}");
    let exported = place.history(&["export", "--format", "json"]);
    let exported: serde_json::Value = serde_json::from_str(&exported.stdout).unwrap();
    assert_eq!(exported["series"].as_array().unwrap().len(), 6);
}

#[test]
fn what_is_no_evidence_or_no_place_is_refused_by_name() {
    let place = Place::new();
    let failed = place.write("failed.json", &crate::report::fixture::failed());
    let done = place.history(&["append", failed.to_str().unwrap()]);
    assert_eq!(done.exit, 5, "{done:?}");
    assert!(done.stderr.contains("is not evidence"), "{done:?}");

    let done = place.history(&["check"]);
    assert_eq!(done.exit, 2, "{done:?}");
    assert!(done.stderr.contains("no branch \"bench-ci-history\""), "{done:?}");
    assert!(done.stderr.contains("hint: "), "{done:?}");

    let good = place.report("run", 'a', 3, 100.0);
    let nowhere = place.path("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let done = place.history_in(&nowhere, &["append", good.to_str().unwrap()]);
    assert_eq!(done.exit, 2, "{done:?}");
    assert!(done.stderr.contains("no git repository"), "{done:?}");

    // A branch of code is not written to.
    let work = git2::Repository::init(place.path("work")).unwrap();
    std::fs::write(place.path("work/file"), "").unwrap();
    let mut index = work.index().unwrap();
    index.add_path(std::path::Path::new("file")).unwrap();
    let tree = work.find_tree(index.write_tree().unwrap()).unwrap();
    let author = git2::Signature::now("a", "a@example.org").unwrap();
    let first = work.commit(Some("HEAD"), &author, &author, "one", &tree, &[]).unwrap();
    work.branch("code", &work.find_commit(first).unwrap(), false).unwrap();
    let head = work.head().unwrap().shorthand().unwrap().to_owned();
    for (branch, why) in
        [("code", "not a history"), (head.as_str(), "is checked out"), ("a b", "no name")]
    {
        let words = ["append", good.to_str().unwrap(), "--history-branch", branch];
        let done = place.history_in(&place.path("work"), &words);
        assert_eq!(done.exit, 2, "{done:?}");
        assert!(done.stderr.contains(why), "{done:?}");
    }
    assert_eq!(
        work.find_branch("code", git2::BranchType::Local).unwrap().get().target(),
        Some(first)
    );
}

#[test]
fn a_branch_that_is_checked_out_in_any_work_tree_of_the_repository_is_not_written_to() {
    let place = Place::new();
    let main = git2::Repository::init(place.path("work tree")).unwrap();
    let author = git2::Signature::now("a", "a@example.org").unwrap();
    let empty = main.find_tree(main.treebuilder(None).unwrap().write().unwrap()).unwrap();
    main.commit(Some("HEAD"), &author, &author, "one", &empty, &[]).unwrap();
    let (one, other) = (place.report("one", 'a', 3, 100.0), place.report("other", 'b', 4, 100.0));
    let append = |repository: &str, report: &std::path::Path| {
        place.history_in(&place.path(repository), &["append", report.to_str().unwrap()])
    };
    let done = append("work tree", &one);
    assert_eq!(done.exit, 0, "{done:?}");
    let history = main.find_branch("bench-ci-history", git2::BranchType::Local).unwrap();
    let before = history.get().target();
    let mut options = git2::WorktreeAddOptions::new();
    options.reference(Some(history.get()));
    main.worktree("pages", &place.path("pages"), Some(&options)).unwrap();
    let elsewhere = git2::WorktreeAddOptions::new();
    main.worktree("third", &place.path("third"), Some(&elsewhere)).unwrap();
    for repository in ["work tree", "pages", "third"] {
        let done = append(repository, &other);
        assert_eq!(done.exit, 2, "{repository}: {done:?}");
        assert!(
            done.stderr.contains("is checked out in") && done.stderr.contains("pages"),
            "{done:?}"
        );
    }
    let tip = main.find_branch("bench-ci-history", git2::BranchType::Local).unwrap();
    assert_eq!(tip.get().target(), before);
    // One whose folder is gone holds nothing back.
    std::fs::remove_dir_all(place.path("pages")).unwrap();
    let done = append("third", &other);
    assert_eq!(done.exit, 0, "{done:?}");
}

#[test]
fn of_a_comparison_the_head_is_the_point_and_an_invalid_one_is_none() {
    use crate::report::comparison::{SLOWER, TTFT_SAME, comparing};
    let place = Place::new();
    let folder = place.path("out");
    std::fs::create_dir(&folder).unwrap();
    let write = |verdict| {
        let text = comparing(&[SLOWER, TTFT_SAME], verdict).to_json();
        std::fs::write(folder.join("ab.json"), text).unwrap();
        place.history(&["append", folder.to_str().unwrap()])
    };
    let refused = write("invalid");
    assert_eq!(refused.exit, 5, "{refused:?}");
    let done = write("regressed");
    assert_eq!(done.exit, 0, "{done:?}");
    let lines = place.lines(&place.path("repository.git"));
    let point: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(point["commit"], "a".repeat(40), "the commit of head");
    assert_eq!(point["trials"], 12);
    let rate = point["metrics"]["output_tokens_per_second"]["value"].as_f64().unwrap();
    assert!((rate - 812.0 * 0.966).abs() < 1e-9, "{rate}");
    let whole = &point["metrics"]["e2e_ms_p50"];
    assert!(whole.is_null(), "nobody asked for a length of answers: {point}");

    // A run of the same work is not of the same series: a block is not a run.
    let mut run = crate::report::fixture::ok();
    run.scenario.workload_hash = Some("d".repeat(64));
    let run = place.write("run.json", &run);
    place.history(&["append", run.to_str().unwrap()]);
    let exported = place.history(&["export", "--format", "json"]).stdout;
    let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["series"].as_array().unwrap().len(), 2);
}

#[test]
fn comparisons_of_the_same_question_are_one_series_however_long_the_answers_came_to_be() {
    use crate::report::comparison::{SLOWER, TTFT_SAME, comparing};
    let place = Place::new();
    let file = place.path("ab.json");
    let append = |id: &str, change: fn(&mut bench_ci::artifact::AbReport)| {
        let mut report = comparing(&[SLOWER, TTFT_SAME], "no-regression");
        report.run.id = id.to_owned();
        change(&mut report);
        std::fs::write(&file, report.to_json()).unwrap();
        let done = place.history(&["append", file.to_str().unwrap()]);
        assert_eq!(done.exit, 0, "{done:?}");
        let exported = place.history(&["export", "--format", "json"]).stdout;
        let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
        exported["series"].as_array().unwrap().len()
    };
    assert_eq!(append("1", |_| ()), 1);
    // A slower server is asked for fewer tokens. That must not hide how slow it has become.
    let slower = append("2", |report| {
        report.design.tokens_per_request = Some(16);
        report.scenario.workload_hash = Some("e".repeat(64));
    });
    assert_eq!(slower, 1);
    assert_eq!(append("3", |report| report.design.tokens_asked = Some(16)), 2, "as was asked for");
    assert_eq!(append("4", |report| report.scenario.dataset = "sharegpt".to_owned()), 3);
    assert_eq!(append("5", |report| report.scenario.max_prompt_words = Some(40)), 4);
    assert_eq!(append("6", |report| report.design.users = Some(8)), 5);
}

#[test]
fn a_full_shard_is_followed_by_another_and_both_are_read() {
    use bench_ci::history::store::{Addition, Branch};
    let place = Place::new();
    let report = place.report("run", 'a', 3, 100.0);
    assert_eq!(place.history(&["append", report.to_str().unwrap()]).exit, 0);
    let repository = place.path("repository.git");
    let mut branch = Branch::open(&repository, "bench-ci-history").unwrap();
    let shard =
        branch.read().unwrap().into_iter().find(|shard| shard.path.ends_with("11.jsonl")).unwrap();
    let folder = shard.path.split('/').nth(1).unwrap().to_owned();
    let line = |id: u32| shard.text.replace("\"id\":\"", &format!("\"id\":\"{id:08}"));
    let additions: Vec<Addition> = (0..900)
        .map(|id| Addition {
            folder: folder.clone(),
            month: "2026-11".to_owned(),
            line: line(id),
            mark: None,
            beside: None,
        })
        .collect();
    assert_eq!(branch.append(&additions, "many").unwrap(), 900);
    let shards = branch.read().unwrap();
    let points: Vec<_> = shards.iter().filter(|shard| shard.path.ends_with(".jsonl")).collect();
    assert!(points.iter().all(|shard| shard.text.len() <= 1 << 20));
    assert_eq!(place.lines(&repository).len(), 901);
    assert_eq!(points.len() > 1, 901 * shard.text.len() > 1 << 20);
}

#[test]
fn an_annotation_begins_an_epoch() {
    let place = Place::new();
    let report = place.report("run", 'a', 3, 100.0);
    place.history(&["append", report.to_str().unwrap()]);
    let note = place.history(&["annotate", "--reason", "new = runner", "--author", "ann"]);
    assert_eq!(note.exit, 0, "{note:?}");
    let exported = place.history(&["export", "--format", "json"]);
    let exported: serde_json::Value = serde_json::from_str(&exported.stdout).unwrap();
    let epoch = &exported["series"][0]["epochs"][0];
    assert_eq!((&epoch["first_point"], &epoch["annotation"]["author"]), (&1.into(), &"ann".into()));
    let empty = place.history(&["annotate", "--reason", " "]);
    assert_eq!(empty.exit, 2, "{empty:?}");
    let unknown = place.history(&["annotate", "--reason", "x", "--series", "zz"]);
    assert_eq!(unknown.exit, 2, "{unknown:?}");
    let command = place.command(
        &place.path("repository.git"),
        &["annotate", "--reason", "x", "--commit", "nosuch"],
    );
    assert_eq!(said(command).exit, 2);
}
