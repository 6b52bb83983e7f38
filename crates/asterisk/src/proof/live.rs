//! What Asterisk runs, read back and compared with what it must run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::ask::whole_answers::{Unread, ask_whole};
use crate::proof::admin_sections::AdminSection;
use crate::proof::mismatch::{Mismatch, same_steps};
use crate::text::expected::{Endpoint, Expected, Kind, Standalone, Step};
use crate::text::shown::Options;
use crate::text::{dialplan_listing, listing};

/// What Asterisk runs of that which concerns a proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Live {
    endpoints: BTreeMap<String, Endpoint>,
    standalone: Standalone,
    contexts: BTreeMap<String, BTreeMap<String, Vec<(Step, String)>>>,
    /// Of each object that is asked for by name, its options.
    shown: BTreeMap<(Kind, String), Options>,
}

impl Live {
    /// Reads back all that `wanted` names or `former` named, with a number of questions that
    /// depends on their contexts and kinds alone.
    pub(crate) fn read(cli: &Cli, wanted: &Expected, former: &Expected, deadline: Instant) -> Result<Self, Unread> {
        // The answer that takes longest is asked for first.
        let mut questions = vec![("pjsip show endpoints".to_owned(), Question::Endpoints)];
        let names: BTreeSet<_> = wanted.contexts.keys().chain(former.contexts.keys()).collect();
        questions.extend(names.into_iter().map(|name| (format!("dialplan show {name}"), Question::Context(name))));
        let gone_auth = wanted.gone_auth(former);
        for kind in Kind::ALL {
            let both = wanted.standalone.iter().chain(&former.standalone).chain(&gone_auth);
            if let Some(prefix) = common_prefix(both.filter(|(of, _)| *of == kind).map(|(_, name)| name)) {
                questions.push((format!("pjsip list {kind}s like ^{prefix}"), Question::Standalone(kind)));
            }
        }
        for object @ (kind, name) in wanted.shown.keys() {
            questions.push((format!("pjsip show {kind} {name}"), Question::Object(object)));
        }
        let mut live = Self::default();
        ask_whole(cli, questions, deadline, |question, answer| {
            match *question {
                Question::Endpoints => live.endpoints = listing::endpoints(answer)?,
                Question::Standalone(kind) => live.standalone.extend(listing::names(kind, answer)?),
                Question::Context(name) => {
                    let extens = dialplan_listing::context(answer, name)?;
                    live.contexts.extend(extens.map(|extens| (name.clone(), extens)));
                }
                Question::Object(object) => {
                    let options = Options::read(answer, &object.1)?;
                    live.shown.extend(options.map(|options| (object.clone(), options)));
                }
            }
            Ok(())
        })?;
        Ok(live)
    }

