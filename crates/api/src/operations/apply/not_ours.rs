//! Files that somebody else wrote and a setting names as an include file: an apply replaces none of them.

use std::fmt;
use std::path::Path;

use pbx_asterisk::Deployment;
use pbx_confgen::Rendering;

use crate::Settings;
use crate::settings::{DIALPLAN_INCLUDE, PJSIP_INCLUDE};

/// A file that an apply would replace as a whole, and may not.
#[derive(Clone, Copy)]
pub(crate) struct NotOurs<'a> {
    /// The setting that names it.
    pub(crate) key: &'static str,
    pub(crate) path: &'a Path,
}

impl fmt::Display for NotOurs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path } = self;
        write!(f, "{key} is {}, which holds lines that are not the portal's", path.display())
    }
}

impl NotOurs<'_> {
    /// What the administrator does about it.
    pub(super) fn fix(&self) -> String {
        let Self { key, path } = self;
        format!(
            "name another file in {key} and restart the portal, or move {} away if nothing of yours needs it",
            path.display()
        )
    }
}

/// Those of the settings. A file in a place where one of ours was verified is ours, whatever somebody wrote into it. What
/// cannot be read, an apply refuses by itself.
pub(crate) fn not_ours<'a>(settings: &'a Settings, deployment: &Deployment) -> Vec<NotOurs<'a>> {
    let Ok(found) = deployment.never_verified() else { return Vec::new() };
    let asterisk = &settings.asterisk;
    [(PJSIP_INCLUDE, &asterisk.pjsip_include), (DIALPLAN_INCLUDE, &asterisk.dialplan_include)]
        .into_iter()
        // A link is refused as such, and what it leads to stays as it is.
        .filter(|(_, path)| !path.is_symlink())
        .filter(|(_, path)| found.iter().any(|(found, text)| found == path && !Rendering::may_replace(text)))
        .map(|(key, path)| NotOurs { key, path })
        .collect()
}
