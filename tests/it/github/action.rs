//! The steps of `action.yml`, run as the runner runs them, and what they leave behind.

mod alone;
mod modes;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

use super::events::HEAD;
use super::{Step, outputs_in};

/// A small run on the simulator. A starved client is no failure here.
const SMALL: &str =
    "--n-prompts 4\n--max-tokens 4\n--warm-up 0\n--max-lateness 100\n--max-client-delay 100\n";

/// What nobody should ever be able to do with an input.
const HOSTILE: &[&str] = &[
    "$(touch pwned)",
    "`touch pwned`",
    "\"; touch pwned; echo \"",
    "'; touch pwned; echo '",
    "x\nverdict=improved\ntouch pwned",
    "${{ secrets.GITHUB_TOKEN }}",
    "::error::pwned",
    "%0A::set-output name=verdict::improved",
    "&& touch pwned",
    "-",
    "--",
    "\\",
    "~/../*",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn action() -> Yaml {
    let text = std::fs::read_to_string(root().join("action.yml")).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

/// What a job calls the action with, and where.
struct Caller {
    inputs: BTreeMap<String, String>,
    matrix: &'static str,
    /// Variables that the runner sets otherwise than [`Step`] has it.
    runner: BTreeMap<String, String>,
    workspace: tempfile::TempDir,
}

/// What was left behind.
struct Left {
    /// Of the last step that ran.
    code: i32,
    /// Outputs of each step, by its id.
    steps: BTreeMap<String, BTreeMap<String, String>>,
    summary: String,
    /// stdout and stderr of all steps.
    log: String,
    /// `with` of the steps that use another action and whose condition holds.
    used: Vec<(String, BTreeMap<String, String>)>,
}

impl Left {
    /// An output of the action itself, as `action.yml` maps it.
    fn output(&self, name: &str) -> &str {
        let action = action();
        let value = action["outputs"][name]["value"].as_str().unwrap_or_else(|| panic!("{name}"));
        let path = expression(value).unwrap();
        let [_, step, _, output] = path.split('.').collect::<Vec<_>>()[..] else {
            panic!("{path}")
        };
        self.steps.get(step).and_then(|step| step.get(output)).map_or("", String::as_str)
    }
}

impl Caller {
    /// With the defaults of `action.yml`, but the binary under test.
    fn new(inputs: &[(&str, &str)]) -> Self {
        let mut all: BTreeMap<String, String> = action()["inputs"]
            .as_hash()
            .unwrap()
            .iter()
            .map(|(name, input)| {
                let default = input["default"].as_str().unwrap_or_else(|| panic!("{name:?}"));
                (name.as_str().unwrap().to_owned(), default.to_owned())
            })
            .collect();
        all.insert("binary".to_owned(), env!("CARGO_BIN_EXE_bench-ci").to_owned());
        let workspace = tempfile::tempdir().unwrap();
        let mut caller = Self { inputs: all, matrix: "null", runner: BTreeMap::new(), workspace };
        for (name, value) in inputs {
            caller.set(name, value);
        }
        caller
    }

    fn set(&mut self, name: &str, value: &str) {
        assert!(self.inputs.insert(name.to_owned(), value.to_owned()).is_some(), "no input {name}");
    }

    fn workspace(&self) -> PathBuf {
        let path = self.workspace.path().join("workspace");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Runs every `run` step with bash as GitHub does, and evaluates the conditions of the others.
    fn play(&self) -> Left {
        let action = action();
        assert_eq!(action["runs"]["using"].as_str(), Some("composite"));
        let mut left = Left {
            code: 0,
            steps: BTreeMap::new(),
            summary: String::new(),
            log: String::new(),
            used: Vec::new(),
        };
        for step in action["runs"]["steps"].as_vec().unwrap() {
            if let Some(uses) = step["uses"].as_str() {
                if self.holds(step["if"].as_str().unwrap(), &left) {
                    left.used.push((uses.to_owned(), self.evaluated(&step["with"], &left)));
                }
            } else if left.code == 0 {
                self.run(step, &mut left);
            }
        }
        left
    }

    fn run(&self, step: &Yaml, left: &mut Left) {
        let script = step["run"].as_str().unwrap();
        assert!(!script.contains("${{"), "an expression is spliced into a script: {script}");
        assert_eq!(step["shell"].as_str(), Some("bash"));
        let around = Step::new(self.workspace.path());
        let file = self.workspace.path().join("step.sh");
        std::fs::write(&file, script).unwrap();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(&file);
        around.environment(&mut command);
        command.current_dir(self.workspace()).envs(&self.runner);
        command.envs(self.evaluated(&step["env"], left));
        let output = command.output().unwrap();
        left.code = output.status.code().unwrap();
        left.log.push_str(&String::from_utf8_lossy(&output.stderr));
        left.log.push_str(&String::from_utf8_lossy(&output.stdout));
        left.summary.push_str(&around.summary());
        left.steps.insert(step["id"].as_str().unwrap().to_owned(), around.outputs());
    }

    fn evaluated(&self, values: &Yaml, left: &Left) -> BTreeMap<String, String> {
        let plain = |value: &Yaml| match value {
            Yaml::String(text) => text.clone(),
            Yaml::Boolean(value) => value.to_string(),
            other => panic!("{other:?}"),
        };
        values
            .as_hash()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let text = plain(value);
                let value = match expression(&text) {
                    Some(expression) => self.value(expression, left),
                    None => text.clone(),
                };
                (name.as_str().unwrap().to_owned(), value)
            })
            .collect()
    }

    fn value(&self, expression: &str, left: &Left) -> String {
        if let Some(name) = expression.strip_prefix("inputs.") {
            return self.inputs.get(name).unwrap_or_else(|| panic!("no input {name}")).clone();
        }
        match expression {
            "github.action_path" => root().display().to_string(),
            "toJSON(matrix)" => self.matrix.to_owned(),
            _ => {
                let parts: Vec<&str> = expression.split('.').collect();
                let ["steps", step, "outputs", output] = parts[..] else { panic!("{expression}") };
                left.steps.get(step).and_then(|step| step.get(output)).cloned().unwrap_or_default()
            }
        }
    }

    fn holds(&self, condition: &str, left: &Left) -> bool {
        expression(condition).unwrap().split("&&").map(str::trim).all(|term| {
            if term == "always()" {
                return true;
            }
            let is = !term.contains("!=");
            let (value, literal) = term.split_once(if is { "==" } else { "!=" }).unwrap();
            (self.value(value.trim(), left) == literal.trim().trim_matches('\'')) == is
        })
    }
}

/// What is inside `${{ … }}`; it is always the whole value.
fn expression(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    assert!(inside.is_some() || !text.contains("${{"), "only a part of {text:?} is an expression");
    inside.map(str::trim)
}

#[test]
fn a_run_leaves_summary_outputs_and_one_json_to_upload() {
    let mut caller = Caller::new(&[("mode", "run"), ("server", "sim"), ("args", SMALL)]);
    caller.matrix = r#"{"ftype": "q4_0", "users": 8}"#;
    let left = caller.play();
    assert_eq!(left.code, 0, "{}", left.log);
    for (name, value) in [
        ("verdict", "measured"),
        ("exit-code", "0"),
        ("failed-requests", "0"),
        ("report-json", "bench-out/report.json"),
        ("report-md", "bench-out/report.md"),
        ("artifact-name", "bench-ci-bench-q4_0-8"),
        ("change-pct", ""),
        ("pairs", ""),
    ] {
        assert_eq!(left.output(name), value, "{name}\n{}", left.log);
    }
    assert!(caller.workspace().join("bench-out/report.json").is_file());
    assert!(
        left.summary.starts_with("### 📏 Measured: 4 of 4 requests completed"),
        "{}",
        left.summary
    );
    // Of the payload: the variables name the merge commit.
    assert!(left.summary.contains(&format!("head {}", &HEAD[..7])), "{}", left.summary);
    assert!(left.summary.contains("/actions/runs/19200000999)"), "{}", left.summary);
    assert!(left.log.contains("::group::bench-ci run\n"), "{}", left.log);
    assert!(!left.log.contains("::error") && !left.log.contains("::warning"), "{}", left.log);
    let [(uses, with)] = &left.used[..] else { panic!("{:?}", left.used) };
    assert!(uses.starts_with("actions/upload-artifact@"), "{uses}");
    assert_eq!(with["name"], "bench-ci-bench-q4_0-8");
    assert_eq!(with["path"], "bench-out/report.json");
}

#[test]
fn what_is_switched_off_is_not_made() {
    let inputs = [
        ("mode", "run"),
        ("server", "sim"),
        ("args", SMALL),
        ("upload", "false"),
        ("summary", "false"),
    ];
    let left = Caller::new(&inputs).play();
    assert_eq!((left.code, left.summary.as_str()), (0, ""), "{}", left.log);
    assert_eq!(left.output("verdict"), "measured");
    assert!(left.used.is_empty());
}

#[test]
fn a_server_that_does_not_start_fails_the_step_and_is_reported() {
    let left =
        Caller::new(&[("mode", "run"), ("server", "/bin/false"), ("model", "synthetic:tiny")])
            .play();
    assert_eq!(left.code, 7, "{}", left.log);
    assert_eq!((left.output("verdict"), left.output("exit-code")), ("not-measured", "7"));
    let errors: Vec<&str> = left.log.lines().filter(|line| line.starts_with("::error ")).collect();
    assert_eq!(errors.len(), 1, "{}", left.log);
    assert!(
        errors[0].starts_with("::error title=bench-ci%3A not measured (bench)::"),
        "{errors:?}"
    );
    assert!(left.summary.contains("⚪"), "{}", left.summary);
    // The page on the pull request should say that there was a failure, so that it is uploaded too.
    assert_eq!(left.used.len(), 1);
}

#[test]
fn a_mistake_in_the_inputs_says_so_and_an_old_report_is_not_taken_for_its_result() {
    let caller = Caller::new(&[("mode", "fast")]);
    let old = caller.workspace().join("bench-out");
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("report.json"), "{}").unwrap();
    let left = caller.play();
    assert_eq!(left.code, 2, "{}", left.log);
    assert!(left.log.contains("expected one of run, ab, aa"), "{}", left.log);
    assert_eq!((left.output("report-json"), left.used.len()), ("", 0));

    let mut caller = Caller::new(&[("mode", "run"), ("server", "sim"), ("args", "--no-such-flag")]);
    caller.set("out-dir", "out");
    let old = caller.workspace().join("out");
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("report.json"), "{}").unwrap();
    let left = caller.play();
    assert_eq!((left.code, left.used.len()), (2, 0), "{}", left.log);
}

