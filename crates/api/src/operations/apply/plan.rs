//! What an apply would do, named by a tag, so that a caller may apply exactly what it reviewed.

use actix_web::{HttpRequest, http::header::IF_MATCH};
use pbx_asterisk::Pair;
use sha2::{Digest as _, Sha256};

use crate::operations::listing::etag_of;

/// The entity tag of a plan: the pair last proven, and the one to come.
pub(super) fn tag(former: Option<&Pair>, pair: &Pair) -> String {
    let former = former.map(digest);
    let mut plan = vec![u8::from(former.is_some())];
    plan.extend(former.unwrap_or_default());
    plan.extend(digest(pair));
    etag_of(&plan)
}

/// The SHA-256 of both files.
pub(super) fn digest(pair: &Pair) -> [u8; 32] {
    let length = pair.endpoints.len().to_be_bytes();
    Sha256::new_with_prefix(length).chain_update(&pair.endpoints).chain_update(&pair.dialplan).finalize().into()
}

/// What the caller reviewed before, by `If-Match`.
pub(super) enum Review {
    /// It does not say.
    None,
    /// A plan with one of these tags.
    Of(Vec<String>),
}

impl Review {
    /// By the strong comparison of [RFC 9110, section 13.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1);
    /// `*` matches any plan, so it reviews none.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let mut tags = Vec::new();
        let mut is_any = !request.headers().contains_key(IF_MATCH);
        for header in request.headers().get_all(IF_MATCH) {
            // Our tags have no comma inside. What cannot be read matches nothing.
            for tag in header.to_str().unwrap_or_default().split(',').map(str::trim) {
                is_any |= tag == "*";
                tags.push(tag.to_owned());
            }
        }
        if is_any { Self::None } else { Self::Of(tags) }
    }

    /// Whether this is the plan that was reviewed, or none was.
    pub(super) fn allows(&self, plan: &str) -> bool {
        matches!(self, Self::None) || self.is_of(plan)
    }

    /// Whether this very plan was reviewed.
    pub(super) fn is_of(&self, plan: &str) -> bool {
        matches!(self, Self::Of(tags) if tags.iter().any(|tag| tag == plan))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_plan_is_known_by_both_pairs() {
        let pair = |endpoints: &str, dialplan: &str| Pair { endpoints: endpoints.into(), dialplan: dialplan.into() };
        let (one, other, empty) = (pair("ab", "c"), pair("a", "bc"), pair("", ""));
        let all = [None, Some(&one), Some(&other), Some(&empty)];
        let tags: std::collections::BTreeSet<_> =
            all.iter().flat_map(|former| [&one, &other, &empty].map(|pair| tag(*former, pair))).collect();
        assert_eq!(tags.len(), 12);
        assert_eq!(tag(Some(&one), &other), tag(Some(&one.clone()), &other.clone()));
    }

    #[test]
    fn a_plan_is_reviewed_by_its_very_tag() {
        let review = |headers: &[&str]| {
            let request =
                headers.iter().fold(TestRequest::post(), |request, value| request.append_header((IF_MATCH, *value)));
            let review = Review::of(&request.to_http_request());
            (review.allows("\"a\""), review.is_of("\"a\""))
        };
        assert_eq!(review(&[]), (true, false));
        for any in [&["*"][..], &[" * "], &["\"b\"", "*"]] {
            assert_eq!(review(any), (true, false), "{any:?}");
        }
        for reviewed in [&["\"a\""][..], &["\"b\", \"a\""], &["\"b\"", "\"a\""]] {
            assert_eq!(review(reviewed), (true, true), "{reviewed:?}");
        }
        for other in [&["\"b\""][..], &["W/\"a\""], &["a"], &[""], &["\"A\""]] {
            assert_eq!(review(other), (false, false), "{other:?}");
        }
    }
}
