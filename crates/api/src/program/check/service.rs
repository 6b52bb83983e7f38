//! Whether this runs as the service does, and the commands that are for the service.

use std::{env, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path};

use pbx_asterisk::Fault;

use super::report::Report;
use crate::{
    Settings,
    settings::{Environment, SettingsError},
};

/// Runs a command of the program with the user, the secrets and the sandbox of the service.
const RUN: &str = "/usr/sbin/pbx-portal-run";
/// The package's unit.
const UNIT: &str = "/usr/lib/systemd/system/pbx-portal.service";

/// What root may do says nothing about what the service may do. What its user may do outside the unit says little: the
/// sandbox of the unit forbids more.
pub(super) fn check(settings: &Settings, report: &mut Report<'_>) {
    const POINT: &str = "service";
    let user = rustix::process::geteuid().as_raw();
    let owner = fs::metadata(&settings.state_dir).map_or(user, |found| found.uid());
    if user == 0 && owner != 0 {
        let what = format!("this runs as root, and the service as the owner of {}", settings.state_dir.display());
        return report.fault(POINT, &Fault::new(what, command("check")));
    }
    // systemd gives each start of a unit one.
    let is_in_unit = env::var_os("INVOCATION_ID").is_some();
    if Path::new(UNIT).exists() && !is_in_unit {
        report.note(POINT, format_args!("the unit's sandbox is not that of this shell; in it: {}", command("check")));
    } else {
        report.good(POINT, "this runs as the service does");
    }
}

/// A command of the program as the service would run it.
pub(super) fn command(command: &str) -> String {
    format!("{} {command}", if Path::new(RUN).exists() { "pbx-portal-run" } else { "pbx-portal" })
}

/// What fixes a setting that is wrong.
pub(super) fn settings_fix(error: &SettingsError) -> String {
    if error.key == Some("database.url") && error.problem == "is missing" {
        let file = Environment::SERVICE_FILE;
        return format!(
            "printf '\\n%s\\n' \"DATABASE_URL='postgresql:///pbx_portal'\" >> {file} && systemctl try-restart pbx-portal \
             (PostgreSQL on another host: README.Debian)"
        );
    }
    error.fix.clone()
}

/// The apply that fixes drift.
pub(super) fn apply_command(settings: &Settings) -> String {
    let header = if settings.tokens.is_empty() { "" } else { "-H @/root/pbx-token " };
    let ip = settings.bind.ip();
    let ip = match ip {
        _ if !ip.is_unspecified() => ip,
        _ if ip.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
        _ => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    format!("curl -sS {header}-X POST http://{}/apply", SocketAddr::new(ip, settings.bind.port()))
}