#[test]
fn no_input_is_a_script() {
    let names: Vec<String> = Caller::new(&[]).inputs.into_keys().collect();
    let mut played = 0;
    for (index, name) in names.iter().enumerate() {
        if name == "binary" || name == "version" {
            continue;
        }
        // A process or two for each; over all inputs every value has its turn several times.
        for value in HOSTILE.iter().skip(index % 6).step_by(6) {
            let mut caller =
                Caller::new(&[("mode", "run"), ("server", "sim"), ("args", "--dry-run")]);
            caller.set(name, value);
            let left = caller.play();
            harmless(&caller, &left, name, value);
            played += 1;
        }
    }
    assert!(played > 50, "{played}");
    for name in ["binary", "version"] {
        for value in HOSTILE {
            let mut caller = Caller::new(&[("binary", "")]);
            caller.set("version", "1.2.3");
            caller.set(name, value);
            let left = caller.play();
            assert_ne!(left.code, 0, "{name}: {value}");
            harmless(&caller, &left, name, value);
        }
    }
}

fn harmless(caller: &Caller, left: &Left, name: &str, value: &str) {
    for folder in [caller.workspace(), caller.workspace.path().to_owned()] {
        assert!(!folder.join("pwned").exists(), "{name}: {value}");
    }
    assert_ne!(left.output("verdict"), "improved", "{name}: {value}");
    let obeyed = |line: &&str| line.trim_start().starts_with("::error::pwned");
    assert_eq!(left.log.lines().find(obeyed), None, "{name}: {value}");
}

