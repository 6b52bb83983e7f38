//! What a round does, chosen before it begins by nothing but the seed and the round's number.

use std::time::Duration;

use pbx_tests::misbehaving::{BUSY, QUEUED, RELOADED};
use pbx_tests::{Behaviour, SocketFault};

use crate::faults::callers::CALLERS;
use crate::faults::soak::random::Random;

/// All choices of a round.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<PlannedChange>,
    pub(crate) applies: Vec<PlannedApply>,
    pub(crate) fault: Fault,
    /// When the fault begins, and for how long it lasts where it does not last until the applies have ended.
    pub(crate) begins: Duration,
    pub(crate) lasts: Duration,
    /// What Asterisk takes its time for, in milliseconds, so that an apply lasts until the fault has begun.
    pub(crate) slow: Option<(&'static str, u32)>,
    /// Whether a second portal of the same host serves and applies, too.
    pub(crate) two_portals: bool,
    /// Whether Asterisk is asked by the command alone.
    pub(crate) by_command: bool,
}

/// A change, after a pause. `pick` says which of those that are there.
#[derive(Debug)]
pub(crate) struct PlannedChange {
    pub(crate) pause: Duration,
    pub(crate) what: Change,
    pub(crate) pick: usize,
    pub(crate) portal: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Delete,
    Replace,
    Sql(Sql),
}

/// A change that somebody makes by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sql {
    Rename,
    /// A rename that the tenant's counter does not show.
    RenameWithRevisionPutBack,
    Move,
    Swap,
    NewCredential,
    Insert,
    Delete,
    RevisionAlone,
}

#[derive(Debug)]
pub(crate) struct PlannedApply {
    pub(crate) begins: Duration,
    /// Whether a dry run comes first, whose plan is then applied or nothing.
    pub(crate) is_reviewed: bool,
    pub(crate) portal: usize,
}

/// What goes wrong. All of it is well again at the end of the round.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    None,
    /// Asterisk misbehaves at commands like this one, so many times or until the applies have ended.
    Misbehaves {
        at: &'static str,
        how: Behaviour,
        times: Option<u32>,
    },
    Socket(SocketFault),
    /// A listing of hundreds of users whose reader stalls.
    StalledReader,
    FrozenAsterisk,
    KilledAsterisk,
    KilledPortal,
    StoppedPortal,
    KilledDatabase,
    FrozenDatabase,
    EndedConnections {
        times: u32,
    },
    HeldLock {
        sql: &'static str,
    },
    /// The `#include` line of this file is gone.
    LostInclude {
        file: &'static str,
    },
    EditedFile {
        which: usize,
        how: Edit,
        is_reloaded: bool,
    },
    /// A dump that is so many rounds old is restored.
    Restore {
        age: usize,
    },
    /// A standby that has lost touch becomes the primary.
    Failover,
    SilentNetwork {
        swallows: bool,
    },
    /// The network is cut, or falls silent, after so many packets.
    BreakingNetwork {
        packets: i64,
        is_cut: bool,
    },
    SlowNetwork {
        milliseconds: u64,
    },
    HostileCaller {
        from: &'static str,
    },
    /// The portals run with one wall clock, and then with another.
    Clock {
        first: &'static str,
        then: &'static str,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Comment,
    CutShort,
    Garbage,
    Removed,
}

/// So many rounds have every kind of fault once, in an order of their own.
pub(crate) const KINDS: u64 = 24;

const SLOW: [&str; 4] = ["module reload*", "module reload*", "pjsip show endpoints", "core waitfullybooted"];

impl Plan {
    pub(crate) fn of(seed: u64, round: u64) -> Self {
        let mut deck: Vec<u64> = (0..KINDS).collect();
        Random::of(seed, u64::MAX - round / KINDS).shuffle(&mut deck);
        let kind = deck[usize::try_from(round % KINDS).unwrap()];
        let random = &mut Random::of(seed, round);
        let changes = (0..random.between(2, 12)).map(|_| PlannedChange::random(random)).collect();
        let applies = (0..random.between(1, 3)).map(|_| PlannedApply::random(random)).collect();
        Self {
            changes,
            applies,
            fault: Fault::random(kind, random),
            begins: Duration::from_millis(random.between(0, 900)),
            lasts: Duration::from_millis(random.pick(&[50, 200, 600, 1500, 4500])),
            slow: (!random.one_in(3)).then(|| (random.pick(&SLOW), u32::try_from(random.between(100, 900)).unwrap())),
            two_portals: random.one_in(4),
            by_command: random.one_in(3),
        }
    }
}

impl PlannedChange {
    fn random(random: &mut Random) -> Self {
        let what = match random.below(20) {
            0..=7 => Change::Create,
            8..=11 => Change::Delete,
            12..=14 => Change::Replace,
            _ => Change::Sql(random.pick(&[
                Sql::Rename,
                Sql::RenameWithRevisionPutBack,
                Sql::Move,
                Sql::Swap,
                Sql::NewCredential,
                Sql::Insert,
                Sql::Delete,
                Sql::RevisionAlone,
            ])),
        };
        Self {
            pause: Duration::from_millis(random.between(0, 150)),
            what,
            pick: usize::try_from(random.below(1 << 30)).unwrap(),
            portal: usize::from(random.one_in(2)),
        }
    }
}

