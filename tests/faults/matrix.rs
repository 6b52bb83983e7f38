//! What `POST /apply` makes of each fault, as data: the tests compare the real thing with a row of this table, and the
//! table in the documentation is made from the same rows.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// A fault, and the expected result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) status: u16,
    /// The problem's code; empty where there is none.
    pub(crate) code: &'static str,
    /// The outcome in the answer and in the audit record.
    pub(crate) outcome: &'static str,
    pub(crate) disk: Files,
    pub(crate) live: Live,
}

/// Which pair of include files lies on disk after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    Old,
    New,
    /// The fault took them away, and nothing was put in their place.
    Gone,
    /// The new pair or a part of it, which cannot be replaced.
    Stuck,
}

/// What Asterisk runs after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// Exactly what it ran before.
    Old,
    /// Exactly what is in the database.
    New,
    /// Nothing: it is down, and starts with the old pair.
    Down,
    /// It hangs; what it runs shows when it continues, and the next apply corrects it.
    Hung,
    /// Not all of ours: an `#include` line or a module is missing.
    NotOurs,
    /// Any: whatever the apply installed is not rolled back while the files are stuck.
    Stuck,
}

/// Makes two things of each row: a row of the table, and a constant, of which the compiler complains unless a test uses
/// it.
macro_rules! rows {
    ($($name:ident: $fault:literal => $status:literal $code:literal, $outcome:literal, $disk:ident, $live:ident;)*) => {
        const ROWS: &[Row] = &[$(rows!(@row $fault, $status, $code, $outcome, $disk, $live)),*];
        $(pub(crate) const $name: Row = rows!(@row $fault, $status, $code, $outcome, $disk, $live);)*
    };
    (@row $fault:literal, $status:literal, $code:literal, $outcome:literal, $disk:ident, $live:ident) => {
        Row { fault: $fault, status: $status, code: $code, outcome: $outcome, disk: Files::$disk, live: Live::$live }
    };
}

