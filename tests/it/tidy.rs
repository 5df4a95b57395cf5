//! The laws of the house, as a test that reads the source tree.
//!
//! Each rule is a function from text to what is wrong with it, so that it can be shown a bad
//! snippet and proven able to fail. Comments and test code are left out where a rule is about what
//! the product does.

mod source;

use std::path::{Path, PathBuf};

use source::{Source, has_word, read_sources};

/// Rooms and files without clock, files, network, processes or environment, by the path below
/// `src/` without `.rs`; in each, the files that are not pure, by name.
const PURE: &[(&str, &[&str])] = &[
    ("cli", &[]),
    ("plan", &["resolve"]),
    ("dataset", &["mod", "extract", "reading"]),
    ("model/gguf/types", &[]),
    ("model/split", &[]),
    ("model/synthetic/shape", &[]),
    ("model/synthetic/vocabulary", &[]),
    ("server/command", &[]),
    ("server/capabilities", &[]),
    ("server/cause", &[]),
    ("sim/fault", &[]),
    ("sim/flags", &[]),
    ("sim/metrics", &[]),
    ("sim/model", &[]),
    ("sim/render", &[]),
    ("sim/slots", &[]),
    ("load/answer", &[]),
    ("load/chunked", &[]),
    ("load/delta", &[]),
    ("load/gaps", &[]),
    ("load/http", &[]),
    ("load/live", &[]),
    ("load/outcome", &[]),
    ("load/record", &[]),
    ("load/schedule", &[]),
    ("load/sse", &[]),
    ("load/workload", &[]),
    ("scrape/history", &[]),
    ("scrape/metrics", &[]),
    ("prometheus/agreement", &[]),
    ("prometheus/answer", &[]),
    ("prometheus/board", &[]),
    ("prometheus/family", &[]),
    ("prometheus/k6", &[]),
    ("prometheus/remote_write", &[]),
    ("prometheus/text", &[]),
    ("scrape/series", &[]),
    ("scrape/track", &[]),
    ("search", &[]),
    ("stats", &[]),
    ("verdict", &[]),
    ("compare", &["command", "read"]),
    ("history", &["command", "http", "remote", "store"]),
    ("artifact", &["store"]),
    ("report", &[]),
    ("event", &[]),
    ("error", &[]),
    ("exit", &[]),
];

/// What a pure room must not name, each a way to the world outside.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "hf_hub",
    "git2",
    "nix",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "Instant::now",
    "SystemTime::now",
    "Utc::now",
    "Local::now",
];

/// Names that may stand only in some rooms, and why.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("git2", &["provenance", "history"], "few rooms know what a commit is"),
    ("hf_hub", &["model"], "one room fetches from the Hub"),
    ("dlopen", &["gpu"], "one room loads what is not linked"),
];

/// Environment variables of GitHub are read in these rooms; `cli` and `history` may name them for
/// their help and their hints.
const KNOWS_GITHUB: &[&str] = &["github", "provenance", "cli", "history"];

/// The longest file that is still one thing.
const MAX_LINES: usize = 700;

/// The front door.
const MAX_LINES_OF_MAIN: usize = 60;

// ---------------------------------------------------------------------------------------------
// The rules

fn impurities(source: &Source) -> Vec<String> {
    let Some(room) = path_in_src(source) else { return Vec::new() };
    let pure = PURE.iter().any(|(pure, exceptions)| {
        is_in(room, pure)
            && !exceptions.iter().any(|exception| is_in(room, &format!("{pure}/{exception}")))
    });
    if !pure {
        return Vec::new();
    }
    // `ExitCode` is a number with a type, not a process.
    let spelled_out = spell_out_groups(&source.bare).replace("std::process::ExitCode", "");
    let mut wrong = Vec::new();
    for word in IMPURE {
        for line in Source::lines(&spelled_out, |line| has_word(line, word)) {
            wrong.push(at(source, line, format!("a pure room names \"{word}\"")));
        }
    }
    wrong
}

