//! Web pages that make a browser on this host send requests, while no token is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderValue};
use actix_web::http::uri::Authority;

use crate::http::problem::{Code, Problem};

/// Without a token, that a request comes from this host is all the proof there is, and a browser on this
/// host sends what any web page makes it send.
pub(super) fn refuse(request: &HttpRequest, bind: SocketAddr) -> Result<(), Problem> {
    if !is_named_by_its_own_address(request, bind) {
        let detail = format!(
            "While auth.tokens is empty, `Host` must be {bind} or localhost:{}; set auth.tokens to use another name.",
            bind.port()
        );
        return Err(Problem::new(Code::Forbidden, detail));
    }
    if is_of_another_site(request) {
        let detail = "A web page of another site may not use this API while auth.tokens is empty.";
        return Err(Problem::new(Code::Unauthorized, detail));
    }
    Ok(())
}

/// Whether the request was sent to an address of this service, not to a name that a web page had resolved to
/// it. A request without `Host` (HTTP/1.0) names none, so it is refused as well: that needs no exception for
/// clients that nobody has.
fn is_named_by_its_own_address(request: &HttpRequest, bind: SocketAddr) -> bool {
    let own = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let own_ips = [bind.ip(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        authority.port_u16().unwrap_or(80) == bind.port()
            && (host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| own_ips.contains(&ip)))
    };
    let named = request.headers().get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    named.as_ref().is_some_and(own) && request.uri().authority().is_none_or(own)
}

/// Whether a page of another site makes a browser on this host send this. It can send `POST /apply` without
/// asking first.
fn is_of_another_site(request: &HttpRequest) -> bool {
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => !matches!(site, b"same-origin" | b"none"),
        // An older browser.
        (None, Some(origin)) => origin.strip_prefix(b"http://").is_none_or(|own| header("host") != Some(own)),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_host_is_an_address_of_the_service_with_its_port() {
        let own = |bind: &str, uri: &str, host: Option<&str>| {
            let request =
                host.map_or_else(TestRequest::default, |host| TestRequest::default().insert_header((HOST, host)));
            is_named_by_its_own_address(&request.uri(uri).to_http_request(), bind.parse().unwrap())
        };
        let local = "127.0.0.1:8000";
        for host in [local, "localhost:8000", "LocalHost:8000", "[::1]:8000"] {
            assert!(own(local, "/", Some(host)), "{host}");
            assert!(own(local, &format!("http://{host}/"), Some(host)), "{host}");
        }
        for host in [
            "",
            "x",
            "127.0.0.1",
            "localhost",
            "localhost:8001",
            "127.0.0.2:8000",
            "evil.example:8000",
            "[::1]",
            "localhost:8000:8000",
            "localhost.evil.example:8000",
            "localhost:8000@evil.example",
            "127.0.0.1:8000, evil.example",
            "localhost.:8000",
        ] {
            assert!(!own(local, "/", Some(host)), "{host}");
            assert!(!own(local, "http://evil.example/", Some(local)), "the name in the target counts, too");
        }
        assert!(!own(local, "/", None));
        assert!(own("127.1.2.3:80", "/", Some("127.1.2.3")) && own("127.1.2.3:80", "/", Some("localhost")));
        assert!(own("[::ffff:127.0.0.1]:8000", "/", Some("[::ffff:127.0.0.1]:8000")));
    }
}
