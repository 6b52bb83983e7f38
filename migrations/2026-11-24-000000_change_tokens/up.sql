-- A counter does not identify the users: after a restore, or a failover that lost commits, the same revision belongs to
-- other users. A random token that every change replaces does, so whatever is kept in memory goes by it.

-- All before anything is altered, and in the order of the writers, who change their tenant before any user: locked one by one as
-- they are altered, extensions first, they made a deadlock with a portal of the former version that was creating a user.
LOCK TABLE tenants, users, extensions IN ACCESS EXCLUSIVE MODE;

DROP TRIGGER extensions_taken ON extensions;
DROP FUNCTION pbx_take_extension();

ALTER TABLE tenants
    DROP COLUMN taken_extensions,
    ADD COLUMN token    uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN identity uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN moved_by xid8;
COMMENT ON COLUMN tenants.token IS 'random; every statement that changes a user replaces it';
COMMENT ON COLUMN tenants.identity IS 'made once: a restored dump keeps it, and another database has another';
COMMENT ON COLUMN tenants.moved_by IS 'the transaction that moved the revision last';

-- Every writer locks the tenants before any user, so that two writers wait for each other and cannot deadlock.
CREATE FUNCTION pbx_lock_tenants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tenants ORDER BY name FOR NO KEY UPDATE;
    RETURN NULL;
END
$$;

-- In each statement that met a user, which the trigger of its rows has noted in moved_by, not once in a transaction: moved_by
-- may hold the number of this very transaction where the database was restored from another cluster. For every tenant, as a
-- statement may move a user from one to another. A statement that changed no row leaves the token: the portal sends such
-- ones when another process was faster. A transaction may set the new token itself, by a setting: then it knows it.
CREATE FUNCTION pbx_change_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given uuid := nullif(current_setting('pbx_portal.token', true), '')::uuid;
BEGIN
    UPDATE tenants SET token = coalesce(given, gen_random_uuid())
     WHERE moved_by = pg_current_xact_id_if_assigned() AND (given IS NULL OR token <> given);
    RETURN NULL;
END
$$;

-- Once in a transaction. xmin does not show whether that was done: a transaction may write tenants for another reason first.
CREATE OR REPLACE FUNCTION pbx_move_revision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    UPDATE tenants SET revision = revision + 1, moved_by = pg_current_xact_id()
     WHERE moved_by IS DISTINCT FROM pg_current_xact_id();
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    -- The foreign key reports a tenant that does not exist.
    SELECT revision INTO moved FROM tenants WHERE name = NEW.tenant;
    NEW.revision := coalesce(moved, 0);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION pbx_move_all_revisions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenants SET revision = revision + 1, moved_by = pg_current_xact_id()
     WHERE moved_by IS DISTINCT FROM pg_current_xact_id();
    RETURN NULL;
END
$$;

CREATE TRIGGER users_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_lock_tenants();
CREATE TRIGGER extensions_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON extensions
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_lock_tenants();
CREATE TRIGGER users_token AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_change_tokens();
CREATE TRIGGER extensions_token AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON extensions
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_change_tokens();
