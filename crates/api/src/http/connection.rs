//! A connection as the framework sees it. What is added to it:
//!
//! - A client that makes the service wait is disconnected in time, whatever it does or leaves undone
//!   ([`crate::http::clients`] says how long that is). The framework limits only the first head.
//! - Whatever the framework answers by itself, before there is a request, is a problem too: its own answers to
//!   what is no HTTP, too large or too slow have no body, and there is nowhere else to give them one.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use actix_web::ResponseError as _;
use actix_web::http::header::{CONTENT_LENGTH, DATE, HttpDate};
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::http::clients::Client;
use crate::http::problem::{Code, Problem};

/// How long a client may take from one answer to its next request: to read the answer, to be idle, and to send the
/// head.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may read nothing of an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to read its answer when the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest name of a header: the framework panics at one that is longer than the type of a name takes.
const MAX_HEADER_NAME: usize = 60_000;

/// A client's connection.
pub(crate) struct ClientConnection {
    stream: TcpStream,
    client: Rc<Client>,
    timer: Pin<Box<Sleep>>,
    stalled_since: Option<Instant>,
    /// Ends when the service begins to stop.
    stop: Pin<Box<dyn Future<Output = ()>>>,
    stopping_since: Option<Instant>,
    /// How many bytes of the line that is being received stand before its colon, if none came yet.
    name_length: Option<usize>,
    /// What is still to be sent in the place of an answer of the framework.
    replacement: Vec<u8>,
}

impl ClientConnection {
    pub(crate) fn new(stream: TcpStream, client: Rc<Client>, stop: impl Future<Output = ()> + 'static) -> Self {
        // The end of an answer would wait until the client has acknowledged the rest, which takes it 40 ms. A connection
        // that is gone already shows when it is read.
        _ = stream.set_nodelay(true);
        let timer = Box::pin(sleep_until((Instant::now() + STALL_TIMEOUT).into()));
        let stop = Box::pin(stop);
        let (stalled_since, stopping_since, name_length, replacement) = (None, None, Some(0), Vec::new());
        Self { stream, client, timer, stalled_since, stop, stopping_since, name_length, replacement }
    }