    /// What these answers say: of all endpoints, of the markers, and of each context.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of(endpoints: &str, markers: &str, contexts: &[(String, String)]) -> Result<Self, &'static str> {
        let context = |(name, answer): &(String, String)| {
            dialplan_listing::context(answer, name).map(|read| read.map(|read| (name.clone(), read))).transpose()
        };
        Ok(Self {
            endpoints: listing::endpoints(endpoints)?,
            standalone: listing::names(Kind::Aor, markers)?,
            contexts: contexts.iter().filter_map(context).collect::<Result<_, _>>()?,
            shown: BTreeMap::new(),
        })
    }

    /// Compares the live state with what is `wanted`: all of it must be there, and nothing that
    /// only `former` had. What is live besides, if so. `is_administrators` is asked of an endpoint that has a former one's
    /// name and nothing to recognize it by.
    pub(crate) fn compare(
        &self,
        wanted: &Expected,
        former: &Expected,
        is_administrators: impl Fn(&str) -> bool,
    ) -> Result<Foreign, Box<Mismatch>> {
        let (mut mismatch, mut foreign) = (Mismatch::default(), Foreign::default());
        let credentials = |endpoint: &Endpoint| -> Vec<Option<u64>> {
            let of = |auth| wanted.credentials.get(auth).or_else(|| former.credentials.get(auth)).copied();
            endpoint.auths.iter().map(of).collect()
        };
        for (name, endpoint) in &wanted.endpoints {
            match self.endpoints.get(name) {
                None => mismatch.missing.push(format!("endpoint {name}")),
                // The name of its auth holds a digest of all its settings: the same auth is the same endpoint.
                Some(live) if endpoint.is_in(live) => {}
                Some(live) => {
                    mismatch.endpoint(name, endpoint, live);
                    if !live.auths.is_empty() && credentials(live) != credentials(endpoint) {
                        mismatch.others_aors.extend(endpoint.aors.iter().cloned());
                    }
                }
            }
        }
        for (kind, name) in wanted.standalone.difference(&self.standalone) {
            mismatch.missing.push(format!("{kind} {name}"));
        }
        for (object, options) in &wanted.shown {
            let (kind, name) = object;
            let differences = match self.shown.get(object) {
                Some(live) => options.differences(former.shown.get(object), live),
                // Said above already, as missing.
                None if wanted.standalone.contains(object) && !self.standalone.contains(object) => Vec::new(),
                None => vec!["Asterisk shows none".to_owned()],
            };
            mismatch.different.extend(differences.into_iter().map(|other| format!("{kind} {name}: {other}")));
        }
        for (context, extens) in &wanted.contexts {
            match self.contexts.get(context) {
                None => mismatch.missing.push(format!("context {context}")),
                Some(live) => mismatch.context(context, extens, live),
            }
        }
        // Endpoints that nobody wants: one of a deleted user is a failure, a trunk of the administrator's is not ours to judge.
        for (name, live) in self.endpoints.iter().filter(|(name, _)| !wanted.endpoints.contains_key(*name)) {
            let is_former = former.endpoints.get(name).is_some_and(|former| {
                // Without its auth it may be a former one that lost it, or the administrator's.
                !live.auths.is_disjoint(&former.auths) || (live.auths.is_empty() && !is_administrators(name))
            });
            if is_former {
                mismatch.stale.push(format!("endpoint {name}"));
            } else {
                foreign.endpoints.push(name.clone());
            }
        }
        // An endpoint that stays may have lost an identify: its former addresses would still be let in.
        for (name, former) in &former.endpoints {
            if let (Some(wanted), Some(live)) = (wanted.endpoints.get(name), self.endpoints.get(name)) {
                let gone = former.identifies.difference(&wanted.identifies);
                let stale = gone.filter(|identify| live.identifies.contains(*identify));
                mismatch.stale.extend(stale.map(|identify| format!("identify {identify} of endpoint {name}")));
            }
        }
        // An object without an endpoint before may belong to one now.
        let stale = former.standalone.iter().filter(|object| former.defines(object) && !wanted.has(object));
        let gone_auth = wanted.gone_auth(former);
        for (kind, name) in stale.chain(&gone_auth).filter(|object| self.standalone.contains(*object)) {
            mismatch.stale.push(format!("{kind} {name}"));
        }
        // Extensions that nobody wants, by their steps: 1000 of a deleted user, or the administrator's own 1000, which he
        // wrote into a context of ours; a hint alone takes no call. `Mismatch::context` reports further steps of a wanted
        // extension.
        for (context, extens) in &self.contexts {
            for (exten, steps) in extens.iter().filter(|(exten, _)| wanted.steps(context, exten).is_none()) {
                if former.steps(context, exten).is_some_and(|former| same_steps(former, steps)) {
                    mismatch.stale.push(format!("extension {exten}@{context}"));
                } else if wanted.has_number(exten) {
                    let Some((_, origin)) = steps.iter().find(|(step, _)| !matches!(step, Step::Hint(_))) else {
                        continue;
                    };
                    let origins = steps.iter().map(|(_, origin)| (format!("{exten}@{context}"), origin.clone()));
                    mismatch.origins.extend(origins);
                    let file = origin.split(':').next().unwrap_or_default();
                    mismatch
                        .conflicts
                        .push(format!("extension {exten}@{context} in {file} takes calls to one of ours"));
                } else {
                    foreign.extens.push((exten.clone(), context.clone()));
                }
            }
        }
        if mismatch == Mismatch::default() { Ok(foreign) } else { Err(Box::new(mismatch)) }
    }
}

