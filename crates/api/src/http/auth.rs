//! Authentication: bearer tokens with names ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::AppState;
use crate::http::clients::Client;
use crate::http::problem::{Code, Problem};
use crate::http::{is_name, query, web_pages};

const MIN_TOKEN_BYTES: usize = 32;

/// The tokens that may use the API, each with the name of its holder.
///
/// Only the SHA-256 of a token is kept. That hides it from `Debug`, and makes all of them equally
/// long, so that comparing takes the same time whatever was presented.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    name: String,
    digest: [u8; 32],
    read_only: bool,
}

impl Tokens {
    /// Reads `name:token,name:token`; or says what is wrong, without quoting a token.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let tokens = text
            .split(',')
            .enumerate()
            .map(|(i, entry)| Token::parse(entry.trim(), i + 1))
            .collect::<Result<Vec<_>, _>>()?;
        Self(tokens).unambiguous()
    }

    /// These tokens, and others that may only read, unless a name or a token is in both.
    pub(crate) fn with_read_only(mut self, others: Self) -> Result<Self, String> {
        self.0.extend(others.0.into_iter().map(|token| Token { read_only: true, ..token }));
        self.unambiguous()
    }

    fn unambiguous(self) -> Result<Self, String> {
        if let Some(twice) = first_repeated(self.0.iter().map(|token| &token.name)) {
            return Err(format!("the name `{twice}` is given to two tokens; give each token its own name"));
        }
        if first_repeated(self.0.iter().map(|token| token.digest)).is_some() {
            return Err("two names share one token; give each name its own".to_owned());
        }
        Ok(self)
    }

    /// Whether there is none, so that anybody who reaches the service may use it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token that was presented, if it is one of these. Compares every token, whichever fits.
    fn find(&self, presented: &[u8]) -> Option<&Token> {
        let digest = digest(presented);
        self.0
            .iter()
            .fold(None, |found, token| if bool::from(token.digest.ct_eq(&digest)) { Some(token) } else { found })
    }
}

impl Token {
    /// The messages name an entry by its place: without a colon, it may all be secret.
    fn parse(entry: &str, place: usize) -> Result<Self, String> {
        let Some((name, token)) = entry.split_once(':') else {
            return Err(format!(
                "entry {place} is not name:token; write for example ops:<output of `openssl rand -hex 32`>"
            ));
        };
        if !is_name(name) {
            return Err(format!("the name of entry {place} must be 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        // The characters that RFC 6750 allows in the header.
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        if token.len() < MIN_TOKEN_BYTES {
            return Err(format!(
                "the token of `{name}` has fewer than {MIN_TOKEN_BYTES} characters; make one with `openssl rand -hex 32`"
            ));
        }
        if !token.bytes().all(legal) {
            return Err(format!(
                "the token of `{name}` has a character other than A-Z a-z 0-9 - . _ ~ + / =; make one with `openssl rand -hex 32`"
            ));
        }
        Ok(Self { name: name.to_owned(), digest: digest(token.as_bytes()), read_only: false })
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn first_repeated<T: Ord + Clone>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    values.into_iter().find(|value| !seen.insert(value.clone()))
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|token| &token.name)).finish()
    }
}

/// The caller, as the name of its token; nobody where no token is needed.
///
/// A handler that takes it answers `401` to everybody else, and `403` to who may not do this. It must be
/// the first argument, so that this is decided before anything of the request is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor(pub Option<String>);

/// Where the line of the log finds the caller, once it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerSlot(Rc<RefCell<Option<String>>>);

impl CallerSlot {
    pub(crate) fn name(&self) -> String {
        self.0.borrow().clone().unwrap_or_else(|| "-".to_owned())
    }
}

impl FromRequest for Actor {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl Actor {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let Some(state) = request.app_data::<web::Data<AppState>>() else {
            return Err(Problem::internal(anyhow::anyhow!("the application has no state")));
        };
        let (tokens, bind) = (&state.settings.tokens, state.settings.bind);
        if tokens.is_empty() {
            web_pages::refuse(request, bind)?;
            Client::trust(request);
            return Ok(Self(None));
        }
        let Some(token) = presented(request).and_then(|token| tokens.find(token)) else {
            let detail = "Send a token of auth.tokens as `Authorization: Bearer <token>`.";
            return Err(Problem::new(Code::Unauthorized, detail));
        };
        let actor = Self(Some(token.name.clone()));
        if let Some(slot) = request.extensions().get::<CallerSlot>() {
            slot.0.replace(actor.0.clone());
        }
        Client::trust(request);
        if token.read_only && !only_reads(request) {
            let detail = "This token may only read: GET /users and POST /apply?dry_run=true. Use one of auth.tokens.";
            return Err(Problem::new(Code::Forbidden, detail));
        }
        Ok(actor)
    }
}

/// Whether a token that may only read may do this.
fn only_reads(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        || request.match_pattern().as_deref() == Some("/apply") && matches!(query::dry_run(request), Ok(true))
}

/// The token of the one `Authorization: Bearer` header; the scheme's case does not matter.
fn presented(request: &HttpRequest) -> Option<&[u8]> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (Some(header), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, token) = header.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPS: &str = "0123456789abcdef0123456789abcdef";
    const CI: &str = "fedcba9876543210fedcba9876543210==";