fn trespasses(source: &Source) -> Vec<String> {
    let Some(room) = path_in_src(source) else { return Vec::new() };
    let mut wrong = Vec::new();
    for (name, rooms, why) in CONFINED {
        if !rooms.iter().any(|allowed| is_in(room, allowed)) {
            for line in Source::lines(&source.bare, |line| has_word(line, name)) {
                wrong.push(at(source, line, format!("\"{name}\" stands outside {rooms:?}: {why}")));
            }
        }
    }
    if !KNOWS_GITHUB.iter().any(|allowed| is_in(room, allowed)) {
        for line in Source::lines(&source.code, |line| line.contains("GITHUB_")) {
            wrong.push(at(
                source,
                line,
                "a GITHUB_ variable outside github/ and provenance/".into(),
            ));
        }
    }
    wrong
}

fn prints(source: &Source) -> Vec<String> {
    const MACROS: &[&str] = &["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    if path_in_src(source).is_none_or(|room| room == "main") {
        return Vec::new();
    }
    let printing = |line: &str| MACROS.iter().any(|name| has_word(line, name));
    Source::lines(&source.bare, printing)
        .into_iter()
        .map(|line| at(source, line, "a print macro outside main.rs".into()))
        .collect()
}

fn missing_header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![at(source, 1, "no `//!` that says what the module is for".into())]
}

/// A chart is a text that another program reads, so none may be drawn that `real_mermaid` does not try.
fn draws_untried(source: &Source) -> Vec<String> {
    let Some(room) = path_in_src(source) else { return Vec::new() };
    if crate::real_mermaid::DRAWING.iter().any(|(known, _)| is_in(room, known)) {
        return Vec::new();
    }
    let draws = |line: &str| line.contains("```mermaid") || line.contains("xychart");
    Source::lines(&source.code, draws)
        .into_iter()
        .map(|line| at(source, line, "a chart that is not in `real_mermaid::DRAWING`".into()))
        .collect()
}

/// In test code too, so the whole text is read; a comment may name it.
fn allows(source: &Source) -> Vec<String> {
    let code: Vec<&str> =
        source.text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect();
    let allowing = |line: &str| {
        let packed: String = line.split_whitespace().collect();
        ["#[allow(", "#![allow(", ",allow("].iter().any(|start| packed.contains(start))
    };
    Source::lines(&code.join("\n"), allowing)
        .into_iter()
        .map(|line| at(source, line, "`allow`; use `expect` with a reason".into()))
        .collect()
}

fn too_long(source: &Source) -> Vec<String> {
    let limit = if source.path == "src/main.rs" { MAX_LINES_OF_MAIN } else { MAX_LINES };
    let lines = source.text.lines().count();
    if lines <= limit {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, more than {limit}; is it still one thing?", source.path)]
}

/// `folders` are those of the machine that runs the test. Those of anybody else show by their form.
fn machine_paths(path: &str, text: &str, folders: &[String]) -> Vec<String> {
    const HOMES: &[&str] = &["/home/", "/Users/", "C:\\Users\\"];
    let mut wrong = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let own = folders.iter().any(|folder| line.contains(folder.as_str()));
        let somebodys = HOMES.iter().any(|home| {
            line.match_indices(home).any(|(start, _)| {
                // A name, not a placeholder such as `/home/$USER` or `/home/…`.
                let rest = &line[start + home.len()..];
                rest.starts_with(|character: char| character.is_ascii_alphanumeric())
            })
        });
        if own || somebodys {
            wrong.push(format!("{path}:{}: a path of somebody's machine", index + 1));
        }
    }
    wrong
}

/// Names that a document must hold as `` `name` ``.
fn not_documented(document: &str, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter(|name| !document.contains(&format!("`{name}`")))
        .map(|name| format!("\"{name}\" is not in the document"))
        .collect()
}

/// The public names in the lines `CONSTANT = "name", …` of `src/stats/metric.rs`.
fn metric_names(source: &str) -> Vec<&str> {
    source
        .lines()
        .filter_map(|line| {
            let (constant, rest) = line.trim().split_once(" = \"")?;
            let shouted = constant
                .chars()
                .all(|part| part == '_' || part.is_ascii_uppercase() || part.is_ascii_digit());
            rest.split_once('"').filter(|_| shouted).map(|(name, _)| name)
        })
        .collect()
}

