//! Opens connections: a socket, through a proxy where there is one, then TLS, then HTTP/2.
//!
//! Main type: [`Dialer`]. What goes over a connection is `connection`'s business.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, UnixStream};

use super::connection::{Connection, Wire};
use super::error::LoadError;
use super::http2::{Http2, Pipe, Template};
use super::record::{FailureKind, Stamp};
use super::socket::Socket;
use super::stamp::{Receiver, ask_for_stamps, now};
use super::target::HttpTarget;
use super::tls::TlsStream;
use crate::plan::HttpVersion;
use crate::transport::tls;

/// What a proxy may say before it lets us through.
const PROXY_HEAD_LIMIT: usize = 8 << 10;

/// How long an address is tried at most while there is another. A lost SYN is sent again after 1 s
/// (RFC 6298), so an address that is silent for two has been asked twice.
const ADDRESS_LIMIT: Duration = Duration::from_secs(2);

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    hops: Hops,
    /// Which address answered last: it is tried first, so that a name with a dead address costs
    /// once.
    first: Cell<usize>,
    /// When whoever dials gives up, whatever is still to be tried.
    limit: Duration,
    /// `CONNECT …`, where a proxy is to let us through.
    tunnel: Option<String>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    http: HttpVersion,
    template: Rc<Template>,
    receiver: Rc<Receiver>,
}

/// Where sockets are connected to.
#[derive(Debug)]
enum Hops {
    /// In the resolver's order, never empty.
    Addresses(Vec<SocketAddr>),
    Path(PathBuf),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct DialError {
    pub(super) kind: FailureKind,
    pub(super) detail: String,
}

impl DialError {
    fn connect(detail: impl std::fmt::Display) -> Self {
        Self { kind: FailureKind::Connect, detail: format!("cannot connect: {detail}") }
    }
}

impl Dialer {
    /// Looks up names and reads certificates; blocks. `limit` is the time that a connection is given.
    pub(super) fn new(
        target: &HttpTarget,
        limit: Duration,
        receiver: Rc<Receiver>,
    ) -> Result<Self, LoadError> {
        let tls = match target.tls_name()? {
            Some(name) => Some((tls::client_config(target.transport())?, name)),
            None => None,
        };
        Ok(Self {
            hops: match target.socket_path() {
                Some(path) => Hops::Path(path.to_owned()),
                None => Hops::Addresses(target.resolve()?),
            },
            first: Cell::new(0),
            limit,
            tunnel: target.tunnel(),
            tls,
            http: target.transport().http_version,
            template: Rc::new(target.template()?),
            receiver,
        })
    }

    /// One connection that is ready for a request.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let (socket, round_trip) = self.socket().await.map_err(DialError::connect)?;
        if let Some(request) = &self.tunnel {
            through(&socket, request).await.map_err(DialError::connect)?;
        }
        let wire = match &self.tls {
            None if self.http == HttpVersion::Http2 => self.http2(Pipe::Plain(socket)).await?,
            None => Wire::Plain(socket),
            Some((config, name)) => {
                let (config, receiver) = (Arc::clone(config), Rc::clone(&self.receiver));
                let stream = TlsStream::connect(socket, config, name.clone(), receiver);
                let stream = Box::new(stream.await.map_err(|error| tls_failure(&error))?);
                match (self.http, stream.speaks_http2()) {
                    (HttpVersion::Http2, false) => {
                        let (detail, _hint) = tls::no_http2();
                        return Err(DialError { kind: FailureKind::Tls, detail });
                    }
                    (_, true) => self.http2(Pipe::Tls(stream)).await?,
                    (_, false) => Wire::Tls(stream),
                }
            }
        };
        Ok(Connection { wire, opened: now(), round_trip, answers: 0 })
    }

    async fn http2(&self, pipe: Pipe) -> Result<Wire, DialError> {
        let opening = Http2::open(pipe, Rc::clone(&self.receiver), Rc::clone(&self.template));
        Ok(Wire::Http2(Box::new(opening.await.map_err(DialError::connect)?)))
    }

