//! `GET /users`, made once per state and then served from memory.

use std::sync::{Arc, PoisonError, RwLock};

use actix_web::web::{self, Bytes};
use pbx_domain::{Revision, User};
use pbx_persistence::{ChangeToken, Database, DatabaseError};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::AppState;
use crate::http::body::{self, rfc3339};
use crate::http::problem::Problem;
use crate::operations::apply::{AppliedUsers, Applier, Claim, LastApplyResponse};

#[cfg(test)]
mod tests;

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserResponse<'a> {
    /// The user's identity.
    pub id: Uuid,
    /// What the called phone shows.
    #[schema(example = "Alice Example")]
    pub name: &'a str,
    /// The mail address.
    #[schema(example = "alice@example.com")]
    pub email: &'a str,
    /// The number that is dialled, and the SIP user name of the phone.
    #[schema(example = 1000, minimum = 1000, maximum = 1999)]
    pub extension: u16,
    /// Whether Asterisk was proven to run with the user as it is.
    pub applied: bool,
    /// When the user was created.
    #[schema(format = DateTime, example = "2026-11-20T12:45:00.123456Z")]
    pub created_at: String,
}

impl<'a> UserResponse<'a> {
    /// The user, who is applied or not.
    pub(crate) fn of(user: &'a User, applied: bool) -> Self {
        Self {
            id: user.id.as_uuid(),
            name: user.name.as_str(),
            email: user.email.as_str(),
            extension: user.extension.get(),
            applied,
            created_at: rfc3339(user.created_at),
        }
    }
}

/// All users.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserList)]
pub(crate) struct UserListResponse<'a> {
    /// The users by extension.
    pub users: Vec<UserResponse<'a>>,
    /// The number of the last change.
    #[schema(minimum = 0, example = 42)]
    pub revision: i64,
    /// The revision of the pair that Asterisk on this host was last proven to run, for people; 0 where nothing is claimed.
    /// After a restore of the database it may be above `revision`.
    #[schema(minimum = 0, example = 41)]
    pub applied_revision: i64,
    /// Whether `POST /apply` would bring Asterisk something else than it was proven to run.
    pub apply_required: bool,
    /// The apply that ended last on this host; null before the first.
    #[schema(required = true)]
    pub last_apply: Option<LastApplyResponse>,
}

impl<'a> UserListResponse<'a> {
    fn of(users: &'a [User], revision: Revision, claim: &Claim, compared: &AppliedUsers) -> Self {
        let is_applied = |user: &User| compared.applied.contains(&user.id);
        Self {
            users: users.iter().map(|user| UserResponse::of(user, is_applied(user))).collect(),
            revision: revision.get(),
            applied_revision: claim.revision.get(),
            apply_required: compared.is_required,
            last_apply: None,
        }
    }
}

/// An answer, ready to be sent, and what it depends on: the users, what this node claims, and how its last apply ended.
pub(crate) struct Listing {
    users: ChangeToken,
    claim: Arc<Claim>,
    last_apply: Option<LastApplyResponse>,
    /// The JSON.
    pub(crate) body: Bytes,
    /// The entity tag of the JSON, in quotes.
    pub(crate) etag: String,
}

/// The last answer made.
#[derive(Default)]
pub(crate) struct ListingCache {
    last: RwLock<Option<Arc<Listing>>>,
}

/// The answer for now.
pub(crate) async fn answer(state: &web::Data<AppState>) -> Result<Arc<Listing>, Problem> {
    let shared = state.clone();
    Ok(state.with_database(move |database| shared.listing.current(database, &shared.applier)).await??)
}

impl ListingCache {
    /// The answer for now. The database is asked in this very call whether its users are still those of the last answer, so
    /// no answer is older than the call, whatever became of the database.
    fn current(&self, database: &Database, applier: &Applier) -> Result<Arc<Listing>, DatabaseError> {
        let (claim, last_apply) = (applier.claim(), applier.last());
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.filter(|last| Arc::ptr_eq(&last.claim, &claim) && last.last_apply == last_apply);
        let list = match last {
            None => database.users().list()?,
            Some(last) => match database.users().list_unless(last.users)? {
                None => return Ok(last),
                Some(list) => list,
            },
        };
        let compared = applier.compare(&list.users, &claim);
        let mut answer = UserListResponse::of(&list.users, list.revision, &claim, &compared);
        answer.last_apply.clone_from(&last_apply);
        let body = body::json(&answer);
        let etag = etag_of(&body);
        let listing = Arc::new(Listing { users: list.token, claim, last_apply, body, etag });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&listing));
        Ok(listing)
    }
}

/// 128 bits of the content's hash.
pub(crate) fn etag_of(content: &[u8]) -> String {
    format!("\"{}\"", base16ct::lower::encode_string(&Sha256::digest(content)[..16]))
}
