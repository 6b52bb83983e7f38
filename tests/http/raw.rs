//! Requests byte by byte, for what no decent client would send.

use std::io::{Read, Write};
use std::net::TcpStream;

use pbx_tests::wait::LIMIT;
use serde_json::Value;

/// What came back until the connection ended.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) json: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> String {
        let value = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        value.unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        crate::http::assert_problem_parts(self.status, |name| self.header(name), &self.json, status, code);
    }
}

pub(crate) fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.strip_prefix("http://").expect("a URL")).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
    stream.set_write_timeout(Some(LIMIT)).expect("a time limit");
    stream
}

pub(crate) fn send(url: &str, request: &[u8]) -> Response {
    let mut stream = connect(url);
    // A server that refuses early may close before all was written.
    let _refused_early = stream.write_all(request);
    receive(stream)
}

pub(crate) fn receive(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    // A reset after the answer is no matter here, and a server that refused early lingers for the client to go.
    while !is_whole(&bytes) {
        let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
        bytes.extend_from_slice(&buffer[..read]);
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in ASCII");
    let body = bytes[end + 4..].to_vec();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Response { status, head, body, json }
}

/// Whether there is a body, as long as the head says.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    length.is_some_and(|length| length > 0 && bytes.len() >= end + 4 + length)
}