    pub(crate) const fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Whether the client may make the service wait any longer. Checked whenever it would wait.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.client.is_disconnected() {
            return Err(self.cut_off(io::ErrorKind::ConnectionAborted));
        }
        self.client.wake_by(cx.waker());
        if self.stopping_since.is_none() && self.stop.as_mut().poll(cx).is_ready() {
            self.stopping_since = Some(Instant::now());
        }
        let deadline = self.client.waiting_since().map(|since| {
            let stalled = self.stalled_since.map(|since| since + STALL_TIMEOUT);
            let stopping = self.stopping_since.map(|stop| stop.max(since) + STOP_TIMEOUT);
            [stalled, stopping].into_iter().flatten().fold(since + TIMEOUT, Instant::min)
        });
        // Setting a timer is not free, so it is not set with every request. It may fire early, and is then set to the
        // real deadline; it never fires late.
        loop {
            let next = deadline.unwrap_or_else(|| Instant::now() + STALL_TIMEOUT);
            if self.timer.deadline().into_std() > next {
                self.timer.as_mut().reset(next.into());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(self.cut_off(io::ErrorKind::TimedOut));
            }
            self.timer.as_mut().reset(next.into());
        }
    }

    /// Closes the connection at once: with zero linger the system drops the unread response, too.
    fn cut_off(&self, reason: io::ErrorKind) -> io::Error {
        self.stream.set_zero_linger().err().unwrap_or_else(|| reason.into())
    }

    /// Overwrites a byte of a header's name that is too long, so that the framework refuses the head. A body that is
    /// read is too short for that. A longer one is thrown away: one byte of it does not matter, its end would.
    fn spoil_long_names(&mut self, received: &mut [u8]) {
        for byte in received {
            self.name_length = match (*byte, self.name_length) {
                (b'\n', _) => Some(0),
                (b':', _) | (_, None) => None,
                (_, Some(length)) => Some(length + 1),
            };
            if self.name_length == Some(MAX_HEADER_NAME + 1) {
                *byte = 0;
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_patience(cx)?;
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if sent.is_ready() {
            self.stalled_since = None;
        } else if self.stalled_since.is_none() {
            self.stalled_since = Some(Instant::now());
            self.poll_patience(cx)?;
        }
        sent
    }

    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let replacement = std::mem::take(&mut self.replacement);
            let sent = self.poll_send(cx, &replacement);
            self.replacement = replacement;
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => drop(self.replacement.drain(..sent)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.client.leave();
    }
}

impl AsyncRead for ClientConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_patience(cx)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.spoil_long_names(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(cx))?;
        match own_answer(bytes) {
            None => self.poll_send(cx, bytes),
            Some((0, code)) => {
                self.replacement = answer(code);
                Poll::Ready(Ok(bytes.len()))
            }
            // Our answers to the requests before it.
            Some((before, _)) => self.poll_send(cx, &bytes[..before]),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        self.poll_patience(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where an answer begins that the framework gives by itself, and the kind of problem that it is: the last of its
/// connection, a head of 4xx without a body and, unlike every answer of ours, without a request id. Only a head ends
/// with a blank line, since no body of ours does. So the last status line is that head's; what looks like one before
/// it may be a user's name in a list.
fn own_answer(bytes: &[u8]) -> Option<(usize, Code)> {
    // After a request of HTTP/1.0, the framework answers in that version.
    const STARTS: [&[u8]; 2] = [b"HTTP/1.1 4", b"HTTP/1.0 4"];
    let rest = bytes.strip_suffix(b"\r\n\r\n")?;
    let start = rest.windows(STARTS[0].len()).rposition(|window| window.starts_with(b"HTTP/1."))?;
    let (status_line, head) = rest[start..].split_at(STARTS[0].len());
    let is_ours = |name: &[u8]| name.eq_ignore_ascii_case(b"x-request-id");
    if !STARTS.contains(&status_line) || head.windows(12).any(is_ours) {
        return None;
    }
    let code = match head.get(..2)? {
        b"08" => Code::RequestTimeout,
        b"31" => Code::HeadTooLarge,
        _ => Code::MalformedRequest,
    };
    Some((start, code))
}

/// The problem as bytes of HTTP/1.1, the last of its connection.
fn answer(code: Code) -> Vec<u8> {
    let problem = Problem::new(code, format!("{}.", code.title()));
    let (response, body) = problem.error_response().into_parts();
    let body = actix_web::body::MessageBody::try_into_bytes(body).unwrap_or_default();
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\n{CONTENT_LENGTH}: {}\r\n{DATE}: {}\r\n",
        code.status(),
        body.len(),
        HttpDate::from(SystemTime::now())
    )
    .into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    log::info!("[{}] no request {}", problem.document.request_id, code.status().as_u16());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::http::clients::Strangers;

    /// The end of a connection whose other end is gone.
    async fn stream() -> TcpStream {
        let listener = actix_web::rt::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    }

    #[actix_web::test]
    async fn the_end_of_an_answer_does_not_wait_for_the_client() {
        let stream = stream().await;
        assert!(!stream.nodelay().unwrap());
        let connection = ClientConnection::new(stream, Strangers::new(1).admit(None), std::future::pending());
        assert!(connection.stream.nodelay().unwrap());
    }

    #[actix_web::test]
    async fn a_client_that_has_gone_takes_no_place_of_those_who_come() {
        let strangers = Strangers::new(1);
        let gone = strangers.admit(None);
        drop(ClientConnection::new(stream().await, Rc::clone(&gone), std::future::pending()));
        strangers.admit(None);
        assert!(!gone.is_disconnected(), "it would be the oldest of too many");
    }

    #[actix_web::test]
    async fn the_timer_fires_no_later_than_the_client_has_to_go() {
        let client = Strangers::new(1).admit(None);
        let mut connection = ClientConnection::new(stream().await, client, std::future::ready(()));
        assert!(connection.timer.deadline().into_std() > Instant::now() + STOP_TIMEOUT);
        connection.poll_patience(&mut Context::from_waker(Waker::noop())).unwrap();
        assert!(connection.timer.deadline().into_std() <= Instant::now() + STOP_TIMEOUT);
    }
}
