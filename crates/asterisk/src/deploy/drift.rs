//! Whether disk and Asterisk still are as they were proven.

use std::{sync::Arc, time::Instant};

use crate::{
    deploy::{
        deployment::{Deployment, LockedDeployment},
        error::Cause,
    },
    files::{file, record::Record, state_dir},
    text::{
        expected::{Expected, UnreadablePair},
        pair::Pair,
    },
};

impl Deployment {
    /// What differs between the pair last proven and both the disk and what Asterisk runs, and what
    /// could not be read until `deadline`, one sentence each; nothing where all is as it was proven.
    /// Changes nothing, and waits for no lock: during a deployment it may report what is half done.
    #[must_use]
    pub fn drift(&self, deadline: Instant) -> Vec<String> {
        match state_dir::read_record(&self.state.proven()) {
            Ok(proven) => {
                let proven = proven.as_ref().map(|Record { pair, .. }| (pair, self.expected(pair).map(Arc::new)));
                self.drift_from(proven, deadline)
            }
            Err(error) => vec![error.to_string()],
        }
    }

    fn drift_from(
        &self,
        proven: Option<(&Pair, Result<Arc<Expected>, UnreadablePair>)>,
        deadline: Instant,
    ) -> Vec<String> {
        let files = &self.files;
        let mut problems = Vec::new();
        let expected = if let Some((pair, expected)) = proven {
            for (path, proven) in [(&files.endpoints, &pair.endpoints), (&files.dialplan, &pair.dialplan)] {
                match file::read(path) {
                    Ok(Some(content)) if content == *proven => {}
                    Ok(Some(_)) => problems.push(format!("{} was changed since it was applied", path.display())),
                    Ok(None) => problems.push(format!("{} is gone", path.display())),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            expected
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
            Ok(_) => {}
            Err(Cause::NotProven(mismatch)) => {
                problems.push(format!("Asterisk does not run what was applied: {mismatch}"));
            }
            Err(error) => problems.push(error.to_string()),
        }
        problems
    }
}

impl LockedDeployment<'_> {
    /// As [`Deployment::drift`], with nothing in between.
    #[must_use]
    pub fn drift(&self, deadline: Instant) -> Vec<String> {
        let proven = self.proven().map(|Record { pair, .. }| (pair, self.expected(pair)));
        self.deployment.drift_from(proven, deadline)
    }
}
