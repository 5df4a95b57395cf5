//! Who listens on a port.
//!
//! Main function: [`owner_of`]. On Linux it matches the inode of the listening socket to a file
//! descriptor of a process in `/proc`; elsewhere it can only say that it does not know. It never
//! connects: a server under test should see no connection that is not a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;

use super::listening::{Listening, listening};
use super::proc;

/// Who listens on a port, seen from one server's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Nobody listens.
    Nobody,
    /// Only processes of the server.
    Ours,
    /// Somebody else, or somebody else too (a shared port).
    Stranger(Stranger),
    /// The system does not say: no `/proc`, or one of the server's own processes hides its files.
    Unknown,
}

/// A process that is not ours, as far as it can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stranger {
    /// Its number; `None` if it belongs to another user or another container.
    pub pid: Option<i32>,
    /// Its command line.
    pub command: Option<String>,
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(formatter, "process {pid} (\"{command}\")"),
            (Some(pid), None) => write!(formatter, "process {pid}"),
            (None, _) => formatter.write_str("a process of another user or container"),
        }
    }
}

/// A free port on `host` at this moment.
///
/// Somebody else can take it before the server does; the caller must notice that and try again.
///
/// # Errors
/// If the address is not one of this machine's, or the system has no free port.
pub fn free(host: &str) -> std::io::Result<u16> {
    Ok(bind(host, 0)?.local_addr()?.port())
}

