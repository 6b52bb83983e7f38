//! All users, read in one statement.

use diesel::pg::{Pg, PgConnection, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use pbx_domain::{DatabaseId, Revision, User};
use uuid::Uuid;

use crate::error::DatabaseError;
use crate::session::Abort;
use crate::user_row::UserRow;
use crate::users::TENANT;

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

/// Identifies the users of one moment: a random part, which every change replaces, SQL written by hand included, the
/// revision, and the definition of the tables. Two lists with the same token hold the same users, whatever became of the
/// database in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangeToken {
    pub(crate) random: Uuid,
    pub(crate) revision: i64,
    /// `None` where the token cannot be relied on.
    pub(crate) guard: Option<i64>,
}

/// A row of the list: the tenant's columns, and a user's where there is one.
pub(crate) type ListSql = (
    BigInt,
    SqlUuid,
    Nullable<BigInt>,
    SqlUuid,
    Bool,
    Nullable<(SqlUuid, Text, Text, Integer, Text, Text, Timestamptz, BigInt, BigInt)>,
);
pub(crate) type ListRow = (i64, Uuid, Option<i64>, Uuid, bool, Option<UserRow>);

/// What the token relies on: the three triggers of each table that replace it, and the tables' own rows of
/// `pg_class`, as a number that each change of these rows makes larger (the transactions that wrote them). So a trigger that
/// was disabled for a while shows, and so does a column that was rewritten, for which no trigger fires. A column's new name
/// is elsewhere in the catalogue and does not show, nor does a trigger's function that was replaced.
///
/// NULL where no token can be relied on: one of the triggers was dropped or disabled, or enabled in another way than the
/// migration does, as by `pg_restore --disable-triggers`. By name: with a pattern it took twice the time, for each create and
/// each unchanged list.
///
/// Of a partitioned table `ONLY` reads no row: the list would be empty, and an apply take all users out of Asterisk. So
/// whoever asks for the guard gets an error there, with or without triggers.
pub(crate) const GUARD: &str = "(SELECT (SELECT sum(CASE relkind WHEN 'p' \
     THEN (relname || ' is a partitioned table, of which the portal reads nothing')::bigint ELSE xmin::text::bigint END)::bigint \
     FROM pg_class WHERE oid IN ('users'::regclass, 'extensions'::regclass)) \
     + CASE WHEN count(*) = 6 THEN sum(xmin::text::bigint)::bigint END FROM pg_trigger \
     WHERE tgrelid IN ('users'::regclass, 'extensions'::regclass) \
     AND tgname IN ('users_token', 'users_revision', 'users_truncated', \
                    'extensions_token', 'extensions_revision', 'extensions_truncated') AND tgenabled = 'A')";

/// The list of the tenant, without its users where its token is the known one, which goes between the pieces. OFFSET keeps the planner from joining
/// before it has compared the tokens: while nothing changed, no user is read.
///
/// Of an extension without a user, or a user without one, there is no list but an error: a restore that went on after it
/// could not read the users left their extensions, and an apply took all of them out of Asterisk.
///
/// It is a FULL JOIN also because PostgreSQL does that by a hash, whatever it believes of the tables. Of an inner join on tables
/// that were never analyzed, as those of a new database, it expects four rows, and compares each user with each extension:
/// 23 ms for 1000 users instead of one.
const LIST: [&str; 5] = [
    "SELECT tenants.revision, tenants.token, guards.guard, tenants.identity, other.is_read, listed.* FROM tenants \
     CROSS JOIN LATERAL (SELECT ",
    " AS guard OFFSET 0) guards \
     CROSS JOIN LATERAL (SELECT guard IS NULL OR (tenants.token, tenants.revision, guard) IS DISTINCT FROM (",
    ", ",
    ", ",
    ") AS is_read OFFSET 0) other LEFT JOIN LATERAL ( \
     SELECT * FROM (SELECT users.id, users.name, users.email, extensions.number, extensions.realm, extensions.ha1, \
     users.created_at, users.revision, extensions.revision AS extension_revision \
     FROM (SELECT * FROM ONLY users WHERE tenant = 'default') users \
     FULL JOIN (SELECT * FROM ONLY extensions WHERE tenant = 'default') extensions ON extensions.user_id = users.id OFFSET 0) joined \
     WHERE other.is_read AND CASE WHEN id IS NOT NULL AND number IS NOT NULL THEN true \
     ELSE (coalesce('the extension ' || number || ' has no user', 'the user ' || id || ' has no extension') \
     || ', as after a restore that failed in part')::boolean END OFFSET 0) listed ON true \
     WHERE tenants.name = 'default'",
];

