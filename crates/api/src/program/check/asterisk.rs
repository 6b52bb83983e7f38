//! Asterisk: whether it answers, takes an apply, and phones then get calls through.

use std::path::Path;
use std::time::Instant;

use pbx_asterisk::{AdminSection, Deployment, Drift, Fault, Pair, Transports};
use pbx_confgen::{RenderError, Renderer};
use pbx_domain::{Extension, ExtensionRange, User};
use pbx_persistence::{ApplyLog, Database, UserList};

use super::database_answers::RESTORE;
use super::report::Report;
use super::service;
use crate::Settings;
use crate::operations::apply;
use crate::settings::{DIALPLAN_INCLUDE, PJSIP_INCLUDE};

/// The program of Debian's package.
const INSTALLED: &str = "/usr/sbin/asterisk";
/// Asterisk's first version with `password_digest`.
const OLDEST: [u32; 3] = [22, 2, 0];
/// Where phones call, and where the users are.
const CONTEXTS: [&str; 2] = ["synergycall-internal", "synergycall-users"];
/// How many sections are named at most.
const MOST_NAMED: usize = 5;

/// What is asked about.
pub(super) struct Check<'a> {
    pub(super) settings: &'a Settings,
    pub(super) deployment: &'a Deployment,
    /// `None` where the users cannot be read.
    pub(super) found: Option<&'a (Database, UserList)>,
    /// What an apply would install; `None` likewise.
    pub(super) pair: Option<&'a Pair>,
    /// The settings whose include file may be another than ours. What is ours then looks like the administrator's: nobody is
    /// to take it out.
    pub(super) in_doubt: &'a [&'static str],
    pub(super) deadline: Instant,
}

