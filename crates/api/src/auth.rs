//! Who asks: bearer tokens with names ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750)).

use std::{
    collections::BTreeSet,
    fmt,
    future::{Ready, ready},
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderValue},
    web,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    AppState,
    problem::{Code, Problem},
};

const MIN_TOKEN_BYTES: usize = 32;
const MAX_NAME_BYTES: usize = 64;

/// The tokens that may use the API, each with the name of whoever holds it.
///
/// Only the SHA-256 of a token is kept. That hides it from `Debug`, and makes all of them equally
/// long, so that comparing takes the same time whatever was presented.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    name: String,
    digest: [u8; 32],
}

impl Tokens {
    /// Reads `name:token,name:token`.
    ///
    /// # Errors
    ///
    /// What is wrong, without any token in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let tokens = text
            .split(',')
            .enumerate()
            .map(|(i, entry)| Token::parse(entry.trim(), i + 1))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(twice) = first_repeated(tokens.iter().map(|token| &token.name)) {
            return Err(format!("the name `{twice}` stands there twice; give each token its own name"));
        }
        if first_repeated(tokens.iter().map(|token| token.digest)).is_some() {
            return Err("two names share one token; give each name its own".to_owned());
        }
        Ok(Self(tokens))
    }

    /// Whether there is none, so that anybody who reaches the service may use it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of whoever holds this token. Looks at every token, whichever fits.
    fn name_of(&self, presented: &[u8]) -> Option<&str> {
        let digest = digest(presented);
        self.0.iter().fold(None, |found, token| {
            if bool::from(token.digest.ct_eq(&digest)) { Some(token.name.as_str()) } else { found }
        })
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
        let name_is_sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(name_is_sane) {
            return Err(format!("the name of entry {place} must be 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ -"));
        }
        // What RFC 6750 lets stand in the header.
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
        Ok(Self { name: name.to_owned(), digest: digest(token.as_bytes()) })
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

/// Whoever asks, as the name of their token; nobody where no token is needed.
///
/// A handler that takes it answers `401` to everybody else. It must be the first argument, so
/// that this is decided before anything of the request is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub Option<String>);

impl FromRequest for Actor {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(state) = request.app_data::<web::Data<AppState>>() else {
            return ready(Err(Problem::internal(anyhow::anyhow!("the application has no state"))));
        };
        let tokens = &state.settings.tokens;
        let unauthorized = |detail| ready(Err(Problem::new(Code::Unauthorized, detail)));
        let actor = if !tokens.is_empty() {
            match presented(request).and_then(|token| tokens.name_of(token)) {
                Some(name) => Self(Some(name.to_owned())),
                None => return unauthorized("Send a token of auth.tokens as `Authorization: Bearer <token>`."),
            }
        } else if is_of_another_site(request) {
            return unauthorized("A web page of another site may not use this API while auth.tokens is empty.");
        } else {
            Self(None)
        };
        request.extensions_mut().insert(actor.clone());
        ready(Ok(actor))
    }
}

/// Whether a page of another site makes a browser on this host send this. Without a token, that
/// the request comes from this host is all the proof there is, and a page can send `POST /apply`
/// without asking first.
fn is_of_another_site(request: &HttpRequest) -> bool {
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => !matches!(site, b"same-origin" | b"none"),
        // An older browser.
        (None, Some(origin)) => origin.strip_prefix(b"http://").is_none_or(|own| header("host") != Some(own)),
        (None, None) => false,
    }
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
        assert_eq!(tokens.name_of(OPS.as_bytes()), Some("ops"));
        assert_eq!(tokens.name_of(CI.as_bytes()), Some("ci"));
        for wrong in ["", &OPS[1..], &OPS.to_uppercase(), &format!("{OPS}0"), "ops"] {
            assert_eq!(tokens.name_of(wrong.as_bytes()), None, "{wrong}");
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
            (format!("ops:{OPS},ops:{CI}"), "`ops` stands there twice"),
            (format!("ops:{OPS},ci:{OPS}"), "two names share one token"),
        ] {
            let error = Tokens::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&OPS[1..]) && !error.contains(CI), "{error}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let tokens = Tokens::parse(&format!("ops:{OPS}")).unwrap();
        assert_eq!(format!("{tokens:?}"), "{\"ops\"}");
    }
}