/// Whether `port` on `host` can be bound now: false if it is in use.
///
/// # Errors
/// If it cannot be bound for another reason, such as a missing permission.
pub fn is_free(host: &str, port: u16) -> std::io::Result<bool> {
    match bind(host, port) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

fn bind(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let host = host.split(',').next().unwrap_or(host).trim();
    TcpListener::bind((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// Who listens where a client of `host`:`port` would arrive, seen from the processes of `leader`
/// (`None`: everybody is a stranger).
#[must_use]
pub fn owner_of(host: &str, port: u16, leader: Option<i32>) -> Owner {
    let Some(sockets) = listening() else { return Owner::Unknown };
    let reached = reached(&sockets, host, port);
    if reached.is_empty() {
        return Owner::Nobody;
    }
    let members: Vec<i32> = leader.map_or_else(Vec::new, |leader| {
        proc::members(leader).iter().map(|member| member.pid).collect()
    });
    let mut some_hidden = false;
    let mut ours = Vec::new();
    for pid in &members {
        match sockets_of(*pid) {
            Some(inodes) => ours.extend(inodes),
            None => some_hidden = true,
        }
    }
    let Some(foreign) = reached.iter().find(|socket| !ours.contains(&socket.inode)) else {
        return Owner::Ours;
    };
    let holder = proc::pids()
        .filter(|pid| !members.contains(pid))
        .find(|pid| sockets_of(*pid).is_some_and(|inodes| inodes.contains(&foreign.inode)));
    match holder {
        Some(pid) => Owner::Stranger(Stranger { pid: Some(pid), command: proc::command_of(pid) }),
        None if some_hidden => Owner::Unknown,
        // Between the two readings the listener may have been closed.
        None if !listening().is_some_and(|now| now.contains(foreign)) => Owner::Nobody,
        None => Owner::Stranger(Stranger::default()),
    }
}

/// Who listens on the Unix socket `path`, seen from the processes of `leader`. The path is compared
/// as it was bound, so it is to be the one that the server was given.
#[must_use]
pub fn owner_of_socket(path: &Path, leader: i32) -> Owner {
    /// Flag of a socket that listens (`__SO_ACCEPTCON`).
    const LISTENS: &str = "00010000";
    // Num RefCount Protocol Flags Type St Inode Path
    let Ok(table) = std::fs::read_to_string("/proc/net/unix") else { return Owner::Unknown };
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(7).collect();
        let named = line.ends_with(&format!(" {}", path.display()));
        let listens = named && fields.get(3) == Some(&LISTENS);
        fields.get(6).filter(|_| listens)?.parse::<u64>().ok()
    });
    let Some(inode) = inode else { return Owner::Nobody };
    let mut some_hidden = false;
    for member in proc::members(leader) {
        match sockets_of(member.pid) {
            Some(inodes) if inodes.contains(&inode) => return Owner::Ours,
            Some(_) => {}
            None => some_hidden = true,
        }
    }
    if some_hidden { Owner::Unknown } else { Owner::Stranger(Stranger::default()) }
}

/// Whether anybody listens where a client of `host`:`port` would arrive; `None` if the system does
/// not say. Cheap enough to be asked every millisecond.
#[must_use]
pub fn anybody_listens(host: &str, port: u16) -> Option<bool> {
    Some(!reached(&listening()?, host, port).is_empty())
}

/// The TCP ports on which the processes of `leader` listen, ascending; empty where unknown.
#[must_use]
pub fn ports_of(leader: i32) -> Vec<u16> {
    let inodes: Vec<u64> = proc::members(leader)
        .iter()
        .filter_map(|member| sockets_of(member.pid))
        .flatten()
        .collect();
    let sockets = listening().unwrap_or_default();
    let mut ports: Vec<u16> = sockets
        .iter()
        .filter(|socket| inodes.contains(&socket.inode))
        .map(|socket| socket.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The sockets that a connection to `host`:`port` would reach: those with the most exact address,
/// since the kernel prefers them to the ones that listen on every address.
fn reached(sockets: &[Listening], host: &str, port: u16) -> Vec<Listening> {
    let host = host.split(',').next().unwrap_or(host).trim();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let wanted: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) if host.is_empty() || host == "*" => vec![Ipv4Addr::UNSPECIFIED.into()],
        Err(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    // A server on every address is reached by us over loopback.
    let wanted: Vec<IpAddr> = wanted
        .into_iter()
        .map(|address| match address {
            IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        })
        .collect();
    let exact = |address: IpAddr| wanted.contains(&plain(address));
    let family = |address: IpAddr| wanted.iter().any(|want| want.is_ipv4() == address.is_ipv4());
    let on_port: Vec<Listening> =
        sockets.iter().copied().filter(|socket| socket.port == port).collect();
    let ranks: [&dyn Fn(IpAddr) -> bool; 3] = [
        &exact,
        &|address| address.is_unspecified() && family(address),
        // `[::]` takes IPv4 too, unless told otherwise.
        &|address| address.is_unspecified() && address.is_ipv6(),
    ];
    for rank in ranks {
        let found: Vec<Listening> =
            on_port.iter().copied().filter(|socket| rank(socket.address)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// `::ffff:127.0.0.1` is 127.0.0.1.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The socket inodes that a process holds; `None` if we may not look.
fn sockets_of(pid: i32) -> Option<Vec<u64>> {
    let folder = match std::fs::read_dir(proc::path(pid, "fd")) {
        Ok(folder) => folder,
        // Gone: it holds nothing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Vec::new()),
        Err(_) => return None,
    };
    Some(
        folder
            .filter_map(|entry| {
                let target = std::fs::read_link(entry.ok()?.path()).ok()?;
                target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str, inode: u64) -> Listening {
        Listening { address: address.parse().expect("an address"), port: 80, inode }
    }

    #[track_caller]
    fn check(host: &str, sockets: &[(&str, u64)], inodes: &[u64]) {
        let sockets: Vec<Listening> = sockets.iter().map(|(a, i)| socket(a, *i)).collect();
        let found: Vec<u64> = reached(&sockets, host, 80).iter().map(|s| s.inode).collect();
        assert_eq!(found, inodes, "{host}");
    }

    #[test]
    fn the_most_exact_address_is_reached() {
        check("127.0.0.1", &[("0.0.0.0", 1), ("127.0.0.1", 2)], &[2]);
        check("127.0.0.1", &[("0.0.0.0", 1), ("10.0.0.5", 2)], &[1]);
        check("127.0.0.1", &[("::", 1)], &[1]);
        check("127.0.0.1", &[("::1", 1)], &[]);
        check("127.0.0.1", &[("::ffff:127.0.0.1", 1)], &[1]);
        check("0.0.0.0", &[("0.0.0.0", 1)], &[1]);
        check("0.0.0.0", &[("127.0.0.1", 1), ("0.0.0.0", 2)], &[1]);
        check("::1", &[("0.0.0.0", 1), ("::", 2)], &[2]);
        check("localhost", &[("127.0.0.1", 1), ("::1", 2)], &[1, 2]);
        check("127.0.0.1", &[("127.0.0.1", 1), ("127.0.0.1", 2)], &[1, 2]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_listener_is_ours_and_a_stranger_to_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let own = i32::try_from(std::process::id()).expect("process numbers fit");
        assert_eq!(owner_of("127.0.0.1", port, Some(own)), Owner::Ours);
        match owner_of("127.0.0.1", port, None) {
            Owner::Stranger(stranger) => {
                assert_eq!(stranger.pid, Some(own));
                assert!(stranger.command.is_some());
            }
            other => panic!("{other:?}"),
        }
        assert!(!is_free("127.0.0.1", port).expect("known"));
        assert!(ports_of(own).contains(&port));
        drop(listener);
        assert_eq!(owner_of("127.0.0.1", port, Some(own)), Owner::Nobody);
    }
}
