//! The one way in which users change: group commit.
//!
//! A caller puts its change into the queue. If no other caller writes, it becomes the leader: it takes all changes in the
//! queue, decides them against the users as it knows them, and commits them by one statement. So a change costs one round
//! trip, and the changes that arrive meanwhile share the next one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use diesel::result::{DatabaseErrorKind, Error as SqlError};
use diesel::{OptionalExtension as _, RunQueryDsl as _};
use pbx_domain::{CreateRefusal, Extension, Ha1, NewUser, Realm, Revision, Roster, SipPassword, UserId};

use crate::change::{ChangeQuery, Known};
use crate::error::DatabaseError;
use crate::list::{self, ChangeToken, ListRow};
use crate::session::{Abort, Sessions, lock};
use crate::timestamp::Timestamp;

/// The most changes that share a statement.
const BATCH: usize = 100;

/// A change that somebody asks for.
pub(crate) enum Request {
    Create { id: UserId, new: NewUser, realm: Realm, password: SipPassword },
    Delete(UserId),
}

/// What a change gave.
pub(crate) struct Given {
    /// Of the user who was created, or of the one who was deleted.
    pub(crate) extension: Extension,
    pub(crate) at: Revision,
    /// Of no meaning where nobody was created.
    pub(crate) when: SystemTime,
}

type Outcome = Result<Result<Given, CreateRefusal>, DatabaseError>;

/// Where changes wait, and what is known of the users.
pub(crate) struct Writer {
    sessions: Sessions,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// For the leader alone.
    known: Mutex<Option<Known>>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<(u64, Request)>,
    /// Whose changes the leader has taken.
    taken: HashSet<u64>,
    outcomes: HashMap<u64, Outcome>,
    is_led: bool,
}

impl Queue {
    /// Whether this request leads: the one that came last does, as it has the most time left. The first may have only
    /// milliseconds until its timeout, and would make the whole batch fail with it.
    fn may_lead(&self, ticket: u64) -> bool {
        !self.is_led && self.waiting.back().is_some_and(|(last, _)| *last == ticket)
    }

    fn take(&mut self) -> (Vec<u64>, Vec<Request>) {
        let batch: (Vec<u64>, Vec<Request>) = self.waiting.drain(..self.waiting.len().min(BATCH)).unzip();
        self.taken.extend(&batch.0);
        batch
    }

    /// Gives up waiting.
    fn leave(&mut self, ticket: u64, waited: Duration) -> DatabaseError {
        DatabaseError::unavailable(if self.taken.remove(&ticket) {
            format!("PostgreSQL did not answer within {waited:?}: whether the change was made is not known")
        } else {
            self.waiting.retain(|(other, _)| *other != ticket);
            format!("the changes before this one took longer than {waited:?}: it was not made")
        })
    }
}

/// The leader's task. Dropping it hands out the outcomes, after a panic too: otherwise all others would wait in vain.
struct Lead<'a> {
    writer: &'a Writer,
    tickets: Vec<u64>,
    outcomes: Vec<Outcome>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let lost = || Err(DatabaseError::unavailable("the thread that wrote the change panicked"));
        let mut queue = lock(&self.writer.queue);
        queue.is_led = false;
        let outcomes = self.outcomes.drain(..).map(Some).chain(std::iter::repeat_with(|| None));
        for (ticket, outcome) in self.tickets.iter().zip(outcomes) {
            // A caller that has given up gets no outcome.
            if queue.taken.remove(ticket) {
                queue.outcomes.insert(*ticket, outcome.unwrap_or_else(lost));
            }
        }
        self.writer.changed.notify_all();
    }
}