/// Rows `| code | meaning |` that a document must hold.
fn missing_exit_codes(document: &str) -> Vec<String> {
    bench_ci::exit::ExitCode::ALL
        .iter()
        .map(|code| format!("| {} | {} |", code.code(), code.meaning()))
        .filter(|row| !document.contains(row.as_str()))
        .map(|row| format!("no row \"{row}\""))
        .collect()
}

/// Variables of the environment in the literals of a source file, known by how their names begin.
fn variables(source: &Source) -> Vec<String> {
    const FAMILIES: &[&str] = &[
        "HF_",
        "HUGGINGFACE_",
        "GITHUB_",
        "RUNNER_",
        "SERVER_BENCH_",
        "LLAMA_",
        "XDG_",
        "BENCH_CI_",
    ];
    /// Set by us for our own child, or read when this binary is built.
    const NOT_READ: &[&str] = &["BENCH_CI_SERVER", "BENCH_CI_COMMIT"];
    let is_name = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase());
    source
        .code
        .split('"')
        .filter(|text| is_name(text) && !NOT_READ.contains(text))
        .filter(|text| FAMILIES.iter().any(|family| text.starts_with(family)))
        .map(str::to_owned)
        .collect()
}

/// Paths in backticks that name something of the repository which is not there.
fn dead_paths(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    const TOPS: &[&str] = &["src/", "ci/", "tests/", "scenarios/", "schema/", ".github/", ".ci/"];
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| TOPS.iter().any(|top| quoted.starts_with(top)))
        .filter(|path| !path.contains(['*', '{', '<', ' ']) && !exists(path))
        .map(|path| format!("\"{path}\" is not there"))
        .collect()
}

/// Flags in code spans that begin with a dash or with `bench-ci`, and are neither ours nor
/// llama-server's.
fn unknown_flags<'a>(document: &'a str, known: &dyn Fn(&str) -> bool) -> Vec<&'a str> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.starts_with('-') || span.starts_with("bench-ci "))
        .flat_map(|span| span.split([' ', '\n', '=', '|', ',']))
        .filter(|word| word.starts_with("--") && word.len() > 2 && !known(word))
        .collect()
}

// ---------------------------------------------------------------------------------------------
// The tree

#[test]
fn pure_rooms_have_no_way_to_the_world_outside() {
    hold(impurities);
}

#[test]
fn git_hub_and_github_are_known_only_to_their_rooms() {
    hold(trespasses);
}

#[test]
fn nothing_prints_but_the_front_door() {
    hold(prints);
}

#[test]
fn every_chart_is_tried_with_the_real_mermaid() {
    hold(draws_untried);
}

#[test]
fn every_module_says_what_it_is_for() {
    hold(missing_header);
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    hold(allows);
}

#[test]
fn no_file_has_grown_past_one_purpose() {
    hold(too_long);
}

#[test]
fn no_rule_names_a_file_that_is_gone() {
    let gone: Vec<String> = PURE
        .iter()
        .flat_map(|(pure, exceptions)| {
            let inside = exceptions.iter().map(move |exception| format!("{pure}/{exception}"));
            std::iter::once((*pure).to_owned()).chain(inside)
        })
        .filter(|path| {
            let path = root().join("src").join(path);
            !path.is_dir() && !path.with_extension("rs").is_file()
        })
        .collect();
    nothing_wrong(&gone);
}