impl Check<'_> {
    pub(super) fn run(&self, report: &mut Report<'_>) {
        let options: Vec<_> = self.settings.asterisk.endpoint_options.iter().collect();
        let found = match self.deployment.inspect(&options, self.pair, self.deadline) {
            Ok(found) => found,
            Err(fault) => return report.fault("asterisk.command", &self.unreached(fault)),
        };
        report.good("asterisk.command", "Asterisk answers");
        check_version(&found.version, report);
        let [is_pjsip_ours, is_dialplan_ours] =
            [PJSIP_INCLUDE, DIALPLAN_INCLUDE].map(|key| !self.in_doubt.contains(&key));
        let read = |()| "read once";
        if is_pjsip_ours {
            report.point("#include of asterisk.pjsip_include", found.endpoints_include.map(read));
        }
        if is_dialplan_ours {
            report.point("#include of asterisk.dialplan_include", found.dialplan_include.map(read));
        }
        if is_pjsip_ours {
            let twice = "of what is defined twice, Asterisk takes none, or the first";
            self.check_admin("numbers", &found.admin_objects, twice, report);
        }
        if is_dialplan_ours {
            let first = "calls may go there, and an apply cannot be proven";
            self.check_admin("extensions", &found.admin_extensions, first, report);
        }
        report.point("modules", found.modules.map(|()| "all that calls need are running"));
        report.point("astdb", found.astdb.map(|()| "Asterisk keeps who is registered"));
        report.point("cli_permissions.conf", found.reload_permission.map(|()| "this user may reload"));
        report.point("sorcery.conf", found.sorcery.map(|()| "the objects of PJSIP are where an apply needs them"));
        match found.identification {
            Ok(notes) => {
                report.good("identification", "a phone is known by its user name");
                for note in notes {
                    report.note("identification", note);
                }
            }
            Err(fault) => report.fault("identification", &fault),
        }
        report.point("asterisk.endpoint_options", self.check_options(&options));
        check_transports(found.transports, report);
        report.point("asterisk.realm", check_realm(self.settings, found.default_realm.as_deref()));
        self.check_live(report);
    }

    /// Where Asterisk is installed, a setting that names no program is what is wrong.
    fn unreached(&self, fault: Fault) -> Fault {
        let is_other = !["asterisk", INSTALLED].contains(&self.settings.asterisk.cli.program());
        if is_other && fault.what.contains("cannot be started") && Path::new(INSTALLED).exists() {
            return Fault::new(fault.what, service::set_command("asterisk.command", "asterisk"));
        }
        fault
    }

    /// What the administrator defines with the number of a user, or of the next one, or as we do, keeps ours from being
    /// what Asterisk runs.
    fn check_admin(&self, point: &str, admin: &[AdminSection], harm: &str, report: &mut Report<'_>) {
        let taken: Option<Vec<Extension>> =
            self.found.map(|(_, list)| list.users.iter().map(|user| user.extension).collect());
        let next = taken.as_ref().and_then(|taken| ExtensionRange::PORTAL.lowest_free(taken.iter().copied()));
        let is_users =
            |number: Extension| taken.as_ref().is_none_or(|taken| taken.contains(&number) || next == Some(number));
        let number = |admin: &AdminSection| admin.name.parse::<Extension>().ok();
        let (clashing, others): (Vec<_>, Vec<_>) =
            admin.iter().partition(|admin| admin.is_twice || number(admin).is_some_and(is_users));
        let shown = |some: &[&AdminSection]| {
            let rest =
                if some.len() > MOST_NAMED { format!(" and {} more", some.len() - MOST_NAMED) } else { String::new() };
            let named = some.iter().take(MOST_NAMED);
            let named = named.map(|one| format!("[{}] ({}, line {})", one.name, one.path.display(), one.line));
            named.collect::<Vec<_>>().join(", ") + &rest
        };
        let others: Vec<_> = others.into_iter().filter(|admin| number(admin).is_some()).collect();
        if !others.is_empty() {
            report.note(point, format_args!("{} will clash with the user who gets the number", shown(&others)));
        }
        if clashing.is_empty() {
            return report.good(point, "none of the administrator's is one of a user");
        }
        let fault = Fault::new(format!("{}: {harm}", shown(&clashing)), self.deployment.removal(clashing));
        report.fault(point, &fault);
    }

    /// Whether Asterisk takes the options that the administrator chose, and calls get through with them.
    fn check_options(&self, options: &[(&str, &str)]) -> Result<&'static str, Fault> {
        let unfit = self.deployment.unfit_endpoint_options(options, self.deadline);
        if unfit.is_empty() {
            return Ok("Asterisk knows them");
        }
        let shown: Vec<_> = unfit.iter().map(|(name, why)| format!("{name}, {why}")).collect();
        let kept = options.iter().filter(|(name, _)| unfit.iter().all(|(unfit, _)| unfit != name));
        let kept: Vec<_> = kept.map(|(name, value)| format!("{name}={value}")).collect();
        Err(Fault::new(shown.join("; "), service::options_fix(&kept)))
    }

    /// Whether phones that call each other reach each other.
    fn check_reach(&self, report: &mut Report<'_>) {
        let numbers = self.found.iter().flat_map(|(_, list)| &list.users).map(|user| user.extension.to_string());
        let numbers: Vec<_> = numbers.collect();
        if numbers.is_empty() {
            return;
        }
        let [context, target] = CONTEXTS;
        let reach = self.deployment.check_reach(&numbers, context, target, self.deadline);
        report.point("calls", reach.map(|()| "phones that call each other reach each other"));
    }

    /// Whether files and Asterisk are as last applied, and whether users wait for an apply.
    fn check_live(&self, report: &mut Report<'_>) {
        let Some(Drift { problems, foreign, conflicts, unpurged, .. }) = self.deployment.settled_drift(self.deadline)
        else {
            return report.note("live", "an apply is running; until it ends, this cannot be compared");
        };
        if !problems.is_empty() {
            let fix = if conflicts.is_empty() || !self.in_doubt.is_empty() {
                service::apply_command(self.settings)
            } else {
                self.deployment.conflict_fix(&conflicts, self.deadline)
            };
            return report.fault("live", &Fault::new(problems.join("; "), fix));
        }
        // Where users wait for an apply.
        if let Some(Err(fault)) = self.pair.map(|pair| self.deployment.check_conflicts(pair, self.deadline)) {
            return report.fault("live", &fault);
        }
        report.good("live", "files and Asterisk are as last applied");
        let warnings = apply::warnings(&foreign, self.found.map_or(&[], |(_, list)| &list.users));
        for warning in warnings.into_iter().chain(apply::unpurged(&unpurged)) {
            report.note("live", warning);
        }
        self.check_reach(report);
        let Some((database, list)) = self.found else { return };
        if let Err(error) = self.check_users(list, &database.apply_log(), report) {
            let fault = Fault::new(format!("{error:#}"), service::apply_command(self.settings));
            report.fault("users", &fault);
        }
    }

    /// Whether an apply would change anything, or be refused.
    fn check_users(&self, list: &UserList, log: &ApplyLog, report: &mut Report<'_>) -> anyhow::Result<()> {
        const POINT: &str = "users";
        let last = self.deployment.last_proven()?;
        let renderer = apply::renderer(self.settings);
        let pair = match apply::rendered(&renderer, &list.users) {
            Err(RenderError::DuplicateExtension { extension }) => {
                let fault = self.share(extension, &list.users, &renderer, last.as_ref().map(|last| &last.pair));
                report.fault(POINT, &fault);
                return Ok(());
            }
            pair => pair?,
        };
        let apply = service::apply_command(self.settings);
        let tag: Option<apply::Tag> = last.as_ref().and_then(|last| last.tag.parse().ok());
        if last.as_ref().map_or(list.users.is_empty(), |last| last.pair == pair) {
            if last.is_some() && self.deployment.proven()?.is_none() {
                report.note(POINT, format_args!("nothing counts as applied until the next apply; {apply}"));
                return Ok(());
            }
            match tag.as_ref().and_then(|tag| tag.other_node(&self.settings.node)) {
                None => report.good(POINT, format_args!("{} applied", list.users.len())),
                Some(node) => {
                    report.note(POINT, format_args!("they were applied on the node {node}, not on this one; {apply}"));
                }
            }
            return Ok(());
        }
        let last = last.as_ref().map(|last| &last.pair);
        let losses = |(tag, last): (apply::Tag, _)| tag.losses_to_another_database(list.database, log, last, &pair);
        if let Some(losses) = tag.zip(last).and_then(losses) {
            report.fault(POINT, &Fault::new(losses, service::ANOTHER_DATABASE));
            return Ok(());
        }
        let (former, wanted) = apply::expected(last, &pair)?;
        let change = wanted.difference(&former);
        report.note(
            POINT,
            format_args!(
                "an apply would add {}, remove {} and change {}; {apply}",
                change.added.len(),
                change.removed.len(),
                change.changed.len(),
            ),
        );
        Ok(())
    }

    /// Of users with one extension, the one goes whom Asterisk does not run, or who came later: no apply would.
    fn share(&self, extension: Extension, users: &[User], renderer: &Renderer, last: Option<&Pair>) -> Fault {
        let applied = last.map(|last| String::from_utf8_lossy(&last.endpoints)).unwrap_or_default();
        let is_applied =
            |user: &User| renderer.auth_name(user).is_ok_and(|auth| applied.contains(&format!("[{auth}]")));
        let mut owners: Vec<_> = users.iter().filter(|user| user.extension == extension).collect();
        owners.sort_by_key(|user| (!is_applied(user), user.created_at));
        let ids: Vec<_> = owners.iter().map(|user| user.id.to_string()).collect();
        let what = format!("extension {extension} belongs to the users {}: one of them has to go", ids.join(" and "));
        let goes = ids.iter().rfind(|id| **id != ids[0]);
        // Where it is one user twice, a delete would take both.
        let fix = goes.map_or_else(|| RESTORE.to_owned(), |id| service::delete_command(self.settings, id));
        Fault::new(what, fix)
    }
}

