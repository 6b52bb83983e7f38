//! The identity of a request, which its answer and each of its log lines carry.

use std::fmt;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName};
use pbx_domain::ApplyId;

use crate::http::is_name;

/// The header that carries it, in requests and in answers.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request: the caller's, if it is 1 to 64 of `A-Z a-z 0-9 . _ -`, else a new UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The id of the request with these headers. Anything but exactly one sane id is replaced.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(X_REQUEST_ID);
        match (given.next().and_then(|id| id.to_str().ok()).filter(|id| is_name(id)), given.next()) {
            (Some(id), None) => Self(id.into()),
            _ => Self::generate(),
        }
    }

    /// A new id, a UUID.
    pub(crate) fn generate() -> Self {
        Self(ApplyId::generate().to_string().into())
    }

    /// The id of the request that this task or blocking call works for, if it works for one.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes this the current id while `work` runs.
    pub(crate) async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Makes this the current id while `work` runs on this thread.
    pub(crate) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn of(ids: &[&[u8]]) -> RequestId {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_sane_id_is_kept() {
        for id in ["a", "trace-1.2_3", &"x".repeat(64)] {
            assert_eq!(of(&[id.as_bytes()]).as_str(), id);
        }
    }

    #[test]
    fn anything_else_is_replaced_by_a_uuid() {
        let long = [b'x'; 65];
        let hostile: [&[&[u8]]; 8] =
            [&[], &[b""], &[b"a b"], &[b"a\tb"], &[b"\xff"], &[b"a;b"], &[&long], &[b"one", b"two"]];
        for ids in hostile {
            assert!(of(ids).as_str().parse::<uuid::Uuid>().is_ok(), "{ids:?}");
        }
    }

    #[test]
    fn it_is_current_only_inside_its_scope() {
        assert_eq!(RequestId::current(), None);
        let id = RequestId::generate();
        assert_eq!(id.clone().sync_scope(RequestId::current), Some(id));
        assert_eq!(RequestId::current(), None);
    }
}
