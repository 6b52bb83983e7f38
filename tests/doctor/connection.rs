//! PostgreSQL on another host, over TLS with an authority of one's own: what keeps the portal out, and its fixes.

use std::fs;

use pbx_tests::{Asterisk, Certificates, Cluster, Database, until};

use crate::doctor::host::{Found, Host, Place, check};

const NAME: &str = "database.example";
const PASSWORD: &str = "s/e:c@r%t";
const ENCODED: &str = "s%2Fe%3Ac%40r%25t";

/// A host whose portal's role has a password, which counts over TLS alone.
struct Remote {
    host: Host,
    certificates: Certificates,
    place: Place,
    port: String,
    cluster: Cluster,
    /// The variable that has the URL.
    variable: &'static str,
}

impl Remote {
    fn new() -> Self {
        let cluster = Cluster::start_new();
        let host = Host::on(Database::create_in(&cluster.url()), Asterisk::start_new());
        let certificates = Certificates::for_server(NAME);
        certificates.make_authority("stranger");
        certificates.turn_tls_on(&host.database);
        let port = cluster.address().split_once(':').unwrap().1.to_owned();
        let directory = certificates.path("etc");
        fs::create_dir(&directory).unwrap();
        let replaced = [
            ("-o root -g pbx-portal ".to_owned(), String::new()),
            ("/etc/pbx-portal".to_owned(), directory.display().to_string()),
            (" ca.crt ".to_owned(), format!(" {} ", certificates.path("authority.crt").display())),
        ];
        let place = Place {
            server: Some(format!("PGHOST=127.0.0.1 PGPORT={port}")),
            replaced: replaced.into(),
            answers: format!("{PASSWORD}\n{PASSWORD}\n"),
        };
        let remote = Self { host, certificates, place, port, cluster, variable: "DATABASE_URL" };
        let sql = [
            "SET password_encryption = 'scram-sha-256'",
            "CREATE ROLE \"pbx-portal\" LOGIN",
            &format!("ALTER ROLE \"pbx-portal\" PASSWORD '{PASSWORD}'"),
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO \"pbx-portal\"",
        ];
        remote.host.database.sql(&sql.join("; "));
        remote.let_in("hostssl all pbx-portal 127.0.0.1/32 scram-sha-256");
        remote
    }

    fn let_in(&self, line: &str) {
        let lines = format!("{line}\nhost all postgres 127.0.0.1/32 trust\n");
        fs::write(self.host.database.sql("SHOW hba_file"), lines).unwrap();
        self.host.database.reload_server();
    }

    /// The file that stands for the authority's certificate.
    fn authority(&self, name: &str) -> String {
        format!("sslmode=verify-full&sslrootcert={}", self.certificates.path(name).display())
    }

    fn url(&self, host: &str, query: &str) -> String {
        let (_, database) =
            self.host.database.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("postgresql://pbx-portal:{ENCODED}@{host}:{}/{database}?{query}", self.port)
    }

    fn well(&self) -> String {
        self.url(NAME, &format!("hostaddr=127.0.0.1&{}", self.authority("authority.crt")))
    }

