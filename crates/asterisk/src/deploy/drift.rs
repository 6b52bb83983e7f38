//! Whether disk and Asterisk still are as they were proven.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::deploy::deployment::Deployment;
use crate::deploy::error::Cause;
use crate::files::{file, state_dir};
use crate::proof::diagnosis;
use crate::proof::live::Foreign;
use crate::text::expected::Expected;

/// How disk and Asterisk stand against the pair last proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// What differs, or could not be read, one sentence each; nothing where all is as it was proven.
    pub problems: Vec<String>,
    /// Extensions of the administrator's that take the place of ours, which no deployment changes: each as `1000@context`,
    /// and where Asterisk has it from (`extensions.conf:7`, `res_parking`).
    pub conflicts: BTreeSet<(String, String)>,
    /// Aors at which a former owner's phone may still be registered: the next deployment tries again to remove it.
    pub unpurged: BTreeSet<String>,
    /// What is live besides, where all is as it was proven. Nothing where the include files hold what was never proven.
    pub foreign: Foreign,
}

impl Deployment {
    /// What differs between the pair last proven and both the disk and what Asterisk runs, as far as it can be read until
    /// `deadline`. Changes nothing, and waits for no lock: during a deployment it may report what is half done, unless the
    /// caller has the lock.
    #[must_use]
    pub fn drift(&self, deadline: Instant) -> Drift {
        let (proven, unpurged) = match state_dir::read_record(&self.state.proven()) {
            Ok(proven) => proven.map(|record| (record.pair, record.unpurged)).unzip(),
            Err(error) => return Drift { problems: vec![error.to_string()], ..Drift::default() },
        };
        let files = &self.files;
        let mut drift = Drift { unpurged: unpurged.unwrap_or_default(), ..Drift::default() };
        let problems = &mut drift.problems;
        let expected = if let Some(pair) = &proven {
            for (path, proven) in [(&files.endpoints, &pair.endpoints), (&files.dialplan, &pair.dialplan)] {
                match file::read(path) {
                    Ok(Some(content)) if content == *proven => {}
                    Ok(Some(_)) => problems.push(format!("{} was changed since it was applied", path.display())),
                    Ok(None) => problems.push(format!("{} is gone", path.display())),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            self.expected(pair)
        } else {
            match files.read() {
                Ok(pair) if Expected::read(&pair) == Ok(Expected::default()) => {}
                Ok(_) => problems.push("the include files hold what was never applied on this node".to_owned()),
                Err(error) => problems.push(error.to_string()),
            }
            Ok(Arc::default())
        };
        let verified =
            expected.map_err(Cause::from).and_then(|expected| self.verify(&expected, &Expected::default(), deadline));
        match verified {
            // Nothing says whose the users in the include files are: none is called the administrator's.
            Ok(_) if proven.is_none() && !problems.is_empty() => {}
            Ok(foreign) => {
                drift.foreign = foreign;
                let endpoints = proven.as_ref().map(|pair| pair.endpoints.as_slice()).unwrap_or_default();
                diagnosis::look_into_admin_files(&self.cli, files, endpoints, deadline, &mut drift.foreign);
            }
            Err(Cause::NotProven(mismatch)) => {
                let conflicts = mismatch.origins.iter().filter(|(_, origin)| !files.is_dialplan(origin));
                drift.conflicts = conflicts.cloned().collect();
                problems.push(format!("Asterisk does not run what was applied: {mismatch}"));
            }
            Err(error) => problems.push(error.to_string()),
        }
        drift
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files as an administrator would")]
mod tests {
    use std::fs;

    use super::*;
    use crate::deploy::deployment::tests::soon;
    use crate::deploy::tests::{Host, users};
    use crate::text::pair::Pair;

    #[test]
    fn drift_is_what_is_not_as_it_was_proven() {
        let one = users(&[("1", "x")]);
        let host = Host::new();
        host.answering(
            r#"'pjsip show endpoints') endpoints | sed '$d'
echo " Endpoint:  trunk"; echo "Objects found: $(($(grep -c =endpoint live) + 1))" ;;"#,
        );
        let drift = || {
            let Drift { problems, conflicts, foreign, .. } = host.deployment.drift(soon());
            assert_eq!(conflicts, BTreeSet::new());
            (problems.join("; ").replace(&host.at("").display().to_string(), ""), foreign.endpoints.concat())
        };
        let is = |problems: &str, foreign: &str| (problems.to_owned(), foreign.to_owned());
        assert_eq!(drift(), is("", "trunk"));
        fs::write(host.at("p.conf"), &one.endpoints).unwrap();
        assert_eq!(drift(), is("the include files hold what was never applied on this node", ""));
        fs::remove_file(host.at("p.conf")).unwrap();
        host.lock().deploy(&one, "", soon()).unwrap();
        assert_eq!(drift(), is("", "trunk"));
        fs::write(host.at("p.conf"), "").unwrap();
        assert_eq!(drift(), is("p.conf was changed since it was applied", "trunk"));
        fs::remove_file(host.at("p.conf")).unwrap();
        fs::remove_file(host.at("e.conf")).unwrap();
        assert_eq!(drift(), is("p.conf is gone; e.conf is gone", "trunk"));
        host.lock().deploy(&one, "", soon()).unwrap();
        fs::write(host.at("live"), "").unwrap();
        assert_eq!(drift(), is("Asterisk does not run what was applied: not live: endpoint 1, aor m-1x", ""));
        fs::write(host.deployment.state.proven(), "").unwrap();
        let damaged = host.deployment.drift(soon()).problems.concat();
        assert!(damaged.contains("proven cannot be read: it is damaged"), "{damaged}");
    }

    #[test]
    fn an_extension_of_the_administrators_in_the_place_of_ours_is_a_conflict() {
        let host = Host::new();
        let steps = |more: &str, count: u32| {
            format!(
                "'dialplan show c') cat <<'END'\n[ Context 'c' created by 'pbx_config' ]\n  '1' => 1. Answer() [e.conf:2]\n\
                 {more}\n-= 1 extension ({count} priorities) in 1 context. =-\nEND\n;;"
            )
            .replace("(1 priorities)", "(1 priority)")
        };
        host.answering(&steps("", 1));
        let pair = Pair { endpoints: Vec::new(), dialplan: b"[c]\nexten => 1,1,Answer()\n".into() };
        host.lock().deploy(&pair, "", soon()).unwrap();
        host.answering(&steps("     2. Hangup() [extensions.conf:7]\n     3. Park() [e.conf:9]", 3));
        let conflicts = BTreeSet::from([("1@c".to_owned(), "extensions.conf:7".to_owned())]);
        assert_eq!(host.deployment.drift(soon()).conflicts, conflicts);
    }
}