#[test]
fn no_committed_file_names_a_path_of_somebodys_machine() {
    let mut folders = vec![format!("{}/", root().display())];
    if let Ok(home) = std::env::var("HOME")
        && home.len() > 1
    {
        folders.push(format!("{}/", home.trim_end_matches('/')));
    }
    let mut wrong = Vec::new();
    for path in committed_files() {
        // What is not text has no paths to read.
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            wrong.extend(machine_paths(&path, &text, &folders));
        }
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_exit_code_is_in_the_readme() {
    nothing_wrong(&missing_exit_codes(&read("README.md")));
}

#[test]
fn every_failure_kind_is_in_the_methodology() {
    let kinds = bench_ci::load::FailureKind::ALL.map(bench_ci::load::FailureKind::name);
    nothing_wrong(&not_documented(&read("METHODOLOGY.md"), &kinds));
}

#[test]
fn every_metric_is_in_the_methodology() {
    let source = read("src/stats/metric.rs");
    let names = metric_names(&source);
    assert!(names.len() > 10, "the names of metrics were not found: {names:?}");
    nothing_wrong(&not_documented(&read("METHODOLOGY.md"), &names));
}

#[test]
fn every_variable_has_its_line_of_help() {
    let page = bench_ci::cli::environment::page();
    let wrong: Vec<String> = read_sources(&root(), "src")
        .iter()
        .flat_map(variables)
        .filter(|name| !has_word(&page, name))
        .map(|name| format!("\"{name}\" is not on the page `bench-ci help environment`"))
        .collect();
    nothing_wrong(&wrong);
}

#[test]
fn every_dependency_has_its_line_of_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("the manifest is TOML");
    let mut names: Vec<&str> = Vec::new();
    for section in ["dependencies", "dev-dependencies"] {
        let table = manifest[section].as_table().expect("a table of dependencies");
        names.extend(table.keys().map(String::as_str));
    }
    nothing_wrong(&not_documented(&read("ARCHITECTURE.md"), &names));
}

#[test]
fn every_room_is_on_the_floor_plan() {
    let rooms: Vec<String> = std::fs::read_dir(root().join("src"))
        .expect("src can be read")
        .map(|entry| entry.expect("src can be read"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() { format!("{name}/") } else { name }
        })
        .collect();
    let names: Vec<&str> = rooms.iter().map(String::as_str).collect();
    nothing_wrong(&not_documented(&read("ARCHITECTURE.md"), &names));
}

#[test]
fn documents_are_short_and_name_only_what_is_there() {
    let mut wrong = Vec::new();
    for (path, limit) in
        [("README.md", 150), ("ARCHITECTURE.md", 200), ("METHODOLOGY.md", usize::MAX)]
    {
        let document = read(path);
        let lines = document.lines().count();
        if lines > limit {
            wrong.push(format!("{path}: {lines} lines, more than {limit}"));
        }
        wrong.extend(dead_paths(&document, |named| root().join(named).exists()));
    }
    nothing_wrong(&wrong);
}

