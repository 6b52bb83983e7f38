use std::error::Error;
use std::iter;
use std::sync::Arc;

use pbx_domain::CreateRefusal;

/// Why the database did not do what it was asked.
///
/// The messages are fit for a client: they hold no SQL, no address and no library's words. The
/// [`source`](Error::source) chain has those, for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DatabaseError {
    /// libpq cannot read the database URL. The URL is not repeated: it may hold a password.
    #[error(
        "the database URL is not valid: write postgresql://user@host/database, with percent-encoding where \
         a name or password has special characters, or libpq's key=value form"
    )]
    InvalidUrl,
    /// The database cannot hold every name: its encoding is neither `UTF8` nor `SQL_ASCII`
    /// ([PostgreSQL manual, 24.3](https://www.postgresql.org/docs/current/multibyte.html)).
    #[error(
        "the database has the encoding {found}, and names need UTF8: make it anew with `createdb --encoding=UTF8 \
         --template=template0`"
    )]
    WrongEncoding {
        /// Its encoding, as PostgreSQL calls it.
        found: String,
    },
    /// No connection, or one that was lost or too slow: it is worth trying again later. Where a
    /// change was to be committed it is unknown whether it was.
    #[error("the database is unavailable")]
    Unavailable(#[source] ErrorDetail),
    /// The database answered, with an error or with something that ought not to be there: trying
    /// again does not help.
    #[error("the database refused the operation or holds something unexpected")]
    Failed(#[source] ErrorDetail),
}

impl DatabaseError {
    pub(crate) fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(ErrorDetail(words(&*cause.into()).into()))
    }

    pub(crate) fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(ErrorDetail(words(&*cause.into()).into()))
    }
}

/// The cause of a [`DatabaseError`], in the words of PostgreSQL or libpq. For the log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ErrorDetail(Arc<str>);

/// The words of an error and its causes, without what may be a phone's digest: the message of an administrator's trigger
/// may hold a whole row, as of `RAISE EXCEPTION 'no: %', NEW`.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    let words: Vec<_> = iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    let shown = |piece: &str| {
        let digits = piece.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits < 32 { piece.to_owned() } else { format!("[hexadecimal digits]{}", &piece[digits..]) }
    };
    words.join(": ").split_inclusive(|c: char| !c.is_ascii_hexdigit()).map(shown).collect()
}

/// Why a user was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    /// The users that are there do not allow for it. Nothing was written.
    #[error(transparent)]
    Refused(#[from] CreateRefusal),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_in_no_form_of_an_error() {
        let digest = "0123456789abcdefABCDEF0123456789";
        for (words, shown) in [
            (format!("row (1000,{digest},x)"), "row (1000,[hexadecimal digits],x)"),
            (format!("\\x{digest}{digest}"), "\\x[hexadecimal digits]"),
            (format!("ü{}", &digest[1..]), "ü123456789abcdefABCDEF0123456789"),
            ("user 01a228d8-101f-75a4-9613-a0495258d6a9".to_owned(), "user 01a228d8-101f-75a4-9613-a0495258d6a9"),
        ] {
            for error in [DatabaseError::failed(words.clone()), DatabaseError::unavailable(words)] {
                assert_eq!(error.source().unwrap().to_string(), shown);
                assert!(!format!("{error:?}").contains(digest));
            }
        }
    }
}
