-- Text compares by its bytes (COLLATE "C") wherever a rule depends on it, so that no locale of the
-- server changes a rule. In a database of the encoding SQL_ASCII, as a cluster made without a locale has them, a
-- character is a byte, so a rule about characters beyond ASCII is written for the bytes of UTF-8 as well.

CREATE TABLE tenants (
    name             text   NOT NULL,
    revision         bigint NOT NULL DEFAULT 0,
    taken_extensions bytea  NOT NULL DEFAULT decode(repeat('00', 125), 'hex'),
    CONSTRAINT tenants_pkey PRIMARY KEY (name),
    CONSTRAINT tenants_name_check CHECK (name COLLATE "C" ~ '^[a-z0-9-]{1,63}$'),
    CONSTRAINT tenants_revision_check CHECK (revision >= 0),
    CONSTRAINT tenants_taken_extensions_check CHECK (octet_length(taken_extensions) = 125)
);
COMMENT ON COLUMN tenants.revision IS 'moves by one with every transaction that changes a user';
COMMENT ON COLUMN tenants.taken_extensions IS 'a bit for each of 1000-1999, kept by a trigger on extensions';

CREATE TABLE users (
    id         uuid        NOT NULL,
    tenant     text        NOT NULL DEFAULT 'default',
    name       text        NOT NULL,
    email      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revision   bigint      NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    -- For extensions to refer to, so that a user and its extension are of one tenant.
    CONSTRAINT users_tenant_key UNIQUE (tenant, id),
    CONSTRAINT users_tenant_fkey FOREIGN KEY (tenant) REFERENCES tenants (name),
    CONSTRAINT users_name_length_check CHECK (octet_length(name) BETWEEN 1 AND 79),
    -- Controls, line and paragraph separators, bidirectional controls.
    CONSTRAINT users_name_characters_check CHECK (
        name COLLATE "C" !~ CASE getdatabaseencoding()
            WHEN 'UTF8' THEN '[\u0001-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]'
            ELSE '[\x01-\x1F\x7F]|\xC2[\x80-\x9F]|\xE2\x80[\xA8-\xAE]|\xE2\x81[\xA6-\xA9]'
        END
    ),
    -- Every blank of Unicode that the rule above leaves.
    CONSTRAINT users_name_trimmed_check CHECK (
        name COLLATE "C" !~ CASE getdatabaseencoding()
            WHEN 'UTF8' THEN '^[ \u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]|[ \u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]$'
            ELSE '^( |\xC2\xA0|\xE1\x9A\x80|\xE2\x80[\x80-\x8A]|\xE2\x80\xAF|\xE2\x81\x9F|\xE3\x80\x80)'
                '|( |\xC2\xA0|\xE1\x9A\x80|\xE2\x80[\x80-\x8A]|\xE2\x80\xAF|\xE2\x81\x9F|\xE3\x80\x80)$'
        END
    ),
    CONSTRAINT users_email_length_check CHECK (octet_length(email) <= 254),
    -- An addr-spec of RFC 5322 without comments: a dot-atom or a quoted string, then a host name
    -- or an address literal.
    CONSTRAINT users_email_address_check CHECK (
        lower(email COLLATE "C") ~ (
            '^([a-z0-9!#$%&''*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&''*+/=?^_`{|}~-]+)*|"([ !#-[\]-~]|\\[!-~])+")'
            '@([a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9!#$%&''*+/=?^_`{|}~-]*[a-z0-9])?)*|\[[!-Z^-~]*\])$'
        )
    )
);
CREATE UNIQUE INDEX users_email_key ON users (tenant, lower(email COLLATE "C"));

CREATE TABLE extensions (
    tenant   text    NOT NULL DEFAULT 'default',
    number   integer NOT NULL,
    user_id  uuid    NOT NULL,
    realm    text    NOT NULL,
    ha1      text    NOT NULL,
    revision bigint  NOT NULL,
    CONSTRAINT extensions_pkey PRIMARY KEY (tenant, number),
    CONSTRAINT extensions_user_key UNIQUE (tenant, user_id),
    CONSTRAINT extensions_user_fkey FOREIGN KEY (tenant, user_id) REFERENCES users (tenant, id) ON DELETE CASCADE,
    CONSTRAINT extensions_number_check CHECK (number BETWEEN 1000 AND 1999),
    CONSTRAINT extensions_realm_check CHECK (
        octet_length(realm) BETWEEN 1 AND 79
        AND realm COLLATE "C" ~ '^[!#-9<-[\]-~]([ !#-9<-[\]-~]*[!#-9<-[\]-~])?$'
    ),
    CONSTRAINT extensions_ha1_check CHECK (ha1 COLLATE "C" ~ '^[0-9a-f]{32}$')
);
COMMENT ON COLUMN extensions.ha1 IS 'MD5 of number:realm:password; as secret as the password within the realm';

