use std::fmt;
use std::sync::Arc;

use pbx_domain::{Ha1, NewUser, Realm, SipPassword, User, UserId};

use crate::error::{CreateUserError, DatabaseError};
use crate::list::{self, ChangeToken, UserList};
use crate::session::Sessions;
use crate::writer::{Request, Writer};

/// The one tenant there is.
pub(crate) const TENANT: &str = "default";

/// The users of the tenant, each with its extension and credential.
#[derive(Clone)]
pub struct UserRepository {
    sessions: Sessions,
    writer: Arc<Writer>,
}

impl fmt::Debug for UserRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRepository").finish_non_exhaustive()
    }
}

impl UserRepository {
    pub(crate) fn new(sessions: Sessions) -> Self {
        let writer = Arc::new(Writer::new(sessions.clone()));
        Self { sessions, writer }
    }

    /// Creates a user with the lowest free extension, or with that of the user whom it replaces; the
    /// password is for the phone, of which the digest for `realm` is kept.
    ///
    /// One statement, and one round trip. Creates and deletes that wait meanwhile, in this process, share the next one;
    /// of two processes that change the users at once, one fails and tries again. So no number is given twice and none is left out.
    ///
    /// # Errors
    ///
    /// - [`CreateUserError::Refused`]; a taken address is the reason also when no extension is free: a caller that repeats
    ///   a create whose answer was lost has to learn that it worked.
    /// - [`CreateUserError::Database`]; after [`DatabaseError::Unavailable`] the user may exist.
    pub fn create(&self, new: &NewUser, realm: &Realm, password: &SipPassword) -> Result<User, CreateUserError> {
        let id = UserId::generate();
        let request = Request::Create { id, new: new.clone(), realm: realm.clone(), password: password.clone() };
        let given = self.writer.change(request)??;
        Ok(User {
            id,
            name: new.name.clone(),
            email: new.email.clone(),
            extension: given.extension,
            realm: realm.clone(),
            ha1: Ha1::of(given.extension, realm, password),
            created_at: given.when,
            revision: given.at,
        })
    }

    /// All users.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] also for a row that breaks a rule of `pbx-domain`, with the user's
    /// id in its chain.
    pub fn list(&self) -> Result<UserList, DatabaseError> {
        self.sessions.repeatable(list::read)
    }

    /// All users, unless the list with the token `known` still holds them. One round trip in both cases, and next to no
    /// work for PostgreSQL where nothing changed.
    ///
    /// # Errors
    ///
    /// As [`UserRepository::list`].
    pub fn list_unless(&self, known: ChangeToken) -> Result<Option<UserList>, DatabaseError> {
        self.sessions
            .repeatable(move |connection| list::read_rows_unless(connection, known)?.map(list::from_rows).transpose())
    }

    /// Deletes a user; the extension is free at once. `false` when there is no such user.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; after [`DatabaseError::Unavailable`] the user may be gone.
    pub fn delete(&self, id: UserId) -> Result<bool, DatabaseError> {
        Ok(self.writer.change(Request::Delete(id))?.is_ok())
    }
}
