//! Why Asterisk did not take the files, as far as its own configuration shows.
//!
//! This reads the administrator's files and changes nothing; what it cannot read it leaves out.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    ask::cli::Cli,
    proof::{
        config_tree::{Section, Tree},
        mismatch::{Mismatch, Names},
    },
    text::{
        expected::{Endpoint, Expected},
        pair::IncludeFiles,
    },
};

/// The main file that includes our endpoints.
pub(crate) const PJSIP: &str = "pjsip.conf";
/// The main file that includes our dialplan.
pub(crate) const EXTENSIONS: &str = "extensions.conf";

/// What to fix, one sentence each, after a reload that did not bring `wanted`.
pub(crate) fn fixes(
    cli: &Cli,
    files: &IncludeFiles,
    wanted: &Expected,
    mismatch: Option<&Mismatch>,
    deadline: Instant,
) -> Vec<String> {
    let Some(directory) = config_directory(cli, deadline) else { return Vec::new() };
    let mut fixes = Vec::new();
    let pjsip = Tree::read(&directory, PJSIP, &files.endpoints);
    let extensions = Tree::read(&directory, EXTENSIONS, &files.dialplan);
    for (main, tree, target) in [(PJSIP, &pjsip, &files.endpoints), (EXTENSIONS, &extensions, &files.dialplan)] {
        fixes.extend(missing_include(&directory, main, tree, target));
        fixes.extend(included_twice(tree, target));
    }
    let twice = defined_twice(&pjsip, files, wanted);
    if !twice.is_empty() {
        fixes.push(format!("the administrator's own configuration defines {} too: remove it there", Names(&twice)));
    }
    let is_unread = |mismatch: &Mismatch| {
        wanted.standalone.iter().all(|(kind, name)| mismatch.missing.contains(&format!("{kind} {name}")))
    };
    if fixes.is_empty() && mismatch.is_none_or(is_unread) {
        fixes.extend([&files.endpoints, &files.dialplan].into_iter().filter_map(|path| unreadable_to_others(path)));
    }
    fixes
}

/// Where Asterisk reads its configuration.
pub(crate) fn config_directory(cli: &Cli, deadline: Instant) -> Option<PathBuf> {
    cli.config_directory(deadline)
}

/// The sentence for an `#include` line that is not there, where that can be seen.
pub(crate) fn missing_include(directory: &Path, main: &str, tree: &Tree, target: &Path) -> Option<String> {
    if tree.count() != Some(0) {
        return None;
    }
    let line = target.strip_prefix(directory).unwrap_or(target);
    Some(format!(
        "{} does not include {}: add the line `#include {}` to it",
        directory.join(main).display(),
        target.display(),
        line.display()
    ))
}

/// The sentence for a file that is read more than once, so that Asterisk takes each object for a duplicate.
fn included_twice(tree: &Tree, target: &Path) -> Option<String> {
    let surplus: Vec<_> =
        tree.surplus().into_iter().map(|site| format!("{}, line {}", site.file.display(), site.line)).collect();
    (!surplus.is_empty())
        .then(|| format!("{} is included more than once: remove {}", target.display(), surplus.join(" and ")))
}

/// Objects of ours that other files of the tree define as well.
fn defined_twice(tree: &Tree, ours: &IncludeFiles, wanted: &Expected) -> Vec<String> {
    let mut all: BTreeSet<(&str, &str)> =
        wanted.standalone.iter().map(|(kind, name)| (kind.word(), name.as_str())).collect();
    for (name, Endpoint { auths, outbound_auths, aors, identifies, said: _ }) in &wanted.endpoints {
        all.insert(("endpoint", name));
        let named = [("auth", auths), ("auth", outbound_auths), ("aor", aors), ("identify", identifies)];
        all.extend(named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str()))));
    }
    let is_ours = |kind: &str, name: &str| all.contains(&(kind, name));
    let sections = tree.sections(&ours.endpoints).into_iter();
    let objects = sections.filter(|section| !section.is_template).filter_map(|section| Some((section.kind?, section)));
    objects
        .filter(|(kind, section)| is_ours(kind, section.name))
        .map(|(kind, Section { name, path, line, .. })| format!("the {kind} {name} ({}, line {line})", path.display()))
        .collect()
}

/// Sections of the administrator's that add to objects of ours (`[1000](+)`), as far as his files can be read.
pub(crate) fn added_sections(cli: &Cli, ours: &IncludeFiles, endpoints: &[u8], deadline: Instant) -> Vec<Added> {
    let Some(directory) = config_directory(cli, deadline) else { return Vec::new() };
    let tree = Tree::read(&directory, PJSIP, &ours.endpoints);
    let mut added: Vec<_> = tree.sections(&ours.endpoints).into_iter().filter(|section| section.adds).collect();
    if !added.is_empty() {
        let header = |line: &str| Some(line.trim().strip_prefix('[')?.split_once(']')?.0.to_owned());
        let names: BTreeSet<String> = String::from_utf8_lossy(endpoints).lines().filter_map(header).collect();
        added.retain(|section| names.contains(section.name));
    }
    let owned =
        |Section { name, path, line, .. }: Section<'_>| Added { name: name.to_owned(), path: path.to_owned(), line };
    added.into_iter().map(owned).collect()
}

/// A section that adds to an object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// The object's name.
    pub name: String,
    /// The file of the administrator's.
    pub path: PathBuf,
    /// The line of the section's head, from 1.
    pub line: usize,
}

/// The administrator's own endpoints, read when they are first asked for.
pub(crate) struct OwnEndpoints<'a> {
    cli: &'a Cli,
    ours: &'a IncludeFiles,
    names: OnceCell<BTreeSet<String>>,
}

