//! All users, read in one statement.

use diesel::{
    pg::{Pg, PgConnection},
    prelude::*,
    query_builder::{AstPass, QueryFragment},
    sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use pbx_domain::{DatabaseId, Revision, User};
use uuid::Uuid;

use crate::{error::DatabaseError, query::prepared, row::Row, session::Abort, users::no_tenant};

/// All users as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserList {
    /// Identifies what this list holds.
    pub token: ChangeToken,
    /// The database that it was read from.
    pub database: DatabaseId,
    /// The tenant's revision: an order for people. Another history of the database, as a restore or a failover makes
    /// one, may have other users at the same revision.
    pub revision: Revision,
    /// All users, by extension.
    pub users: Vec<User>,
}

/// Identifies the users of one moment: it is random, and every change replaces it, SQL written by hand included. Two lists
/// with the same token hold the same users, whatever became of the database in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangeToken(Uuid);

impl ChangeToken {
    pub(crate) const fn as_uuid(self) -> Uuid {
        self.0
    }
}

/// A row of the list: the tenant's columns, and a user's where there is one.
pub(crate) type ListSql =
    (BigInt, SqlUuid, SqlUuid, Nullable<(SqlUuid, Text, Text, Integer, Text, Text, Timestamptz, BigInt, BigInt)>);
type ListRow = (i64, Uuid, Uuid, Option<Row>);

/// The list of the tenant, without its users where the token is the one that follows. OFFSET keeps the planner from joining
/// before it has compared the tokens: while nothing changed, no user is read.
const LIST: &str = "SELECT tenants.revision, tenants.token, tenants.identity, listed.* FROM tenants LEFT JOIN LATERAL ( \
     SELECT users.id, users.name, users.email, extensions.number, extensions.realm, extensions.ha1, users.created_at, \
     users.revision, extensions.revision AS extension_revision \
     FROM users JOIN extensions ON extensions.tenant = users.tenant AND extensions.user_id = users.id \
     WHERE users.tenant = tenants.name AND tenants.token IS DISTINCT FROM ";
const LIST_END: &str = " OFFSET 0) listed ON true WHERE tenants.name = 'default'";

/// The list, without its users where its token is the known one.
pub(crate) struct ListQuery {
    known: Option<Uuid>,
}

prepared!(ListQuery, ListSql);

impl QueryFragment<Pg> for ListQuery {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(LIST);
        out.push_bind_param::<Nullable<SqlUuid>, _>(&self.known)?;
        out.push_sql(LIST_END);
        Ok(())
    }
}

impl ListQuery {
    /// To follow a `WITH` that writes in the same snapshot.
    pub(crate) const ALL: Self = Self { known: None };
}

/// The list, or `None` where its token is `known`.
pub(crate) fn read(
    connection: &mut PgConnection,
    known: Option<ChangeToken>,
) -> Result<Option<UserList>, Abort<DatabaseError>> {
    let query = ListQuery { known: known.map(ChangeToken::as_uuid) };
    let list = from_rows(query.load(connection)?)?;
    Ok(Some(list).filter(|list| known != Some(list.token)))
}

/// The columns of one user, by its address in lower case.
const USER: &str = "SELECT users.id, users.name, users.email, extensions.number, extensions.realm, extensions.ha1, \
     users.created_at, users.revision, extensions.revision FROM users \
     JOIN extensions ON extensions.tenant = users.tenant AND extensions.user_id = users.id \
     WHERE users.tenant = 'default' AND lower(users.email COLLATE \"C\") = ";

/// The user with this address, in lower case.
pub(crate) struct UserQuery {
    pub(crate) email_key: String,
}

prepared!(UserQuery, (SqlUuid, Text, Text, Integer, Text, Text, Timestamptz, BigInt, BigInt));

impl QueryFragment<Pg> for UserQuery {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(USER);
        out.push_bind_param::<Text, _>(&self.email_key)
    }
}

/// The user whom [`UserQuery`] finds.
pub(crate) fn read_user(connection: &mut PgConnection, email_key: &str) -> Result<Option<User>, Abort<DatabaseError>> {
    let query = UserQuery { email_key: email_key.to_owned() };
    let row: Option<Row> = query.get_result(connection).optional()?;
    row.map(Row::into_user).transpose().map_err(Abort::Reason)
}

/// The tenant is in every row, and in one of its own where it has no users.
pub(crate) fn from_rows(rows: Vec<ListRow>) -> Result<UserList, Abort<DatabaseError>> {
    let &(revision, token, database, _) = rows.first().ok_or(diesel::NotFound).map_err(no_tenant)?;
    let users = rows.into_iter().filter_map(|(.., row)| row).map(Row::into_user);
    let mut users: Vec<User> = users.collect::<Result<_, _>>().map_err(Abort::Reason)?;
    // A tenth of the time that PostgreSQL would take for it.
    users.sort_unstable_by_key(|user| user.extension);
    Ok(UserList {
        token: ChangeToken(token),
        database: DatabaseId::from(database),
        revision: Revision::new(revision),
        users,
    })
}
