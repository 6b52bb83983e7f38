//! What must be live once Asterisk has taken an endpoints file.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config_text::{Line, Reason, Unreadable, lines},
    expected::{Credential, Endpoint, Kind, Standalone},
};

/// The settings that the proof needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Type,
    Auth,
    OutboundAuth,
    Aors,
    Endpoint,
    /// One that a credential is made of.
    Credential(&'static str),
}

impl Key {
    /// Asterisk reads the names of settings in any case.
    fn of(name: &str) -> Option<Self> {
        let is = |key: &str| key.eq_ignore_ascii_case(name);
        Some(match name.len() {
            4 if is("type") => Self::Type,
            4 if is("auth") => Self::Auth,
            4 if is("aors") => Self::Aors,
            8 if is("endpoint") => Self::Endpoint,
            13 if is("outbound_auth") => Self::OutboundAuth,
            _ => Self::Credential(CREDENTIAL_KEYS.into_iter().find(|key| is(key))?),
        })
    }
}

/// How many bytes of a name Asterisk's listings show, at least.
const ENDPOINT: usize = 51;
const AOR_OF_ENDPOINT: usize = 39;
const LONE_AOR: usize = 41;
const IDENTIFY: usize = 80;
const OTHERS: usize = 200;

/// The settings that make up a credential.
const CREDENTIAL_KEYS: [&str; 5] = ["username", "realm", "password", "password_digest", "md5_cred"];

/// A PJSIP section with the settings that the proof needs, those of its templates before its own.
#[derive(Debug)]
struct Section<'a> {
    line: usize,
    name: &'a str,
    is_template: bool,
    settings: Vec<(Key, &'a str)>,
}

impl<'a> Section<'a> {
    fn values(&self, key: Key) -> impl DoubleEndedIterator<Item = &'a str> {
        self.settings.iter().filter(move |(of, _)| *of == key).map(|(_, value)| *value)
    }

    fn unreadable(&self, reason: Reason) -> Unreadable {
        Unreadable { line: self.line, reason }
    }

    /// A name that Asterisk's listings show whole, and apart from what is printed beside it.
    fn listed<'n>(&self, name: &'n str, longest: usize) -> Result<&'n str, Unreadable> {
        if name.len() > longest || name.contains([' ', '\t', '/']) {
            return Err(self.unreadable(Reason::Unlistable { name: name.to_owned(), longest }));
        }
        Ok(name)
    }

    /// What the last setting of this key names; the last replaces the others.
    fn names(&self, key: Key, longest: usize) -> Result<BTreeSet<String>, Unreadable> {
        let names = self.values(key).next_back().unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(|name| self.listed(name, longest).map(str::to_owned)).collect()
    }

    fn endpoint(&self) -> Result<Endpoint, Unreadable> {
        Ok(Endpoint {
            auths: self.names(Key::Auth, OTHERS)?,
            outbound_auths: self.names(Key::OutboundAuth, OTHERS)?,
            aors: self.names(Key::Aors, AOR_OF_ENDPOINT)?,
            identifies: BTreeSet::new(),
        })
    }

    fn credential(&self) -> Credential {
        let mut credential = String::new();
        for (key, value) in &self.settings {
            if let Key::Credential(key) = key {
                for part in [key, "=", value, "\n"] {
                    credential.push_str(part);
                }
            }
        }
        Credential(credential)
    }
}

/// What a file defines: an object that an endpoint names is not alone.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) standalone: Standalone,
    pub(crate) credentials: BTreeMap<String, Credential>,
}

/// Reads the objects of an endpoints file.
pub(crate) fn read(text: &str) -> Result<Objects, Unreadable> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut templates: BTreeMap<&str, usize> = BTreeMap::new();
    for read in lines(text) {
        let (line, read) = read?;
        match read {
            Line::Section { name, is_template, templates: named } => {
                let mut settings = Vec::with_capacity(8);
                for base in named.split(',').filter(|base| !base.is_empty() && *base != "!") {
                    let unknown = || Unreadable { line, reason: Reason::UnknownTemplate(base.to_owned()) };
                    settings.extend_from_slice(&sections[*templates.get(base).ok_or_else(unknown)?].settings);
                }
                if is_template && templates.insert(name, sections.len()).is_some() {
                    return Err(Unreadable { line, reason: Reason::Twice(format!("the template {name:?}")) });
                }
                sections.push(Section { line, name, is_template, settings });
            }
            Line::Setting { key, value } => {
                let section = sections.last_mut().ok_or(Unreadable { line, reason: Reason::NoSection })?;
                if let Some(key) = Key::of(key) {
                    // Of two types, Asterisk takes the first.
                    if key == Key::Type && section.values(Key::Type).next().is_some() {
                        return Err(Unreadable { line, reason: Reason::Twice("the type".to_owned()) });
                    }
                    section.settings.push((key, value));
                }
            }
        }
    }
    sort_objects(&sections)
}

