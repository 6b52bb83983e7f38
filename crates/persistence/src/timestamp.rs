use std::time::{Duration, SystemTime};

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types;
use serde::{Deserialize, Serialize};

/// A point in time in a column of the type `timestamptz`, in whole microseconds. Diesel takes [`SystemTime`] only for
/// `timestamp`, which PostgreSQL sends as the same bytes. JSON has the microseconds since 1970, negative before it: serde
/// takes no earlier time, and the clock of a host may be wrong.
#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow, Serialize, Deserialize)]
#[diesel(sql_type = sql_types::Timestamptz)]
#[serde(from = "i64", into = "i64")]
pub(crate) struct Timestamp(pub(crate) SystemTime);

impl From<i64> for Timestamp {
    fn from(microseconds: i64) -> Self {
        let distance = Duration::from_micros(microseconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        Self(if microseconds < 0 { epoch - distance } else { epoch + distance })
    }
}

impl From<Timestamp> for i64 {
    fn from(Timestamp(time): Timestamp) -> Self {
        let microseconds = |distance: Duration| Self::try_from(distance.as_micros()).unwrap_or(Self::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => microseconds(after),
            Err(before) => -microseconds(before.duration()),
        }
    }
}

impl ToSql<sql_types::Timestamptz, Pg> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<sql_types::Timestamp, Pg>::to_sql(&self.0, out)
    }
}

impl FromSql<sql_types::Timestamptz, Pg> for Timestamp {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        FromSql::<sql_types::Timestamp, Pg>::from_sql(value).map(Self)
    }
}
