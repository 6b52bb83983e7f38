//! Why Asterisk did not take the files, as far as its own configuration can tell.
//!
//! This reads the administrator's files and changes nothing; what it cannot read it leaves out.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    cli::Cli,
    expected::{Endpoint, Expected},
    file,
    mismatch::{Mismatch, Names},
    pair::IncludeFiles,
};

/// The main file that includes our endpoints.
pub(crate) const PJSIP: &str = "pjsip.conf";
/// The main file that includes our dialplan.
pub(crate) const EXTENSIONS: &str = "extensions.conf";

/// More files than any configuration has.
const MOST_FILES: usize = 1000;

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
    let pjsip = Tree::read(&directory, PJSIP);
    fixes.extend(missing_include(&directory, PJSIP, &pjsip, &files.endpoints));
    fixes.extend(missing_include(&directory, EXTENSIONS, &Tree::read(&directory, EXTENSIONS), &files.dialplan));
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
    if !tree.is_readable || tree.files.contains_key(&canonical(target)) {
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

/// Objects of ours that stand in other files of the tree as well.
fn defined_twice(tree: &Tree, ours: &IncludeFiles, wanted: &Expected) -> Vec<String> {
    let mut all: BTreeSet<(&str, &str)> =
        wanted.standalone.iter().map(|(kind, name)| (kind.word(), name.as_str())).collect();
    for (name, Endpoint { auths, outbound_auths, aors, identifies }) in &wanted.endpoints {
        all.insert(("endpoint", name));
        let named = [("auth", auths), ("auth", outbound_auths), ("aor", aors), ("identify", identifies)];
        all.extend(named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str()))));
    }
    let is_ours = |kind: &str, name: &str| all.contains(&(kind, name));
    tree.objects(&ours.endpoints)
        .filter(|object| is_ours(object.kind, object.name))
        .map(|Object { kind, name, path, line }| format!("the {kind} {name} ({}, line {line})", path.display()))
        .collect()
}

/// Sections of the administrator's that add to objects of ours (`[1000](+)`), as far as his files can be read.
pub(crate) fn added_sections(cli: &Cli, ours: &IncludeFiles, endpoints: &[u8], deadline: Instant) -> Vec<Added> {
    let Some(directory) = config_directory(cli, deadline) else { return Vec::new() };
    let own = canonical(&ours.endpoints);
    let tree = Tree::read_all_but(&own, &directory, PJSIP);
    let files = tree.files.iter().filter(|(path, _)| **path != own);
    let lines = files.flat_map(|(path, text)| text.lines().map(str::trim).zip(1..).map(move |line| (path, line)));
    let mut added: Vec<_> = lines
        .filter_map(|(path, (text, line))| {
            let (name, options) = text.strip_prefix('[')?.split_once(']')?;
            let mut options = options.strip_prefix('(')?.split(')').next()?.split(',');
            options.any(|option| option.trim() == "+").then(|| Added {
                name: name.to_owned(),
                path: path.clone(),
                line,
            })
        })
        .collect();
    if !added.is_empty() {
        let header = |line: &str| Some(line.trim().strip_prefix('[')?.split_once(']')?.0.to_owned());
        let names: BTreeSet<String> = String::from_utf8_lossy(endpoints).lines().filter_map(header).collect();
        added.retain(|added| names.contains(&added.name));
    }
    added
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
            let tree = Tree::read(&directory, PJSIP);
            let endpoints = tree.objects(&self.ours.endpoints).filter(|object| object.kind == "endpoint");
            endpoints.map(|object| object.name.to_owned()).collect()
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

pub(crate) fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A main file with all that it includes, as far as it can be read.
pub(crate) struct Tree {
    files: BTreeMap<PathBuf, String>,
    /// Whether all of it could be read, so that what is not in it is not there.
    is_readable: bool,
}

/// An object that a section with a `type` of its own defines.
struct Object<'a> {
    kind: &'a str,
    name: &'a str,
    path: &'a Path,
    line: usize,
}

