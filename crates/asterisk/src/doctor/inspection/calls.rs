//! What the administrator's settings do to each reload or call.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::deploy::deployment::Deployment;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::edit;
use crate::files::rights::quoted;
use crate::proof::admin_sections::AdminSection;
use crate::proof::config_tree::Tree;
use crate::proof::diagnosis::EXTENSIONS_CONF;
use crate::proof::live::Live;
use crate::text::dialplan_listing;
use crate::text::expected::Expected;
use crate::text::exten::{dialled, takes};
use crate::text::pair::Pair;

/// What takes out of the way what keeps a user from `command`. The permissions may keep root from reading them again, too.
pub(super) fn permission_fix(cli: &Cli, command: &str, deadline: Instant) -> String {
    let directory = cli.config_directory(deadline);
    let directory = directory.as_deref().or(cli.config_file().parent()).unwrap_or(Path::new("/etc/asterisk"));
    let word = command.split(' ').next().unwrap_or_default();
    format!(
        "sed -i -E -e '/^\\s*deny\\s*=>?\\s*(all|{word})/d' -e 's/^\\s*default_perm\\s*=.*/default_perm=permit/' {} && \
         if {} | grep permissions; then systemctl restart asterisk; fi",
        quoted(&directory.join("cli_permissions.conf")),
        cli.shown("cli reload permissions")
    )
}

impl Deployment {
    /// Whether whoever calls these numbers in `context` reaches what the context `target` has for them, as far as
    /// Asterisk answers until `deadline` and its files show: a switch that it asks before any context, what stands in
    /// `context` itself, or in what it includes before, comes first. Asterisk is asked for some, and for one of each that
    /// an extension of the files takes.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names what comes first.
    pub fn check_reach(&self, numbers: &[String], context: &str, target: &str, deadline: Instant) -> Result<(), Fault> {
        const MOST: usize = 50;
        let tree = self.dialplan_tree(deadline);
        self.check_override(&tree, numbers)?;
        let admin = tree.extensions();
        let taken = |admin: &AdminSection| numbers.iter().find(|number| takes(&admin.name, number));
        // What the next reload takes.
        let mut patterns =
            admin.iter().filter(|(of, admin)| of == context && admin.name.starts_with('_') && tree.takes_calls(admin));
        let catching = patterns.find_map(|(_, admin)| {
            let place = format!("{}, line {}", admin.path.display(), admin.line);
            Some((taken(admin)?.clone(), place, String::new()))
        });
        // Asterisk is asked for what it has of ours: not for users who wait, nor where an older version of the caller had
        // another target.
        let last =
            self.last_proven().ok().flatten().and_then(|last| self.expected(&last.pair).ok()).unwrap_or_default();
        let is_live = |number: &&String| last.steps(target, number).is_some();
        let some: BTreeSet<_> =
            numbers.iter().take(MOST).chain(admin.iter().filter_map(|(_, admin)| taken(admin))).collect();
        let live: Vec<_> = some.into_iter().filter(is_live).cloned().collect();
        let caught = || {
            let found = self.first(&live, context, deadline).into_iter().find(|found| found.context != target)?;
            Some((found.number, format!("[{}]", found.context), found.origin))
        };
        let Some((number, first, origin)) = catching.or_else(caught) else {
            return self.check_patterns(&live, &last, deadline);
        };
        let admin = &tree.sections;
        let heads: Vec<_> = admin.iter().filter(|section| section.name == context).collect();
        let reload = self.cli.shown("module reload pbx_config.so");
        let fix = if let Some(registrar) = registrar(&origin) {
            elsewhere(&format!("what takes {number}@{context}"), registrar)
        } else if heads.is_empty() {
            // They are gone from the files already.
            reload
        } else {
            let renamed =
                edit(heads.into_iter().map(|head| (head.path.as_path(), format!("{}s/.*/[from-users]/", head.line))));
            let added = tree.append(&format!("[{context}]\\ninclude => from-users"));
            format!("{renamed} && {added} && {reload}")
        };
        Err(Fault::new(other_gets(&number, &first), fix))
    }

    /// Whether no switch that Asterisk asks before any context takes calls to these numbers.
    fn check_override(&self, tree: &Tree, numbers: &[String]) -> Result<(), Fault> {
        let taken = |limit: &str| numbers.iter().find(|number| takes(limit, number));
        let switches = tree.override_switches().into_iter();
        let switches: Vec<_> = switches.filter_map(|(path, line, limit)| Some((path, line, taken(limit)?))).collect();
        let Some((path, line, number)) = switches.first() else { return Ok(()) };
        // Without the line, Asterisk keeps the switch until it is restarted; a reload takes an empty one.
        let emptied = edit(switches.iter().map(|(path, line, _)| (*path, format!("{line}s/=.*/= ; &/"))));
        let fix = format!("{emptied} && {}", self.cli.shown("module reload pbx_config.so"));
        Err(Fault::new(other_gets(number, &format!("{}, line {line}", path.display())), fix))
    }