#[test]
fn every_flag_that_a_page_names_exists() {
    use clap::CommandFactory;
    fn collect(command: &clap::Command, flags: &mut Vec<String>) {
        let own = command.get_arguments().filter_map(clap::Arg::get_long);
        flags.extend(own.map(|flag| format!("--{flag}")));
        command.get_subcommands().for_each(|sub| collect(sub, flags));
    }
    let mut flags = vec!["--help".to_owned(), "--version".to_owned()];
    collect(&bench_ci::cli::Cli::command(), &mut flags);
    let of_the_server = read("src/sim/llama-server-flags.txt");
    let known = |flag: &str| {
        flags.iter().any(|own| own == flag)
            || of_the_server.split([' ', ',', '\n', '\t']).any(|word| word == flag)
            || flag.starts_with("--sim")
    };
    let pages = committed_files().into_iter().filter(|path| path.starts_with("docs/"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages.chain(["README.md".to_owned()]) {
        let text = read(&page);
        seen += 1;
        wrong.extend(unknown_flags(&text, &known).iter().map(|flag| format!("{page}: {flag}")));
    }
    assert!(seen > 2, "the pages were not found");
    nothing_wrong(&wrong);
    assert_eq!(
        unknown_flags("`--host` and `bench-ci run --hots x` and `k6 --out`", &known),
        ["--hots"]
    );
}

// ---------------------------------------------------------------------------------------------
// Proof that each rule can fail

#[test]
fn a_pure_room_that_reaches_out_is_found() {
    for bad in [
        "use tokio::time;",
        "fn f() { std::fs::read(p) }",
        "let now = std::time::Instant::now();",
        "use std::{collections::HashMap, fs};",
        "use std::{\n    env,\n    path::Path,\n};",
        "std::process::Command::new(x)",
        "let t = chrono::Utc::now();",
    ] {
        assert_eq!(impurities(&Source::new("src/stats/x.rs", bad)).len(), 1, "{bad}");
        assert_eq!(impurities(&Source::new("src/run.rs", bad)), [""; 0], "{bad}");
    }
    for path in ["src/load/sse.rs", "src/load/sse/line.rs", "src/event.rs", "src/plan/mod.rs"] {
        assert_eq!(impurities(&Source::new(path, "use reqwest;")).len(), 1, "{path}");
    }
    for path in ["src/artifact/store.rs", "src/artifact/store/x.rs", "src/load/worker.rs"] {
        assert_eq!(impurities(&Source::new(path, "use reqwest;")), [""; 0], "{path}");
    }
    for good in [
        "//! Without tokio.",
        "impl From<ExitCode> for std::process::ExitCode {}",
        "use std::{collections::HashMap, fmt};",
        "#[cfg(test)]\nmod tests { use tokio; }",
        "let word = \"tokio\";",
    ] {
        assert_eq!(impurities(&Source::new("src/stats/x.rs", good)), [""; 0], "{good}");
    }
}

#[test]
fn a_room_that_knows_too_much_is_found() {
    let variable = "std::env::var(\"GITHUB_SHA\")";
    assert_eq!(trespasses(&Source::new("src/report/x.rs", variable)).len(), 1);
    assert_eq!(trespasses(&Source::new("src/provenance/x.rs", variable)), [""; 0]);
    assert_eq!(trespasses(&Source::new("src/run.rs", "use git2::Repository;")).len(), 1);
    assert_eq!(trespasses(&Source::new("src/run.rs", "hf_hub::api()")).len(), 1);
    assert_eq!(trespasses(&Source::new("src/model/hub.rs", "hf_hub::api()")), [""; 0]);
}

#[test]
fn a_chart_that_nobody_tries_is_found() {
    let chart = "page.line(\"```mermaid\");";
    assert_eq!(draws_untried(&Source::new("src/report/x.rs", chart)).len(), 1);
    assert_eq!(draws_untried(&Source::new("src/run.rs", "f(\"xychart-beta\")")).len(), 1);
    assert_eq!(draws_untried(&Source::new("src/report/derived.rs", chart)), [""; 0]);
    assert_eq!(draws_untried(&Source::new("src/run.rs", "mermaid::charts(x)")), [""; 0]);
}

#[test]
fn a_variable_is_found_where_it_is_read() {
    let source = Source::new("src/x.rs", "// \"HF_OLD\"\nlet x = env(\"HF_NEW\").or(\"hf_new\");");
    assert_eq!(variables(&source), ["HF_NEW"]);
}

#[test]
fn a_print_is_found_and_a_written_line_is_not() {
    assert_eq!(prints(&Source::new("src/run.rs", "fn f() {\n    println!(\"x\");\n}")).len(), 1);
    assert_eq!(prints(&Source::new("src/run.rs", "dbg!(x)")).len(), 1);
    assert_eq!(prints(&Source::new("src/run.rs", "writeln!(out, \"println!\")")), [""; 0]);
    assert_eq!(prints(&Source::new("src/main.rs", "eprintln!(\"x\")")), [""; 0]);
}

#[test]
fn a_module_without_header_an_allow_and_a_long_file_are_found() {
    assert_eq!(missing_header(&Source::new("src/x.rs", "use a;\n//! late")).len(), 1);
    assert_eq!(missing_header(&Source::new("src/x.rs", "//! Does x.")), [""; 0]);

    let allow = ["#[al", "low(dead_code)]"].concat();
    assert_eq!(allows(&Source::new("src/x.rs", allow.as_str())).len(), 1);
    let hidden = ["#[cfg_attr(unix, al", "low(dead_code))]"].concat();
    assert_eq!(allows(&Source::new("src/x.rs", hidden)).len(), 1);
    assert_eq!(allows(&Source::new("src/x.rs", format!("// never {allow}"))), [""; 0]);
    assert_eq!(allows(&Source::new("src/x.rs", "#[expect(lint, reason = \"x\")]")), [""; 0]);

    assert_eq!(too_long(&Source::new("src/x.rs", "//\n".repeat(701))).len(), 1);
    assert_eq!(too_long(&Source::new("src/x.rs", "//\n".repeat(700))), [""; 0]);
    assert_eq!(too_long(&Source::new("src/main.rs", "//\n".repeat(61))).len(), 1);
}

#[test]
fn a_path_of_somebodys_machine_is_found() {
    let own = ["/build/bench-ci/".to_owned()];
    assert_eq!(machine_paths("x", "see /build/bench-ci/src", &own).len(), 1);
    let somebodys = ["/ho", "me/alice/models"].concat();
    assert_eq!(machine_paths("x", &somebodys, &own).len(), 1);
    assert_eq!(machine_paths("x", "in /home/$USER or ~/.cache or /tmp", &own), [""; 0]);
}

#[test]
fn a_gap_in_a_document_is_found() {
    assert_eq!(not_documented("| `ttft_ms` |", &["ttft_ms"]), [""; 0]);
    assert_eq!(not_documented("| `ttft_ms_max` |", &["ttft_ms"]).len(), 1);
    let source = "    TTFT_MS = \"ttft_ms\", \"ms\", Lower, \"x\";\n    let x = \"no\";";
    assert_eq!(metric_names(source), ["ttft_ms"]);
    let codes = bench_ci::exit::ExitCode::ALL.len();
    assert_eq!(missing_exit_codes("| 0 | done, and nothing asked for failed |").len(), codes - 1);
    let exists = |path: &str| path == "src/run.rs";
    assert_eq!(dead_paths("`src/run.rs` and `src/gone.rs` and `run`", exists).len(), 1);
}

// ---------------------------------------------------------------------------------------------
// Parts

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Applies a rule to every file of `src/`.
fn hold(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = read_sources(&root(), "src");
    assert!(sources.len() > 10, "the source tree was not found");
    let wrong: Vec<String> = sources.iter().flat_map(rule).collect();
    nothing_wrong(&wrong);
}

#[track_caller]
fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} found:\n  {}", wrong.len(), wrong.join("\n  "));
}

