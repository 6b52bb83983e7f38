//! Whether anybody answers SIP at an address: an OPTIONS, to which every answer is good.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

/// How long an answer is waited for before UDP is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// Asks over UDP until `deadline`.
pub(crate) fn answers_udp(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let address = reachable(address);
    let socket = UdpSocket::bind(SocketAddr::new(unspecified(address), 0))?;
    socket.connect(address)?;
    let request = options("UDP", socket.local_addr()?, address);
    loop {
        socket.send(request.as_bytes())?;
        socket.set_read_timeout(Some(PATIENCE.min(left(deadline)?)))?;
        let mut answer = [0; 2048];
        match socket.recv(&mut answer) {
            Ok(length) if is_answer(&answer[..length]) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks over TCP until `deadline`.
pub(crate) fn answers_tcp(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let address = reachable(address);
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.write_all(options("TCP", stream.local_addr()?, address).as_bytes())?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    if is_answer(&answer) { Ok(()) } else { Err(io::Error::other("the answer is no SIP")) }
}

/// Asks for no more than a connection: what speaks TLS.
pub(crate) fn accepts(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    TcpStream::connect_timeout(&reachable(address), left(deadline)?).map(drop)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")) } else { Ok(left) }
}

fn is_answer(text: &[u8]) -> bool {
    text.starts_with(b"SIP/2.0 ")
}

fn options(transport: &str, own: SocketAddr, asked: SocketAddr) -> String {
    let id = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!(
        "OPTIONS sip:{asked} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};rport;branch=z9hG4bK{id}\r\nMax-Forwards: 1\r\n\
         From: <sip:pbx-portal-check@{own}>;tag={id}\r\nTo: <sip:{asked}>\r\nCall-ID: {id}@pbx-portal\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Where a transport that listens everywhere can be reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn unspecified(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    #[test]
    fn any_sip_answer_is_a_sign_of_life() {
        let phone = UdpSocket::bind(ANYWHERE).unwrap();
        let address = phone.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let mut request = [0; 2048];
            let (length, from) = phone.recv_from(&mut request).unwrap();
            assert!(request.starts_with(b"OPTIONS sip:127.0.0.1:") && request[..length].ends_with(b"\r\n\r\n"));
            phone.send_to(b"SIP/2.0 401 Unauthorized\r\n\r\n", from).unwrap();
        });
        answers_udp(address, Instant::now() + Duration::from_secs(30)).unwrap();
        answering.join().unwrap();
    }

    #[test]
    fn silence_and_other_protocols_are_no_answer() {
        let silent = UdpSocket::bind(ANYWHERE).unwrap();
        let soon = || Instant::now() + Duration::from_millis(100);
        assert!(answers_udp(silent.local_addr().unwrap(), soon()).is_err());
        let listener = TcpListener::bind(ANYWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        let http = thread::spawn(move || listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n"));
        let error = answers_tcp(address, Instant::now() + Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.to_string(), "the answer is no SIP");
        http.join().unwrap().unwrap();
        assert!(accepts(address, soon()).is_err(), "nobody listens any more");
    }
}