    /// The administrator's `extensions.conf` with all that it includes.
    fn dialplan_tree(&self, deadline: Instant) -> Tree {
        let directory = self.cli.config_directory(deadline).unwrap_or_else(|| Path::new("/etc/asterisk").to_owned());
        Tree::read(&directory, EXTENSIONS_CONF, &self.files.dialplan)
    }

    /// Whether the patterns of ours, to which the extensions of users send their calls, take the calls to these numbers:
    /// beside `_1XXX`, `_10XX` is the one that does.
    fn check_patterns(&self, numbers: &[String], last: &Expected, deadline: Instant) -> Result<(), Fault> {
        for (context, extens) in &last.contexts {
            let is_sent = |number: &&String| extens.keys().any(|exten| exten.starts_with('_') && takes(exten, number));
            let numbers: Vec<_> = numbers.iter().filter(is_sent).cloned().collect();
            let is_admins = |found: &First| !found.origin.is_empty() && !self.files.is_dialplan(&found.origin);
            if let Some(First { number, exten, origin, .. }) =
                self.first(&numbers, context, deadline).into_iter().find(is_admins)
            {
                let ours = format!("{exten}@{context}");
                return Err(Fault::new(
                    other_gets(&number, &ours),
                    self.conflict_fix(&BTreeSet::from([(ours, origin)]), deadline),
                ));
            }
        }
        Ok(())
    }

    /// What Asterisk takes first for each of these numbers in a context, as far as it answers.
    fn first(&self, numbers: &[String], context: &str, deadline: Instant) -> Vec<First> {
        let questions: Vec<_> = numbers.iter().map(|number| format!("dialplan show {number}@{context}")).collect();
        let answers = numbers.iter().zip(self.cli.ask_all(&questions, deadline));
        let first = answers.filter_map(|(number, answer)| {
            let [context, exten, origin] = dialplan_listing::first(&answer.ok()?)?;
            Some(First { number: number.clone(), context, exten, origin })
        });
        first.collect()
    }

    /// Whether no other module of Asterisk has extensions in the contexts of `pair` by which it could not be proven once it is
    /// deployed, as far as Asterisk answers until `deadline`. A reload leaves them where they are.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names them.
    pub fn check_conflicts(&self, pair: &Pair, deadline: Instant) -> Result<(), Fault> {
        let contexts = Expected::read(pair).unwrap_or_default().contexts;
        let (wanted, former) = (Expected { contexts, ..Expected::default() }, Expected::default());
        let Ok(live) = Live::read(&self.cli, &wanted, &former, deadline) else { return Ok(()) };
        let to_come = live.with_contexts(&wanted, |origin| registrar(origin).is_some());
        to_come.compare(&wanted, &former, |_| false).map(drop).map_err(|mismatch| {
            let others = mismatch.origins.iter().filter(|(_, origin)| registrar(origin).is_some()).cloned().collect();
            Fault::new(format!("an apply would fail: {mismatch}"), self.conflict_fix(&others, deadline))
        })
    }

    /// What takes extensions of [`Drift::conflicts`](crate::Drift::conflicts) out of the way, as far as Asterisk answers
    /// until `deadline` and its files show.
    #[must_use]
    pub fn conflict_fix(&self, conflicts: &BTreeSet<(String, String)>, deadline: Instant) -> String {
        let other = conflicts.iter().find_map(|(exten, origin)| Some(elsewhere(exten, registrar(origin)?)));
        if let Some(other) = other {
            return other;
        }
        let admin = self.dialplan_tree(deadline).extensions();
        // Of a file, Asterisk names no directory; and its lines may be others by now.
        let is_one = |admin: &AdminSection| {
            conflicts.iter().any(|(exten, origin)| {
                let name = exten.split(['@', '/']).next().unwrap_or_default();
                let place = origin.split_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
                place.is_some_and(|(file, line)| {
                    admin.path.file_name().is_some_and(|of| of == file)
                        && (admin.line..=admin.last_line).contains(&line)
                        // Of a global variable, the value is not known here.
                        && (admin.name.contains("${") || dialled(&admin.name) == dialled(name))
                })
            })
        };
        let found: Vec<_> = admin.iter().map(|(_, admin)| admin).filter(|admin| is_one(admin)).collect();
        // They are gone from the files already.
        if found.is_empty() { self.cli.shown("module reload pbx_config.so") } else { self.removal(found) }
    }
}

/// What takes the calls to a number.
struct First {
    number: String,
    context: String,
    exten: String,
    /// Where Asterisk has it from: `extensions.conf:7`.
    origin: String,
}