impl PlannedApply {
    fn random(random: &mut Random) -> Self {
        Self {
            begins: Duration::from_millis(random.between(50, 900)),
            is_reviewed: random.one_in(3),
            portal: usize::from(random.one_in(2)),
        }
    }
}

impl Fault {
    fn random(kind: u64, random: &mut Random) -> Self {
        match kind {
            0 => Self::None,
            1..=3 => Self::misbehaving(random),
            4 => Self::Socket(random.pick(&[
                SocketFault::Refused,
                SocketFault::Absent,
                SocketFault::Silent,
                SocketFault::NoBanner,
                SocketFault::Gibberish,
                SocketFault::Elsewhere,
                SocketFault::Gone,
                SocketFault::Verbose,
                SocketFault::Flood,
            ])),
            5 => Self::StalledReader,
            6 => Self::FrozenAsterisk,
            7 => Self::KilledAsterisk,
            8 | 9 => Self::KilledPortal,
            10 => Self::KilledDatabase,
            11 => Self::FrozenDatabase,
            12 => Self::EndedConnections { times: u32::try_from(random.between(1, 6)).unwrap() },
            13 => Self::HeldLock {
                sql: random.pick(&[
                    "LOCK TABLE apply_audit_log IN SHARE MODE",
                    "LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
                    "SELECT FROM tenants FOR UPDATE",
                    "LOCK TABLE extensions IN SHARE MODE",
                ]),
            },
            14 => Self::LostInclude { file: random.pick(&["pjsip.conf", "extensions.conf"]) },
            15 | 16 => Self::EditedFile {
                which: usize::from(random.one_in(2)),
                how: random.pick(&[Edit::Comment, Edit::CutShort, Edit::Garbage, Edit::Removed]),
                is_reloaded: random.one_in(2),
            },
            17 => Self::Restore { age: usize::try_from(random.below(4)).unwrap() },
            18 => Self::Failover,
            19 => Self::SilentNetwork { swallows: random.one_in(2) },
            20 => Self::BreakingNetwork { packets: i64::try_from(random.below(60)).unwrap(), is_cut: random.one_in(2) },
            21 => Self::HostileCaller { from: random.pick(&CALLERS).0 },
            22 => {
                Self::Clock { first: random.pick(&["+10y", "-20y", "+0"]), then: random.pick(&["+10y", "-20y", "-3s"]) }
            }
            _ => match random.below(2) {
                0 => Self::StoppedPortal,
                _ => Self::SlowNetwork { milliseconds: random.between(5, 80) },
            },
        }
    }

    fn misbehaving(random: &mut Random) -> Self {
        const LISTINGS: [&str; 3] = ["pjsip show endpoints", "dialplan show*", "pjsip list aors*"];
        let say = |text: &str| Behaviour::Say(text.to_owned());
        let late = Behaviour::Delay(u32::try_from(random.between(20, 4000)).unwrap());
        let (at, how) = match random.below(3) {
            0 => {
                let half = "Module 'res_pjsip.so' reloaded successfully.\nNo such module 'pbx_config.so'\n";
                let says = [say(BUSY), say(QUEUED), say(RELOADED), say(half), say("")];
                let ends = [Behaviour::Hang, Behaviour::HangWithChild, Behaviour::HangAfterwards, Behaviour::Silence];
                let rest = [Behaviour::Half, Behaviour::Flood, Behaviour::Exit(1), late];
                ("module reload*", random.pick(&[&says[..], &ends, &rest].concat()))
            }
            1 => {
                let says = [say("No objects found.\n"), say("No such command\n")];
                let rest =
                    [Behaviour::Hang, Behaviour::Silence, Behaviour::Half, Behaviour::Flood, Behaviour::Exit(1), late];
                (random.pick(&LISTINGS), random.pick(&[&says[..], &rest].concat()))
            }
            _ => {
                let others = ["core waitfullybooted", "core show settings", "database show*", "database del*"];
                let hows = [Behaviour::Hang, Behaviour::Silence, Behaviour::Exit(1), late];
                (random.pick(&others), random.pick(&hows))
            }
        };
        Self::Misbehaves { at, how, times: random.pick(&[None, Some(1), Some(2), Some(3)]) }
    }

    /// What it is, for a line of the report.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }

    /// Whether every apply has to end well all the same.
    pub(crate) fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::None
                | Self::StalledReader
                | Self::HostileCaller { .. }
                | Self::Clock { .. }
                | Self::SlowNetwork { .. }
                | Self::Socket(SocketFault::Verbose | SocketFault::Absent | SocketFault::Refused)
        )
    }

    /// Whether a request may find a database without its tables, which is answered 500.
    pub(crate) fn takes_tables(&self) -> bool {
        matches!(self, Self::Restore { .. })
    }

    /// Whether the database may lose what it had acknowledged.
    pub(crate) fn rewinds(&self) -> bool {
        matches!(self, Self::Restore { .. } | Self::Failover)
    }
}
