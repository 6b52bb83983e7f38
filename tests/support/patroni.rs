//! PostgreSQL that fails over by itself: three members under Patroni and one etcd, as Debian packages them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::Owner;
use crate::http::Http;
use crate::link::Link;
use crate::ports::Ports;
use crate::program::{Program, Signal};
use crate::simple_query;
use crate::wait::until;

const MEMBERS: u16 = 3;

/// Waits until the test is gone, however it ended, and then for nothing: whatever works below the directory is killed.
/// A PostgreSQL that Patroni started is nobody's child, and a frozen one takes no other signal.
const GUARD: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
for look in 1 2 3; do
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd") in "$1"/*) kill -KILL "${process#/proc/}" ;; esac
  done
done
for lock in "$1"/*/data/postmaster.pid; do
  [ ! -e "$lock" ] || ipcrm --shmem-id "$(sed -n '7s/.* //p' "$lock")"
done
"#;

/// Three members that replicate synchronously, about 15 s old when a test gets them; gone with the value.
pub struct Patroni {
    members: Vec<Member>,
    etcd: Option<Program>,
    guard: Child,
    ports: Ports,
    owner: Owner,
    directory: TempDir,
}

/// A PostgreSQL and its Patroni.
struct Member {
    patroni: Option<Program>,
    /// What lies between its Patroni and etcd.
    link: Link,
    directory: PathBuf,
}

impl Patroni {
    /// Starts all of it and waits until a failover would lose nothing. Without `synchronous`, one may.
    pub fn start_new(synchronous: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("patroni-").tempdir().expect("a directory for Patroni");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("the directory's mode");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(directory.path());
        let guard = guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sh");
        let (ports, owner) = (Ports::reserve(), Owner::find());
        let mut patroni = Self { members: Vec::new(), etcd: None, guard, ports, owner, directory };
        patroni.etcd = Some(patroni.start_etcd());
        // A Patroni that meets an etcd without a version ends.
        let etcd = Http::new(&format!("http://{}", patroni.etcd_address()), None);
        until("etcd to decide its version", || {
            etcd.try_get("/version").filter(|answer| answer.json["etcdcluster"] != "not_decided").map(drop)
        });
        for number in 0..MEMBERS {
            let directory = patroni.directory(&format!("member{number}"));
            let link = Link::to(patroni.etcd_address());
            let settings = patroni.settings(number, &directory, &link, synchronous);
            fs::write(directory.join("patroni.yml"), settings).expect("Patroni's settings");
            patroni.members.push(Member { patroni: None, link, directory });
            patroni.start(usize::from(number));
        }
        patroni.wait_until_safe(synchronous);
        patroni
    }

    /// The addresses of all members, as a URL of libpq's lists them.
    pub fn hosts(&self) -> String {
        (0..MEMBERS).map(|member| self.address(member)).collect::<Vec<_>>().join(",")
    }

    /// The URL of the superuser's database on whichever member takes writes.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres?target_session_attrs=read-write", self.hosts())
    }

    /// Waits until all members run and the next failover would lose nothing; gives the leader.
    pub fn wait_until_safe(&self, synchronous: bool) -> usize {
        until("three members, with a synchronous standby", || {
            let states = self.states()?;
            let of_role = |role: &str| states.iter().filter(|state| state["role"] == role).count();
            let run = |state: &&Value| ["running", "streaming"].contains(&state["state"].as_str().unwrap_or_default());
            let same_timeline = states.iter().all(|state| state["timeline"] == states[0]["timeline"]);
            let all = states.iter().filter(run).count() == usize::from(MEMBERS) && same_timeline;
            let enough = of_role("sync_standby") >= 1 || (!synchronous && of_role("replica") == 2);
            let leader = states.iter().find(|state| state["role"] == "leader")?["name"].as_str()?;
            (all && enough).then(|| leader.trim_start_matches("member").parse().expect("a member's number"))
        })
    }

    /// Waits until another member than `former` takes writes.
    pub fn wait_for_promotion(&self, former: usize) {
        until("a standby to be promoted", || {
            let mut others = (0..MEMBERS).filter(|member| usize::from(*member) != former);
            let is_primary = |member: u16| {
                let url = format!("postgres://postgres@{}/postgres", self.address(member));
                simple_query::run(&url, "SELECT pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
            };
            others.any(is_primary).then_some(())
        });
    }

    /// Kills a member, its Patroni first, as a power cut would.
    pub fn kill(&mut self, member: usize) {
        self.members[member].patroni.take().expect("Patroni runs").kill();
        self.signal_postgres(member, "-KILL");
    }

    /// Freezes a member, with its Patroni: nothing is refused, nothing answers.
    pub fn hang(&self, member: usize) {
        self.members[member].patroni.as_ref().expect("Patroni runs").signal(Signal::STOP);
        self.signal_postgres(member, "-STOP");
    }

    /// Cuts a member's Patroni off from etcd; its PostgreSQL is reached as before.
    pub fn cut_off(&self, member: usize) {
        self.members[member].link.set_cut(true);
    }

    /// Ends [`Self::kill`], [`Self::hang`] and [`Self::cut_off`]: the member comes back, and finds that it leads no more.
    pub fn repair(&mut self, member: usize) {
        self.members[member].link.set_cut(false);
        match &self.members[member].patroni {
            Some(patroni) => {
                self.signal_postgres(member, "-CONT");
                patroni.signal(Signal::CONT);
            }
            None => self.start(member),
        }
    }

    /// What Patroni says of each member.
    fn states(&self) -> Option<Vec<Value>> {
        let ask = |member| Http::new(&format!("http://{}", self.rest_address(member)), None).try_get("/cluster");
        let answer = (0..MEMBERS).find_map(ask)?;
        answer.json["members"].as_array().filter(|members| members.len() == usize::from(MEMBERS)).cloned()
    }

    fn address(&self, member: u16) -> String {
        format!("127.0.0.1:{}", self.ports.first() + 2 + member)
    }

    fn rest_address(&self, member: u16) -> String {
        format!("127.0.0.1:{}", self.ports.first() + 2 + MEMBERS + member)
    }

    fn etcd_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.first())
    }

    /// A directory of the owner's.
    fn directory(&self, name: &str) -> PathBuf {
        let directory = self.directory.path().join(name);
        fs::create_dir(&directory).expect("a member's directory");
        self.owner.own(&directory);
        directory
    }

    fn start_etcd(&self) -> Program {
        let directory = self.directory("etcd");
        let client = format!("http://{}", self.etcd_address());
        let peer = format!("http://127.0.0.1:{}", self.ports.first() + 1);
        let mut command = self.owner.command("etcd");
        command.args(["--name=etcd", "--data-dir=data", "--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer]);
        command.args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("etcd={peer}")]);
        command.current_dir(&directory);
        logged(command, &directory)
    }

    fn start(&mut self, member: usize) {
        let directory = &self.members[member].directory;
        let mut command = self.owner.command("patroni");
        command.arg("patroni.yml").current_dir(directory);
        let program = logged(command, directory);
        self.members[member].patroni = Some(program);
    }

    fn settings(&self, number: u16, directory: &Path, link: &Link, synchronous: bool) -> String {
        let (rest, address, link) = (self.rest_address(number), self.address(number), link.port());
        let data = directory.join("data");
        // The shortest times that Patroni takes. An administrator's are in docs/operations.md.
        format!(
            "scope: pbx
name: member{number}
restapi: {{listen: '{rest}', connect_address: '{rest}'}}
etcd3: {{hosts: '127.0.0.1:{link}', use_proxies: true}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: {synchronous}
    synchronous_mode_strict: {synchronous}
    postgresql: {{use_pg_rewind: true, parameters: {{wal_retrieve_retry_interval: 500ms}}}}
  initdb: [{{encoding: UTF8}}, no-locale]
postgresql:
  listen: '{address}'
  connect_address: '{address}'
  data_dir: '{data}'
  pgpass: '{directory}/pgpass'
  pg_hba: ['host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
  authentication: {{superuser: {{username: postgres}}, replication: {{username: replicator}}}}
  parameters: {{unix_socket_directories: ''}}
",
            data = data.display(),
            directory = directory.display(),
        )
    }

    /// Every connection is a process in a session of its own; the server comes first, so that it starts no more.
    fn signal_postgres(&self, member: usize, signal: &str) {
        let lock = self.members[member].directory.join("data/postmaster.pid");
        let Ok(lock) = fs::read_to_string(lock) else { return };
        let server = lock.lines().next().expect("the server's process id").to_owned();
        let children = format!("/proc/{server}/task/{server}/children");
        if signal != "-KILL" {
            self.owner.signal(signal, std::slice::from_ref(&server));
        }
        let children = fs::read_to_string(children).unwrap_or_default();
        let mut processes: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        processes.insert(0, server);
        self.owner.signal(signal, &processes);
    }
}

/// Starts a program that writes to the file `log` of its directory.
fn logged(mut command: Command, directory: &Path) -> Program {
    let log = File::options().create(true).append(true).open(directory.join("log")).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    Program::start(command)
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if thread::panicking() {
            for member in &self.members {
                let log = fs::read_to_string(member.directory.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("The end of {}'s log:", member.directory.display());
                last.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}