/// What is live and not ours to judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Foreign {
    /// Endpoints, by name, that the administrator's own configuration defines.
    pub endpoints: Vec<String>,
    /// Extensions, each with its context, that the administrator's own dialplan adds to a
    /// context of ours; and lines such as `include => other`.
    pub extens: Vec<(String, String)>,
    /// Sections that add to objects of ours, as far as the administrator's files can be read. What they change no
    /// listing shows.
    pub added: Vec<AdminSection>,
    /// Aors that the administrator's files define, as far as they can be read: none of ours may have the name of one.
    pub aors: Vec<AdminSection>,
    /// Lines of `sorcery.conf` by which Asterisk lets phones in by what it read before a reload, each with its place.
    pub caches: Vec<String>,
    /// Lines of `sorcery.conf` by which Asterisk keeps contacts elsewhere than where a former owner's are removed, each
    /// with its place.
    pub contacts: Vec<String>,
}

/// What is asked of Asterisk.
enum Question<'a> {
    Endpoints,
    Standalone(Kind),
    Context(&'a String),
    Object(&'a (Kind, String)),
}

/// What the names have in common up to a `-`: one listing of that finds them all, and what is
/// stale of their kind, at a fraction of the cost of listing every aor.
fn common_prefix<'a>(names: impl Iterator<Item = &'a String>) -> Option<String> {
    let mut names = names.map(String::as_str);
    let first = names.next()?;
    let common = names.fold(first.len(), |common, name| {
        common.min(first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count())
    });
    let common = first.get(..common).unwrap_or_default();
    let end = common.rfind('-').map_or(0, |dash| dash + 1);
    // `like` takes a regular expression: only names whose characters mean themselves there.
    Some(common[..end].chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect())
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::text::expected::Context;
    use crate::text::pair::Pair;

    fn expected(endpoints: &str, dialplan: &str) -> Expected {
        Expected::read(&Pair { endpoints: endpoints.into(), dialplan: dialplan.into() }).unwrap()
    }

    fn live_as(expected: &Expected, origin: &str) -> Live {
        let live_context = |extens: &Context| {
            extens
                .iter()
                .map(|(name, steps)| (name.clone(), steps.iter().map(|s| (s.clone(), origin.to_owned())).collect()))
                .collect()
        };
        Live {
            endpoints: expected.endpoints.clone(),
            standalone: expected.standalone.clone(),
            contexts: expected.contexts.iter().map(|(name, extens)| (name.clone(), live_context(extens))).collect(),
            shown: expected.shown.clone(),
        }
    }

    fn one() -> Expected {
        expected(
            "[1000]\ntype=endpoint\nauth=1000-a\naors=1000\n[1000-a]\ntype=auth\n[1000]\ntype=aor\n[m-1]\ntype=aor",
            "[c]\nexten => 1000,1,Answer()",
        )
    }

    #[test]
    fn what_is_as_it_is_to_be_matches() {
        assert!(live_as(&one(), "ours.conf:1").compare(&one(), &Expected::default(), |_| false).is_ok());
    }

    #[test]
    fn that_auths_were_read_is_shown_by_a_new_one_or_by_one_that_went() {
        let user = |number: &str| {
            format!(
                "[{number}]\ntype=endpoint\nauth={number}-a\naors={number}\n[{number}-a]\ntype=auth\n[{number}]\ntype=aor\n"
            )
        };
        let of = |numbers: &[&str]| expected(&numbers.iter().map(|number| user(number)).collect::<String>(), "");
        let (one, two, other) = (of(&["1"]), of(&["1", "2"]), of(&["1", "3"]));
        let gone = Some((Kind::Auth, "2-a".to_owned()));
        assert_eq!(one.gone_auth(&two), gone);
        assert_eq!([two.gone_auth(&two), two.gone_auth(&one), other.gone_auth(&two)], [None, None, None]);
        let mut live = live_as(&one, "ours.conf:1");
        assert!(live.compare(&one, &two, |_| false).is_ok());
        live.standalone.extend(gone);
        assert_eq!(live.compare(&one, &two, |_| false).unwrap_err().stale, ["auth 2-a"]);
    }

    #[test]
    fn each_lost_object_is_named() {
        let nothing = Live::default().compare(&one(), &Expected::default(), |_| false).unwrap_err();
        assert_eq!(nothing.missing, ["endpoint 1000", "aor m-1", "context c"]);

        let mut live = live_as(&one(), "ours.conf:1");
        live.endpoints.get_mut("1000").unwrap().auths.clear();
        live.endpoints.get_mut("1000").unwrap().aors.clear();
        let mismatch = live.compare(&one(), &Expected::default(), |_| false).unwrap_err();
        assert_eq!(mismatch.missing, ["aor 1000 of endpoint 1000", "auth 1000-a of endpoint 1000"]);
    }

    #[test]
    fn an_endpoint_that_kept_its_old_settings_is_different() {
        let mut live = live_as(&one(), "ours.conf:1");
        live.endpoints.get_mut("1000").unwrap().auths = BTreeSet::from(["1000-old".to_owned()]);
        assert_eq!(live.compare(&one(), &Expected::default(), |_| false).unwrap_err().different, ["endpoint 1000"]);
    }

    #[test]
    fn what_only_the_former_files_had_is_stale() {
        let former = expected(
            "[1001]\ntype=endpoint\naors=1001\n[1001]\ntype=aor\n[m-0]\ntype=aor",
            "[c]\nexten => 1001,1,Answer()",
        );
        let mut live = live_as(&one(), "ours.conf:1");
        let old = live_as(&former, "ours.conf:1");
        live.endpoints.extend(old.endpoints);
        live.standalone.extend(old.standalone);
        live.contexts.get_mut("c").unwrap().extend(old.contexts["c"].clone());
        let mismatch = live.compare(&one(), &former, |_| false).unwrap_err();
        assert_eq!(mismatch.stale, ["endpoint 1001", "aor m-0", "extension 1001@c"]);
        let foreign = live.compare(&one(), &Expected::default(), |_| false).unwrap();
        assert_eq!(foreign.endpoints, ["1001"]);
        assert_eq!(foreign.extens, [("1001".to_owned(), "c".to_owned())]);
    }

    #[test]
    fn what_stood_alone_and_is_an_endpoints_now_is_not_stale() {
        let named = expected("[a]\ntype=endpoint\naors=b\noutbound_auth=c\n[b]\ntype=aor\n[c]\ntype=auth", "");
        let standalone = expected("[a]\ntype=endpoint\n[b]\ntype=aor\n[c]\ntype=auth", "");
        let mut live = live_as(&named, "");
        live.standalone = standalone.standalone.clone();
        assert!(live.compare(&named, &standalone, |_| false).is_ok());
        let without = expected("[a]\ntype=endpoint", "");
        live.endpoints = without.endpoints.clone();
        assert_eq!(live.compare(&without, &standalone, |_| false).unwrap_err().stale, ["aor b", "auth c"]);
    }

    #[test]
    fn an_identify_is_missed_and_the_administrators_own_is_not() {
        let identify = |name: &str| expected(&format!("[a]\ntype=endpoint\n[{name}]\ntype=identify\nendpoint=a"), "");
        let (one, two) = (identify("one"), identify("two"));
        let mut live = live_as(&one, "");
        assert_eq!(live.compare(&two, &one, |_| false).unwrap_err().missing, ["identify two of endpoint a"]);
        let mut identified_by = |name: &str| {
            live.endpoints.get_mut("a").unwrap().identifies.insert(name.to_owned());
            live.compare(&two, &one, |_| false).unwrap_err().stale
        };
        assert_eq!(identified_by("two"), ["identify one of endpoint a"]);
        live.endpoints = two.endpoints.clone();
        live.endpoints.get_mut("a").unwrap().identifies.insert("his".to_owned());
        assert!(live.compare(&two, &one, |_| false).is_ok());
    }

    #[test]
    fn a_former_users_number_may_become_the_administrators_own() {
        let former =
            expected("[1001]\ntype=endpoint\nauth=1001-a\n[1001-a]\ntype=auth", "[c]\nexten => 1001,1,Answer()");
        let with = |auths: &[&str]| {
            let mut live = live_as(&one(), "ours.conf:1");
            let auths = auths.iter().map(|auth| (*auth).to_owned()).collect();
            live.endpoints.insert("1001".to_owned(), Endpoint { auths, ..Endpoint::default() });
            live
        };
        let is_stale = |auths: &[&str], is_administrators| {
            let compared = with(auths).compare(&one(), &former, |_| is_administrators);
            compared.is_err_and(|mismatch| !mismatch.stale.is_empty())
        };
        assert!(is_stale(&["1001-a"], true), "it has our auth");
        assert!(!is_stale(&["his"], false), "it has another auth");
        assert!(is_stale(&[], false), "it has lost its auth");
        assert!(!is_stale(&[], true), "his configuration defines it");
        let mut live = live_as(&one(), "ours.conf:1");
        live.contexts
            .get_mut("c")
            .unwrap()
            .insert("1001".to_owned(), vec![(Step::Hint("SIP/his".to_owned()), "extensions.conf:2".to_owned())]);
        assert_eq!(live.compare(&one(), &former, |_| false).unwrap().extens.len(), 1);
    }

    #[test]
    fn an_extension_that_others_define_too_is_a_conflict() {
        let mut live = live_as(&one(), "ours.conf:1");
        let steps = live.contexts.get_mut("c").unwrap().get_mut("1000").unwrap();
        steps.push((
            Step::Priority { number: 2, label: None, application: "Hangup()".to_owned() },
            "extensions.conf:7".to_owned(),
        ));
        let mismatch = live.compare(&one(), &Expected::default(), |_| false).unwrap_err();
        assert_eq!(mismatch.conflicts, ["extension 1000@c is also defined in extensions.conf:7"]);
    }

    #[test]
    fn an_object_that_is_asked_for_by_name_and_not_shown_is_missing_or_different() {
        let wanted = expected("[r]\ntype=registration\nclient_uri=sip:1@192.0.2.1\n", "");
        let found = |live: &Live, wanted: &Expected| {
            let compared = live.compare(wanted, &Expected::default(), |_| false);
            let Mismatch { missing, different, .. } = *compared.err().unwrap_or_default();
            (missing.join("; "), different.join("; "))
        };
        let mut live = live_as(&wanted, "ours:1");
        assert_eq!(found(&live, &wanted), (String::new(), String::new()));
        live.shown.clear();
        assert_eq!(found(&live, &wanted), (String::new(), "registration r: Asterisk shows none".to_owned()));
        live.standalone.clear();
        assert_eq!(found(&live, &wanted), ("registration r".to_owned(), String::new()));
        // The aor of an endpoint stands not alone.
        let of_endpoint = Expected {
            shown: BTreeMap::from([((Kind::Aor, "1000".to_owned()), Options::default())]),
            ..expected("[1000]\ntype=endpoint\naors=1000\n[1000]\ntype=aor\n", "")
        };
        let live = Live { shown: BTreeMap::new(), ..live_as(&of_endpoint, "ours:1") };
        assert_eq!(found(&live, &of_endpoint), (String::new(), "aor 1000: Asterisk shows none".to_owned()));
    }

    #[test]
    fn one_pattern_finds_markers_of_either_generation() {
        let prefix = |names: &[&str]| common_prefix(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>().iter());
        assert_eq!(
            prefix(&["synergycall-generation-8f3a", "synergycall-generation-8fff"]).as_deref(),
            Some("synergycall-generation-")
        );
        assert_eq!(prefix(&["synergycall-generation-8f3a"]).as_deref(), Some("synergycall-generation-"));
        assert_eq!(prefix(&["a.b", "c"]).as_deref(), Some(""));
        assert_eq!(prefix(&[]), None);
    }
}
