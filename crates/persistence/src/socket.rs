//! The socket under a connection. libpq has one and Diesel does not hand it out, so it is found
//! among the descriptors of the process and duplicated: the duplicate can shut the connection down
//! while a call waits in libpq.
//!
//! Several threads connect at once, so "the new socket" is not enough. Over TCP the connection string carries
//! `tcp_user_timeout` with a value that no other connection has at this time: libpq sets it on its socket, and here it
//! is read back, as a mark, which replaces what the URL says of it. The milliseconds differ by one each, which changes nothing else. A Unix socket has no such
//! option: these are opened one at a time, under a lock.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::{fs, io};

use rustix::fd::AsRawFd as _;
use rustix::fs::fstat;
use rustix::net::sockopt::tcp_user_timeout;
use rustix::net::{Shutdown, SocketAddrUnix, getpeername, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// A duplicate of a connection's socket.
#[derive(Clone)]
pub(crate) struct Socket(Arc<OwnedFd>);

impl Socket {
    /// Ends the connection: a call that waits in libpq returns with an error.
    pub(crate) fn shut_down(&self) {
        // If this fails, the connection was closed already.
        let _not_connected = shutdown(&*self.0, Shutdown::Both);
    }
}

/// The sockets that were open before a connection was made, and the mark that the new one gets.
pub(crate) struct Before {
    sockets: HashSet<String>,
    /// The value of `TCP_USER_TIMEOUT`, which no other connection that is being made has.
    mark: u32,
    /// Whether the new one may be a Unix socket; one that is made at the same time elsewhere in the process has no mark.
    may_be_local: bool,
}

impl Before {
    pub(crate) fn now(mark: u32, may_be_local: bool) -> Self {
        let sockets = open_sockets().map(|sockets| sockets.map(|(_, name)| name).collect()).unwrap_or_default();
        Self { sockets, mark, may_be_local }
    }

    /// The socket that libpq has connected since. `None` unless exactly one can be: shutting down another's connection
    /// would be worse than waiting.
    pub(crate) fn find(&self) -> io::Result<Option<Socket>> {
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        // By inode: another thread that looks for its own may hold a duplicate for a moment.
        let mut found = BTreeMap::new();
        for (number, name) in open_sockets()? {
            if self.sockets.contains(&name) {
                continue;
            }
            // Another thread may have closed it since, or its number may be another file's: what was duplicated is
            // looked at below, not the number.
            let Ok(socket) = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()) else { continue };
            if self.is_postgres(&socket) {
                found.insert(fstat(&socket)?.st_ino, socket);
            }
        }
        let first = found.pop_first().filter(|_| found.is_empty());
        Ok(first.map(|(_, socket)| Socket(Arc::new(socket))))
    }

    fn is_postgres(&self, socket: &OwnedFd) -> bool {
        let Ok(Some(peer)) = getpeername(socket) else { return false };
        match SocketAddrUnix::try_from(peer) {
            Ok(peer) => {
                let name = peer.path_bytes().or_else(|| peer.abstract_name());
                self.may_be_local && name.is_some_and(is_postgres_path)
            }
            Err(_) => tcp_user_timeout(socket) == Ok(self.mark),
        }
    }
}

/// [PostgreSQL manual, `unix_socket_directories`](https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-UNIX-SOCKET-DIRECTORIES)
fn is_postgres_path(path: &[u8]) -> bool {
    let path = Path::new(std::str::from_utf8(path).unwrap_or_default());
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".s.PGSQL."))
}

/// The process's sockets: the descriptor, and the name by which the kernel knows the socket.
fn open_sockets() -> io::Result<impl Iterator<Item = (i32, String)>> {
    Ok(fs::read_dir("/proc/self/fd")?.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, name)).filter(|(_, name)| name.starts_with("socket:"))
    }))
}

/// Whether the process may duplicate its own descriptors like that. A filter of system calls may
/// forbid it, which the log says once.
pub(crate) fn can_be_found() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let own = pidfd_open(getpid(), PidfdFlags::empty());
        let found = own.and_then(|own| pidfd_getfd(&own, own.as_raw_fd(), PidfdGetfdFlags::empty()));
        if let Err(error) = &found {
            log::warn!(
                "the system call pidfd_getfd is not allowed ({error}), so each call of PostgreSQL takes a thread of its \
                 own: allow it, in a unit of systemd with SystemCallFilter=@system-service pidfd_getfd"
            );
        }
        found.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_one_new_socket_with_the_mark_is_found_and_can_be_shut_down() {
        assert!(can_be_found());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = |mark| {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            rustix::net::sockopt::set_tcp_user_timeout(&stream, mark).unwrap();
            stream
        };
        let _older = connect(4321);
        let before = Before::now(4321, false);
        assert!(before.find().unwrap().is_none());
        let (mut ours, _other) = (connect(4321), connect(4322));
        let _duplicate = ours.try_clone().unwrap();
        before.find().unwrap().unwrap().shut_down();
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        let _second = connect(4321);
        assert!(before.find().unwrap().is_none(), "two cannot be told apart");
    }

    #[test]
    fn a_postgres_socket_is_known_by_its_name() {
        assert!(is_postgres_path(b"/var/run/postgresql/.s.PGSQL.5432"));
        assert!(!is_postgres_path(b"/var/run/asterisk/asterisk.ctl"));
    }
}
