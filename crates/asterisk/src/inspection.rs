use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    cli_error::CliError,
    deployment::Deployment,
    diagnosis::{self, Tree, config_directory},
    listing,
};

/// What Asterisk says of itself, as far as a deployment depends on it. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The version, such as `22.7.0`.
    pub version: String,
    /// The modules that run, such as `chan_pjsip.so`.
    pub modules: BTreeSet<String>,
    /// The `default_realm` of PJSIP, where PJSIP runs.
    pub default_realm: Option<String>,
    /// Whether the endpoints file is included.
    pub endpoints_include: Include,
    /// Whether the dialplan file is included.
    pub dialplan_include: Include,
}

/// Whether Asterisk reads an include file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Include {
    /// Asterisk has read it, and nothing says that it would not do so again.
    InForce,
    /// Asterisk's configuration, as it is on disk now, does not include it.
    Missing {
        /// The sentence that says which line to add where.
        fix: String,
    },
    /// Asterisk has not read it.
    NotRead {
        /// The sentence that says what to do.
        fix: String,
    },
}

impl Deployment {
    /// Asks Asterisk what a deployment depends on. That a file is included is taken from what
    /// Asterisk has read, and, where they can be read, from its files as they are now: Asterisk
    /// goes on listing a file after its `#include` line was removed.
    ///
    /// # Errors
    ///
    /// [`CliError`] when Asterisk does not answer.
    pub fn inspect(&self, deadline: Instant) -> Result<Inspection, CliError> {
        // By the command, which a reload needs: that it works is the first thing to know.
        let version = self.cli.run("core show version", deadline)?;
        let version = version.split_whitespace().nth(1).unwrap_or_default();
        let settings = self.cli.ask("pjsip show settings", deadline)?;
        let files = self.cli.ask("config list", deadline)?;
        let modules = listing::running_modules(&self.cli.ask("module show", deadline)?);
        let directory = config_directory(&self.cli, deadline);
        let include = |main, module, target: &PathBuf| {
            let missing = directory.as_deref().and_then(|directory| {
                diagnosis::missing_include(directory, main, &Tree::read(directory, main), target)
            });
            match missing {
                Some(fix) => Include::Missing { fix },
                None if has_read(&files, target) => Include::InForce,
                None => Include::NotRead {
                    fix: format!(
                        "Asterisk has not read {}: `#include` it in {main} and run asterisk -rx 'module reload {module}'",
                        target.display()
                    ),
                },
            }
        };
        Ok(Inspection {
            version: version.split(['+', '~', '-']).next().unwrap_or_default().to_owned(),
            modules,
            default_realm: listing::setting(&settings, "default_realm").map(str::to_owned),
            endpoints_include: include(diagnosis::PJSIP, "res_pjsip.so", &self.files.endpoints),
            dialplan_include: include(diagnosis::EXTENSIONS, "pbx_config.so", &self.files.dialplan),
        })
    }
}

/// Whether `config list` names this file, whatever links lead to it.
fn has_read(listed: &str, file: &Path) -> bool {
    let file = diagnosis::canonical(file);
    listing::config_files(listed).any(|listed| diagnosis::canonical(Path::new(listed)) == file)
}
