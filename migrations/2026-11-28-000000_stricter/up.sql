-- What SQL written by hand could still do: store an address that the portal cannot read, so that no list could be made;
-- and change users without a new token, in a session that replicates (session_replication_role).

-- In the order of the writers, as in the migration before: a portal that deletes a user locks the extension first.
LOCK TABLE tenants, users, extensions IN ACCESS EXCLUSIVE MODE;

ALTER TABLE users DROP CONSTRAINT users_email_address_check;
-- As before, and with the limits of RFC 5321: 64 bytes before the @, 63 in each label of a host name. A literal holds no @,
-- so that the last one ends the local part.
ALTER TABLE users ADD CONSTRAINT users_email_address_check CHECK (
    lower(email COLLATE "C") ~ (
        '^([a-z0-9!#$%&''*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*+/=?^_`{|}~-]+)*|"([ !#-[\]-~]|\\[!-~])+")'
        '@([a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]{0,61}[a-z0-9])?)*|\[[!-?A-Z^-~]*\])$'
    )
    AND email COLLATE "C" ~ '^.{1,64}@[^@]*$'
) NOT VALID;

-- PostgreSQL would say that "some row" breaks it. By the constraint's own expression, so that the rule is written once.
DO $$
DECLARE
    rule   text := (SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
                     WHERE conrelid = 'users'::regclass AND conname = 'users_email_address_check');
    broken record;
BEGIN
    EXECUTE format('SELECT id, email, count(*) OVER () AS number FROM users WHERE NOT (%s) ORDER BY id LIMIT 1', rule)
       INTO broken;
    IF broken.id IS NOT NULL THEN
        RAISE 'user % (%) has an address that is not allowed any more (% in all): give it another one with '
            '"UPDATE users SET email = ''%@example.com'' WHERE id = ''%''", or delete it with '
            '"DELETE FROM users WHERE id = ''%''", then migrate again',
            broken.id, broken.email, broken.number, broken.id, broken.id, broken.id;
    END IF;
END
$$;
ALTER TABLE users VALIDATE CONSTRAINT users_email_address_check;

ALTER TABLE users ENABLE ALWAYS TRIGGER users_lock;
ALTER TABLE users ENABLE ALWAYS TRIGGER users_revision;
ALTER TABLE users ENABLE ALWAYS TRIGGER users_truncated;
ALTER TABLE users ENABLE ALWAYS TRIGGER users_token;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER extensions_lock;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER extensions_revision;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER extensions_truncated;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER extensions_token;
