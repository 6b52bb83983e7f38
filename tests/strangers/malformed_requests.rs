//! A hundred ways not to speak HTTP, or not the portal's.

/// Each kind of request, none with a token.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub(crate) fn all() -> Vec<Vec<u8>> {
    let request = |line: &str, headers: &str, body: &str| format!("{line}\r\n{headers}\r\n{body}").into_bytes();
    let line = |line: &str| request(line, "Host: x\r\n", "");
    let header = |header: &str| request("GET /users HTTP/1.1", &format!("Host: x\r\n{header}\r\n"), "");
    let post = |headers: &str, body: &str| request("POST /users HTTP/1.1", &format!("Host: x\r\n{headers}"), body);
    let long = |length: usize| "x".repeat(length);
    let chunked = "Transfer-Encoding: chunked\r\n";

    let mut all = Vec::new();
    // What is no request at all.
    all.extend(
        ["nonsense\r\n\r\n", "\0\r\n\r\n", "{}\r\n\r\n", "GET\r\n\r\n", "GET /users\r\n\r\n", " \r\n\r\n"]
            .map(Into::into),
    );
    all.extend(
        [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
            b"\x05\x01\x00\r\n\r\n",
            b"\xff\xfe\xfd\r\n\r\n",
        ]
        .map(Into::into),
    );
    all.extend(
        ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HELO x\r\n\r\n", "\u{1}GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"]
            .map(Into::into),
    );
    all.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    all.push(b"OPTIONS sip:a@x SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n\r\n".to_vec());
    all.push(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /users HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    all.push([vec![0; 4000], b"\r\n\r\n".to_vec()].concat());
    all.push((0..4000_u32).map(|n| u8::try_from(n * 7919 % 251).unwrap()).chain(*b"\r\n\r\n").collect());
    // The first line.
    all.extend(
        [
            "GET /users HTTP/1.2",
            "GET /users HTTP/0.9",
            "GET /users HTTP/2",
            "GET /users HTTP/1.1 x",
            "GET /users http/1.1",
            "GET /users HTTP/11",
            "GET /us ers HTTP/1.1",
            "G\tT /users HTTP/1.1",
            "G@T /users HTTP/1.1",
            "(GET) /users HTTP/1.1",
            "GET  /users HTTP/1.1",
            "GET users HTTP/1.1",
            "GET * HTTP/1.1",
            "GET ?x HTTP/1.1",
            "GET http:// HTTP/1.1",
            "GET http://[::1/users HTTP/1.1",
            "GET http://x:99999/users HTTP/1.1",
            "GET //x/users HTTP/1.1",
            "CONNECT x:1 HTTP/1.1",
            "GET /users#x HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
            "GET /us\0ers HTTP/1.1",
            "GET /ü HTTP/1.1",
            "get /users HTTP/1.1",
            "GET /users/%00 HTTP/1.1",
            "DELETE /users/%ff HTTP/1.1",
            "DELETE /users/%zz HTTP/1.1",
            "GET /users?%ff=%ff HTTP/1.1",
            "GET /docs/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
            "GET /docs/../../etc/passwd HTTP/1.1",
            "GET /docs/%ff HTTP/1.1",
            "GET /docs/swagger-ui.css%00 HTTP/1.1",
            "TRACE /users HTTP/1.1",
            "PUT /users HTTP/1.1",
            "PROPFIND /users HTTP/1.1",
        ]
        .map(line),
    );
    all.push(line(&format!("GET /{} HTTP/1.1", long(9000))));
    all.push(line(&format!("GET /{} HTTP/1.1", long(70_000))));
    all.push(line(&format!("GET /{} HTTP/1.1", long(200_000))));
    all.push(line(&format!("{} /users HTTP/1.1", long(5000))));
    all.push(line(&format!("GET /users?{} HTTP/1.1", "a=b&".repeat(10_000))));
    // The headers.
    all.push(request("GET /users HTTP/1.1", "", ""));
    all.push(request("GET /users HTTP/1.1", "Host: x\r\nHost: y\r\n", ""));
    all.push(request("GET /users HTTP/1.1", "Host : x\r\n", ""));
    all.push(request("GET /users HTTP/1.1", " Host: x\r\n", ""));
    all.extend(
        [
            "Bad Header: x",
            "Bad\u{1}: x",
            "No colon",
            ": x",
            "X: \u{1}",
            "X: a\0b",
            "X: a\rb",
            "X: a\r\n folded",
            "\tX: y",
            "Ü: x",
            "X(: y",
            "Content-Length: x",
            "Content-Length: -1",
            "Content-Length: +1",
            "Content-Length: 1, 1",
            "Content-Length: 0x10",
            "Content-Length: 99999999999999999999999",
            "Content-Length: 17000",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length:",
            "Transfer-Encoding: x",
            "Transfer-Encoding: chunked, x",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding:\u{b}chunked",
            "Expect: x",
            "Upgrade: h2c\r\nConnection: Upgrade",
            "Upgrade: websocket\r\nConnection: Upgrade",
            "Authorization: Bearer",
            "Authorization: Basic Og==",
            "Authorization: \u{1}",
            "Accept-Encoding: \u{80}",
            "If-None-Match: \"",
            "X-Request-Id: a b",
            "Cookie: =;=;=",
        ]
        .map(header),
    );
    all.push(header(&format!("X: {}", long(200_000))));
    all.push(header(&format!("{}: x", long(70_000))));
    all.push(header(&format!("Authorization: Bearer {}", long(60_000))));
    all.push(header(&"X: x\r\n".repeat(200)));
    all.push(header(&"X: x\r\n".repeat(20_000)));
    // The body.
    all.extend(
        [
            "zz\r\n",
            "-1\r\n",
            "ffffffffffffffffff\r\n",
            "5\r\nab",
            "5;x=\0\r\nabcde\r\n0\r\n\r\n",
            "0\r\nX: y\r\nBad Header: x\r\n\r\n",
            "1\r\nabc\r\n0\r\n\r\n",
        ]
        .map(|body| post(chunked, body)),
    );
    all.push(post("Content-Length: 10\r\n", "{"));
    all.push(post("Content-Length: 2\r\n", &format!("{{}}{}", long(200_000))));
    all.push(post("Content-Length: 5\r\nContent-Encoding: gzip\r\n", "\u{1f}xxx"));
    all.push(post(chunked, &format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000))));
    all
}