/// The list, without its users where its token is the known one. It is prepared once on each connection, as its text is
/// always the same: Diesel's own `sql` is prepared each time.
#[derive(QueryId)]
pub(crate) struct ListQuery {
    random: Option<Uuid>,
    revision: Option<i64>,
    guard: Option<i64>,
}

impl Query for ListQuery {
    type SqlType = ListSql;
}

impl RunQueryDsl<PgConnection> for ListQuery {}

impl QueryFragment<Pg> for ListQuery {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(LIST[0]);
        out.push_sql(GUARD);
        out.push_sql(LIST[1]);
        out.push_bind_param::<Nullable<SqlUuid>, _>(&self.random)?;
        out.push_sql(LIST[2]);
        out.push_bind_param::<Nullable<BigInt>, _>(&self.revision)?;
        out.push_sql(LIST[3]);
        out.push_bind_param::<Nullable<BigInt>, _>(&self.guard)?;
        out.push_sql(LIST[4]);
        Ok(())
    }
}

impl ListQuery {
    /// To follow a `WITH` that writes in the same snapshot.
    pub(crate) const ALL: Self = Self { random: None, revision: None, guard: None };
}

/// The list.
pub(crate) fn read(connection: &mut PgConnection) -> Result<UserList, Abort> {
    from_rows(read_rows(connection)?)
}

/// The rows of the list.
pub(crate) fn read_rows(connection: &mut PgConnection) -> Result<Vec<ListRow>, Abort> {
    Ok(load(connection, ListQuery::ALL)?)
}

/// The rows of the list, or `None` where its token is `known`.
pub(crate) fn read_rows_unless(
    connection: &mut PgConnection,
    known: ChangeToken,
) -> Result<Option<Vec<ListRow>>, Abort> {
    let rows =
        load(connection, ListQuery { random: Some(known.random), revision: Some(known.revision), guard: known.guard })?;
    let is_known = rows.first().is_some_and(|(_, _, _, _, is_read, _)| !is_read);
    Ok((!is_known).then_some(rows))
}

/// Row by row: each is decoded while PostgreSQL sends the next.
fn load(connection: &mut PgConnection, query: ListQuery) -> QueryResult<Vec<ListRow>> {
    query.load_iter::<_, PgRowByRowLoadingMode>(connection)?.collect()
}

/// The tenant is in every row, and in one of its own where it has no users.
pub(crate) fn from_rows(rows: Vec<ListRow>) -> Result<UserList, Abort> {
    let (token, database) = tenant_of(&rows)?;
    let users = rows.into_iter().filter_map(|(.., row)| row).map(UserRow::into_user);
    let mut users: Vec<User> = users.collect::<Result<_, _>>()?;
    // A tenth of the time that PostgreSQL would take for it.
    users.sort_unstable_by_key(|user| user.extension);
    Ok(UserList { token, database: DatabaseId::from(database), revision: Revision::new(token.revision), users })
}

/// What the first row says of the tenant, whose row has to be there.
pub(crate) fn tenant_of(rows: &[ListRow]) -> Result<(ChangeToken, Uuid), DatabaseError> {
    let Some(&(revision, random, guard, database, ..)) = rows.first() else {
        let cause = format!("the table tenants has no row {TENANT:?}: restore the database from a backup");
        return Err(DatabaseError::failed(cause));
    };
    Ok((ChangeToken { random, revision, guard }, database))
}
