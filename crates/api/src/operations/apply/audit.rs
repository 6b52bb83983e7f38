//! The audit record of each attempt, closed in the database that it was opened in, if need be later.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use pbx_asterisk::{Deployment, FileError, LockError, LockedDeployment};
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, DatabaseId};
use pbx_persistence::{Database, DatabaseError, StartedApply, UserList};

use super::last::LastApplyResponse;
use super::waiting_records;
use crate::http::problem::{Code, Problem};

/// How often a record that waits for the database is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest pause between two tries, where the database answers and does not have the record, or something else fails.
const SELDOM: Duration = Duration::from_mins(10);
/// The note with the id of the apply that runs, from when its record is open. If none runs, it is of one whose process was
/// killed.
const RUNNING: &str = "running";

#[derive(Clone)]
pub(super) struct Audit {
    database: Database,
    deployment: Deployment,
    node: String,
    /// Asks the background thread that closes the waiting records to try soon.
    closing: Sender<()>,
    /// The apply that ended last, where the state directory had no room for it.
    unsaved: Arc<Mutex<Option<LastApplyResponse>>>,
}

/// Why a record was not opened or closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "the database does not have the record of the apply {0} that was opened in it: the record waits in the state \
         directory for {days} days", days = waiting_records::DAYS
    )]
    Lost(ApplyId),
    #[error(transparent)]
    Note(#[from] FileError),
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Database(error) => error.into(),
            AuditError::Lost(_) => Self::new(
                Code::DatabaseUnavailable,
                "The database does not have the record of this apply any more: it was restored, or another server took \
                 over that lacks it, while the apply ran. `apply` says how it ended; look at GET /users, and apply again.",
            )
            .caused_by(error),
            AuditError::Note(_) => Self::new(Code::InstallFailed, format!("{error}. Nothing was changed.")).caused_by(error),
        }
    }
}

impl Audit {
    pub(super) fn new(database: Database, deployment: Deployment, node: String) -> io::Result<Self> {
        let (closing, asked) = mpsc::channel();
        let audit = Self { database, deployment, node, closing, unsaved: Arc::default() };
        let closer = audit.clone();
        thread::Builder::new().name("audit".to_owned()).spawn(move || closer.close_when_asked(&asked))?;
        Ok(audit)
    }

    /// Notes for the list that an apply was interrupted: its process ended before it did. Asks the database for nothing.
    pub(super) fn note_interrupted(&self) {
        let running = self.deployment.note(RUNNING).inspect_err(|error| log::error!("{error}")).ok().flatten();
        let running = running.and_then(|running| String::from_utf8(running).ok());
        if let Some(id) = running.and_then(|running| running.parse::<ApplyId>().ok())
            && self.last().is_none_or(|last| last.id != id.as_uuid())
        {
            self.remember_as(id, ApplyOutcome::Interrupted, SystemTime::now());
        }
    }

    /// Closes what processes that are gone left open. Under the lock, so that no record that is `running` belongs to an
    /// apply that still runs.
    pub(super) fn close_open_records(&self, locked: &LockedDeployment<'_>) {
        match self.close_what_is_open(locked) {
            Ok(false) => {}
            Ok(true) => self.close_later(),
            Err(error) => {
                log::error!("open audit records wait: {:#}", anyhow::Error::new(error));
                self.close_later();
            }
        }
    }

    /// As [`Self::close_open_records`]; says whether a record may be opened yet.
    fn close_what_is_open(&self, locked: &LockedDeployment<'_>) -> Result<bool, AuditError> {
        let mut waiting = waiting_records::all(&self.deployment)?;
        if !waiting.is_empty() {
            let database = self.database.users().list()?.database;
            waiting = self.close_waiting(locked, waiting, database)?;
        }
        let may_open_yet = waiting.iter().any(|waiting| waiting.database.is_none());
        let waiting: Vec<ApplyId> = waiting.iter().map(|waiting| waiting.record.id).collect();
        let interrupted = self.database.apply_log().interrupt_running(&self.node, &waiting)?;
        // Of the last one, this host knows how it ended, whatever a database says that was restored to a moment in its middle.
        let last = self.last().map(|last| last.id);
        if let Some(id) = interrupted.iter().max().filter(|id| last.is_none_or(|last| last < id.as_uuid())) {
            self.remember_as(*id, ApplyOutcome::Interrupted, SystemTime::now());
        }
        self.nothing_runs();
        Ok(may_open_yet)
    }

    /// Opens the record. One round trip, unless records of earlier applies wait.
    pub(super) fn begin(&self, locked: &LockedDeployment<'_>, started: &StartedApply) -> Result<UserList, AuditError> {
        let mut waiting = waiting_records::all(&self.deployment)?;
        let ids: Vec<ApplyId> = waiting.iter().map(|waiting| waiting.record.id).collect();
        let list = self.database.apply_log().begin(started, &ids)?;
        // One that ends before did nothing, and is none.
        let running = self.deployment.write_volatile_note(RUNNING, started.id.to_string().as_bytes());
        if let Err(error) = running {
            log::warn!(
                "were the process to end now, the list would not show this apply before the database does: {error}"
            );
        }
        // Others are one question each, which the background thread asks.
        waiting.retain(|waiting| waiting.database.is_some());
        // The record of this apply is open from here on: what others left does not end it.
        if let Err(error) = self.close_waiting(locked, waiting, list.database) {
            log::warn!("an audit record still waits: {:#}", anyhow::Error::new(error));
        }
        Ok(list)
    }

    fn nothing_runs(&self) {
        if let Err(error) = self.deployment.remove_note(RUNNING) {
            log::warn!("after a restart the list will show the last apply as interrupted, unless it is known: {error}");
        }
    }