rows! {
    HUNG_BEFORE: "Asterisk hangs before the apply" => 503 "asterisk-unavailable", "refused", Old, Old;
    HUNG_DURING: "Asterisk hangs at the reload" => 504 "asterisk-timeout", "rollback_failed", Old, Hung;
    HUNG_AFTER: "Asterisk hangs after the reload" => 504 "asterisk-timeout", "rollback_failed", Old, Hung;
    CLIENT_HUNG: "Asterisk reloads, and its answer never comes" => 200 "", "applied", New, New;
    HUNG_FOR_A_WHILE: "Asterisk hangs at the reload, and continues for the rollback"
        => 504 "asterisk-timeout", "rolled_back", Old, Old;
    DOWN: "Asterisk is down" => 503 "asterisk-unavailable", "refused", Old, Down;
    BOOTING: "Asterisk boots" => 200 "", "applied", New, New;
    QUEUED: "Asterisk boots again at the reload" => 200 "", "applied", New, New;
    KILLED_DURING: "Asterisk is killed at the reload" => 502 "apply-rejected", "rollback_failed", Old, Down;
    KILLED_AFTER: "Asterisk is killed after the reload" => 502 "apply-rejected", "rollback_failed", Old, Down;
    RESTARTED_BETWEEN: "Asterisk was restarted between two applies" => 200 "", "applied", New, New;
    STARTED_WITHOUT: "Asterisk was started without the dialplan's file" => 200 "", "applied", New, New;
    UNLOADED: "Asterisk's module `pbx_config` was unloaded by hand" => 502 "apply-rejected", "rollback_failed", Old, NotOurs;
    BUSY_FOR_A_WHILE: "Asterisk is busy with other reloads for a while" => 200 "", "applied", New, New;
    BUSY_FOR_EVER: "Asterisk is busy with other reloads for ever" => 503 "apply-busy", "rolled_back", Old, Old;
    NOTHING_RELOADED: "Asterisk says success and reloads nothing" => 502 "apply-rejected", "rolled_back", Old, Old;
    ONE_MODULE: "Asterisk reloads one module of two" => 502 "apply-rejected", "rolled_back", Old, Old;
    SILENT_RELOAD: "Asterisk reloads nothing and prints nothing, once" => 502 "apply-rejected", "rolled_back", Old, Old;
    NO_ROLLBACK: "Asterisk prints nothing at the reload, and is busy with other reloads from then on"
        => 502 "apply-rejected", "rollback_failed", Old, Old;
    SILENT_LISTING: "Asterisk prints nothing when asked what it runs" => 502 "apply-rejected", "rollback_failed", Old, Old;
    HALF_A_RELOAD: "Asterisk reloads and prints half of its answer" => 502 "apply-rejected", "rolled_back", Old, Old;
    HALF_A_LISTING: "Asterisk prints half of what it runs, for a while" => 200 "", "applied", New, New;
    HALF_LISTINGS: "Asterisk prints half of what it runs, for ever" => 502 "apply-rejected", "rollback_failed", Old, Old;
    STALLED_READER: "Asterisk drops lines because the reader of its listing stalls" => 200 "", "applied", New, New;
    FLOOD: "Asterisk floods its output at the reload" => 502 "apply-rejected", "rolled_back", Old, Old;
    ENDLESS_FLOOD: "Asterisk's output at the reload does not end, once" => 502 "apply-rejected", "rolled_back", Old, Old;
    NO_CONTACTS: "Asterisk does not say which phones are registered, before the apply"
        => 503 "asterisk-unavailable", "refused", Old, Old;
    NO_PROGRAM: "Asterisk's client cannot be started, and there is no control socket" => 503 "asterisk-unavailable", "refused", Old, Old;
    DENIED: "`cli_permissions.conf` denies a question of an apply" => 503 "asterisk-unavailable", "refused", Old, Old;
    RELOAD_DENIED: "`cli_permissions.conf` denies the reload" => 502 "apply-rejected", "rolled_back", Old, Old;
    PROGRAM_GOES: "Asterisk's client cannot be started any more after the preflight"
        => 502 "apply-rejected", "rollback_failed", Old, Old;
    NO_PROGRAM_TO_RELOAD: "Asterisk's client cannot be started, and its control socket answers"
        => 502 "apply-rejected", "rolled_back", Old, Old;
    SOCKET_GONE: "The control socket is refused, absent, silent about whose it is, or another program's (asked by the command)"
        => 200 "", "applied", New, New;
    SOCKET_SILENT: "The control socket takes connections and says nothing" => 503 "asterisk-unavailable", "refused", Old, Old;
    SOCKET_BREAKS: "The control socket's answers break off for a while" => 200 "", "applied", New, New;
    SOCKET_VERBOSE: "Verbose messages stand between the control socket's answers" => 200 "", "applied", New, New;
    SOCKET_FLOODS: "The control socket's answers do not end" => 503 "asterisk-unavailable", "refused", Old, Old;
    HOSTILE_CALLER: "A caller sends text that looks like a listing" => 200 "", "applied", New, New;
    ADDED_TO: "The administrator adds to an object or a context of ours (a warning)" => 200 "", "applied", New, New;
    CLIENT_FAILS: "Asterisk's client fails at the reload, once" => 502 "apply-rejected", "rolled_back", Old, Old;
    NO_PJSIP_INCLUDE: "`#include` is missing in `pjsip.conf`" => 502 "apply-rejected", "rollback_failed", Old, NotOurs;
    NO_DIALPLAN_INCLUDE: "`#include` is missing in `extensions.conf`"
        => 502 "apply-rejected", "rollback_failed", Old, NotOurs;
    SAME_ENDPOINT: "The administrator defines an endpoint with a new user's number"
        => 502 "apply-rejected", "rolled_back", Old, Old;
    SAME_AOR: "The administrator defines an aor with a new user's number" => 502 "apply-rejected", "rolled_back", Old, Old;
    SAME_CONTEXT: "The administrator adds steps to an extension of our context"
        => 502 "apply-rejected", "rolled_back", Old, Old;
    BAD_OBJECT: "Asterisk finds an object bad and keeps the old one" => 502 "apply-rejected", "rolled_back", Old, Old;
    CUT_SHORT: "Asterisk reads a file that is cut short" => 502 "apply-rejected", "rolled_back", Old, Old;
    NO_DIRECTORY: "A directory of the include files is missing" => 500 "install-failed", "refused", Gone, Old;
    READ_ONLY: "A directory of the include files is read-only" => 500 "install-failed", "refused", Old, Old;
    MOUNTED: "An include file is mounted by itself" => 500 "install-failed", "rolled_back", Old, Old;
    STUCK: "A directory of the include files becomes read-only in an apply that fails"
        => 502 "apply-rejected", "rollback_failed", Stuck, Stuck;
    FULL: "A directory of the include files has no space left" => 500 "install-failed", "refused", Old, Old;
    OTHER_FILE_SYSTEM: "The state directory is on another file system" => 200 "", "applied", New, New;
    STATE_FULL: "The state directory has no space left" => 500 "install-failed", "refused", Old, Old;
    STATE_READ_ONLY: "The state directory becomes read-only in the middle" => 500 "install-failed", "rolled_back", Old, Old;
    UNSYNCED: "The disk fails when the directories of the include files are synced"
        => 500 "install-failed", "rolled_back", Old, Old;
    PROOF_UNSYNCED: "The disk fails when the record of the proof is synced" => 200 "", "applied", New, New;
    STATE_DAMAGED: "The record of the last proven pair is damaged" => 500 "install-failed", "refused", Old, Old;
    STATE_GONE: "The state directory was removed between two applies" => 200 "", "applied", New, New;
    NO_FILE: "A FIFO or a file of 3 GiB lies in a file's place" => 500 "install-failed", "refused", Gone, Old;
    SYMLINK: "A symbolic link lies in a file's place" => 500 "install-failed", "refused", Old, Old;
    NOT_OURS: "A setting names a file of the administrator's as an include file" => 500 "install-failed", "refused", Old, Old;
    EDITED: "Somebody edits a file between two applies, and reloads" => 200 "", "applied", New, New;
    NO_DATABASE: "PostgreSQL is down before the snapshot" => 503 "database-unavailable", "refused", Old, Old;
    FROZEN_DATABASE: "PostgreSQL hangs before the snapshot" => 503 "database-unavailable", "refused", Old, Old;
    NO_AUDIT: "PostgreSQL dies between snapshot and audit record"
        => 503 "database-unavailable", "refused", Old, Old;
    NO_LAST_WORD: "PostgreSQL dies before the record is closed, and the apply succeeds"
        => 503 "database-unavailable", "applied", New, New;
    NO_LAST_WORD_FROZEN: "PostgreSQL hangs before the record is closed, and the apply succeeds"
        => 503 "database-unavailable", "applied", New, New;
    NO_LAST_WORD_ROLLED_BACK: "PostgreSQL dies before the record is closed, and the apply fails"
        => 503 "database-unavailable", "rolled_back", Old, Old;
    RESTORED: "An older dump is restored before the record is closed, and the apply succeeds"
        => 503 "database-unavailable", "applied", New, New;
    FAILED_OVER: "A standby that lacks the record takes over before the record is closed, and the apply succeeds"
        => 503 "database-unavailable", "applied", New, New;
    OTHER_PLAN: "The plan is another than the one that `If-Match` names" => 412 "plan-changed", "refused", Old, Old;
    OTHER_DATABASE: "`DATABASE_URL` names another database, in which a user is missing"
        => 409 "other-database", "refused", Old, Old;
    TERMINATED: "SIGTERM while an apply runs" => 200 "", "applied", New, New;
    TWO_PORTALS: "Two portals of one host apply at once" => 200 "", "applied", New, New;
    NO_LOCK: "Another apply takes all the time" => 503 "apply-busy", "refused", Old, Old;
    PURGE_FAILS: "A former owner's registration cannot be removed (a warning; the next apply tries again)"
        => 200 "", "applied", New, New;
    KILLED_AT_ONCE: "Asterisk is killed right after the answer, and started again" => 200 "", "applied", New, New;
    PURGE_UNRECORDED: "The state directory becomes read-only after the proof" => 200 "", "applied", New, New;
    ADMINS_NUMBER: "The administrator has an endpoint with a number that no user has (a warning)"
        => 200 "", "applied", New, New;
    UNREADABLE: "Asterisk may not read the files" => 502 "apply-rejected", "rolled_back", Old, Old;
}

