//! One workload over every way: the same requests, tokens and deltas, and the same hash.

use serde_json::{Value, json};

use super::servers::{Http2Server, Manner, ProxyServer, SimProcess, plain_server};
use super::{Authority, load};
use crate::run::{Bench, Ran};

const REQUESTS: u32 = 32;

/// What must not depend on the way.
fn counts(ran: Ran) -> Value {
    let ran = ran.checked(0);
    let report = ran.report();
    let sum = |field: &str| -> u64 {
        ran.rows().iter().map(|row| row[field].as_u64().unwrap_or_else(|| panic!("{row}"))).sum()
    };
    json!({
        "requests": report["requests"]["completed"],
        "finished": report["requests"]["by_finish_reason"],
        "hash": report["scenario"]["workload_hash"],
        "tokens": sum("completion_tokens"),
        "deltas": sum("content_deltas"),
    })
}

#[test]
fn http1_tls_sockets_and_proxies_give_the_same_counts() {
    let (bench, authority) = (Bench::new(), Authority::new());
    let signed = authority.sign(&["localhost", "127.0.0.1"]);
    let (key, certificate) =
        (signed.key.display().to_string(), signed.certificate.display().to_string());
    let socket = bench.path("sim.sock").display().to_string();
    let plain = SimProcess::start(&[]);
    let tls = SimProcess::start(&["--ssl-key-file", &key, "--ssl-cert-file", &certificate]);
    let _unix = SimProcess::start(&["--host", &socket]);
    let proxy = ProxyServer::start(None);
    let through = format!("http://me:pa55word@{}", proxy.address());
    let ca = authority.file();

    let expected = counts(load(&bench, "plain", &plain.url, REQUESTS, &[]));
    assert_eq!(expected["requests"], REQUESTS);
    assert_eq!(expected["tokens"], u64::from(REQUESTS) * 12);
    assert_eq!(expected["deltas"], u64::from(REQUESTS) * 12);

    let encoded = format!("http+unix://{}/v1", socket.replace('/', "%2F"));
    let named = format!("https://localhost:{}/v1", tls.address().rsplit_once(':').unwrap().1);
    for (out, url, more) in [
        ("tls", &named, &["--cacert", &ca][..]),
        ("fresh", &named, &["--cacert", &ca, "--connections", "fresh"]),
        ("address", &tls.url, &["--cacert", &ca]),
        ("insecure", &tls.url, &["--insecure"]),
        ("auto", &tls.url, &["--cacert", &ca, "--http-version", "auto"]),
        ("unix", &format!("unix:{socket}"), &[]),
        ("unix-open", &encoded, &["--connections", "fresh"]),
        ("proxy", &plain.url, &["--proxy", &through]),
        ("tunnel", &tls.url, &["--cacert", &ca, "--proxy", &through]),
    ] {
        let ran = load(&bench, out, url, REQUESTS, more);
        let report = ran.report();
        let stamps = if out.starts_with("unix") { "user" } else { "kernel" };
        assert_eq!(report["client"]["clock_source"], stamps, "{out}");
        let warned = ran.file("report.md").contains("no certificate was checked");
        assert_eq!(warned, out == "insecure", "{out}");
        assert_eq!(counts(ran), expected, "{out}");
    }

    let asked = proxy.log();
    let secret = "Basic bWU6cGE1NXdvcmQ=";
    assert!(asked.iter().any(|head| head.starts_with("CONNECT 127.0.0.1:")), "{asked:?}");
    assert!(asked.iter().any(|head| head.starts_with("POST http://127.0.0.1:")), "{asked:?}");
    assert!(asked.iter().any(|head| head.starts_with("GET http://127.0.0.1:")), "{asked:?}");
    assert!(asked.iter().all(|head| head.contains(secret)), "{asked:?}");
    for out in ["proxy", "tunnel"] {
        for entry in std::fs::read_dir(bench.path(out)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains("pa55word") && !text.contains(secret), "{text}");
        }
    }
}

#[test]
fn http2_in_the_clear_and_under_tls_gives_the_same_counts() {
    let (bench, authority) = (Bench::new(), Authority::new());
    let signed = authority.sign(&["127.0.0.1"]);
    let clear = Http2Server::start(Manner::Frames(1 << 14), None);
    let tiny = Http2Server::start(Manner::Frames(7), None);
    let tls = Http2Server::start(Manner::Frames(50), Some(&signed));
    let proxy = ProxyServer::start(None);
    let (ca, through) = (authority.file(), format!("http://{}", proxy.address()));
    let http1 = plain_server();

    let expected =
        counts(load(&bench, "http1", &format!("http://{}", http1.address), REQUESTS, &[]));
    assert_eq!(expected["deltas"], u64::from(REQUESTS) * 12);
    let clear_url = format!("http://{}/v1", clear.address);
    let tls_url = format!("https://{}", tls.address);
    for (out, url, more) in [
        ("clear", &clear_url, &["--http2"][..]),
        ("tiny", &format!("http://{}", tiny.address), &["--http-version", "2"]),
        ("tls", &tls_url, &["--http2", "--cacert", &ca]),
        ("auto", &tls_url, &["--http-version", "auto", "--cacert", &ca]),
        ("tunnel", &tls_url, &["--http2", "--cacert", &ca, "--proxy", &through]),
    ] {
        let ran = load(&bench, out, url, REQUESTS, more);
        assert_eq!(ran.report()["client"]["clock_source"], "kernel", "{out}");
        assert_eq!(counts(ran), expected, "{out}");
    }
    // One connection a user, and one for the questions beside the load.
    assert_eq!(clear.connections.load(std::sync::atomic::Ordering::SeqCst), 4 + 1);
}

#[test]
fn a_server_that_we_start_may_listen_on_a_socket_and_speak_tls() {
    let (bench, authority) = (Bench::new(), Authority::new());
    let signed = authority.sign(&["somebody.else"]);
    let (key, certificate) =
        (signed.key.display().to_string(), signed.certificate.display().to_string());
    let socket = bench.path("ours.sock");
    let host = socket.display().to_string();
    let sim = ["--server", "sim"];
    let expected = counts(super::load_of(&bench, "plain", &sim, REQUESTS, &[]));
    let ran = super::load_of(&bench, "unix", &sim, REQUESTS, &["--host", &host]);
    assert_eq!(ran.report()["server"]["base_url"], format!("unix:{host}"));
    assert_eq!(counts(ran), expected);
    assert!(!socket.exists(), "the socket is left behind");

    let tls = ["--", "--ssl-key-file", &key, "--ssl-cert-file", &certificate];
    let ran = super::load_of(&bench, "tls", &sim, REQUESTS, &tls);
    assert!(ran.report()["server"]["base_url"].as_str().unwrap().starts_with("https://"));
    assert_eq!(counts(ran), expected);

    std::fs::write(&socket, "mine").unwrap();
    let refused = super::load_of(&bench, "taken", &sim, REQUESTS, &["--host", &host]);
    assert_eq!(refused.exit, 7, "{}", refused.stderr);
    assert!(refused.stderr.contains("the file exists"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "mine", "somebody's file is not ours");
}
