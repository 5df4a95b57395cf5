//! Tests of the command line, on recorded help texts.

use std::time::Duration;

use crate::plan::ServerProgram;

use super::*;

const TODAY: &str = include_str!("../../tests/fixtures/llama-server/help-11434.txt");
const OLDER: &str = include_str!("../../tests/fixtures/llama-server/help-2024.txt");
const OLDEST: &str = include_str!("../../tests/fixtures/llama-server/help-early-2024.txt");

fn spec(extra: &[&str]) -> ServerSpec {
    ServerSpec {
        program: ServerProgram::Executable("llama-server".into()),
        host: "127.0.0.1".to_owned(),
        port: 0,
        parallel: None,
        n_gpu_layers: None,
        ctx_size: None,
        batch_size: None,
        ubatch_size: None,
        fit_off: false,
        extra_args: extra.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        start_timeout: Duration::from_secs(600),
        stop_grace: Duration::from_secs(10),
    }
}

fn built(spec: &ServerSpec, help: &str) -> Result<ServerCommand, ServerError> {
    let program = Program::llama_server("llama-server".into());
    let capabilities = Capabilities::read(help, "version: 4242 (abcdef0)");
    build(spec, &program, Some(Path::new("m.gguf")), &capabilities, 1234)
}

/// The arguments behind `--model`, `--host` and `--port`, which every command line begins with.
#[track_caller]
fn check(spec: &ServerSpec, help: &str, expected: &[&str], warnings: usize) {
    let command = built(spec, help).expect("a command line");
    let begin = ["--model", "m.gguf", "--host", "127.0.0.1", "--port", "1234"];
    let all: Vec<&str> = begin.iter().chain(expected).copied().collect();
    assert_eq!(command.args, all);
    assert_eq!(command.warnings.len(), warnings, "{:?}", command.warnings);
}

#[test]
fn a_plain_plan_asks_for_metrics_and_slots() {
    check(&spec(&[]), TODAY, &["--metrics", "--slots"], 0);
    check(&spec(&[]), OLDER, &["--metrics", "--slots"], 0);
    // The oldest has slots on, and only a flag to switch them off.
    check(&spec(&[]), OLDEST, &["--metrics"], 0);
    // Nothing known: everything is taken to exist.
    check(&spec(&[]), "", &["--metrics", "--slots"], 0);
}

#[test]
fn flags_that_only_we_want_are_left_out_with_a_warning() {
    check(&spec(&[]), "-m FNAME  model", &[], 2);
}

#[test]
fn flags_that_the_user_wants_are_passed_or_refused_by_name() {
    let mut wanted = spec(&[]);
    wanted.parallel = Some(4);
    wanted.ctx_size = Some(4096);
    wanted.batch_size = Some(512);
    wanted.ubatch_size = Some(256);
    wanted.n_gpu_layers = Some("99".to_owned());
    let expected = [
        "--parallel",
        "4",
        "--ctx-size",
        "4096",
        "--batch-size",
        "512",
        "--ubatch-size",
        "256",
        "--n-gpu-layers",
        "99",
        "--metrics",
        "--slots",
    ];
    check(&wanted, TODAY, &expected, 0);
    check(&wanted, OLDER, &expected, 0);

    let error = built(&wanted, "-np N, --parallel N  slots").expect_err("no --ctx-size there");
    assert_eq!(error.to_string(), "this llama-server (4242 (abcdef0)) does not know --ctx-size");
    assert_eq!(error.exit_code(), crate::exit::ExitCode::Usage);
    assert!(error.hint().expect("a hint").contains("--ctx-size"));
}

#[test]
fn the_spelling_that_the_build_knows_is_used() {
    let mut wanted = spec(&[]);
    wanted.parallel = Some(4);
    let command = built(&wanted, "-np N  slots\n--metrics  m\n--slots  s").expect("a command line");
    assert!(command.args.windows(2).any(|pair| pair == ["-np", "4"]));
}

#[test]
fn gpu_layers_fit_the_build() {
    let mut wanted = spec(&[]);
    wanted.n_gpu_layers = Some("all".to_owned());
    check(&wanted, TODAY, &["--n-gpu-layers", "all", "--metrics", "--slots"], 0);
    check(&wanted, OLDER, &["--n-gpu-layers", "999", "--metrics", "--slots"], 1);
    let without = "--metrics  m\n--slots  s";
    assert!(built(&wanted, without).is_err());
    wanted.n_gpu_layers = Some("0".to_owned());
    check(&wanted, without, &["--metrics", "--slots"], 1);
}

