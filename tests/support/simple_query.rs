//! SQL on a connection of its own, as PostgreSQL's protocol has it (its documentation, "Frontend/Backend Protocol",
//! "Simple Query"). `psql` does the same and takes 14 ms of CPU to load; tests ask a thousand times and more.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// As long as a server may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(15);
/// Version 3.0.
const PROTOCOL: i32 = 0x0003_0000;

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Runs SQL in one transaction at a server that trusts everybody: `postgres://USER@HOST:PORT/DATABASE`, or with
/// `?host=DIRECTORY` of its Unix socket. Gives a line for each row, with `|` between its columns.
pub(crate) fn run(url: &str, sql: &str) -> Result<String, String> {
    let (mut connection, user, database) = connect(url).map_err(|error| error.to_string())?;
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => "timeout: the server does not let anybody in".to_owned(),
        _ => format!("the connection broke: {error}"),
    };
    let startup = format!("user\0{user}\0database\0{database}\0client_encoding\0UTF8\0\0");
    connection.send(None, &[&PROTOCOL.to_be_bytes(), startup.as_bytes()].concat()).map_err(broken)?;
    let (mut rows, mut error, mut is_asked) = (String::new(), None, false);
    loop {
        let (kind, body) = connection.receive().map_err(|broke| error.take().unwrap_or_else(|| broken(broke)))?;
        match kind {
            b'R' if body != [0; 4] => return Err("this server wants more than a name".to_owned()),
            b'E' => error = Some(message(&body)),
            b'D' => rows += &(row(&body) + "\n"),
            b'Z' if is_asked => break,
            b'Z' => {
                connection.wait_for_ever().map_err(broken)?;
                connection.send(Some(b'Q'), &[sql.as_bytes(), b"\0"].concat()).map_err(broken)?;
                is_asked = true;
            }
            _ => {}
        }
    }
    error.map_or_else(|| Ok(rows.trim_end().to_owned()), Err)
}

fn connect(url: &str) -> io::Result<(Connection, &str, &str)> {
    let parts = || {
        let (user, rest) = url.split_once("://")?.1.split_once('@')?;
        let (address, path) = rest.split_once('/')?;
        let (database, directory) = path.split_once("?host=").map_or((path, None), |(name, dir)| (name, Some(dir)));
        Some((user, address, database, directory))
    };
    let (user, address, database, directory) = parts().unwrap_or_else(|| panic!("{url} is no URL that the tests know"));
    let connection = if let Some(directory) = directory {
        let stream = UnixStream::connect(format!("{directory}/.s.PGSQL.5432"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Connection::Unix(stream)
    } else {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Connection::Tcp(stream)
    };
    Ok((connection, user, database))
}

impl Connection {
    fn wait_for_ever(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(None),
            Self::Unix(stream) => stream.set_read_timeout(None),
        }
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
        let length = i32::try_from(body.len() + 4).expect("SQL of less than 2 GB").to_be_bytes();
        let message: Vec<u8> = kind.into_iter().chain(length).chain(body.iter().copied()).collect();
        match self {
            Self::Tcp(stream) => stream.write_all(&message),
            Self::Unix(stream) => stream.write_all(&message),
        }
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let stream: &mut dyn Read = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        };
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length) - 4).map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

/// The columns of a `DataRow`; NULL is nothing.
fn row(body: &[u8]) -> String {
    let mut columns = Vec::new();
    let mut rest = &body[2..];
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, behind) = behind.split_at(length);
        columns.push(String::from_utf8_lossy(value));
        rest = behind;
    }
    columns.join("|")
}

/// The severity, the message and the detail of an `ErrorResponse`.
fn message(body: &[u8]) -> String {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        fields.find_map(|field| field.strip_prefix(&[wanted])).map(String::from_utf8_lossy)
    };
    let [severity, text, detail] = [b'S', b'M', b'D'].map(|wanted| field(wanted).unwrap_or_default());
    format!("{severity}:  {text}\n{detail}").trim_end().to_owned()
}
