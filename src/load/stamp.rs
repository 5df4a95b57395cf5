//! The clocks: what time it is, and when the kernel received what we have just read.
//!
//! Main types: [`ClockSource`] and [`Receiver`], which reads a socket into the thread's one read
//! buffer and stamps the read. Nothing here parses, allocates per read, locks or logs.

use std::cell::{Cell, Ref, RefCell};
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::record::Stamp;
use super::socket::Socket;
use crate::plan::ClockChoice;

/// Which clock stamped the reads.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The kernel, when it received the last byte of each read (`SO_TIMESTAMPNS`).
    Kernel,
    /// Our own clock, just after each read: it contains our own delay.
    User,
}

/// `CLOCK_MONOTONIC`, now.
#[must_use]
pub fn now() -> Stamp {
    Stamp(read_clock(ClockId::CLOCK_MONOTONIC))
}

/// Which clock a run on this system would use, without any traffic to prove it.
#[must_use]
pub fn clock_source() -> ClockSource {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0));
    let kernel = socket.is_ok_and(|socket| platform::ask_for_stamps(&socket));
    if kernel { ClockSource::Kernel } else { ClockSource::User }
}

/// CPU time of the calling thread.
#[must_use]
pub(super) fn thread_cpu() -> Duration {
    Duration::from_nanos(read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

fn read_clock(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("every supported system has these clocks");
    nanos_of(time.tv_sec(), time.tv_nsec())
}

fn nanos_of(seconds: i64, nanos: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanos).unwrap_or(0))
}

/// One read: its bytes are in the receiver's buffer until the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    /// Bytes read; 0 at the end of the stream.
    pub(super) length: usize,
    /// When the last of them was received.
    pub(super) stamp: Stamp,
    /// How long they waited for us, nanoseconds; `None` where the kernel does not say.
    pub(super) delay: Option<u64>,
}

/// Reads sockets into one buffer for the whole thread.
///
/// One buffer, because a stream of small events would otherwise pin a large one each: two thousand
/// streams share these 64 KiB and carry over only partial lines. The bytes of a read must be used
/// before the next `await`.
#[derive(Debug)]
pub(super) struct Receiver {
    choice: ClockChoice,
    buffer: RefCell<Box<[u8]>>,
    /// What a TLS connection read, before it is decrypted into `buffer`; empty until there is one.
    sealed: RefCell<Vec<u8>>,
    control: RefCell<Vec<u8>>,
    kernel_stamps: Cell<u64>,
    rejected: Cell<u64>,
    /// A socket with stamps switched on for as long as we run; see [`switch_stamps_on`].
    _stamps_on: Option<std::net::TcpStream>,
}

/// Large enough to drain a burst of hundreds of events in one call.
const BUFFER_BYTES: usize = 64 << 10;
/// Half of it for TLS, since up to a record (16 KiB) of earlier reads may come out with a read.
const SEALED_BYTES: usize = BUFFER_BYTES / 2;
/// A kernel stamp older than this is impossible: a clock was set between receiving and reading.
const OLDEST_STAMP: u64 = 1_000_000_000;
/// How long the kernel may take to begin stamping; it takes well under a millisecond.
const STAMPS_WAIT: Duration = Duration::from_millis(10);

