//! Servers and proxies of the tests: the simulator as a process, a HTTP/2 server made with `h2`, a
//! proxy, and a TLS end in front of another server that cuts its records as it likes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Signed;

/// `bench-ci sim` as a process of its own.
pub(super) struct SimProcess {
    child: Child,
    /// Where it says that it listens.
    pub(super) url: String,
}

impl SimProcess {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command.args(["sim", "--metrics", "--port", "0", "--parallel", "4", "--sim-load-ms", "0"]);
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the simulator ended");
            if let Some((_, url)) = line.trim_end().split_once("listening on ") {
                break url.to_owned();
            }
        };
        // Drained, so that it never blocks on its own log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, url }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> &str {
        self.url.split_once("//").unwrap().1
    }
}

impl Drop for SimProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a HTTP/2 server does with a request of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers with so many bytes in each DATA frame.
    Frames(usize),
    /// Resets the stream after the first content.
    Reset,
    /// Refuses the first stream of each connection without looking at it, and answers the rest.
    RefuseFirst,
    /// Gives up the connection after each answer.
    GoAway,
    /// Breaks the connection after the first content.
    Break,
    /// Answers 503 without a body.
    Busy,
}

/// A HTTP/2 server on the loopback, made with the `h2` crate.
pub(super) struct Http2Server {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Http2Server {
    /// In the clear, or behind TLS with ALPN.
    pub(super) fn start(manner: Manner, tls: Option<&Signed>) -> Self {
        let config = tls.map(|signed| server_config(signed, &[b"h2"]));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let accepted = tokio::select! {
                        _ = &mut stopped => return,
                        accepted = listener.accept() => accepted,
                    };
                    let (stream, _) = accepted.unwrap();
                    stream.set_nodelay(true).unwrap();
                    counted.fetch_add(1, Ordering::SeqCst);
                    let config = config.clone();
                    tokio::task::spawn_local(async move {
                        match config {
                            None => serve_http2(stream, manner).await,
                            Some(config) => {
                                let shaking =
                                    tokio_rustls::TlsAcceptor::from(config).accept(stream);
                                if let Ok(stream) = shaking.await {
                                    serve_http2(stream, manner).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Self { address, connections, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn serve_http2(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    manner: Manner,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut posts = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.method() != http::Method::POST {
            let response = http::Response::builder().status(404).body(()).unwrap();
            respond.send_response(response, true).unwrap();
            continue;
        }
        posts += 1;
        if manner == Manner::RefuseFirst && posts == 1 {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        let (broken, mut breaks) = tokio::sync::mpsc::channel::<()>(1);
        let answering = tokio::task::spawn_local(async move {
            answer_http2(request, respond, manner).await;
            drop(broken);
        });
        match manner {
            Manner::GoAway => connection.graceful_shutdown(),
            Manner::Break => {
                // Served until the first content is out, then dropped with everything in it.
                tokio::select! {
                    _ = connection.accept() => {}
                    _ = breaks.recv() => {}
                }
                answering.abort();
                return;
            }
            _ => {}
        }
    }
}

async fn answer_http2(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    manner: Manner,
) {
    let mut body = request.into_body();
    let mut asked = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        asked.extend_from_slice(&data);
    }
    let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
    let tokens = asked["max_tokens"].as_u64().unwrap();
    let mut response = http::Response::builder().header("content-type", "text/event-stream");
    if manner == Manner::Busy {
        drop(respond.send_response(response.status(503).body(()).unwrap(), true));
        return;
    }
    response = response.header("server-timing", "work;dur=12.5").header("x-request-id", "seven");
    let Ok(mut stream) = respond.send_response(response.body(()).unwrap(), false) else { return };
    let events = events(tokens);
    let size = match manner {
        Manner::Frames(size) => size,
        _ => usize::MAX,
    };
    for event in &events {
        for part in event.as_bytes().chunks(size.min(event.len())) {
            stream.reserve_capacity(part.len());
            while stream.capacity() < part.len() {
                if std::future::poll_fn(|context| stream.poll_capacity(context)).await.is_none() {
                    return;
                }
            }
            if stream.send_data(Bytes::copy_from_slice(part), false).is_err() {
                return;
            }
        }
        // So that the client sees events apart, and what is to break does so in the middle.
        tokio::time::sleep(Duration::from_millis(1)).await;
        match manner {
            Manner::Reset => return stream.send_reset(h2::Reason::INTERNAL_ERROR),
            Manner::Break => return,
            _ => {}
        }
    }
    drop(stream.send_data(Bytes::new(), true));
}

/// The events of an answer of so many tokens, one delta a token, as the simulator counts them.
pub(super) fn events(tokens: u64) -> Vec<String> {
    let delta = |delta: serde_json::Value, finish: Option<&str>| {
        let choice = serde_json::json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", serde_json::json!({"choices": [choice]}))
    };
    let mut events = vec![delta(serde_json::json!({"role": "assistant"}), None)];
    for _ in 0..tokens {
        events.push(delta(serde_json::json!({"content": " word"}), None));
    }
    events.push(delta(serde_json::json!({}), Some("length")));
    let usage = serde_json::json!({
        "choices": [],
        "usage": {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10},
    });
    events.push(format!("data: {usage}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn server_config(signed: &Signed, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    let certificates =
        CertificateDer::pem_file_iter(&signed.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&signed.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// A listener whose connections each get a thread; no more are taken once it is dropped.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Listening {
    pub(super) fn serve(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = Arc::<AtomicBool>::default();
        let (stopped, serve) = (Arc::clone(&stopping), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let serve = Arc::clone(&serve);
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, stopping }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

/// What the HTTP/2 server answers, over HTTP/1.1.
pub(super) fn plain_server() -> Listening {
    Listening::serve(|mut stream| {
        let Some(tokens) = read_request(&mut stream) else {
            let nothing =
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // A connection that was opened ahead of time and never used has nobody left to tell.
            drop(stream.write_all(nothing));
            return;
        };
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(format!("{head}{}", events(tokens).concat()).as_bytes()));
    })
}

/// A TLS end that answers every request of a connection, and closes as it is told.
pub(super) fn tls_server(signed: &Signed, piece: usize, says_farewell: bool) -> Listening {
    let config = server_config(signed, &[b"http/1.1"]);
    Listening::serve(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let Some(tokens) = read_request(&mut stream) else { return };
        let body = events(tokens).concat();
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        // A record a piece, and a segment of the wire for every other byte count of it: records and
        // reads never fall together.
        for piece in format!("{head}{body}").as_bytes().chunks(piece) {
            stream.conn.writer().write_all(piece).unwrap();
            let mut sealed = Vec::new();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut sealed).unwrap();
            }
            let (first, rest) = sealed.split_at(sealed.len() / 2);
            for part in [first, rest] {
                if stream.sock.write_all(part).is_err() {
                    return;
                }
            }
        }
        if says_farewell {
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
        // Closing with bytes unread would reset the connection, and the answer with it.
        drop(stream.sock.shutdown(std::net::Shutdown::Write));
        drop(std::io::copy(&mut stream.sock, &mut std::io::sink()));
    })
}

/// The `max_tokens` of a request; `None` where the connection ends or asks something else.
fn read_request(stream: &mut impl Read) -> Option<u64> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["max_tokens"].as_u64()
}

/// A proxy that tunnels and passes on, and remembers what it was asked.
pub(super) struct ProxyServer {
    listening: Listening,
    log: Arc<Mutex<Vec<String>>>,
}

impl ProxyServer {
    /// With `refusal` it lets nobody through and says so.
    pub(super) fn start(refusal: Option<&'static str>) -> Self {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let logged = Arc::clone(&log);
        let listening = Listening::serve(move |mut client| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if client.read_exact(&mut byte).is_err() {
                    return;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            logged.lock().unwrap().push(head.clone());
            if let Some(refusal) = refusal {
                drop(write!(
                    client,
                    "HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                ));
                return;
            }
            let asked: Vec<&str> = head.split(' ').collect();
            let tunnel = asked[0] == "CONNECT";
            let place = if tunnel {
                asked[1]
            } else {
                let rest = asked[1].strip_prefix("http://").expect("the absolute form");
                rest.split('/').next().unwrap()
            };
            let Ok(mut server) = TcpStream::connect(place) else {
                drop(client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"));
                return;
            };
            server.set_nodelay(true).unwrap();
            if tunnel {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            } else {
                let (line, rest) = head.split_once("\r\n").unwrap();
                let path = line.replacen(&format!("http://{place}"), "", 1);
                let rest: String = rest
                    .lines()
                    .filter(|line| !line.to_ascii_lowercase().starts_with("proxy-"))
                    .map(|line| format!("{line}\r\n"))
                    .collect();
                server.write_all(format!("{path}\r\n{rest}").as_bytes()).unwrap();
            }
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut from_client, &mut to_server));
                drop(to_server.shutdown(std::net::Shutdown::Write));
            });
            drop(std::io::copy(&mut server, &mut client));
            drop(client.shutdown(std::net::Shutdown::Both));
        });
        Self { listening, log }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listening.address
    }

    /// The heads of everything it was asked, in order.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}