-- No user without an extension, as it would be nowhere to be seen and yet keep its address.
ALTER TABLE users ADD CONSTRAINT users_extension_fkey
    FOREIGN KEY (tenant, id) REFERENCES extensions (tenant, user_id) DEFERRABLE INITIALLY DEFERRED;

-- The tenant's revision moves once in every transaction that changes a user, whoever writes it.
-- The portal moves it first and so orders all writers by the tenant's row lock; for SQL written
-- by hand this does it, unless the transaction has (then it wrote the tenant's row: xmin).
CREATE FUNCTION pbx_move_revision() RETURNS trigger LANGUAGE plpgsql AS $$
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
    -- A tenant that there is not: the foreign key says so better.
    NEW.revision := coalesce(moved, 0);
    RETURN NEW;
END
$$;

CREATE FUNCTION pbx_move_all_revisions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tenants SET revision = revision + 1 WHERE xmin <> pg_current_xact_id()::xid;
    IF TG_TABLE_NAME = 'extensions' THEN
        UPDATE tenants SET taken_extensions = DEFAULT;
    END IF;
    RETURN NULL;
END
$$;

-- Which numbers are taken comes with the row that a creator has to lock anyway: reading them from
-- extensions would cost the thousandth create more than the first.
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

CREATE TRIGGER users_revision BEFORE INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION pbx_move_revision();
CREATE TRIGGER extensions_revision BEFORE INSERT OR UPDATE OR DELETE ON extensions
    FOR EACH ROW EXECUTE FUNCTION pbx_move_revision();
CREATE TRIGGER extensions_taken AFTER INSERT OR UPDATE OF tenant, number OR DELETE ON extensions
    FOR EACH ROW EXECUTE FUNCTION pbx_take_extension();
CREATE TRIGGER users_truncated BEFORE TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_move_all_revisions();
CREATE TRIGGER extensions_truncated BEFORE TRUNCATE ON extensions
    FOR EACH STATEMENT EXECUTE FUNCTION pbx_move_all_revisions();

-- A record outlives what it tells of, so it refers to nothing.
CREATE TABLE apply_audit_log (
    id          uuid             NOT NULL,
    tenant      text             NOT NULL DEFAULT 'default',
    node        text             NOT NULL,
    revision    bigint           NOT NULL,
    outcome     text             NOT NULL,
    actor       text,
    request_id  text             NOT NULL,
    users       integer          NOT NULL,
    added       integer[]        NOT NULL DEFAULT '{}',
    removed     integer[]        NOT NULL DEFAULT '{}',
    changed     integer[]        NOT NULL DEFAULT '{}',
    files       jsonb            NOT NULL DEFAULT '[]',
    timings     jsonb            NOT NULL DEFAULT '{}',
    warnings    text[]           NOT NULL DEFAULT '{}',
    detail      text,
    started_at  timestamptz      NOT NULL,
    finished_at timestamptz,
    duration_ms double precision,
    CONSTRAINT apply_audit_log_pkey PRIMARY KEY (id),
    CONSTRAINT apply_audit_log_node_check CHECK (node <> ''),
    CONSTRAINT apply_audit_log_revision_check CHECK (revision >= 0),
    CONSTRAINT apply_audit_log_outcome_check CHECK (
        outcome IN ('running', 'applied', 'unchanged', 'refused', 'rolled_back', 'rollback_failed', 'interrupted')
    ),
    CONSTRAINT apply_audit_log_users_check CHECK (users >= 0),
    CONSTRAINT apply_audit_log_files_check CHECK (jsonb_typeof(files) = 'array'),
    CONSTRAINT apply_audit_log_timings_check CHECK (jsonb_typeof(timings) = 'object'),
    CONSTRAINT apply_audit_log_duration_check CHECK (duration_ms >= 0),
    -- When a crashed process stopped is not known; when that was found out is.
    CONSTRAINT apply_audit_log_finished_check CHECK (
        CASE outcome
            WHEN 'running' THEN finished_at IS NULL AND duration_ms IS NULL
            WHEN 'interrupted' THEN finished_at IS NOT NULL
            ELSE finished_at IS NOT NULL AND duration_ms IS NOT NULL
        END
    )
);
COMMENT ON COLUMN apply_audit_log.timings IS 'milliseconds of each step';
CREATE INDEX apply_audit_log_node_started_at ON apply_audit_log (node, started_at);
CREATE INDEX apply_audit_log_running ON apply_audit_log (node) WHERE outcome = 'running';

INSERT INTO tenants (name) VALUES ('default');