impl Writer {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self { sessions, queue: Mutex::default(), changed: Condvar::new(), known: Mutex::default() }
    }

    /// Makes a change, together with those that wait.
    pub(crate) fn change(&self, request: Request) -> Outcome {
        let begun = Instant::now();
        let timeout = self.sessions.timeout();
        let mut queue = lock(&self.queue);
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push_back((ticket, request));
        loop {
            if let Some(outcome) = queue.outcomes.remove(&ticket) {
                return outcome;
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let error = queue.leave(ticket, timeout);
                // It may have been the one to lead.
                self.changed.notify_all();
                return Err(error);
            }
            if queue.may_lead(ticket) {
                queue.is_led = true;
                let (tickets, batch) = queue.take();
                drop(queue);
                let mut lead = Lead { writer: self, tickets, outcomes: Vec::new() };
                lead.outcomes = self.write(begun, &batch);
                drop(lead);
                queue = lock(&self.queue);
            } else {
                queue = self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Writes a batch. If PostgreSQL refuses it, each change is written alone, so that only the bad one fails: with a
    /// constraint added by hand, say, the statement of all would fail because of one user's name.
    fn write(&self, begun: Instant, batch: &[Request]) -> Vec<Outcome> {
        match self.commit(begun, batch) {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(DatabaseError::Failed(error)) if batch.len() > 1 => {
                log::warn!("PostgreSQL refused one of {} changes, which are made one by one now: {error}", batch.len());
                batch.iter().flat_map(|request| self.write(begun, slice::from_ref(request))).collect()
            }
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn commit(&self, begun: Instant, batch: &[Request]) -> Result<Vec<Result<Given, CreateRefusal>>, DatabaseError> {
        let mut memory = lock(&self.known);
        // Without a guard, whoever changed the users may have left the token as it was.
        let mut remembered = memory.take().filter(|known| known.token.guard.is_some());
        let mut is_fresh = false;
        loop {
            is_fresh |= remembered.is_none();
            let Known { token, mut roster } = match remembered.take() {
                Some(known) => known,
                None => Known::of(self.read(begun)?)?,
            };
            let mut change = ChangeQuery::of(token, self.row_wait());
            let decisions: Vec<_> = batch.iter().map(|request| decide(request, &mut roster, &mut change)).collect();
            let results = |at, when| {
                let given = |extension| Given { extension, at, when };
                decisions.into_iter().map(|decision| decision.map(given)).collect()
            };
            if change.is_empty() {
                // Nothing to write, so nothing checks the token: a refusal such as "email taken" may go by users that
                // another process has deleted since.
                remembered = if is_fresh { None } else { self.read_unless(begun, token)? };
                is_fresh = true;
                if remembered.is_none() {
                    *memory = Some(Known { token, roster });
                    return Ok(results(Revision::new(token.revision), SystemTime::UNIX_EPOCH));
                }
                continue;
            }
            match self.make(begun, &change) {
                Ok(Made::Committed(revision, when)) => {
                    let token = ChangeToken { random: change.token, revision: revision.get(), ..token };
                    *memory = Some(Known { token, roster });
                    return Ok(results(revision, when));
                }
                Ok(Made::Outdated(state)) => (remembered, is_fresh) = (Some(state), true),
                // One by one, only the one that waits for it fails.
                Ok(Made::Held(error)) if batch.len() > 1 => return Err(DatabaseError::failed(error)),
                Ok(Made::Held(error)) => return Err(DatabaseError::unavailable(error)),
                // The remembered users are wrong if somebody wrote with the triggers disabled for a while: read them and
                // try again.
                Err(DatabaseError::Failed(_)) if !is_fresh => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How long a change may keep all others waiting for a user's row that somebody holds.
    fn row_wait(&self) -> Duration {
        self.sessions.timeout() / 4
    }

    fn make(&self, begun: Instant, change: &ChangeQuery) -> Result<Made, DatabaseError> {
        let sent = Arc::new(AtomicU32::new(0));
        let (statement, times, row_wait) = (change.clone(), Arc::clone(&sent), self.row_wait());
        let made = self.sessions.repeatable_since(begun, move |connection| {
            times.fetch_add(1, Ordering::SeqCst);
            let sent = Instant::now();
            match statement.clone().get_result::<(i64, Timestamp)>(connection).optional() {
                // Diesel reports a wait that was ended as an unknown error, so the elapsed time decides.
                Err(error @ SqlError::DatabaseError(DatabaseErrorKind::Unknown, _))
                    if !statement.deleted.is_empty() && sent.elapsed() >= row_wait =>
                {
                    Ok(Err(error))
                }
                made => made.map(Ok).map_err(Abort::Sql),
            }
        })?;
        match made {
            Ok(Some((revision, created_at))) => return Ok(Made::Committed(Revision::new(revision), created_at.0)),
            // Whether the first one was made is not known.
            Err(error) if sent.load(Ordering::SeqCst) > 1 => return Err(DatabaseError::unavailable(error)),
            Err(error) => return Ok(Made::Held(error)),
            Ok(None) => {}
        }
        let rows = self.read(begun)?;
        if sent.load(Ordering::SeqCst) == 1 {
            return Ok(Made::Outdated(Known::of(rows)?));
        }
        // The statement was sent twice, because the first response was lost. "No row" from the second may mean that the
        // first one committed: look at what is there. The token never returns to the known one, so the change either was
        // made by now or never will be.
        let mut users = rows.iter().filter_map(|(.., user)| user.as_ref());
        if let Some(created) = users.find(|user| change.ids.contains(&user.id)) {
            return Ok(Made::Committed(Revision::new(created.user_revision), created.created_at.0));
        }
        let state = Known::of(rows)?;
        let is_there = |id: &uuid::Uuid| state.roster.contains(UserId::from(*id));
        if state.token.random == change.token {
            return Ok(Made::Committed(Revision::new(state.token.revision), SystemTime::UNIX_EPOCH));
        }
        if change.deleted.iter().any(is_there) {
            return Ok(Made::Outdated(state));
        }
        let detail = "the answer was lost and the users have changed since: whether the change was made is not known";
        Err(DatabaseError::unavailable(detail))
    }

    fn read(&self, begun: Instant) -> Result<Vec<ListRow>, DatabaseError> {
        self.sessions.repeatable_since(begun, list::read_rows)
    }

    fn read_unless(&self, begun: Instant, known: ChangeToken) -> Result<Option<Known>, DatabaseError> {
        let rows =
            self.sessions.repeatable_since(begun, move |connection| list::read_rows_unless(connection, known))?;
        rows.map(Known::of).transpose()
    }
}

/// The result of a statement.
enum Made {
    /// Its revision, and when; the time is of no meaning where nobody was created.
    Committed(Revision, SystemTime),
    /// Nothing: the users are these.
    Outdated(Known),
    /// Nothing: somebody's open transaction holds a user.
    Held(SqlError),
}

/// Adds what is asked for to the change, and gives the extension that is given or freed by it.
fn decide(request: &Request, roster: &mut Roster, change: &mut ChangeQuery) -> Result<Extension, CreateRefusal> {
    match request {
        Request::Delete(id) => {
            let extension = roster.delete(*id).ok_or(CreateRefusal::NoSuchUser)?;
            change.delete(*id);
            Ok(extension)
        }
        Request::Create { id, new, realm, password } => {
            let extension = roster.create(*id, new)?;
            if let Some(replaced) = new.replaces {
                change.delete(replaced);
            }
            change.create(*id, new, extension, realm, &Ha1::of(extension, realm, password));
            Ok(extension)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn who_gives_up_takes_no_change_along_but_its_own() {
        let waiting = (0..3).map(|ticket| (ticket, Request::Delete(UserId::generate()))).collect();
        let mut queue = Queue { waiting, ..Queue::default() };
        let words = |error: DatabaseError| error.source().map(ToString::to_string).unwrap_or_default();
        assert!(words(queue.leave(1, Duration::ZERO)).ends_with("it was not made"));
        assert_eq!(queue.take().0, [0, 2]);
        assert!(words(queue.leave(2, Duration::ZERO)).ends_with("is not known"));
        assert_eq!(queue.taken, HashSet::from([0]));
    }
}
