//! Every answer that is not a success: `application/problem+json`
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpResponse, ResponseError};
use pbx_domain::{Extension, UserId};
use pbx_persistence::DatabaseError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::apply_response::ApplyResponse;
use crate::http::body;
use crate::http::request_id::{RequestId, X_REQUEST_ID};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! codes {
    ($($name:ident $status:literal $code:literal $title:literal,)*) => {
        /// What kind of problem it is; callers' scripts decide by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Code { $($name,)* }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for it, the last part of the problem's `type`.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status of the answer.
            pub(crate) fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$name => $status,)* };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The title, the same for every problem of the kind.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

// The titles. The detail stands where the problem is made.
codes! {
    MalformedJson 400 "malformed-json" "The body is not JSON in UTF-8",
    MalformedId 400 "malformed-id" "The id is not a UUID",
    MalformedRequest 400 "malformed-request" "The request is not HTTP",
    MalformedQuery 400 "malformed-query" "The query is not understood",
    Unauthorized 401 "unauthorized" "A valid bearer token is needed",
    Forbidden 403 "forbidden" "This may not be done",
    NotFound 404 "not-found" "There is no such thing",
    MethodNotAllowed 405 "method-not-allowed" "The method is not allowed here",
    RequestTimeout 408 "request-timeout" "The request did not arrive in time",
    EmailTaken 409 "email-taken" "Another user has this email",
    ExtensionsExhausted 409 "extensions-exhausted" "Every extension is taken",
    OtherDatabase 409 "other-database" "The users in Asterisk are another database's",
    PlanChanged 412 "plan-changed" "The plan is not the one that was reviewed",
    BodyTooLarge 413 "body-too-large" "The body is too large",
    UnsupportedMediaType 415 "unsupported-media-type" "The body must be application/json",
    InvalidUser 422 "invalid-user" "The user is not valid",
    InvalidBody 422 "invalid-body" "The body is not empty",
    HeadTooLarge 431 "head-too-large" "The head of the request is too large",
    Internal 500 "internal" "The portal failed",
    InstallFailed 500 "install-failed" "The include files could not be written",
    ApplyRejected 502 "apply-rejected" "Asterisk did not take the configuration",
    DatabaseUnavailable 503 "database-unavailable" "The database is not available",
    AsteriskUnavailable 503 "asterisk-unavailable" "Asterisk is not available",
    ApplyBusy 503 "apply-busy" "The apply could not start or finish in time",
    AsteriskTimeout 504 "asterisk-timeout" "Asterisk did not answer in time",
}

impl Code {
    /// In how many seconds to try again, where that helps.
    pub(crate) const fn retry_after(self) -> Option<u32> {
        match self {
            Self::DatabaseUnavailable => Some(5),
            Self::AsteriskUnavailable | Self::ApplyBusy => Some(10),
            _ => None,
        }
    }
}

/// A field of the body that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field's name, or `body` for the body as a whole.
    #[schema(example = "name")]
    pub field: String,
    /// What it must be.
    #[schema(example = "must not be empty or blank")]
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

/// Whose an email is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EmailOwner {
    /// The user's identity.
    pub id: Uuid,
    /// The user's extension.
    #[schema(example = 1000, minimum = 1000, maximum = 1999)]
    pub extension: u16,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument {
    /// Which kind of problem: `urn:pbx-portal:` and its code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of the kind.
    pub title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, and what to fix.
    pub detail: String,
    /// The id of the request, which the log lines of the request carry too.
    pub request_id: String,
    /// Every invalid field at once, where the body is not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// Who has the email, where another user has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub user: Option<EmailOwner>,
    /// The record of the apply that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub apply: Option<Box<ApplyResponse>>,
}

/// A failure with two messages: the document for the client, and the cause for the log, which is
/// written once, by [`crate::http::access`].
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which kind of problem it is.
    pub code: Code,
    /// What the client reads.
    pub document: Box<ProblemDocument>,
    /// The methods that the resource has, where that is the problem.
    allow: Option<&'static str>,
    /// What the log shall say, where it shall say more than the access line.
    pub cause: Option<anyhow::Error>,
}

impl Problem {
    /// A problem of this kind for the current request. `detail` reaches the client.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let document = Box::new(ProblemDocument {
            kind: format!("urn:pbx-portal:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            detail: detail.into(),
            request_id: RequestId::current().unwrap_or_else(RequestId::generate).to_string(),
            errors: Vec::new(),
            user: None,
            apply: None,
        });
        Self { code, document, allow: None, cause: None }
    }

    /// A failure of the portal itself, about which the client learns no more than where to look.
    pub(crate) fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Internal, "The portal failed; its log has the reason under this request_id.").caused_by(cause)
    }

    /// The answer to a method that the resource does not have.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(Code::MethodNotAllowed, format!("This resource has only {allow}."));
        Self { allow: Some(allow), ..problem }
    }

    /// A user that is not valid, with all that is wrong with it.
    pub(crate) fn invalid_user(errors: Vec<FieldError>) -> Self {
        let mut fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        fields.dedup();
        Self::new(Code::InvalidUser, format!("Not valid: {}.", fields.join(", "))).with_errors(errors)
    }

    /// A body where there is to be none, with all that is wrong with it.
    pub(crate) fn invalid_body(errors: Vec<FieldError>) -> Self {
        Self::new(Code::InvalidBody, "The body of an apply is empty or {}. Nothing was applied.").with_errors(errors)
    }

    fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.document.errors = errors;
        self
    }

    /// Adds what the log shall say.
    pub(crate) fn caused_by(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds whose the email is.
    pub(crate) fn with_user(mut self, id: UserId, extension: Extension) -> Self {
        self.document.user = Some(EmailOwner { id: id.as_uuid(), extension: extension.get() });
        self
    }

    /// Adds what the apply did.
    pub(crate) fn with_apply(mut self, apply: ApplyResponse) -> Self {
        self.document.apply = Some(Box::new(apply));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.document.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.code.status());
        response.insert_header((CACHE_CONTROL, "no-store"));
        response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
        response.insert_header((X_REQUEST_ID, self.document.request_id.as_str()));
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if let Some(seconds) = self.code.retry_after() {
            response.insert_header((RETRY_AFTER, seconds));
        }
        if self.code == Code::Unauthorized {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"pbx-portal\""));
        }
        response.content_type(PROBLEM_JSON).body(body::json(&self.document))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_) => Self::new(
                Code::DatabaseUnavailable,
                "PostgreSQL cannot be reached, or does not answer in time; try again later.",
            )
            .caused_by(error),
            DatabaseError::InvalidUrl | DatabaseError::WrongEncoding { .. } | DatabaseError::Failed(_) => {
                Self::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_their_statuses_are_errors() {
        assert_eq!(Code::ALL.iter().map(|c| c.as_str()).collect::<BTreeSet<_>>().len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| c.status().is_client_error() || c.status().is_server_error()));
        assert!(Code::ALL.iter().all(|c| Problem::new(*c, "").status_code() == c.status()));
    }

    #[test]
    fn every_503_says_when_to_try_again() {
        for code in Code::ALL {
            assert_eq!(code.retry_after().is_some(), code.status() == StatusCode::SERVICE_UNAVAILABLE, "{code:?}");
        }
    }
}
