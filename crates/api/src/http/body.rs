//! Bodies. Of requests: bounded in length and in time, and JSON in UTF-8. Of answers: sent piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use std::{fmt, str};

use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use actix_web::web::{Bytes, Payload};
use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserializer as _, Serialize};
use serde_json::value::RawValue;

use crate::http::problem::{Code, FieldError, Problem};

/// The most bytes of a body.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// What is said about longer ones.
pub(crate) const TOO_LARGE: &str = "A body may have at most 16 KiB.";
/// How long a body may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is copied at once of an answer's body.
const PIECE: usize = 16 * 1024;

/// A value as the JSON of an answer, with the end of its line.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    // Serialising texts and numbers cannot fail.
    let mut json = serde_json::to_vec(value).unwrap_or_default();
    json.push(b'\n');
    json.into()
}

/// A point in time as answers have it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// The same body, of which the framework copies a piece at a time: it would copy all of it for each client, however
/// little of it the client reads.
pub(crate) fn in_pieces(body: BoxBody) -> BoxBody {
    match body.try_into_bytes() {
        Ok(bytes) if bytes.len() > PIECE => BoxBody::new(Pieces(bytes)),
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => body,
    }
}

struct Pieces(Bytes);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.0.len().min(PIECE);
        Poll::Ready((length > 0).then(|| Ok(self.0.split_to(length))))
    }
}

/// What is said of a body that is no HTTP.
const BROKEN: &str = "ended too early or was sent malformed";

/// The body, if it is short and arrives soon.
pub(crate) async fn read(payload: Payload) -> Result<Bytes, Problem> {
    read_or(payload, || Problem::new(Code::MalformedJson, format!("The body {BROKEN}."))).await
}

/// Refuses every body but an empty one and `{}`, so that no option in the wrong place is ignored.
pub(crate) async fn read_nothing(payload: Payload) -> Result<(), Problem> {
    let broken = || Problem::invalid_body(vec![FieldError::new("body", BROKEN)]);
    must_be_nothing(&read_or(payload, broken).await?)
}

/// Reads a body that means nothing. If it were not read, a malformed one would end the connection after the request was
/// carried out and before its answer was sent.
pub(crate) async fn ignore(payload: Payload) -> Result<(), Problem> {
    read_or(payload, || Problem::new(Code::MalformedRequest, format!("The body {BROKEN}."))).await.map(drop)
}

async fn read_or(payload: Payload, broken: impl FnOnce() -> Problem) -> Result<Bytes, Problem> {
    let Ok(read) = tokio::time::timeout(TIMEOUT, payload.to_bytes_limited(MAX_BYTES)).await else {
        let detail = format!("The body did not arrive within {} seconds.", TIMEOUT.as_secs());
        return Err(Problem::new(Code::RequestTimeout, detail));
    };
    match read {
        Err(_) => Err(Problem::new(Code::BodyTooLarge, TOO_LARGE)),
        Ok(Err(_)) => Err(broken()),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

/// Whether the body is declared as what it must be.
pub(crate) fn must_be_json(request: &HttpRequest) -> Result<(), Problem> {
    // Blanks around a semicolon mean nothing: RFC 9110, section 5.6.6. The reader of media types takes those behind it.
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').map(str::trim).collect::<Vec<_>>().join(";").parse::<actix_web::mime::Mime>();
    let is_json = kind.is_ok_and(|kind| {
        kind.essence_str() == "application/json" && kind.get_param("charset").is_none_or(|charset| charset == "utf-8")
    });
    // Codings are compared without regard to case: RFC 9110, section 8.4.1.
    let is_identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    let is_plain = request.headers().get_all(CONTENT_ENCODING).all(is_identity);
    if is_json && is_plain {
        Ok(())
    } else {
        let detail = "Send the body as `Content-Type: application/json`, in UTF-8 and not compressed.";
        Err(Problem::new(Code::UnsupportedMediaType, detail))
    }
}

/// Reads a body as a JSON object as it was sent: each member in its place, repeated ones too, and its value as text, so that
/// a number too large or an array too deep is no worse than another wrong type. `None` when it is JSON, but no object.
pub(crate) fn members(body: &[u8]) -> Result<Option<Vec<(String, &RawValue)>>, Problem> {
    let malformed = |detail: String| Problem::new(Code::MalformedJson, detail);
    let text = str::from_utf8(body)
        .map_err(|error| malformed(format!("The body is not UTF-8 from byte {} on.", error.valid_up_to())))?;
    let not_json = |error: serde_json::Error| {
        malformed(format!("The body is not JSON at line {}, column {}.", error.line(), error.column()))
    };
    let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
    if !value.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::Deserializer::from_str(text).deserialize_map(InOrder).map(Some).map_err(not_json)
}

fn must_be_nothing(body: &[u8]) -> Result<(), Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let dry_run = || FieldError::new("dry_run", "belongs in the query: POST /apply?dry_run=true");
    let mut errors = Vec::new();
    match members(body) {
        Ok(Some(members)) => {
            for (name, _) in members {
                let known = if name == "dry_run" { dry_run() } else { FieldError::new(&name, "is not known") };
                if !errors.contains(&known) {
                    errors.push(known);
                }
            }
        }
        other => {
            let message = other.err().map_or("must be empty or {}".to_owned(), |problem| problem.document.detail);
            errors.push(FieldError::new("body", message));
            if body.windows(b"dry_run".len()).any(|part| part == b"dry_run") {
                errors.push(dry_run());
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_body(errors)) }
}

/// The text of a JSON string; the word for what it is otherwise.
pub(crate) fn text_of(value: &RawValue) -> Result<Result<String, &'static str>, Problem> {
    let kind = match value.get().as_bytes().first() {
        // An escape such as \ud800 alone is JSON by its grammar and still no text.
        Some(b'"') => {
            return serde_json::from_str(value.get())
                .map(Ok)
                .map_err(|_| Problem::new(Code::MalformedJson, "A text in the body is not Unicode."));
        }
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    Ok(Err(kind))
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(body: &str) -> Vec<String> {
        let errors = must_be_nothing(body.as_bytes()).err().map(|problem| {
            assert_eq!(problem.code, Code::InvalidBody, "{body}");
            problem.document.errors
        });
        errors.into_iter().flatten().map(|error| format!("{} {}", error.field, error.message)).collect()
    }

    #[test]
    fn the_body_of_an_apply_is_empty() {
        for nothing in ["", " ", "\r\n", "{}", " { } \n"] {
            assert_eq!(problems(nothing), Vec::<String>::new(), "{nothing:?}");
        }
        let dry_run = "dry_run belongs in the query: POST /apply?dry_run=true";
        assert_eq!(problems(r#"{"dry_run": true}"#), [dry_run]);
        assert_eq!(problems(r#"{"x": 1, "dry_run": null, "x": 2}"#), ["x is not known", dry_run]);
        assert_eq!(problems("dry_run=true"), ["body The body is not JSON at line 1, column 1.", dry_run]);
        for wrong in ["[]", "null", "true", "1", "\"\"", "[{}]"] {
            assert_eq!(problems(wrong), ["body must be empty or {}"], "{wrong}");
        }
        for wrong in ["{", "{} {}", "x", "\u{feff}{}", "\0"] {
            assert_eq!(problems(wrong).len(), 1, "{wrong:?}");
        }
        assert!(must_be_nothing(b"\xff").is_err());
    }
}
