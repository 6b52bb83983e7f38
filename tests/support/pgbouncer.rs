//! A pooler (`PgBouncer`) before a private cluster.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::cluster::{Cluster, Owner};
use crate::ports::Ports;
use crate::program::Program;
use crate::simple_query;
use crate::wait::until;

/// A running `PgBouncer` with two connections to its server, gone with the value.
pub struct PgBouncer {
    program: Program,
    ports: Ports,
    owner: Owner,
    directory: TempDir,
}

impl PgBouncer {
    /// Starts one in a `pool_mode` of `session` or `transaction`.
    pub fn start_new(cluster: &Cluster, pool_mode: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("bouncer-").tempdir().expect("a directory for PgBouncer");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("the directory's mode");
        let (ports, owner) = (Ports::reserve(), Owner::find());
        let address = cluster.address();
        let (host, port) = address.split_once(':').expect("host and port");
        let settings = format!(
            "[databases]\n* = host={host} port={port} user=postgres pool_size=2\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\n",
            ports.first()
        );
        fs::write(directory.path().join("pgbouncer.ini"), settings).expect("PgBouncer's settings");
        let program = Self::start(&owner, &directory);
        let bouncer = Self { program, ports, owner, directory };
        bouncer.wait_until_ready();
        bouncer
    }

    /// Where it listens: `127.0.0.1:…`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first())
    }

    /// Kills it and starts it again: every connection breaks.
    pub fn restart(&mut self) {
        self.program.kill();
        self.program = Self::start(&self.owner, &self.directory);
        self.wait_until_ready();
    }

    fn start(owner: &Owner, directory: &TempDir) -> Program {
        let mut command = owner.command("pgbouncer");
        command.arg("pgbouncer.ini").current_dir(directory.path());
        let log = File::create(directory.path().join("log")).expect("PgBouncer's log");
        command.stdout(log.try_clone().expect("PgBouncer's log")).stderr(log);
        Program::start(command)
    }

    fn wait_until_ready(&self) {
        let url = format!("postgres://postgres@{}/postgres", self.address());
        until("PgBouncer to answer", || simple_query::run(&url, "SELECT 1").ok());
    }
}