const HEAD: &str = "# What each fault leads to

`POST /apply` ends in one of these ways, whatever happens between the request and the answer. *Old* is what the last
proven apply left, *new* is what the database says. Where *Live* is old or new, the phones that were registered before
still are; where *On disk* is old or new, nothing but the two include files is in their directories. After the next proven
apply both hold in every case. If PostgreSQL is away when an apply begins, the response has the record; an audit record that
PostgreSQL opens later is closed as `refused`.

Every row is proven by a test of `tests/faults` on a real Asterisk; the table is made by that suite
(`UPDATE_GOLDEN=1`) and compared with it in every run. A row about what Asterisk answers is proven on both ways to ask it:
over its control socket, and by the command.

| Fault | Response | Outcome | On disk | Live |
|---|---|---|---|---|
";

const TAIL: &str = "
After a process was killed at any point of an apply, its next start restores the old pair or keeps the new one, whole. A
record that was still open becomes `interrupted`, and the next apply is proven. The tests kill the process at every call
that changes a file or a directory in the middle of an apply, and at random moments.
";

fn rendered() -> String {
    let mut text = HEAD.to_owned();
    for row in ROWS {
        let Row { fault, status, code, outcome, disk, live } = row;
        let code = if code.is_empty() { String::new() } else { format!(" `{code}`") };
        let disk = match disk {
            Files::Old => "old",
            Files::New => "new",
            Files::Gone => "gone, as the fault left it",
            Files::Stuck => {
                "new, in part or whole, with what the rollback had staged beside; old at the next start or apply"
            }
        };
        let live = match live {
            Live::Old => "old",
            Live::New => "new",
            Live::Down => "nothing; old at its next start",
            Live::Hung => "old or new when it continues, until the next apply",
            Live::NotOurs => "what the missing line or module leaves",
            Live::Stuck => "old or new, until the next apply",
        };
        writeln!(text, "| {fault} | {status}{code} | `{outcome}` | {disk} | {live} |").unwrap();
    }
    text + TAIL
}

#[test]
fn the_documented_matrix_is_the_tested_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fault-matrix.md");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, rendered()).unwrap();
    }
    let documented = fs::read_to_string(&path).unwrap_or_default();
    assert!(documented == rendered(), "docs/fault-matrix.md is stale: run this test with UPDATE_GOLDEN=1");
}