impl Tree {
    /// The objects of all files but `ours`.
    fn objects(&self, ours: &Path) -> impl Iterator<Item = Object<'_>> {
        let ours = canonical(ours);
        self.files.iter().filter(move |(path, _)| **path != ours).flat_map(|(path, text)| {
            let mut section = None;
            text.lines().map(str::trim).zip(1..).filter_map(move |(line, number)| {
                if let Some(header) = line.strip_prefix('[') {
                    section = header.split_once(']').map(|(name, _)| (name, number));
                    return None;
                }
                let (key, value) = line.split_once('=')?;
                let (name, line) = section.filter(|_| key.trim() == "type")?;
                let kind = value.trim_start_matches('>').split(';').next().unwrap_or_default().trim();
                Some(Object { kind, name, path, line })
            })
        })
    }

    pub(crate) fn read(directory: &Path, main: &str) -> Self {
        let mut tree = Self { files: BTreeMap::new(), is_readable: true };
        tree.add(directory, &directory.join(main));
        tree
    }

    /// As [`Self::read`], without the text of one file.
    fn read_all_but(one: &Path, directory: &Path, main: &str) -> Self {
        let mut tree = Self { files: BTreeMap::from([(one.to_owned(), String::new())]), is_readable: true };
        tree.add(directory, &directory.join(main));
        tree
    }

    fn add(&mut self, directory: &Path, path: &Path) {
        let path = canonical(path);
        // A file that includes itself, on whatever way.
        if self.files.contains_key(&path) {
            return;
        }
        let read = file::read_at_most(&path, file::MOST_OF_OTHERS).ok().flatten();
        let Some(bytes) = read.filter(|_| self.files.len() < MOST_FILES) else {
            self.is_readable = false;
            return;
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let patterns: Vec<_> = text.lines().filter_map(included).map(str::to_owned).collect();
        self.files.insert(path, text);
        for pattern in patterns {
            // An absolute pattern replaces the directory.
            let pattern = directory.join(pattern.replace("**", "*"));
            for path in pattern.to_str().and_then(|pattern| glob::glob(pattern).ok()).into_iter().flatten().flatten() {
                self.add(directory, &path);
            }
        }
    }
}

/// The pattern of an `#include` or `#tryinclude` line.
fn included(line: &str) -> Option<&str> {
    let line = line.trim();
    let rest = line.strip_prefix("#include").or_else(|| line.strip_prefix("#tryinclude"))?;
    rest.starts_with([' ', '\t', '"', '<']).then(|| {
        let pattern = rest.split(';').next().unwrap_or_default().trim();
        pattern.trim_matches(['"', '<', '>'])
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::pair::Pair;

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
        missing_include(directory.path(), PJSIP, &Tree::read(directory.path(), PJSIP), &files.endpoints)
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
    fn every_way_to_include_is_understood() {
        for line in [
            "#include p/*.conf",
            "#include \"p/ours.conf\"",
            " #tryinclude p/ours.conf ; ours",
            "#include <p/o*s.conf>",
            "#include pjsip.conf\n#include p/ours.conf",
        ] {
            assert_eq!(missing(line), None, "{line}");
        }
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
        let told = fix(0o770).unwrap();
        assert!(told.starts_with(&format!("Asterisk may be unable to read {}", files.endpoints.display())), "{told}");
        assert!(told.ends_with(&format!("chmod 2770 {})", parent.display())), "{told}");
    }

    #[test]
    fn a_tree_that_cannot_be_read_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            missing_include(directory.path(), PJSIP, &Tree::read(directory.path(), PJSIP), Path::new("/x")),
            None
        );
    }

    #[test]
    fn what_the_administrator_defines_too_is_named_with_its_line() {
        let Config { directory, files } = config(
            "#include p/*.conf\n[1000](base)\ncontext=x\ntype=endpoint ; mine\n[1000]\ntype=identify\n[1001]\ntype=endpoint\n",
        );
        let pair = Pair { endpoints: b"[1000]\ntype=endpoint\naors=1000\n".to_vec(), dialplan: Vec::new() };
        let found = defined_twice(&Tree::read(directory.path(), PJSIP), &files, &Expected::read(&pair).unwrap());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("the endpoint 1000 (") && found[0].ends_with("pjsip.conf, line 2)"), "{found:?}");
    }

    #[test]
    fn a_section_that_adds_to_one_of_ours_is_named_with_its_place() {
        let Config { directory, files } =
            config("#include p/*.conf\n[1000](+)\ncontext=x\n[door](+)\n[1000](base)\n[1000-a]( other , + )\n");
        let says = format!("/usr/bin/printf Configuration\\040directory:\\040{}\\n", directory.path().display());
        let cli = Cli::new(&says, Duration::from_secs(30)).unwrap();
        let ours = b"[1000](t)\ntype=endpoint\n[1000-a]\ntype=auth\n";
        let added = added_sections(&cli, &files, ours, Instant::now() + Duration::from_secs(30));
        let places: Vec<_> = added.iter().map(|added| (added.name.as_str(), added.line)).collect();
        assert_eq!(places, [("1000", 2), ("1000-a", 6)]);
        assert!(added[0].path.ends_with(PJSIP));
    }

    #[test]
    fn auths_aors_and_markers_are_ours_too() {
        let Config { directory, files } = config(
            "[a-1]\ntype=auth\n[a]\ntype=aor\n[m-1]\ntype=aor\n[b]\ntype=aor\n[a]\ntype=auth\n[a-1]\ntype=identify\n",
        );
        let ours = "[a]\ntype=endpoint\nauth=a-1\naors=a\n[m-1]\ntype=aor\n";
        let pair = Pair { endpoints: ours.into(), dialplan: Vec::new() };
        let found = defined_twice(&Tree::read(directory.path(), PJSIP), &files, &Expected::read(&pair).unwrap());
        let names: Vec<_> = found.iter().map(|found| found.split(" (").next().unwrap()).collect();
        assert_eq!(names, ["the auth a-1", "the aor a", "the aor m-1"]);
    }
}
