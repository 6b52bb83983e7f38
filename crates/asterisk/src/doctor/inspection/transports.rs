use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::ask::cli::Cli;
use crate::ask::cli_error::CliError;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::{AdminPjsip, edit};
use crate::doctor::sip;
use crate::proof::admin_sections::AdminSection;
use crate::text::listing;

/// How long a transport may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

const RESTART: &str = "systemctl restart asterisk";

/// Where Asterisk answers SIP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transports {
    /// One that answers, such as `transport-udp (udp 192.0.2.1:5060)`; `None` where none could be asked from here.
    pub answering: Option<String>,
    /// What phones may meet at the others, one sentence each.
    pub notes: Vec<String>,
}

/// A transport of PJSIP.
#[derive(Debug)]
struct Transport<'a> {
    name: &'a str,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    protocol: &'a str,
    /// Its address, where it has one of its own.
    bind: Option<SocketAddr>,
}

impl fmt::Display for Transport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.protocol)?;
        self.bind.iter().try_for_each(|bind| write!(f, " {bind}"))?;
        f.write_str(")")
    }
}

/// Reads `pjsip show transports`.
fn read(answer: &str) -> Vec<Transport<'_>> {
    // Those of the HTTP server have none of their own, nor has one of the protocol `flow`, listed as udp at port 0.
    let own = |protocol: &str, bind: &SocketAddr| !protocol.starts_with("ws") && bind.port() != 0;
    let lines = listing::objects(answer).filter_map(|line| line.strip_prefix("Transport:  "));
    lines
        .filter_map(|line| {
            // From its end: a name may have a blank.
            let (line, bind) = line.trim_end().rsplit_once(' ')?;
            let (line, _tos) = line.trim_end().rsplit_once(' ')?;
            let (line, _cos) = line.trim_end().rsplit_once(' ')?;
            let (name, protocol) = line.trim_end().rsplit_once(' ')?;
            let bind = bind.parse().ok().filter(|bind| own(protocol, bind));
            Some(Transport { name: name.trim_end(), protocol, bind })
        })
        .collect()
}

/// Whether anybody answers SIP at one of the transports, on this host. `is_read` says whether Asterisk can read its files.
pub(super) fn check(
    cli: &Cli,
    admin: &AdminPjsip<'_>,
    is_read: bool,
    deadline: Instant,
) -> Result<Result<Transports, Fault>, CliError> {
    let answer = cli.ask("pjsip show transports", deadline)?;
    let all = read(&answer);
    let written =
        admin.sections.iter().filter(|of| of.kind.as_deref() == Some("transport") && !of.is_template && !of.adds);
    let is_live = |section: &&AdminSection| all.iter().any(|transport| transport.name == section.name);
    let not_taken: Vec<_> = written.filter(|section| !is_live(section)).collect();
    let is_web = |transport: &Transport<'_>| transport.protocol.starts_with("ws");
    let transports: Vec<_> = all.into_iter().filter(|one| is_web(one) || one.bind.is_some()).collect();
    // Those of the files are good where Asterisk takes none of them for another reason.
    if transports.is_empty() && !is_read {
        let notes = vec!["PJSIP has none until it reads pjsip.conf".to_owned()];
        return Ok(Ok(Transports { answering: None, notes }));
    }
    if transports.is_empty() {
        return Ok(Err(none(cli, admin, &not_taken)));
    }
    // Where not all can be read, Asterisk may read a section otherwise than we do.
    let not_taken = not_taken.into_iter().filter(|_| admin.tree.is_readable());
    let notes = not_taken.map(|section| format!("Asterisk did not take {}", shown(section))).collect();
    let web = if transports.iter().any(is_web) { cli.ask("http show status", deadline)? } else { String::new() };
    let one_more = format!("{} && {}", added(admin, "transport-udp"), cli.shown("module reload res_pjsip.so"));
    Ok(probe(&transports, &web, notes, &one_more, deadline))
}

/// Writes a transport to the end of the administrator's file.
fn added(admin: &AdminPjsip<'_>, name: &str) -> String {
    admin.tree.append(&format!("[{name}]\\ntype=transport\\nprotocol=udp\\nbind=0.0.0.0:5060"))
}

fn shown(AdminSection { name, path, line, .. }: &AdminSection) -> String {
    format!("[{name}] ({}, line {line})", path.display())
}