#[test]
fn flash_attn_fits_the_build() {
    let tail = |args: &[&'static str]| [&["--metrics", "--slots"], args].concat();
    for name in ["--flash-attn", "-fa"] {
        check(&spec(&[name]), TODAY, &tail(&[name, "on"]), 1);
        check(&spec(&[name, "--jinja"]), TODAY, &tail(&[name, "on", "--jinja"]), 1);
        check(&spec(&[name, "off"]), TODAY, &tail(&[name, "off"]), 0);
        check(&spec(&[name]), OLDER, &tail(&[name]), 0);
        check(&spec(&[name, "on"]), OLDER, &tail(&[name]), 1);
        check(&spec(&[name, "off"]), OLDER, &tail(&[]), 1);
        check(&spec(&[name, "auto", "--jinja"]), OLDER, &tail(&["--jinja"]), 1);
        // Nothing known: verbatim.
        check(&spec(&[name]), "", &tail(&[name]), 0);
        check(&spec(&[name, "on"]), "", &tail(&[name, "on"]), 0);
    }
    // Here it is the value of another flag.
    check(&spec(&["--alias", "-fa"]), TODAY, &tail(&["--alias", "-fa"]), 0);
}

#[test]
fn further_arguments_are_verbatim_and_last() {
    let extra = ["--jinja", "--temp", "-1", "--unknown-flag", "x y", "", "-ts", "1,2"];
    let expected = [&["--metrics", "--slots"], &extra[..]].concat();
    check(&spec(&extra), TODAY, &expected, 0);
}

#[test]
fn further_arguments_win_and_nothing_is_given_twice() {
    let extra = ["--host", "0.0.0.0", "--port", "8080", "--metrics", "--no-slots", "-np", "2"];
    let mut wanted = spec(&extra);
    wanted.parallel = Some(4);
    let command = built(&wanted, TODAY).expect("a command line");
    assert_eq!(command.args, [&["--model", "m.gguf"][..], &extra].concat());
    assert_eq!((command.listen_host.as_str(), command.port), ("0.0.0.0", 8080));
    assert_eq!(command.base_url, "http://127.0.0.1:8080");
    assert_eq!(command.warnings, ["--parallel is given twice: 2 behind -- wins over 4"]);
    let capabilities = Capabilities::read(TODAY, "");
    assert_eq!(fixed_port(&wanted, &capabilities), Some(8080));
    assert_eq!(listen_host(&wanted, &capabilities), "0.0.0.0");
}

#[test]
fn two_models_are_refused_and_one_is_seen_under_each_of_its_flags() {
    for &flag in ANY_MODEL {
        let extra = spec(&[flag, "other"]);
        let error = built(&extra, TODAY).expect_err("two models");
        assert_eq!(error.exit_code(), crate::exit::ExitCode::Usage, "{flag}");
        assert!(names_a_model(&extra.extra_args), "{flag}");
        assert!(names_a_model(&[format!("{flag}=other")]), "{flag}");
    }
    // Here it is the value of another flag.
    assert!(!names_a_model(&spec(&["--alias", "-m", "--threads", "8"]).extra_args));
    check(&spec(&["--alias", "-m"]), TODAY, &["--metrics", "--slots", "--alias", "-m"], 0);
}

#[test]
fn of_several_keys_the_first_is_sent() {
    for (keys, first) in [("a,b", Some("a")), ("a", Some("a")), (",b", Some("b")), ("", None)] {
        assert_eq!(first_key(keys).as_ref().map(Secret::expose), first, "{keys}");
    }
}

#[test]
fn a_port_of_zero_among_the_further_arguments_is_a_free_one() {
    let wanted = spec(&["--port", "0"]);
    let command = built(&wanted, TODAY).expect("a command line");
    assert_eq!(command.port, 1234);
    assert!(command.args.windows(2).any(|pair| pair == ["--port", "1234"]));
    assert!(!command.args.contains(&"0".to_owned()));
    assert_eq!(fixed_port(&wanted, &Capabilities::default()), None);
}

#[test]
fn the_base_url_is_where_a_client_arrives() {
    for (extra, url) in [
        (&["--host", "::"][..], "http://[::1]:1234"),
        (&["--host", "::1"], "http://[::1]:1234"),
        (&["--host", "localhost"], "http://localhost:1234"),
        (&["--host", "127.0.0.1,10.0.0.1"], "http://127.0.0.1:1234"),
        (&["--api-prefix", "/api/"], "http://127.0.0.1:1234/api"),
        (&["--ssl-cert-file", "c", "--ssl-key-file", "k"], "https://127.0.0.1:1234"),
    ] {
        assert_eq!(built(&spec(extra), TODAY).expect("a command line").base_url, url);
    }
    let path = built(&spec(&["--host", "/run/llama"]), TODAY).expect_err("no address");
    assert_eq!(path.exit_code(), crate::exit::ExitCode::Usage);
    let port = built(&spec(&["--port", "http"]), TODAY).expect_err("no number");
    assert_eq!(port.to_string(), "invalid value \"http\" for --port: expected 0 to 65535");
}

#[test]
fn a_unix_socket_is_a_host_that_ends_in_sock() {
    let command = built(&spec(&["--host", "/run/llama.sock"]), TODAY).expect("a command line");
    assert_eq!(command.base_url, "unix:/run/llama.sock");
    assert_eq!(command.socket.as_deref(), Some(Path::new("/run/llama.sock")));
    let below = built(&spec(&["--host", "a/b.sock", "--api-prefix", "/api/"]), TODAY);
    assert_eq!(below.expect("a command line").base_url, "http+unix://a%2Fb.sock/api");
    let tls = ["--host", "b.sock", "--ssl-cert-file", "c", "--ssl-key-file", "k"];
    assert!(built(&spec(&tls), TODAY).is_err(), "TLS on a socket");
}

#[test]
fn secrets_are_taken_out_and_never_shown() {
    let extra =
        ["--api-key", "s3cret,other", "--hf-token=hidden", "--alias", "it's me", "-hft", "t0ken"];
    let command = built(&spec(&extra), TODAY).expect("a command line");
    assert_eq!(command.api_key.as_ref().map(Secret::expose), Some("s3cret"));
    let shown = format!("{command:?} {} {:?}", command.shell_line(), command.display_redacted());
    for secret in ["s3cret", "other", "hidden", "t0ken"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(command.args.iter().any(|arg| arg.contains(secret)), "{secret} must be passed");
    }
    // `*` is plain in our quoting, since no shell expands `***` to anything but itself here.
    let end = r"--api-key *** --hf-token=*** --alias 'it'\''s me' -hft ***";
    assert!(command.shell_line().ends_with(end), "{}", command.shell_line());
    assert_eq!(command.display_redacted()[0], "llama-server");
}

#[test]
fn the_simulator_is_this_binary_with_a_leading_argument() {
    let program = Program::simulator("/usr/bin/bench-ci".into());
    let command = build(&spec(&[]), &program, None, &Capabilities::of_simulator(), 1234);
    let command = command.expect("a command line");
    assert_eq!(
        command.args,
        ["sim", "--host", "127.0.0.1", "--port", "1234", "--metrics", "--slots"]
    );
    assert!(program.to_plan() == ServerProgram::Sim);
}

#[test]
fn a_build_that_fits_itself_to_free_memory_is_told_not_to() {
    let mut fixed = spec(&[]);
    fixed.fit_off = true;
    check(&fixed, TODAY, &["--fit", "off", "--metrics", "--slots"], 0);
    // Those do not know the flag, or nobody knows what they know.
    check(&fixed, OLDER, &["--metrics", "--slots"], 0);
    check(&fixed, OLDEST, &["--metrics"], 0);
    check(&fixed, "", &["--metrics", "--slots"], 0);
    // What the user says stands.
    let mut chosen = spec(&["-fit", "on"]);
    chosen.fit_off = true;
    check(&chosen, TODAY, &["--metrics", "--slots", "-fit", "on"], 0);
    assert!(says_how_to_fit(&chosen.extra_args));
    assert!(says_how_to_fit(&["--fit=off".to_owned()]));
    assert!(!says_how_to_fit(&["--fit-ctx".to_owned(), "512".to_owned()]));
}
