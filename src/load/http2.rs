//! HTTP/2, brought to the form of HTTP/1.1: above it nobody need know which was spoken.
//!
//! Main type: [`Http2`], one connection with one request at a time. Frames are the `h2` crate's
//! business. It is let to read the socket once, then everything that this read completed is taken
//! out, so that the stamp of a DATA frame is that of the read that completed it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::record::Stamp;
use super::socket::Socket;
use super::stamp::{Read, Receiver, now};
use super::tls::TlsStream;

/// What may be under way to us unread: no stream of text comes near it.
const WINDOW_BYTES: u32 = 4 << 20;
/// Of all headers of a response together.
const MOST_HEADER_BYTES: u32 = 32 << 10;
/// Carries the number of a request to the simulator.
pub(super) const TAG: &str = "x-bench-ci-request";

/// What every request of a run has in common.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// An open connection.
pub(super) struct Http2 {
    tap: Rc<Tap>,
    template: Rc<Template>,
    state: RefCell<State>,
}

struct State {
    connection: client::Connection<Outlet, Bytes>,
    sender: SendRequest<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    /// Came with the last read and did not fit.
    left: Bytes,
    /// How the connection ended.
    over: Option<Result<(), String>>,
    /// The server says that it has not looked at the request.
    refused: bool,
}

/// Where an exchange stands after a read.
enum Taken {
    /// So many bytes were put into the receiver's buffer.
    Bytes(usize),
    /// The response is over.
    End,
    /// Nothing came yet.
    Nothing,
}

impl Http2 {
    /// Opens it over a connected stream; nothing is awaited from the server.
    pub(super) async fn open(
        pipe: Pipe,
        receiver: Rc<Receiver>,
        template: Rc<Template>,
    ) -> io::Result<Self> {
        let tap = Rc::new(Tap {
            pipe,
            receiver,
            may_read: Cell::new(false),
            last_read: Cell::new(None),
            left: RefCell::default(),
            written: Cell::new(now()),
            is_blocked: Cell::new(false),
        });
        let (sender, connection) = client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(MOST_HEADER_BYTES)
            .enable_push(false)
            .handshake(Outlet(Rc::clone(&tap)))
            .await
            .map_err(|error| io_error(&error))?;
        let state = RefCell::new(State {
            connection,
            sender,
            response: None,
            body: None,
            left: Bytes::new(),
            over: None,
            refused: false,
        });
        Ok(Self { tap, template, state })
    }

    /// Sends a request and returns the stamp just before the write that carried the last byte.
    pub(super) async fn send(&self, body: &[u8], tag: Option<u64>) -> io::Result<Stamp> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = self.template.uri.clone();
        *request.headers_mut() = self.template.headers.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(tag) = tag {
            headers.insert(HeaderName::from_static(TAG), HeaderValue::from(tag));
        }
        let mut body = Bytes::copy_from_slice(body);

