//! The administrator's configuration as Asterisk reads it: a main file with all that it includes. Nothing is changed.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::files::file;
use crate::proof::admin_sections::AdminSection;
use crate::proof::config_lines::{self, included, is_exec};
use crate::proof::obstacles::Obstacle;
use crate::proof::patterns::{can_be_seen, is_known, matching};

/// More files than any configuration has.
const MOST_FILES: usize = 1000;
/// Deeper, Asterisk reads no file (`MAX_INCLUDE_LEVEL`).
const DEEPEST: usize = 10;

/// A main file with all that it includes, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Each file that was read, which the file in question is not, and what its lines say without comments.
    pub(crate) files: BTreeMap<PathBuf, Vec<String>>,
    /// The sections of these files, in the order in which Asterisk reads them.
    pub(crate) sections: Vec<AdminSection>,
    /// Each chain of includes that leads to the file in question.
    pub(super) readings: Vec<Vec<Site>>,
    /// Whether a program brings a part of it: `#exec`. `config list` does not name what that reads.
    pub(crate) is_executed: bool,
    /// The files that were named and could not be read.
    unread: Vec<PathBuf>,
    /// The lines that bring what is not known: a pattern that is not understood or matches what cannot be seen, and `#exec`.
    unseen: Vec<(PathBuf, usize)>,
    /// The lines at which Asterisk ends to read their file.
    pub(super) obstacles: Vec<Obstacle>,
    /// The files that are read once more, each with the `#include` to remove.
    pub(super) repeated: Vec<(PathBuf, Site)>,
    /// Where each file is included first.
    sites: BTreeMap<PathBuf, Site>,
    pub(super) main: PathBuf,
    pub(super) directory: PathBuf,
    /// The file in question, and the names of its sections, once somebody asked for them.
    pub(super) target: PathBuf,
    pub(super) names_of_target: OnceCell<BTreeSet<String>>,
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
        let (main, directory) = (canonical(&directory.join(main)), directory.to_owned());
        let mut tree = Self { main: main.clone(), directory, target: target.to_owned(), ..Self::default() };
        tree.add(&main, &mut Vec::new(), None);
        tree
    }

    /// Whether all of it could be read, so that what is not in it is not there.
    pub(crate) fn is_readable(&self) -> bool {
        self.unread.is_empty() && self.unseen.is_empty()
    }

    /// What could not be read of it, in words.
    pub(crate) fn unread(&self) -> Vec<String> {
        let files = self.unread.iter().map(|path| path.display().to_string());
        let unseen = self.unseen.iter();
        files.chain(unseen.map(|(path, line)| format!("what line {line} of {} brings", path.display()))).collect()
    }

    /// How often the file in question is read; `None` where that cannot be seen.
    pub(crate) fn count(&self) -> Option<usize> {
        let lost = self.obstacles().filter(|obstacle| obstacle.file != self.main).count();
        self.is_readable().then_some(self.readings.len() + lost)
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

    /// Reads a file in the order of its lines. `lost` is the obstacle for which Asterisk does not read it; the one for which
    /// it reads no more of it is returned.
    fn add(&mut self, path: &Path, chain: &mut Vec<Site>, mut lost: Option<usize>) -> Option<usize> {
        let read = file::read_at_most(path, file::MOST_OF_OTHERS).ok().flatten();
        let Some(bytes) = read.filter(|_| self.files.len() < MOST_FILES) else {
            if lost.is_none() {
                self.unread.push(path.to_owned());
            }
            return lost;
        };
        let lines = config_lines::lines(&bytes);
        let is_first = lost.is_none() && self.is_first(path, chain.last());
        if is_first {
            self.files.insert(path.to_owned(), lines.clone());
        }
        for (line, number) in lines.iter().zip(1..) {
            if is_first && lost.is_none() {
                lost = self.obstacle(path, &lines, number).and_then(|obstacle| self.meet(obstacle));
                if lost.is_none() {
                    self.sections.extend(AdminSection::begin(path, &lines, number, &self.sections));
                }
            }
            lost = self.include(path, line, number, chain, lost);
        }
        lost
    }

    /// Whether a file is read for the first time.
    fn is_first(&mut self, path: &Path, site: Option<&Site>) -> bool {
        let is_first = !self.files.contains_key(path);
        let (Some(site), first) = (site, self.sites.get(path)) else { return is_first };
        match first {
            None => _ = self.sites.insert(path.to_owned(), site.clone()),
            // A pattern, which may cover more, stays.
            Some(first) if first != site => {
                let surplus = [site, first].into_iter().find(|site| !site.is_pattern);
                self.repeated.extend(surplus.map(|site| (path.to_owned(), site.clone())));
            }
            // The file of its line is read again.
            Some(_) => {}
        }
        is_first
    }

    /// Follows the line, if it includes something.
    fn include(
        &mut self,
        path: &Path,
        line: &str,
        number: usize,
        chain: &mut Vec<Site>,
        lost: Option<usize>,
    ) -> Option<usize> {
        if is_exec(line) && lost.is_none() {
            self.is_executed = true;
            self.unseen.push((path.to_owned(), number));
        }
        let Some((pattern, is_tried)) = included(line) else { return lost };
        if !is_known(pattern) {
            if lost.is_none() {
                self.unseen.push((path.to_owned(), number));
            }
            return lost;
        }
        chain.push(Site { file: path.to_owned(), line: number, is_pattern: pattern.contains(['*', '?', '[']) });
        // An absolute pattern replaces the directory.
        let pattern = self.directory.join(pattern);
        let found = matching(&pattern, &self.target);
        let mut after = lost;
        if lost.is_none() && !is_tried && found.is_empty() {
            if can_be_seen(&pattern) {
                let edit = format!("{number}s/#include/#tryinclude/I");
                after = self.meet(Obstacle::new(path, number, "includes no regular file", edit));
            } else {
                self.unseen.push((path.to_owned(), number));
            }
        }
        let mut here = after;
        for path in found {
            if path == canonical(&self.target) {
                match here {
                    None => self.readings.push(chain.clone()),
                    Some(obstacle) => self.obstacles[obstacle].hides_target = true,
                }
            // A file that includes itself, directly or through others.
            } else if chain.len() <= DEEPEST && chain.iter().all(|site| site.file != path) {
                here = self.add(&path, chain, here);
            }
        }
        chain.pop();
        after
    }
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
        ] {
            let config = Config::new(line);
            assert_eq!(config.tree().count(), Some(1), "{line}");
            fs::remove_file(config.at("p/ours.conf")).unwrap();
            assert_eq!(config.tree().count(), Some(1), "{line}, before the file is there");
        }
    }

    #[test]
    fn what_stands_in_a_comment_is_no_line() {
        for text in [
            ";#include p/ours.conf\n",
            ";--\n#include p/ours.conf\n--;\n",
            ";-- ;-- --;\n#include p/ours.conf\n--;\n",
            ";--\n#include p/ours.conf\n",
            "--;\n#include p/ours.conf\n",
            "#includes p/ours.conf\n",
        ] {
            assert_eq!(Config::new(text).tree().count(), Some(0), "{text}");
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
    fn what_we_do_not_understand_proves_nothing() {
        for line in [
            "#include p/[^x]*.conf",
            "#include p/[[:alpha:]]*.conf",
            "#include p/ours\\.conf",
            "#include p/o**.conf",
            "#include {q,p}/ours.conf",
            "#exec cat p/ours.conf",
        ] {
            let tree = Config::new(&format!("{line}\n[a](b)\n[b](+)\n")).tree();
            assert_eq!((tree.count(), tree.obstacles().count()), (None, 0), "{line}");
        }
        assert!(Config::new("#Exec\tcat x").tree().is_executed);
        assert_eq!(Config::new("#executed p\n").tree().count(), Some(0));
    }

    #[test]
    fn a_pattern_meets_neither_directories_nor_hidden_files() {
        let directory = Config::new("#include *ours.conf\n#include */*.conf\n");
        assert_eq!(directory.tree().count(), Some(1));
        let hidden = Tree::read(&directory.at(""), "main.conf", &directory.at("p/.ours.conf"));
        assert_eq!(hidden.count(), Some(0));
        let directory = directory.write("p/.ours.conf", "");
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
        let config = Config::new("#include p/*.conf\n#include p/ours.conf\n#include more.conf\n#include q/*.conf")
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
