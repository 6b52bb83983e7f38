//! What every acknowledged answer promised, kept apart from all that the portal keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::faults::soak::observed::{Row, Users};

/// One change of a round: what was sent, when, and what came of it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) what: String,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Whether it was acknowledged; otherwise it may have been made, or be made yet.
    pub(crate) is_certain: bool,
    pub(crate) effects: Vec<Effect>,
}

#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// This user is there, and looks so.
    There(Row),
    /// This user is gone, and the number is free.
    Gone { id: String, extension: u16 },
    /// A user with this address may be there, of whom nothing else is known.
    Unknown { email: String },
}

/// When the database lost what it had acknowledged since another moment, and what it holds since then.
#[derive(Debug)]
pub(crate) struct Rewind {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) to: Users,
}

/// What the users may be after a round.
#[derive(Debug, Default)]
struct Expected {
    certain: Users,
    /// Those of whom something is uncertain, and whether they may be absent.
    maybe: BTreeMap<String, bool>,
    unknown: BTreeSet<String>,
}

impl Expected {
    fn after(start: &Users, events: &[Event], rewind: Option<&Rewind>) -> Self {
        let mut expected = Self { certain: rewind.map_or(start, |rewind| &rewind.to).clone(), ..Self::default() };
        for event in events {
            let (is_lost, is_torn) =
                rewind.map_or((false, false), |rewind| (event.ended < rewind.began, event.began <= rewind.ended));
            if is_lost && event.is_certain {
                continue;
            }
            for effect in &event.effects {
                expected.take(effect, event.is_certain && !is_torn);
            }
        }
        expected
    }

    fn take(&mut self, effect: &Effect, is_certain: bool) {
        match (effect, is_certain) {
            (Effect::There(row), true) => {
                self.certain.insert(row.id.clone(), row.clone());
            }
            (Effect::Gone { id, .. }, true) => {
                self.certain.remove(id);
            }
            (Effect::There(row), false) => {
                let was_there = self.certain.contains_key(&row.id);
                *self.maybe.entry(row.id.clone()).or_default() |= !was_there;
            }
            (Effect::Gone { id, .. }, false) => {
                self.maybe.insert(id.clone(), true);
            }
            (Effect::Unknown { email }, _) => {
                self.unknown.insert(email.clone());
            }
        }
    }
}

/// What is wrong with these users after these events.
pub(crate) fn broken_promises(start: &Users, events: &[Event], rewind: Option<&Rewind>, found: &Users) -> Vec<String> {
    let expected = Expected::after(start, events, rewind);
    let mut wrong = Vec::new();
    for (id, row) in &expected.certain {
        match (found.get(id), expected.maybe.get(id)) {
            (Some(found), None) if !found.is(row) => wrong.push(format!("{row:?} is promised, and {found:?} is there")),
            (None, None | Some(false)) => wrong.push(format!("{row:?} is promised, and not there")),
            _ => {}
        }
    }
    for (id, row) in found {
        let may_be = expected.certain.contains_key(id)
            || expected.maybe.contains_key(id)
            || expected.unknown.contains(&row.email);
        if !may_be {
            wrong.push(format!("{row:?} is there, whom nobody promised"));
        }
    }
    wrong
}

/// What may have changed since `moment`: users, and numbers. Nothing where a number is not known.
pub(crate) fn touched_since(events: &[Event], moment: Instant) -> Option<(BTreeSet<String>, BTreeSet<u16>)> {
    let (mut ids, mut extensions) = (BTreeSet::new(), BTreeSet::new());
    for event in events.iter().filter(|event| !event.is_certain || event.ended >= moment) {
        for effect in &event.effects {
            match effect {
                Effect::There(row) => {
                    ids.insert(row.id.clone());
                    extensions.insert(row.extension);
                }
                Effect::Gone { id, extension } => {
                    ids.insert(id.clone());
                    extensions.insert(*extension);
                }
                Effect::Unknown { .. } => return None,
            }
        }
    }
    Some((ids, extensions))
}
