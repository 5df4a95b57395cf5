//! The real llama-server on its Unix socket, and behind its own TLS.

use super::Authority;
use crate::run::{Bench, real_server};

/// A load of the real server, started by us with these further flags.
fn started(bench: &Bench, out: &str, more: &[&str], last: &[&str]) -> crate::run::Ran {
    let server = real_server();
    let flags = [
        "--server",
        &server,
        "--model",
        "synthetic:layers=1,embd=64,type=f32",
        "--ctx-size",
        "2048",
        "--parallel",
        "2",
        "--scenario",
        "brisk.toml",
        "--n-prompts",
        "8",
        "--max-tokens",
        "8",
        "--max-lateness",
        "1000",
        "--max-client-delay",
        "1000",
    ];
    bench.run(out, &[&flags, more, &["--", "--threads", "1"], last].concat())
}

#[test]
fn a_unix_socket_and_tls_give_the_counts_of_tcp() {
    let (bench, authority) = (Bench::new(), Authority::new());
    let signed = authority.sign(&["localhost"]);
    let (key, certificate) =
        (signed.key.display().to_string(), signed.certificate.display().to_string());
    let socket = bench.path("llama.sock").display().to_string();
    let completed = |ran: crate::run::Ran| {
        let ran = ran.checked(0);
        let report = ran.report();
        let counts = &report["reconciliation"]["tokens"];
        let tokens = counts["usage_completion_tokens"].clone();
        (
            report["requests"]["completed"].clone(),
            tokens,
            report["scenario"]["workload_hash"].clone(),
        )
    };
    let plain = completed(started(&bench, "tcp", &[], &[]));
    assert_eq!((plain.0.as_u64(), plain.1.as_u64()), (Some(8), Some(64)));
    assert_eq!(completed(started(&bench, "unix", &["--host", &socket], &[])), plain);
    assert!(!std::path::Path::new(&socket).exists(), "the socket is left behind");
    let tls = ["--ssl-key-file", &key, "--ssl-cert-file", &certificate];
    assert_eq!(completed(started(&bench, "tls", &[], &tls)), plain);
}
