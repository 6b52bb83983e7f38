//! What keeps the portal from its tables, or is wrong in them.

use std::process::Command;

use pbx_tests::{Asterisk, Cluster, Database};

use crate::doctor::host::{Host, Place, check};

#[test]
fn what_refuses_a_change_is_reported_and_nothing_is_left_of_the_question() {
    let host = Host::new();
    let held = || {
        host.database
            .sql("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM apply_audit_log), token FROM tenants")
    };
    let before = held();
    host.check().is_well();
    assert_eq!(held(), before);
    host.database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not on a Sunday'; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON extensions FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let found = host.check();
    let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(found.lines.concat().contains("not on a Sunday") && fix.contains("\\d extensions"), "{found:#?}");
}

#[test]
fn what_refuses_a_delete_or_the_end_of_a_record_is_named() {
    let host = Host::new();
    host.database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'only more'; END $$; \
         CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
         CREATE FUNCTION refuse_applied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.outcome = 'applied' THEN RAISE 'only failures'; END IF; RETURN NEW; END $$",
    );
    for (table, event, function, words) in [
        ("apply_audit_log", "UPDATE", "refuse", "UPDATE of apply_audit_log: only more"),
        ("apply_audit_log", "UPDATE", "refuse_applied", "UPDATE of apply_audit_log: only failures"),
        ("users", "DELETE", "refuse", "DELETE of users: only more"),
        ("extensions", "DELETE", "ignore", "DELETE of extensions: no row was changed"),
        ("tenants", "UPDATE", "ignore", "UPDATE of tenants: no row was changed"),
    ] {
        let trigger = format!("BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()");
        host.database.sql(&format!("CREATE TRIGGER t {trigger}"));
        let found = host.check();
        let [("tables", fix)] = found.faults()[..] else { panic!("{trigger}: {found:#?}") };
        assert!(found.status == 1 && found.lines.concat().contains(words), "{trigger}: {found:#?}");
        assert!(fix.contains(&format!("'\\d {table}'")) && fix.matches("\\d ").count() == 1, "{trigger}: {found:#?}");
        host.database.sql(&format!("DROP TRIGGER t ON {table}"));
        host.check().is_well();
    }
    host.database.sql("ALTER TABLE apply_audit_log DROP COLUMN warnings");
    let found = host.check();
    let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(fix.starts_with("restore") && found.lines.concat().contains("column \"warnings\""), "{found:#?}");
}

#[test]
fn a_trigger_that_changes_new_users_is_found() {
    let host = Host::new();
    for (table, change) in [
        ("users", "name := upper(NEW.name)"),
        ("users", "email := lower(NEW.email)"),
        ("extensions", "number := NEW.number + 100"),
        ("extensions", "realm := lower(NEW.realm)"),
        ("extensions", "ha1 := repeat('f', 32)"),
    ] {
        host.database.sql(&format!(
            "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{change}; RETURN NEW; END $$; \
             CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION change()"
        ));
        let found = host.check();
        let [("tables", fix)] = found.faults()[..] else { panic!("{change}: {found:#?}") };
        assert!(fix.contains(&format!("'\\d {table}'")), "{change}: {found:#?}");
        assert!(found.lines.concat().contains(&format!("INSERT of {table}: ")), "{change}: {found:#?}");
        assert!(found.lines.concat().contains("a trigger changed it: "), "{change}: {found:#?}");
        host.database.sql("DROP FUNCTION change() CASCADE");
        host.check().is_well();
    }
}

