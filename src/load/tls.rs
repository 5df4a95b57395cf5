//! TLS over a socket, so that a stamp belongs to the read of the socket that completed a record.
//!
//! Main type: [`TlsStream`]. A general TLS stream reads as it likes and hides which read a plain
//! byte came from; here every read of the socket is stamped first and decrypted afterwards. Whose
//! certificates are believed is `transport`'s business.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice, Read as _, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::record::Stamp;
use super::socket::Socket;
use super::stamp::{Read, Receiver, now};

/// An open TLS connection.
#[derive(Debug)]
pub(super) struct TlsStream {
    socket: Socket,
    session: RefCell<ClientConnection>,
    /// The peer has said that nothing follows.
    ended: Cell<bool>,
    /// Bytes that the socket took since the handshake.
    sent: Cell<u64>,
    /// Just before the last write.
    written: Cell<Stamp>,
    receiver: Rc<Receiver>,
}

impl TlsStream {
    /// Shakes hands; an error of TLS itself is inside the `io::Error`.
    pub(super) async fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        receiver: Rc<Receiver>,
    ) -> io::Result<Self> {
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        // A body of any size is taken at once; what the socket does not take waits here.
        session.set_buffer_limit(None);
        let stream = Self {
            socket,
            session: RefCell::new(session),
            ended: Cell::new(false),
            sent: Cell::new(0),
            written: Cell::new(now()),
            receiver,
        };
        while stream.session.borrow().is_handshaking() {
            stream.flush().await?;
            if !stream.session.borrow().is_handshaking() {
                break;
            }
            let shaken = poll_fn(|context| stream.poll_handshake(context)).await;
            if let Err(error) = shaken {
                // An alert that says why may wait to be sent; it does no harm if it cannot.
                drop(stream.push());
                return Err(error);
            }
        }
        stream.flush().await?;
        stream.sent.set(0);
        Ok(stream)
    }

    /// What was agreed on by ALPN.
    pub(super) fn speaks_http2(&self) -> bool {
        self.session.borrow().alpn_protocol() == Some(b"h2")
    }

    fn poll_handshake(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = |sealed: &[u8], _plain: &mut [u8]| {
            if sealed.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection inside the TLS handshake",
                ));
            }
            // Plain bytes behind the handshake stay in the session until they are asked for.
            let mut session = self.session.borrow_mut();
            feed(&mut session, sealed, |_session| Ok(()))?;
            Ok(Some(0))
        };
        self.receiver.poll_receive_sealed(context, &self.socket, open).map_ok(|_read| ())
    }

    /// Reads whatever plain bytes the next read of the socket completes; see [`Receiver::receive`].
    pub(super) fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<Read>> {
        if self.ended.get() {
            return Poll::Ready(Ok(Read { length: 0, stamp: now(), delay: None }));
        }
        let open = |sealed: &[u8], plain: &mut [u8]| {
            let mut session = self.session.borrow_mut();
            let mut length = 0;
            feed(&mut session, sealed, |session| {
                while let Some(room) = plain.get_mut(length..).filter(|room| !room.is_empty()) {
                    match session.reader().read(room) {
                        Ok(0) => break,
                        Ok(count) => length += count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // Closed without saying so first, which many servers do. What it means is
                        // for HTTP to say, as without TLS.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .map(|peer_has_closed| {
                let over = peer_has_closed || sealed.is_empty();
                self.ended.set(over);
                (length > 0 || over).then_some(length)
            })
        };
        let read = ready!(self.receiver.poll_receive_sealed(context, &self.socket, open))?;
        // An answer to a key update, say.
        match self.push() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(Err(error)),
            // What the socket does not take now goes with the next request.
            _ => Poll::Ready(Ok(read)),
        }
    }

    /// Takes all of these bytes; they are sent by [`Self::poll_flush`].
    pub(super) fn take(&self, bytes: &[u8]) -> io::Result<()> {
        self.session.borrow_mut().writer().write_all(bytes)
    }

    /// Sends what was taken; the stamp just before the write that carried the last of it.
    pub(super) async fn flush(&self) -> io::Result<Stamp> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<Stamp>> {
        loop {
            match self.push() {
                Ok(stamp) => return Poll::Ready(Ok(stamp)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// As much as the socket takes now; `WouldBlock` if that is not all.
    fn push(&self) -> io::Result<Stamp> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            let written = now();
            let count = session.write_tls(&mut &self.socket)?;
            self.written.set(written);
            self.sent.set(self.sent.get() + count as u64);
        }
        Ok(self.written.get())
    }

    /// How many bytes the kernel has taken since the handshake.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Hands bytes of the wire to the session, piece by piece; `after` each piece it is to be emptied.
/// True when the peer has said that nothing follows.
fn feed(
    session: &mut ClientConnection,
    mut sealed: &[u8],
    mut after: impl FnMut(&mut ClientConnection) -> io::Result<()>,
) -> io::Result<bool> {
    loop {
        session.read_tls(&mut sealed)?;
        let state = session
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        after(session)?;
        if state.peer_has_closed() || sealed.is_empty() {
            return Ok(state.peer_has_closed());
        }
    }
}

/// For rustls, which writes to whatever is `Write`.
impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
