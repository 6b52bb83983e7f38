//! Reader of `pjsip show identifies`: which phones are taken for an endpoint of the administrator's, by their address or by
//! what they send.

use std::net::IpAddr;

use crate::text::listing::objects;

/// By what an identify takes whoever calls for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match<'a> {
    pub(crate) identify: &'a str,
    pub(crate) endpoint: &'a str,
    /// As `endpoint_identifier_order` names it: `ip`, `header` or `request_uri`.
    pub(crate) by: &'static str,
    /// Such as `192.0.2.0/24`, `To: /x/` and `/x/`.
    pub(crate) what: &'a str,
}

impl Match<'_> {
    /// The address, and the length of the prefix.
    fn prefix(&self) -> Option<(IpAddr, u32)> {
        let (address, length) = self.what.split_once('/')?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    }

    /// Whether it takes each phone, wherever it is, or may do so: what a pattern matches is not known, but that phones send no
    /// headers of somebody's own.
    pub(crate) fn is_everybody(&self) -> bool {
        match self.by {
            "ip" => self.prefix().is_some_and(|(_, length)| length == 0),
            _ => !matches!(self.what.as_bytes(), [b'X' | b'x' | b'P' | b'p', b'-', ..]),
        }
    }

    /// Whether users' phones may well match it: a network as that of an office, or more than a provider has.
    pub(crate) fn may_be_users(&self) -> bool {
        self.prefix().is_some_and(|(address, length)| match address {
            IpAddr::V4(address) => {
                let is_local = address.is_private() || address.is_loopback() || address.is_link_local();
                length < if is_local { 32 } else { 24 }
            }
            IpAddr::V6(address) => {
                let is_local = address.is_unique_local() || address.is_unicast_link_local();
                length < if is_local { 128 } else { 48 }
            }
        })
    }
}

/// Reads `pjsip show identifies`. Without the module for identifies there is no such command, and no match.
pub(crate) fn matches(answer: &str) -> impl Iterator<Item = Match<'_>> {
    let mut current = None;
    objects(answer).filter_map(move |line| {
        if let Some(names) = line.strip_prefix(" Identify:  ") {
            current = names.trim().split_once('/');
        }
        let (identify, endpoint) = current?;
        let (key, what) = line.split_once(": ")?;
        let by = match key {
            "      Match" => "ip",
            "     Header" => "header",
            " RequestURI" => "request_uri",
            _ => return None,
        };
        Some(Match { identify, endpoint, by, what: what.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "
 Identify:  <Identify/Endpoint...........................................................>
      Match:  <criteria...........................>
==========================================================================================

 Identify:  t2/trunk
      Match: 10.0.0.0/8
      Match: fd00::/8
      Match: 127.0.0.1/32
 RequestURI: /sip:/

 Identify:  trunk/trunk
     Header: Max-Forwards: /70/


Objects found: 2

";

    #[test]
    fn whom_an_identify_takes_for_its_endpoint_is_listed() {
        let found: Vec<_> = matches(ANSWER).map(|of| (of.identify, of.by, of.what)).collect();
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].map(|network| ("t2", "ip", network));
        assert_eq!(found[..3], networks);
        assert_eq!(found[3..], [("t2", "request_uri", "/sip:/"), ("trunk", "header", "Max-Forwards: /70/")]);
        assert!(matches(ANSWER).all(|of| of.endpoint == "trunk"));
        assert_eq!(matches("No such command 'pjsip show identifies'").count(), 0);
    }

    fn of(what: &str) -> Match<'_> {
        Match { identify: "trunk", endpoint: "trunk", by: "ip", what }
    }

    #[test]
    fn a_network_of_a_provider_is_none_of_users() {
        for network in
            ["10.0.0.0/8", "127.0.0.0/8", "217.0.0.0/13", "0.0.0.0/1", "fd00::/8", "2000::/3", "192.168.7.0/31"]
        {
            assert!(of(network).may_be_users(), "{network}");
        }
        for network in
            ["10.0.0.1/32", "127.0.0.1/32", "198.51.100.0/24", "2001:db8::/48", "fd00::1/128", "x", "!10.0.0.0/8"]
        {
            assert!(!of(network).may_be_users(), "{network}");
        }
        assert!(of("0.0.0.0/0").is_everybody() && of("::/0").is_everybody() && !of("0.0.0.0/1").is_everybody());
    }
}
