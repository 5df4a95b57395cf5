//! Opens connections: a socket, through a proxy where there is one, then TLS, then HTTP/2.
//!
//! Main type: [`Dialer`]. What goes over a connection is `connection`'s business.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

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

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    hops: Hops,
    /// Which address answered last: it is tried first, so that a name with a dead address costs
    /// once.
    first: Cell<usize>,
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
    /// Looks up names and reads certificates; blocks.
    pub(super) fn new(target: &HttpTarget, receiver: Rc<Receiver>) -> Result<Self, LoadError> {
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
    async fn socket(&self) -> io::Result<(Socket, std::time::Duration)> {
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
        for turn in 0..count {
            let position = (self.first.get() + turn) % count;
            let Some(address) = addresses.get(position) else { break };
            let started: Stamp = now();
            match connect(*address).await {
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
