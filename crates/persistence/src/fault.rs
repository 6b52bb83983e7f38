use std::error::Error as _;

use crate::error::DatabaseError;

/// Why there is no connection, where libpq or PostgreSQL says so in words that are known: each has another remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// Nobody listens at the address.
    NotListening,
    /// The name of the host is not known.
    UnknownHost,
    /// There is no database of that name.
    NoDatabase,
    /// There is no role of that name.
    NoRole,
    /// The password is wrong, or there is none.
    WrongPassword,
    /// `pg_hba.conf` does not let this role in from this host.
    RefusedByHba,
    /// The server has no TLS, which the URL asks for.
    NoTls,
    /// The file with the authority's certificate is missing or cannot be read.
    AuthorityUnreadable,
    /// The server's certificate is of another authority, or has expired.
    CertificateNotTrusted,
    /// The server's certificate is for another name.
    NameMismatch,
}

/// PostgreSQL answers in its own language before a session has another, so its words say no more than this.
const WORDS: [(&[&str], ConnectionFault); 13] = [
    (&["password authentication failed"], ConnectionFault::WrongPassword),
    (&["no password supplied"], ConnectionFault::WrongPassword),
    (&["no pg_hba.conf entry"], ConnectionFault::RefusedByHba),
    (&["pg_hba.conf rejects"], ConnectionFault::RefusedByHba),
    (&["root certificate file", "does not exist"], ConnectionFault::AuthorityUnreadable),
    (&["could not read root certificate file"], ConnectionFault::AuthorityUnreadable),
    (&["certificate verify failed"], ConnectionFault::CertificateNotTrusted),
    (&["does not match host name"], ConnectionFault::NameMismatch),
    (&["server does not support SSL"], ConnectionFault::NoTls),
    (&["could not translate host name"], ConnectionFault::UnknownHost),
    (&["database \"", "does not exist"], ConnectionFault::NoDatabase),
    (&["role \"", "does not exist"], ConnectionFault::NoRole),
    (&["Connection refused"], ConnectionFault::NotListening),
];

impl DatabaseError {
    /// Why there is no connection, where that is known: a fix can go by it.
    #[must_use]
    pub fn connection_fault(&self) -> Option<ConnectionFault> {
        let Self::Unavailable(_) = self else { return None };
        let words = self.source()?.to_string();
        WORDS.iter().find(|(all, _)| all.iter().all(|some| words.contains(some))).map(|(_, fault)| *fault)
    }
}
