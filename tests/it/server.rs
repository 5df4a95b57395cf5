//! The life of a server child: fakes that misbehave in one way each, and the real one.
//!
//! Every test ends by checking that no process is left.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench_ci::cancel::{self, Cancel, StopReason};
use bench_ci::event::Events;
use bench_ci::exit::ExitCode;
use bench_ci::plan::{ServerProgram, ServerSpec};
use bench_ci::server::proc;
use bench_ci::server::{
    Capabilities, Ending, Guard, Launch, Program, RunningServer, ServerError, guard_main, probe,
    resolve_program, start,
};
use tempfile::TempDir;

/// Long enough for a starved machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every fake can do; the body decides what it does.
const FAKE: &str = r#"#!/usr/bin/env python3
import os, signal, socket, sys, time
def value(flag, default=None):
    return sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else default
if "--help" in sys.argv:
    print("-m,    --model FNAME        model\n--host HOST  host\n--port PORT  port\n--metrics   metrics\n--slots   slots"); sys.exit(0)
if "--version" in sys.argv:
    print("version: 4242 (abcdef0)", file=sys.stderr); sys.exit(0)
signal.signal(signal.SIGINT, lambda *_: (print("cleaning up before exit...", flush=True), os._exit(0)))
def say(*words):
    print(*words, file=sys.stderr, flush=True)
def serve(status=lambda: 200, port=None):
    listener = socket.socket()
    listener.bind((value("--host"), int(port or value("--port"))))
    listener.listen(64)
    say("listening")
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        code = status()
        body = b'{"status":"ok"}' if code == 200 else b'{"error":{"message":"Loading model","code":503}}'
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (code, len(body)) + body)
        connection.close()
"#;

struct Stage {
    folder: TempDir,
    spec: ServerSpec,
    guard: Option<Guard>,
}

impl Stage {
    fn new() -> Self {
        let spec = ServerSpec {
            program: ServerProgram::Executable("unused".into()),
            host: "127.0.0.1".to_owned(),
            port: 0,
            parallel: None,
            n_gpu_layers: None,
            ctx_size: None,
            batch_size: None,
            ubatch_size: None,
            fit_off: false,
            extra_args: Vec::new(),
            env: Vec::new(),
            start_timeout: PATIENCE,
            stop_grace: PATIENCE,
        };
        Self { folder: tempfile::tempdir().expect("a temporary folder"), spec, guard: None }
    }

