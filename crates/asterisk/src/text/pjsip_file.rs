//! What must be live once Asterisk has taken an endpoints file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::text::config_text::{Reason, Unreadable};
use crate::text::expected::{Endpoint, Expected, Kind};
use crate::text::sections::{Section, sections};
use crate::text::shown::Options;

/// The settings that make up a credential.
const CREDENTIAL_KEYS: [&str; 5] = ["username", "realm", "password", "password_digest", "md5_cred"];

/// How many bytes of a name Asterisk's listings show, at least.
const ENDPOINT: usize = 51;
const AOR_OF_ENDPOINT: usize = 39;
const STANDALONE_AOR: usize = 41;
const IDENTIFY: usize = 80;
const OTHERS: usize = 200;

/// Reads the objects of an endpoints file. A strict deployment asks for each aor by its name, too.
pub(crate) fn read(text: &str, is_strict: bool) -> Result<Expected, Unreadable> {
    let sections = sections(text)?;
    let mut expected = Expected::default();
    let Expected { endpoints, standalone, credentials, fingerprints, shown, contexts: _ } = &mut expected;
    let mut others = BTreeMap::new();
    let mut identifies = BTreeMap::new();
    for section in &sections {
        let name = |longest| section.listed(section.name, longest);
        let mut other = |kind, longest, is_asked_for| {
            let name = name(longest)?;
            if is_asked_for {
                shown.insert((kind, name.to_owned()), Options::of(section));
            }
            Ok(others.insert((kind, name), section.fingerprint()).is_none())
        };
        let is_new = match section.kind() {
            "endpoint" => endpoints.insert(name(ENDPOINT)?.to_owned(), endpoint(section)?).is_none(),
            "auth" => {
                credentials.insert(name(OTHERS)?.to_owned(), credential(section));
                other(Kind::Auth, OTHERS, false)?
            }
            "aor" => other(Kind::Aor, STANDALONE_AOR, is_strict)?,
            "registration" => other(Kind::Registration, OTHERS, true)?,
            "identify" => identifies.insert(name(IDENTIFY)?, section).is_none(),
            kind => return Err(section.unreadable(Reason::UnprovableType(kind.to_owned()))),
        };
        if !is_new {
            let twice = Reason::Twice(format!("the {} {:?}", section.kind(), section.name));
            return Err(section.unreadable(twice));
        }
    }
    for endpoint in endpoints.values_mut() {
        let mut all = DefaultHasher::new();
        endpoint.said.hash(&mut all);
        endpoint.named().for_each(|object| others.get(&object).hash(&mut all));
        endpoint.said = all.finish();
    }
    for (name, section) in identifies {
        let of = section.values("endpoint").next_back().unwrap_or_default();
        let stranger = || section.unreadable(Reason::StrangersIdentify(of.to_owned()));
        let endpoint = endpoints.get_mut(of).ok_or_else(stranger)?;
        endpoint.identifies.insert(name.to_owned());
        let mut all = DefaultHasher::new();
        (endpoint.said, section.fingerprint()).hash(&mut all);
        endpoint.said = all.finish();
    }
    let named: HashSet<_> = endpoints.values().flat_map(Endpoint::named).collect();
    let alone = others.iter().filter(|(object, _)| !named.contains(*object));
    fingerprints.extend(alone.map(|(&(kind, name), said)| ((kind, name.to_owned()), *said)));
    standalone.extend(fingerprints.keys().cloned());
    // Asterisk takes a registration whose auth there is not. It may be the administrator's, or nobody's.
    for section in sections.iter().filter(|section| section.kind() == "registration") {
        let auths = section.all_listed("outbound_auth", OTHERS)?.into_iter().map(|name| (Kind::Auth, name));
        standalone.extend(auths.filter(|(kind, name)| !others.contains_key(&(*kind, name.as_str()))));
    }
    Ok(expected)
}

fn endpoint(section: &Section<'_>) -> Result<Endpoint, Unreadable> {
    Ok(Endpoint {
        auths: section.all_listed("auth", OTHERS)?,
        outbound_auths: section.all_listed("outbound_auth", OTHERS)?,
        aors: section.all_listed("aors", AOR_OF_ENDPOINT)?,
        identifies: BTreeSet::new(),
        said: section.fingerprint(),
    })
}

