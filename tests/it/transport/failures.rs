//! Every way in which a way fails: what is said, as what it counts, with which code it ends.

use super::servers::{Http2Server, Listening, Manner, ProxyServer, SimProcess, tls_server};
use super::{Authority, load};
use crate::run::Bench;

#[test]
fn a_server_that_cannot_be_reached_as_asked_is_exit_7_with_a_cure() {
    let (bench, authority, other) = (Bench::new(), Authority::new(), Authority::new());
    let (good, expired) =
        (authority.sign(&["127.0.0.1"]), authority.sign_until(&["127.0.0.1"], 2001));
    let misnamed = authority.sign(&["somebody.else"]);
    let start = |signed: &super::Signed| {
        let (key, certificate) =
            (signed.key.display().to_string(), signed.certificate.display().to_string());
        SimProcess::start(&["--ssl-key-file", &key, "--ssl-cert-file", &certificate])
    };
    let (good, expired, misnamed) = (start(&good), start(&expired), start(&misnamed));
    let (plain, h2) = (SimProcess::start(&[]), Http2Server::start(Manner::Busy, None));
    let (ca, other_ca) = (authority.file(), other.file());
    let refusing = ProxyServer::start(Some("407 Proxy Authentication Required"));
    let refusal = format!("http://{}", refusing.address());
    let nobody = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().to_string()
    };
    let secure_plain = plain.url.replace("http://", "https://");
    let plain_secure = good.url.replace("https://", "http://");
    let h2_url = format!("http://{}", h2.address);
    let no_socket = format!("unix:{}", bench.path("none.sock").display());

    for (out, url, more, says, cure) in [
        (
            "unknown",
            &good.url,
            &["--cacert", &other_ca][..],
            "signed by nobody who is trusted",
            "--cacert FILE",
        ),
        ("system", &good.url, &[], "the server's certificate", "--cacert FILE"),
        (
            "name",
            &misnamed.url,
            &["--cacert", &ca],
            "is for another name",
            "the name in the certificate",
        ),
        ("expired", &expired.url, &["--cacert", &ca], "has expired", "renew"),
        ("no-tls", &secure_plain, &["--insecure"], "did not answer in TLS", "http://"),
        ("tls", &plain_secure, &[], "it speaks TLS there", "https://"),
        ("only-2", &h2_url, &[], "it speaks HTTP/2", "--http2"),
        ("only-1", &plain.url, &["--http2"], "it speaks HTTP/1.1", "leave out --http2"),
        ("only-1-tls", &good.url, &["--http2", "--cacert", &ca], "HTTP/2", "--http2"),
        ("no-socket", &no_socket, &[], "no server answers", ""),
        ("no-proxy", &good.url, &["--cacert", &ca, "--proxy", &nobody], "no server answers", ""),
        ("refused", &good.url, &["--cacert", &ca, "--proxy", &refusal], "no server answers", ""),
    ] {
        let ran = load(&bench, out, url, 4, more);
        assert_eq!(ran.exit, 7, "{out}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{out}: {}", ran.stderr);
        let hint = ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
        assert!(hint.contains(cure), "{out}: {}", ran.stderr);
        assert_eq!(ran.report()["run"]["exit_code"], 7, "{out}");
    }
}

#[test]
fn what_cannot_be_meant_is_exit_2_before_anything_is_asked() {
    let bench = Bench::new();
    std::fs::write(bench.path("empty.pem"), "").unwrap();
    let missing = bench.path("none.pem").display().to_string();
    let empty = bench.path("empty.pem").display().to_string();
    let (https, http) = ("https://127.0.0.1:1", "http://127.0.0.1:1");
    for (url, more, says) in [
        (https, &["--cacert", &missing][..], "cannot read the certificates"),
        (https, &["--cacert", &empty], "has no certificate"),
        (https, &["--cacert", &empty, "--insecure"], "cannot be used with"),
        (http, &["--http2", "--http-version", "1.1"], "cannot be used with"),
        (http, &["--http-version", "3"], "possible values"),
        (http, &["--proxy", "socks5://hush:hush@h"], "no proxy"),
        (http, &["--proxy", "http://h", "--http2"], "a proxy does not pass on HTTP/2"),
        ("unix:/x.sock", &["--proxy", "http://h"], "a Unix socket is not behind a proxy"),
        ("unix:", &[], "names no socket"),
        ("ftp://h", &[], "expected http, https or unix"),
        ("https://me:hush@h", &[], "***@h"),
    ] {
        let ran = load(&bench, "out", url, 4, more);
        assert_eq!(ran.exit, 2, "{url} {more:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{url} {more:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hush"), "{url} {more:?}: {}", ran.stderr);
    }
}

