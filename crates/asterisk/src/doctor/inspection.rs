//! What Asterisk says of itself, as far as an apply and the calls after it depend on it. Nothing is changed.

mod astdb;
mod calls;
mod identification;
mod modules;
mod transports;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use self::transports::Transports;
use crate::ask::cli::{Cli, SETTINGS};
use crate::ask::cli_error::CliError;
use crate::ask::reload::{self, ReloadError};
use crate::deploy::deployment::Deployment;
use crate::doctor::fault::Fault;
use crate::files::file;
use crate::files::rights::{self, READ, WRITE, Who, quoted};
use crate::proof::admin_sections::AdminSection;
use crate::proof::config_tree::{Tree, canonical};
use crate::proof::diagnosis::{self, EXTENSIONS_CONF, PJSIP_CONF};
use crate::proof::obstacles::edit;
use crate::text::expected::{Expected, Step};
use crate::text::exten::dialled;
use crate::text::listing;
use crate::text::modules::{DIALPLAN, PJSIP};
use crate::text::pair::Pair;

/// What Asterisk says of itself, as far as an apply and the calls after it depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The version, such as `22.7.0` or `certified-22.8`.
    pub version: String,
    /// The `default_realm` of PJSIP, where PJSIP runs.
    pub default_realm: Option<String>,
    /// Whether the endpoints file is included, once, and was read.
    pub endpoints_include: Result<(), Fault>,
    /// Whether the dialplan file is included, once, and was read.
    pub dialplan_include: Result<(), Fault>,
    /// Whether the modules run without which phones cannot register and call.
    pub modules: Result<(), Fault>,
    /// Whether Asterisk can write its own database, where it keeps who is registered.
    pub astdb: Result<(), Fault>,
    /// Whether `cli_permissions.conf` lets this user reload.
    pub reload_permission: Result<(), Fault>,
    /// Whether `sorcery.conf` leaves the objects of PJSIP where an apply needs them.
    pub sorcery: Result<(), Fault>,
    /// Whether a phone is known by its user name, and a sentence for those that are not.
    pub identification: Result<Vec<String>, Fault>,
    /// Whether anybody answers SIP on this host.
    pub transports: Result<Transports, Fault>,
    /// Endpoints and aors that the administrator's own files define, and objects that are defined twice.
    pub admin_objects: Vec<AdminSection>,
    /// Extensions that the administrator's own files add to contexts of ours.
    pub admin_extensions: Vec<AdminSection>,
}

impl Deployment {
    /// Asks Asterisk what a deployment and the calls after it depend on. What Asterisk includes is taken from what it
    /// has read, and, where they can be read, from its files as they are now: it keeps listing a file after its
    /// `#include` line was removed. `options` are those of every endpoint (`media_encryption`, `sdes`). What the administrator's
    /// own files define is compared with `pair`, which is to be deployed; without one, with the files that are there.
    ///
    /// # Errors
    ///
    /// A [`Fault`] when Asterisk does not answer.
    pub fn inspect(
        &self,
        options: &[(&str, &str)],
        pair: Option<&Pair>,
        deadline: Instant,
    ) -> Result<Inspection, Fault> {
        self.inspected(options, pair, deadline).map_err(|error| match error {
            ReloadError::Cli(error) => unreachable_fault(&self.cli, &error, deadline),
            error => {
                let what = error.to_string();
                // Of one that waits for its last call to end.
                let is_ending = what.contains("during shutdown");
                Fault::new(what, self.cli.shown(if is_ending { "core abort shutdown" } else { "core waitfullybooted" }))
            }
        })
    }

