//! The settings and PostgreSQL.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::{fs, thread};

use pbx_tests::{Asterisk, Cluster, Database, Settings, bulk_users, until};

use crate::doctor::host::{Found, Host, Place, check, edit, server};

#[test]
fn a_missing_or_wrong_setting_stops_no_other_point() {
    let host = Host::new();
    let without = host.settings.clone().without("DATABASE_URL");
    let wrong = host.settings.clone().with("PBX_PORTAL__SERVER__WORKERS", "many").with("PBX_PORTAL__COLOUR", "red");
    for (settings, faults) in [(without, 1), (wrong, 2)] {
        let found = check(&settings);
        let points: Vec<_> = found.faults().into_iter().map(|(point, _)| point).collect();
        assert_eq!((found.status, points), (1, vec!["settings"; faults]), "{found:#?}");
        for point in ["state_dir", "asterisk.command", "modules", "transport", "live"] {
            let good = format!("ok    {point}: ");
            assert!(found.lines.iter().any(|line| line.starts_with(&good)), "{point} in {found:#?}");
        }
    }
}

#[test]
fn a_role_without_rights_on_the_tables_gets_them() {
    let mut host = Host::new();
    let role = format!("role_{}", std::process::id());
    host.database.sql(&format!("CREATE ROLE {role} LOGIN"));
    let settings = host.settings.clone().with("DATABASE_URL", &host.database.url_as(&role));
    let settings = settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
    let found = check(&settings);
    for right in ["SELECT on users", "UPDATE on tenants", "SELECT on __diesel_schema_migrations"] {
        assert!(found.lines.concat().contains(right), "{right} in {found:#?}");
    }
    host.database.sql(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    let found = check(&settings);
    let lines = found.lines.concat();
    assert!(lines.contains("INSERT on users") && !lines.contains("SELECT on users"), "{found:#?}");
    host.heals_with(&settings, found.faults()[0].0);
    host.database.sql(&format!("ALTER ROLE {role} SET search_path = nowhere"));
    host.heals_with(&settings, "tables");
    host.database.sql("ALTER TABLE extensions ENABLE ROW LEVEL SECURITY");
    host.heals_with(&settings, "tables");
    for limit in [format!("ROLE {role} CONNECTION LIMIT 0"), format!("ROLE {role} NOLOGIN")] {
        host.database.sql(&format!("ALTER {limit}"));
        host.heals_with(&settings, "database");
    }
    host.database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn any_name_of_a_role_and_a_database_is_quoted_in_what_is_printed() {
    let mut host = Host::new();
    let own = std::process::id();
    let names = [format!("o'brien@home \"x\" $(false) ü\\{own}"), format!("-d'b = \"a\" `false` ä\\{own}")];
    let [role, database] = names.each_ref().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    let [role_in_url, database_in_url] =
        names.each_ref().map(|name| name.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat());
    host.database.sql(&format!("CREATE ROLE {role} LOGIN"));
    host.database.sql(&format!("CREATE DATABASE {database} OWNER {role}"));
    let url = host.database.url_as(&role_in_url);
    let url = url.replace(&host.database.sql("SELECT current_database()"), &database_in_url);
    let settings = host.settings.clone().with("DATABASE_URL", &url);
    let settings = settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
    assert!(settings.run(&["migrate"]).status.success());
    for change in [
        format!("ALTER ROLE {role} NOLOGIN"),
        format!("ALTER ROLE {role} CONNECTION LIMIT 0"),
        format!("ALTER ROLE {role} IN DATABASE {database} SET search_path = nowhere"),
        format!("ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = on"),
        format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, {role}"),
        format!("DROP DATABASE {database} WITH (FORCE)"),
    ] {
        host.database.sql(&change);
        let found = check(&settings);
        // The users of this database are others than those that were applied.
        for (point, fix) in found.faults().into_iter().filter(|(point, _)| *point != "users") {
            host.run(point, fix, &Place::default());
        }
        let after = check(&settings);
        let is_mended = |(point, _): &(&str, &str)| ["users", "migrations"].contains(point);
        assert!(
            found.faults().iter().any(|fault| !is_mended(fault)) && after.faults().iter().all(is_mended),
            "{change}: {found:#?}\nafter: {after:#?}"
        );
    }
    host.database.sql(&format!("DROP DATABASE {database} WITH (FORCE)"));
    host.database.sql(&format!("DROP ROLE {role}"));
}

#[test]
fn a_tenant_without_a_free_number_is_no_fault() {
    let host = Host::new();
    host.database.sql(&bulk_users(1002..=1999));
    host.check().is_well();
}

#[test]
fn a_migration_needs_the_owner_of_the_tables() {
    let mut host = Host::new();
    let role = format!("migrator_{}", std::process::id());
    host.database.sql(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"));
    // This one may be applied twice.
    host.database.sql("DELETE FROM __diesel_schema_migrations WHERE version = '20261128000000'");
    let settings = host.settings.clone().with("DATABASE_URL", &host.database.url_as(&role));
    let refused = settings.run(&["migrate"]);
    assert_ne!(refused.status.code(), Some(0));
    let found = check(&settings);
    let [("migrations", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(fix.contains("ALTER FUNCTION pbx_lock_tenants() OWNER TO"), "{found:#?}");
    host.run("migrations", fix, &Place::default());
    let found = check(&settings);
    assert!(matches!(found.faults()[..], [("migrations", "pbx-portal migrate")]), "{found:#?}");
    let migrated = settings.run(&["migrate"]);
    assert_eq!(migrated.status.code(), Some(0), "{}", migrated.stderr);
    check(&settings).is_well();
    host.works();
    host.database.sql(&format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn tables_in_a_schema_of_any_name_are_given_to_the_role() {
    let (database, schema) = (Database::create(), r#""The PBX's 100%""#);
    let name = database.sql("SELECT current_database()");
    database.sql(&format!("CREATE SCHEMA {schema}; ALTER DATABASE {name} SET search_path = {schema}"));
    let mut host = Host::on(database, Asterisk::start_new());
    let role = format!("elsewhere_{}", std::process::id());
    host.database.sql(&format!("CREATE ROLE {role} LOGIN"));
    let settings = host.settings.clone().with("DATABASE_URL", &host.database.url_as(&role));
    // Of an administrator who looks elsewhere.
    let place = Place { server: Some(format!("{} PGOPTIONS=-csearch_path=public", server())), ..Place::default() };
    for (change, words) in [
        ("SELECT 1".to_owned(), "USAGE on schema The PBX's 100%"),
        (format!("REVOKE INSERT ON users FROM {role}"), "INSERT on users"),
        ("ALTER TABLE extensions ENABLE ROW LEVEL SECURITY".to_owned(), "row-level security"),
        // This one may be applied twice.
        (
            "DELETE FROM __diesel_schema_migrations WHERE version = '20261128000000'".to_owned(),
            "does not own FUNCTION pbx_",
        ),
    ] {
        host.database.sql(&change);
        let found = check(&settings);
        let [(point, fix)] = found.faults()[..] else { panic!("{change}: {found:#?}") };
        assert!(found.lines.concat().contains(words), "{words} in {found:#?}");
        host.run(point, fix, &place);
        if point == "migrations" {
            assert!(settings.run(&["migrate"]).status.success());
        }
        check(&settings).is_well();
    }
    host.works();
    host.database.sql(&format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn users_that_wait_are_a_note_and_quiet_says_nothing() {
    let host = Host::new();
    host.portal.create_user("Carol", "carol@example.com");
    let found = host.check();
    found.is_well();
    let note = "note  users: an apply would add 1, remove 0 and change 0; ";
    assert!(found.lines.iter().any(|line| line.starts_with(note)), "{found:#?}");
    let quiet = host.settings.run(&["check", "--quiet"]);
    assert_eq!((quiet.status.code(), quiet.stdout.as_str()), (Some(0), ""));
    let empty = Database::create();
    let quiet = host.settings.clone().with("DATABASE_URL", &empty.url()).run(&["check", "--quiet"]);
    assert_eq!(quiet.status.code(), Some(1));
    assert!(quiet.stdout.starts_with("FAIL  migrations: ") && quiet.stdout.lines().count() == 1, "{}", quiet.stdout);
}

#[test]
fn the_database_of_a_newer_portal_is_named() {
    let host = Host::new();
    host.database.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231000000')");
    let found = check(&host.settings);
    // No repository has the package.
    assert_eq!(found.faults(), [("migrations", "apt-get install -y ./pbx-portal_*.deb   # the newer package")]);
    assert!(found.lines.concat().contains("29991231000000 are of a newer portal"), "{found:#?}");
}

#[test]
fn a_database_that_takes_no_changes_is_found_and_made_to() {
    let mut host = Host::new();
    let name = host.database.sql("SELECT current_database()");
    host.database.sql(&format!("ALTER DATABASE \"{}\" SET default_transaction_read_only = on", name.trim()));
    let found = host.heals("database");
    assert!(found.lines.contains(&"ok    tables: they can be read".to_owned()), "{found:#?}");
    let found = host.check();
    assert!(found.lines.contains(&"ok    tables: they can be read and written".to_owned()), "{found:#?}");
    host.takes_more();
    host.database.sql("ALTER TABLE apply_audit_log RENAME TO lost");
    let found = host.check();
    assert!(
        found.status == 1 && found.faults()[0].0 == "tables" && found.faults()[0].1.starts_with("restore"),
        "{found:#?}"
    );
}

#[test]
fn a_database_that_waits_for_a_standby_is_found_and_made_to_commit() {
    let cluster = Cluster::start_new();
    let database = Database::create_in(&cluster.url());
    let mut host = Host::new();
    let settings = host.settings.clone().with("DATABASE_URL", &database.url());
    assert_eq!(settings.run(&["migrate"]).status.code(), Some(0));
    let settings = settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "2");
    let _wait = database.wait_for_standby();
    // The server reads its settings in its own time.
    let fix = until("the fault", || {
        let found = check(&settings);
        found.faults().iter().find(|(point, _)| *point == "tables").map(|(_, fix)| (*fix).to_owned())
    });
    let port = cluster.address().split_once(':').unwrap().1.to_owned();
    let place = Place { server: Some(format!("PGHOST=127.0.0.1 PGPORT={port}")), ..Place::default() };
    host.run("tables", fix.trim_start_matches("on the host of PostgreSQL: "), &place);
    assert_eq!(database.sql("SHOW synchronous_standby_names"), "");
}

#[test]
fn a_standby_is_no_database_to_write_to() {
    let cluster = Cluster::start_new();
    let database = Database::create_in(&cluster.url());
    let host = Host::new();
    let settings = host.settings.clone().with("DATABASE_URL", &database.url());
    assert_eq!(settings.run(&["migrate"]).status.code(), Some(0));
    let standby = cluster.standby();
    let url = database.url().replace(&cluster.address(), &standby.address());
    let found = check(&host.settings.clone().with("DATABASE_URL", &url));
    assert!(
        found.faults().iter().any(|(point, fix)| *point == "database"
            && fix.starts_with("write the primary's address: correct DATABASE_URL in /etc/pbx-portal/env, then: ")),
        "{found:#?}"
    );
    assert!(found.lines.iter().any(|line| line.starts_with("FAIL  database: it is a standby")), "{found:#?}");
}

#[test]
fn a_server_whose_connections_are_all_taken_is_told_from_one_that_is_down() {
    let mut cluster = Cluster::start_new();
    let database = Database::create_in(&cluster.url());
    let mut host = Host::new();
    database.sql("CREATE ROLE portal LOGIN");
    // Of 200.
    database.sql("ALTER SYSTEM SET superuser_reserved_connections = 195");
    cluster.stop();
    cluster.start();
    let settings = host.settings.clone().with("DATABASE_URL", &database.url_as("portal"));
    let settings = settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "2");
    let taken: Vec<_> = (0..5).map(|_| database.begin("SELECT")).collect();
    let found = check(&settings);
    let [("database", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(found.lines.concat().contains("remaining connection slots are reserved"), "{found:#?}");
    assert!(fix.contains("raise max_connections"), "{found:#?}");
    host.run("database", fix.trim_start_matches("on the host of PostgreSQL: "), &Place::default());
    drop(taken);
    until("a free connection", || {
        let found = check(&settings);
        found.lines.iter().any(|line| line.starts_with("ok    database: ")).then_some(())
    });
}

#[test]
fn an_address_that_the_service_cannot_listen_on_is_found() {
    let mut host = Host::new();
    let file = host.settings.working_directory().join("config.toml");
    let path = file.to_str().unwrap().to_owned();
    let settings = host.settings.clone().without("PBX_PORTAL__SERVER__BIND");
    // The next port is to be free, as the fix takes that one.
    let other = until("two free ports", || {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let next = one.local_addr().unwrap().port().checked_add(1)?;
        TcpListener::bind(("127.0.0.1", next)).is_ok().then_some(one)
    });
    let taken = other.local_addr().unwrap().to_string();
    let served = other.try_clone().unwrap();
    thread::spawn(move || {
        for client in served.incoming() {
            let mut client = client.unwrap();
            _ = client.read(&mut [0; 1000]);
            _ = client.write_all(b"220 mail.example.com\r\n");
        }
    });
    let variables = host.settings.working_directory().join("env");
    let replaced = vec![("/etc/pbx-portal/env".to_owned(), variables.to_str().unwrap().to_owned())];
    let place = Place { replaced, ..Place::default() };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let found = check(&settings.clone().with("PBX_PORTAL__SERVER__BIND", &silent.local_addr().unwrap().to_string()));
    assert!(matches!(found.faults()[..], [("server.bind", "systemctl restart pbx-portal")]), "{found:#?}");
    for (bind, words) in [("203.0.113.1:0", "cannot listen on"), (taken.as_str(), "another program listens")] {
        fs::write(&file, format!("[server]\nbind = \"{bind}\"\n")).unwrap();
        let found = Found::of(&settings.run(&["check", "--config", &path]));
        let [(point, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
        assert!(point == "server.bind" && found.lines.concat().contains(words), "{found:#?}");
        fs::write(&variables, "").unwrap();
        host.run(point, fix, &place);
        let written = fs::read_to_string(&variables).unwrap();
        let bind = written.trim().strip_prefix("PBX_PORTAL__SERVER__BIND=").unwrap().trim_matches('"').to_owned();
        let settings = settings.clone().with("PBX_PORTAL__SERVER__BIND", &bind);
        Found::of(&settings.run(&["check", "--config", &path])).is_well();
    }
}

#[test]
fn another_database_than_the_one_that_was_applied_is_named() {
    let host = Host::new();
    let other = Database::create();
    let other = host.settings.clone().with("DATABASE_URL", &other.url());
    assert!(other.run(&["migrate"]).status.success());
    is_another(&other);
    // After a kill in mid-apply, say.
    fs::write(host.settings.state_dir().join("unproven"), "").unwrap();
    is_another(&other);
    let found = host.check();
    found.is_well();
    assert!(found.lines.concat().contains("nothing counts as applied until the next apply"), "{found:#?}");
}

#[track_caller]
fn is_another(other: &Settings) {
    let found = check(other);
    let [(point, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
    assert!(point == "users" && fix.contains("DATABASE_URL") && fix.contains("If-Match"), "{found:#?}");
    let lost = "2 users that Asterisk has from another database would lose their numbers: 1000, 1001";
    assert!(found.lines.concat().contains(lost), "{found:#?}");
}

#[test]
fn of_two_users_with_one_number_the_one_who_is_not_applied_goes() {
    let mut host = Host::new();
    let [third, fourth] = ["third", "fourth"].map(|name| host.portal.create_user(name, &format!("{name}@example.com")));
    host.database.sql("ALTER TABLE extensions DROP CONSTRAINT extensions_pkey");
    for (from, to, kept, goes) in [
        // Neither is applied: the later one.
        (1003, 1002, third.string("/id"), fourth.string("/id")),
        (1001, 1000, host.users[0].string("/id"), host.users[1].string("/id")),
    ] {
        host.database.sql(&format!("UPDATE extensions SET number = {to} WHERE number = {from}"));
        host.portal.http().post_empty("/apply").expect(500);
        let found = host.check();
        let [("tables", _), ("users", fix)] = found.faults()[..] else { panic!("{found:#?}") };
        let named = |one: &str| found.lines.iter().any(|line| line.starts_with("FAIL  users: ") && line.contains(one));
        assert!(named(&kept) && named(&goes) && named(&format!("extension {to} ")), "{found:#?}");
        host.run("users", fix, &Place::default());
        assert_eq!(host.database.sql(&format!("SELECT user_id FROM extensions WHERE number = {to}")), kept);
        assert!(matches!(host.check().faults()[..], [("tables", _)]));
    }
    host.portal.http().post_empty("/apply").expect(200);
    // The later one is applied.
    let user = host.portal.create_user("again", "again@example.com");
    host.portal.http().post_empty("/apply").expect(200);
    host.database.sql("UPDATE extensions SET number = 1001 WHERE number = 1000");
    let found = host.check();
    let [_, ("users", fix)] = found.faults()[..] else { panic!("{found:#?}") };
    assert!(fix.ends_with(&host.users[0].string("/id")) && user.json["extension"] == 1001, "{found:#?}");
}

#[test]
fn what_0_1_0_applied_is_no_fault_and_of_the_database_that_has_its_record() {
    let host = Host::new();
    host.was_applied_by_0_1_0();
    host.check().is_well();
    // Beside the users, it came after them; with the next apply it comes first.
    host.asterisk.append("extensions.conf", "[synergycall-internal]\nexten => _X.,1,Hangup()");
    assert!(matches!(host.check().faults()[..], [("calls", _)]));
    let extensions = host.asterisk.etc().join("extensions.conf");
    edit(&extensions, "[synergycall-internal]\nexten => _X.,1,Hangup()\n", "");
    let database = Database::create();
    let other = host.settings.clone().with("DATABASE_URL", &database.url());
    assert!(other.run(&["migrate"]).status.success());
    is_another(&other);
    let portal = host.portal.settings().clone().with("DATABASE_URL", &database.url()).start();
    let refused = portal.http().post_empty("/apply").expect(409);
    assert_eq!(refused.string("/type"), "urn:pbx-portal:other-database");
    drop(portal);
    // In its own, a user may go.
    host.portal.http().delete(&format!("/users/{}", host.users[1].string("/id"))).expect(204);
    let applied = host.portal.http().post_empty("/apply").expect(200);
    assert_eq!(applied.json["changes"]["removed"], serde_json::json!([1001]));
}
