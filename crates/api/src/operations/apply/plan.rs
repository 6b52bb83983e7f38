//! What an apply would do, named by a tag, so that a caller may apply exactly what it reviewed. [`super::attempt`] refuses
//! what is another plan, or another database's.

use actix_web::HttpRequest;
use actix_web::http::header::{EntityTag, HeaderValue, IF_MATCH};
use pbx_asterisk::{Expected, Pair, UnreadablePair};
use sha2::{Digest as _, Sha256};

use crate::operations::listing::etag_of;

/// The entity tag of a plan: the pair last proven, and the one to come.
pub(super) fn etag(former: Option<&Pair>, pair: &Pair) -> String {
    etag_of(&former.into_iter().chain([pair]).flat_map(digest).collect::<Vec<_>>())
}

/// The SHA-256 of both files.
pub(super) fn digest(pair: &Pair) -> [u8; 32] {
    let length = pair.endpoints.len().to_be_bytes();
    Sha256::new_with_prefix(length).chain_update(&pair.endpoints).chain_update(&pair.dialplan).finalize().into()
}

/// What the pair last proven makes live, or nothing where it cannot be read; and what the pair to come does.
pub(crate) fn expected(former: Option<&Pair>, pair: &Pair) -> Result<(Expected, Expected), UnreadablePair> {
    let former = former.and_then(|former| Expected::read(former).ok()).unwrap_or_default();
    Ok((former, Expected::read(pair)?))
}

/// The plans that the caller reviewed before, by `If-Match`; `None` where it does not say.
pub(super) struct Review(Option<Vec<EntityTag>>);

impl Review {
    /// `*` matches any plan, so it reviews none. Beside anything else it is no `If-Match` and matches nothing, whichever
    /// comes first; so does what cannot be read.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let values: Vec<_> = request.headers().get_all(IF_MATCH).map(HeaderValue::as_bytes).collect();
        let parts: Vec<_> =
            values.iter().flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii).collect();
        Self(match parts[..] {
            [] | [b"*"] => None,
            _ if parts.contains(&&b"*"[..]) => Some(Vec::new()),
            _ => Some(parts.iter().filter_map(|tag| str::from_utf8(tag).ok()?.parse().ok()).collect()),
        })
    }

    /// Whether the caller says what it reviewed.
    pub(super) const fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// What to say where another plan was reviewed than this. By the strong comparison of
    /// [RFC 9110, section 13.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1).
    pub(super) fn objection(&self, plan: &str) -> Option<&'static str> {
        let any = |is_it: fn(&EntityTag, &EntityTag) -> bool| {
            let is_it = |tag: &EntityTag| plan.parse().is_ok_and(|plan| is_it(tag, &plan));
            self.0.iter().flatten().any(is_it)
        };
        if self.0.is_none() || any(EntityTag::strong_eq) {
            None
        } else if any(EntityTag::weak_eq) {
            Some(WEAK_TAG)
        } else {
            Some(PLAN_CHANGED)
        }
    }
}

const PLAN_CHANGED: &str = "This is not the plan that was reviewed: users or what Asterisk runs have changed since. Look at \
                            POST /apply?dry_run=true again, and apply with its new ETag. Nothing was changed.";
const WEAK_TAG: &str = "If-Match names this plan by a weak tag (W/), which matches nothing. A proxy that compresses makes \
                        tags weak: send the tag without W/. Nothing was changed.";

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn pair(endpoints: &str, dialplan: &str) -> Pair {
        Pair { endpoints: endpoints.into(), dialplan: dialplan.into() }
    }

    #[test]
    fn against_a_pair_that_cannot_be_read_everything_is_new() {
        let (unreadable, one) = (pair("?", ""), pair("[1]\ntype=endpoint\n", ""));
        let (former, wanted) = expected(Some(&unreadable), &one).unwrap();
        assert_eq!(wanted.difference(&former).added, ["1"]);
        assert!(expected(Some(&one), &unreadable).is_err());
    }

    #[test]
    fn a_plan_is_known_by_both_pairs() {
        let (one, other, empty) = (pair("ab", "c"), pair("a", "bc"), pair("", ""));
        let all = [None, Some(&one), Some(&other), Some(&empty)];
        let tags: std::collections::BTreeSet<_> =
            all.iter().flat_map(|former| [&one, &other, &empty].map(|pair| etag(*former, pair))).collect();
        assert_eq!(tags.len(), 12);
        assert_eq!(etag(Some(&one), &other), etag(Some(&one.clone()), &other.clone()));
    }

    #[test]
    fn a_plan_is_reviewed_by_its_very_tag() {
        let review = |headers: &[&str]| {
            let request =
                headers.iter().fold(TestRequest::post(), |request, value| request.append_header((IF_MATCH, *value)));
            let review = Review::of(&request.to_http_request());
            (review.objection("\"a\""), review.is_given())
        };
        assert_eq!(review(&[]), (None, false));
        for any in [&["*"][..], &[" * "]] {
            assert_eq!(review(any), (None, false), "{any:?}");
        }
        for reviewed in [&["\"a\""][..], &["\"b\", \"a\""], &["\"b\"", "\"a\""], &["W/\"a\", \"a\""]] {
            assert_eq!(review(reviewed), (None, true), "{reviewed:?}");
        }
        for other in [&["\"b\""][..], &["W/\"b\""], &["a"], &[""], &["\"A\""], &["\u{e4}"]] {
            assert_eq!(review(other), (Some(PLAN_CHANGED), true), "{other:?}");
        }
        // `*` stands alone.
        for other in [&["*", "\"a\""][..], &["\"a\"", "*"], &["*, \"a\""], &["\"a\", *"], &["*", "*"], &["*", ""]] {
            assert_eq!(review(other), (Some(PLAN_CHANGED), true), "{other:?}");
        }
        assert_eq!(review(&["W/\"a\""]), (Some(WEAK_TAG), true));
    }
}
