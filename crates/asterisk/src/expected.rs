use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    config_text::{Line, Reason, Unreadable, lines},
    pair::Pair,
};

/// What must be live once Asterisk has taken a [`Pair`] of include files.
///
/// It is read from the text of the files, by other code than what wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The endpoints by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The aors that no endpoint names, such as the one that marks the generation of the file.
    /// (An aor that an endpoint names is proven by the endpoint's listing.)
    pub markers: BTreeSet<String>,
    /// The dialplan's contexts by name.
    pub contexts: BTreeMap<String, Context>,
    /// What each auth asks of a phone, by the auth's name.
    credentials: BTreeMap<String, Credential>,
}

/// The settings of an auth that a phone must know. They are secret: `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
struct Credential(String);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// The settings that make up a [`Credential`].
const CREDENTIAL_KEYS: [&str; 5] = ["username", "realm", "password", "password_digest", "md5_cred"];

/// An endpoint with what it names. Where the name of an auth holds a digest of all settings,
/// a live endpoint with that auth is the endpoint as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The auths for requests from it.
    pub auths: BTreeSet<String>,
    /// Its aors.
    pub aors: BTreeSet<String>,
}

/// A context: its extensions, each with its steps in order.
pub type Context = BTreeMap<String, Vec<Step>>;

/// One line of an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The devices that the extension's hint watches.
    Hint(String),
    /// An application at a priority.
    Priority {
        /// The priority, from 1.
        number: u32,
        /// The label, where it has one.
        label: Option<String>,
        /// The application with its arguments: `Dial(PJSIP/1000,30)`.
        application: String,
    },
}

impl Expected {
    /// What must be live of no files at all.
    pub const NOTHING: Self = Self {
        endpoints: BTreeMap::new(),
        markers: BTreeSet::new(),
        contexts: BTreeMap::new(),
        credentials: BTreeMap::new(),
    };

    /// Reads what must be live from both files.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] where a file holds what cannot be proven, or what Asterisk might read
    /// otherwise than we do.
    pub fn read(pair: &Pair) -> Result<Self, UnreadablePair> {
        let Pjsip { endpoints, markers, credentials } = text(&pair.endpoints)
            .and_then(read_pjsip)
            .map_err(|source| UnreadablePair { file: "endpoints", source })?;
        let contexts = text(&pair.dialplan)
            .and_then(read_dialplan)
            .map_err(|source| UnreadablePair { file: "dialplan", source })?;
        Ok(Self { endpoints, markers, contexts, credentials })
    }

    /// The aors of endpoints that `former` had not.
    pub(crate) fn new_aors(&self, former: &Self) -> BTreeSet<String> {
        let new = self.endpoints.iter().filter(|(name, _)| !former.endpoints.contains_key(*name));
        new.flat_map(|(_, endpoint)| endpoint.aors.iter().cloned()).collect()
    }

    /// The aors of endpoints that `former` had and that are no more, or that ask for another
    /// credential now: whoever is registered there is a former owner.
    pub(crate) fn aors_of_former_owners(&self, former: &Self) -> BTreeSet<String> {
        let credentials = |of: &Self, endpoint: &Endpoint| -> Vec<Option<Credential>> {
            endpoint.auths.iter().map(|auth| of.credentials.get(auth).cloned()).collect()
        };
        former
            .endpoints
            .iter()
            .filter(|(name, before)| {
                self.endpoints.get(*name).is_none_or(|now| credentials(self, now) != credentials(former, before))
            })
            .flat_map(|(_, before)| before.aors.iter().cloned())
            .collect()
    }

    /// What this changes against `former`.
    #[must_use]
    pub fn difference(&self, former: &Self) -> Difference {
        let mut difference = Difference::default();
        for (name, endpoint) in &self.endpoints {
            match former.endpoints.get(name) {
                None => difference.added.push(name.clone()),
                Some(before) if before != endpoint => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        difference.removed =
            former.endpoints.keys().filter(|name| !self.endpoints.contains_key(*name)).cloned().collect();
        difference
    }
}

/// The names of endpoints that one pair changes against another. Each list ascends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Endpoints that were not.
    pub added: Vec<String>,
    /// Endpoints that are no more.
    pub removed: Vec<String>,
    /// Endpoints with other auths or aors: where the name of an auth is a digest of all settings,
    /// endpoints with any other setting.
    pub changed: Vec<String>,
}

/// A pair of include files of which it cannot be said what must be live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {file} file cannot be proven: {source}")]
pub struct UnreadablePair {
    /// `endpoints` or `dialplan`.
    pub file: &'static str,
    /// Where and why.
    pub source: Unreadable,
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable { line: 0, reason: Reason::NotUtf8 })
}

