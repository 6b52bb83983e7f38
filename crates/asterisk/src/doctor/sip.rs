//! Whether anybody answers SIP at an address: an OPTIONS, to which every answer is a sign of life (RFC 3261, 11.1).
//!
//! A transport that listens everywhere is asked by that very address: Linux connects to this host then.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

/// How long an answer is waited for before UDP is sent again.
const PATIENCE: Duration = Duration::from_millis(500);

/// How an answer begins.
const SIP: &[u8] = b"SIP/2.0 ";

/// Asks over UDP until `deadline`.
pub(crate) fn ask_udp(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let any_of_ours =
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any_of_ours, 0))?;
    socket.connect(address)?;
    let request = options("UDP", socket.local_addr()?, socket.peer_addr()?);
    loop {
        socket.send(request.as_bytes())?;
        socket.set_read_timeout(Some(PATIENCE.min(left(deadline)?)))?;
        let mut answer = [0; 2048];
        match socket.recv(&mut answer) {
            Ok(length) if is_sip(&answer[..length]) => return Ok(()),
            Ok(_) => {}
            Err(error) => match error.kind() {
                // A call with a timeout is not begun again by itself when it was interrupted.
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}

/// Asks over TCP until `deadline`.
pub(crate) fn ask_tcp(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    let mut stream = connect(address, deadline)?;
    let request = options("TCP", stream.local_addr()?, stream.peer_addr()?);
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; SIP.len()];
    stream.read_exact(&mut answer)?;
    if is_sip(&answer) { Ok(()) } else { Err(io::Error::other("the answer is no SIP")) }
}

/// Asks for no more than the beginning of TLS, until `deadline`: without a certificate there is none.
pub(crate) fn ask_tls(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    const PROTOCOL_VERSION: u8 = 70;
    let mut stream = connect(address, deadline)?;
    stream.write_all(&client_hello())?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    match answer {
        [HANDSHAKE, ..] => Ok(()),
        [ALERT, .., PROTOCOL_VERSION] => Err(io::Error::other(
            "it speaks nothing newer than TLS 1.1: add method=tlsv1_2 to its section, and restart Asterisk",
        )),
        _ => Err(io::Error::other("it cannot begin TLS: cert_file or priv_key_file is missing or of no use")),
    }
}

fn connect(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    Ok(stream)
}

/// A `ClientHello` for TLS 1.2 and 1.3 (RFC 8446, section 4.1.2) with what every server knows some of. It brings no key, so that
/// a server of 1.3 asks for one, and no extension that a server need not know.
fn client_hello() -> Vec<u8> {
    const SUITES: [u16; 28] = [
        0x1301, 0x1302, 0x1303, 0xc02f, 0xc030, 0xc02b, 0xc02c, 0xcca8, 0xcca9, 0xccaa, 0x009e, 0x009f, 0xc027, 0xc028,
        0xc023, 0xc024, 0xc013, 0xc014, 0xc009, 0xc00a, 0x0067, 0x006b, 0x009c, 0x009d, 0x003c, 0x003d, 0x002f, 0x0035,
    ];
    const GROUPS: [u16; 3] = [0x001d, 0x0017, 0x0018];
    const SIGNATURES: [u16; 8] = [0x0804, 0x0805, 0x0806, 0x0403, 0x0503, 0x0401, 0x0501, 0x0601];
    let bytes = |numbers: &[u16]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
    let extensions = [
        (0x002b, vec![4, 3, 4, 3, 3]),
        (0x000a, sized(&bytes(&GROUPS))),
        (0x000d, sized(&bytes(&SIGNATURES))),
        (0x0033, sized(&[])),
    ];
    let extensions =
        extensions.into_iter().flat_map(|(kind, body)| [bytes(&[kind]), sized(&body)].concat()).collect::<Vec<_>>();
    let (version, random, no_session, no_compression) = ([3, 3], [7; 32], [0], [1, 0]);
    let hello =
        [&version[..], &random, &no_session, &sized(&bytes(&SUITES)), &no_compression, &sized(&extensions)].concat();
    // The length of a message of the handshake has three bytes.
    let message = [&[1, 0], &sized(&hello)[..]].concat();
    [&[22, 3, 1], &sized(&message)[..]].concat()
}

/// These bytes behind their number in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")) } else { Ok(left) }
}

fn is_sip(answer: &[u8]) -> bool {
    answer.starts_with(SIP)
}

