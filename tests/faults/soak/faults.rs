//! What goes wrong in a round, and how it is well again.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pbx_tests::{Behaviour, HostileCall, Portal, SocketFault, bulk_users};

use crate::faults::soak::changes::Changes;
use crate::faults::soak::model::Rewind;
use crate::faults::soak::observed::{Pair, Users};
use crate::faults::soak::plan::{Edit, Fault, Plan};
use crate::faults::soak::world::{Parts, Shared};

/// What a fault did that the promises have to know of.
#[derive(Default)]
pub(crate) struct Suffered {
    pub(crate) rewind: Option<Rewind>,
    /// The files before and after they were edited by hand.
    pub(crate) edited: Option<(Pair, Pair)>,
}

impl Parts {
    /// Does what the plan says, and undoes it. `applies_over` waits for the end of the applies.
    #[expect(clippy::too_many_lines, reason = "an arm for each fault")]
    pub(crate) fn suffer(
        &mut self,
        shared: &Shared,
        plan: &Plan,
        dumps: &[(String, Users)],
        start: &Users,
        changes: &Changes,
        applies_over: &dyn Fn(),
    ) -> Suffered {
        let wait = || thread::sleep(plan.lasts);
        let mut suffered = Suffered::default();
        match &plan.fault {
            Fault::None => applies_over(),
            Fault::Misbehaves { at, how, times } => {
                match times {
                    Some(times) => self.stand_in.on_next(*times, at, how),
                    None => self.stand_in.on(at, how),
                }
                applies_over();
            }
            Fault::Socket(fault) => self.suffer_socket(*fault, applies_over),
            Fault::StalledReader => {
                changes.bulk(shared, &bulk_users(1201..=1900));
                self.stand_in.on_next(2, "dialplan show synergycall-users", &Behaviour::Stall);
                applies_over();
                changes.bulk(shared, "DELETE FROM users WHERE email LIKE 'bulk%'");
            }
            Fault::FrozenAsterisk => {
                self.asterisk.freeze();
                wait();
                self.asterisk.thaw();
            }
            Fault::KilledAsterisk => {
                self.asterisk.kill();
                thread::sleep(plan.lasts.min(Duration::from_millis(1500)));
                self.asterisk.start();
            }
            Fault::KilledPortal => {
                let pause = plan.lasts.min(Duration::from_millis(600));
                self.replace_portal(shared, plan.changes.len(), Portal::kill, || thread::sleep(pause));
            }
            Fault::StoppedPortal => self.replace_portal(
                shared,
                plan.changes.len(),
                |portal| {
                    let status = portal.stop();
                    assert!(status.success(), "the portal stopped with {status}:\n{}", portal.log());
                },
                || (),
            ),
            Fault::KilledDatabase => {
                self.cluster.kill();
                wait();
                self.cluster.start();
            }
            Fault::FrozenDatabase => {
                self.cluster.freeze();
                wait();
                self.cluster.thaw();
            }
            Fault::EndedConnections { times } => {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                for _ in 0..*times {
                    shared.database.read().unwrap().sql(sql);
                    thread::sleep(plan.lasts.min(Duration::from_millis(200)));
                }
            }
            Fault::HeldLock { sql } => {
                let lock = shared.database.read().unwrap().begin(sql);
                wait();
                drop(lock);
            }
            Fault::LostInclude { file } => {
                let path = self.asterisk.etc().join(file);
                let text = fs::read_to_string(&path).unwrap();
                self.asterisk.remove_include(file);
                applies_over();
                fs::write(path, text).unwrap();
            }
            Fault::EditedFile { which, how, is_reloaded } => {
                suffered.edited = Some(self.edit(*which, *how));
                if *is_reloaded {
                    self.asterisk.rx("module reload res_pjsip.so pbx_config.so");
                }
                applies_over();
            }
            Fault::Restore { age } => {
                let (dump, users) = &dumps[dumps.len() - 1 - age % dumps.len()];
                let began = Instant::now();
                shared.database.read().unwrap().restore(dump);
                suffered.rewind = Some(Rewind { began, ended: Instant::now(), to: users.clone() });
            }
            Fault::Failover => {
                let began = Instant::now();
                self.cluster.kill();
                let standby = self.standby.as_ref().unwrap();
                standby.promote();
                let mut database = shared.database.write().unwrap();
                *database = database.copy_in(&standby.url());
                suffered.rewind = Some(Rewind { began, ended: Instant::now(), to: start.clone() });
            }
            Fault::SilentNetwork { swallows } => {
                self.proxy.silence_open_connections();
                self.proxy.swallow_new_connections(*swallows);
                wait();
                self.proxy.heal();
            }
            Fault::BreakingNetwork { packets, is_cut } => {
                if *is_cut {
                    self.proxy.cut_after(*packets);
                } else {
                    self.proxy.silence_after(*packets);
                }
                applies_over();
                self.proxy.heal();
            }
            Fault::SlowNetwork { milliseconds } => {
                self.proxy.set_round_trip(Duration::from_millis(*milliseconds));
                applies_over();
                self.proxy.set_round_trip(Duration::ZERO);
            }
            Fault::HostileCaller { from } => {
                let callee = self.bystander.answering();
                let call = HostileCall::start(&self.asterisk, from);
                applies_over();
                drop(call);
                drop(callee);
            }
            Fault::Clock { then, .. } => {
                self.set_clock(then);
                applies_over();
            }
        }
        suffered
    }

    fn suffer_socket(&mut self, fault: SocketFault, applies_over: &dyn Fn()) {
        let socket = self.asterisk.home().join("stand-in/asterisk.ctl");
        let aside = socket.with_extension("aside");
        match fault {
            SocketFault::Absent | SocketFault::Refused => {
                fs::rename(&socket, &aside).unwrap();
                if fault == SocketFault::Refused {
                    drop(UnixListener::bind(&socket).unwrap());
                }
                applies_over();
                fs::rename(&aside, &socket).unwrap();
            }
            _ => {
                self.stand_in.socket(fault);
                applies_over();
                self.stand_in.socket(SocketFault::None);
            }
        }
    }

    /// Edits a file as an editor does: what is there is read, and replaced as a whole.
    fn edit(&self, which: usize, how: Edit) -> (Pair, Pair) {
        let before = Pair::on_disk(&self.asterisk);
        let mut after = before.clone();
        let (path, text) = match which {
            0 => (self.asterisk.pjsip_include(), &mut after.endpoints),
            _ => (self.asterisk.dialplan_include(), &mut after.routing),
        };
        match how {
            Edit::Comment => text.push_str("; edited by hand\n"),
            Edit::CutShort => text.truncate(text.len() * 2 / 3),
            Edit::Garbage => "[[ nothing that Asterisk\nunderstands = (\n".clone_into(text),
            Edit::Removed => text.clear(),
        }
        if matches!(how, Edit::Removed) {
            fs::remove_file(path).unwrap();
        } else {
            let draft: PathBuf = self.asterisk.home().join("draft");
            fs::write(&draft, &text).unwrap();
            fs::rename(draft, path).unwrap();
        }
        (before, after)
    }
}