    fn inspected(
        &self,
        options: &[(&str, &str)],
        pair: Option<&Pair>,
        deadline: Instant,
    ) -> Result<Inspection, ReloadError> {
        reload::wait_ready(&self.cli, deadline)?;
        // By the command, which a reload needs: that it works is the first thing to know.
        let version = self.cli.run("core show version", deadline)?;
        let version = version.lines().find_map(|line| line.strip_prefix("Asterisk ")).unwrap_or_default();
        let version = version.split_whitespace().next().unwrap_or_default();
        let settings = self.cli.ask("pjsip show settings", deadline)?;
        let files = self.cli.ask("config list", deadline)?;
        let modules = listing::running_modules(&self.cli.ask("module show", deadline)?);
        let core = self.cli.ask(SETTINGS, deadline)?;
        let reload_permission = match self.cli.run("module reload no-such-module.so", deadline) {
            Err(error @ CliError::Denied { .. }) => Err(unreachable_fault(&self.cli, &error, deadline)),
            answer => answer.map(|_| Ok(()))?,
        };
        let directory = listing::setting(&core, "Configuration directory").map(PathBuf::from).unwrap_or_default();

        let asterisk = Who::of_asterisk(&core);
        let check_include = |module: &str, tree: &Tree, target: &PathBuf| {
            let load = if modules.contains(module) { "reload" } else { "load" };
            let load = self.cli.shown(&format!("module {load} {module}"));
            let is_read = has_read(&files, target);
            // Where it was started without one of the files, a reload reads none of them.
            let again = if is_read { &load } else { "systemctl restart asterisk" };
            if let Some((what, fix)) =
                asterisk.as_ref().and_then(|asterisk| diagnosis::closed_to(asterisk, tree, target))
            {
                return Err(Fault::new(what, format!("{fix} && {again}")));
            }
            include(tree, target, &load, is_read)
        };
        let pjsip = Tree::read(&directory, PJSIP_CONF, &self.files.endpoints);
        let extensions = Tree::read(&directory, EXTENSIONS_CONF, &self.files.dialplan);
        let read = |path| file::read(path).ok().flatten().unwrap_or_default();
        let there = || Pair { endpoints: read(&self.files.endpoints), dialplan: read(&self.files.dialplan) };
        let pair = pair.cloned().unwrap_or_else(there);
        let expected = Expected::read(&pair).unwrap_or_default();
        let mut sections = pjsip.objects(&expected);
        pjsip.mark_templates(&mut sections, &pair.endpoints);
        let admin = AdminPjsip { tree: &pjsip, sections: &sections };
        let ours = &self.files.endpoints;
        let is_open =
            |asterisk: &Who| asterisk.may(ours, READ) && diagnosis::closed_to(asterisk, &pjsip, ours).is_none();
        let is_read = modules.contains(PJSIP)
            && pjsip.blocked().is_none()
            && !pjsip.is_gone()
            && std::fs::metadata(ours).is_ok_and(|ours| ours.is_file())
            && asterisk.as_ref().is_none_or(is_open);
        let transports = transports::check(&self.cli, &admin, is_read, deadline)?;
        let identification = identification::check(&self.cli, &admin, &settings, &expected, &modules, deadline)?;
        Ok(Inspection {
            version: numbered(version).to_owned(),
            default_realm: listing::setting(&settings, "default_realm").map(str::to_owned),
            endpoints_include: check_include(PJSIP, &pjsip, &self.files.endpoints),
            dialplan_include: check_include(DIALPLAN, &extensions, &self.files.dialplan),
            modules: modules::check(&self.cli, &modules, options, &directory),
            astdb: asterisk
                .as_ref()
                .map_or(Ok(()), |asterisk| {
                    astdb::check_rights(&core, asterisk).and_then(|()| astdb::check_room(&core, asterisk))
                })
                .and_then(|()| astdb::ask(&self.cli, deadline)),
            reload_permission,
            sorcery: diagnosis::elsewhere(&directory)
                .map_or(Ok(()), |(what, edit)| Err(Fault::new(what, format!("{edit} && systemctl restart asterisk")))),
            identification,
            transports,
            admin_objects: sections.into_iter().filter(|admin| admin.is_twice || may_clash(admin)).collect(),
            admin_extensions: admin_extensions(&extensions, &expected),
        })
    }

    /// What comments these sections out and makes Asterisk take notice.
    #[must_use]
    pub fn removal<'a>(&self, sections: impl IntoIterator<Item = &'a AdminSection>) -> String {
        let mut ranges: Vec<(&Path, usize, usize)> = Vec::new();
        for AdminSection { path, line, last_line, .. } in sections {
            match ranges.last_mut().filter(|(of, _, last)| of == path && last + 1 == *line) {
                Some((_, _, last)) => *last = *last_line,
                None => ranges.push((path, *line, *last_line)),
            }
        }
        let lines = ranges.into_iter().map(|(path, line, last)| (path, format!("{line},{last}s/^/; /")));
        format!("{} && {}", edit(lines), self.cli.shown("module reload res_pjsip.so pbx_config.so"))
    }
}

/// The administrator's `pjsip.conf` with all that it includes.
struct AdminPjsip<'a> {
    tree: &'a Tree,
    sections: &'a [AdminSection],
}