fn options(transport: &str, us: SocketAddr, asked: SocketAddr) -> String {
    let id = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!(
        "OPTIONS sip:{asked} SIP/2.0\r\nVia: SIP/2.0/{transport} {us};rport;branch=z9hG4bK{id}\r\nMax-Forwards: 1\r\n\
         From: <sip:pbx-portal-check@{us}>;tag={id}\r\nTo: <sip:{asked}>\r\nCall-ID: {id}@pbx-portal\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const ANYWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    #[test]
    fn any_sip_answer_is_a_sign_of_life() {
        let phone = UdpSocket::bind("0.0.0.0:0").unwrap();
        let address = phone.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let mut request = [0; 2048];
            // The first may get lost.
            phone.recv_from(&mut request).unwrap();
            let (length, from) = phone.recv_from(&mut request).unwrap();
            assert!(request.starts_with(b"OPTIONS sip:127.0.0.1:") && request[..length].ends_with(b"\r\n\r\n"));
            phone.send_to(b"SIP/2.0 401 Unauthorized\r\n\r\n", from).unwrap();
        });
        ask_udp(address, Instant::now() + Duration::from_secs(30)).unwrap();
        answering.join().unwrap();
    }

    #[test]
    fn silence_and_other_protocols_are_no_answer() {
        let silent = UdpSocket::bind(ANYWHERE).unwrap();
        let soon = || Instant::now() + Duration::from_millis(100);
        assert!(ask_udp(silent.local_addr().unwrap(), soon()).is_err());
        let other = UdpSocket::bind(ANYWHERE).unwrap();
        let address = other.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (_, from) = other.recv_from(&mut [0; 2048]).unwrap();
            other.send_to(b"no SIP", from).unwrap();
            other
        });
        assert!(ask_udp(address, soon()).is_err());
        drop(answering.join().unwrap());
        let listener = TcpListener::bind(ANYWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        let http = thread::spawn(move || listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n"));
        let error = ask_tcp(address, Instant::now() + Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.to_string(), "the answer is no SIP");
        http.join().unwrap().unwrap();
        assert!(ask_tls(address, soon()).is_err(), "nobody listens any more");
    }

    #[test]
    fn a_port_that_is_closed_is_not_waited_for() {
        let closed = UdpSocket::bind(ANYWHERE).unwrap().local_addr().unwrap();
        let refused = ask_udp(closed, Instant::now() + Duration::from_secs(30)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// What a server with this answer was asked, and what it made of its answer.
    fn served(answer: &'static [u8], ask: fn(SocketAddr, Instant) -> io::Result<()>) -> (Vec<u8>, io::Result<()>) {
        let listener = TcpListener::bind(ANYWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut asked = vec![0; 2048];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            asked.truncate(length);
            asked
        });
        let answered = ask(address, Instant::now() + Duration::from_secs(30));
        (serving.join().unwrap(), answered)
    }

    #[test]
    fn tcp_is_asked_as_udp_is() {
        let (asked, answered) = served(b"SIP/2.0 200 OK\r\n", ask_tcp);
        assert!(asked.starts_with(b"OPTIONS sip:127.0.0.1:"));
        answered.unwrap();
    }

    #[test]
    fn tls_is_one_that_begins_with_a_handshake() {
        let (hello, handshake) = served(&[22, 3, 3, 0, 80, 2, 0], ask_tls);
        assert!(handshake.is_ok());
        for (alert, said) in [
            (&[21, 3, 3, 0, 2, 2, 40], "it cannot begin TLS"),
            (&[21, 3, 1, 0, 2, 2, 70], "it speaks nothing newer than"),
        ] {
            assert!(served(alert, ask_tls).1.unwrap_err().to_string().starts_with(said));
        }
        // A record with a message of the handshake, each with the length of what follows.
        let length = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        assert_eq!((&hello[..3], &hello[5..7]), ([22, 3, 1].as_slice(), [1, 0].as_slice()));
        assert_eq!((length(3), length(7)), (hello.len() - 5, hello.len() - 9));
    }

    #[test]
    fn who_listens_everywhere_is_reached_on_this_host() {
        // A host may be without IPv6.
        for listener in ["0.0.0.0:0", "[::]:0"].into_iter().flat_map(TcpListener::bind) {
            connect(listener.local_addr().unwrap(), Instant::now() + Duration::from_secs(30)).unwrap();
        }
    }
}
