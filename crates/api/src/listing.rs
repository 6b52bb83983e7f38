//! `GET /users`, made once per state and then served from memory.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use actix_web::web;
use bytes::Bytes;
use jiff::Timestamp;
use pbx_domain::{ApplyId, Revision, User};
use pbx_persistence::{Database, DatabaseError, UserList};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    AppState,
    apply::Proven,
    body,
    problem::{Code, Problem},
};

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserResponse {
    /// The user's identity.
    pub id: Uuid,
    /// What the called phone shows.
    #[schema(example = "Alice Example")]
    pub name: String,
    /// The mail address.
    #[schema(example = "alice@example.com")]
    pub email: String,
    /// The number that is dialled, and the SIP user name of the phone.
    #[schema(example = 1000, minimum = 1000, maximum = 1999)]
    pub extension: u16,
    /// Whether Asterisk was proven to run with the user as it is.
    pub applied: bool,
    /// When the user was created.
    #[schema(format = DateTime, example = "2026-11-20T12:45:00.123456Z")]
    pub created_at: String,
}

impl UserResponse {
    /// The user as Asterisk has it after the apply of this revision.
    pub(crate) fn of(user: &User, applied: Revision) -> Self {
        Self {
            id: user.id.as_uuid(),
            name: user.name.to_string(),
            email: user.email.to_string(),
            extension: user.extension.get(),
            applied: user.revision <= applied,
            created_at: rfc3339(user.created_at),
        }
    }
}

/// All users.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserList)]
pub struct UserListResponse {
    /// The users by extension.
    pub users: Vec<UserResponse>,
    /// The number of the last change.
    #[schema(minimum = 0, example = 42)]
    pub revision: i64,
    /// The last change that Asterisk on this host was proven to run with; 0 when there is none.
    #[schema(minimum = 0, example = 41)]
    pub applied_revision: i64,
    /// Whether something waits for `POST /apply`.
    pub apply_required: bool,
}

impl UserListResponse {
    fn of(list: &UserList, foreign: bool, applied: Revision) -> Self {
        Self {
            users: list.users.iter().map(|user| UserResponse::of(user, applied)).collect(),
            revision: list.revision.get(),
            applied_revision: applied.get(),
            apply_required: foreign || list.revision != applied,
        }
    }
}

/// A point in time as answers have it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// What an answer depends on: the users, and what this node has proven.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    revision: Revision,
    proven: Option<ApplyId>,
    proven_is_known: bool,
}

/// An answer, ready to be sent.
pub(crate) struct Listing {
    state: State,
    /// The JSON.
    pub(crate) body: Bytes,
    /// The entity tag of the JSON, in quotes.
    pub(crate) etag: String,
}

/// The last answer made, and who waits for the next.
#[derive(Default)]
pub(crate) struct ListingCache {
    last: RwLock<Option<Arc<Listing>>>,
    /// How many times the database was asked.
    asked: AtomicU64,
    /// What came of the last time that it answered, and which time that was.
    answered: Mutex<Option<(u64, Shared)>>,
}

/// What those share who waited for the same question.
type Shared = Result<Arc<Listing>, Code>;

/// The answer for now. Whoever asks while the database is being asked already waits for the next
/// time, and all who wait share it: it was asked after each of them came, so it is never older than
/// any of their calls.
pub(crate) async fn answer(state: &web::Data<AppState>) -> Result<Arc<Listing>, Problem> {
    let cache = &state.listing;
    let came = cache.asked.load(Ordering::SeqCst);
    let mut answered = cache.answered.lock().await;
    if let Some((time, answer)) = &*answered
        && *time > came
    {
        return answer.clone().map_err(Problem::shared);
    }
    let time = cache.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let shared = state.clone();
    let call = move |database: &Database| shared.listing.current(database, shared.applier.proven().as_ref());
    let answer = state.with_database(call).await.and_then(|listing| listing.map_err(Problem::from));
    *answered = Some((time, answer.as_ref().map(Arc::clone).map_err(Problem::code)));
    answer
}

impl ListingCache {
    /// The answer for now. It is made anew when the revision, read in this very call, is another
    /// one, so it is never older than the call.
    pub(crate) fn current(&self, database: &Database, proven: Option<&Proven>) -> Result<Arc<Listing>, DatabaseError> {
        let id = proven.map(|proven| proven.id);
        let users = database.users();
        let standing = users.standing(id)?;
        let state = State { revision: standing.revision, proven: id, proven_is_known: standing.applied_is_known };
        if let Some(listing) = self.last.read().unwrap_or_else(PoisonError::into_inner).as_ref()
            && listing.state == state
        {
            return Ok(Arc::clone(listing));
        }
        let list = users.list()?;
        // A state proven with another database, or before this one was restored, counts for nothing.
        let counted = proven.filter(|_| state.proven_is_known);
        let applied = counted.map_or_else(Revision::default, |proven| proven.revision);
        let answer = UserListResponse::of(&list, proven.is_some() && counted.is_none(), applied);
        let body = body::json(&answer);
        let etag = etag_of(&body);
        let listing = Arc::new(Listing { state: State { revision: list.revision, ..state }, body, etag });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&listing));
        Ok(listing)
    }
}

/// 128 bits of the content's hash.
pub(crate) fn etag_of(content: &[u8]) -> String {
    format!("\"{}\"", base16ct::lower::encode_string(&Sha256::digest(content)[..16]))
}
