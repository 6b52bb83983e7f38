//! Why Asterisk did not take the files, as far as its own configuration shows.
//!
//! This reads the administrator's files and changes nothing; what it cannot read it leaves out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::ask::cli::{Cli, SETTINGS};
use crate::files::rights::{READ, SEARCH, Who, give, quoted};
use crate::proof::admin_sections::AdminSection;
use crate::proof::config_lines::section_names;
use crate::proof::config_tree::Tree;
use crate::proof::live::Foreign;
use crate::proof::mismatch::{Mismatch, Names};
use crate::proof::obstacles::edit;
use crate::text::expected::Expected;
use crate::text::pair::IncludeFiles;
use crate::text::shown::is_yes;

/// The main file that includes our endpoints.
pub(crate) const PJSIP_CONF: &str = "pjsip.conf";
/// The main file that includes our dialplan.
pub(crate) const EXTENSIONS_CONF: &str = "extensions.conf";
const SORCERY_CONF: &str = "sorcery.conf";
/// What keeps the objects there by which phones are let in.
const CACHES: [&str; 3] = ["endpoint/cache", "auth/cache", "aor/cache"];

/// What to fix, one sentence each, after a reload that did not bring `wanted`.
pub(crate) fn fixes(
    cli: &Cli,
    files: &IncludeFiles,
    wanted: &Expected,
    mismatch: Option<&Mismatch>,
    deadline: Instant,
) -> Vec<String> {
    let Some(directory) = cli.config_directory(deadline) else { return Vec::new() };
    let mut fixes = Vec::new();
    let pjsip = Tree::read(&directory, PJSIP_CONF, &files.endpoints);
    let extensions = Tree::read(&directory, EXTENSIONS_CONF, &files.dialplan);
    let wrong = [&pjsip, &extensions].into_iter().filter_map(Tree::wrong_include);
    fixes.extend(wrong.map(|(what, edit)| format!("{what} ({edit})")));
    let twice = defined_twice(&pjsip, wanted);
    if !twice.is_empty() {
        fixes.push(format!("the administrator's own configuration defines {} too: remove it there", Names(&twice)));
    }
    let is_unread = |mismatch: &Mismatch| {
        wanted.standalone.iter().all(|(kind, name)| mismatch.missing.contains(&format!("{kind} {name}")))
    };
    if fixes.is_empty()
        && mismatch.is_none_or(is_unread)
        && let Some(asterisk) = cli.run(SETTINGS, deadline).ok().and_then(|said| Who::of_asterisk(&said))
    {
        let trees = [(&pjsip, &files.endpoints), (&extensions, &files.dialplan)];
        let closed = trees.into_iter().filter_map(|(tree, path)| {
            closed_to(&asterisk, tree, path)
                .map(|(what, fix)| format!("{what} ({fix})"))
                .or_else(|| unreadable(path, &asterisk))
        });
        fixes.extend(closed);
        if fixes.is_empty() && mismatch.is_some() && !wanted.standalone.is_empty() {
            let main = &pjsip.main;
            fixes.push(format!(
                "Asterisk may take {} for unchanged, as after a time when it could not read it (touch {})",
                main.display(),
                quoted(main)
            ));
        }
    }
    fixes
}

/// Objects that the other files of the tree define although they are defined already, by them or by us.
fn defined_twice(tree: &Tree, wanted: &Expected) -> Vec<String> {
    let twice = tree.objects(wanted).into_iter().filter(|section| section.is_twice && !section.adds);
    twice
        .map(|AdminSection { name, path, line, kind, .. }| {
            format!("the {} {name} ({}, line {line})", kind.unwrap_or_default(), path.display())
        })
        .collect()
}

/// A line of `sorcery.conf` about objects of PJSIP.
struct Mapping {
    path: PathBuf,
    line: usize,
    /// The kind of objects, or `auth/cache`.
    key: String,
    value: String,
}

impl Mapping {
    fn place(&self) -> String {
        format!("{}, line {}", self.path.display(), self.line)
    }
}

fn mappings(directory: &Path) -> Vec<Mapping> {
    let tree = Tree::read(directory, SORCERY_CONF, Path::new(""));
    let sections = &tree.sections;
    let of_pjsip = sections.iter().filter(|section| section.name.eq_ignore_ascii_case("res_pjsip"));
    let mappings = of_pjsip.flat_map(|section| {
        let settings = tree.settings(section);
        settings.map(|(line, key, value)| Mapping { path: section.path.clone(), line, key, value: value.to_owned() })
    });
    mappings.collect()
}

/// Those that keep objects of PJSIP in memory beyond a reload. The listings read the objects themselves, and phones are
/// let in by what is kept.
fn caches(mappings: &[Mapping]) -> Vec<String> {
    let is_kept = |of: &&Mapping| {
        let mut said = of.value.split(',').filter_map(|option| option.trim().strip_prefix("expire_on_reload="));
        CACHES.contains(&of.key.as_str()) && of.value.starts_with("memory_cache") && !said.any(is_yes)
    };
    mappings.iter().filter(is_kept).map(Mapping::place).collect()
}

