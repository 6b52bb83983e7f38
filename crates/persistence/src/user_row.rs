//! A user as the database gives it, and as the domain knows it.

use std::error::Error;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::Text;
use pbx_domain::{DisplayName, Email, Extension, Ha1, Realm, Revision, User, UserId};
use uuid::Uuid;

use crate::error::DatabaseError;
use crate::timestamp::Timestamp;

/// The columns of a user and its extension.
#[derive(Queryable)]
pub(crate) struct UserRow {
    pub(crate) id: Uuid,
    name: Checked<DisplayName>,
    pub(crate) email: Checked<Email>,
    pub(crate) number: i32,
    realm: Checked<Realm>,
    ha1: Checked<Ha1>,
    pub(crate) created_at: Timestamp,
    pub(crate) user_revision: i64,
    extension_revision: i64,
}

impl UserRow {
    /// The user, or which user breaks which rule.
    pub(crate) fn into_user(self) -> Result<User, DatabaseError> {
        let id = UserId::from(self.id);
        Ok(User {
            id,
            name: self.name.legal("name", id)?,
            email: self.email.legal("email", id)?,
            extension: Checked(Extension::new(self.number)).legal("extension", id)?,
            realm: self.realm.legal("realm", id)?,
            ha1: self.ha1.legal("ha1", id)?,
            created_at: self.created_at.0,
            revision: Revision::new(self.user_revision.max(self.extension_revision)),
        })
    }
}

/// A column that was held against its rule while it was decoded, without a copy in between. What
/// came of it is kept, to be reported together with whose it is.
#[derive(Debug, FromSqlRow)]
pub(crate) struct Checked<T, E = <T as FromStr>::Err>(pub(crate) Result<T, E>);

impl<T: FromStr> FromSql<Text, Pg> for Checked<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(std::str::from_utf8(value.as_bytes())?.parse()))
    }
}

impl<T, E: Error> Checked<T, E> {
    fn legal(self, column: &str, id: UserId) -> Result<T, DatabaseError> {
        self.0.map_err(|error| DatabaseError::failed(format!("user {id}: the {column} {error}")))
    }
}
