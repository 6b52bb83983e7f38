//! PostgreSQL over TLS, as on another host: a private authority, and a name that has to be the certificate's.
use std::time::Duration;

use pbx_persistence::{Database, DatabaseError};
use pbx_tests::wait::LIMIT;
use pbx_tests::{Certificates, Cluster};

use crate::persistence::chain;

const NAME: &str = "database.example";

/// A cluster that has a certificate for [`NAME`].
struct Server {
    _cluster: Cluster,
    database: pbx_tests::Database,
    certificates: Certificates,
}

impl Server {
    fn start() -> Self {
        let cluster = Cluster::start_new();
        let database = pbx_tests::Database::create_in(&cluster.url());
        Self { _cluster: cluster, database, certificates: Certificates::for_server(NAME) }
    }

    /// What the portal finds when it reaches the server by this name and trusts this authority.
    fn reached_as(&self, name: &str, authority: &str, timeout: Duration) -> Result<Database, DatabaseError> {
        let url = self.database.url();
        let (_, address) = url.split_once("127.0.0.1:").unwrap();
        let authority = self.certificates.path(authority);
        // The name is compared with the certificate, and hostaddr saves asking for its address.
        let url = format!(
            "postgresql://postgres@{name}:{address}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
            authority.display()
        );
        let database = Database::connect(&url, 2, timeout).unwrap();
        database.migrate().map(|_| database)
    }
}

#[test]
fn a_server_with_the_right_name_and_authority_is_used_over_tls_and_no_other() {
    let server = Server::start();
    server.certificates.make_authority("stranger");
    // What is refused is tried again until the timeout.
    let refused = |name: &str, authority: &str, reason: &str| {
        let error = server.reached_as(name, authority, Duration::from_secs(3)).unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable(_)), "{}", chain(&error));
        assert!(chain(&error).contains(reason), "{}", chain(&error));
    };

    refused(NAME, "stranger.crt", "server does not support SSL");
    server.certificates.turn_tls_on(&server.database);
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