fn check_version(version: &str, report: &mut Report<'_>) {
    const POINT: &str = "version";
    let number = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u32> = number.split('.').map_while(|number| number.parse().ok()).collect();
    let oldest = OLDEST.map(|number| number.to_string()).join(".");
    if numbers.is_empty() {
        let knows = format!("knows password_digest, as {oldest} and newer ones do");
        return report.note(POINT, format_args!("whether Asterisk {version} {knows}, is not known"));
    }
    // A build from git names its branch alone: `GIT-22`.
    if numbers[..] < OLDEST[..OLDEST.len().min(numbers.len())] {
        let what = format!("Asterisk {version} does not know password_digest");
        return report.fault(POINT, &Fault::new(what, format!("upgrade to Asterisk {oldest} or newer")));
    }
    report.good(POINT, format_args!("Asterisk {version}"));
}

fn check_transports(found: Result<Transports, Fault>, report: &mut Report<'_>) {
    const POINT: &str = "transport";
    let Transports { answering, notes, .. } = match found {
        Ok(transports) => transports,
        Err(fault) => return report.fault(POINT, &fault),
    };
    match answering {
        Some(transport) => report.good(POINT, format_args!("{transport} answers")),
        None => report.note(POINT, "none could be asked from here"),
    }
    for note in notes {
        report.note(POINT, note);
    }
}

fn check_realm(settings: &Settings, default: Option<&str>) -> Result<String, Fault> {
    let realm = settings.asterisk.realm.as_str();
    match default {
        Some(default) if default == realm => Ok(format!("it is Asterisk's default_realm, {realm}")),
        Some(default) => Err(Fault::new(
            format!("it is {realm}, and Asterisk's default_realm is {default}"),
            service::set_command("asterisk.realm", default),
        )),
        None => Err(Fault::new("PJSIP does not run", "systemctl restart asterisk")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_22_2_on_will_do_and_others_are_named() {
        let said = |version| {
            let mut out = Vec::new();
            let mut report = Report::new(&mut out, false);
            check_version(version, &mut report);
            let is_good = report.is_good();
            (is_good, out.starts_with(b"note"))
        };
        for good in ["22.2.0", "22.7.0", "22.10.1", "23.0.0", "GIT-22", "GIT-23", "certified-22.8"] {
            assert_eq!(said(good), (true, false), "{good}");
        }
        for unknown in ["", "GIT-master", "GIT-master-5a1b2c3"] {
            assert_eq!(said(unknown), (true, true), "{unknown}");
        }
        for bad in ["20.12.0", "22.1.9", "GIT-20", "certified-20.7"] {
            assert!(!said(bad).0, "{bad}");
        }
    }
}
