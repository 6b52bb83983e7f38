//! Reader of `pjsip show identifies`: which addresses are taken for an endpoint of the administrator's.

use std::net::IpAddr;

use crate::text::listing::objects;

/// What an identify takes for its endpoint: whoever comes from these addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match<'a> {
    pub(crate) identify: &'a str,
    pub(crate) endpoint: &'a str,
    /// Such as `192.0.2.0/24`, or the pattern of a header.
    pub(crate) network: &'a str,
}

impl Match<'_> {
    /// The address, the length of the prefix, and whether that is shorter than an address.
    fn address_range(&self) -> Option<(IpAddr, u8, bool)> {
        let (address, length) = self.network.split_once('/')?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse().ok()?);
        Some((address, length, length < if address.is_ipv4() { 32 } else { 128 }))
    }

    pub(crate) fn is_everybody(&self) -> bool {
        self.address_range().is_some_and(|(_, length, _)| length == 0)
    }

    /// Whether these are several addresses, of a network as that of an office.
    pub(crate) fn is_private_network(&self) -> bool {
        self.address_range().is_some_and(|(address, _, is_several)| {
            is_several
                && match address {
                    IpAddr::V4(address) => address.is_private(),
                    IpAddr::V6(address) => address.is_unique_local(),
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
        Some(Match { identify, endpoint, network: line.strip_prefix("      Match: ")?.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_an_identify_takes_for_its_endpoint_is_listed() {
        let answer = "\n Identify:  <Identify/Endpoint>\n      Match:  <criteria>\n=====\n\n Identify:  x/y\n      Match: 0.0.0.0/0\n\n \
            Identify:  a/b\n      Match: 10.0.0.0/8\n      Match: 10.0.0.1/32\n      Match: 198.51.100.0/24\n      Match: fd00::/8\n      \
            Header: X-Key: 1/2\n\n\nObjects found: 2\n\n";
        let found: Vec<_> = matches(answer)
            .map(|found| {
                (found.identify, found.endpoint, found.network, found.is_everybody(), found.is_private_network())
            })
            .collect();
        let expected = [
            ("x", "y", "0.0.0.0/0", true, false),
            ("a", "b", "10.0.0.0/8", false, true),
            ("a", "b", "10.0.0.1/32", false, false),
            ("a", "b", "198.51.100.0/24", false, false),
            ("a", "b", "fd00::/8", false, true),
        ];
        assert_eq!(found, expected);
        assert_eq!(matches("No such command 'pjsip show identifies'").count(), 0);
    }
}
