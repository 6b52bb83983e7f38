//! `/docs`: Swagger UI out of the binary.

use std::{io::Read as _, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, VARY,
    },
};
use anyhow::anyhow;
use flate2::read::GzDecoder;
use utoipa_swagger_ui::Config;

use crate::problem::{Code, Problem};

/// Scripts and data from here alone. Swagger UI sets `style` attributes and has images as `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sends the browser to the directory, by a relative path so that a proxy may put it anywhere.
pub(crate) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "docs/")).finish()
}

/// One file of Swagger UI.
pub(crate) async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    // Without the bar that asks for the address of some other document, and with the schemas folded.
    let config = Config::from("../openapi.json")
        .validator_url("none")
        .try_it_out_enabled(true)
        .use_base_layout()
        .default_models_expand_depth(0);
    let file = utoipa_swagger_ui::serve(request.match_info().query("file"), Arc::new(config))
        .map_err(|error| Problem::internal(anyhow!("{error}")))?
        .ok_or_else(|| Problem::new(Code::NotFound, "The documentation has no such file."))?;
    let mut response = HttpResponse::Ok();
    response
        .content_type(file.content_type.as_str())
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((VARY, "accept-encoding"))
        .insert_header((CACHE_CONTROL, "public, max-age=3600"));
    if !file.gzpipped {
        return Ok(response.body(file.bytes.into_owned()));
    }
    if accepts_gzip(&request) {
        return Ok(response.insert_header((CONTENT_ENCODING, "gzip")).body(file.bytes.into_owned()));
    }
    let mut plain = Vec::new();
    GzDecoder::new(&*file.bytes).read_to_end(&mut plain).map_err(Problem::internal)?;
    Ok(response.body(plain))
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    request.headers().get_all(ACCEPT_ENCODING).filter_map(|header| header.to_str().ok()).any(|header| {
        header.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    })
}