        poll_fn(|context| {
            self.drive(context);
            self.state.borrow_mut().poll_ready(context)
        })
        .await?;
        let mut stream = {
            let mut state = self.state.borrow_mut();
            let sent = state.sender.send_request(request, body.is_empty());
            let (response, stream) = sent.map_err(|error| state.failure(&error))?;
            state.response = Some(response);
            state.body = None;
            state.left = Bytes::new();
            stream
        };
        // The server's window may be smaller than the body.
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            let room = poll_fn(|context| {
                self.drive(context);
                stream.poll_capacity(context)
            });
            match room.await {
                Some(Ok(room)) => {
                    let part = body.split_to(room.min(body.len()));
                    let sent = stream.send_data(part, body.is_empty());
                    sent.map_err(|error| self.state.borrow_mut().failure(&error))?;
                }
                // The server has answered without waiting for the rest, or has gone.
                Some(Err(_)) | None => break,
            }
        }
        poll_fn(|context| {
            self.drive(context);
            let is_over = self.state.borrow().over.is_some();
            if self.tap.is_blocked.get() && !is_over { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        Ok(self.tap.written.get())
    }

    /// Reads whatever the next read of the socket completes, in the form of HTTP/1.1: the head in
    /// bytes, then the body, ended by the end of the stream.
    pub(super) async fn receive(&self) -> io::Result<Read> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        loop {
            let taken = self.state.borrow_mut().take(context, &self.tap.receiver)?;
            let last = self.tap.last_read.get();
            let read = last.unwrap_or_else(|| Read { length: 0, stamp: now(), delay: None });
            match taken {
                Taken::Bytes(length) => return Poll::Ready(Ok(Read { length, ..read })),
                Taken::End => return Poll::Ready(Ok(Read { length: 0, ..read })),
                Taken::Nothing => {}
            }
            if let Some(over) = &self.state.borrow().over {
                return Poll::Ready(Err(match over {
                    Ok(()) => io::ErrorKind::ConnectionReset.into(),
                    Err(why) => io::Error::other(why.clone()),
                }));
            }
            if !self.drive_once(context) {
                return Poll::Pending;
            }
        }
    }

    /// Lets the connection do what it can now, with one read of the socket; true if it read.
    fn drive_once(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.state.borrow_mut();
        if state.over.is_some() {
            return false;
        }
        self.tap.may_read.set(true);
        if let Poll::Ready(ended) = Pin::new(&mut state.connection).poll(context) {
            state.over = Some(ended.map_err(|error| words(&error)));
            // The streams learn of it too, and say it better.
            return true;
        }
        !self.tap.may_read.replace(false)
    }

    fn drive(&self, context: &mut Context<'_>) {
        while self.drive_once(context) {}
    }

    /// Completes when the server gives up this idle connection.
    pub(super) async fn spoiled(&self) {
        poll_fn(|context| {
            self.drive(context);
            if self.state.borrow_mut().is_over(context) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The server has given up this idle connection.
    pub(super) fn is_spoiled(&self) -> bool {
        // Whoever waits for the connection polls it again before waiting.
        let context = &mut Context::from_waker(Waker::noop());
        self.drive(context);
        self.state.borrow_mut().is_over(context)
    }

    pub(super) fn socket(&self) -> &Socket {
        self.tap.pipe.socket()
    }

    /// The server has said that it did not look at the request.
    pub(super) fn was_refused(&self) -> bool {
        self.state.borrow().refused
    }
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Http2").field("pipe", &self.tap.pipe).finish_non_exhaustive()
    }
}

impl State {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ready = ready!(self.sender.poll_ready(context));
        Poll::Ready(ready.map_err(|error| self.failure(&error)))
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.over.is_some() || matches!(self.poll_ready(context), Poll::Ready(Err(_)))
    }

    /// Takes out what has come, up to the end of the receiver's buffer.
    fn take(&mut self, context: &mut Context<'_>, receiver: &Receiver) -> io::Result<Taken> {
        let mut length = 0;
        if let Some(response) = &mut self.response {
            match Pin::new(response).poll(context) {
                Poll::Pending => return Ok(Taken::Nothing),
                Poll::Ready(Err(error)) => return Err(self.failure(&error)),
                Poll::Ready(Ok(response)) => {
                    let (parts, body) = response.into_parts();
                    let head = head_of(&parts);
                    length = receiver.put(0, &head);
                    self.left = Bytes::from(head).split_off(length);
                    self.response = None;
                    self.body = Some(body);
                }
            }
        }
        loop {
            let fitted = receiver.put(length, &self.left);
            length += fitted;
            self.left = self.left.split_off(fitted);
            let Some(body) = self.body.as_mut().filter(|_| self.left.is_empty()) else { break };
            match body.poll_data(context) {
                Poll::Ready(Some(Ok(data))) => {
                    // It is in our memory already; what bounds it is how fast we read.
                    body.flow_control()
                        .release_capacity(data.len())
                        .map_err(|error| self.failure(&error))?;
                    self.left = data;
                }
                Poll::Ready(Some(Err(error))) if length == 0 => return Err(self.failure(&error)),
                // Told again by the next poll, after what came before it.
                Poll::Ready(Some(Err(_))) => break,
                Poll::Ready(None) if length == 0 => return Ok(Taken::End),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(if length > 0 { Taken::Bytes(length) } else { Taken::Nothing })
    }

    fn failure(&mut self, error: &h2::Error) -> io::Error {
        let unseen = error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote());
        self.refused |= unseen && self.body.is_none();
        io_error(error)
    }
}

/// The head of a response as HTTP/1.1 would have it, without what frames a message there.
fn head_of(parts: &http::response::Parts) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} \r\n", parts.status.as_u16()).into_bytes();
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
    for (name, value) in parts.headers.iter().filter(|(name, _)| !framing.contains(name)) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// `InvalidData` where what came is not HTTP/2.
fn io_error(error: &h2::Error) -> io::Error {
    let is_ours = error.is_library() && error.reason() != Some(h2::Reason::CANCEL);
    let kind = match error.get_io() {
        Some(io) => io.kind(),
        None if is_ours => io::ErrorKind::InvalidData,
        None => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, words(error))
}

fn words(error: &h2::Error) -> String {
    let reason = error.reason().map(|reason| format!("{reason:?}")).unwrap_or_default();
    if let Some(io) = error.get_io() {
        io.to_string()
    } else if error.is_go_away() && error.is_remote() {
        format!("the server gave up the connection (GOAWAY, {reason})")
    } else if error.is_reset() && error.is_remote() {
        format!("the server reset the stream (RST_STREAM, {reason})")
    } else {
        format!("what came is not HTTP/2: {error}")
    }
}

/// What carries the frames.
#[derive(Debug)]
pub(super) enum Pipe {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

impl Pipe {
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Pipe::Plain(socket) => socket,
            Pipe::Tls(stream) => stream.socket(),
        }
    }
}

