//! Portals beside a real Asterisk and a PostgreSQL of their own, each reached through something that can misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::RwLock;

use pbx_tests::{Asterisk, Behaviour, Cluster, Database, Http, MisbehavingAsterisk, Phone, Portal, Proxy, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::faults::callers;
use crate::faults::clock::with_clock;
use crate::faults::soak::observed::{self, Pair, Users};
use crate::faults::soak::plan::{Fault, Plan};

/// Whose number is 1000 for good.
pub(crate) const BYSTANDER: &str = "bystander@example.com";

pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) parts: Parts,
    /// The users at the end of the last round.
    pub(crate) users: Users,
    /// The digests of the pair that was proven at the end of the last round.
    pub(crate) proven: [String; 2],
    /// Dumps and what they hold, the newest last.
    pub(crate) dumps: Vec<(String, Users)>,
    /// The password of each user who was not changed by hand since.
    pub(crate) passwords: BTreeMap<String, String>,
    /// The digest of the user whose phone registered at a number.
    pub(crate) registered: BTreeMap<u16, String>,
    /// How many records may wait: of a database that lost them, or of applies that PostgreSQL may never have begun.
    pub(crate) lost_records: usize,
}

/// What callers use while a fault changes it.
pub(crate) struct Shared {
    pub(crate) https: RwLock<Vec<Http>>,
    pub(crate) database: RwLock<Database>,
}

impl Shared {
    /// The portal of this number, of those that there are.
    pub(crate) fn http(&self, number: usize) -> Http {
        let https = self.https.read().unwrap();
        https[number % https.len()].clone()
    }

    pub(crate) fn users(&self) -> Result<Users, String> {
        observed::users(&self.database.read().unwrap())
    }
}

/// What a fault is done to.
pub(crate) struct Parts {
    pub(crate) portals: Vec<Portal>,
    settings: Settings,
    pub(crate) stand_in: MisbehavingAsterisk,
    /// How the portals ask it.
    by_command: bool,
    pub(crate) bystander: Phone,
    pub(crate) asterisk: Asterisk,
    pub(crate) proxy: Proxy,
    pub(crate) cluster: Cluster,
    pub(crate) standby: Option<Cluster>,
    directory: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::start_new();
        let database = Database::create_in(&cluster.url());
        let proxy = Proxy::to(&cluster.address());
        let asterisk = callers::asterisk_with_callers();
        let stand_in = MisbehavingAsterisk::before(&asterisk);
        let settings = Settings::new(&proxy.through(&database.url()), &asterisk)
            .with("PBX_PORTAL__ASTERISK__COMMAND", &stand_in.command())
            .with_patience(3, 12)
            .with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
        let portal = settings.start();
        let user = portal.create_user("bystander", BYSTANDER);
        let bystander = Phone::of(&asterisk, &user);
        portal.http().post_empty("/apply").expect(200);
        let users = observed::users(&database).unwrap();
        assert_eq!(bystander.register(), 200);
        let registered = users.values().map(|row| (row.extension, row.ha1.clone())).collect();
        let shared = Shared { https: RwLock::new(vec![portal.http().clone()]), database: RwLock::new(database) };
        let parts = Parts {
            portals: vec![portal],
            settings,
            stand_in,
            by_command: false,
            bystander,
            asterisk,
            proxy,
            cluster,
            standby: None,
            directory: tempfile::tempdir().unwrap(),
        };
        let proven = Pair::of(&users).sha256();
        Self {
            shared,
            parts,
            users,
            proven,
            dumps: Vec::new(),
            passwords: BTreeMap::new(),
            registered,
            lost_records: 0,
        }
    }

    /// Brings about what a round begins with.
    pub(crate) fn prepare(&mut self, plan: &Plan) {
        let (shared, parts) = (&self.shared, &mut self.parts);
        if plan.by_command {
            parts.stand_in.ask_by_command();
        } else {
            parts.stand_in.ask_by_socket();
        }
        // Who knows a way to ask goes on with it.
        let is_another_way = std::mem::replace(&mut parts.by_command, plan.by_command) != plan.by_command;
        if let (Some((at, milliseconds)), false) = (plan.slow, matches!(plan.fault, Fault::Misbehaves { .. })) {
            parts.stand_in.on(at, &Behaviour::Delay(milliseconds));
        }
        match &plan.fault {
            Fault::Failover => {
                let urls = parts.follow(&shared.database.read().unwrap());
                let settings = parts.settings.clone().with("DATABASE_URL", &urls);
                parts.restart(shared, &settings, 1 + usize::from(plan.two_portals));
            }
            Fault::Clock { first, .. } => {
                let settings = parts.with_clock(first);
                parts.restart(shared, &settings, 1 + usize::from(plan.two_portals));
            }
            _ if is_another_way => {
                let settings = parts.settings.clone();
                parts.restart(shared, &settings, 1 + usize::from(plan.two_portals));
            }
            _ => parts.have(shared, 1 + usize::from(plan.two_portals)),
        }
    }

    /// Undoes what [`Self::prepare`] changed about the portals.
    pub(crate) fn restore(&mut self, plan: &Plan) {
        let (shared, parts) = (&self.shared, &mut self.parts);
        parts.stand_in.behave();
        match &plan.fault {
            Fault::Failover => {
                let cluster = parts.standby.take().unwrap();
                let proxy = Proxy::to(&cluster.address());
                let url = proxy.through(&shared.database.read().unwrap().url());
                parts.settings = parts.settings.clone().with("DATABASE_URL", &url);
                (parts.cluster, parts.proxy) = (cluster, proxy);
            }
            Fault::Clock { .. } => {}
            _ => return,
        }
        let settings = parts.settings.clone();
        parts.restart(shared, &settings, parts.portals.len());
    }
}

