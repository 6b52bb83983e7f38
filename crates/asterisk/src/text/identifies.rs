//! Reader of `pjsip show identifies`: which phones are taken for an endpoint of the administrator's.

use std::net::IpAddr;

use crate::text::listing::objects;

/// What an identify takes for its endpoint: whoever comes from a network, or whose request matches a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match<'a> {
    pub(crate) identify: &'a str,
    pub(crate) endpoint: &'a str,
    /// The word of `endpoint_identifier_order` for it: one of [`IDENTIFIERS`].
    pub(crate) identifier: &'static str,
    /// Such as `192.0.2.0/24`, `X-Key: /1/` or `/sip:/`.
    pub(crate) criterion: &'a str,
}

/// How the listing names a criterion, and `endpoint_identifier_order` what looks at it.
pub(crate) const IDENTIFIERS: [(&str, &str); 3] =
    [("Match: ", "ip"), ("Header: ", "header"), ("RequestURI: ", "request_uri")];

/// The first and the last address that phones can have, of IPv4 and of IPv6.
const ALL: [(bool, u128, u128); 2] = [(true, 0x0100_0000, 0xdfff_ffff), (false, 0x2000 << 112, (0x4000 << 112) - 1)];

impl Match<'_> {
    /// The address, and the length of the prefix.
    fn network(&self) -> Option<(IpAddr, u32)> {
        let (address, length) = self.criterion.split_once('/').filter(|_| self.identifier == "ip")?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    }

    /// Whether it is of IPv4, the first address and the last.
    fn range(&self) -> Option<(bool, u128, u128)> {
        let (address, length) = self.network()?;
        let (first, bits) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let others = u128::MAX.checked_shr(128 - bits + length).unwrap_or_default();
        Some((address.is_ipv4(), first & !others, first | others))
    }

    /// Whether users' phones may well match it: a pattern, a network as that of an office, or more than a provider has.
    pub(crate) fn may_be_users(&self) -> bool {
        self.identifier != "ip"
            || self.network().is_some_and(|(address, length)| match address {
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

/// Those of `matches` that together take each phone, wherever it is: `0.0.0.0/0`, or `0.0.0.0/1` and `128.0.0.0/1`.
pub(crate) fn everybody<'a>(matches: &[Match<'a>]) -> Option<Vec<Match<'a>>> {
    ALL.into_iter().find_map(|(is_v4, first, last)| {
        let of = matches.iter().filter_map(|found| Some((found.range()?, found)));
        let mut ranges: Vec<_> = of.filter(|((is_of_v4, ..), _)| *is_of_v4 == is_v4).collect();
        ranges.sort_by_key(|((_, begin, end), _)| (*begin, std::cmp::Reverse(*end)));
        let (mut next, mut needed) = (first, Vec::new());
        for ((_, begin, end), found) in ranges {
            if begin <= next && next <= end {
                next = end.saturating_add(1);
                needed.push(*found);
            }
        }
        (next > last).then_some(needed)
    })
}

/// Reads `pjsip show identifies`. Without the module for identifies there is no such command, and no match.
pub(crate) fn matches(answer: &str) -> impl Iterator<Item = Match<'_>> {
    let mut current = None;
    objects(answer).filter_map(move |line| {
        if let Some(names) = line.strip_prefix(" Identify:  ") {
            current = names.trim().split_once('/');
        }
        let (identify, endpoint) = current?;
        let criterion = |(head, identifier)| Some((line.trim_start().strip_prefix(head)?.trim(), identifier));
        let (criterion, identifier) = IDENTIFIERS.into_iter().find_map(criterion)?;
        Some(Match { identify, endpoint, identifier, criterion })
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
        let found: Vec<_> = matches(ANSWER).map(|of| (of.identify, of.identifier, of.criterion)).collect();
        let expected = [
            ("t2", "ip", "10.0.0.0/8"),
            ("t2", "ip", "fd00::/8"),
            ("t2", "ip", "127.0.0.1/32"),
            ("t2", "request_uri", "/sip:/"),
            ("trunk", "header", "Max-Forwards: /70/"),
        ];
        assert_eq!(found, expected);
        assert!(matches(ANSWER).all(|of| of.endpoint == "trunk"));
        assert_eq!(matches("No such command 'pjsip show identifies'").count(), 0);
    }

    fn ip(network: &str) -> Match<'_> {
        Match { identify: network, endpoint: "trunk", identifier: "ip", criterion: network }
    }

    #[test]
    fn a_network_of_a_provider_is_none_of_users() {
        for network in
            ["10.0.0.0/8", "127.0.0.0/8", "217.0.0.0/13", "0.0.0.0/1", "fd00::/8", "2000::/3", "192.168.7.0/31"]
        {
            assert!(ip(network).may_be_users(), "{network}");
        }
        for network in
            ["10.0.0.1/32", "127.0.0.1/32", "198.51.100.0/24", "2001:db8::/48", "fd00::1/128", "x", "!10.0.0.0/8"]
        {
            assert!(!ip(network).may_be_users(), "{network}");
        }
        assert!(Match { identifier: "header", ..ip("X-Key: /10.0.0.1/") }.may_be_users());
    }

    #[test]
    fn networks_that_hold_all_addresses_together_are_everybody() {
        let needed = |networks: &[&'static str]| -> Option<Vec<&str>> {
            let found = everybody(&networks.iter().map(|network| ip(network)).collect::<Vec<_>>())?;
            Some(found.into_iter().map(|found| found.identify).collect())
        };
        assert_eq!(needed(&["10.0.0.0/8", "0.0.0.0/0"]), Some(vec!["0.0.0.0/0"]));
        assert_eq!(needed(&["128.0.0.0/1", "10.0.0.0/8", "0.0.0.0/1"]), Some(vec!["0.0.0.0/1", "128.0.0.0/1"]));
        let unicast = ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"];
        assert_eq!(needed(&unicast), Some(unicast.to_vec()));
        for all in ["::/0", "2000::/3"] {
            assert_eq!(needed(&[all]), Some(vec![all]));
        }
        for some in [&["0.0.0.0/1", "192.0.0.0/2"][..], &["0.0.0.0/1", "8000::/1"], &["10.0.0.1/32"], &[]] {
            assert_eq!(needed(some), None, "{some:?}");
        }
    }
}