    #[test]
    fn a_token_gives_the_name_of_its_holder() {
        let tokens = Tokens::parse(&format!("ops:{OPS}, ci:{CI}")).unwrap();
        let name_of = |token: &str| tokens.find(token.as_bytes()).map(|token| token.name.as_str());
        assert_eq!(name_of(OPS), Some("ops"));
        assert_eq!(name_of(CI), Some("ci"));
        for wrong in ["", &OPS[1..], &OPS.to_uppercase(), &format!("{OPS}0"), "ops"] {
            assert_eq!(name_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_no_token_at_all() {
        assert!(Tokens::parse("").unwrap().is_empty());
        assert!(Tokens::parse(" ").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_token() {
        for (text, expected) in [
            (OPS.to_owned(), "entry 1 is not name:token"),
            (format!("ops:{OPS},"), "entry 2 is not name:token"),
            (format!(":{OPS}"), "name of entry 1"),
            (format!("o s:{OPS}"), "name of entry 1"),
            (format!("o\ns:{OPS}"), "name of entry 1"),
            (format!("{}:{OPS}", "n".repeat(65)), "name of entry 1"),
            (format!("ops:{}", &OPS[1..]), "fewer than 32"),
            (format!("ops:{OPS} x"), "a character other than"),
            (format!("ops:{OPS},ops:{CI}"), "`ops` is given to two tokens"),
            (format!("ops:{OPS},ci:{OPS}"), "two names share one token"),
        ] {
            let error = Tokens::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&OPS[1..]) && !error.contains(CI), "{error}");
        }
    }

    #[test]
    fn a_name_or_token_is_either_read_only_or_not() {
        let tokens = |text: &str| Tokens::parse(text).unwrap();
        let full = tokens(&format!("ops:{OPS}"));
        let both = full.clone().with_read_only(tokens(&format!("ci:{CI}"))).unwrap();
        assert_eq!([OPS, CI].map(|token| both.find(token.as_bytes()).unwrap().read_only), [false, true]);
        assert!(!Tokens::default().with_read_only(tokens(&format!("ci:{CI}"))).unwrap().is_empty());
        for (others, expected) in
            [(format!("ops:{CI}"), "`ops` is given to two tokens"), (format!("ci:{OPS}"), "two names share one token")]
        {
            let error = full.clone().with_read_only(tokens(&others)).unwrap_err();
            assert!(error.contains(expected) && !error.contains(OPS), "{error}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let tokens = Tokens::parse(&format!("ops:{OPS}")).unwrap();
        assert_eq!(format!("{tokens:?}"), "{\"ops\"}");
    }
}