impl Receiver {
    pub(super) fn new(choice: ClockChoice) -> Self {
        let mut control = platform::control_buffer();
        let stamps_on = switch_stamps_on(&mut control).ok();
        Self {
            choice,
            buffer: RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice()),
            sealed: RefCell::default(),
            control: RefCell::new(control),
            kernel_stamps: Cell::new(0),
            rejected: Cell::new(0),
            _stamps_on: stamps_on,
        }
    }

    /// Waits until there is something to read, reads and stamps it. The bytes are those of
    /// [`Self::bytes`] until the next read of anybody on this thread.
    pub(super) async fn receive(&self, socket: &Socket) -> io::Result<Read> {
        poll_fn(|context| self.poll_receive(context, socket)).await
    }

    /// [`Self::receive`], for whoever polls by himself.
    pub(super) fn poll_receive(
        &self,
        context: &mut Context<'_>,
        socket: &Socket,
    ) -> Poll<io::Result<Read>> {
        self.poll_into(context, socket, &mut self.buffer.borrow_mut())
    }

    /// The same for bytes that `open` decrypts: it is handed what was read, and where to put plain
    /// bytes, and says how many it put there; `None`: none yet. The stamp is that of the read that
    /// completed them.
    pub(super) fn poll_receive_sealed(
        &self,
        context: &mut Context<'_>,
        socket: &Socket,
        mut open: impl FnMut(&[u8], &mut [u8]) -> io::Result<Option<usize>>,
    ) -> Poll<io::Result<Read>> {
        let mut sealed = self.sealed.borrow_mut();
        sealed.resize(SEALED_BYTES, 0);
        loop {
            let read = ready!(self.poll_into(context, socket, &mut sealed))?;
            let bytes = sealed.get(..read.length).unwrap_or_default();
            if let Some(length) = open(bytes, &mut self.buffer.borrow_mut())? {
                return Poll::Ready(Ok(Read { length, ..read }));
            }
        }
    }

    /// Puts plain bytes where those of a read lie, as far as there is room; how many fitted.
    pub(super) fn put(&self, at: usize, bytes: &[u8]) -> usize {
        let mut buffer = self.buffer.borrow_mut();
        let room = buffer.get_mut(at..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        count
    }

    fn poll_into(
        &self,
        context: &mut Context<'_>,
        socket: &Socket,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>> {
        loop {
            ready!(socket.poll_read_ready(context))?;
            match self.try_receive(socket, buffer) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// The bytes of the last read.
    pub(super) fn bytes(&self, read: Read) -> Ref<'_, [u8]> {
        Ref::map(self.buffer.borrow(), |buffer| buffer.get(..read.length).unwrap_or_default())
    }

    fn try_receive(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<Read> {
        let mut control = self.control.borrow_mut();
        let mut received = None;
        let attempt = socket.try_read(|| {
            let (length, stamped) = platform::receive(socket, buffer, &mut control)?;
            // A read that did not fill the buffer has drained the socket. Saying so now, as tokio's
            // own reads do, saves the read that would find it empty: one system call per event
            // instead of two. The end of the stream is never lost by it, tokio keeps that state.
            let drained = length > 0 && length < buffer.len();
            received = Some((length, stamped));
            if drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (received, attempt) {
            (Some((length, stamped)), _) => Ok(self.stamp(length, stamped)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Turns the kernel's wall-clock stamp into a monotonic one.
    ///
    /// Of a TCP read that took several segments it is the last one's, and the delay is counted from
    /// there: how long the others had waited for us, nobody tells.
    fn stamp(&self, length: usize, kernel: Option<u64>) -> Read {
        let Some(kernel) = kernel else {
            let wanted = self.choice == ClockChoice::Auto && length > 0;
            self.rejected.set(self.rejected.get() + u64::from(wanted));
            return Read { length, stamp: now(), delay: None };
        };
        // Both clocks are read at once for each read, so that a slewed wall clock cancels out.
        let wall = read_clock(ClockId::CLOCK_REALTIME);
        let stamp = now();
        match wall.checked_sub(kernel).filter(|delay| *delay <= OLDEST_STAMP) {
            Some(delay) => {
                self.kernel_stamps.set(self.kernel_stamps.get() + 1);
                let stamp = match self.choice {
                    ClockChoice::Auto => Stamp(stamp.0.saturating_sub(delay)),
                    ClockChoice::User => stamp,
                };
                Read { length, stamp, delay: Some(delay) }
            }
            None => {
                self.rejected.set(self.rejected.get() + 1);
                Read { length, stamp, delay: None }
            }
        }
    }

    /// Which clock stamped the reads so far. A system that takes the option and then gives no
    /// stamps (some sandboxes do) counts as one without.
    pub(super) fn source(&self) -> ClockSource {
        match self.choice {
            ClockChoice::Auto if self.kernel_stamps.get() > self.rejected.get() => {
                ClockSource::Kernel
            }
            _ => ClockSource::User,
        }
    }

    /// True if the kernel has stamped anything, whichever clock is used.
    pub(super) fn sees_delay(&self) -> bool {
        self.kernel_stamps.get() > 0
    }

    /// Reads that had to do with our own clock.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.get()
    }
}

/// Makes the kernel stamp packets, and waits until it does.
///
/// It stamps only while some socket wants it and begins a moment after the first one asked, so the
/// first answers would go without. The socket that is returned keeps it going.
fn switch_stamps_on(control: &mut Vec<u8>) -> io::Result<std::net::TcpStream> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))
        .or_else(|_no_ipv4| std::net::TcpListener::bind(("::1", 0)))?;
    let asking = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (mut sending, _) = listener.accept()?;
    if !platform::ask_for_stamps(&asking) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    asking.set_read_timeout(Some(STAMPS_WAIT))?;
    let give_up = now().after(STAMPS_WAIT);
    loop {
        sending.write_all(&[0])?;
        let (_, stamp) = platform::receive(&asking, &mut [0], control)?;
        if stamp.is_some() {
            return Ok(asking);
        }
        if now() >= give_up {
            return Err(io::ErrorKind::Unsupported.into());
        }
        std::thread::yield_now();
    }
}

/// Asks the kernel to stamp what this socket receives; false where it cannot.
pub(super) fn ask_for_stamps(socket: &impl AsFd) -> bool {
    platform::ask_for_stamps(socket)
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io::{self, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd};

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
    use nix::sys::time::TimeSpec;

    pub(super) fn ask_for_stamps(socket: &impl AsFd) -> bool {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_ok()
    }

    pub(super) fn control_buffer() -> Vec<u8> {
        nix::cmsg_space!(TimeSpec)
    }

    /// Bytes read, and the kernel's stamp in nanoseconds of the wall clock.
    pub(super) fn receive(
        stream: &impl AsRawFd,
        buffer: &mut [u8],
        control: &mut Vec<u8>,
    ) -> io::Result<(usize, Option<u64>)> {
        control.resize(control.capacity(), 0);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(control.as_mut_slice()),
            MsgFlags::empty(),
        )?;
        let stamp = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => {
                    Some(super::nanos_of(time.tv_sec(), time.tv_nsec())).filter(|nanos| *nanos > 0)
                }
                _ => None,
            })
        });
        Ok((message.bytes, stamp))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};

    pub(super) fn ask_for_stamps(_socket: &impl AsFd) -> bool {
        false
    }

    pub(super) fn control_buffer() -> Vec<u8> {
        Vec::new()
    }

    /// Called inside `try_io`, so the plain system call it is.
    pub(super) fn receive(
        stream: &impl AsRawFd,
        buffer: &mut [u8],
        _control: &mut Vec<u8>,
    ) -> io::Result<(usize, Option<u64>)> {
        let length = nix::sys::socket::recv(
            stream.as_raw_fd(),
            buffer,
            nix::sys::socket::MsgFlags::empty(),
        )?;
        Ok((length, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kernel: impl Fn(u64) -> Option<u64>, choice: ClockChoice) -> (Receiver, Read) {
        let receiver = Receiver::new(choice);
        let read = receiver.stamp(1, kernel(read_clock(ClockId::CLOCK_REALTIME)));
        (receiver, read)
    }

    #[test]
    fn a_kernel_stamp_moves_the_read_back_in_time() {
        let before = now();
        let (receiver, read) = at(|wall| Some(wall - 500_000_000), ClockChoice::Auto);
        assert!(read.stamp < before, "half a second earlier than any reading of ours");
        assert!(read.delay.is_some_and(|delay| delay >= 500_000_000));
        assert_eq!((receiver.source(), receiver.rejected()), (ClockSource::Kernel, 0));
    }

    #[test]
    fn impossible_stamps_are_rejected_and_counted() {
        let before = now();
        for kernel in [
            (|wall| Some(wall + 5_000_000_000)) as fn(u64) -> Option<u64>,
            |wall| Some(wall - 1_100_000_000),
            |_| None,
        ] {
            let (receiver, read) = at(kernel, ClockChoice::Auto);
            assert!(read.stamp >= before);
            assert_eq!((read.delay, receiver.rejected()), (None, 1));
            assert_eq!(receiver.source(), ClockSource::User);
        }
    }

    #[test]
    fn our_own_clock_still_sees_the_delay() {
        let before = now();
        let (receiver, read) = at(|wall| Some(wall - 500_000_000), ClockChoice::User);
        assert!(read.stamp >= before && read.delay.is_some());
        assert_eq!(receiver.source(), ClockSource::User);
    }
}
