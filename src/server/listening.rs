//! The listening TCP sockets of this machine, from the kernel.
//!
//! Main function: [`listening`]. Asked over netlink (`sock_diag`), which takes 0.05 ms; the table in
//! `/proc/net/tcp` says the same, but takes milliseconds to print on an idle machine, because the
//! kernel walks the hash table of all connections for it, and it is asked every millisecond while a
//! server starts. It knows nothing of processes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Its number in `/proc/PID/fd`.
    pub(super) inode: u64,
}

/// All listening TCP sockets; `None` where the system does not say.
pub(super) fn listening() -> Option<Vec<Listening>> {
    #[cfg(target_os = "linux")]
    if let Some(sockets) = diag::listening() {
        return Some(sockets);
    }
    from_tables()
}

/// What `/proc` says, for sandboxes without netlink.
fn from_tables() -> Option<Vec<Listening>> {
    let v4 = std::fs::read_to_string("/proc/net/tcp");
    let v6 = std::fs::read_to_string("/proc/net/tcp6");
    if v4.is_err() && v6.is_err() {
        return None;
    }
    let text = v4.unwrap_or_default() + &v6.unwrap_or_default();
    Some(text.lines().filter_map(read_line).collect())
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`
fn read_line(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Listening {
        address: read_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The kernel prints each 32-bit word of the address in the byte order of the machine.
fn read_address(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..hex.len() / 8)
        .map(|i| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    match words?.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        words @ [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// `sock_diag(7)`.
#[cfg(target_os = "linux")]
mod diag {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::os::fd::{AsRawFd, OwnedFd};

    use nix::libc;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
    };

    use super::Listening;

    /// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
    const BY_FAMILY: u16 = 20;
    /// Bit of `TCP_LISTEN` among the states.
    const LISTEN: u32 = 1 << 10;
    /// Bytes of `struct nlmsghdr`.
    const HEADER: usize = 16;
    /// Bytes of `struct inet_diag_req_v2` and `struct inet_diag_msg`.
    const REQUEST: usize = 56;
    const ANSWER: usize = 72;

    pub(super) fn listening() -> Option<Vec<Listening>> {
        let kernel = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
        .ok()?;
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            ask(&kernel, u8::try_from(family).ok()?, &mut sockets)?;
        }
        Some(sockets)
    }

    fn ask(kernel: &OwnedFd, family: u8, sockets: &mut Vec<Listening>) -> Option<()> {
        let mut request = Vec::with_capacity(HEADER + REQUEST);
        let length = u32::try_from(HEADER + REQUEST).ok()?;
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).ok()?;
        request.extend_from_slice(&length.to_ne_bytes());
        request.extend_from_slice(&BY_FAMILY.to_ne_bytes());
        request.extend_from_slice(&flags.to_ne_bytes());
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[family, u8::try_from(libc::IPPROTO_TCP).ok()?, 0, 0]);
        request.extend_from_slice(&LISTEN.to_ne_bytes());
        request.resize(HEADER + REQUEST, 0);
        send(kernel.as_raw_fd(), &request, MsgFlags::empty()).ok()?;

        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let length = usize::try_from(u32::from_ne_bytes(field(rest, 0)?)).ok()?;
                let message = rest.get(HEADER..length)?;
                match i32::from(u16::from_ne_bytes(field(rest, 4)?)) {
                    libc::NLMSG_DONE => return Some(()),
                    libc::NLMSG_ERROR => return None,
                    _ => sockets.push(read(message)?),
                }
                // Messages begin at multiples of four bytes.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Reads a `struct inet_diag_msg`.
    fn read(message: &[u8]) -> Option<Listening> {
        let message = message.get(..ANSWER)?;
        let v4: [u8; 4] = field(message, 8)?;
        let v6: [u8; 16] = field(message, 8)?;
        let is_v4 = i32::from(message[0]) == libc::AF_INET;
        let address: IpAddr =
            if is_v4 { Ipv4Addr::from(v4).into() } else { Ipv6Addr::from(v6).into() };
        Some(Listening {
            address,
            port: u16::from_be_bytes(field(message, 4)?),
            inode: u32::from_ne_bytes(field(message, 68)?).into(),
        })
    }

    fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
        bytes.get(at..at + N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000 100 0 0 10 0";
        let read = read_line(line).expect("a listening socket");
        assert_eq!((read.port, read.inode), (8080, 12345));
        if cfg!(target_endian = "little") {
            assert_eq!(read.address, IpAddr::from(Ipv4Addr::LOCALHOST));
            let v6 = read_address("00000000000000000000000001000000").expect("an address");
            assert_eq!(v6, IpAddr::from(Ipv6Addr::LOCALHOST));
        }
        assert_eq!(read_line(&line.replace(" 0A ", " 01 ")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn netlink_and_the_tables_tell_the_same_of_our_listeners() {
        let v4 = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut listeners = vec![v4];
        // A machine may have no IPv6.
        listeners.extend(std::net::TcpListener::bind("[::1]:0"));
        for listener in &listeners {
            let bound = listener.local_addr().expect("bound");
            let find = |sockets: Option<Vec<Listening>>| {
                let sockets = sockets.expect("Linux says");
                sockets.into_iter().find(|s| (s.address, s.port) == (bound.ip(), bound.port()))
            };
            let told = find(diag::listening());
            assert!(told.is_some_and(|socket| socket.inode > 0), "{bound}");
            assert_eq!(told, find(from_tables()));
        }
    }
}