    /// Closes the record that [`Self::begin`] opened in `database`. Where that cannot be, the record waits in the state
    /// directory.
    pub(super) fn finish(
        &self,
        record: &ApplyRecord,
        database: DatabaseId,
        locked: &LockedDeployment<'_>,
    ) -> Result<(), AuditError> {
        self.remember(record);
        let result = self.finish_in_database(record);
        if let Err(error) = &result {
            let is_lost = matches!(error, AuditError::Lost(_));
            if let Err(error) = waiting_records::keep(locked, record, Some(database), is_lost) {
                // The next apply or start then closes it as interrupted.
                log::error!("the record of apply {} is lost but for this log: {error}", record.id);
                return result;
            }
            // A lost record is reported with the response.
            if !is_lost {
                self.close_later();
            }
        }
        self.nothing_runs();
        result
    }

    /// Records an attempt that got no lock.
    pub(super) fn record(&self, record: &ApplyRecord) -> Result<(), AuditError> {
        self.remember(record);
        Ok(self.database.apply_log().record(record)?)
    }

    pub(super) fn remember(&self, record: &ApplyRecord) {
        let finished_at = record.started_at.checked_add(record.duration).unwrap_or(record.started_at);
        self.remember_as(record.id, record.outcome, finished_at);
    }

    /// The apply that ended last here. Another process of this host may have kept a later one.
    pub(super) fn last(&self) -> Option<LastApplyResponse> {
        let unsaved = self.unsaved().clone();
        let kept = LastApplyResponse::kept(&self.deployment, &self.node);
        unsaved.into_iter().chain(kept).max_by_key(LastApplyResponse::finished)
    }

    fn unsaved(&self) -> MutexGuard<'_, Option<LastApplyResponse>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_as(&self, id: ApplyId, outcome: ApplyOutcome, finished_at: SystemTime) {
        let last = LastApplyResponse::new(id, outcome, finished_at);
        *self.unsaved() = last.keep(&self.deployment, &self.node).is_err().then_some(last);
    }

    /// Closes the record of an apply that could not begin, if it was opened: that is not known where the database fell
    /// silent, or holds what no list can be made of.
    pub(super) fn refuse(&self, record: &ApplyRecord, is_silent: bool, locked: &LockedDeployment<'_>) {
        // The caller has waited long enough for a database that is silent.
        if !is_silent && self.database.apply_log().finish(record).is_ok() {
            return;
        }
        if let Err(error) = waiting_records::keep(locked, record, None, false) {
            log::warn!("the record of apply {} is closed as interrupted, if it was opened: {error}", record.id);
        }
        self.close_later();
    }

    fn finish_in_database(&self, record: &ApplyRecord) -> Result<(), AuditError> {
        if self.database.apply_log().finish(record)? { Ok(()) } else { Err(AuditError::Lost(record.id)) }
    }

    /// Closes the records that wait for this database, and returns those that still wait.
    fn close_waiting(
        &self,
        locked: &LockedDeployment<'_>,
        waiting: Vec<waiting_records::WaitingRecord>,
        database: DatabaseId,
    ) -> Result<Vec<waiting_records::WaitingRecord>, AuditError> {
        let mut left = Vec::new();
        for waiting in waiting {
            if waiting.database.is_some_and(|own| own != database) {
                left.push(waiting);
                continue;
            }
            match self.finish_in_database(&waiting.record) {
                Ok(()) => {
                    log::info!("the record of apply {} is closed: {}", waiting.record.id, waiting.record.outcome);
                    waiting_records::remove(&self.deployment, waiting.record.id)?;
                }
                // It was not opened, or not yet: the statement may hang in a server that hangs.
                Err(AuditError::Lost(_)) if waiting.database.is_none() => left.push(waiting),
                Err(error @ AuditError::Lost(_)) => {
                    if !waiting.is_lost {
                        log::error!("{error}");
                        waiting_records::keep(locked, &waiting.record, Some(database), true)?;
                    }
                    left.push(waiting);
                }
                // PostgreSQL refuses this one, and may take the others.
                Err(error @ AuditError::Database(DatabaseError::Failed(_))) => {
                    let (id, error) = (waiting.record.id, anyhow::Error::new(error));
                    log::error!("the record of apply {id} waits for the next apply or start: {error:#}");
                    left.push(waiting);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// Closes what is open as soon as the database answers again.
    pub(super) fn close_later(&self) {
        if self.closing.send(()).is_err() {
            log::error!("open audit records wait for the next apply or start: the thread that closes them has ended");
        }
    }

    /// Tries whenever it is asked to, and again until nothing is open that could be closed.
    fn close_when_asked(&self, asked: &Receiver<()>) {
        while asked.recv().is_ok() {
            let mut pause = Some(AGAIN);
            while let Some(mut again) = pause {
                if asked.recv_timeout(again).is_ok() {
                    again = AGAIN;
                    thread::sleep(again);
                }
                pause = self.close_again(again);
            }
        }
    }

    /// When to try once more, after a pause of this length.
    fn close_again(&self, pause: Duration) -> Option<Duration> {
        let closed = match self.deployment.lock(Instant::now()) {
            Ok(locked) => self.close_what_is_open(&locked),
            Err(LockError::Busy) => return Some(pause),
            Err(LockError::State(error)) => Err(error.into()),
        };
        match closed {
            Ok(true) => Some((pause * 2).min(SELDOM)),
            Ok(false) => None,
            Err(error @ AuditError::Database(DatabaseError::Unavailable(_))) => {
                log::debug!("an audit record still waits: {error}");
                Some(AGAIN)
            }
            Err(error) => {
                log::error!("open audit records wait: {:#}", anyhow::Error::new(error));
                Some(SELDOM)
            }
        }
    }
}
