DROP TRIGGER users_lock ON users;
DROP TRIGGER extensions_lock ON extensions;
DROP TRIGGER users_token ON users;
DROP TRIGGER extensions_token ON extensions;
DROP FUNCTION pbx_lock_tenants();
DROP FUNCTION pbx_change_tokens();

ALTER TABLE tenants
    DROP COLUMN token,
    DROP COLUMN identity,
    DROP COLUMN moved_by,
    ADD COLUMN taken_extensions bytea NOT NULL DEFAULT decode(repeat('00', 125), 'hex'),
    ADD CONSTRAINT tenants_taken_extensions_check CHECK (octet_length(taken_extensions) = 125);
COMMENT ON COLUMN tenants.taken_extensions IS 'a bit for each of 1000-1999, kept by a trigger on extensions';

DO $$
DECLARE
    taken record;
BEGIN
    FOR taken IN SELECT tenant, number FROM extensions LOOP
        UPDATE tenants SET taken_extensions = set_bit(taken_extensions, taken.number - 1000, 1) WHERE name = taken.tenant;
    END LOOP;
END
$$;

-- As the first migration made them.
CREATE OR REPLACE FUNCTION pbx_move_revision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text := CASE TG_OP WHEN 'DELETE' THEN OLD.tenant ELSE NEW.tenant END;
    moved   bigint;
BEGIN
    UPDATE tenants SET revision = revision + 1
     WHERE name = changed AND xmin <> pg_current_xact_id()::xid
    RETURNING revision INTO moved;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF moved IS NULL THEN
        SELECT revision INTO moved FROM tenants WHERE name = changed;
    END IF;
    NEW.revision := coalesce(moved, 0);
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION pbx_move_all_revisions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenants SET revision = revision + 1 WHERE xmin <> pg_current_xact_id()::xid;
    IF TG_TABLE_NAME = 'extensions' THEN
        UPDATE tenants SET taken_extensions = DEFAULT;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION pbx_take_extension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE tenants SET taken_extensions = set_bit(taken_extensions, OLD.number - 1000, 0) WHERE name = OLD.tenant;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE tenants SET taken_extensions = set_bit(taken_extensions, NEW.number - 1000, 1) WHERE name = NEW.tenant;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER extensions_taken AFTER INSERT OR UPDATE OF tenant, number OR DELETE ON extensions
    FOR EACH ROW EXECUTE FUNCTION pbx_take_extension();
