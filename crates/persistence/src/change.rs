//! The statements that change the users: what is known of them, and one change of it.

use std::time::Duration;

use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use pbx_domain::{Extension, Ha1, NewUser, Realm, Roster, UserId};
use uuid::Uuid;

use crate::error::DatabaseError;
use crate::list::{self, ChangeToken, GUARD, ListRow};

/// The users as of one moment, as far as a change has to know them.
pub(crate) struct Known {
    pub(crate) token: ChangeToken,
    pub(crate) roster: Roster,
}

impl Known {
    /// Unlike a list, it takes users that break a rule: they keep nobody from changing others, and can be deleted, but for
    /// those whose number is no extension.
    pub(crate) fn of(rows: Vec<ListRow>) -> Result<Self, DatabaseError> {
        let (token, _) = list::tenant_of(&rows)?;
        let mut roster = Roster::default();
        for user in rows.into_iter().filter_map(|(.., user)| user) {
            let id = UserId::from(user.id);
            // A number outside 1000-1999, which only a dropped constraint lets in, is never given to anybody; nor is an
            // address that is none.
            if let Ok(extension) = Extension::new(user.number) {
                let email_key = user.email.0.map_or_else(|_| id.to_string(), |email| email.key());
                roster.insert(id, extension, email_key);
            }
        }
        Ok(Self { token, roster })
    }
}

/// One change of the users as they are known: users who go, and users who come. Its row is the revision and the time of the
/// change; there is none where the users are others than the known ones.
///
/// It happens at most once, however often it is sent: only where the users are the known ones. The token shows that, and the
/// change replaces it.
#[derive(Clone, Default)]
pub(crate) struct ChangeQuery {
    known: Uuid,
    known_revision: i64,
    /// What their token relies on.
    guard: Option<i64>,
    pub(crate) token: Uuid,
    pub(crate) deleted: Vec<Uuid>,
    pub(crate) ids: Vec<Uuid>,
    names: Vec<String>,
    emails: Vec<String>,
    numbers: Vec<i32>,
    realms: Vec<String>,
    ha1s: Vec<String>,
    /// How long one user's row is waited for, as PostgreSQL writes it.
    row_wait: String,
}

impl ChangeQuery {
    /// An empty change.
    pub(crate) fn of(known: ChangeToken, row_wait: Duration) -> Self {
        let row_wait = format!("{}ms", row_wait.as_millis().max(1));
        let ChangeToken { random, revision, guard } = known;
        Self { known: random, known_revision: revision, guard, token: Uuid::new_v4(), row_wait, ..Self::default() }
    }

    pub(crate) fn create(&mut self, id: UserId, new: &NewUser, extension: Extension, realm: &Realm, ha1: &Ha1) {
        self.ids.push(id.as_uuid());
        self.names.push(new.name.as_str().to_owned());
        self.emails.push(new.email.as_str().to_owned());
        self.numbers.push(extension.get().into());
        self.realms.push(realm.as_str().to_owned());
        self.ha1s.push(ha1.as_str().to_owned());
    }

    pub(crate) fn delete(&mut self, id: UserId) {
        self.deleted.push(id.as_uuid());
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.ids.is_empty()
    }
}