/// There is no transport, although one may be written.
fn none(cli: &Cli, admin: &AdminPjsip<'_>, not_taken: &[&AdminSection]) -> Fault {
    let unread = admin.tree.unread().join(", ");
    let unread = if unread.is_empty() { unread } else { format!(" (not looked at: {unread})") };
    let what = format!("PJSIP has no transport, so that no phone gets an answer{unread}");
    let reload = cli.shown("module reload res_pjsip.so");
    let commented = |of: &AdminSection| edit([(of.path.as_path(), format!("{},{}s/^/; /", of.line, of.last_line))]);
    let Some(last) = not_taken.last() else {
        return Fault::new(what, format!("{} && {reload}", added(admin, "transport-udp")));
    };
    let is_twice = |(at, of): &(usize, &&AdminSection)| not_taken[..*at].iter().any(|before| before.name == of.name);
    if let Some((_, twice)) = not_taken.iter().enumerate().find(is_twice) {
        // It listens all the same where it read the first of them at its start.
        return Fault::new(
            format!("Asterisk takes no transport of its files, as {} is defined twice", shown(twice)),
            format!("{} && {RESTART}", commented(twice)),
        );
    }
    Fault::new(
        format!("{what}: Asterisk did not take {}, and its log says why", shown(last)),
        format!(
            "{} && {} && systemctl restart asterisk # or write right there what the log names",
            commented(last),
            added(admin, &last.name)
        ),
    )
}

