//! Points in time as PostgreSQL keeps them: whole microseconds.

use std::time::{Duration, SystemTime};

use diesel::pg::data_types::PgTimestamp;

/// PostgreSQL counts from 2000-01-01, 10 957 days after Unix does.
const EPOCH: Duration = Duration::from_hours(262_968);

pub(crate) fn to_system_time(PgTimestamp(microseconds): PgTimestamp) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH + EPOCH;
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 { epoch - distance } else { epoch + distance }
}

/// What lies outside PostgreSQL's range becomes its nearest end.
pub(crate) fn from_system_time(time: SystemTime) -> PgTimestamp {
    let microseconds = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
    PgTimestamp(match time.duration_since(SystemTime::UNIX_EPOCH + EPOCH) {
        Ok(after) => microseconds(after),
        Err(before) => -microseconds(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_returns_as_it_went_to_the_microsecond() {
        for microseconds in [0, 1, -1, 851_634_671_123_456, -946_684_800_000_000] {
            assert_eq!(from_system_time(to_system_time(PgTimestamp(microseconds))).0, microseconds);
        }
        let now = SystemTime::now();
        let kept = to_system_time(from_system_time(now));
        assert!(now.duration_since(kept).unwrap() < Duration::from_micros(1));
    }
}
