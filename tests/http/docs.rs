//! The documentation out of the binary.

use crate::service::Service;

#[test]
fn the_document_served_is_the_one_printed() {
    let service = Service::start();
    let served = service.portal.http().with_token(None).get("/openapi.json").expect(200);
    assert_eq!(served.text, service.portal.settings().run(&["openapi"]).stdout);
}

#[test]
fn swagger_ui_loads_nothing_from_outside() {
    let service = Service::start();
    let http = service.portal.http().with_token(None);
    assert_eq!(http.get("/docs").expect(308).header("location"), "docs/");
    let page = http.get("/docs/").expect(200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    assert!(!policy.contains("http") && !policy.contains("unsafe-eval"), "{policy}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for attribute in ["src=\"", "href=\""] {
        for reference in page.text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(!reference.contains(':') && !reference.starts_with("//"), "{reference}");
            if reference == "../openapi.json" {
                continue;
            }
            let file =
                service.raw(&format!("GET /docs/{reference} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).status;
            assert_eq!(file, 200, "{reference}");
        }
    }
    assert!(http.get("/docs/docs.js").text.contains("\"../openapi.json\""));
    let gzip = service
        .raw("GET /docs/swagger-ui.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]));
    for coding in ["", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0\r\n"] {
        let plain =
            service.raw(&format!("GET /docs/swagger-ui.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{coding}\r\n"));
        assert_eq!(plain.header("content-encoding"), "");
        assert!(plain.body.starts_with(b".swagger-ui"), "{}", String::from_utf8_lossy(&plain.body[..20]));
    }
}
