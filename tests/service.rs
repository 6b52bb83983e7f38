//! A portal whose Asterisk does not run: all of the API but a successful apply.

#![expect(clippy::expect_used, reason = "a test that fails says so at once")]

use std::os::unix::net::UnixDatagram;

use pbx_tests::wait::LIMIT;
use pbx_tests::{Asterisk, Cluster, Database, Portal, Settings};
use tempfile::TempDir;

pub(crate) struct Service {
    pub(crate) portal: Portal,
    pub(crate) database: Database,
    _asterisk: Asterisk,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    pub(crate) fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::on(Database::create(), change)
    }

    /// With a PostgreSQL of its own, to stop and to freeze.
    pub(crate) fn start_in(cluster: &Cluster) -> Self {
        let impatient = |settings: Settings| settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
        Self::on(Database::create_in(&cluster.url()), impatient)
    }

    fn on(database: Database, change: impl FnOnce(Settings) -> Settings) -> Self {
        let asterisk = Asterisk::configured();
        let portal = change(Settings::new(&database.url(), &asterisk)).start();
        Self { portal, database, _asterisk: asterisk }
    }
}

/// What systemd hears of the service.
pub(crate) struct Systemd {
    pub(crate) socket: UnixDatagram,
    directory: TempDir,
}

impl Systemd {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the socket");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("the socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        Self { socket, directory }
    }

    /// Of a service that has to be heard at least every so many microseconds.
    pub(crate) fn watches(&self, settings: Settings, microseconds: &str) -> Settings {
        let path = self.directory.path().join("notify");
        settings.with("NOTIFY_SOCKET", path.to_str().expect("a path")).with("WATCHDOG_USEC", microseconds)
    }

    /// The next word.
    pub(crate) fn hears(&self) -> String {
        let mut buffer = [0; 200];
        let length = self.socket.recv(&mut buffer).expect("a word to systemd");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }
}