#[test]
fn a_hostile_key_is_a_name_and_nothing_else() {
    for value in HOSTILE.iter().step_by(4) {
        let left =
            Caller::new(&[("mode", "run"), ("server", "sim"), ("args", SMALL), ("key", value)])
                .play();
        assert_eq!((left.code, left.output("verdict")), (0, "measured"), "{value}: {}", left.log);
        let name = left.output("artifact-name");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!(name.starts_with("bench-ci-") && name.bytes().all(plain), "{value}: {name}");
    }
}

/// `get.sh` in a checkout of the test's own, called from elsewhere, with one program that is the test's.
struct Get {
    folder: tempfile::TempDir,
}

impl Get {
    fn new(program: &str, script: &str) -> Self {
        let get = Self { folder: tempfile::tempdir().unwrap() };
        for place in ["checkout/ci/release", "bin", "temp", "caller"] {
            std::fs::create_dir_all(get.at(place)).unwrap();
        }
        let here = "checkout/ci/release/get.sh";
        std::fs::copy(root().join("ci/release/get.sh"), get.at(here)).unwrap();
        executable(&get.at("bin").join(program), script);
        get
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, variables: &[(&str, &str)]) -> (i32, BTreeMap<String, String>, String) {
        let usual = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(self.at("bin")).chain(std::env::split_paths(&usual));
        let output = Command::new(self.at("checkout/ci/release/get.sh"))
            .current_dir(self.at("caller"))
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("RUNNER_TEMP", self.at("temp"))
            .env("GITHUB_OUTPUT", self.at("output"))
            .env("INPUT_BINARY", "")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let outputs = std::fs::read_to_string(self.at("output")).unwrap_or_default();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), outputs_in(&outputs), log)
    }
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// What the caller's checkout and environment say about builds is said about the caller's code.
#[test]
fn a_build_is_made_in_the_actions_own_checkout() {
    let cargo = "#!/bin/sh\n\
        for word; do [ \"$last\" = --target-dir ] && to=$word; last=$word; done\n\
        pwd -P >\"$to.cwd\"; echo \"${CARGO_BUILD_TARGET-none}\" >\"$to.target\"\n\
        mkdir -p \"$to/release\"; cp \"$0\" \"$to/release/bench-ci\"\n";
    let get = Get::new("cargo", cargo);
    let target = ("CARGO_BUILD_TARGET", "wasm32-unknown-unknown");
    let (code, outputs, log) = get.call(&[("INPUT_VERSION", "source"), target]);
    assert_eq!(code, 0, "{log}");
    let built = get.at("temp/bench-ci-build");
    assert_eq!(Path::new(&outputs["binary"]), built.join("release/bench-ci"));
    let noted = |end: &str| std::fs::read_to_string(built.with_extension(end)).unwrap();
    let checkout = get.at("checkout").canonicalize().unwrap();
    assert_eq!(Path::new(noted("cwd").trim()), checkout);
    assert_eq!(noted("target").trim(), "none");
}