impl Parts {
    /// Makes a standby that has all and gets no more; the URL of both.
    fn follow(&mut self, database: &Database) -> String {
        let standby = self.cluster.standby();
        self.cluster.leave_behind(&standby);
        // Without the network between them: whoever accepts a connection is no host to go on from.
        let both = format!("{},{}", self.cluster.address(), standby.address());
        let url = database.url().replace(&self.cluster.address(), &both) + "?target_session_attrs=read-write";
        self.standby = Some(standby);
        url
    }

    fn with_clock(&self, time: &str) -> Settings {
        with_clock(self.settings.clone(), &self.clock(), time)
    }

    /// Portals that were started with a clock of their own have this one from now on.
    pub(crate) fn set_clock(&self, time: &str) {
        fs::write(self.clock(), time).unwrap();
    }

    fn clock(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// Stops all portals and starts so many.
    fn restart(&mut self, shared: &Shared, settings: &Settings, count: usize) {
        for mut portal in self.portals.drain(..) {
            let status = portal.stop();
            assert!(status.success(), "a portal stopped with {status}:\n{}", portal.log());
        }
        self.portals = (0..count).map(|_| settings.start()).collect();
        self.announce(shared);
    }

    /// Lets so many portals run.
    fn have(&mut self, shared: &Shared, count: usize) {
        while self.portals.len() > count {
            let status = self.portals.pop().unwrap().stop();
            assert!(status.success(), "a portal stopped with {status}");
        }
        while self.portals.len() < count {
            self.portals.push(self.settings.start());
        }
        self.announce(shared);
    }

    fn announce(&self, shared: &Shared) {
        *shared.https.write().unwrap() = self.portals.iter().map(|portal| portal.http().clone()).collect();
    }

    /// Ends a portal by `how` and starts it again after `then`.
    pub(crate) fn replace_portal(
        &mut self,
        shared: &Shared,
        number: usize,
        how: impl FnOnce(&mut Portal),
        then: impl FnOnce(),
    ) {
        let number = number % self.portals.len();
        let portal = &mut self.portals[number];
        let settings = portal.settings().clone();
        let children = observed::descendants(portal.id());
        how(portal);
        // What a service manager does with what is left of a service.
        for child in children {
            let child = Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
            // Most ended by themselves.
            let _gone = kill_process(child, Signal::KILL);
        }
        then();
        self.portals[number] = settings.start();
        self.announce(shared);
    }

    /// The directory that holds what must outlive a crash.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.settings.state_dir()
    }
}
