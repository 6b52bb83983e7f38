ALTER TABLE users DROP CONSTRAINT users_name_utf8_check;

-- As the second migration made them.
CREATE OR REPLACE FUNCTION pbx_lock_tenants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tenants ORDER BY name FOR NO KEY UPDATE;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION pbx_change_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    given uuid := nullif(current_setting('pbx_portal.token', true), '')::uuid;
BEGIN
    UPDATE tenants SET token = coalesce(given, gen_random_uuid())
     WHERE moved_by = pg_current_xact_id_if_assigned() AND (given IS NULL OR token <> given);
    RETURN NULL;
END
$$;

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