#[test]
fn a_row_that_breaks_a_rule_is_named_and_mended_or_deleted() {
    let mut host = Host::new();
    for (table, constraint, key, change, is_kept) in [
        ("users", "users_email_address_check", "id", "email = 'nonsense'", true),
        ("users", "users_name_characters_check", "id", "name = chr(7)", true),
        ("extensions", "extensions_realm_check", "user_id", "realm = ''", false),
        ("extensions", "extensions_ha1_check", "user_id", "ha1 = 'xx'", false),
        ("extensions", "extensions_number_check", "user_id", "number = 2001", false),
    ] {
        let id = host.portal.create_user("third", "third@example.com").string("/id");
        host.database.sql(&format!(
            "ALTER TABLE {table} DROP CONSTRAINT {constraint}; UPDATE {table} SET {change} WHERE {key} = '{id}'"
        ));
        let found = host.heals("tables");
        assert!(found.faults()[0].1.contains(&id), "{found:#?}");
        let is_there = host.database.sql(&format!("DELETE FROM users WHERE id = '{id}' RETURNING 1"));
        assert_eq!(is_there == "1", is_kept, "{found:#?}");
    }
}

#[test]
fn columns_that_are_others_than_the_migrations_made_are_named() {
    let host = Host::new();
    for (change, back, fix, is_read) in [
        ("users RENAME COLUMN name TO nom", "users RENAME COLUMN nom TO name", "or rename back", false),
        ("extensions ALTER COLUMN number TYPE bigint", "extensions ALTER COLUMN number TYPE integer", "'\\d *'", false),
        ("users ADD CHECK (email = '') NOT VALID", "users DROP CONSTRAINT users_email_check", "'\\d users'", true),
    ] {
        host.database.sql(&format!("ALTER TABLE {change}"));
        let found = host.check();
        assert!(matches!(found.faults()[..], [("tables", found)] if found.contains(fix)), "{change}: {found:#?}");
        assert_eq!(found.lines.concat().contains("refuses a change"), is_read, "{change}: {found:#?}");
        host.database.sql(&format!("ALTER TABLE {back}"));
    }
}

/// `FROM ONLY` reads no row of such a table.
#[test]
fn partitioned_tables_are_refused_and_named() {
    for (table, key) in [("users", "tenant, id"), ("extensions", "tenant, user_id")] {
        for has_triggers in [false, true] {
            let host = Host::new();
            let definitions = host.database.sql(&format!(
                "SELECT string_agg(pg_get_triggerdef(oid) || format('; ALTER TABLE {table} ENABLE ALWAYS TRIGGER %s', tgname), '; ') \
                 FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal"
            ));
            let definitions = if has_triggers { &definitions } else { "SELECT 1" };
            host.database.sql(&format!(
                "ALTER TABLE users DROP CONSTRAINT users_extension_fkey; \
                 ALTER TABLE extensions DROP CONSTRAINT extensions_user_fkey; \
                 ALTER TABLE {table} RENAME TO former; \
                 CREATE TABLE {table} (LIKE former INCLUDING DEFAULTS INCLUDING CONSTRAINTS, UNIQUE ({key})) PARTITION BY LIST (tenant); \
                 CREATE TABLE part PARTITION OF {table} DEFAULT; \
                 INSERT INTO {table} SELECT * FROM former; DROP TABLE former; {definitions}"
            ));
            let http = host.portal.http();
            let user = serde_json::json!({"name": "third", "email": "third@example.com"});
            for answer in [http.get("/users"), http.post("/users", &user), http.post_empty("/apply")] {
                assert_eq!(
                    (answer.status, &answer.json["type"]),
                    (500, &"urn:pbx-portal:internal".into()),
                    "{}",
                    answer.text
                );
            }
            assert!(host.asterisk.rx("pjsip show endpoints").contains("1001"));
            let words = format!("{table} is a partitioned table, of which the portal reads nothing");
            assert!(host.portal.log().contains(&words), "{}", host.portal.log());
            let found = host.check();
            let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
            assert!(fix.starts_with("restore") && found.lines.concat().contains(&words), "{found:#?}");
        }
    }
}

#[test]
fn what_refuses_a_change_at_its_end_alone_is_reported() {
    let host = Host::new();
    host.database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in the end'; END $$; \
         CREATE CONSTRAINT TRIGGER t AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let found = host.check();
    assert!(
        matches!(found.faults()[..], [("tables", _)]) && found.lines.concat().contains("not in the end"),
        "{found:#?}"
    );
}

