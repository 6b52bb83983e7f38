//! A private authority, and a PostgreSQL that offers TLS with its certificate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Database;
use crate::wait::until;

/// A directory of certificates, made as an administrator would make them.
pub struct Certificates(TempDir);

impl Certificates {
    /// An authority (`authority.crt`), and a certificate of its for a server of this name.
    pub fn for_server(name: &str) -> Self {
        let certificates = Self(tempfile::tempdir().expect("a directory for certificates"));
        let directory = certificates.0.path();
        // The server, which is another user, takes its certificate from here.
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("the directory's mode");
        certificates.make_authority("authority");
        let request = format!("req -new -newkey rsa:2048 -nodes -subj /CN={name} -keyout server.key -out server.csr");
        openssl(directory, &request);
        fs::write(directory.join("names"), format!("subjectAltName=DNS:{name}")).expect("the certificate's names");
        openssl(
            directory,
            "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 1 -extfile names -out server.crt",
        );
        fs::set_permissions(directory.join("server.key"), Permissions::from_mode(0o644)).expect("the key's mode");
        certificates
    }

    /// One more authority, which signed nothing: `<name>.crt`.
    pub fn make_authority(&self, name: &str) {
        let request =
            format!("req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -keyout {name}.key -out {name}.crt");
        openssl(self.0.path(), &request);
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Lets the cluster of this database, which the superuser reaches, offer TLS.
    pub fn turn_tls_on(&self, database: &Database) {
        for file in ["server.key", "server.crt"] {
            let from = self.path(file);
            // What is copied is nothing, and yet has to be read.
            database.sql(&format!("COPY (SELECT) TO PROGRAM 'cat; umask 077; cp {} {file}'", from.display()));
        }
        database.sql("ALTER SYSTEM SET ssl = on");
        database.reload_server();
        until("PostgreSQL to offer TLS", || (database.sql("SHOW ssl") == "on").then_some(()));
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().expect("openssl");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
