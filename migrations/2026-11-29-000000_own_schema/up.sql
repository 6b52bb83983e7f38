-- What SQL written by hand could still do. In a session that has another table `tenants` before ours, as with
-- `CREATE TEMP TABLE tenants AS TABLE tenants` or a search_path that begins with a schema of older copies, a change of
-- public.users moved the other table's token, so that ours stayed; and with an empty search_path, as pg_restore and
-- logical replication have it, it failed: "relation tenants does not exist". And in the encoding SQL_ASCII it could store a
-- name that is no UTF-8, so that no list could be made.

-- In the order of the writers, as in the migrations before.
LOCK TABLE tenants, users, extensions IN ACCESS EXCLUSIVE MODE;

-- As the second migration made them, with the schema of our tables before each of them. By its name, which costs nothing:
-- the functions' own SET search_path would be made and taken back at every call. Whoever renames the schema has to make them
-- again; until then every write fails.
DO $$
DECLARE
    -- Wherever the tables are: a role's search_path may name another schema than public.
    ours name := (SELECT nspname FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
                   WHERE pg_class.oid = 'users'::regclass);
BEGIN
    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.pbx_lock_tenants() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM FROM %1$I.tenants ORDER BY name FOR NO KEY UPDATE;
    RETURN NULL;
END
$body$
    $function$, ours);

    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.pbx_change_tokens() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    given uuid := nullif(current_setting('pbx_portal.token', true), '')::uuid;
BEGIN
    UPDATE %1$I.tenants SET token = coalesce(given, gen_random_uuid())
     WHERE moved_by = pg_current_xact_id_if_assigned() AND (given IS NULL OR token <> given);
    RETURN NULL;
END
$body$
    $function$, ours);

    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.pbx_move_revision() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    moved bigint;
BEGIN
    UPDATE %1$I.tenants SET revision = revision + 1, moved_by = pg_current_xact_id()
     WHERE moved_by IS DISTINCT FROM pg_current_xact_id();
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    -- The foreign key reports a tenant that does not exist.
    SELECT revision INTO moved FROM %1$I.tenants WHERE name = NEW.tenant;
    NEW.revision := coalesce(moved, 0);
    RETURN NEW;
END
$body$
    $function$, ours);

    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.pbx_move_all_revisions() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    UPDATE %1$I.tenants SET revision = revision + 1, moved_by = pg_current_xact_id()
     WHERE moved_by IS DISTINCT FROM pg_current_xact_id();
    RETURN NULL;
END
$body$
    $function$, ours);
END
$$;

-- Well-formed UTF-8 of RFC 3629: no overlong form, no surrogate, nothing beyond U+10FFFF. In the encoding UTF8 PostgreSQL sees to
-- it. The rule is in every database all the same, as a dump may be restored into one of the other encoding. Addresses,
-- realms and digests are ASCII by their own rules.
ALTER TABLE users ADD CONSTRAINT users_name_utf8_check CHECK (
    getdatabaseencoding() = 'UTF8'
    OR name COLLATE "C" ~ (
        '^([\x01-\x7F]|[\xC2-\xDF][\x80-\xBF]'
        '|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}|\xED[\x80-\x9F][\x80-\xBF]'
        '|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}|\xF4[\x80-\x8F][\x80-\xBF]{2})*$'
    )
) NOT VALID;

-- As for the addresses: PostgreSQL would name no user. The bytes that are no UTF-8 could not be sent, so they are escaped.
DO $$
DECLARE
    rule   text := (SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
                     WHERE conrelid = 'users'::regclass AND conname = 'users_name_utf8_check');
    broken record;
BEGIN
    EXECUTE format('SELECT id, email, encode(convert_to(name, getdatabaseencoding()), ''escape'') AS name, count(*) OVER () AS number '
                   'FROM users WHERE NOT (%s) ORDER BY id LIMIT 1', rule)
       INTO broken;
    IF broken.id IS NOT NULL THEN
        RAISE 'user % (%) has the name "%", which is no UTF-8 (% in all): give it another one with '
            '"UPDATE users SET name = ''Another Name'' WHERE id = ''%''", or delete it with '
            '"DELETE FROM users WHERE id = ''%''", then migrate again',
            broken.id, broken.email, broken.name, broken.number, broken.id, broken.id;
    END IF;
END
$$;
ALTER TABLE users VALIDATE CONSTRAINT users_name_utf8_check;