/// Asks each transport that has an address of its own. The others are as `web` says, the answer to `http show status`.
/// What phones may meet is added to `notes`; `one_more` is the command that adds a transport.
fn probe(
    transports: &[Transport<'_>],
    web: &str,
    mut notes: Vec<String>,
    one_more: &str,
    deadline: Instant,
) -> Result<Transports, Fault> {
    let (mut answering, mut silent) = (None, Vec::new());
    for transport in transports {
        let deadline = deadline.min(Instant::now() + PATIENCE);
        let asked = match (transport.protocol, transport.bind) {
            ("ws", _) if web.contains("\nServer Disabled") => Err(io::Error::other("enabled=no in http.conf")),
            ("wss", _) if !web.contains("HTTPS Server Enabled") => Err(io::Error::other("tlsenable=no in http.conf")),
            (_, None) => continue,
            ("udp", Some(bind)) => sip::ask_udp(bind, deadline),
            ("tcp", Some(bind)) => sip::ask_tcp(bind, deadline),
            (_, Some(bind)) => sip::ask_tls(bind, deadline),
        };
        match asked {
            Ok(()) => _ = answering.get_or_insert_with(|| transport.to_string()),
            // A sandbox of ours that forbids the address says nothing about Asterisk.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => silent.push(format!("{transport}: {error}")),
        }
    }
    if answering.is_none() && !silent.is_empty() {
        let what = format!("nobody answers a SIP OPTIONS on this host at {}", silent.join("; "));
        // No restart turns the HTTP server on, or brings a certificate.
        let is_plain = transports.iter().any(|transport| matches!(transport.protocol, "udp" | "tcp"));
        let fix =
            if is_plain { RESTART.to_owned() } else { format!("{one_more} # or fix what is named, and {RESTART}") };
        return Err(Fault::new(what, fix));
    }
    notes.extend(silent.into_iter().map(|silent| format!("phones get no answer at {silent}")));
    Ok(Transports { answering, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "
Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress....................>
==========================================================================================

Transport:  transport-udp             udp      0      0  0.0.0.0:5060
Transport:  of the office             tcp      0      0  0.0.0.0:5060
Transport:  six                       tls      0      0  [::1]:5061
Transport:  web                       wss      0      0  0.0.0.0:5060
Transport:  flow                      udp      0      0  0.0.0.0:0

Objects found: 5

";

    #[test]
    fn transports_are_read_with_their_addresses() {
        let found: Vec<_> = read(LISTING).iter().map(ToString::to_string).collect();
        let named = ["transport-udp (udp 0.0.0.0:5060)", "of the office (tcp 0.0.0.0:5060)", "six (tls [::1]:5061)"];
        assert_eq!(found[..3], named);
        assert_eq!(found[3..], ["web (wss)", "flow (udp)"]);
    }

    #[test]
    fn transports_of_the_http_server_are_as_it_is() {
        let asked = |web| probe(&read(&LISTING.replace("wss", "ws "))[3..4], web, Vec::new(), "add", Instant::now());
        assert_eq!(asked("Server Enabled and Bound to 0.0.0.0:8088\n").unwrap().answering, None);
        let disabled = asked("Prefix: \nServer: \nServer Disabled\n").unwrap_err();
        assert!(disabled.what.ends_with("enabled=no in http.conf"));
        assert_eq!(disabled.fix, "add # or fix what is named, and systemctl restart asterisk");
        let secure = |web| probe(&read(LISTING)[3..4], web, Vec::new(), "add", Instant::now());
        assert!(secure("Server Enabled and Bound to 0.0.0.0:8088\n").unwrap_err().what.contains("tlsenable=no"));
        assert_eq!(secure("HTTPS Server Enabled and Bound to 0.0.0.0:8089\n").unwrap().notes.len(), 0);
    }

    #[test]
    fn one_that_answers_is_enough_and_the_others_are_told() {
        let soon = || Instant::now() + Duration::from_secs(30);
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let udp = |name, bind| Transport { name, protocol: "udp", bind: Some(bind) };
        let phone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let one = phone.local_addr().unwrap();
        std::thread::spawn(move || {
            let (_, from) = phone.recv_from(&mut [0; 2048]).unwrap();
            phone.send_to(b"SIP/2.0 403 Forbidden\r\n\r\n", from).unwrap();
        });
        let found = probe(&[udp("no", closed), udp("one", one)], "", Vec::new(), "add", soon()).unwrap();
        assert_eq!(found.answering, Some(format!("one (udp {one})")));
        assert_eq!(found.notes.len(), 1);
        assert!(found.notes[0].starts_with(&format!("phones get no answer at no (udp {closed}): ")), "{found:?}");
        let nobody = probe(&[udp("no", closed)], "", Vec::new(), "add", soon()).unwrap_err();
        assert!(nobody.what.starts_with(&format!("nobody answers a SIP OPTIONS on this host at no (udp {closed}): ")));
        assert_eq!(nobody.fix, RESTART);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test writes the administrator's files")]
    fn a_transport_that_is_missing_or_was_not_taken_is_told() {
        use crate::deploy::deployment::tests::soon;
        use crate::deploy::tests::Host;
        use crate::proof::config_tree::Tree;
        let host = Host::new();
        let main = host.at("").canonicalize().unwrap().join("pjsip.conf");
        let checked_as = |is_read: bool, text: &str, listing: &str| {
            std::fs::write(&main, text).unwrap();
            host.answering(&format!("'pjsip show transports') printf '=====\n{listing}' ;;"));
            let tree = Tree::read(main.parent().unwrap(), "pjsip.conf", std::path::Path::new("/x"));
            let sections = &tree.sections;
            let admin = AdminPjsip { tree: &tree, sections };
            let checked = check(&host.deployment.cli, &admin, is_read, soon()).unwrap();
            let plain = |text: String| text.replace(&main.display().to_string(), "MAIN");
            checked
                .map(|found| found.notes.into_iter().map(plain).collect::<Vec<_>>())
                .map_err(|fault| plain(fault.fix))
        };
        let checked = |text: &str, listing: &str| checked_as(true, text, listing);
        let (udp, other) = ("[udp]\ntype=transport\n", "[t](!)\ntype=transport\n[1]\ntype=endpoint\n");
        let listed = "Transport:  udp  ws  0  0  0.0.0.0:5060\n";
        assert_eq!(checked(&format!("{udp}{other}"), listed), Ok(Vec::new()));
        let not_taken = "Asterisk did not take [tls] (MAIN, line 7)".to_owned();
        assert_eq!(checked(&format!("{udp}{other}[tls]\ntype=transport\n"), listed), Ok(vec![not_taken]));
        let missing = |text: &str| checked(text, "").unwrap_err();
        let append = "printf '\\n[transport-udp]\\ntype=transport\\nprotocol=udp\\nbind=0.0.0.0:5060\\n' >> MAIN && ";
        assert!(missing(other).starts_with(append), "{}", missing(other));
        assert!(
            missing(udp).starts_with("sed -i '1,2s/^/; /' MAIN && printf '\\n[udp]\\ntype=transport"),
            "{}",
            missing(udp)
        );
        // What cannot be looked at changes nothing of that.
        assert!(missing(&format!("#include [^x]\n{other}")).starts_with(append));
        assert!(missing(&format!("{udp}#include [^x]\n")).starts_with("sed -i '1,2s/^/; /' MAIN && printf "));
        assert_eq!(checked(&format!("{udp}[tls]\ntype=transport\n#include [^x]\n"), listed), Ok(Vec::new()));
        let none = "PJSIP has none until it reads pjsip.conf".to_owned();
        assert_eq!(checked_as(false, udp, ""), Ok(vec![none]));
        let twice = missing(&format!("{udp}{other}{udp}"));
        assert_eq!(twice, "sed -i '7,8s/^/; /' MAIN && systemctl restart asterisk");
    }
}
