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

    /// What the contexts of `wanted` will hold once Asterisk has read them: beside theirs, what other modules hold there, as
    /// `is_others` says by its origin, but for the steps that they have, too.
    pub(crate) fn with_contexts(mut self, wanted: &Expected, is_others: impl Fn(&str) -> bool) -> Self {
        for (context, extens) in &wanted.contexts {
            let live = self.contexts.entry(context.clone()).or_default();
            for found in live.values_mut() {
                found.retain(|(_, origin)| is_others(origin));
            }
            live.retain(|_, found| !found.is_empty());
            for (exten, steps) in extens {
                let mut others = live.remove(exten).unwrap_or_default();
                others.retain(|(other, _)| steps.iter().all(|step| step.place() != other.place()));
                let ours = steps.iter().map(|step| (step.clone(), String::new()));
                live.insert(exten.clone(), ours.chain(others).collect());
            }
        }
        self
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
        foreign.endpoints = self.compare_endpoints(wanted, former, is_administrators, &mut mismatch);
        self.compare_objects(wanted, former, &mut mismatch);
        foreign.extens = self.compare_contexts(wanted, former, &mut mismatch);
        if mismatch == Mismatch::default() { Ok(foreign) } else { Err(Box::new(mismatch)) }
    }

    /// Returns the endpoints that are not ours to judge.
    fn compare_endpoints(
        &self,
        wanted: &Expected,
        former: &Expected,
        is_administrators: impl Fn(&str) -> bool,
        mismatch: &mut Mismatch,
    ) -> Vec<String> {
        let credentials = |endpoint: &Endpoint| -> Vec<Option<u64>> {
            let of = |auth| wanted.credentials.get(auth).or_else(|| former.credentials.get(auth)).copied();
            endpoint.auths.iter().map(of).collect()
        };
        for (name, endpoint) in &wanted.endpoints {
            let Some(live) = self.endpoints.get(name) else {
                mismatch.missing.push(format!("endpoint {name}"));
                continue;
            };
            // The name of its auth holds a digest of all its settings: the same auth is the same endpoint.
            if !endpoint.is_in(live) {
                mismatch.endpoint(name, endpoint, live);
                if !live.auths.is_empty() && credentials(live) != credentials(endpoint) {
                    mismatch.others_aors.extend(endpoint.aors.iter().cloned());
                }
            }
        }
        // Endpoints that nobody wants: one of a deleted user is a failure, a trunk of the administrator's is not ours to judge.
        let (stale, foreign): (Vec<_>, Vec<_>) =
            self.endpoints.iter().filter(|(name, _)| !wanted.endpoints.contains_key(*name)).partition(
                |(name, live)| {
                    former.endpoints.get(*name).is_some_and(|former| {
                        // Without its auth it may be a former one that lost it, or the administrator's.
                        !live.auths.is_disjoint(&former.auths) || (live.auths.is_empty() && !is_administrators(name))
                    })
                },
            );
        mismatch.stale.extend(stale.into_iter().map(|(name, _)| format!("endpoint {name}")));
        // An endpoint that stays may have lost an identify: its former addresses would still be let in.
        for (name, former) in &former.endpoints {
            if let (Some(wanted), Some(live)) = (wanted.endpoints.get(name), self.endpoints.get(name)) {
                let gone = former.identifies.difference(&wanted.identifies);
                let stale = gone.filter(|identify| live.identifies.contains(*identify));
                mismatch.stale.extend(stale.map(|identify| format!("identify {identify} of endpoint {name}")));
            }
        }
        foreign.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Objects that stand alone, and those that are asked for by name.
    fn compare_objects(&self, wanted: &Expected, former: &Expected, mismatch: &mut Mismatch) {
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
        // An object without an endpoint before may belong to one now.
        let stale = former.standalone.iter().filter(|object| former.defines(object) && !wanted.has(object));
        let gone_auth = wanted.gone_auth(former);
        for (kind, name) in stale.chain(&gone_auth).filter(|object| self.standalone.contains(*object)) {
            mismatch.stale.push(format!("{kind} {name}"));
        }
    }

    /// Returns the extensions, with their contexts, that are not ours to judge.
    fn compare_contexts(&self, wanted: &Expected, former: &Expected, mismatch: &mut Mismatch) -> Vec<(String, String)> {
        for (context, extens) in &wanted.contexts {
            match self.contexts.get(context) {
                None => mismatch.missing.push(format!("context {context}")),
                Some(live) => mismatch.context(context, extens, live),
            }
        }
        let mut foreign = Vec::new();
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
                    let taken = format!("extension {exten}@{context} in {file} takes calls to one of ours");
                    mismatch.conflicts.push(taken);
                } else {
                    foreign.push((exten.clone(), context.clone()));
                }
            }
        }
        foreign
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
mod tests;
