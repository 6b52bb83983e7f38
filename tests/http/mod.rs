//! The REST API as a script sees it: the real program on a real PostgreSQL, over a socket.
#![expect(clippy::disallowed_methods, reason = "tests read and write files of their own")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that fails says so at once")]

mod apply_body;
mod auth;
mod bodies;
mod docs;
mod lifecycle;
mod limits;
mod listing;
mod outages;
mod problems;
mod program;
mod raw;
mod replaces;
mod request_id;
mod secrets;

use pbx_tests::Response;
use serde_json::{Value, json};

use crate::service::Service;

impl Service {
    fn create(&self, name: &str, email: &str) -> Response {
        self.portal.http().post("/users", &json!({ "name": name, "email": email }))
    }

    fn raw(&self, request: &str) -> raw::Response {
        raw::send(self.portal.url(), request.as_bytes())
    }

    /// A request with the portal's token, and what else is given of head and body.
    fn raw_with_token(&self, line: &str, rest: &str) -> raw::Response {
        let token = self.portal.settings().token();
        self.raw(&format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{rest}"))
    }
}

/// Whether the answer is this problem, whole and true to itself.
#[track_caller]
fn assert_problem(answer: &Response, status: u16, code: &str) {
    assert_problem_parts(answer.status, |name| answer.header(name).to_owned(), &answer.json, status, code);
}

#[track_caller]
fn assert_problem_parts(got: u16, header: impl Fn(&str) -> String, body: &Value, status: u16, code: &str) {
    assert_eq!((got, body["type"].as_str()), (status, Some(format!("urn:pbx-portal:{code}").as_str())), "{body}");
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], header("x-request-id"));
    for member in ["title", "detail", "request_id"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
    }
    assert_eq!(!header("retry-after").is_empty(), status == 503, "Retry-After with {status}");
    assert_eq!(header("www-authenticate"), if status == 401 { "Bearer realm=\"pbx-portal\"" } else { "" });
    assert_eq!(!header("allow").is_empty(), status == 405, "Allow with {status}");
    let text = body.to_string().to_lowercase();
    for internal in
        ["select ", "insert ", "diesel", "libpq", "actix", "serde", "panicked", "src/", "postgres:", "os error"]
    {
        assert!(!text.contains(internal), "{internal} in {text}");
    }
}

/// The fields that a 422 names, in its order.
fn fields(answer: &Response) -> Vec<&str> {
    let errors = answer.json["errors"].as_array().expect("errors");
    errors.iter().map(|error| error["field"].as_str().expect("a field")).collect()
}