fn other_gets(number: &str, first: &str) -> String {
    format!("a phone that calls {number} gets what {first} has for it, and not the user")
}

/// What an extension is of that no file of `extensions.conf` has: `pbx_ael`, but not `extensions.conf:7`.
fn registrar(origin: &str) -> Option<&str> {
    // What was added at Asterisk's command line is gone after a reload, as is what is of no file.
    (!origin.is_empty() && !origin.contains(':') && origin != "pbx_config").then_some(origin)
}

/// The fix for what is in no file that this program edits.
fn elsewhere(what: &str, registrar: &str) -> String {
    format!("take {what} out of the configuration of {registrar}, then: systemctl restart asterisk")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
mod tests {
    use std::fs;

    use super::*;
    use crate::deploy::deployment::tests::soon;
    use crate::deploy::tests::Host;
    use crate::files::record::Record;

    #[test]
    fn what_no_file_has_is_of_a_registrar() {
        assert_eq!(registrar("pbx_ael"), Some("pbx_ael"));
        assert!(["", "pbx_config", "extensions.conf:7"].into_iter().all(|origin| registrar(origin).is_none()));
    }

    /// What keeps calls to 9 and 10 from `users`, with this dialplan of the administrator's, and where Asterisk lists this for
    /// 10.
    fn kept(host: &Host, admin: &str, listed: &str) -> Option<(String, String)> {
        fs::write(host.at("extensions.conf"), admin).unwrap();
        host.answering(&format!("'dialplan show 10@phones') cat <<'END'\n{listed}\nEND\n;;"));
        let numbers = ["9".to_owned(), "10".to_owned()];
        let fault = host.deployment.check_reach(&numbers, "phones", "users", soon()).err()?;
        let directory = format!("{}/", host.at("").canonicalize().unwrap().display());
        Some((fault.what.replace(&directory, ""), fault.fix.replace(&directory, "")))
    }

    const INCLUDES: &str = "[phones]\ninclude => users\n";

    fn gets(first: &str) -> String {
        format!("a phone that calls 10 gets what {first} has for it, and not the user")
    }

    #[test]
    fn a_pattern_that_takes_the_calls_to_users_before_them_is_moved_out_of_the_way() {
        let ours = "[ Included context 'users' created by 'pbx_config' ]\n  '10' =>  1. Answer()  [e.conf:2]";
        let host = Host::new();
        let patterns = "exten => _2X,1,Hangup()\n[other]\nexten => _1X,1,Hangup()\n";
        for admin in [INCLUDES.to_owned(), format!("{INCLUDES}{patterns}")] {
            assert_eq!(kept(&host, &admin, ours), None);
        }
        // A hint takes no call.
        let hint = "[ Context 'phones' created by 'pbx_config' ]\n  '_1X' =>  hint: PJSIP/10  [e.conf:3]\n\n";
        assert_eq!(kept(&host, &format!("{INCLUDES}exten => _1X,hint,PJSIP/10\n"), &format!("{hint}{ours}")), None);
        let (what, fix) = kept(&host, &format!("{INCLUDES}exten => _1X,1,Hangup()\n"), ours).unwrap();
        assert_eq!(what, gets("extensions.conf, line 3"));
        let moved = "sed -i '1s/.*/[from-users]/' extensions.conf && \
                     printf '\\n[phones]\\ninclude => from-users\\n' >> extensions.conf && ";
        assert!(fix.starts_with(moved) && fix.ends_with(" -rx 'module reload pbx_config.so'"), "{fix}");
    }

    #[test]
    fn a_switch_that_is_asked_before_all_contexts_is_emptied() {
        let ours = "[ Included context 'users' created by 'pbx_config' ]\n  '10' =>  1. Answer()  [e.conf:2]";
        let host = Host::new();
        let general = |lines: &str| format!("[general]\n{lines}\n{INCLUDES}");
        let lines = "overrideswitch=Loopback/1@x/_2X\noverrideswitch=Loopback/1@x/_1X\noverrideswitch => Nope";
        let (what, fix) = kept(&host, &general(lines), ours).unwrap();
        assert_eq!(what, gets("extensions.conf, line 3"));
        assert!(fix.starts_with("sed -i '3s/=.*/= ; &/;4s/=.*/= ; &/' extensions.conf && "), "{fix}");
        assert!(fix.ends_with(" -rx 'module reload pbx_config.so'"), "{fix}");
        for lines in ["overrideswitch=Loopback/1@x/_2X", "overrideswitch= ; =Nope"] {
            assert_eq!(kept(&host, &general(lines), ours), None, "{lines}");
        }
    }

    #[test]
    fn what_comes_before_the_users_is_named_by_what_asterisk_has_it_from() {
        let by = |origin| format!("[ Included context 'his' created by 'x' ]\n  '_1X' =>  1. Hangup()  [{origin}]");
        let host = Host::new();
        let proven = |dialplan: &str| {
            let pair = Pair { endpoints: Vec::new(), dialplan: dialplan.into() };
            let record = Record { tag: String::new(), unpurged: BTreeSet::new(), pair };
            host.deployment.lock(soon()).unwrap().keep(record).unwrap();
        };
        proven("[users]\nexten => 10,1,Answer()\n");
        let (what, fix) = kept(&host, INCLUDES, &by("pbx_ael")).unwrap();
        assert_eq!(what, gets("[his]"));
        assert_eq!(
            fix,
            "take what takes 10@phones out of the configuration of pbx_ael, then: systemctl restart asterisk"
        );
        // It is gone from the files already.
        let (what, fix) = kept(&host, "", &by("extensions.conf:7")).unwrap();
        assert_eq!(what, gets("[his]"));
        assert!(fix.ends_with(" -rx 'module reload pbx_config.so'") && !fix.contains("sed"), "{fix}");

        // Before the next apply, Asterisk runs the pair of an older version.
        proven("[older]\nexten => 10,1,Answer()\n");
        assert_eq!(kept(&host, INCLUDES, &by("pbx_ael")), None);
    }

    #[test]
    fn what_another_module_has_in_the_place_of_an_extension_to_come_is_a_conflict() {
        let host = Host::new();
        let pair = Pair {
            endpoints: Vec::new(),
            dialplan: "[c]\nexten => 1,hint,A/1\nexten => 1,1,Goto(r,1,1)\n[r]\n".into(),
        };
        let fault = |context: &str, steps: &[&str]| {
            let count = steps.len();
            let priorities = if count == 1 { "priority" } else { "priorities" };
            host.answering(&format!(
                "'dialplan show '*) n=${{2#dialplan show }}; if [ \"$n\" = {context} ]; then cat <<'END'\n\
                 [ Context '{context}' created by 'x' ]\n  '1' =>{}\n\n-= 1 extension ({count} {priorities}) in 1 context. =-\n\
                 END\nelse echo \"There is no existence of '$n' context\"; fi ;;",
                steps.join("\n     ")
            ));
            let fault = host.deployment.check_conflicts(&pair, soon()).err()?;
            Some((fault.what, fault.fix))
        };
        let fix = "take 1@r out of the configuration of res_parking, then: systemctl restart asterisk";
        let taken = "an apply would fail: defined twice: extension 1@r in res_parking takes calls to one of ours";
        let found = |what: &str, fix: &str| Some((what.to_owned(), fix.to_owned()));
        assert_eq!(fault("r", &["  1. Park()  [res_parking]"]), found(taken, fix));
        // The next reload takes these away, and a hint takes no call.
        assert_eq!(fault("r", &["  1. Park()  [extensions.conf:7]", "  2. Park()  [pbx_config]"]), None);
        assert_eq!(fault("r", &["  hint: PJSIP/1  [res_pjsip_config_wizard]"]), None);
        // Asterisk takes those of a file in their place, and keeps what is behind them.
        assert_eq!(fault("c", &["  hint: B/1  [a]", "  1. Park()  [res_parking]"]), None);
        let also = "an apply would fail: defined twice: extension 1@c is also defined in pbx_ael";
        let fix = "take 1@c out of the configuration of pbx_ael, then: systemctl restart asterisk";
        assert_eq!(fault("c", &["  1. Wait(1)  [pbx_ael]", "  2. Hangup()  [pbx_ael]"]), found(also, fix));
    }

    #[test]
    fn an_extension_in_the_place_of_ours_is_commented_out_where_a_file_has_it() {
        let host = Host::new();
        fs::write(
            host.at("extensions.conf"),
            "[c]\nexten => 1,1,Answer()\n same => n,Hangup()\nexten => 2,1,Answer()\n",
        )
        .unwrap();
        let fix = |exten: &str, origin: &str| {
            host.deployment.conflict_fix(&BTreeSet::from([(exten.to_owned(), origin.to_owned())]), soon())
        };
        let reload = host.deployment.cli.shown("module reload pbx_config.so");
        assert_eq!(
            fix("1@c", "pbx_ael"),
            "take 1@c out of the configuration of pbx_ael, then: systemctl restart asterisk"
        );
        for origin in ["extensions.conf:2", "extensions.conf:3"] {
            assert!(fix("1@c", origin).starts_with("sed -i '2,3s/^/; /' "), "{}", fix("1@c", origin));
        }
        assert!(fix("2/9@c", "extensions.conf:4").starts_with("sed -i '4,4s/^/; /' "));
        for (exten, origin) in
            [("1@c", "extensions.conf:4"), ("1@c", "other.conf:2"), ("1@c", "extensions.conf:9"), ("1@c", "")]
        {
            assert_eq!(fix(exten, origin), reload, "{exten} {origin}");
        }
    }
}