/// Between the frames and the socket: lets through one read at a time, and keeps its stamp.
#[derive(Debug)]
struct Tap {
    pipe: Pipe,
    receiver: Rc<Receiver>,
    may_read: Cell<bool>,
    last_read: Cell<Option<Read>>,
    /// What a read brought and was not asked for yet.
    left: RefCell<Vec<u8>>,
    /// Just before the last write.
    written: Cell<Stamp>,
    /// The socket has not taken everything.
    is_blocked: Cell<bool>,
}

/// The tap as the `h2` crate sees it.
struct Outlet(Rc<Tap>);

impl AsyncRead for Outlet {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tap = &self.0;
        let mut left = tap.left.borrow_mut();
        if left.is_empty() {
            if !tap.may_read.get() {
                // `drive_once` polls again, once what came with the last read is taken out.
                return Poll::Pending;
            }
            let read = ready!(match &tap.pipe {
                Pipe::Plain(socket) => tap.receiver.poll_receive(context, socket),
                Pipe::Tls(stream) => stream.poll_receive(context),
            })?;
            tap.may_read.set(false);
            tap.last_read.set(Some(read));
            left.extend_from_slice(&tap.receiver.bytes(read));
        }
        let count = left.len().min(space.remaining());
        space.put_slice(&left[..count]);
        left.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tap = &self.0;
        let socket = match &tap.pipe {
            Pipe::Tls(stream) => {
                let mut count = 0;
                for part in parts {
                    stream.take(part)?;
                    count += part.len();
                }
                // Taken all the same where the socket is full; the rest goes with `poll_flush`.
                return match self.poll_flush(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
                };
            }
            Pipe::Plain(socket) => socket,
        };
        tap.is_blocked.set(true);
        loop {
            ready!(socket.poll_write_ready(context))?;
            let written = now();
            match socket.try_write(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    tap.written.set(written);
                    tap.is_blocked.set(false);
                    return Poll::Ready(result);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = &self.0;
        if let Pipe::Tls(stream) = &tap.pipe {
            tap.is_blocked.set(true);
            let written = ready!(stream.poll_flush(context))?;
            tap.is_blocked.set(false);
            tap.written.set(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the socket closes it; nobody waits for a farewell.
        Poll::Ready(Ok(()))
    }
}