impl diesel::query_builder::QueryId for ChangeQuery {
    // The text depends on what changes: Diesel keeps a prepared statement for each.
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl diesel::query_builder::Query for ChangeQuery {
    type SqlType = (BigInt, Timestamptz);
}

impl RunQueryDsl<PgConnection> for ChangeQuery {}

/// PostgreSQL runs the data-modifying parts of a `WITH` in any order, unless one reads the rows of another. The order
/// matters: a user who takes the place of another gets the same extension, so the old row has to go before the new one
/// comes, or the number is taken twice. So each step reads the count of the rows of the step before
/// (`before.steps >= 0`, which is always true):
///
/// `moved` (the revision; no row unless the token is the known one, and then the other steps find nothing to do) → `freed`
/// (extensions deleted) → `gone` (users deleted) → `made` (users inserted) → `numbered` (extensions inserted).
///
/// Steps that have nothing to do are left out: a statement's triggers cost as much as its rows.
///
/// Whoever waits for a user's row has the tenant's already, and keeps all others waiting: so that takes [`Self::row_wait`] at
/// most. Where a trigger keeps users from being deleted, or changes a column of a new one, the whole statement fails: the
/// answer has what was sent. That is asked as each row is returned: of all rows in the end, it took twice the time.
///
/// The setting `pbx_portal.token` names the token that this statement gives the tenant, so that the triggers keep it
/// instead of making one that this process does not know.
impl QueryFragment<Pg> for ChangeQuery {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH moved AS ( \
             UPDATE tenants SET revision = revision + 1, moved_by = pg_current_xact_id(), \
             token = set_config('pbx_portal.token', ",
        );
        // As text: it becomes a setting.
        out.push_bind_param::<SqlUuid, _>(&self.token)?;
        out.push_sql("::text, true)::uuid WHERE name = 'default' AND token = ");
        out.push_bind_param::<SqlUuid, _>(&self.known)?;
        out.push_sql(" AND revision = ");
        out.push_bind_param::<BigInt, _>(&self.known_revision)?;
        out.push_sql(" AND ");
        out.push_sql(GUARD);
        out.push_sql(" IS NOT DISTINCT FROM ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.guard)?;
        out.push_sql(" RETURNING revision)");
        let mut last = "moved";
        if !self.deleted.is_empty() {
            last = "gone";
            out.push_sql(", freed AS (DELETE FROM extensions USING (SELECT set_config('lock_timeout', ");
            out.push_bind_param::<Text, _>(&self.row_wait)?;
            out.push_sql(", true) FROM moved) AS moved WHERE tenant = 'default' AND user_id = ");
            self.push_deleted(&mut out)?;
            out.push_sql(
                " RETURNING 1), \
                 gone AS (DELETE FROM users USING (SELECT count(*) AS steps FROM freed) AS before \
                 WHERE before.steps >= 0 AND EXISTS (SELECT FROM moved) AND tenant = 'default' AND id = ",
            );
            self.push_deleted(&mut out)?;
            out.push_sql(" RETURNING 1)");
        }
        if !self.ids.is_empty() {
            out.push_sql(
                ", made AS (INSERT INTO users (tenant, id, name, email, revision) \
                 SELECT 'default', new.id, new.name, new.email, moved.revision \
                 FROM moved, (SELECT count(*) AS steps FROM ",
            );
            out.push_sql(last);
            last = "numbered";
            out.push_sql(") AS before, unnest(");
            out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(&self.names)?;
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(&self.emails)?;
            out.push_sql(") AS new (id, name, email) WHERE before.steps >= 0 RETURNING CASE WHEN name = ANY(");
            out.push_bind_param::<Array<Text>, _>(&self.names)?;
            out.push_sql(") AND email = ANY(");
            out.push_bind_param::<Array<Text>, _>(&self.emails)?;
            out.push_sql(
                ") THEN 1 ELSE ('a trigger changed the new user ' || id)::integer END), \
                 numbered AS (INSERT INTO extensions (tenant, user_id, number, realm, ha1, revision) \
                 SELECT 'default', new.id, new.number, new.realm, new.ha1, moved.revision \
                 FROM moved, (SELECT count(*) AS steps FROM made) AS before, unnest(",
            );
            out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
            out.push_sql(", ");
            out.push_bind_param::<Array<Integer>, _>(&self.numbers)?;
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(&self.realms)?;
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(&self.ha1s)?;
            out.push_sql(") AS new (id, number, realm, ha1) WHERE before.steps >= 0 RETURNING CASE WHEN number = ANY(");
            out.push_bind_param::<Array<Integer>, _>(&self.numbers)?;
            out.push_sql(") AND realm = ANY(");
            out.push_bind_param::<Array<Text>, _>(&self.realms)?;
            out.push_sql(") AND ha1 = ANY(");
            out.push_bind_param::<Array<Text>, _>(&self.ha1s)?;
            out.push_sql(") THEN 1 ELSE ('a trigger changed the extension of the new user ' || user_id)::integer END)");
        }
        out.push_sql(" SELECT moved.revision, now() FROM moved, (SELECT count(*) AS steps FROM ");
        out.push_sql(last);
        out.push_sql(") AS before WHERE before.steps >= 0");
        if !self.deleted.is_empty() {
            out.push_sql(" AND CASE WHEN moved.revision > 0 AND (SELECT count(*) FROM gone) = cardinality(");
            out.push_bind_param::<Array<SqlUuid>, _>(&self.deleted)?;
            out.push_sql(
                ") THEN true ELSE ('a trigger keeps users from being deleted: revision ' || moved.revision)::boolean END",
            );
        }
        Ok(())
    }
}

impl ChangeQuery {
    /// One id is compared by itself: for an array of unknown length PostgreSQL rather reads all rows of the tenant.
    fn push_deleted<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if let [id] = &*self.deleted {
            return out.push_bind_param::<SqlUuid, _>(id);
        }
        out.push_sql("ANY(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.deleted)?;
        out.push_sql(")");
        Ok(())
    }
}
