//! The administrator's configuration as Asterisk reads it: a main file with all that it includes. Nothing is changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::file;
use crate::proof::config_lines::{self, expand, included};

/// More files than any configuration has.
const MOST_FILES: usize = 1000;
/// How deep a file may be included (`MAX_INCLUDE_LEVEL`). Where one is deeper, Asterisk 22 takes nothing of the main file.
const DEEPEST: usize = 10;

/// A main file with all that it includes, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Each file that was read, which the file in question is not, and what its lines say without comments.
    pub(super) files: BTreeMap<PathBuf, Vec<String>>,
    /// Each chain of includes that leads to the file in question.
    readings: Vec<Vec<Site>>,
    /// Whether all of it could be read, so that what is not in it is not there.
    pub(crate) is_readable: bool,
    /// The files that were named and could not be read.
    unread: Vec<PathBuf>,
    /// Whether the main file could be read, and ends within a comment of many lines.
    pub(crate) ends_in_comment: bool,
    /// The `#include` lines that lead to no file.
    pub(super) dangling: Vec<Site>,
    pub(super) main: PathBuf,
}

/// The place of an `#include`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    is_pattern: bool,
}

impl Tree {
    /// Reads the file `main` of `directory`, and finds out where it includes `target`, which need not be there.
    pub(crate) fn read(directory: &Path, main: &str, target: &Path) -> Self {
        let main = canonical(&directory.join(main));
        let mut tree = Self { is_readable: true, main: main.clone(), ..Self::default() };
        tree.add(directory, &main, target, &mut Vec::new());
        tree
    }

    /// How often the file in question is read; `None` where that cannot be seen.
    pub(crate) fn count(&self) -> Option<usize> {
        self.is_readable.then_some(self.readings.len())
    }

    /// All files that Asterisk has to read, but the one in question.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().chain(&self.unread).map(PathBuf::as_path)
    }

    /// The `#include` lines to remove, so that the file is included once: a pattern stays rather than a single name, which it
    /// covers.
    pub(crate) fn surplus(&self) -> Vec<&Site> {
        let is_pattern = |chain: &&Vec<Site>| chain.last().is_some_and(|site| site.is_pattern);
        let Some(kept) = self.readings.iter().find(is_pattern).or(self.readings.first()) else { return Vec::new() };
        let mut surplus = Vec::new();
        for other in &self.readings {
            // The line that names the file, or the one that reads a file with that line once more.
            let last = other.last().filter(|site| Some(*site) != kept.last());
            let parting = || other.iter().zip(kept).find(|(other, kept)| other != kept).map(|(other, _)| other);
            surplus.extend(last.or_else(parting).filter(|site| !surplus.contains(site)));
        }
        surplus
    }

    fn add(&mut self, directory: &Path, path: &Path, target: &Path, chain: &mut Vec<Site>) {
        // The content of the file in question itself does not matter here.
        if path == canonical(target) {
            return;
        }
        let read = file::read_at_most(path, file::MOST_OF_OTHERS).ok().flatten();
        let Some(bytes) = read.filter(|_| self.files.len() < MOST_FILES) else {
            self.is_readable = false;
            self.unread.push(path.to_owned());
            return;
        };
        let (lines, ends_in_comment) = config_lines::lines(&bytes);
        if chain.is_empty() {
            self.ends_in_comment = ends_in_comment;
        }
        let includes: Vec<_> = lines
            .iter()
            .zip(1..)
            .filter_map(|(line, number)| included(line).map(|(pattern, is_tried)| (expand(pattern), is_tried, number)))
            .collect();
        self.files.entry(path.to_owned()).or_insert(lines);
        for (patterns, is_tried, line) in includes {
            let mut is_dangling = !is_tried;
            let is_pattern = patterns.len() > 1 || patterns.iter().any(|pattern| pattern.contains(['*', '?', '[']));
            chain.push(Site { file: path.to_owned(), line, is_pattern });
            // An absolute pattern replaces the directory.
            let followed = if chain.len() <= DEEPEST { &*patterns } else { &[] };
            for pattern in followed.iter().map(|pattern| directory.join(pattern)) {
                if matches(&pattern, target) {
                    is_dangling = false;
                    self.readings.push(chain.clone());
                }
                let found = pattern.to_str().and_then(|pattern| glob::glob(pattern).ok());
                for path in found.into_iter().flatten().flatten() {
                    let path = canonical(&path);
                    // Asterisk passes over what is no regular file.
                    if path.metadata().is_ok_and(|file| !file.is_file()) {
                        continue;
                    }
                    is_dangling = false;
                    // A file that includes itself, directly or through others.
                    if chain.iter().all(|site| site.file != path) {
                        self.add(directory, &path, target, chain);
                    }
                }
                if is_dangling && !is_visible(&pattern) {
                    (is_dangling, self.is_readable) = (false, false);
                }
            }
            self.dangling.extend(chain.pop().filter(|_| is_dangling));
        }
    }
}

