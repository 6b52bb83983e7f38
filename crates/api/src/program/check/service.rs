//! Whether this runs as the service does, and the commands that are for the service.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use pbx_asterisk::Fault;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::database_names::quoted;
use super::report::Report;
use crate::Settings;
use crate::operations::apply::NotOurs;
use crate::settings::{self, DEFAULT_FILE, Environment, SettingsError};

/// Runs a command of the program with the user, the secrets and the sandbox of the service.
const RUN: &str = "/usr/sbin/pbx-portal-run";
/// What makes the service read its settings again.
pub(super) const RESTART: &str = "systemctl try-restart pbx-portal";
/// The package's unit.
const UNIT: &str = "/usr/lib/systemd/system/pbx-portal.service";
/// Where the unit is started with the system.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/pbx-portal.service";

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

/// Whether the running service can write where this process can. A directory that was removed and made again since its
/// start, with those above it, is not writable in its sandbox until it starts again.
pub(super) fn check_mounts(directories: &[&Path], report: &mut Report<'_>) {
    let Some(root) = running().map(|process| process.join("root")) else { return };
    let is_read_only = |path: &Path| statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    let seen_by_it = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let closed = directories.iter().find(|path| is_read_only(&seen_by_it(path)) && !is_read_only(path));
    if let Some(closed) = closed {
        let what =
            format!("the running service cannot write in {}, which was made again since its start", closed.display());
        report.fault("service", &Fault::new(what, "systemctl restart pbx-portal"));
    }
}

/// The running service's directory in `/proc`, as far as this user sees it.
fn running() -> Option<PathBuf> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten().map(|process| process.path());
    let is_service = |process: &PathBuf| {
        let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
        // Not one of its children.
        read("cgroup").lines().any(|group| group.ends_with("/pbx-portal.service"))
            && read("cmdline").contains("\0serve\0")
    };
    processes.find(is_service)
}

/// Whether the service runs, where it is to run, and with the variables that it would be started with now. The last of all
/// points, as other fixes may start it.
pub(super) fn check_running(report: &mut Report<'_>) {
    let restart = |what: &str| Fault::new(what, "systemctl restart pbx-portal");
    // Elsewhere, neither is to be seen.
    if env::var_os("INVOCATION_ID").is_none() {
        return;
    }
    let Some(process) = running() else {
        if Path::new(ENABLED).exists() {
            report.fault("service", &restart("it is enabled, and does not run"));
        }
        return;
    };
    let Ok(environ) = fs::read(process.join("environ")) else { return };
    let own = fs::read("/proc/self/environ").unwrap_or_default();
    let [own, theirs] = [&own, &environ].map(|environ| String::from_utf8_lossy(environ));
    let [own, theirs] = [&own, &theirs].map(|environ| environ.split('\0').collect::<BTreeSet<_>>());
    let names = own.symmetric_difference(&theirs).filter_map(|variable| variable.split('=').next());
    let names: BTreeSet<_> = names.filter(|name| settings::is_variable(name)).collect();
    if !names.is_empty() {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        report.fault("service", &restart(&format!("it was started before a change of {names}")));
    }
}

/// Whether the service can listen, or does so already.
pub(super) fn check_bind(settings: &Settings, report: &mut Report<'_>) {
    const POINT: &str = "server.bind";
    let bind = settings.bind;
    let move_to = |ip: IpAddr, port: u16| set_command(POINT, &SocketAddr::new(ip, port).to_string());
    match TcpListener::bind(bind) {
        Ok(_) => report.good(POINT, format_args!("{bind} can be listened on")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match is_portal(reachable(bind)) {
            Ok(true) => report.good(POINT, format_args!("the portal answers at {bind}")),
            Ok(false) => {
                let next = bind.port().checked_add(1).unwrap_or(8000);
                let what = format!("another program listens on {bind} (ss -ltnp)");
                report.fault(POINT, &Fault::new(what, move_to(bind.ip(), next)));
            }
            Err(error) => {
                let what = format!("who listens on {bind} does not answer: {error}");
                report.fault(POINT, &Fault::new(what, "systemctl restart pbx-portal"));
            }
        },
        Err(error) => {
            let fix = match error.kind() {
                // Ports below 1024 are root's.
                io::ErrorKind::PermissionDenied => move_to(bind.ip(), 8000),
                _ => move_to(Ipv4Addr::LOCALHOST.into(), bind.port()),
            };
            report.fault(POINT, &Fault::new(format!("the service cannot listen on {bind}: {error}"), fix));
        }
    }
}

/// The address at which this host reaches who listens there.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// Whether a portal answers there.
fn is_portal(address: SocketAddr) -> io::Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /nowhere HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // Of what never ends, no more than a portal says.
    let read = stream.take(16 << 10).read_to_end(&mut answer);
    if answer.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&answer).contains("urn:pbx-portal:"))
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
             # PostgreSQL on another host: README.Debian"
        );
    }
    error.fix.clone()
}

