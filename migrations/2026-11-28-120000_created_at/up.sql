-- SQL written by hand could store a time that answers cannot have: RFC 3339 has the years 0000 to 9999, and no infinity.
-- The calendar of the program (jiff) ends a day before that.

-- Nobody may add such a user between the question and the constraint.
LOCK TABLE users IN ACCESS EXCLUSIVE MODE;

ALTER TABLE users ADD CONSTRAINT users_created_at_check
    CHECK (created_at >= '0001-01-01 00:00:00+00' AND created_at < '9999-12-30 22:00:00+00') NOT VALID;

-- As for the addresses: PostgreSQL would name no user.
DO $$
DECLARE
    rule   text := (SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
                     WHERE conrelid = 'users'::regclass AND conname = 'users_created_at_check');
    broken record;
BEGIN
    EXECUTE format('SELECT id, email, created_at, count(*) OVER () AS number FROM users WHERE NOT (%s) ORDER BY id LIMIT 1', rule)
       INTO broken;
    IF broken.id IS NOT NULL THEN
        RAISE 'user % (%) has the time of creation "%", which is not allowed any more (% in all): give it another one with '
            '"UPDATE users SET created_at = now() WHERE id = ''%''", or delete it with '
            '"DELETE FROM users WHERE id = ''%''", then migrate again',
            broken.id, broken.email, broken.created_at, broken.number, broken.id, broken.id;
    END IF;
END
$$;
ALTER TABLE users VALIDATE CONSTRAINT users_created_at_check;