/// A PJSIP section as far as the proof goes.
#[derive(Debug, Clone, Default)]
struct Section {
    line: usize,
    name: String,
    is_template: bool,
    kind: String,
    auths: BTreeSet<String>,
    aors: BTreeSet<String>,
    credential: Credential,
}

#[derive(Debug, Default)]
struct Pjsip {
    endpoints: BTreeMap<String, Endpoint>,
    markers: BTreeSet<String>,
    credentials: BTreeMap<String, Credential>,
}

fn read_pjsip(text: &str) -> Result<Pjsip, Unreadable> {
    let mut sections: Vec<Section> = Vec::new();
    let mut templates: BTreeMap<String, Section> = BTreeMap::new();
    for read in lines(text) {
        let (line, read) = read?;
        match read {
            Line::Section { name, is_template, templates: named } => {
                remember_template(sections.last(), &mut templates);
                let mut section = Section::default();
                for base in named.split(',').map(str::trim).filter(|base| !base.is_empty() && *base != "!") {
                    section = templates
                        .get(base)
                        .cloned()
                        .ok_or_else(|| Unreadable { line, reason: Reason::UnknownTemplate(base.to_owned()) })?;
                }
                sections.push(Section { line, name: name.to_owned(), is_template, ..section });
            }
            Line::Setting { key, value } => {
                let section = sections.last_mut().ok_or(Unreadable { line, reason: Reason::NoSection })?;
                let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
                match key {
                    "type" => value.clone_into(&mut section.kind),
                    "auth" => section.auths = names().collect(),
                    "aors" => section.aors = names().collect(),
                    key if CREDENTIAL_KEYS.contains(&key) => {
                        section.credential.0.extend([key, "=", value, "\n"]);
                    }
                    _ => {}
                }
            }
        }
    }
    sort_objects(sections)
}

fn remember_template(section: Option<&Section>, templates: &mut BTreeMap<String, Section>) {
    if let Some(section) = section.filter(|section| section.is_template) {
        templates.insert(section.name.clone(), section.clone());
    }
}

fn sort_objects(sections: Vec<Section>) -> Result<Pjsip, Unreadable> {
    let Pjsip { mut endpoints, markers: mut aors, mut credentials } = Pjsip::default();
    for Section { line, name, kind, auths, aors: named, credential, .. } in
        sections.into_iter().filter(|section| !section.is_template)
    {
        let new = match kind.as_str() {
            "endpoint" => endpoints.insert(name.clone(), Endpoint { auths, aors: named }).is_none(),
            "auth" => credentials.insert(name.clone(), credential).is_none(),
            "aor" => aors.insert(name.clone()),
            _ => return Err(Unreadable { line, reason: Reason::UnprovableType(kind) }),
        };
        if !new {
            return Err(Unreadable { line, reason: Reason::Twice(format!("the {kind} {name:?}")) });
        }
    }
    for aor in endpoints.values().flat_map(|endpoint| &endpoint.aors) {
        aors.remove(aor);
    }
    Ok(Pjsip { endpoints, markers: aors, credentials })
}

fn read_dialplan(text: &str) -> Result<BTreeMap<String, Context>, Unreadable> {
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    let (mut context, mut exten, mut last) = (None, String::new(), 0);
    for read in lines(text) {
        let (line, read) = read?;
        let not_an_extension = || Unreadable { line, reason: Reason::NotAnExtension };
        let (key, value) = match read {
            Line::Section { name, .. } => {
                context = Some(name);
                contexts.entry(name.to_owned()).or_default();
                exten.clear();
                continue;
            }
            Line::Setting { key, value } => (key, value),
        };
        let steps = match key {
            "exten" => {
                let (name, rest) = value.split_once(',').ok_or_else(not_an_extension)?;
                name.trim().clone_into(&mut exten);
                last = 0;
                rest
            }
            "same" if !exten.is_empty() => value,
            _ => return Err(not_an_extension()),
        };
        let (priority, application) = steps.split_once(',').ok_or_else(not_an_extension)?;
        let step = match priority.trim() {
            "hint" => Step::Hint(application.trim().to_owned()),
            priority => {
                let (number, label) = match priority.split_once('(') {
                    Some((number, label)) => {
                        (number, Some(label.strip_suffix(')').ok_or_else(not_an_extension)?.to_owned()))
                    }
                    None => (priority, None),
                };
                last = if number == "n" { last + 1 } else { number.parse().map_err(|_| not_an_extension())? };
                Step::Priority { number: last, label, application: with_parentheses(application.trim()) }
            }
        };
        let context = context.ok_or(Unreadable { line, reason: Reason::NoSection })?;
        let steps = contexts.entry(context.to_owned()).or_default().entry(exten.clone()).or_default();
        if steps.contains(&step) {
            return Err(Unreadable { line, reason: Reason::Twice(format!("a step of {exten:?}")) });
        }
        // Asterisk lists the hint first, wherever it stands in the file.
        let at = if matches!(step, Step::Hint(_)) { 0 } else { steps.len() };
        steps.insert(at, step);
    }
    Ok(contexts)
}

