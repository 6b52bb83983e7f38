use diesel::{
    dsl::{exists, sql},
    pg::PgConnection,
    prelude::*,
    result::{DatabaseErrorKind, Error as SqlError},
    sql_types::{BigInt, Text},
};
use pbx_domain::{ApplyId, Email, Extension, ExtensionRange, Ha1, NewUser, Realm, Revision, SipPassword, User, UserId};

use crate::{
    error::{CreateUserError, DatabaseError, DeleteUserError, ErrorDetail},
    list::{self, ChangeToken, UserList},
    schema::{apply_audit_log, extensions, tenants, users},
    session::{Abort, Sessions},
    timestamp::to_system_time,
};

/// The one tenant there is.
pub(crate) const TENANT: &str = "default";

/// The users of the tenant, each with its extension and credential.
#[derive(Debug, Clone)]
pub struct UserRepository {
    sessions: Sessions,
}

/// How the tenant stands, without its users: what tells whether a list that was read before is
/// still true.
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
        Self { sessions }
    }

    /// Creates a user with the lowest free extension; the password is for the phone, of which
    /// the digest for `realm` is kept.
    ///
    /// Creators anywhere wait for each other's commit, so that no number is given twice and none
    /// is left out.
    ///
    /// # Errors
    ///
    /// - [`CreateUserError::EmailTaken`], also when no extension is free: whoever repeats a create
    ///   whose answer was lost must learn that it worked.
    /// - [`CreateUserError::ExtensionsExhausted`]
    /// - [`CreateUserError::Database`]; after [`DatabaseError::Unavailable`] the user may exist.
    pub fn create(&self, new: &NewUser, realm: &Realm, password: &SipPassword) -> Result<User, CreateUserError> {
        let id = UserId::generate();
        self.sessions.transaction(|connection| {
            let revision = begin_change(connection)?;
            let taken: Vec<i32> =
                extensions::table.filter(extensions::tenant.eq(TENANT)).select(extensions::number).load(connection)?;
            let taken = taken.into_iter().filter_map(|number| Extension::new(number).ok());
            let Some(extension) = ExtensionRange::ALL.lowest_free(taken) else {
                let is_email_taken = is_email_taken(connection, &new.email)?;
                return Err(Abort::Reason(if is_email_taken {
                    CreateUserError::EmailTaken
                } else {
                    CreateUserError::ExtensionsExhausted
                }));
            };
            let ha1 = Ha1::of(extension, realm, password);
            let created_at = diesel::insert_into(users::table)
                .values((
                    users::id.eq(id.as_uuid()),
                    users::tenant.eq(TENANT),
                    users::name.eq(new.name.as_str()),
                    users::email.eq(new.email.as_str()),
                    users::revision.eq(revision.get()),
                ))
                .returning(users::created_at)
                .get_result(connection)
                .map_err(email_taken)?;
            diesel::insert_into(extensions::table)
                .values((
                    extensions::tenant.eq(TENANT),
                    extensions::number.eq(i32::from(extension.get())),
                    extensions::user_id.eq(id.as_uuid()),
                    extensions::realm.eq(realm.as_str()),
                    extensions::ha1.eq(ha1.as_str()),
                    extensions::revision.eq(revision.get()),
                ))
                .execute(connection)?;
            Ok(User {
                id,
                name: new.name.clone(),
                email: new.email.clone(),
                extension,
                realm: realm.clone(),
                ha1,
                created_at: to_system_time(created_at),
                revision,
            })
        })
    }

    /// All users.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] also for a row that breaks a rule of `pbx-domain`, with the user's
    /// id in its chain.
    pub fn list(&self) -> Result<UserList, DatabaseError> {
        self.sessions.repeatable(|connection| match list::read(connection, None)? {
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
        self.sessions.repeatable(|connection| list::read(connection, known))
    }

    /// Deletes a user; the extension is free at once.
    ///
    /// # Errors
    ///
    /// - [`DeleteUserError::NotFound`]
    /// - [`DeleteUserError::Database`]; after [`DatabaseError::Unavailable`] the user may be gone.
    pub fn delete(&self, id: UserId) -> Result<(), DeleteUserError> {
        self.sessions.transaction(|connection| {
            begin_change(connection)?;
            let user = users::table.find(id.as_uuid()).filter(users::tenant.eq(TENANT));
            match diesel::delete(user).execute(connection)? {
                0 => Err(Abort::Reason(DeleteUserError::NotFound)),
                _ => Ok(()),
            }
        })
    }

    /// The tenant's revision, and whether `applied` has a record here, which `None` has not. One small
    /// query.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub fn standing(&self, applied: Option<ApplyId>) -> Result<Standing, DatabaseError> {
        let applied = applied.map(ApplyId::as_uuid);
        self.sessions.repeatable(|connection| {
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

/// Begins a change: moves the tenant's revision, which locks out all other writers.
fn begin_change<E: From<DatabaseError>>(connection: &mut PgConnection) -> Result<Revision, Abort<E>> {
    let moved = "UPDATE tenants SET revision = revision + 1, moved_by = pg_current_xact_id() WHERE name = 'default' \
                 RETURNING revision";
    let revision = sql::<BigInt>(moved).get_result(connection).map_err(no_tenant)?;
    Ok(Revision::new(revision))
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

diesel::define_sql_function! {
    fn lower(text: Text) -> Text;
}

fn is_email_taken(connection: &mut PgConnection, email: &Email) -> Result<bool, SqlError> {
    let others = users::table.filter(users::tenant.eq(TENANT)).filter(lower(users::email).eq(email.key()));
    diesel::select(exists(others)).get_result(connection)
}

fn email_taken(error: SqlError) -> Abort<CreateUserError> {
    match &error {
        SqlError::DatabaseError(DatabaseErrorKind::UniqueViolation, about)
            if about.constraint_name() == Some("users_email_key") =>
        {
            Abort::Reason(CreateUserError::EmailTaken)
        }
        _ => Abort::Sql(error),
    }
}
