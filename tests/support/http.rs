//! A small HTTP client, for tests that speak to the portal as a script would.

use serde_json::Value;
use ureq::http::HeaderMap;
use ureq::{Agent, Body};

use crate::wait::LIMIT;

/// Speaks to one portal, with one token or none.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; `null` where it is none.
    pub json: Value,
}

impl Http {
    /// A client for the server at `base` (`http://127.0.0.1:8000`).
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(LIMIT * 2))
            // A deployment under test is never behind a proxy that the environment names.
            .proxy(None)
            .build()
            .into();
        Self { agent, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same server, with another token or none.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Response {
        self.get_with(path, &[])
    }

    /// GET with more headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", path, headers, &[])
    }

    /// As [`Self::get`], from a server that may be away: `None` where nobody answered.
    pub fn try_get(&self, path: &str) -> Option<Response> {
        self.try_request("GET", path, &[], &[])
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// POST without a body, as `POST /apply` is meant.
    pub fn post_empty(&self, path: &str) -> Response {
        self.post_with(path, &[], &[])
    }

    /// POST of any bytes, with the headers given and no others but the token's.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.request("POST", path, headers, body)
    }

    /// As [`Self::post_empty`], to a server that may go away before it answers: `None` where it did.
    pub fn try_post_empty(&self, path: &str) -> Option<Response> {
        self.try_request("POST", path, &[], &[])
    }

    /// Any request, to a server that may be away or go away before it has answered: `None` where no whole answer came.
    pub fn try_request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Response> {
        Response::read(self.send(method, path, headers, body).ok()?)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, &[], &[])
    }

    /// GET that may find nobody there.
    pub fn answers(&self, path: &str) -> bool {
        self.send("GET", path, &[], &[]).is_ok()
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let answer = self.send(method, path, headers, body);
        let answer = answer.unwrap_or_else(|error| panic!("no answer from {}{path}: {error}", self.base));
        Response::read(answer).expect("a body in UTF-8")
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_empty() {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        }
    }
}

impl Response {
    /// `None` where it breaks off, or is no UTF-8.
    fn read(mut response: ureq::http::Response<Body>) -> Option<Self> {
        let text = response.body_mut().read_to_string().ok()?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Some(Self { status: response.status().as_u16(), headers: response.headers().clone(), text, json })
    }

    /// The answer, if it has this status.
    ///
    /// # Panics
    /// With the body, if it has not.
    #[expect(clippy::return_self_not_must_use, reason = "often the status is all that matters")]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(self.status == status, "{status} expected, {} came: {}", self.status, self.text);
        self
    }

    /// A header's value; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A string member of the body, by its JSON pointer (`/users/0/id`).
    #[track_caller]
    pub fn string(&self, pointer: &str) -> String {
        let value = self.json.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no string {pointer} in {}", self.text)).to_owned()
    }

    /// A whole number of the body, by its JSON pointer.
    #[track_caller]
    pub fn number(&self, pointer: &str) -> i64 {
        let value = self.json.pointer(pointer).and_then(Value::as_i64);
        value.unwrap_or_else(|| panic!("no number {pointer} in {}", self.text))
    }
}