/// As `psql` leaves a plain dump of which one line of the users is damaged.
#[test]
fn a_restore_that_lost_the_users_takes_nobody_out_of_asterisk_and_nothing_is_deleted_first() {
    let host = Host::new();
    let dump = host.database.dump();
    host.database.sql(
        "ALTER TABLE users DROP CONSTRAINT users_extension_fkey; \
         ALTER TABLE extensions DROP CONSTRAINT extensions_user_fkey; DELETE FROM users",
    );
    let http = host.portal.http();
    let user = serde_json::json!({"name": "third", "email": "third@example.com"});
    for answer in [
        http.get("/users"),
        http.post_empty("/apply?dry_run=true"),
        http.post_empty("/apply"),
        http.post("/users", &user),
        http.delete(&format!("/users/{}", host.users[0].string("/id"))),
    ] {
        assert_eq!((answer.status, &answer.json["type"]), (500, &"urn:pbx-portal:internal".into()), "{}", answer.text);
    }
    // Whichever PostgreSQL meets first.
    let names_one =
        |text: &str| ["1000", "1001"].iter().any(|one| text.contains(&format!("the extension {one} has no user")));
    assert!(names_one(&host.portal.log()), "{}", host.portal.log());
    assert!(host.asterisk.rx("pjsip show endpoints").contains("1001"));
    let found = host.check();
    let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(fix.starts_with("restore") && names_one(&found.lines.concat()), "{found:#?}");
    assert_eq!(host.database.sql("SELECT count(*) FROM extensions"), "2");
    host.database.restore(&dump);
    host.check().is_well();
    host.works();
}

/// As `pg_restore --section=pre-data --section=data`, or one that was ended too early.
#[test]
fn a_restore_without_its_keys_is_found_before_an_apply_fails() {
    let host = Host::new();
    let dump = host.database.dump();
    let (data, _) = dump.split_at(dump.find("ALTER TABLE ONLY public.apply_audit_log\n    ADD CONSTRAINT").unwrap());
    host.database.restore(data);
    host.portal.http().post_empty("/apply").expect(500);
    let found = host.check();
    let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    let lines = found.lines.concat();
    assert!(
        fix.starts_with("restore") && lines.contains("apply_audit_log_pkey") && lines.contains("users_token"),
        "{found:#?}"
    );
    host.database.restore(&dump);
    host.check().is_well();
    host.database.sql("ALTER TABLE apply_audit_log DROP CONSTRAINT apply_audit_log_pkey");
    let found = host.check();
    let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(
        fix.starts_with("restore") && found.lines.concat().contains("FAIL  tables: apply_audit_log_pkey is gone"),
        "{found:#?}"
    );
    host.database.restore(&dump);
    host.works();
}

#[test]
fn halves_of_users_for_which_there_is_no_backup_are_removed() {
    let mut host = Host::new();
    for (half, words) in [
        ("DELETE FROM users WHERE email LIKE 'third%'", "the extension 1002 has no user"),
        ("DELETE FROM extensions WHERE number = 1002", " has no extension"),
    ] {
        host.portal.create_user("third", "third@example.com");
        host.database.sql(&format!("SET session_replication_role = replica; {half}"));
        let found = host.check();
        let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
        assert!(fix.starts_with("restore") && found.lines.concat().contains(words), "{found:#?}");
        let (_, removal) = fix.split_once("; without one, what is left of them goes: ").expect("what else helps");
        host.run("tables", removal, &Place::default());
        host.check().is_well();
        host.takes_more();
    }
}

#[test]
fn who_keeps_all_changes_waiting_in_an_open_transaction_is_named_and_ended() {
    let mut host = Host::new();
    let settings = host.settings.clone().with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
    for held in
        ["DELETE FROM users", "SELECT FROM tenants FOR UPDATE", "LOCK TABLE users", "LOCK TABLE apply_audit_log"]
    {
        let open = host.database.begin(held);
        let found = host.heals_with(&settings, "tables");
        assert!(
            found.lines.concat().contains("of PostgreSQL (psql, role postgres) has it locked"),
            "{held}: {found:#?}"
        );
        drop(open);
    }
}

