//! Queries: what is not understood is refused, so that no mistyped parameter is ignored.

use actix_web::HttpRequest;
use actix_web::web::Query;

use crate::http::problem::{Code, Problem};

/// Refuses any parameter.
pub(crate) fn none(request: &HttpRequest) -> Result<(), Problem> {
    match parameters(request)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(malformed(format!("There is no parameter `{name}` here; this operation has none."))),
    }
}

/// The value of `dry_run`, the only parameter that may be there.
pub(crate) fn dry_run(request: &HttpRequest) -> Result<bool, Problem> {
    let parameters = parameters(request)?;
    if let Some((name, _)) = parameters.iter().find(|(name, _)| name != "dry_run") {
        return Err(malformed(format!("There is no parameter `{name}` here, only dry_run.")));
    }
    match parameters.as_slice() {
        [] => Ok(false),
        [(_, value)] if value == "true" => Ok(true),
        [(_, value)] if value == "false" => Ok(false),
        _ => Err(malformed("Write dry_run=true or dry_run=false, once.".to_owned())),
    }
}

fn parameters(request: &HttpRequest) -> Result<Vec<(String, String)>, Problem> {
    Query::from_query(request.query_string())
        .map(Query::into_inner)
        .map_err(|_| malformed("The query cannot be read.".to_owned()))
}

fn malformed(detail: String) -> Problem {
    Problem::new(Code::MalformedQuery, detail)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn asked(query: &str) -> Option<bool> {
        dry_run(&TestRequest::with_uri(&format!("/apply?{query}")).to_http_request()).ok()
    }

    #[test]
    fn dry_run_is_true_or_false_and_said_once() {
        assert_eq!(asked(""), Some(false));
        assert_eq!(asked("dry_run=false"), Some(false));
        assert_eq!(asked("dry_run=true"), Some(true));
        assert_eq!(asked("dry%5Frun=%74rue"), Some(true));
        for wrong in [
            "dry_run",
            "dry_run=",
            "dry_run=1",
            "dry_run=True",
            "dry-run=true",
            "dry_run=true&x=1",
            "dry_run=true&dry_run=true",
            "x=%ff",
            "=",
        ] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }
}