fn sort_objects(sections: &[Section<'_>]) -> Result<Objects, Unreadable> {
    let Objects { mut endpoints, mut credentials, .. } = Objects::default();
    let mut others = BTreeSet::new();
    let mut identifies = BTreeMap::new();
    for section in sections.iter().filter(|section| !section.is_template) {
        let kind = section.values(Key::Type).next().unwrap_or_default();
        let name = |longest| section.listed(section.name, longest);
        let mut other = |kind, longest| name(longest).map(|_| others.insert((kind, section.name)));
        let is_new = match kind {
            "endpoint" => endpoints.insert(name(ENDPOINT)?.to_owned(), section.endpoint()?).is_none(),
            "auth" => {
                credentials.insert(name(OTHERS)?.to_owned(), section.credential());
                other(Kind::Auth, OTHERS)?
            }
            "aor" => other(Kind::Aor, LONE_AOR)?,
            "registration" => other(Kind::Registration, OTHERS)?,
            "identify" => identifies.insert(name(IDENTIFY)?, section).is_none(),
            _ => return Err(section.unreadable(Reason::UnprovableType(kind.to_owned()))),
        };
        if !is_new {
            return Err(section.unreadable(Reason::Twice(format!("the {kind} {:?}", section.name))));
        }
    }
    for (name, section) in identifies {
        let of = section.values(Key::Endpoint).next_back().unwrap_or_default();
        let stranger = || section.unreadable(Reason::StrangersIdentify(of.to_owned()));
        endpoints.get_mut(of).ok_or_else(stranger)?.identifies.insert(name.to_owned());
    }
    for Endpoint { auths, outbound_auths, aors, .. } in endpoints.values() {
        for (kind, names) in [(Kind::Auth, auths), (Kind::Auth, outbound_auths), (Kind::Aor, aors)] {
            for name in names {
                others.remove(&(kind, name.as_str()));
            }
        }
    }
    let standalone = others.into_iter().map(|(kind, name)| (kind, name.to_owned())).collect();
    Ok(Objects { endpoints, standalone, credentials })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &str = "; head\n[t](!)\ntype=endpoint\ncontext=c\n[u](!)\ntype=auth\n[v](!)\ntype=aor\n\
        [1000](t)\nauth=1000-ab\naors=1000\n[1000-ab](u)\nusername=1000\n[1000](v)\n[marker-1]\ntype=aor\nmax_contacts=0\n";

    fn names(name: &str) -> BTreeSet<String> {
        BTreeSet::from([name.to_owned()])
    }

    fn objects(text: &str) -> Result<Objects, String> {
        read(text).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_read_through_templates_and_lone_aors_stay() {
        let Objects { endpoints, standalone, .. } = objects(ENDPOINTS).unwrap();
        let endpoint = Endpoint { auths: names("1000-ab"), aors: names("1000"), ..Endpoint::default() };
        assert_eq!(endpoints, BTreeMap::from([("1000".to_owned(), endpoint)]));
        assert_eq!(standalone, BTreeSet::from([(Kind::Aor, "marker-1".to_owned())]));
    }

    #[test]
    fn a_trunk_is_its_endpoint_with_all_that_belongs_to_it() {
        let text = "[carrier]\ntype=endpoint\naors = carrier ; the carrier's\nOutbound_Auth = carrier-auth\n\
            [carrier]\ntype = aor\n[carrier]\ntype=identify\nendpoint=carrier\nmatch=192.0.2.1\n[carrier-auth]\n\
            type=auth\n[reg-auth]\ntype=auth\n[reg]\ntype=registration\noutbound_auth=reg-auth\n";
        let Objects { endpoints, standalone, .. } = objects(text).unwrap();
        let endpoint = Endpoint {
            auths: BTreeSet::new(),
            outbound_auths: names("carrier-auth"),
            aors: names("carrier"),
            identifies: names("carrier"),
        };
        assert_eq!(endpoints, BTreeMap::from([("carrier".to_owned(), endpoint)]));
        let standalone: Vec<_> = standalone.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        assert_eq!(standalone, ["auth reg-auth", "registration reg"]);
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
        let Objects { endpoints, .. } = objects(text).unwrap();
        let of = |name: &str| {
            [&endpoints[name].auths, &endpoints[name].aors]
                .map(|names| names.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("x"), ["q", "c"]);
        assert_eq!(of("y"), ["", "a b"]);
    }
}
