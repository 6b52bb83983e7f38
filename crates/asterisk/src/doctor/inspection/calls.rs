//! What the administrator's settings do to each reload or call.

use std::path::Path;
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::deploy::deployment::Deployment;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::edit;
use crate::files::rights::quoted;
use crate::proof::config_tree::Tree;
use crate::proof::diagnosis::EXTENSIONS_CONF;
use crate::text::expected::Expected;
use crate::text::exten::takes;
use crate::text::listing;

/// Whether `cli_permissions.conf` lets this user reload: `answer` is that to the reload of a module that does not exist.
pub(super) fn check_permission(cli: &Cli, directory: &Path, answer: &str) -> Result<(), Fault> {
    if !answer.contains("You don't have permissions") {
        return Ok(());
    }
    let path = directory.join("cli_permissions.conf");
    Err(Fault::new(
        format!("{} does not let this user reload modules", path.display()),
        format!(
            "sed -i -E -e '/^\\s*deny\\s*=>?\\s*(all|module)/d' -e 's/^\\s*default_perm\\s*=.*/default_perm=permit/' {} && {}",
            quoted(&path),
            cli.shown("cli reload permissions")
        ),
    ))
}

/// Whether a call between two phones finds ports for its audio, RTP and RTCP for each of them: `answer` is that to
/// `rtp show settings`.
pub(super) fn check_ports(cli: &Cli, directory: &Path, answer: &str) -> Result<(), Fault> {
    let port = |name: &str| listing::setting(answer, name).and_then(|port| port.parse::<u32>().ok());
    match port("Port start").zip(port("Port end")) {
        Some((start, end)) if end < start + 3 => Err(Fault::new(
            format!("the audio of a call takes four ports, and rtpstart to rtpend is {start} to {end}"),
            format!(
                "sed -i -E -e 's/^\\s*rtpstart\\s*=.*/rtpstart=10000/I' -e 's/^\\s*rtpend\\s*=.*/rtpend=20000/I' {} && {}",
                quoted(&directory.join("rtp.conf")),
                cli.shown("module reload res_rtp_asterisk.so")
            ),
        )),
        _ => Ok(()),
    }
}

impl Deployment {
    /// Whether whoever calls these numbers in `context` reaches what the context `target` has for them, as far as
    /// Asterisk answers until `deadline` and its files show: what stands in `context` itself, or in what it includes
    /// before, comes first.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names what comes first.
    pub fn check_reach(&self, numbers: &[String], context: &str, target: &str, deadline: Instant) -> Result<(), Fault> {
        let directory = self.cli.config_directory(deadline).unwrap_or_else(|| Path::new("/etc/asterisk").to_owned());
        let tree = Tree::read(&directory, EXTENSIONS_CONF, &self.files.dialplan);
        // What the next reload takes.
        let own = tree.extensions().into_iter();
        let mut patterns = own.filter(|(of, own)| of == context && own.name.starts_with('_'));
        let catching = patterns.find_map(|(_, own)| {
            let number = numbers.iter().find(|number| takes(&own.name, number))?;
            Some((number.clone(), format!("{}, line {}", own.path.display(), own.line)))
        });
        let caught = || if self.was_applied(target) { self.caught(numbers, context, target, deadline) } else { None };
        let Some((number, first)) = catching.or_else(caught) else { return Ok(()) };
        let own = tree.sections();
        let heads: Vec<_> = own.iter().filter(|section| section.name == context).collect();
        let reload = self.cli.shown("module reload pbx_config.so");
        let fix = if heads.is_empty() {
            // They are gone from the files already.
            reload
        } else {
            let renamed =
                edit(heads.into_iter().map(|head| (head.path.as_path(), format!("{}s/.*/[from-users]/", head.line))));
            format!(
                "{renamed} && printf '\\n[{context}]\\ninclude => from-users\\n' >> {} && {reload}",
                quoted(&directory.join(EXTENSIONS_CONF))
            )
        };
        Err(Fault::new(format!("a phone that calls {number} gets what {first} has for it, and not the user"), fix))
    }

    /// Whether the pair last proven has this context: an older version of the caller may have had another one.
    fn was_applied(&self, context: &str) -> bool {
        let last = self.last_proven().ok().flatten().and_then(|last| Expected::read(&last.pair).ok());
        last.is_none_or(|last| last.contexts.contains_key(context))
    }

    /// The first number whose calls go elsewhere, and where to.
    fn caught(&self, numbers: &[String], context: &str, target: &str, deadline: Instant) -> Option<(String, String)> {
        let questions: Vec<_> = numbers.iter().map(|number| format!("dialplan show {number}@{context}")).collect();
        numbers.iter().zip(self.cli.ask_all(&questions, deadline)).find_map(|(number, answer)| {
            let answer = answer.ok()?;
            // `[ Context 'x'` or `[ Included context 'x'`: the first is the one that is executed.
            let first = answer.lines().find_map(|line| line.split_once("ontext '")?.1.split_once('\''))?.0;
            (first != target).then(|| (number.clone(), format!("[{first}]")))
        })
    }
}