/// A bare name is that of a file here, as the input says, and not of a program somewhere in PATH.
#[test]
fn a_binary_is_a_file_wherever_it_is() {
    for (binary, code, said) in [
        ("ours", 0, "all settings:"),
        ("./ours", 0, "all settings:"),
        (".", 1, "the input binary names no executable file"),
        ("bash", 1, "the input binary names no executable file"),
    ] {
        let mut caller = Caller::new(&[("mode", "run"), ("server", "sim"), ("args", "--dry-run")]);
        let ours = caller.workspace().join("ours");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bench-ci"), ours).unwrap();
        caller.set("binary", binary);
        let left = caller.play();
        assert_eq!(left.code, code, "{binary}: {}", left.log);
        assert!(left.log.contains(said), "{binary}: {}", left.log);
    }
}

/// `get.sh` with a `curl` and a table of checksums of the test's own.
fn released(
    version: &str,
    served: &[u8],
    listed: &[u8],
) -> (i32, BTreeMap<String, String>, String) {
    use sha2::{Digest, Sha256};
    let curl = "#!/bin/sh\nfor word; do [ \"$last\" = --output ] && cp \"$SERVED\" \"$word\"; last=$word; done\n";
    let get = Get::new("curl", curl);
    let digest: String = Sha256::digest(listed).iter().map(|byte| format!("{byte:02x}")).collect();
    let arch = std::env::consts::ARCH;
    let target = if cfg!(target_os = "macos") {
        format!("{arch}-apple-darwin")
    } else {
        format!("{arch}-unknown-linux-musl")
    };
    let table = format!("{digest}  bench-ci-1.2.3-{target}.tar.gz\n");
    std::fs::write(get.at("checkout/ci/release/sha256.txt"), table).unwrap();
    std::fs::write(get.at("served"), served).unwrap();
    let served = get.at("served").display().to_string();
    get.call(&[("SERVED", &served), ("INPUT_VERSION", version)])
}

#[test]
fn a_release_is_taken_only_with_the_checksum_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    executable(&folder.path().join("bench-ci"), "#!/bin/sh\n");
    let archive = folder.path().join("a.tar.gz");
    let tar = Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .arg("bench-ci")
        .status();
    assert!(tar.unwrap().success());
    let archive = std::fs::read(archive).unwrap();

    let (code, outputs, log) = released("1.2.3", &archive, &archive);
    assert_eq!(code, 0, "{log}");
    assert!(outputs["binary"].ends_with("/bench-ci"), "{outputs:?}");

    let (code, outputs, log) = released("1.2.3", b"something else", &archive);
    assert_eq!((code, outputs.len()), (1, 0), "{log}");
    assert!(log.contains("is not the file that was released"), "{log}");

    let (code, _, log) = released("1.2.4", &archive, &archive);
    assert_eq!(code, 1);
    assert!(log.contains("no checksum of bench-ci-1.2.4-"), "{log}");
}