/// What becomes of users that another database applied, only the administrator can say.
pub(super) const ANOTHER_DATABASE: &str = "write the right DATABASE_URL into /etc/pbx-portal/env, then: systemctl restart \
                                           pbx-portal; if this is the right one, review POST /apply?dry_run=true, and \
                                           apply with its ETag in If-Match";

/// Where the file has the name that the portal gives its own, it was left there: it is kept, and an empty one takes its place,
/// as Asterisk loads nothing while an included file is missing. Under another name it may be what Asterisk needs.
pub(super) fn not_ours(file: &NotOurs<'_>) -> Fault {
    let default = settings::default_of(file.key);
    let fix = if file.path.file_name() == Path::new(default).file_name() {
        let [from, to] = ["", ".not-of-the-portal"].map(|end| quoted(&format!("{}{end}", file.path.display())));
        format!("mv -n {from} {to} && cp -np --attributes-only {to} {from}")
    } else {
        set_command(file.key, default)
    };
    let what = format!("{} holds lines that are not the portal's, and no apply replaces it", file.path.display());
    Fault::new(what, fix)
}

/// What leaves these options of endpoints alone.
pub(super) fn options_fix(kept: &[String]) -> String {
    const KEY: &str = "asterisk.endpoint_options";
    let joined = kept.join(" ");
    if settings::options_of(&joined) == kept && !joined.contains(['\'', '"', '\\']) {
        return set_command(KEY, &joined);
    }
    let variable = settings::variable_of(KEY);
    let file = Environment::SERVICE_FILE;
    format!("write {kept:?} as {KEY} in {DEFAULT_FILE}, remove {variable} from {file}, then: {RESTART}")
}

/// What gives a key of the service's settings this value: its variable, which counts more than any file.
pub(super) fn set_command(key: &str, value: &str) -> String {
    let file = Environment::SERVICE_FILE;
    let variable = settings::variable_of(key);
    if value.contains(['\'', '"', '\\']) {
        return format!("write {value} as {key} in {DEFAULT_FILE}, then: {RESTART}");
    }
    format!("sed -i '/^{variable}=/d' {file} && printf '\\n%s\\n' '{variable}=\"{value}\"' >> {file} && {RESTART}")
}

/// The apply that fixes drift.
pub(super) fn apply_command(settings: &Settings) -> String {
    request(settings, "POST", "/apply")
}

/// The delete of a user.
pub(super) fn delete_command(settings: &Settings, id: &str) -> String {
    request(settings, "DELETE", &format!("/users/{id}"))
}

fn request(settings: &Settings, method: &str, path: &str) -> String {
    let header = if settings.tokens.is_empty() { "" } else { "-H @/root/pbx-token " };
    format!("curl -sS {header}-X {method} http://{}{path}", reachable(settings.bind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_every_address_is_reached_at_the_own_one() {
        for (bind, reached) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("192.0.2.1:8000", "192.0.2.1:8000"),
            ("[2001:db8::1]:8000", "[2001:db8::1]:8000"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn a_database_that_is_not_named_is_the_packages_unless_it_is_wrong() {
        let wrong = |key, problem: &str| SettingsError {
            key: Some(key),
            subject: String::new(),
            problem: problem.to_owned(),
            fix: "its own".to_owned(),
        };
        assert!(settings_fix(&wrong("database.url", "is missing")).contains("DATABASE_URL='postgresql:///pbx_portal'"));
        for other in [wrong("database.url", "is given twice"), wrong("node", "is missing")] {
            assert_eq!(settings_fix(&other), "its own");
        }
    }
}