fn at(source: &Source, line: usize, what: String) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// `plan/mod` for `src/plan/mod.rs`.
fn path_in_src(source: &Source) -> Option<&str> {
    source.path.strip_prefix("src/")?.strip_suffix(".rs")
}

fn is_in(path: &str, room: &str) -> bool {
    path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with('/'))
}

/// Writes `use std::{a, b::C};` as `std::a std::b::C`, so that a name is found however it is
/// imported. The number of lines stays.
fn spell_out_groups(code: &str) -> String {
    const GROUP: &str = "std::{";
    let mut spelled_out = String::new();
    let mut rest = code;
    while let Some(start) = rest.find(GROUP) {
        let (before, group) = rest.split_at(start);
        let group = &group[GROUP.len()..];
        let end = group.find(';').unwrap_or(group.len());
        spelled_out.push_str(before);
        for part in group[..end].split_inclusive([',', '{']) {
            let name = part.trim_start();
            spelled_out.push_str(&part[..part.len() - name.len()]);
            spelled_out.push_str(" std::");
            spelled_out.push_str(name);
        }
        rest = &group[end..];
    }
    spelled_out + rest
}

/// Every file that git has or would have; without git, what an archive of the source holds.
fn committed_files() -> Vec<String> {
    let git = std::process::Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
        }
        _ => {
            let folders = ["src", "ci", "tests", "scenarios"].map(Path::new);
            folders
                .iter()
                .flat_map(|folder| read_sources(&root(), &folder.to_string_lossy()))
                .map(|source| source.path)
                .collect()
        }
    }
}