/// The extensions that the administrator's own files add to contexts of ours. A hint shows a state and takes no call, and
/// is in the way of none but ours.
fn admin_extensions(tree: &Tree, expected: &Expected) -> Vec<AdminSection> {
    let all = tree.extensions().into_iter();
    all.filter_map(|(context, admin)| {
        let name = dialled(&admin.name);
        let ours = expected.contexts.get(&context)?;
        let is_twice = ours.contains_key(&name);
        (tree.takes_calls(&admin) || ours.values().flatten().any(|step| matches!(step, Step::Hint(_))))
            .then_some(AdminSection { name, is_twice, ..admin })
    })
    .collect()
}

/// Whether `config list` names this file, whatever links lead to it.
fn has_read(listed: &str, file: &Path) -> bool {
    let file = canonical(file);
    listing::config_files(listed).any(|listed| canonical(Path::new(listed)) == file)
}

/// Whether `target` is included, once, and Asterisk has read it.
fn include(tree: &Tree, target: &Path, load: &str, is_read: bool) -> Result<(), Fault> {
    if let Some((what, edit)) = tree.wrong_include() {
        return Err(Fault::new(what, format!("{edit} && {load}")));
    }
    if !is_read && !tree.is_executed {
        return Err(Fault::new(format!("Asterisk has not read {}, which is included", target.display()), load));
    }
    Ok(())
}

/// Whether it defines an endpoint or an aor, or may do so, or adds to one.
fn may_clash(section: &AdminSection) -> bool {
    !section.is_template && (section.adds || matches!(section.kind.as_deref(), None | Some("endpoint" | "aor")))
}

/// Why Asterisk gives no answer, as far as its socket and its settings show.
fn unreachable_fault(cli: &Cli, error: &CliError, deadline: Instant) -> Fault {
    let fix = match error {
        CliError::CannotStart { .. } => {
            "install Asterisk 22, or set asterisk.command to the program that is there".to_owned()
        }
        CliError::NotRunning { words } => socket_fix(cli, words),
        CliError::TimedOut { .. } => "systemctl restart asterisk".to_owned(),
        CliError::Denied { command } => calls::permission_fix(cli, command, deadline),
        _ => cli.shown("core show version"),
    };
    Fault::new(error.to_string(), fix)
}

/// `words` name the socket: `Unable to connect to remote asterisk (does /run/asterisk/asterisk.ctl exist?)`.
fn socket_fix(cli: &Cli, words: &str) -> String {
    const START: &str = "systemctl start asterisk";
    let path =
        words.split_once("(does ").and_then(|(_, rest)| rest.split_once(" exist?)")).map(|(path, _)| Path::new(path));
    let found = path.and_then(|path| Some((path, std::fs::metadata(path).ok()?)));
    let is_closed = |directory: &&Path| {
        std::fs::read_dir(directory).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    if let Some(closed) = path.and_then(Path::parent).filter(is_closed) {
        return format!("chmod a+rx {}", quoted(closed));
    }
    match (found, Who::of_process("self")) {
        (Some((path, socket)), Some(us)) if !us.may(path, WRITE) => refused_fix(cli, &us, &socket),
        _ => START.to_owned(),
    }
}

/// The version without what comes behind its numbers: a build's or a distribution's own.
fn numbered(version: &str) -> &str {
    let number = version.find(|c: char| c.is_ascii_digit()).unwrap_or(version.len());
    version[number..].find(['+', '~', '-']).map_or(version, |end| &version[..number + end])
}

fn refused_fix(cli: &Cli, us: &Who, socket: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;

    // Asterisk reads the first section of a name alone.
    let path = quoted(cli.config_file());
    let open = format!(
        "{{ grep -q '^\\[files\\]' {path} || printf '\\n[files]\\n' >> {path}; }} && \
         sed -i -e '/^[[:blank:]]*astctlpermissions/d' -e 's/^\\[files\\].*/&\\nastctlpermissions = 0660/' {path} && \
         systemctl restart asterisk"
    );
    match (us.gids.contains(&socket.gid()), socket.mode() & 0o020 != 0) {
        (false, true) => us.join_fix(socket.gid()),
        (true, _) => open,
        (false, false) => format!(
            "usermod -a -G {} {} && {open} && systemctl try-restart pbx-portal",
            rights::group(socket.gid()),
            us.user()
        ),
    }
}

#[cfg(test)]
mod tests;
