//! PostgreSQL over TLS, as on another host: a private authority, and a name that has to be the certificate's.
#![expect(clippy::disallowed_methods, reason = "the certificates are made as an administrator would make them")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use pbx_persistence::{Database, DatabaseError};
use pbx_tests::wait::LIMIT;
use pbx_tests::{Cluster, until};
use tempfile::TempDir;

use crate::chain;

const NAME: &str = "database.example";

/// A cluster whose certificate says [`NAME`], signed by the authority in `directory`.
struct Server {
    _cluster: Cluster,
    database: pbx_tests::Database,
    directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let cluster = Cluster::start_new();
        let database = pbx_tests::Database::create_in(&cluster.url());
        let directory = tempfile::tempdir().unwrap();
        // The server, which is another user, takes its certificate from here.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { _cluster: cluster, database, directory }
    }

    fn turn_tls_on(&self) {
        let path = self.directory.path();
        make_authority(path, "authority");
        openssl(path, &format!("req -new -newkey rsa:2048 -nodes -subj /CN={NAME} -keyout server.key -out server.csr"));
        fs::write(path.join("names"), format!("subjectAltName=DNS:{NAME}")).unwrap();
        openssl(
            path,
            "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 1 -extfile names -out server.crt",
        );
        fs::set_permissions(path.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
        for file in ["server.key", "server.crt"] {
            let from = path.join(file);
            self.database.sql(&format!("COPY (SELECT) TO PROGRAM 'umask 077; cp {} {file}'", from.display()));
        }
        self.database.sql("ALTER SYSTEM SET ssl = on");
        self.database.sql("SELECT pg_reload_conf()");
        until("PostgreSQL to offer TLS", || (self.database.sql("SHOW ssl") == "on").then_some(()));
    }

    /// What the portal finds when it reaches the server by this name and trusts this authority.
    fn reached_as(&self, name: &str, authority: &str, timeout: Duration) -> Result<Database, DatabaseError> {
        let url = self.database.url();
        let (_, address) = url.split_once("127.0.0.1:").unwrap();
        let authority = self.directory.path().join(authority);
        // The name is compared with the certificate, and hostaddr saves asking for its address.
        let url = format!(
            "postgresql://postgres@{name}:{address}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
            authority.display()
        );
        let database = Database::connect(&url, 2, timeout).unwrap();
        database.migrate().map(|_| database)
    }
}

fn make_authority(directory: &Path, name: &str) {
    openssl(
        directory,
        &format!("req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -keyout {name}.key -out {name}.crt"),
    );
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_server_with_the_right_name_and_authority_is_used_over_tls_and_no_other() {
    let server = Server::start();
    make_authority(server.directory.path(), "stranger");
    // What is refused is tried again until the timeout.
    let refused = |name: &str, authority: &str, reason: &str| {
        let error = server.reached_as(name, authority, Duration::from_secs(3)).unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable(_)), "{}", chain(&error));
        assert!(chain(&error).contains(reason), "{}", chain(&error));
    };

    refused(NAME, "stranger.crt", "server does not support SSL");
    server.turn_tls_on();
    refused(
        "other.example",
        "authority.crt",
        r#"server certificate for "database.example" does not match host name "other.example""#,
    );
    refused(NAME, "stranger.crt", "certificate verify failed");
    refused(NAME, "nowhere.crt", "does not exist");

    let database = server.reached_as(NAME, "authority.crt", LIMIT).unwrap();
    assert_eq!(database.users().list().unwrap().users, []);
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl NATURAL JOIN pg_stat_activity WHERE application_name = 'pbx-portal'";
    assert_eq!(server.database.sql(encrypted), "t");
}