impl<'a> OwnEndpoints<'a> {
    pub(crate) fn new(cli: &'a Cli, ours: &'a IncludeFiles) -> Self {
        Self { cli, ours, names: OnceCell::new() }
    }

    /// Whether his configuration, as far as it can be read, defines this endpoint.
    pub(crate) fn contain(&self, name: &str) -> bool {
        let read = || {
            let directory = config_directory(self.cli, Instant::now() + self.cli.timeout()).unwrap_or_default();
            let tree = Tree::read(&directory, PJSIP, &self.ours.endpoints);
            let sections = tree.sections(&self.ours.endpoints).into_iter();
            let endpoints = sections.filter(|section| section.kind == Some("endpoint") && !section.is_template);
            endpoints.map(|section| section.name.to_owned()).collect()
        };
        self.names.get_or_init(read).contains(name)
    }
}

/// A file whose group and mode shut Asterisk out, unless Asterisk runs as its owner.
fn unreadable_to_others(path: &Path) -> Option<String> {
    let directory = path.parent()?;
    let (file, parent) = (fs::metadata(path).ok()?, fs::metadata(directory).ok()?);
    (file.gid() != parent.gid() || parent.mode() & 0o2000 == 0).then(|| {
        format!(
            "Asterisk may be unable to read {} (owner {}, group {}): give {directory} to Asterisk's group and set its \
             setgid bit (chgrp asterisk {directory}; chmod 2770 {directory})",
            path.display(),
            file.uid(),
            file.gid(),
            directory = directory.display(),
        )
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::text::pair::Pair;

    struct Config {
        directory: tempfile::TempDir,
        files: IncludeFiles,
    }

    fn config(pjsip: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("p")).unwrap();
        fs::write(at("p/ours.conf"), "[1000]\ntype=endpoint\n").unwrap();
        fs::write(at(PJSIP), pjsip).unwrap();
        let files = IncludeFiles { endpoints: at("p/ours.conf"), dialplan: at("none.conf") };
        Config { directory, files }
    }

    fn missing(pjsip: &str) -> Option<String> {
        let Config { directory, files } = config(pjsip);
        missing_include(
            directory.path(),
            PJSIP,
            &Tree::read(directory.path(), PJSIP, &files.endpoints),
            &files.endpoints,
        )
    }

    #[test]
    fn a_missing_include_line_is_named_with_its_file() {
        let fix = missing("[global]\n;#include p/*.conf\n").unwrap();
        assert!(
            fix.contains("pjsip.conf does not include") && fix.ends_with("add the line `#include p/ours.conf` to it"),
            "{fix}"
        );
    }

    #[test]
    fn the_administrators_own_endpoints_are_those_of_his_files() {
        let Config { directory, files } = config("#include p/*.conf\n[door]\ntype=endpoint\n[bell]\ntype=aor\n");
        let says = format!("/usr/bin/printf Configuration\\040directory:\\040{}\\n", directory.path().display());
        let cli = Cli::new(&says, Duration::from_secs(30)).unwrap();
        let own = OwnEndpoints::new(&cli, &files);
        assert_eq!(["door", "bell", "1000"].map(|name| own.contain(name)), [true, false, false]);
    }

    #[test]
    fn a_directory_that_gives_its_group_on_shuts_nobody_out() {
        let Config { directory: _directory, files } = config("");
        let parent = files.endpoints.parent().unwrap();
        let fix = |mode| {
            fs::set_permissions(parent, fs::Permissions::from_mode(mode)).unwrap();
            fs::remove_file(&files.endpoints).unwrap();
            fs::write(&files.endpoints, "").unwrap();
            unreadable_to_others(&files.endpoints)
        };
        assert_eq!(fix(0o2770), None);
        let hint = fix(0o770).unwrap();
        assert!(hint.starts_with(&format!("Asterisk may be unable to read {}", files.endpoints.display())), "{hint}");
        assert!(hint.ends_with(&format!("chmod 2770 {})", parent.display())), "{hint}");
    }

    #[test]
    fn what_the_administrator_defines_too_is_named_with_its_line() {
        let Config { directory, files } = config(
            "#include p/*.conf\n[1000](base)\ncontext=x\ntype=endpoint ; mine\n[1000]\ntype=identify\n[1001]\ntype=endpoint\n",
        );
        let pair = Pair { endpoints: b"[1000]\ntype=endpoint\naors=1000\n".to_vec(), dialplan: Vec::new() };
        let found = defined_twice(
            &Tree::read(directory.path(), PJSIP, &files.endpoints),
            &files,
            &Expected::read(&pair).unwrap(),
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("the endpoint 1000 (") && found[0].ends_with("pjsip.conf, line 2)"), "{found:?}");
    }

    #[test]
    fn auths_aors_and_markers_are_ours_too() {
        let Config { directory, files } = config(
            "[a-1]\ntype=auth\n[a]\ntype=aor\n[m-1]\ntype=aor\n[b]\ntype=aor\n[a]\ntype=auth\n[a-1]\ntype=identify\n",
        );
        let ours = "[a]\ntype=endpoint\nauth=a-1\naors=a\n[m-1]\ntype=aor\n";
        let pair = Pair { endpoints: ours.into(), dialplan: Vec::new() };
        let found = defined_twice(
            &Tree::read(directory.path(), PJSIP, &files.endpoints),
            &files,
            &Expected::read(&pair).unwrap(),
        );
        let names: Vec<_> = found.iter().map(|found| found.split(" (").next().unwrap()).collect();
        assert_eq!(names, ["the auth a-1", "the aor a", "the aor m-1"]);
    }
}