/// Those by which Asterisk keeps who is registered elsewhere than where an apply removes a former owner's phone.
fn other_contacts(mappings: &[Mapping]) -> impl Iterator<Item = &Mapping> {
    let is_contact = |of: &&Mapping| matches!(of.key.as_str(), "contact" | "contact/cache");
    mappings.iter().filter(is_contact).filter(|of| of.value != "astdb,registrar")
}

/// What `sorcery.conf` says by which Asterisk takes no object of ours, or keeps who is registered elsewhere: the sentence,
/// and the command that comments it out.
pub(crate) fn elsewhere(directory: &Path) -> Option<(String, String)> {
    let mappings = mappings(directory);
    let is_ours = |of: &Mapping| {
        let mut words = of.value.split(',');
        words.next() == Some("config")
            && words.next().is_some_and(|file| directory.join(file) == directory.join(PJSIP_CONF))
    };
    let mut wrong = Vec::new();
    for kind in ["endpoint", "auth", "aor"] {
        let of_kind = || mappings.iter().filter(move |of| of.key == kind);
        if !of_kind().any(is_ours) {
            wrong.extend(of_kind());
        }
    }
    let mut said: Vec<_> = wrong
        .iter()
        .map(|of| format!("{}: Asterisk takes each {} from elsewhere than pjsip.conf", of.place(), of.key))
        .collect();
    for of in other_contacts(&mappings) {
        said.push(format!("{}: Asterisk keeps contacts elsewhere than in astdb,registrar, so that a former owner's phone stays registered", of.place()));
        wrong.push(of);
    }
    let edit = edit(wrong.into_iter().map(|of| (of.path.as_path(), format!("{}s/^/; /", of.line))));
    (!said.is_empty()).then(|| (said.join("; "), edit))
}

/// What the administrator's files say besides the listings: sections that add to objects of ours (`[1000](+)`), aors, and
/// what keeps former objects.
pub(crate) fn look_into_admin_files(
    cli: &Cli,
    ours: &IncludeFiles,
    endpoints: &[u8],
    deadline: Instant,
    foreign: &mut Foreign,
) {
    let Some(directory) = cli.config_directory(deadline) else { return };
    let mappings = mappings(&directory);
    foreign.caches = caches(&mappings);
    foreign.contacts = other_contacts(&mappings).map(Mapping::place).collect();
    let admin = Tree::read(&directory, PJSIP_CONF, &ours.endpoints).sections;
    let (mut added, others): (Vec<_>, Vec<_>) = admin.into_iter().partition(|section| section.adds);
    if !added.is_empty() {
        let names = section_names(endpoints);
        added.retain(|section| names.contains(&section.name.to_ascii_lowercase()));
    }
    foreign.added = added;
    let is_aor = |section: &AdminSection| section.kind.as_deref() == Some("aor") && !section.is_template;
    foreign.aors = others.into_iter().filter(is_aor).collect();
}

/// The names of the endpoints that the administrator's own configuration defines.
pub(crate) fn admin_endpoints(cli: &Cli, ours: &IncludeFiles) -> BTreeSet<String> {
    let Some(directory) = cli.config_directory(Instant::now() + cli.timeout()) else { return BTreeSet::new() };
    let mut sections = Tree::read(&directory, PJSIP_CONF, &ours.endpoints).sections;
    sections.retain(|section| section.kind.as_deref() == Some("endpoint") && !section.is_template);
    sections.into_iter().map(|section| section.name).collect()
}

/// The files of the administrator's that Asterisk may not read, or the directories above them and `target` that it may not
/// enter, and the command that lets it. It takes nothing where one of them is closed.
pub(crate) fn closed_to(asterisk: &Who, tree: &Tree, target: &Path) -> Option<(String, String)> {
    let above: BTreeSet<_> = tree.paths().chain(target.parent()).flat_map(|path| asterisk.closed_above(path)).collect();
    let opened = above.iter().map(|path| (path.display().to_string(), format!("chmod a+x {}", quoted(path))));
    let unread = tree.paths().filter(|path| !asterisk.may(path, READ));
    let given = unread.map(|path| {
        let given = give(path, &asterisk.group(), "0640");
        // Of the main file it keeps the time though it could not open it, and takes it for unchanged from then on.
        let touched = if path == tree.main { format!("{given} && touch {}", quoted(path)) } else { given };
        (path.display().to_string(), touched)
    });
    let (closed, fixes): (Vec<_>, Vec<_>) = opened.chain(given).unzip();
    let what = || format!("Asterisk, which runs as {}, may not enter or read {}", asterisk.user(), closed.join(", "));
    (!closed.is_empty()).then(|| (what(), fixes.join(" && ")))
}