    fn guarded() -> Self {
        Self { guard: Some(guard()), ..Self::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// An executable fake server whose main part is `body`.
    fn fake(&self, body: &str) -> PathBuf {
        self.script("llama-server", &format!("{FAKE}\n{body}\n"))
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
        path
    }

    async fn start(
        &self,
        program: &Path,
        model: Option<&Path>,
    ) -> Result<RunningServer, ServerError> {
        self.start_with(program, model, &Cancel::never()).await
    }

    async fn start_with(
        &self,
        program: &Path,
        model: Option<&Path>,
        cancel: &Cancel,
    ) -> Result<RunningServer, ServerError> {
        let launch = Launch {
            spec: &self.spec,
            program: &Program::llama_server(program.to_owned()),
            model,
            capabilities: &Capabilities::default(),
            log: &self.path("server.log"),
            inherited_api_key: None,
            secrets: Vec::new(),
            log_events: Some(Events::default()),
            guard: self.guard.clone(),
        };
        start(&launch, cancel).await
    }

    /// What a user reads: the message, and the hint behind it.
    async fn refusal(&self, program: &Path, model: Option<&Path>) -> (String, ServerError) {
        let error = self.start(program, model).await.expect_err("it must not start");
        assert_eq!(self.processes(), Vec::<i32>::new(), "processes left");
        (format!("{error}\nhint: {}", error.hint().unwrap_or_default()), error)
    }

    /// The processes that run something of this stage's folder.
    fn processes(&self) -> Vec<i32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let own = i32::try_from(std::process::id()).expect("process numbers fit");
        all_pids()
            .filter(|pid| *pid != own)
            .filter(|pid| proc::command_of(*pid).is_some_and(|command| command.contains(&folder)))
            .collect()
    }

    async fn nothing_is_left(&self) {
        eventually("no process is left", || self.processes().is_empty()).await;
    }
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("Linux has /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

// ---- The guard, as a child of this test binary ----

fn guard() -> Guard {
    let own = std::env::current_exe().expect("this binary");
    Guard::start_as(&own, &["--exact", "server::guard_process", "--ignored", "--nocapture"])
        .expect("a guard")
}

/// Not a test: the guard's whole life, in a process of its own.
#[test]
#[ignore = "runs only as the guard process of other tests"]
fn guard_process() {
    let _status = guard_main();
}

/// Not a test: starts a server as bench-ci would, says so, and waits to be killed.
#[tokio::test]
#[ignore = "runs only as the process that other tests kill"]
async fn victim_process() {
    let Some(program) = std::env::var_os("BENCH_CI_TEST_VICTIM") else { return };
    let guard = std::env::var_os("BENCH_CI_TEST_GUARDED").map(|_| guard());
    let stage = Stage { guard, ..Stage::new() };
    let server = stage.start(Path::new(&program), None).await.expect("a server");
    writeln!(std::io::stdout(), "\nvictim runs {}", server.pid).expect("the parent reads");
    std::future::pending::<()>().await;
}

/// Runs the victim with this server until the server is up, kills it with SIGKILL.
async fn kill_a_victim(stage: &Stage, program: &Path, guarded: bool) {
    let own = std::env::current_exe().expect("this binary");
    let mut command = Command::new(own);
    command
        .args(["--exact", "server::victim_process", "--ignored", "--nocapture"])
        .env("BENCH_CI_TEST_VICTIM", program)
        .stdout(Stdio::piped());
    if guarded {
        command.env("BENCH_CI_TEST_GUARDED", "1");
    }
    let mut victim = command.spawn().expect("a victim");
    let mut lines = BufReader::new(victim.stdout.take().expect("piped")).lines();
    let said = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("victim runs")));
    assert!(said.is_some(), "the victim's server did not start");
    assert!(!stage.processes().is_empty(), "its server must run before the kill");
    victim.kill().expect("SIGKILL");
    victim.wait().expect("reaped");
}

#[tokio::test]
async fn kill_9_of_us_takes_a_wrapped_server_and_its_daemon_with_us() {
    let stage = Stage::new();
    let fake = stage.fake(
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: time.sleep(60)\n    os._exit(0)\nserve()",
    );
    // Not `exec`: the shell stays, and the server is a grandchild.
    let wrapper =
        stage.script("wrapper", &format!("#!/bin/sh\n\"{}\" \"$@\"\ntrue\n", fake.display()));
    kill_a_victim(&stage, &wrapper, true).await;
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn kill_9_of_us_kills_the_direct_child_even_without_a_guard() {
    let stage = Stage::new();
    let fake = stage.fake("serve()");
    kill_a_victim(&stage, &fake, false).await;
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn the_guard_is_gone_when_nobody_needs_it() {
    let guard = guard();
    let (pid, clone) = (guard.pid(), guard.clone());
    drop(guard);
    assert!(alive(pid), "a clone still needs it");
    drop(clone);
    assert!(!alive(pid));
}

// ---- Starting and stopping ----

#[tokio::test]
async fn a_healthy_server_is_ours_and_stops_when_asked() {
    let stage = Stage::guarded();
    let fake = stage.fake("say('loading'); serve()");
    let server = stage.start(&fake, None).await.expect("healthy");
    let listening = server.listening_s.expect("Linux says so");
    assert!(listening > 0.0 && listening <= server.healthy_s);
    assert_eq!(server.warnings, Vec::<String>::new());
    assert!(server.group().sample().is_some_and(|usage| usage.rss_bytes > 0));
    assert_eq!(server.exited(), None);
    let pid = server.pid;
    let exit = server.stop().await;
    assert_eq!((exit.how, exit.status, exit.signal.as_deref()), (Ending::Asked, Some(0), None));
    assert!(exit.rss_peak_bytes.is_some_and(|bytes| bytes > 1 << 20));
    assert!(exit.cpu_s > 0.0 && exit.stop_s.is_some() && exit.leftovers == 0);
    assert!(!alive(pid));
    assert_eq!(stage.log(), "loading\nlistening\ncleaning up before exit...\n");
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_slow_load_is_waited_for() {
    let stage = Stage::new();
    let fake = stage.fake("n = [0]\ndef status():\n    n[0] += 1\n    return 200 if n[0] > 20 else 503\nserve(status)");
    let server = stage.start(&fake, None).await.expect("healthy at last");
    assert!(server.listening_s.expect("known") < server.healthy_s);
    server.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn never_healthy_names_its_limit_and_what_was_seen() {
    let mut stage = Stage::new();
    stage.spec.start_timeout = Duration::from_millis(1500);
    let (text, error) = stage.refusal(&stage.fake("serve(lambda: 503)"), None).await;
    assert!(text.starts_with("llama-server was not healthy within 1.5 s (--start-timeout): /health answered 503 (\"Loading model\")\n      log: listening"), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Server);

    let (text, _) = stage.refusal(&stage.fake("time.sleep(600)"), None).await;
    assert!(text.contains("nothing listened on 127.0.0.1:"), "{text}");

    let (text, _) = stage.refusal(&stage.fake("serve(port='0')"), None).await;
    assert!(text.contains("; it listens on port "), "{text}");
}

#[tokio::test]
async fn a_server_that_ignores_sigint_is_killed() {
    let mut stage = Stage::new();
    stage.spec.stop_grace = Duration::from_millis(100);
    let fake = stage.fake("signal.signal(signal.SIGINT, signal.SIG_IGN); serve()");
    let server = stage.start(&fake, None).await.expect("healthy");
    let exit = server.stop().await;
    assert_eq!((exit.how, exit.signal.as_deref()), (Ending::Killed, Some("SIGKILL")));
    assert!(exit.stop_s.is_some_and(|seconds| seconds >= 0.1));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn children_of_the_server_do_not_outlive_it() {
    // One child that ignores SIGINT, and one that even left the group and its parent.
    let mut stage = Stage::guarded();
    stage.spec.stop_grace = Duration::from_millis(300);
    let fake = stage.fake(
        "def stubborn():\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n    while True: time.sleep(60)\n\
         if os.fork() == 0: stubborn()\n\
         if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: stubborn()\n    os._exit(0)\n\
         os.wait()\nserve()",
    );
    let server = stage.start(&fake, None).await.expect("healthy");
    assert_eq!(stage.processes().len(), 3);
    let exit = server.stop().await;
    // It went itself when asked; the first child had to be killed. The second is not of its group.
    assert_eq!((exit.status, exit.leftovers, exit.how), (Some(0), 1, Ending::Killed));
    assert_eq!(stage.processes(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_wrapper_scripts_server_counts_as_ours() {
    let stage = Stage::new();
    let fake = stage.fake("serve()");
    let wrapper = stage.script("wrapper", &format!("#!/bin/sh\n\"{}\" \"$@\"\n", fake.display()));
    let server = stage.start(&wrapper, None).await.expect("healthy");
    assert_eq!(server.group().sample().map(|usage| usage.processes), Some(2));
    server.stop().await;
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_flood_in_the_log_is_kept_and_does_not_block_the_server() {
    let stage = Stage::new();
    let fake = stage.fake("for i in range(20000): print('x' * 99)\nserve()");
    let server = stage.start(&fake, None).await.expect("healthy");
    assert!(server.last_log_lines(1000).len() <= 50);
    server.stop().await;
    assert_eq!(stage.log().matches("xxx\n").count(), 20_000);
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_death_in_the_middle_is_noticed() {
    let stage = Stage::new();
    let fake = stage.fake("def status():\n    if os.fork() == 0: time.sleep(600)\n    import threading\n    threading.Timer(0.2, lambda: (say('CUDA error: out of memory'), os.kill(os.getpid(), signal.SIGKILL))).start()\n    return 200\nserve(status)");
    let mut server = stage.start(&fake, None).await.expect("healthy");
    let exit = server.died().await;
    assert_eq!((exit.how, exit.signal.as_deref()), (Ending::Died, Some("SIGKILL")));
    assert!(server.death_in_words(&exit).ends_with(": memory ran out"));
    assert_eq!(server.stop().await, exit);
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn dropping_a_server_kills_it() {
    let stage = Stage::new();
    let server = stage.start(&stage.fake("serve()"), None).await.expect("healthy");
    let pid = server.pid;
    drop(server);
    assert!(!alive(pid));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_stop_while_starting_leaves_nothing() {
    let stage = Stage::new();
    let fake = stage.fake("say('up'); serve(lambda: 503)");
    let (canceller, cancel) = cancel::pair();
    let starting = stage.start_with(&fake, None, &cancel);
    let stopping = async {
        eventually("it is up", || stage.log().contains("listening")).await;
        canceller.stop(StopReason::Terminated);
    };
    let (result, ()) = tokio::join!(starting, stopping);
    let error = result.expect_err("stopped");
    assert_eq!(error.exit_code(), ExitCode::Terminated);
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let stage = Stage::new();
    let fake = stage.fake("serve(lambda: 503)");
    tokio::select! {
        _ = stage.start(&fake, None) => panic!("never healthy"),
        () = eventually("it is up", || stage.log().contains("listening")) => {}
    }
    stage.nothing_is_left().await;
}

// ---- Early deaths ----

#[tokio::test]
async fn an_early_death_is_told_at_once_with_cause_and_last_lines() {
    let stage = Stage::new();
    let fake = stage.fake("say('E srv load_model: failed to load model, m.gguf'); say('E exiting due to model loading error'); sys.exit(1)");
    let (text, error) = stage.refusal(&fake, None).await;
    assert!(text.starts_with("llama-server exited with status 1 after "), "{text}");
    assert!(text.contains(" s, before it was healthy: the model could not be loaded\n      log: E srv load_model: failed"), "{text}");
    assert!(text.contains("full log in ") && text.contains("server.log"), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Server);

    let (text, _) = stage.refusal(&stage.fake("os.kill(os.getpid(), signal.SIGSEGV)"), None).await;
    assert!(
        text.contains("llama-server was killed by SIGSEGV after ") && text.contains("it crashed"),
        "{text}"
    );

    let (text, _) = stage.refusal(&stage.fake("sys.exit(0)"), None).await;
    assert!(text.contains("exited with status 0") && text.contains("ended by itself"), "{text}");
}

#[tokio::test]
async fn the_telling_line_is_shown_even_behind_a_long_usage_text() {
    let stage = Stage::new();
    let fake = stage.fake(
        "say('error: unknown argument: --foo')\nfor i in range(400): say('usage', i)\nsys.exit(1)",
    );
    let (text, _) = stage.refusal(&fake, None).await;
    assert!(text.contains("log: error: unknown argument: --foo\n      log: usage 394"), "{text}");
}

#[tokio::test]
async fn programs_that_cannot_run_are_told_in_words() {
    let stage = Stage::new();
    let (text, _) = stage.refusal(&stage.path("nothing"), None).await;
    assert!(text.starts_with("cannot start llama-server: no such file \""), "{text}");
    assert!(text.contains("--server sim"), "{text}");

    let (text, _) = stage.refusal(&stage.script("script", "#!/no/such/interpreter\n"), None).await;
    assert!(text.contains("its interpreter \"/no/such/interpreter\" does not exist"), "{text}");

    let (text, _) = stage.refusal(&stage.script("empty", ""), None).await;
    assert!(text.contains("it is an empty file"), "{text}");

    let mut elf = std::fs::read("/proc/self/exe").expect("this binary");
    elf.truncate(4096);
    elf[18..20].copy_from_slice(&243_u16.to_le_bytes());
    let foreign = stage.script("foreign", "");
    std::fs::write(&foreign, &elf).expect("written");
    let (text, _) = stage.refusal(&foreign, None).await;
    assert!(text.contains("it was built for riscv64, and this machine is "), "{text}");
}

#[tokio::test]
async fn what_to_start_is_found_in_the_promised_order() {
    let stage = Stage::new();
    let fake = stage.fake("");
    let own = Path::new("/usr/bin/bench-ci");
    let folder = stage.folder.path();
    let find = |choice: Option<&ServerProgram>, variable: Option<&Path>, path: Option<&Path>| {
        resolve_program(choice, variable.map(Path::as_os_str), path.map(Path::as_os_str), own)
    };
    let explicit = ServerProgram::Executable(fake.clone());
    let found = find(Some(&explicit), Some(Path::new("/other")), None).expect("explicit");
    assert_eq!(found, Program::llama_server(fake.clone()));
    assert_eq!(find(None, Some(&fake), None).expect("by variable").path, fake);
    assert_eq!(find(None, None, Some(folder)).expect("on the path").path, fake);
    let in_folder = ServerProgram::Executable(folder.to_owned());
    assert_eq!(find(Some(&in_folder), None, None).expect("in a folder").path, fake);
    let word = ServerProgram::Executable("llama-server".into());
    assert_eq!(find(Some(&word), None, Some(folder)).expect("a bare word").path, fake);
    let simulator = find(Some(&ServerProgram::Sim), None, None).expect("always there");
    assert_eq!((simulator.path.as_path(), simulator.leading_args), (own, vec!["sim".to_owned()]));

    let error = find(None, Some(Path::new("")), Some(Path::new("/nowhere"))).expect_err("nothing");
    assert!(matches!(error, ServerError::NoneFound) && error.exit_code() == ExitCode::Server);
    assert!(error.hint().expect("a hint").contains("--server sim"));
    let error = find(None, Some(Path::new("/no/such")), None).expect_err("a wrong variable");
    assert!(matches!(error, ServerError::NoSuchFile { .. }));
    std::fs::set_permissions(&fake, PermissionsExt::from_mode(0o644)).expect("set");
    assert!(find(Some(&explicit), None, None).is_err());
}

// ---- Ports ----

/// A stranger that answers everything with 200.
fn stranger(port: u16) -> (std::net::SocketAddr, std::sync::Arc<std::net::TcpListener>) {
    let listener =
        std::sync::Arc::new(std::net::TcpListener::bind(("127.0.0.1", port)).expect("free"));
    let serving = std::sync::Arc::clone(&listener);
    std::thread::spawn(move || {
        for connection in serving.incoming() {
            let Ok(mut connection) = connection else { return };
            // Whoever asked may have gone away.
            let _gone_away = connection.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}",
            );
        }
    });
    (listener.local_addr().expect("bound"), listener)
}

#[tokio::test]
async fn a_stranger_on_the_port_is_named_before_anything_starts() {
    let mut stage = Stage::new();
    let (address, _listener) = stranger(0);
    stage.spec.port = address.port();
    let (text, error) = stage.refusal(&stage.fake("serve()"), None).await;
    let pid = std::process::id();
    assert!(
        text.starts_with(&format!(
            "port {} on 127.0.0.1 is taken by process {pid} (\"",
            address.port()
        )),
        "{text}"
    );
    assert_eq!(error.exit_code(), ExitCode::Server);
    assert!(!stage.path("server.log").exists(), "nothing was started");
}

#[tokio::test]
async fn a_stranger_that_answers_200_beside_our_living_child_is_an_error() {
    let mut stage = Stage::new();
    let port = bench_ci::server::ports::free("127.0.0.1").expect("a port");
    stage.spec.port = port;
    let fake = stage.fake("say('up'); time.sleep(600)");
    let starting = stage.start(&fake, None);
    let intruding = async {
        eventually("it is up", || stage.log().contains("up")).await;
        stranger(port)
    };
    let (result, _listener) = tokio::join!(starting, intruding);
    let text = result.expect_err("not ours").to_string();
    assert!(text.contains(&format!("is taken by process {}", std::process::id())), "{text}");
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_picked_port_that_is_taken_meanwhile_is_replaced() {
    let stage = Stage::new();
    let fake = stage.fake(&format!(
        "mark = {:?}\nif not os.path.exists(mark):\n    open(mark, 'w').close()\n    say(\"E couldn't bind HTTP server socket\"); sys.exit(1)\nserve()",
        stage.path("mark")
    ));
    let server = stage.start(&fake, None).await.expect("healthy at the second port");
    server.stop().await;
    assert!(stage.log().contains("couldn't bind") && stage.log().contains("listening"));
    stage.nothing_is_left().await;
}

#[tokio::test]
async fn a_fake_is_probed_through_both_streams() {
    let stage = Stage::new();
    let capabilities = probe(&stage.fake(""), None).await.expect("probed");
    assert!(capabilities.known() && capabilities.flag("--metrics").is_some());
    assert_eq!(capabilities.version.map(|version| version.text).as_deref(), Some("4242 (abcdef0)"));
    let broken = stage.script("broken", "#!/bin/sh\necho 'x: error while loading shared libraries: libllama.so: cannot open shared object file' >&2\nexit 127\n");
    let error = probe(&broken, None).await.expect_err("cannot run");
    assert!(error.to_string().contains("libllama.so"), "{error}");
    let mute = stage.script("mute", "#!/bin/sh\nexit 3\n");
    let capabilities = probe(&mute, None).await.expect("tolerated");
    assert!(!capabilities.known() && capabilities.warnings.len() == 1);
}

// ---- The real one ----

fn real() -> PathBuf {
    match std::env::var_os("BENCH_CI_TEST_LLAMA_SERVER") {
        Some(path) => path.into(),
        None => panic!("BENCH_CI_TEST_LLAMA_SERVER is not set: run `cargo xtask test`"),
    }
}

#[tokio::test]
async fn the_real_one_is_probed() {
    let capabilities = probe(&real(), None).await.expect("it runs");
    assert_eq!(capabilities.warnings, Vec::<String>::new());
    for flag in
        ["--flash-attn", "--metrics", "--slots", "--parallel", "--n-gpu-layers", "--ctx-size"]
    {
        assert!(capabilities.flag(flag).is_some(), "{flag}");
    }
    assert!(capabilities.version.is_some());
}

#[tokio::test]
async fn the_real_one_says_why_it_dies() {
    let mut stage = Stage::new();
    let missing = stage.path("missing.gguf");
    let (text, error) = stage.refusal(&real(), Some(&missing)).await;
    assert!(text.contains("before it was healthy: the model file does not exist"), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Server);

    let corrupt = stage.path("corrupt.gguf");
    std::fs::write(&corrupt, "GGUF but not really").expect("written");
    let (text, _) = stage.refusal(&real(), Some(&corrupt)).await;
    assert!(text.contains("the model could not be loaded"), "{text}");

    stage.spec.extra_args = vec!["--no-such-flag".to_owned()];
    let (text, _) = stage.refusal(&real(), Some(&corrupt)).await;
    assert!(text.contains("it does not know one of its arguments"), "{text}");
    assert!(text.contains("--no-such-flag"), "{text}");
}

#[tokio::test]
async fn bench_pys_bare_flash_attn_no_longer_stops_the_real_one() {
    let mut stage = Stage::new();
    stage.spec.extra_args = vec!["--flash-attn".to_owned()];
    let capabilities = probe(&real(), None).await.expect("it runs");
    let launch = Launch {
        spec: &stage.spec,
        program: &Program::llama_server(real()),
        model: Some(&stage.path("missing.gguf")),
        capabilities: &capabilities,
        log: &stage.path("server.log"),
        inherited_api_key: None,
        secrets: Vec::new(),
        log_events: None,
        guard: None,
    };
    let error = start(&launch, &Cancel::never()).await.expect_err("there is no model");
    // It came as far as the model: the flag was accepted.
    assert!(error.to_string().contains("the model file does not exist"), "{error}");
}
