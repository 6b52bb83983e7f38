//! An HTTP client that costs next to nothing, so that what is measured is the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use pbx_tests::Portal;

use crate::statistics::milliseconds;

/// One connection that is kept open, to one server.
pub(crate) struct Wire {
    stream: TcpStream,
    headers: String,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
}

/// What came back, and how long it took from the first byte sent to the last received.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    pub(crate) milliseconds: f64,
}

impl Reply<'_> {
    pub(crate) fn expect(self, status: u16) -> Self {
        assert!(
            self.status == status,
            "{status} expected, {} came: {}",
            self.status,
            String::from_utf8_lossy(self.body)
        );
        self
    }
}

impl Wire {
    pub(crate) fn new(portal: &Portal) -> Self {
        Self::to(portal.url(), portal.settings().token())
    }

    pub(crate) fn to(url: &str, token: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).expect("the server");
        stream.set_nodelay(true).expect("a socket without delay");
        let headers = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n");
        Self { stream, headers, chunk: vec![0; 64 << 10], buffer: Vec::new() }
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply<'_> {
        self.send(&format!("GET {path} HTTP/1.1\r\n{}\r\n", self.headers))
    }

    pub(crate) fn delete(&mut self, path: &str) -> Reply<'_> {
        self.send(&format!("DELETE {path} HTTP/1.1\r\n{}\r\n", self.headers))
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Reply<'_> {
        let head = format!("POST {path} HTTP/1.1\r\n{}Content-Type: application/json\r\n", self.headers);
        self.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    pub(crate) fn apply(&mut self) -> Reply<'_> {
        self.send(&format!("POST /apply HTTP/1.1\r\n{}Content-Length: 0\r\n\r\n", self.headers))
    }

    fn send(&mut self, request: &str) -> Reply<'_> {
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).expect("the portal takes requests");
        self.buffer.clear();
        let (status, start, end) = loop {
            let length = self.stream.read(&mut self.chunk).expect("the portal answers");
            assert!(length > 0, "the portal closed the connection");
            self.buffer.extend_from_slice(&self.chunk[..length]);
            if let Some((status, start, length)) = head(&self.buffer)
                && self.buffer.len() >= start + length
            {
                break (status, start, start + length);
            }
        };
        Reply { status, body: &self.buffer[start..end], milliseconds: milliseconds(began.elapsed()) }
    }
}

/// The status, where the body begins and its length, once the whole head is there.
fn head(answer: &[u8]) -> Option<(u16, usize, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).expect("a head in ASCII");
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut headers = text.lines().filter_map(|line| line.split_once(": "));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
    Some((status, end + 4, length.map_or(0, |length| length.parse().expect("a length"))))
}
