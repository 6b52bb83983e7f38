//! The audit record of each attempt, closed in every case, if need be later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use pbx_asterisk::{Deployment, FileError, LockedDeployment};
use pbx_domain::{ApplyId, ApplyRecord};
use pbx_persistence::{Database, DatabaseError, StartedApply, UserList};

use super::note::Note;
use crate::problem::Problem;

/// How often a record that waits for the database is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The note that holds a record which the database could not take.
const RECORD: &str = "record";

#[derive(Clone)]
pub(super) struct Audit {
    database: Database,
    /// How long a call may take. libpq itself waits for ever for a server that is frozen.
    patience: Duration,
    node: String,
    /// Whether a thread is at closing what waits already.
    closing: Arc<AtomicBool>,
}

/// Why a call of the database, or a note in its place, came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("PostgreSQL did not answer within {} s", .0.as_secs())]
    Frozen(Duration),
    #[error(transparent)]
    Note(#[from] FileError),
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Database(error) => error.into(),
            AuditError::Frozen(_) => Self::database_unavailable(error),
            AuditError::Note(_) => Self::internal(error),
        }
    }
}

impl Audit {
    pub(super) fn new(database: Database, timeout: Duration, node: String) -> Self {
        Self { database, patience: timeout + Duration::from_secs(1), node, closing: Arc::default() }
    }

    /// Puts in order what processes that are gone left open. Under the locked, so that no record
    /// that is `running` belongs to an apply that still runs.
    pub(super) fn close_open_records(
        &self,
        locked: &LockedDeployment<'_>,
        deployment: &Deployment,
    ) -> Result<(), AuditError> {
        self.close_noted(locked, deployment)?;
        let node = self.node.clone();
        for id in self.within(move |database| database.apply_log().interrupt_running(&node, &[]))?? {
            log::warn!("the apply {id} was interrupted: its process ended before it did");
        }
        Ok(())
    }

    pub(super) fn begin(&self, started: StartedApply) -> Result<UserList, AuditError> {
        Ok(self.within(move |database| database.apply_log().begin(&started))??)
    }

    pub(super) fn list(&self) -> Result<UserList, AuditError> {
        Ok(self.within(|database| database.users().list())??)
    }

    /// Whether the database knows this apply: it does not when it was restored to before it.
    pub(super) fn knows(&self, id: ApplyId) -> Result<bool, AuditError> {
        Ok(self.within(move |database| database.users().standing(Some(id)))??.applied_is_known)
    }

    pub(super) fn finish(&self, record: &ApplyRecord) -> Result<(), AuditError> {
        let record = record.clone();
        Ok(self.within(move |database| {
            let log = database.apply_log();
            if log.finish(&record)? { Ok(()) } else { log.record(&record) }
        })??)
    }

    /// Keeps a record that the database did not take, and closes it as soon as that answers.
    pub(super) fn finish_later(&self, record: &ApplyRecord, locked: &LockedDeployment<'_>, deployment: &Deployment) {
        let note = serde_json::to_vec(&Note::from(record)).unwrap_or_default();
        match locked.write_note(RECORD, &note) {
            Ok(()) => self.close_later(deployment),
            Err(error) => log::error!("the record of apply {} is lost but for this log: {error}", record.id),
        }
    }

    fn close_noted(&self, locked: &LockedDeployment<'_>, deployment: &Deployment) -> Result<(), AuditError> {
        let Some(note) = deployment.note(RECORD)? else { return Ok(()) };
        match serde_json::from_slice::<Note>(&note).ok().and_then(Note::record) {
            Some(record) => {
                self.finish(&record)?;
                log::info!("the record of apply {} is closed: {}", record.id, record.outcome);
            }
            None => log::error!("the note in the state directory is none of this program's: it is dropped"),
        }
        Ok(locked.remove_note(RECORD)?)
    }

    /// Closes what is open as soon as the database answers again.
    pub(super) fn close_later(&self, deployment: &Deployment) {
        if self.closing.swap(true, Ordering::SeqCst) {
            return;
        }
        let (audit, deployment) = (self.clone(), deployment.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(AGAIN);
                // An apply that has the locked closes what is open before it begins.
                match deployment.lock(Instant::now()).map(|locked| audit.close_open_records(&locked, &deployment)) {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => log::debug!("an audit record still waits: {error}"),
                    Err(error) => log::debug!("an audit record still waits: {error}"),
                }
            }
            audit.closing.store(false, Ordering::SeqCst);
        });
    }

    fn within<T: Send + 'static>(&self, call: impl FnOnce(&Database) -> T + Send + 'static) -> Result<T, AuditError> {
        let (send, receive) = mpsc::sync_channel(1);
        let database = self.database.clone();
        thread::spawn(move || send.send(call(&database)));
        receive.recv_timeout(self.patience).map_err(|_| AuditError::Frozen(self.patience))
    }
}