#[test]
fn every_end_of_a_http2_stream_has_its_kind() {
    let bench = Bench::new();
    for (out, manner, kind, says) in [
        ("reset", Manner::Reset, "reset", "RST_STREAM, INTERNAL_ERROR"),
        ("break", Manner::Break, "reset", ""),
        ("busy", Manner::Busy, "http_5xx", "status 503"),
    ] {
        let server = Http2Server::start(manner, None);
        let ran = load(&bench, out, &format!("http://{}", server.address), 4, &["--http2"]);
        let ran = ran.checked(5);
        assert_eq!(ran.failures(), [(kind.to_owned(), 4)], "{out}: {}", ran.stderr);
        let details: Vec<String> =
            ran.rows().iter().map(|row| row["failure_detail"].to_string()).collect();
        assert!(details.iter().all(|detail| detail.contains(says)), "{out}: {details:?}");
    }
}

#[test]
fn a_refused_stream_is_sent_once_more_and_a_goaway_costs_a_connection_and_no_request() {
    let bench = Bench::new();
    // The first stream of each connection is refused, so the second sending is refused too.
    let refusing = Http2Server::start(Manner::RefuseFirst, None);
    let ran = load(&bench, "refuse", &format!("http://{}", refusing.address), 8, &["--http2"]);
    assert!(ran.rows().iter().any(|row| row["resent"] == true), "{}", ran.stderr);

    let leaving = Http2Server::start(Manner::GoAway, None);
    let ran = load(&bench, "goaway", &format!("http://{}", leaving.address), 12, &["--http2"]);
    let ran = ran.checked(0);
    assert_eq!(ran.report()["requests"]["completed"], 12);
    assert!(leaving.connections.load(std::sync::atomic::Ordering::SeqCst) >= 12);
}

#[test]
fn an_answer_is_read_however_tls_cuts_it_and_with_or_without_a_farewell() {
    let (bench, authority) = (Bench::new(), Authority::new());
    let signed = authority.sign(&["127.0.0.1"]);
    let ca = authority.file();
    for (out, piece, farewell) in
        [("tiny", 3, true), ("line", 100, false), ("whole", 1 << 20, false)]
    {
        let server = tls_server(&signed, piece, farewell);
        let url = format!("https://{}", server.address);
        let ran = load(&bench, out, &url, 8, &["--cacert", &ca]).checked(0);
        let rows = ran.rows();
        assert!(rows.iter().all(|row| row["content_deltas"] == 12), "{out}: {rows:?}");
    }
}

#[test]
fn a_variable_that_names_a_proxy_diverts_nothing() {
    let (bench, sim) = (Bench::new(), SimProcess::start(&[]));
    let trap = Listening::serve(|_stream| panic!("asked although nobody named it"));
    let named = format!("http://{}", trap.address);
    let mut command = bench.command(&[
        "--url",
        &sim.url,
        "--n-prompts",
        "4",
        "--out-dir",
        "trap",
        "--scenario",
        "brisk.toml",
        "--max-lateness",
        "1000",
        "--max-client-delay",
        "1000",
    ]);
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(variable, &named);
    }
    let ran = bench.finish("trap", command).checked(0);
    assert!(!ran.file("report.md").contains("PROXY"), "loopback is nobody's way to a proxy");
}
