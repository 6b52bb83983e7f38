//! What must be live once Asterisk has taken an endpoints file.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config_text::{Line, Reason, Unreadable, lines},
    expected::{Credential, Endpoint},
};

/// The settings that make up a credential.
const CREDENTIAL_KEYS: [&str; 5] = ["username", "realm", "password", "password_digest", "md5_cred"];

/// A PJSIP section with the settings that the proof needs, those of its templates before its own.
#[derive(Debug)]
struct Section<'a> {
    line: usize,
    name: &'a str,
    is_template: bool,
    settings: Vec<(&'static str, &'a str)>,
}

impl<'a> Section<'a> {
    fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.settings.iter().filter(move |(of, _)| *of == key).map(|(_, value)| *value)
    }

    /// What the last setting of this key names; the last replaces the others.
    fn names(&self, key: &str) -> BTreeSet<String> {
        let names = self.values(key).next_back().unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn credential(&self) -> Credential {
        let settings = self.settings.iter().filter(|(key, _)| CREDENTIAL_KEYS.contains(key));
        Credential(settings.flat_map(|(key, value)| [key, "=", value, "\n"]).collect())
    }
}

/// What a file defines: aors that an endpoint names are none of the markers.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) markers: BTreeSet<String>,
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
                let mut settings = Vec::new();
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
                let known = ["type", "auth", "aors"].into_iter().chain(CREDENTIAL_KEYS);
                if let Some(key) = known.into_iter().find(|known| known.eq_ignore_ascii_case(key)) {
                    // Of two types, Asterisk takes the first.
                    if key == "type" && section.values("type").next().is_some() {
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
    let Objects { mut endpoints, markers: mut aors, mut credentials } = Objects::default();
    for section in sections.iter().filter(|section| !section.is_template) {
        let (line, name) = (section.line, section.name.to_owned());
        let kind = section.values("type").next().unwrap_or_default();
        let is_new = match kind {
            "endpoint" => {
                let endpoint = Endpoint { auths: section.names("auth"), aors: section.names("aors") };
                endpoints.insert(name, endpoint).is_none()
            }
            "auth" => credentials.insert(name, section.credential()).is_none(),
            "aor" => aors.insert(name),
            _ => return Err(Unreadable { line, reason: Reason::UnprovableType(kind.to_owned()) }),
        };
        if !is_new {
            return Err(Unreadable { line, reason: Reason::Twice(format!("the {kind} {:?}", section.name)) });
        }
    }
    for aor in endpoints.values().flat_map(|endpoint| &endpoint.aors) {
        aors.remove(aor);
    }
    Ok(Objects { endpoints, markers: aors, credentials })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &str = "; head\n[t](!)\ntype=endpoint\ncontext=c\n[u](!)\ntype=auth\n[v](!)\ntype=aor\n\
        [1000](t)\nauth=1000-ab\naors=1000\n[1000-ab](u)\nusername=1000\n[1000](v)\n[marker-1]\ntype=aor\nmax_contacts=0\n";

    fn objects(text: &str) -> Result<Objects, String> {
        read(text).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_read_through_templates_and_lone_aors_are_markers() {
        let Objects { endpoints, markers, .. } = objects(ENDPOINTS).unwrap();
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(
            endpoints,
            BTreeMap::from([("1000".to_owned(), Endpoint { auths: names("1000-ab"), aors: names("1000") })])
        );
        assert_eq!(markers, names("marker-1"));
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
