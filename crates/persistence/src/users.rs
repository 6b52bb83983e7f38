use std::{fmt, sync::Arc};

use diesel::{dsl::exists, prelude::*, result::Error as SqlError};
use pbx_domain::{ApplyId, CreateRefusal, NewUser, Realm, Revision, SipPassword, User, UserId};

use crate::{
    error::{CreateUserError, DatabaseError, DeleteUserError, ErrorDetail},
    list::{self, ChangeToken, UserList},
    schema::{apply_audit_log, tenants},
    session::{Abort, Sessions},
    writer::{Request, Response, Writer},
};

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

/// The revision that validates a cached list, and whether the last apply is known: the tenant without its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The tenant's revision.
    pub revision: Revision,
    /// Whether the apply that was asked for has a record in this database: it has none when the
    /// database is another, or was restored to a time before it.
    pub applied_is_known: bool,
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
    /// - [`CreateUserError::EmailTaken`], also when no extension is free: a caller that repeats a create
    ///   whose answer was lost has to learn that it worked.
    /// - [`CreateUserError::NoSuchUser`]
    /// - [`CreateUserError::ExtensionsExhausted`]
    /// - [`CreateUserError::Database`]; after [`DatabaseError::Unavailable`] the user may exist.
    pub fn create(&self, new: &NewUser, realm: &Realm, password: &SipPassword) -> Result<User, CreateUserError> {
        let request = Request::Create {
            id: UserId::generate(),
            new: new.clone(),
            realm: realm.clone(),
            password: password.clone(),
        };
        match self.writer.change(request)? {
            Response::Created(user) => Ok(*user),
            Response::Refused(CreateRefusal::EmailTaken { id, extension }) => {
                Err(CreateUserError::EmailTaken { id, extension })
            }
            Response::Refused(CreateRefusal::NoSuchUser) | Response::NotFound => Err(CreateUserError::NoSuchUser),
            Response::Refused(_) | Response::Deleted => Err(CreateUserError::ExtensionsExhausted),
        }
    }

    /// All users.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] also for a row that breaks a rule of `pbx-domain`, with the user's
    /// id in its chain.
    pub fn list(&self) -> Result<UserList, DatabaseError> {
        self.sessions.repeatable(move |connection| match list::read(connection, None)? {
            Some(list) => Ok(list),
            None => Err(no_tenant(SqlError::NotFound)),
        })
    }

    /// All users, unless the list with the token `known` still holds them. One round trip in both cases, and next to no
    /// work for PostgreSQL where nothing changed.
    ///
    /// # Errors
    ///
    /// As [`UserRepository::list`].
    pub fn list_unless(&self, known: Option<ChangeToken>) -> Result<Option<UserList>, DatabaseError> {
        self.sessions.repeatable(move |connection| list::read(connection, known))
    }

    /// Deletes a user; the extension is free at once.
    ///
    /// # Errors
    ///
    /// - [`DeleteUserError::NotFound`]
    /// - [`DeleteUserError::Database`]; after [`DatabaseError::Unavailable`] the user may be gone.
    pub fn delete(&self, id: UserId) -> Result<(), DeleteUserError> {
        match self.writer.change(Request::Delete(id))? {
            Response::Deleted => Ok(()),
            _ => Err(DeleteUserError::NotFound),
        }
    }

    /// The tenant's revision, and whether `applied` has a record here, which `None` has not. One small
    /// query.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub fn standing(&self, applied: Option<ApplyId>) -> Result<Standing, DatabaseError> {
        let applied = applied.map(ApplyId::as_uuid);
        self.sessions.repeatable(move |connection| {
            let record = apply_audit_log::table.filter(apply_audit_log::id.nullable().eq(applied));
            let (revision, applied_is_known) = tenants::table
                .find(TENANT)
                .select((tenants::revision, exists(record)))
                .first(connection)
                .map_err(no_tenant)?;
            Ok(Standing { revision: Revision::new(revision), applied_is_known })
        })
    }
}

/// The tenant's row is the one that has to be there.
pub(crate) fn no_tenant<E: From<DatabaseError>>(error: SqlError) -> Abort<E> {
    match error {
        SqlError::NotFound => {
            let cause = ErrorDetail::new(format!(
                "the table tenants has no row {TENANT:?}: restore the database from a backup"
            ));
            Abort::Reason(DatabaseError::Failed(cause).into())
        }
        error => Abort::Sql(error),
    }
}
