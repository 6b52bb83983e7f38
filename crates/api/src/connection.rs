//! A connection on which whatever the framework answers by itself, before there is a request, is
//! a problem too: its own answers to what is no HTTP, too large or too slow have no body, and
//! there is nowhere else to give them one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{ResponseError as _, http::header::CONTENT_LENGTH, rt::net::TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::{Code, Problem};

/// A client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What is still to be sent in the place of an answer of the framework.
    replacement: Vec<u8>,
}

impl Connection {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, replacement: Vec::new() }
    }

    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.replacement))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => drop(self.replacement.drain(..sent)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(cx))?;
        let Some(code) = own_answer(bytes) else { return Pin::new(&mut self.stream).poll_write(cx, bytes) };
        self.replacement = answer(code);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The kind of problem that the framework answers to by itself: a head of 4xx without a body and,
/// unlike every answer of ours, without a request id. No JSON of ours can look like it, since
/// none has a line break in it.
fn own_answer(bytes: &[u8]) -> Option<Code> {
    let head = bytes.strip_prefix(b"HTTP/1.1 4").filter(|_| bytes.ends_with(b"\r\n\r\n"))?;
    if head.windows(12).any(|name| name.eq_ignore_ascii_case(b"x-request-id")) {
        return None;
    }
    match head.get(..2)? {
        b"08" => Some(Code::RequestTimeout),
        b"31" => Some(Code::HeadTooLarge),
        _ => Some(Code::MalformedRequest),
    }
}

/// The problem as bytes of HTTP/1.1, the last of its connection.
fn answer(code: Code) -> Vec<u8> {
    let problem = Problem::new(code, format!("{}.", code.title()));
    let (response, body) = problem.error_response().into_parts();
    let body = actix_web::body::MessageBody::try_into_bytes(body).unwrap_or_default();
    let mut bytes =
        format!("HTTP/1.1 {}\r\nconnection: close\r\n{CONTENT_LENGTH}: {}\r\n", code.status(), body.len()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    log::info!("[{}] no request {}", problem.request_id(), code.status().as_u16());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}
