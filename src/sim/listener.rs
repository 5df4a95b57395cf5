//! Where the simulator listens, and what its clients are connected by: TCP or a Unix socket.
//!
//! Main types: [`Listener`] and [`Socket`]. Bytes and receive stamps only; TLS is `connection`'s.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::clock::Received;

/// Connections that may wait to be accepted: a whole crowd of users at once.
const BACKLOG: i32 = 4096;

/// A bound socket that nobody serves yet.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn tcp(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        prepare(&listener)?;
        let address = listener.local_addr()?;
        Ok((Listener::Tcp(listener), address))
    }

    /// A file that is there already is in the way, as it is for a real server.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Listener::Unix(listener, path.to_owned()))
    }

    pub(super) fn serve(self) -> io::Result<Serving> {
        Ok(match self {
            Listener::Tcp(listener) => Serving::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Listener::Unix(listener, path) => {
                Serving::Unix(tokio::net::UnixListener::from_std(listener)?, path)
            }
        })
    }
}

/// Room for a crowd, and receive stamps on every accepted socket (they inherit the option).
fn prepare(listener: &TcpListener) -> io::Result<()> {
    widen(listener)?;
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(listener, nix::sys::socket::sockopt::ReceiveTimestampns, &true)?;
    Ok(())
}

/// A second `listen` only widens the queue that the standard library chose, as far as the kernel lets it.
#[expect(unsafe_code, reason = "nix refuses more than the 128 of the headers of musl and macOS")]
fn widen(listener: &TcpListener) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    // SAFETY: the descriptor is open for as long as `listener` is borrowed, and no memory is handed on.
    match unsafe { nix::libc::listen(listener.as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A listener inside a runtime; the file of a Unix socket goes with it.
pub(super) enum Serving {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, PathBuf),
}

impl Serving {
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Serving::Tcp(listener) => {
                let (stream, _peer) = listener.accept().await?;
                // Without it a delta would wait for the acknowledgement of the last; a socket that
                // refuses it is closing already.
                drop(stream.set_nodelay(true));
                Ok(Socket::Tcp(stream))
            }
            Serving::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Serving::Unix(_, path) = self {
            // Somebody has removed it before: then it is gone, which is all that is wanted.
            drop(std::fs::remove_file(path));
        }
    }
}

/// A connection to a client.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
        match self {
            Socket::Tcp(stream) => stream.ready(interest).await,
            Socket::Unix(stream) => stream.ready(interest).await,
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Closing sends a reset where there are such things.
    pub(super) fn reset_on_close(&self) {
        if let Socket::Tcp(stream) = self {
            // Failing to set it leaves an ordinary close; there is nobody to tell.
            drop(stream.set_zero_linger());
        }
    }

    fn try_read<R>(&self, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Socket::Tcp(stream) => stream.try_io(Interest::READABLE, work),
            Socket::Unix(stream) => stream.try_io(Interest::READABLE, work),
        }
    }

    /// Reads with the kernel's receive stamp of the last byte, where it gives one.
    #[cfg(target_os = "linux")]
    pub(super) fn receive_stamped(&self, space: &mut [u8]) -> io::Result<(usize, Received)> {
        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
        use nix::sys::time::TimeSpec;

        self.try_read(|| {
            let mut control = nix::cmsg_space!(TimeSpec);
            let mut parts = [std::io::IoSliceMut::new(space)];
            let message =
                recvmsg::<()>(self.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
            let stamp = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                _ => None,
            });
            Ok((message.bytes, Received::from_kernel(stamp)))
        })
    }

    /// Reads; this system has no receive stamps that we know of.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn receive_stamped(&self, space: &mut [u8]) -> io::Result<(usize, Received)> {
        use nix::sys::socket::{MsgFlags, recv};

        self.try_read(|| {
            let count = recv(self.as_raw_fd(), space, MsgFlags::empty())?;
            Ok((count, Received::from_kernel(None)))
        })
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}