/// A hash of what a phone must know.
fn credential(section: &Section<'_>) -> u64 {
    let known = |key: &str| CREDENTIAL_KEYS.into_iter().find(|known| known.eq_ignore_ascii_case(key));
    let settings = section.settings.iter().filter_map(|(key, value)| Some((known(key)?, value)));
    let mut hasher = DefaultHasher::new();
    settings.for_each(|setting| setting.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &str = "; head\n[t](!)\ntype=endpoint\ncontext=c\n[u](!)\ntype=auth\n[v](!)\ntype=aor\n\
        [1000](t)\nauth=1000-ab\naors=1000\n[1000-ab](u)\nusername=1000\n[1000](v)\n[marker-1]\ntype=aor\nmax_contacts=0\n";

    fn names(name: &str) -> BTreeSet<String> {
        BTreeSet::from([name.to_owned()])
    }

    fn objects(text: &str) -> Result<Expected, String> {
        read(text, false).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_read_through_templates_and_lone_aors_stay() {
        let Expected { mut endpoints, standalone, .. } = objects(ENDPOINTS).unwrap();
        for endpoint in endpoints.values_mut() {
            endpoint.said = 0;
        }
        let endpoint = Endpoint { auths: names("1000-ab"), aors: names("1000"), ..Endpoint::default() };
        assert_eq!(endpoints, BTreeMap::from([("1000".to_owned(), endpoint)]));
        assert_eq!(standalone, BTreeSet::from([(Kind::Aor, "marker-1".to_owned())]));
    }

    #[test]
    fn a_trunk_is_its_endpoint_with_all_that_belongs_to_it() {
        let text = "[carrier]\ntype=endpoint\naors = carrier ; the carrier's\nOutbound_Auth = carrier-auth\n\
            [carrier]\ntype = aor\n[carrier]\ntype=identify\nendpoint=carrier\nmatch=192.0.2.1\n[carrier-auth]\n\
            type=auth\n[reg-auth]\ntype=auth\n[reg]\ntype=registration\noutbound_auth=reg-auth\n";
        let Expected { mut endpoints, standalone, .. } = objects(text).unwrap();
        for endpoint in endpoints.values_mut() {
            endpoint.said = 0;
        }
        let endpoint = Endpoint {
            auths: BTreeSet::new(),
            outbound_auths: names("carrier-auth"),
            aors: names("carrier"),
            identifies: names("carrier"),
            said: 0,
        };
        assert_eq!(endpoints, BTreeMap::from([("carrier".to_owned(), endpoint)]));
        let standalone: Vec<_> = standalone.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        assert_eq!(standalone, ["auth reg-auth", "registration reg"]);
    }

    #[test]
    fn an_auth_that_only_a_registration_names_must_be_live_and_is_not_of_the_file() {
        let text = "[a]\ntype=auth\n[r]\ntype=registration\noutbound_auth=a\n[s]\ntype=registration\noutbound_auth=his";
        let Expected { standalone, fingerprints, .. } = objects(text).unwrap();
        let names = |(kind, name): &(Kind, String)| format!("{kind} {name}");
        assert_eq!(
            standalone.iter().map(names).collect::<Vec<_>>(),
            ["auth a", "auth his", "registration r", "registration s"]
        );
        assert_eq!(fingerprints.keys().map(names).collect::<Vec<_>>(), ["auth a", "registration r", "registration s"]);
    }

    #[test]
    fn a_name_may_be_as_long_as_a_listing_shows() {
        for (kind, longest) in [("aor", STANDALONE_AOR), ("endpoint", ENDPOINT), ("auth", OTHERS)] {
            let text = |length| format!("[{}]\ntype={kind}", "a".repeat(length));
            assert_eq!((objects(&text(longest)).is_ok(), objects(&text(longest + 1)).is_ok()), (true, false), "{kind}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_proven_is_refused_with_its_line() {
        for (text, error) in [
            ("a=b", "line 1 stands before the first section"),
            ("[1](none)\n", "line 1 names the template \"none\""),
            ("[a](!)\ntype=aor\n[a](a)\n[a](a)", "line 4 defines the aor \"a\" a second time"),
            ("\n[x]\ntype=transport", "line 2 begins an object of type \"transport\""),
            ("[x]\nusername=1", "line 1 begins an object of type \"\""),
            ("[x]\ntype=aor\nnonsense", "line 3 is neither"),
            ("[x]\ntype=endpoint\nType=auth", "line 3 defines the type a second time"),
            ("[t](!)\ntype=endpoint\n[x](t)\ntype=aor", "line 4 defines the type a second time"),
            ("[t](!)\n[t](!)", "line 2 defines the template \"t\" a second time"),
            ("[t](!)\n[x]( t)", "line 2 names the template \" t\""),
            ("[x]\ntype=identify\nendpoint=his", "line 1 identifies the endpoint \"his\", which the file does not"),
            ("[front desk]\ntype=aor", "line 1 has the name \"front desk\""),
            ("[x]\ntype=endpoint\naors=a/b", "line 1 has the name \"a/b\""),
            (&format!("[{}]\ntype=aor", "a".repeat(42)), "line 1 has the name \"aaaa"),
        ] {
            let said = objects(text).unwrap_err();
            assert!(said.starts_with(error), "{said}");
        }
    }

    #[test]
    fn the_last_of_all_templates_and_own_settings_counts() {
        let text = "[t](!)\ntype=endpoint\naors=a,b\nauth=p\n[u](!)\nAuth=q,,\n[x](t,u)\nAORS=c\n[y](t)\nauth=\n";
        let Expected { endpoints, .. } = objects(text).unwrap();
        let of = |name: &str| {
            [&endpoints[name].auths, &endpoints[name].aors]
                .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("x"), ["q", "c"]);
        assert_eq!(of("y"), ["", "a b"]);
    }
}
