//! A private PostgreSQL cluster, for the tests that stop, freeze or restart the server itself.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::ports::Ports;
use crate::program::{Program, Signal};
use crate::wait::{until, within_limit};
use crate::{environment, simple_query};

/// A cluster of its own, gone with the value.
pub struct Cluster {
    server: Option<Program>,
    ports: Ports,
    owner: Owner,
    directory: TempDir,
}

impl Cluster {
    /// Makes and starts a cluster.
    pub fn start_new() -> Self {
        let owner = Owner::find();
        let directory = Self::directory(&owner);
        let mut copy = owner.command("cp");
        let status = copy.arg("-a").arg(Self::new_data(&owner).join(".")).arg(directory.path().join("data")).status();
        assert!(status.is_ok_and(|status| status.success()), "a copy of the new cluster");

        let mut cluster = Self { server: None, ports: Ports::reserve(), owner, directory };
        cluster.start();
        cluster
    }

    /// The data of a new cluster, to be copied: `initdb` takes ten times as long.
    fn new_data(owner: &Owner) -> &'static Path {
        static DATA: OnceLock<PathBuf> = OnceLock::new();
        DATA.get_or_init(|| {
            // Gone with the directory of all tests.
            let data = Self::directory(owner).keep().join("data");
            let mut initdb = owner.command("initdb");
            initdb.args(["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8"]);
            initdb.args(["--no-locale", "--pgdata"]).arg(&data);
            let output = initdb.output().unwrap_or_else(|error| panic!("cannot start initdb: {error}"));
            assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
            data
        })
    }

    /// A directory, with one of the owner's in it for the data.
    fn directory(owner: &Owner) -> TempDir {
        let directory = tempfile::Builder::new().prefix("pg-").tempdir().expect("a directory for the cluster");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("the directory's mode");
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("the cluster's data directory");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("the data directory's mode");
        owner.own(&data);
        directory
    }

    /// A standby that streams from this cluster, until [`Self::promote`] makes it a server of its own.
    #[must_use]
    pub fn standby(&self) -> Self {
        let owner = Owner::find();
        let directory = Self::directory(&owner);
        let mut copy = owner.command("pg_basebackup");
        copy.args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--dbname", &self.url(), "--pgdata"]);
        let output = copy.arg(directory.path().join("data")).output().expect("pg_basebackup");
        assert!(output.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut standby = Self { server: None, ports: Ports::reserve(), owner, directory };
        standby.start();
        standby
    }

    /// Cuts a standby of this cluster off, once it has all: what is committed from now on never comes there.
    pub fn leave_behind(&self, standby: &Self) {
        const STANDBYS: &str = "SELECT count(*) FROM pg_stat_replication";
        let run = |cluster: &Self, sql: &str| {
            simple_query::run(&cluster.url(), sql).unwrap_or_else(|error| panic!("{error}\nin {sql}"))
        };
        let up_to_date = format!("{STANDBYS} WHERE replay_lsn = pg_current_wal_lsn()");
        until("the standby to have all", || (run(self, &up_to_date) == "1").then_some(()));
        run(standby, "ALTER SYSTEM SET primary_conninfo = ''");
        run(standby, "SELECT pg_reload_conf()");
        until("the standby to be gone", || (run(self, STANDBYS) == "0").then_some(()));
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        let mut command = self.owner.command("pg_ctl");
        let output = command.arg("promote").arg("-D").arg(self.directory.path().join("data")).output();
        let output = output.expect("pg_ctl");
        assert!(output.status.success(), "pg_ctl promote failed: {}", String::from_utf8_lossy(&output.stdout));
    }

    /// Kills the server and all its connections as a power cut would.
    pub fn kill(&mut self) {
        // Frozen, it starts no more of them.
        self.freeze();
        let connections = self.connections();
        self.server.take().expect("PostgreSQL runs").kill();
        self.owner.signal("-KILL", &connections);
        until("PostgreSQL's processes to end", || {
            connections.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists()).then_some(())
        });
    }

    /// Where it listens: `127.0.0.1:…`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first())
    }

    /// The URL of the superuser's database, for [`crate::Database::create_in`].
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Starts the server, on the port it always had, and waits until it answers.
    pub fn start(&mut self) {
        let log = File::create(self.directory.path().join("log")).expect("the server's log");
        let mut command = self.owner.command("postgres");
        command.arg("-D").arg(self.directory.path().join("data")).arg("-p").arg(self.ports.first().to_string());
        // TCP on loopback alone; durability is a matter of figures only, for a cluster that lives for seconds.
        command.arg("-c").arg(format!("fsync={}", environment::fsync()));
        for option in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"] {
            command.arg("-c").arg(option);
        }
        command.stdout(log.try_clone().expect("the server's log")).stderr(log);
        self.server = Some(Program::start(command));
        until("the private PostgreSQL to answer", || {
            let program = self.server.as_mut().expect("just started");
            assert!(program.ended().is_none(), "PostgreSQL ended at its start:\n{}", self.log());
            let probe = Command::new("pg_isready")
                .args(["--quiet", "--host=127.0.0.1", "--port", &self.ports.first().to_string()])
                .status();
            probe.is_ok_and(|status| status.success()).then_some(())
        });
    }

    /// Stops the server at once: every connection breaks (a "fast" shutdown).
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("PostgreSQL runs");
        server.signal(Signal::INT);
        server.wait();
    }

    /// Stops the server as a crash of it would (an "immediate" shutdown): every connection breaks where it stands, and
    /// what it holds is not given to another that waits for it, as [`Self::stop`] may do.
    pub fn crash(&mut self) {
        let mut server = self.server.take().expect("PostgreSQL runs");
        server.signal(Signal::QUIT);
        server.wait();
    }

    /// Freezes the server and all its connections: nothing is refused, nothing answers.
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    /// What the server wrote to its log since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Every connection is a process in a session of its own; the server comes first, so that it starts no more.
    fn signal_all(&self, signal: &str) {
        let server = self.server.as_ref().expect("PostgreSQL runs").id();
        self.owner.signal(signal, &[server.to_string()]);
        let connections = self.connections();
        if !connections.is_empty() {
            self.owner.signal(signal, &connections);
        }
    }

    /// The server's processes.
    fn connections(&self) -> Vec<String> {
        let server = self.server.as_ref().expect("PostgreSQL runs").id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        children.expect("the server's processes").split_whitespace().map(str::to_owned).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.is_some() {
            // What is frozen has to be woken; then an "immediate" shutdown, which leaves nothing.
            self.thaw();
        }
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::QUIT);
            let _killed_otherwise = within_limit(|| server.ended());
        }
        self.remove_shared_memory();
    }
}

