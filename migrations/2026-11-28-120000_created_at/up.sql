-- SQL written by hand could store a time that answers cannot have: RFC 3339 has the years 0000 to 9999, and no infinity.
-- The calendar of the program (jiff) ends a day before that.

ALTER TABLE users ADD CONSTRAINT users_created_at_check
    CHECK (created_at >= '0001-01-01 00:00:00+00' AND created_at < '9999-12-30 22:00:00+00');
