//! Queries of constant SQL that are prepared once on each connection, so that each is one round trip: Diesel's own `sql` is
//! prepared each time.

/// Makes a query of a type that is a `QueryFragment`.
macro_rules! prepared {
    ($query:ty, $columns:ty) => {
        impl diesel::query_builder::QueryId for $query {
            type QueryId = Self;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl diesel::query_builder::Query for $query {
            type SqlType = $columns;
        }

        impl diesel::RunQueryDsl<diesel::pg::PgConnection> for $query {}
    };
}

pub(crate) use prepared;