/// Whether what a pattern matches can be seen: all directories up to its first `*` can be searched.
fn is_visible(pattern: &Path) -> bool {
    let is_plain = |path: &&Path| !path.to_string_lossy().contains(['*', '?', '[']);
    let plain = pattern.ancestors().find(is_plain).unwrap_or(pattern);
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let found = if plain == pattern { plain.metadata().map(drop) } else { plain.read_dir().map(drop) };
    !found.is_err_and(|error| is_denied(&error))
}

/// Whether an `#include` of `pattern` reads `target`, once that is there.
fn matches(pattern: &Path, target: &Path) -> bool {
    let options =
        glob::MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..Default::default() };
    let is_match = |pattern: &Path, target: &Path| {
        let pattern = pattern.to_str().and_then(|pattern| glob::Pattern::new(pattern).ok());
        pattern.is_some_and(|pattern| pattern.matches_path_with(target, options))
    };
    // Links may lead to the directory of either.
    let real = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path.to_owned(),
    };
    is_match(pattern, target) || is_match(&real(pattern), &real(target)) || canonical(pattern) == canonical(target)
}

pub(crate) fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// A main file that may include one of ours.
    pub(crate) struct Config(tempfile::TempDir);

    impl Config {
        pub(crate) fn new(main: &str) -> Self {
            let config = Self(tempfile::tempdir().unwrap());
            fs::create_dir(config.at("p")).unwrap();
            config.write("p/ours.conf", "[1000]\ntype=endpoint\n").write("main.conf", main)
        }

        pub(crate) fn write(self, name: &str, text: &str) -> Self {
            fs::write(self.at(name), text).unwrap();
            self
        }

        pub(crate) fn at(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        pub(crate) fn tree(&self) -> Tree {
            Tree::read(self.0.path(), "main.conf", &self.at("p/ours.conf"))
        }
    }

    #[test]
    fn every_way_to_include_is_understood() {
        for line in [
            "#include p/*.conf",
            "#include \"p/ours.conf\"",
            " #tryinclude p/ours.conf ; ours",
            "#include <p/o*s.conf>",
            ";-- a\nb --; #include p/ours.conf",
            "a=b\\;-- \n#include p/ours.conf",
            ";--- no comment of many lines\n#include p/ours.conf",
            "#Include p/ours.conf",
            "\u{feff}#TRYINCLUDE p/ours.conf",
            "#include {q,p}/{{x,y},o*s}.conf",
        ] {
            let config = Config::new(line);
            assert_eq!(config.tree().count(), Some(1), "{line}");
            fs::remove_file(config.at("p/ours.conf")).unwrap();
            assert_eq!(config.tree().count(), Some(1), "{line}, before the file is there");
        }
    }

    #[test]
    fn what_stands_in_a_comment_is_no_line() {
        for (text, ends_in_comment) in [
            (";#include p/ours.conf\n", false),
            (";--\n#include p/ours.conf\n--;\n", false),
            (";-- ;-- --;\n#include p/ours.conf\n--;\n", false),
            (";--\n#include p/ours.conf\n", true),
            ("--;\n#include p/ours.conf\n", true),
            ("#includes p/ours.conf\n", false),
        ] {
            let tree = Config::new(text).tree();
            assert_eq!((tree.count(), tree.ends_in_comment), (Some(0), ends_in_comment), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_read_twice_is_found_with_the_line_to_go() {
        let surplus = |config: &Config| -> Vec<(PathBuf, usize)> {
            config.tree().surplus().into_iter().map(|site| (site.file.clone(), site.line)).collect()
        };
        let config = Config::new("#include p/ours.conf\n\n#include p/ours.conf\n");
        assert_eq!((config.tree().count(), surplus(&config)), (Some(2), vec![(config.at("main.conf"), 3)]));
        let config = Config::new("#include p/ours.conf\n#include p/*.conf\n");
        assert_eq!(surplus(&config), vec![(config.at("main.conf"), 1)]);
        let config =
            Config::new("#include more.conf\n#include p/*.conf\n").write("more.conf", "\n#include p/ours.conf");
        assert_eq!(surplus(&config), vec![(config.at("more.conf"), 2)]);
        let config = Config::new("#include more.conf\n#include more.conf\n").write("more.conf", "#include p/ours.conf");
        assert_eq!(surplus(&config), vec![(config.at("main.conf"), 2)]);
        assert!(surplus(&Config::new("#include p/ours.conf\n#include main.conf\n")).is_empty());
    }

    #[test]
    fn what_is_included_too_deep_leads_to_no_file() {
        let tree = |deepest: usize| {
            let chain = (1..deepest).map(|n| (format!("{n}.conf"), format!("#include {}.conf", n + 1)));
            let last = [(format!("{deepest}.conf"), "\n#include p/ours.conf".to_owned())];
            let all = chain
                .chain(last)
                .fold(Config::new("#include 1.conf"), |config, (name, text)| config.write(&name, &text));
            let tree = all.tree();
            (tree.count(), tree.dangling.first().map(|site| (site.file == all.at("10.conf"), site.line)))
        };
        assert_eq!(tree(9), (Some(1), None));
        assert_eq!(tree(10), (Some(0), Some((true, 2))));
        assert_eq!(tree(11), (Some(0), Some((true, 1))));
    }

    #[test]
    fn a_pattern_meets_neither_directories_nor_hidden_files() {
        let directory = Config::new("#include *ours.conf\n#include */*.conf\n");
        assert_eq!(directory.tree().count(), Some(1));
        let hidden = Tree::read(&directory.at(""), "main.conf", &directory.at("p/.ours.conf"));
        assert_eq!(hidden.count(), Some(0));
    }

    #[test]
    fn a_file_is_itself_behind_a_link() {
        for line in ["#include q/ours.conf", "#include q/*.conf"] {
            let config = Config::new(line);
            std::os::unix::fs::symlink("p", config.at("q")).unwrap();
            assert_eq!(config.tree().count(), Some(1), "{line}");
            fs::remove_file(config.at("p/ours.conf")).unwrap();
            assert_eq!(config.tree().count(), Some(1), "{line}, before the file is there");
        }
        // Here the file itself is a link.
        let config = Config::new("#include p/theirs.conf");
        std::os::unix::fs::symlink("ours.conf", config.at("p/theirs.conf")).unwrap();
        assert_eq!(config.tree().count(), Some(1));
    }

    #[test]
    fn all_files_that_have_to_be_read_are_known() {
        let config =
            Config::new("#include {q,p}/ours.conf\n#include p/ours.conf\n#include more.conf\n#include q/*.conf")
                .write("more.conf", "");
        fs::create_dir(config.at("q")).unwrap();
        std::os::unix::fs::symlink("nowhere", config.at("q/unread.conf")).unwrap();
        let tree = config.tree();
        let paths = ["main.conf", "more.conf", "q/unread.conf"].map(|name| config.at(name));
        assert_eq!(
            (tree.paths().collect::<Vec<_>>(), tree.count()),
            (paths.iter().map(PathBuf::as_path).collect(), None)
        );
        // What covers more than the one file stays.
        assert_eq!(tree.surplus().iter().map(|site| site.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_tree_that_cannot_be_read_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Tree::read(directory.path(), "main.conf", Path::new("/x")).count(), None);
    }
}
