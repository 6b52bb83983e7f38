//! `pbx-portal check`, the doctor: one line per point, each failure with what fixes it.
//!
//! It runs the same code as an apply, up to where an apply would change something. After a failure it continues with
//! the other points.

mod asterisk;
mod database;
mod database_answers;
mod database_fix;
mod database_names;
mod report;
mod service;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use pbx_asterisk::Fault;

use self::report::Report;
use crate::operations::apply;
use crate::settings::{DIALPLAN_INCLUDE, PJSIP_INCLUDE, Survey};

/// Says point by point whether an apply would work and phones could then call; exit status 0 only when both are true.
/// `quiet` prints the failures alone.
#[must_use]
pub fn run(survey: &Survey, quiet: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    let mut report = Report::new(&mut out, quiet);
    let settings = &survey.settings;
    if survey.wrong.is_empty() {
        report.good("settings", "valid");
    }
    for error in &survey.wrong {
        report.fault(
            "settings",
            &Fault::new(format!("{} {}", error.subject, error.problem), service::settings_fix(error)),
        );
    }
    let asterisk = &settings.asterisk;
    let parents = [&asterisk.pjsip_include, &asterisk.dialplan_include].map(|file| file.parent().unwrap_or(file));
    service::check(settings, &mut report);
    service::check_mounts(&[&settings.state_dir, parents[0], parents[1]], &mut report);
    service::check_bind(settings, &mut report);
    let found = database::check(survey, &mut report);
    let deployment = apply::deployment(settings);
    let deadline = Instant::now() + asterisk.apply_timeout;
    // Without the users, what an apply needs at least.
    let pair = found.as_ref().and_then(|(_, list)| apply::rendered(&apply::renderer(settings), &list.users).ok());
    let rehearsal = deployment.rehearse(&pair.clone().unwrap_or_default(), deadline);
    let usable = rehearsal.state_dir.map(|()| format!("{} can be used", settings.state_dir.display()));
    report.point("state_dir", usable);
    if rehearsal.is_busy {
        report.note("state_dir", "an apply is running");
    }
    if rehearsal.is_interrupted {
        report.note("state_dir", "an apply was interrupted; the next start or apply recovers from it");
    }
    let not_ours = apply::not_ours(settings, &deployment);
    for (key, path, found) in [
        (PJSIP_INCLUDE, &asterisk.pjsip_include, rehearsal.endpoints),
        (DIALPLAN_INCLUDE, &asterisk.dialplan_include, rehearsal.dialplan),
    ] {
        // The other fixes would give somebody's file the rights of ours.
        let fault = not_ours.iter().find(|file| file.key == key).map(service::not_ours);
        report.point(key, fault.map_or(found, Err).map(|()| format!("{} can be replaced", path.display())));
    }
    let (found, pair) = (found.as_ref(), pair.as_ref());
    let in_doubt = survey.wrong.iter().filter_map(|error| error.key).chain(not_ours.iter().map(|file| file.key));
    let in_doubt: Vec<_> = in_doubt.filter(|key| [PJSIP_INCLUDE, DIALPLAN_INCLUDE].contains(key)).collect();
    asterisk::Check { settings, deployment: &deployment, found, pair, in_doubt: &in_doubt, deadline }.run(&mut report);
    service::check_running(&mut report);
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
