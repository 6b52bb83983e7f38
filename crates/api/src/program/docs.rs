//! `/docs`: Swagger UI out of the binary, in a page of our own.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, Encoding, LOCATION, REFERRER_POLICY, VARY,
};
use actix_web::web::{self, Bytes, Header};
use flate2::read::GzDecoder;
use utoipa_swagger_ui::Config;

use crate::http::problem::{Code, Problem};

/// Scripts and data from here alone. Swagger UI sets `style` attributes and has images as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sends the browser to the directory, by a relative path so that a proxy may put it anywhere.
pub(crate) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "docs/")).finish()
}

/// A file, each form once in memory: every response refers to the same bytes.
struct Asset {
    content_type: &'static str,
    plain: Bytes,
    /// Of the large ones.
    gzip: Option<Bytes>,
}

static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    let own = [
        ("", "text/html; charset=utf-8", include_str!("docs/index.html")),
        ("docs.css", "text/css; charset=utf-8", include_str!("docs/docs.css")),
        ("docs.js", "text/javascript; charset=utf-8", include_str!("docs/docs.js")),
    ];
    let of_swagger_ui = [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ];
    let taken = of_swagger_ui.into_iter().filter_map(|(name, content_type)| {
        let packed = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok()??.bytes;
        let mut plain = Vec::new();
        GzDecoder::new(&*packed).read_to_end(&mut plain).ok()?;
        Some((name, Asset { content_type, plain: plain.into(), gzip: Some(packed.into_owned().into()) }))
    });
    let own = own.map(|(name, content_type, text)| {
        (name, Asset { content_type, plain: Bytes::from_static(text.as_bytes()), gzip: None })
    });
    taken.chain(own).collect()
});

/// One file of the documentation.
pub(crate) async fn file(
    name: web::Path<String>,
    accepted: Option<Header<AcceptEncoding>>,
) -> Result<HttpResponse, Problem> {
    let file =
        ASSETS.get(name.as_str()).ok_or_else(|| Problem::new(Code::NotFound, "The documentation has no such file."))?;
    let both = [Encoding::gzip(), Encoding::identity()];
    let is_gzip = accepted.is_some_and(|accepted| accepted.negotiate(both.iter()) == Some(Encoding::gzip()));
    let mut response = HttpResponse::Ok();
    response
        .content_type(file.content_type)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((VARY, "accept-encoding"))
        .insert_header((CACHE_CONTROL, "public, max-age=3600"));
    Ok(match file.gzip.as_ref().filter(|_| is_gzip) {
        Some(gzip) => response.insert_header((CONTENT_ENCODING, "gzip")).body(gzip.clone()),
        None => response.body(file.plain.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let page = str::from_utf8(&ASSETS[""].plain).unwrap();
        let named = ["src=\"", "href=\""].iter().flat_map(|attribute| page.split(attribute).skip(1));
        let named = named.filter_map(|rest| rest.split('"').next()).filter(|name| !name.starts_with("../"));
        assert_eq!(named.inspect(|name| assert!(ASSETS.contains_key(name), "{name}")).count(), ASSETS.len() - 1);
        assert!(ASSETS.values().all(|file| !file.plain.is_empty()));
    }
}
