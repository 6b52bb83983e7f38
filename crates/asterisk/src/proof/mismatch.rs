//! The differences that verification found, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::text::expected::{Endpoint, Extens, Step};

/// The differences between what must be live and what is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// Objects that are not live.
    pub missing: Vec<String>,
    /// Objects that are live with other content.
    pub different: Vec<String>,
    /// Objects of the former files that are still live.
    pub stale: Vec<String>,
    /// Objects that the administrator's own configuration defines too.
    pub conflicts: Vec<String>,
    /// Where Asterisk has the extensions from that are not as they are to be, or take calls to one of ours: of each
    /// `1000@context`, and `extensions.conf:7` or `res_parking`.
    pub(crate) origins: BTreeSet<(String, String)>,
    /// The aors of endpoints that are live for somebody else: they ask for another credential.
    pub(crate) others_aors: BTreeSet<String>,
}

impl Mismatch {
    /// Somebody wrote one of the files while they were verified.
    pub(crate) fn of_files() -> Self {
        Self { different: vec!["the include files, which somebody changed meanwhile".to_owned()], ..Self::default() }
    }

    pub(crate) fn endpoint(&mut self, name: &str, wanted: &Endpoint, live: &Endpoint) {
        let before = self.missing.len();
        let mut missing = |kind: &str, wanted: &BTreeSet<String>, live: &BTreeSet<String>| {
            self.missing.extend(wanted.difference(live).map(|object| format!("{kind} {object} of endpoint {name}")));
        };
        missing("aor", &wanted.aors, &live.aors);
        missing("identify", &wanted.identifies, &live.identifies);
        missing("outbound auth", &wanted.outbound_auths, &live.outbound_auths);
        if live.auths.is_empty() {
            missing("auth", &wanted.auths, &live.auths);
        }
        if self.missing.len() == before {
            self.different.push(format!("endpoint {name}"));
        }
    }

    pub(crate) fn context(&mut self, context: &str, wanted: &Extens, live: &BTreeMap<String, Vec<(Step, String)>>) {
        for (exten, steps) in wanted {
            let Some(found) = live.get(exten) else {
                self.missing.push(format!("extension {exten}@{context}"));
                continue;
            };
            if same_steps(steps, found) {
                continue;
            }
            let others = found.iter().filter(|(step, _)| !steps.contains(step));
            self.origins.extend(others.map(|(_, origin)| (format!("{exten}@{context}"), origin.clone())));
            let origins: BTreeSet<_> =
                found.iter().map(|(_, origin)| origin.split(':').next().unwrap_or_default()).collect();
            match found.iter().find(|(step, _)| !steps.contains(step)) {
                Some((_, origin)) if origins.len() > 1 => {
                    self.conflicts.push(format!("extension {exten}@{context} is also defined in {origin}"));
                }
                Some((_, origin)) => self.different.push(format!("extension {exten}@{context} (read from {origin})")),
                None => self.missing.push(format!("a step of extension {exten}@{context}")),
            }
        }
    }
}

/// Whether an extension is live as it was written.
pub(crate) fn same_steps(wanted: &[Step], live: &[(Step, String)]) -> bool {
    wanted.iter().eq(live.iter().map(|(step, _)| step))
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("defined twice", &self.conflicts),
            ("not live", &self.missing),
            ("live with other content", &self.different),
            ("still live", &self.stale),
        ];
        let found = all.iter().filter(|(_, names)| !names.is_empty());
        let found: Vec<_> = found.map(|(what, names)| format!("{what}: {}", Names(names))).collect();
        if found.is_empty() { f.write_str("no difference") } else { f.write_str(&found.join("; ")) }
    }
}

/// At most twenty names, then how many more there are.
pub(crate) struct Names<'a>(pub(crate) &'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 20;
        f.write_str(&self.0[..self.0.len().min(MOST)].join(", "))?;
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_each_difference_with_its_kind() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mismatch = Mismatch { missing: names(&["a", "b"]), stale: names(&["c"]), ..Mismatch::default() };
        assert_eq!(mismatch.to_string(), "not live: a, b; still live: c");
        assert_eq!(Mismatch::default().to_string(), "no difference");
    }

    #[test]
    fn an_extension_of_one_file_is_different_and_no_conflict() {
        let step = |application: &str| Step::Priority { number: 1, label: None, application: application.to_owned() };
        let wanted = BTreeMap::from([("1".to_owned(), vec![step("A()")])]);
        let live = BTreeMap::from([("1".to_owned(), vec![(step("B()"), "x.conf:1".to_owned())])]);
        let mut mismatch = Mismatch::default();
        mismatch.context("c", &wanted, &live);
        let different = vec!["extension 1@c (read from x.conf:1)".to_owned()];
        let origins = BTreeSet::from([("1@c".to_owned(), "x.conf:1".to_owned())]);
        assert_eq!(mismatch, Mismatch { different, origins, ..Mismatch::default() });
    }

    #[test]
    fn a_report_names_at_most_twenty() {
        let mismatch = Mismatch { missing: (0..23).map(|n| n.to_string()).collect(), ..Mismatch::default() };
        assert!(mismatch.to_string().ends_with("18, 19 and 3 more"), "{mismatch}");
    }
}
