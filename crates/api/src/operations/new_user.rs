//! The body of `POST /users`, validated as a whole: all invalid fields are reported at once.

use std::fmt::Display;

use pbx_domain::{DisplayName, Email, InvalidId, NewUser, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::body;
use crate::http::problem::{FieldError, Problem};

/// A user to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
#[expect(dead_code, reason = "describes the body; it is read member by member, to name every wrong one")]
pub(crate) struct NewUserBody {
    /// What the called phone shows: 1 to 79 bytes of UTF-8 after blanks at both ends are trimmed,
    /// without control characters, line separators and bidirectional controls.
    // The pattern asks for one character that is no blank, too.
    #[schema(
        example = "Alice Example",
        min_length = 1,
        max_length = 79,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]*[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]*$"
    )]
    name: String,
    /// An addr-spec of at most 254 bytes, unique without regard to case.
    #[schema(example = "alice@example.com", format = Email, min_length = 3, max_length = 254)]
    email: String,
    /// The id of the user whose place the new one takes: that user is deleted, and the extension
    /// stays.
    #[schema(required = false, nullable = false)]
    replaces: Option<Uuid>,
}

/// The id that this UUID is, as answers have it, with hyphens; its other notations are no ids here.
pub(crate) fn id(text: &str) -> Result<UserId, InvalidId> {
    if text.len() == 36 { text.parse() } else { Err(InvalidId) }
}

/// Makes a new user of the body of a request.
pub(crate) fn parse(body: &[u8]) -> Result<NewUser, Problem> {
    let Some(members) = body::members(body)? else {
        return Err(Problem::invalid_user(vec![FieldError::new("body", "must be an object with name and email")]));
    };
    let mut errors = Vec::new();
    let name = field("name", str::parse::<DisplayName>, &members, &mut errors)?;
    let email = field("email", str::parse::<Email>, &members, &mut errors)?;
    let replaces = if members.iter().any(|(field, _)| field == "replaces") {
        field("replaces", id, &members, &mut errors)?
    } else {
        None
    };
    for (field, _) in &members {
        if !matches!(field.as_str(), "name" | "email" | "replaces") && !errors.iter().any(|error| error.field == *field)
        {
            errors.push(FieldError::new(field, "is not known; a user has name and email, and may have replaces"));
        }
    }
    match (name, email) {
        (Some(name), Some(email)) if errors.is_empty() => Ok(NewUser { name, email, replaces }),
        _ => Err(Problem::invalid_user(errors)),
    }
}

fn field<T, E: Display>(
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    members: &[(String, &RawValue)],
    errors: &mut Vec<FieldError>,
) -> Result<Option<T>, Problem> {
    let mut values = members.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
    let value = match (values.next(), values.next()) {
        (None, _) => Err("is missing".to_owned()),
        (Some(_), Some(_)) => Err("must be there only once".to_owned()),
        (Some(value), None) => match body::text_of(value)? {
            Ok(text) => parse(&text).map_err(|error| error.to_string()),
            Err(kind) => Err(format!("must be a text, is {kind}")),
        },
    };
    Ok(value.map_err(|message| errors.push(FieldError::new(name, message))).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::Code;

    fn fields(body: &str) -> Vec<String> {
        let problem = parse(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::InvalidUser, "{body}");
        problem.document.errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect()
    }

    #[test]
    fn a_user_has_a_name_and_an_email_in_any_order() {
        let user = parse(br#" {"email": "a@example.com", "n\u0061me": " A\ud83d\ude00 "} "#).unwrap();
        assert_eq!((user.name.as_str(), user.email.as_str()), ("A\u{1f600}", "a@example.com"));
        assert_eq!(user.replaces, None);
        let id = UserId::generate();
        let body = format!(r#"{{"name": "A", "email": "a@example.com", "replaces": "{id}"}}"#);
        assert_eq!(parse(body.as_bytes()).unwrap().replaces, Some(id));
    }

    #[test]
    fn whom_it_replaces_is_named_by_a_uuid() {
        for (value, message) in [
            ("\"x\"", "must be a UUID"),
            ("\"01939d5e7a8b7c3d9e4f5a6b7c8d9e0f\"", "must be a UUID"),
            ("null", "must be a text, is null"),
            ("7", "must be a text, is a number"),
        ] {
            let body = format!(r#"{{"name": "A", "email": "a@example.com", "replaces": {value}}}"#);
            assert_eq!(fields(&body), [format!("replaces {message}")]);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(
            fields(r#"{"name": "", "phone": 1, "email": "x", "phone": 2, "id": null}"#),
            [
                "name must not be empty or blank",
                "email must be a mail address such as alice@example.com",
                "phone is not known; a user has name and email, and may have replaces",
                "id is not known; a user has name and email, and may have replaces",
            ]
        );
        assert_eq!(fields("{}"), ["name is missing", "email is missing"]);
        assert_eq!(fields(r#"{"name": "a", "name": "b", "email": "a@example.com"}"#), ["name must be there only once"]);
    }

    #[test]
    fn a_wrong_type_is_named_however_large_or_deep_it_is() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for (value, kind) in [
            ("1", "a number"),
            ("-1e999", "a number"),
            ("true", "a boolean"),
            ("null", "null"),
            ("{\"a\": 1}", "an object"),
            (&deep, "an array"),
        ] {
            let body = format!(r#"{{"name": {value}, "email": "a@example.com"}}"#);
            assert_eq!(fields(&body), [format!("name must be a text, is {kind}")]);
        }
        for value in ["[]", "1", "null", "\"x\""] {
            assert_eq!(fields(value), ["body must be an object with name and email"]);
        }
    }

    #[test]
    fn what_is_no_json_or_no_unicode_is_malformed() {
        let bad: [&[u8]; 15] = [
            b"",
            b" ",
            b"{",
            b"{]",
            b"[1, ",
            b"{} x",
            b"{'name': 'a'}",
            b"{\"name\": \"a\",}",
            b"\xef\xbb\xbf{}",
            b"\xff",
            b"{\"name\": \"\xc3\x28\"}",
            b"{\"name\": \"a\x01\"}",
            br#"{"name": "\ud800", "email": "a@example.com"}"#,
            br#"{"\udc00": 1}"#,
            br#"{"name": "\x"}"#,
        ];
        for body in bad {
            assert_eq!(parse(body).unwrap_err().code, Code::MalformedJson, "{}", body.escape_ascii());
        }
    }
}