/// Asterisk lists an application without arguments as `Answer()`.
fn with_parentheses(application: &str) -> String {
    if application.ends_with(')') { application.to_owned() } else { format!("{application}()") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &str = "; head\n[t](!)\ntype=endpoint\ncontext=c\n[u](!)\ntype=auth\n[v](!)\ntype=aor\n\
        [1000](t)\nauth=1000-ab\naors=1000\n[1000-ab](u)\nusername=1000\n[1000](v)\n[marker-1]\ntype=aor\nmax_contacts=0\n";

    fn pjsip(text: &str) -> Result<Pjsip, String> {
        read_pjsip(text).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_read_through_templates_and_lone_aors_are_markers() {
        let Pjsip { endpoints, markers, .. } = pjsip(ENDPOINTS).unwrap();
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
        ] {
            let said = pjsip(text).unwrap_err();
            assert!(said.starts_with(error), "{said}");
        }
    }

    #[test]
    fn the_dialplan_is_read_as_asterisk_lists_it() {
        let text = "[c]\nexten => 1000,1,Goto(ring,${EXTEN},1)\nexten => 1000,hint,PJSIP/1000\n\
            [ring]\nexten => _1XXX,1,Answer\n same => n,Dial(x,30)\n same => n(out),Hangup(20)\n[empty]\n";
        let contexts = read_dialplan(text).unwrap();
        assert_eq!(contexts["c"]["1000"][0], Step::Hint("PJSIP/1000".to_owned()));
        let ring = &contexts["ring"]["_1XXX"];
        let step = |number, label: Option<&str>, application: &str| Step::Priority {
            number,
            label: label.map(str::to_owned),
            application: application.to_owned(),
        };
        assert_eq!(*ring, [step(1, None, "Answer()"), step(2, None, "Dial(x,30)"), step(3, Some("out"), "Hangup(20)")]);
        assert!(contexts["empty"].is_empty());
    }

    #[test]
    fn a_dialplan_that_cannot_be_proven_is_refused() {
        for text in [
            "exten => 1,1,A",
            "[c]\nsame => n,A",
            "[c]\nexten => 1",
            "[c]\nexten => 1,x,A",
            "[c]\ninclude => d",
            "[c]\nexten => 1,1,A\nexten => 1,1,A",
        ] {
            assert!(read_dialplan(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_tells_new_old_and_other_endpoints() {
        let read = |text: &str| Expected { endpoints: pjsip(text).unwrap().endpoints, ..Expected::default() };
        let former = read("[1]\ntype=endpoint\nauth=a\n[2]\ntype=endpoint\n[3]\ntype=endpoint\n");
        let now = read("[1]\ntype=endpoint\nauth=b\n[3]\ntype=endpoint\n[4]\ntype=endpoint\n");
        let Difference { added, removed, changed } = now.difference(&former);
        assert_eq!((added, removed, changed), (vec!["4".to_owned()], vec!["2".to_owned()], vec!["1".to_owned()]));
    }

    #[test]
    fn another_credential_makes_a_former_owner_and_another_name_of_the_auth_does_not() {
        let read = |text: &str| Expected::read(&Pair { endpoints: text.into(), dialplan: Vec::new() }).unwrap();
        let user = |number: u16, auth: &str, digest: &str| {
            format!(
                "[{number}]\ntype=endpoint\nauth={auth}\naors=aor-{number}\n[{auth}]\ntype=auth\npassword_digest=MD5:{digest}\n"
            )
        };
        let former = read(&(user(1, "1-a", "x") + &user(2, "2-a", "x") + &user(3, "3-a", "x")));
        let now = read(&(user(1, "1-b", "x") + &user(2, "2-b", "y") + &user(4, "4-a", "x")));
        let aors: Vec<_> = now.aors_of_former_owners(&former).into_iter().collect();
        assert_eq!(aors, ["aor-2", "aor-3"]);
        assert!(!format!("{former:?}").contains("MD5"));
    }

    #[test]
    fn the_error_names_the_file() {
        let pair = Pair { endpoints: b"x".to_vec(), dialplan: Vec::new() };
        assert!(
            Expected::read(&pair).unwrap_err().to_string().starts_with("the endpoints file cannot be proven: line 1")
        );
        let pair = Pair { endpoints: Vec::new(), dialplan: vec![0xff] };
        assert!(Expected::read(&pair).unwrap_err().to_string().starts_with("the dialplan file cannot be proven"));
    }
}