    /// Tries each address in turn, the last error if none answers; how long connecting took is a
    /// round trip, and then some.
    async fn socket(&self) -> io::Result<(Socket, Duration)> {
        let addresses = match &self.hops {
            Hops::Addresses(addresses) => addresses,
            Hops::Path(path) => {
                let started = now();
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                };
                let stream = UnixStream::connect(path).await.map_err(named)?;
                return Ok((Socket::Unix(stream), now().since(started)));
            }
        };
        let mut refused = None;
        let count = addresses.len();
        // One that drops what it is sent must leave time for all others.
        let share =
            (self.limit / u32::try_from(count).unwrap_or(u32::MAX).max(1)).min(ADDRESS_LIMIT);
        for turn in 0..count {
            let position = (self.first.get() + turn) % count;
            let Some(address) = addresses.get(position) else { break };
            let started: Stamp = now();
            let last = turn + 1 == count;
            let connecting = connect(*address);
            let connected = if last { connecting.await } else { within(share, connecting).await };
            match connected {
                Ok(socket) => {
                    self.first.set(position);
                    return Ok((socket, now().since(started)));
                }
                Err(error) => {
                    refused = Some(io::Error::new(error.kind(), format!("{address}: {error}")));
                }
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }
}

/// A timeout where it takes longer.
async fn within(
    limit: Duration,
    connecting: impl Future<Output = io::Result<Socket>>,
) -> io::Result<Socket> {
    tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_elapsed| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))
    })
}

async fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before connecting, so that no byte can arrive unstamped. Where it is refused every read says
    // so by having no stamp.
    ask_for_stamps(&socket);
    socket.set_nodelay(true)?;
    socket.connect(address).await.map(Socket::Tcp)
}

/// Asks the proxy to let us through, and reads no byte behind its answer.
async fn through(socket: &Socket, request: &str) -> io::Result<()> {
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        std::future::poll_fn(|context| socket.poll_write_ready(context)).await?;
        match socket.try_write(&[IoSlice::new(rest)]) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte: what follows belongs to the server. It is once a connection.
        let mut byte = [0];
        std::future::poll_fn(|context| socket.poll_read_ready(context)).await?;
        match socket.try_read(|| {
            nix::sys::socket::recv(
                std::os::fd::AsRawFd::as_raw_fd(socket),
                &mut byte,
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            )
            .map_err(io::Error::from)
        }) {
            Ok(0) => return Err(io::Error::other("the proxy closed the connection")),
            Ok(_) => head.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if head.len() > PROXY_HEAD_LIMIT {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
    }
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1));
    match status {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("the proxy refuses: {line}"))),
    }
}

/// A handshake that failed: as what, and in words.
fn tls_failure(error: &io::Error) -> DialError {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let detail = match cause {
        Some(cause) => match tls::in_words(cause) {
            (words, Some(hint)) => format!("{words}; {hint}"),
            (words, None) => words,
        },
        None => format!("the TLS handshake failed: {error}"),
    };
    DialError { kind: FailureKind::Tls, detail }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::plan::ClockChoice;

    /// An address that drops what it is sent, as long as what is beside it is kept: a listener that
    /// accepts nothing, with all its places taken. Within a runtime.
    fn silent() -> (SocketAddr, Box<dyn std::any::Any>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut taken = Vec::new();
        // On loopback a connection is there at once, or not before a place is free.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            taken.push(stream);
            assert!(taken.len() < 64, "the listener takes more than it was told to");
        }
        (address, Box::new((listener, taken)))
    }

    #[tokio::test]
    async fn an_address_that_drops_packets_is_left_for_the_next_and_costs_once() {
        let (dead, _kept) = silent();
        let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = HttpTarget::parse("http://127.0.0.1:1", "/completion", &[], None).unwrap();
        let receiver = Rc::new(Receiver::new(ClockChoice::User));
        let limit = Duration::from_millis(400);
        let dialer = Dialer {
            hops: Hops::Addresses(vec![dead, alive.local_addr().unwrap()]),
            ..Dialer::new(&target, limit, receiver).unwrap()
        };
        // Far more than it takes, far less than the kernel would go on asking.
        let patience = Duration::from_secs(30);
        let dialed = tokio::time::timeout(patience, dialer.dial()).await;
        dialed.expect("it does not wait for the first").expect("the second answers");
        assert_eq!(dialer.first.get(), 1, "from now on it is tried first");
    }

    #[tokio::test]
    async fn the_last_address_that_refuses_is_named() {
        let (dead, _kept) = silent();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let target = HttpTarget::parse("http://127.0.0.1:1", "/completion", &[], None).unwrap();
        let receiver = Rc::new(Receiver::new(ClockChoice::User));
        let dialer = Dialer {
            hops: Hops::Addresses(vec![dead, closed]),
            ..Dialer::new(&target, Duration::from_millis(100), receiver).unwrap()
        };
        let error = dialer.dial().await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Connect);
        assert!(error.detail.contains(&closed.to_string()), "{}", error.detail);
    }
}