impl Cluster {
    /// A server that was killed leaves a segment of shared memory, whose id is in its lock file.
    fn remove_shared_memory(&self) {
        let lock = fs::read_to_string(self.directory.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(id) = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let _gone_already = Command::new("ipcrm").args(["--shmem-id", id]).stderr(Stdio::null()).status();
        }
    }
}

/// Whom the cluster belongs to: PostgreSQL refuses to run as root.
pub(crate) struct Owner {
    ids: Option<(u32, u32)>,
}

impl Owner {
    pub(crate) fn find() -> Self {
        let own = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
        if own.expect("the own user") != 0 {
            return Self { ids: None };
        }
        let users = fs::read_to_string("/etc/passwd").expect("the system's users");
        let ids = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        Self { ids: Some(ids.expect("root needs the user postgres, as the package postgresql makes it")) }
    }

    pub(crate) fn own(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            chown(path, Some(user), Some(group)).expect("the cluster's directory given to postgres");
        }
    }

    /// One of PostgreSQL's programs, to run as the owner.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).current_dir("/").env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    pub(crate) fn signal(&self, signal: &str, processes: &[String]) {
        let mut command = Command::new("kill");
        command.arg(signal).args(processes).stderr(Stdio::null());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        // A connection may have ended in between.
        let _gone = command.status();
    }
}
