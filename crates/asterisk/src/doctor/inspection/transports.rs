use std::{fmt, io, net::SocketAddr, path::Path, time::Instant};

use crate::{
    ask::cli::Cli,
    doctor::{fault::Fault, sip},
    files::rights::quoted,
    proof::{config_tree::OwnSection, diagnosis::PJSIP_CONF},
    text::listing,
};

/// Where Asterisk listens for SIP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transport {
    /// Its name.
    pub name: String,
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub protocol: String,
    /// Its address, where it has one of its own.
    pub bind: Option<SocketAddr>,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.protocol)?;
        self.bind.iter().try_for_each(|bind| write!(f, " {bind}"))?;
        f.write_str(")")
    }
}

/// Reads `pjsip show transports`.
fn read(answer: &str) -> Vec<Transport> {
    let lines = listing::objects(answer).filter_map(|line| line.strip_prefix("Transport:  "));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter_map(|fields| match fields[..] {
            [name, protocol, _cos, _tos, bind] => Some(Transport {
                name: name.to_owned(),
                protocol: protocol.to_owned(),
                bind: bind.parse().ok().filter(|_| !protocol.starts_with("ws")),
            }),
            _ => None,
        })
        .collect()
}

/// The transports, at least one.
pub(super) fn check(
    cli: &Cli,
    answer: &str,
    directory: &Path,
    sections: &[OwnSection],
) -> Result<Vec<Transport>, Fault> {
    const NONE: &str = "PJSIP has no transport, so that no phone gets an answer";
    let transports = read(answer);
    if !transports.is_empty() {
        return Ok(transports);
    }
    let reload = cli.shown("module reload res_pjsip.so");
    let written = sections.iter().find(|section| section.kind.as_deref() == Some("transport") && !section.is_template);
    Err(match written {
        Some(section) => Fault::new(
            format!(
                "{NONE}: Asterisk did not take [{}] ({}, line {})",
                section.name,
                section.path.display(),
                section.line
            ),
            reload,
        ),
        None => Fault::new(
            NONE,
            format!(
                "printf '\\n[transport-udp]\\ntype=transport\\nprotocol=udp\\nbind=0.0.0.0:5060\\n' >> {} && {reload}",
                quoted(&directory.join(PJSIP_CONF))
            ),
        ),
    })
}

/// Asks one transport after the other until one answers. Some cannot be asked: those without an
/// address of their own.
pub(super) fn ask(transports: &[Transport], deadline: Instant) -> Result<Option<&Transport>, Fault> {
    let mut failures = Vec::new();
    for transport in transports {
        let Some(bind) = transport.bind else { continue };
        let asked = match transport.protocol.as_str() {
            "udp" => sip::answers_udp(bind, deadline),
            "tcp" => sip::answers_tcp(bind, deadline),
            _ => sip::accepts(bind, deadline),
        };
        match asked {
            Ok(()) => return Ok(Some(transport)),
            // A sandbox of ours that forbids the address says nothing about Asterisk.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => failures.push(format!("{transport}: {error}")),
        }
    }
    if failures.is_empty() {
        return Ok(None);
    }
    Err(Fault::new(
        format!("nobody answers a SIP OPTIONS on this host at {}", failures.join("; ")),
        "systemctl restart asterisk",
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LISTING: &str = "
Transport:  <TransportId........>  <Type>  <cos>  <tos>  <BindAddress....................>
==========================================================================================

Transport:  transport-udp             udp      0      0  0.0.0.0:5060
Transport:  six                       tls      0      0  [::1]:5061
Transport:  web                       wss      0      0  0.0.0.0:5060

Objects found: 3

";

    #[test]
    fn transports_are_read_with_their_addresses() {
        let found: Vec<_> = read(LISTING).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["transport-udp (udp 0.0.0.0:5060)", "six (tls [::1]:5061)", "web (wss)"]);
        assert_eq!(ask(&read(LISTING)[2..], Instant::now()), Ok(None));
    }

    #[test]
    fn a_transport_is_added_where_there_is_none() {
        let cli = Cli::new("asterisk", Duration::from_secs(1)).unwrap();
        let fix = check(&cli, "No objects found.\n\n", Path::new("/etc/asterisk"), &[]).unwrap_err().fix;
        assert!(fix.starts_with("printf '\\n[transport-udp]\\ntype=transport\\n"), "{fix}");
        assert!(fix.ends_with(">> /etc/asterisk/pjsip.conf && asterisk -rx 'module reload res_pjsip.so'"), "{fix}");
    }
}