/// Whoever only reads keeps nobody waiting, but who waits to change the table keeps all others behind.
#[test]
fn who_reads_in_an_open_transaction_before_a_change_of_the_table_is_named_and_ended() {
    let mut host = Host::new();
    let settings = host.settings.clone().with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
    for (table, change) in [
        ("users", "ALTER TABLE users ADD COLUMN department text"),
        ("extensions", "VACUUM FULL extensions"),
        ("apply_audit_log", "TRUNCATE apply_audit_log"),
        ("__diesel_schema_migrations", "REINDEX TABLE __diesel_schema_migrations"),
    ] {
        let open = host.database.begin(&format!("SELECT count(*) FROM {table}"));
        let process = host.database.sql(
            "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()",
        );
        let mut waiting = Command::new("psql");
        let mut waiting =
            waiting.args(["--quiet", "--dbname", &host.database.url(), "--command", change]).spawn().unwrap();
        host.database.wait_for_waiting(1);
        let point = if table.starts_with("__") { "database" } else { "tables" };
        let found = host.heals_with(&settings, point);
        let words = format!("process {process} of PostgreSQL (psql, role postgres) has it locked");
        assert!(found.lines.concat().contains(&words), "{change}: {found:#?}");
        assert!(waiting.wait().unwrap().success());
        drop(open);
    }
}

/// As a coordinator of transactions leaves one that died between both phases.
#[test]
fn a_prepared_transaction_that_keeps_all_changes_waiting_is_named_and_rolled_back() {
    let mut cluster = Cluster::start_new();
    let mut host = Host::on(Database::create_in(&cluster.url()), Asterisk::start_new());
    host.database.sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    cluster.stop();
    cluster.start();
    let port = cluster.address().split_once(':').unwrap().1.to_owned();
    let place = Place { server: Some(format!("PGHOST=127.0.0.1 PGPORT={port}")), ..Place::default() };
    let settings = host.settings.clone().with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
    for held in ["UPDATE tenants SET revision = revision", "LOCK TABLE users"] {
        host.database.sql(&format!("BEGIN; {held}; PREPARE TRANSACTION 'two-phase:1'"));
        let found = check(&settings);
        let [("tables", fix)] = found.faults()[..] else { panic!("{found:#?}") };
        let words = "the prepared transaction two-phase:1 (role postgres) has it locked";
        assert!(found.lines.concat().contains(words) && fix.contains("ROLLBACK PREPARED"), "{held}: {found:#?}");
        host.run("tables", fix.trim_start_matches("on the host of PostgreSQL: "), &place);
        check(&settings).is_well();
    }
    host.works();
}

#[test]
fn row_level_security_that_may_hide_users_is_switched_off() {
    let mut host = Host::new();
    let role = format!("owner_{}", std::process::id());
    host.database.sql(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}"));
    for table in ["tenants", "users", "extensions", "apply_audit_log", "__diesel_schema_migrations"] {
        host.database.sql(&format!("ALTER TABLE {table} OWNER TO {role}"));
    }
    let settings = host.settings.clone().with("DATABASE_URL", &host.database.url_as(&role));
    check(&settings).is_well();
    for table in ["tenants", "users", "extensions", "apply_audit_log", "__diesel_schema_migrations"] {
        host.database.sql(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY; \
             CREATE POLICY i ON {table} FOR INSERT WITH CHECK (true); CREATE POLICY s ON {table} FOR SELECT USING (true)"
        ));
        let point = if table.starts_with("__") { "database" } else { "tables" };
        let found = host.heals_with(&settings, point);
        let words = format!("row-level security policy for table \"{table}\"");
        assert!(found.lines.concat().contains(&words), "{found:#?}");
    }
    host.database.sql(&format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"));
}