/// A file of ours that owners and modes keep from Asterisk.
fn unreadable(path: &Path, asterisk: &Who) -> Option<String> {
    let directory = path.parent()?;
    if asterisk.may(directory, SEARCH) && asterisk.may(path, READ) {
        return None;
    }
    let give = give(directory, &asterisk.group(), "2770");
    let fix = format!("give {} to its group and set its setgid bit ({give})", directory.display());
    Some(format!("Asterisk, which runs as {}, is unable to read {}: {fix}", asterisk.user(), path.display()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::ask::cli::tests::cli;
    use crate::proof::config_tree::tests::Config;
    use crate::text::expected::tests::expected;

    #[test]
    fn the_administrators_endpoints_are_those_of_his_files() {
        let text = "#include p/*.conf\n[door]\ntype=endpoint\n[bell]\ntype=aor\n";
        let config = Config::new("").write(PJSIP_CONF, text);
        let files = IncludeFiles { endpoints: config.at("p/ours.conf"), dialplan: config.at("none.conf") };
        let says = format!("/usr/bin/printf Configuration\\040directory:\\040{}\\n", config.at("").display());
        assert_eq!(admin_endpoints(&cli(&says), &files).into_iter().collect::<Vec<_>>(), ["door"]);
    }

    #[test]
    fn a_file_that_asterisk_may_not_read_is_named() {
        let config = Config::new("");
        let chmod = |name, mode| fs::set_permissions(config.at(name), fs::Permissions::from_mode(mode)).unwrap();
        let asterisk = Who { uid: 3_999_999_999, gids: vec![3_999_999_998] };
        let fix = |mode| {
            chmod("p/ours.conf", mode);
            let hint = unreadable(&config.at("p/ours.conf"), &asterisk)?;
            Some(hint.replace(&config.at("p").display().to_string(), "P"))
        };
        chmod("", 0o755);
        chmod("p", 0o755);
        assert_eq!(fix(0o644), None);
        let unread = "Asterisk, which runs as 3999999999, is unable to read P/ours.conf: ";
        let given = "give P to its group and set its setgid bit (chgrp 3999999998 P && chmod 2770 P)";
        assert_eq!(fix(0o640), Some(format!("{unread}{given}")));
    }

    #[test]
    fn what_the_administrator_defines_too_is_named_with_its_line() {
        let config = Config::new(
            "#include p/*.conf\n[1000](base)\ncontext=x\ntype=endpoint ; mine\n[1000]\ntype=identify\n[1001]\ntype=endpoint\n",
        );
        let found = defined_twice(&config.tree(), &expected("[1000]\ntype=endpoint\naors=1000\n", ""));
        assert_eq!(found, [format!("the endpoint 1000 ({}, line 2)", config.at("main.conf").display())]);
    }

    #[test]
    fn auths_aors_and_markers_are_ours_too() {
        let config = Config::new(
            "[a-1]\ntype=auth\n[a]\ntype=aor\n[m-1]\ntype=aor\n[b]\ntype=aor\n[a]\ntype=auth\n[a-1]\ntype=identify\n",
        );
        let ours = "[a]\ntype=endpoint\nauth=a-1\naors=a\n[m-1]\ntype=aor\n";
        let found = defined_twice(&config.tree(), &expected(ours, ""));
        let names: Vec<_> = found.iter().map(|found| found.split(" (").next().unwrap()).collect();
        assert_eq!(names, ["the auth a-1", "the aor a", "the aor m-1"]);
    }

    #[test]
    fn a_cache_that_a_reload_does_not_empty_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let text = "[res_pjsip]\nendpoint/cache=memory_cache,object_lifetime_maximum=600\nendpoint=config,pjsip.conf\n\
            auth/cache => memory_cache, expire_on_reload=Yes\n;aor/cache=memory_cache\nidentify/cache=memory_cache\n\
            aor/cache=memory_cache,expire_on_reload=no\n[other]\nauth/cache=memory_cache\n";
        fs::write(directory.path().join(SORCERY_CONF), text).unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let at = |line| format!("{}, line {line}", directory.join(SORCERY_CONF).display());
        assert_eq!(caches(&mappings(&directory)), [2, 7].map(at));
        assert_eq!(elsewhere(&directory), None);
    }

    #[test]
    fn what_is_mapped_elsewhere_is_commented_out() {
        let directory = tempfile::tempdir().unwrap();
        let edited = |lines: &str| {
            fs::write(directory.path().join(SORCERY_CONF), format!("[Res_PJSIP]\n{lines}\n[other]\naor=memory\n"))
                .unwrap();
            elsewhere(directory.path()).map(|(_, edit)| edit.split('\'').nth(1).unwrap().to_owned())
        };
        let absolute = format!("aor=config,{}", directory.path().join(PJSIP_CONF).display());
        for good in [
            "aor=memory\naor=config,pjsip.conf,criteria=type=aor",
            "contact = astdb,registrar",
            "identify=memory",
            &absolute,
        ] {
            assert_eq!(edited(good), None, "{good}");
        }
        for (wrong, edit) in [
            ("auth=config,pjsip_auth.conf,criteria=type=auth", "2s/^/; /"),
            // Asterisk takes the blank for a part of the name.
            ("aor=config, pjsip.conf\naor => memory", "2s/^/; /;3s/^/; /"),
            ("contact=astdb,mine", "2s/^/; /"),
            ("contact=astdb,registrar\ncontact/cache=memory_cache\nendpoint=memory", "4s/^/; /;3s/^/; /"),
        ] {
            assert_eq!(edited(wrong).as_deref(), Some(edit), "{wrong}");
        }
    }
}