    /// What the doctor says of the URL in the service's file.
    fn check(&self) -> Found {
        let env = fs::read_to_string(self.certificates.path("etc/env")).unwrap();
        let (variable, url) = env.trim().split_once('=').unwrap();
        let settings = self.host.settings.clone().with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "3");
        let settings = settings.without("DATABASE_URL").with(variable, url.trim_matches('\''));
        // A busy machine may need longer for TLS than the doctor waits.
        until("PostgreSQL to answer in time", || {
            let found = check(&settings);
            let is_late = found.lines.iter().any(|line| line.contains("timeout expired"));
            (!is_late).then_some(found)
        })
    }

    /// With this URL, the doctor says this of the database; what it prints is run as it is printed, and then it says
    /// something else, which is given.
    #[track_caller]
    fn heals(&mut self, url: &str, words: &str) -> Found {
        fs::write(self.certificates.path("etc/env"), format!("{}='{url}'\n", self.variable)).unwrap();
        let found = self.check();
        let [(point, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
        assert!(
            ["database", "tables"].contains(&point) && found.lines.iter().any(|line| line.contains(words)),
            "{found:#?}"
        );
        // `s/e` alone may be part of a path.
        let is_secret = |line: &String| ["s/e:", "s%2F", "c@r", "c%40r"].iter().any(|part| line.contains(part));
        assert!(!found.lines.iter().any(is_secret), "a part of the password: {found:#?}");
        let fix = fix.strip_prefix("on the host of PostgreSQL: ").unwrap_or(fix);
        self.host.run(point, fix, &self.place);
        self.check()
    }

    #[track_caller]
    fn recovers(&mut self, url: &str, words: &str) {
        let after = self.heals(url, words);
        assert!(after.status == 0 && after.faults().is_empty(), "after the fix of {words}: {after:#?}");
        self.host.works();
    }
}

#[test]
fn a_server_that_cannot_be_verified_is_trusted_as_printed() {
    let mut remote = Remote::new();
    fs::write(remote.certificates.path("garbage.crt"), "no certificate\n").unwrap();
    for (file, words) in [
        ("nowhere.crt", "does not exist"),
        ("garbage.crt", "could not read root certificate file"),
        ("stranger.crt", "certificate verify failed"),
    ] {
        let url = remote.url(NAME, &format!("hostaddr=127.0.0.1&{}", remote.authority(file)));
        remote.recovers(&url, words);
        fs::remove_file(remote.certificates.path("etc/database-ca.crt")).unwrap();
    }
    let mismatch = "does not match host name";
    let authority = remote.authority("authority.crt");
    remote.recovers(&remote.url("other.example", &format!("hostaddr=127.0.0.1&{authority}")), mismatch);
    remote.variable = "PBX_PORTAL__DATABASE__URL";
    remote.recovers(&remote.url("127.0.0.1", &authority), mismatch);
    remote.host.database.sql("ALTER SYSTEM SET ssl = off");
    remote.host.database.reload_server();
    remote.recovers(&remote.well(), "server does not support SSL");
}

#[test]
fn a_role_that_is_not_let_in_gets_in_as_printed() {
    let mut remote = Remote::new();
    let well = remote.well();
    remote.let_in("");
    remote.recovers(&well, "no pg_hba.conf entry");
    remote.let_in("host all pbx-portal all reject");
    remote.recovers(&well, "pg_hba.conf rejects");
    let sql = |remote: &Remote, sql: &str| drop(remote.host.database.sql(sql));
    // As PostgreSQL 13 has it by itself.
    sql(&remote, "ALTER SYSTEM SET password_encryption = 'md5'");
    remote.host.database.reload_server();
    sql(&remote, "ALTER ROLE \"pbx-portal\" PASSWORD 'another'");
    remote.recovers(&well, "password authentication failed");
    sql(&remote, "ALTER ROLE \"pbx-portal\" VALID UNTIL '2020-01-01'");
    remote.recovers(&well, "password authentication failed");
    sql(&remote, "ALTER ROLE \"pbx-portal\" NOLOGIN");
    remote.recovers(&well, "not permitted to log in");
    sql(&remote, "REVOKE INSERT ON users FROM \"pbx-portal\"");
    remote.recovers(&well, "the role lacks INSERT on users");
    sql(&remote, "REVOKE ALL ON SCHEMA public FROM PUBLIC, \"pbx-portal\"");
    remote.recovers(&well, "the role lacks USAGE on schema public");
    let (_, database) = remote.host.database.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    sql(&remote, &format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"));
    remote.recovers(&well, "permission denied for database");
    // The role is made; of its rights the doctor speaks then.
    sql(
        &remote,
        &format!("DROP OWNED BY \"pbx-portal\"; DROP ROLE \"pbx-portal\"; GRANT ALL ON DATABASE {database} TO PUBLIC"),
    );
    let after = remote.heals(&well, "password authentication failed");
    assert!(after.faults().iter().all(|(point, _)| *point == "tables"), "{after:#?}");
    // So is the database, which is not migrated yet.
    remote.let_in("hostssl all pbx-portal 127.0.0.1/32 scram-sha-256");
    let after =
        remote.heals(&well.replace(&format!("/{database}?"), "/new_one?"), "database \"new_one\" does not exist");
    assert!(after.faults().iter().all(|(point, _)| *point == "migrations"), "{after:#?}");
    remote.cluster.stop();
    let found = remote.check();
    assert!(found.faults()[0].1.contains("systemctl restart postgresql"), "{found:#?}");
}
