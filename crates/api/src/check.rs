//! `pbx-portal check`, the doctor: one line per point, each failure with what fixes it. It changes
//! nothing.

use std::{
    fmt, fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use pbx_asterisk::{CliError, Include, Inspection};
use pbx_persistence::{Database, DatabaseError};
use rustix::fs::{Access, access};

use crate::{Settings, apply};

/// Asterisk's first version with `password_digest`.
const OLDEST: (u32, u32) = (22, 2);

/// The modules without which a user's phone cannot register and call.
const MODULES: [&str; 10] = [
    "app_dial.so",
    "chan_pjsip.so",
    "func_logic.so",
    "func_strings.so",
    "pbx_config.so",
    "res_pjsip.so",
    "res_pjsip_authenticator_digest.so",
    "res_pjsip_endpoint_identifier_user.so",
    "res_pjsip_registrar.so",
    "res_pjsip_session.so",
];

/// Says point by point whether an apply would work; exit status 0 only when it would.
#[must_use]
pub fn run(settings: &Settings) -> ExitCode {
    let mut report = Report { is_good: true, out: io::stdout().lock() };
    report.good("settings", "they make sense");
    check_database(settings, &mut report);
    report.point("state_dir", check_state_dir(&settings.state_dir));
    for (key, path) in includes(settings) {
        report.point(key, check_include_file(path));
    }
    check_asterisk(settings, &mut report);
    if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn includes(settings: &Settings) -> [(&'static str, &Path); 2] {
    [
        ("asterisk.pjsip_include", &settings.asterisk.pjsip_include),
        ("asterisk.dialplan_include", &settings.asterisk.dialplan_include),
    ]
}

/// What is wrong, and the command or edit that fixes it.
struct Fault {
    what: String,
    fix: String,
}

fn fault(what: impl fmt::Display, fix: impl fmt::Display) -> Fault {
    Fault { what: what.to_string(), fix: fix.to_string() }
}

struct Report<W> {
    is_good: bool,
    out: W,
}

impl<W: io::Write> Report<W> {
    fn point(&mut self, point: &str, result: Result<String, Fault>) {
        match result {
            Ok(words) => self.good(point, &words),
            Err(Fault { what, fix }) => {
                self.is_good = false;
                self.line(format_args!("FAIL  {point}: {what}; to fix: {fix}"));
            }
        }
    }

    fn good(&mut self, point: &str, words: &str) {
        self.line(format_args!("ok    {point}: {words}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        if let Err(error) = writeln!(self.out, "{}", line.to_string().replace(char::is_control, "?")) {
            log::error!("the report cannot be written: {error}");
        }
    }
}

fn check_database(settings: &Settings, report: &mut Report<impl io::Write>) {
    const POINT: &str = "database";
    let limit = settings.database.timeout + Duration::from_secs(1);
    let (send, receive) = mpsc::sync_channel(1);
    let database = settings.database.clone();
    thread::spawn(move || {
        let pending = Database::connect(database.url.reveal(), 1, database.timeout)
            .and_then(|database| database.pending_migrations());
        send.send(pending)
    });
    match receive.recv_timeout(limit) {
        Ok(Ok(pending)) => {
            report.good(POINT, "it answers");
            report.point(
                "migrations",
                match pending.as_slice() {
                    [] => Ok("all are applied".to_owned()),
                    names => Err(fault(format_args!("{} are not applied", names.join(", ")), "pbx-portal migrate")),
                },
            );
        }
        Ok(Err(DatabaseError::WrongEncoding { found })) => report.point(
            POINT,
            Err(fault(
                format_args!("it has the encoding {found}, and names need UTF8"),
                "createdb --encoding=UTF8 --template=template0 NAME, and DATABASE_URL in the environment",
            )),
        ),
        Ok(Err(error)) => report.point(POINT, Err(fault(database_error(&error), DATABASE_MEND))),
        Err(_) => {
            report.point(
                POINT,
                Err(fault(format_args!("it does not answer within {} s", limit.as_secs()), DATABASE_MEND)),
            );
        }
    }
}

const DATABASE_MEND: &str = "start PostgreSQL, or correct DATABASE_URL in the environment";

/// The whole chain: whoever may run this may see it, and no link of it names the password.
fn database_error(error: &DatabaseError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words = format!("{words}: {}", error.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        source = error.source();
    }
    words
}

fn check_state_dir(path: &Path) -> Result<String, Fault> {
    let make = format!("install -d -o pbx-portal -g pbx-portal -m 0750 {}", path.display());
    let metadata = fs::metadata(path).map_err(|error| fault(format_args!("{}: {error}", path.display()), &make))?;
    writable(path, &make)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(fault(
            format_args!("{} is open to everybody, and holds credentials", path.display()),
            format_args!("chmod o= {}", path.display()),
        ));
    }
    Ok(format!("{} can be written", path.display()))
}

fn check_include_file(path: &Path) -> Result<String, Fault> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let make = format!("install -d -o root -g asterisk -m 2770 {}", directory.display());
    let parent =
        fs::metadata(directory).map_err(|error| fault(format_args!("{}: {error}", directory.display()), &make))?;
    writable(directory, &make)?;
    match fs::symlink_metadata(path) {
        Ok(file) if !file.is_file() => {
            return Err(fault(
                format_args!("{} is no regular file", path.display()),
                format_args!("mv {0} {0}.old", path.display()),
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(fault(
                format_args!("{} is missing, and Asterisk loads nothing while an included file is", path.display()),
                format_args!("install -m 0640 -g asterisk /dev/null {}", path.display()),
            ));
        }
        Err(error) => return Err(fault(format_args!("{}: {error}", path.display()), &make)),
    }
    // Files take the directory's group only through its setgid bit, unless that group is ours.
    let ours = rustix::process::getegid().as_raw();
    if parent.mode() & 0o2000 == 0 && parent.gid() != ours {
        return Err(fault(
            format_args!(
                "{} does not give its group to new files, so that Asterisk could not read them",
                directory.display()
            ),
            format_args!("chmod g+s {}", directory.display()),
        ));
    }
    Ok(format!("{} can be replaced", path.display()))
}

fn writable(directory: &Path, fix: &str) -> Result<(), Fault> {
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        fault(format_args!("{} cannot be written: {}", directory.display(), io::Error::from(error)), fix)
    })
}

fn check_asterisk(settings: &Settings, report: &mut Report<impl io::Write>) {
    const POINT: &str = "asterisk.command";
    let deployment = match apply::deployment(settings) {
        Ok(deployment) => deployment,
        Err(error) => {
            return report
                .point(POINT, Err(fault(format_args!("{error:#}"), "name the program that reaches Asterisk")));
        }
    };
    let found = match deployment.inspect(Instant::now() + settings.asterisk.apply_timeout) {
        Ok(found) => found,
        Err(error) => return report.point(POINT, Err(unreachable(settings, &error))),
    };
    report.good(POINT, "Asterisk answers");
    report.point("version", check_version(&found.version));
    for ((key, _), include) in includes(settings).into_iter().zip([&found.endpoints_include, &found.dialplan_include]) {
        report.point(
            &format!("#include of {key}"),
            match include {
                Include::InForce => Ok("it is in force".to_owned()),
                Include::Missing { fix } | Include::NotRead { fix } => Err(fault("it is not in force", fix)),
                _ => Err(fault("it is not known to be in force", "apply, and see what it says")),
            },
        );
    }
    report.point("modules", check_modules(&found));
    report.point("asterisk.realm", check_realm(settings, &found));
    check_live(settings, report);
}

fn unreachable(settings: &Settings, error: &CliError) -> Fault {
    match error {
        CliError::CannotStart { .. } => fault(error, "install Asterisk, or set asterisk.command to the program's path"),
        CliError::NotRunning { .. } => fault(
            error,
            "systemctl start asterisk; usermod -a -G asterisk pbx-portal; and `astctlpermissions = 0660` under [files] of asterisk.conf",
        ),
        CliError::TimedOut { .. } => fault(error, "systemctl restart asterisk"),
        _ => fault(error, format_args!("{} -rx 'core show version'", settings.asterisk.command)),
    }
}

fn check_version(version: &str) -> Result<String, Fault> {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Ok(format!("Asterisk {version}")),
        _ => Err(fault(
            format_args!("Asterisk {version} does not know password_digest"),
            format_args!("upgrade to Asterisk {}.{}.0 or newer", OLDEST.0, OLDEST.1),
        )),
    }
}

fn check_modules(found: &Inspection) -> Result<String, Fault> {
    let missing: Vec<_> = MODULES.into_iter().filter(|module| !found.modules.contains(*module)).collect();
    if missing.is_empty() {
        return Ok("all that calls need are running".to_owned());
    }
    let loads: Vec<_> = missing.iter().map(|module| format!("asterisk -rx 'module load {module}'")).collect();
    let fix =
        format!("{}; and load={} in modules.conf if it does not autoload", loads.join("; "), missing.join(", load="));
    Err(fault(format_args!("{} not running", missing.join(", ")), fix))
}

fn check_realm(settings: &Settings, found: &Inspection) -> Result<String, Fault> {
    let realm = settings.asterisk.realm.as_str();
    match &found.default_realm {
        Some(default) if default == realm => Ok(format!("it is Asterisk's default_realm, {realm}")),
        Some(default) => Err(fault(
            format_args!("it is {realm}, and Asterisk's default_realm is {default}"),
            format_args!("set asterisk.realm = \"{default}\", or default_realm={realm} under [global] of pjsip.conf"),
        )),
        None => Err(fault("PJSIP does not run", "asterisk -rx 'module load res_pjsip.so', and see Asterisk's log")),
    }
}

/// Whether files and Asterisk are as last applied. That they are not does not keep an apply from
/// working: it is what an apply fixes.
fn check_live(settings: &Settings, report: &mut Report<impl io::Write>) {
    let deployment = apply::deployment(settings).ok();
    let problems =
        deployment.as_ref().map(|deployment| deployment.drift(Instant::now() + settings.asterisk.apply_timeout));
    match problems.as_deref() {
        Some([]) => report.good("live", "files and Asterisk are as last applied"),
        Some(problems) => report.line(format_args!("note  live: {}; POST /apply fixes it", problems.join("; "))),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_22_2_on_will_do() {
        for good in ["22.2.0", "22.7.0", "22.10.1", "23.0.0"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["", "20.12.0", "22.1.9", "GIT-master", "22"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failure_says_what_mends_it_on_one_line() {
        let mut report = Report { is_good: true, out: Vec::new() };
        report.good("a", "fine");
        report.point("b", Err(fault("broken\nby hand", "glue")));
        assert!(!report.is_good);
        assert_eq!(String::from_utf8(report.out).unwrap(), "ok    a: fine\nFAIL  b: broken?by hand; to fix: glue\n");
    }
}
