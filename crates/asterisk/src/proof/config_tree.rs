//! The administrator's configuration as Asterisk reads it: a main file with all that it includes. Nothing is changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use crate::{
    files::file,
    proof::config_lines::{expand, included, templates, unclosed, uncomment},
    text::expected::Expected,
};

/// More files than any configuration has.
const MOST_FILES: usize = 1000;
/// Asterisk follows no more.
const DEEPEST: usize = 10;

/// A main file with all that it includes, as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Each file that was read, and what its lines say without comments.
    files: BTreeMap<PathBuf, Vec<String>>,
    /// Each chain of includes that leads to the file in question.
    readings: Vec<Vec<Site>>,
    /// Whether all of it could be read, so that what is not in it is not there.
    is_readable: bool,
    /// Whether the main file ends within a comment of many lines.
    ends_in_comment: bool,
    /// The `#include` lines that lead to no file.
    dangling: Vec<Site>,
    main: PathBuf,
}

/// A line for which Asterisk takes nothing of the whole tree, and the edit that makes it take the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) what: String,
    /// A command of `sed`.
    pub(crate) edit: String,
}

/// The place of an `#include`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    is_pattern: bool,
}

/// A section of one of the administrator's own files, or an extension that one of them adds to a context of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnSection {
    /// Its name, or the extension's.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its first line, counted from 1.
    pub line: usize,
    /// Whether the include file defines the same, as where this is in a copy of it.
    pub is_ours_too: bool,
    pub(crate) last_line: usize,
    /// Its own `type`, or that of the template it names.
    pub(crate) kind: Option<String>,
    pub(crate) is_template: bool,
    /// Whether it adds to a section of that name: `(+)`.
    pub(crate) adds: bool,
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

    /// Whether the main file could be read, and ends within a comment.
    pub(crate) fn ends_in_comment(&self) -> bool {
        self.ends_in_comment
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

    /// The lines for which Asterisk takes nothing of the whole tree.
    pub(crate) fn obstacles(&self, ours: &Path) -> Vec<Obstacle> {
        let mut all = Vec::new();
        for Site { file, line, .. } in &self.dangling {
            let (what, edit) = ("includes no regular file".to_owned(), format!("{line}s/#include/#tryinclude/I"));
            all.push(Obstacle { file: file.clone(), line: *line, what, edit });
        }
        let sections = self.sections(ours);
        let text = file::read(ours).ok().flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let header = |line: &'_ str| Some(line.trim().strip_prefix('[')?.split_once(']')?.0.to_owned());
        let mut names: BTreeSet<String> = text.lines().filter_map(header).collect();
        names.extend(sections.iter().map(|section| section.name.clone()));
        // It may be of a file that cannot be read.
        let is_known = |name: &str| !self.is_readable || names.contains(name);
        for section in &sections {
            let OwnSection { path, line, last_line, .. } = section;
            let header = &self.files[path][line - 1];
            if let Some(template) = templates(header).find(|name| !is_known(name)) {
                let what = format!("names the template {template}, which there is not");
                let edit = format!("{line},{last_line}s/^/; /");
                all.push(Obstacle { file: path.clone(), line: *line, what, edit });
            }
        }
        let ours = canonical(ours);
        for (path, lines) in self.files.iter().filter(|(path, _)| **path != ours) {
            let broken = lines.iter().zip(1..).filter_map(|(line, number)| Some((number, unclosed(line)?)));
            // In other files a section may have begun before.
            let begun = lines.iter().position(|line| line.starts_with(['[', '#'])).unwrap_or(lines.len());
            let early = lines[..begun].iter().zip(1..).filter(|(line, _)| !line.is_empty() && *path == self.main);
            let early = early.map(|(_, number)| (number, "stands before the first section"));
            all.extend(broken.chain(early).map(|(line, what)| Obstacle {
                file: path.clone(),
                line,
                what: what.to_owned(),
                edit: format!("{line}s/^/; /"),
            }));
        }
        all
    }

    /// The sections of all files but `ours`, in the order of the files' names.
    pub(crate) fn sections(&self, ours: &Path) -> Vec<OwnSection> {
        let ours = canonical(ours);
        let mut all: Vec<OwnSection> = Vec::new();
        let files = self.files.iter().filter(|(path, _)| **path != ours);
        for (path, lines) in files {
            for (line, number) in lines.iter().map(String::as_str).zip(1..) {
                if let Some((name, options)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
                    let options = options.trim().trim_start_matches('(').trim_end_matches(')');
                    let options: Vec<_> = options.split(',').map(str::trim).collect();
                    // The last section of the template's name.
                    let of_template =
                        |name: &&str| all.iter().rev().find(|of| of.name == *name).and_then(|of| of.kind.clone());
                    all.push(OwnSection {
                        name: name.to_owned(),
                        path: path.clone(),
                        line: number,
                        last_line: number,
                        is_ours_too: false,
                        kind: options.iter().find_map(of_template),
                        is_template: options.contains(&"!"),
                        adds: options.contains(&"+"),
                    });
                } else if let Some(section) = all.last_mut().filter(|section| section.path == *path)
                    && !line.is_empty()
                    && !line.starts_with('#')
                {
                    section.last_line = number;
                    if let Some((key, value)) = line.split_once('=')
                        && key.trim() == "type"
                    {
                        section.kind = Some(value.trim_start_matches('>').trim().to_owned());
                    }
                }
            }
        }
        all
    }

    /// The sections of all files but `ours`, and whether an object of ours has the same type and name.
    pub(crate) fn objects(&self, ours: &Path, expected: &Expected) -> Vec<OwnSection> {
        let of_ours = expected.objects();
        let mut all = self.sections(ours);
        for section in all.iter_mut().filter(|section| !section.is_template) {
            let kind = section.kind.as_deref().unwrap_or_default();
            section.is_ours_too = of_ours.contains(&(kind, section.name.as_str()));
        }
        all
    }

    /// The extensions of all files but `ours`, each with its context.
    pub(crate) fn extensions(&self, ours: &Path) -> Vec<(String, OwnSection)> {
        let mut all: Vec<(String, OwnSection)> = Vec::new();
        for section in self.sections(ours) {
            let begin = all.len();
            let lines = &self.files[&section.path][section.line..section.last_line];
            for (line, number) in lines.iter().zip(section.line + 1..) {
                let Some((key, value)) = line.split_once('=') else { continue };
                let name = value.trim_start_matches('>').split([',', '/']).next().unwrap_or_default().trim();
                match (key.trim(), all[begin..].last_mut()) {
                    // It goes with the extension above it.
                    ("same", Some((_, extension))) => extension.last_line = number,
                    ("exten", Some((_, extension))) if extension.name == name => extension.last_line = number,
                    ("exten", _) => {
                        let (name, context) = (name.to_owned(), section.name.clone());
                        all.push((context, OwnSection { name, line: number, last_line: number, ..section.clone() }));
                    }
                    _ => {}
                }
            }
        }
        all
    }

    fn add(&mut self, directory: &Path, path: &Path, target: &Path, chain: &mut Vec<Site>) {
        // The content of the file in question itself does not matter here.
        if path == canonical(target) {
            return;
        }
        let read = file::read_at_most(path, file::MOST_OF_OTHERS).ok().flatten();
        let Some(bytes) = read.filter(|_| self.files.len() < MOST_FILES) else {
            self.is_readable = false;
            return;
        };
        let mut depth = 0;
        let text = String::from_utf8_lossy(&bytes);
        // Asterisk skips a byte order mark.
        let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
        let lines: Vec<_> = lines.map(|line| uncomment(line, &mut depth)).collect();
        if path == self.main && chain.is_empty() {
            self.ends_in_comment = depth != 0;
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
            for pattern in patterns.iter().map(|pattern| directory.join(pattern)) {
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
                    if chain.len() < DEEPEST && chain.iter().all(|site| site.file != path) {
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
mod tests {
    use std::fs;

    use super::*;

    struct Config(tempfile::TempDir);

    impl Config {
        fn new(main: &str) -> Self {
            let config = Self(tempfile::tempdir().unwrap());
            fs::create_dir(config.at("p")).unwrap();
            config.write("p/ours.conf", "[1000]\ntype=endpoint\n").write("main.conf", main)
        }

        fn write(self, name: &str, text: &str) -> Self {
            fs::write(self.at(name), text).unwrap();
            self
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn tree(&self) -> Tree {
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
            assert_eq!((tree.count(), tree.ends_in_comment()), (Some(0), ends_in_comment), "{text}");
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
    fn a_tree_that_cannot_be_read_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Tree::read(directory.path(), "main.conf", Path::new("/x")).count(), None);
    }

    #[test]
    fn lines_for_which_asterisk_takes_nothing_are_found_with_their_edits() {
        for (text, edit) in [
            ("#include p/ours.conf\n#include nowhere.conf\n", "2s/#include/#tryinclude/I"),
            ("#include n*.conf\n", "1s/#include/#tryinclude/I"),
            ("#include p\n", "1s/#include/#tryinclude/I"),
            ("[a](none)\ntype=aor\n[b]\n", "1,2s/^/; /"),
            ("[a]\n[b\ntype=aor\n", "2s/^/; /"),
            ("[a]\n[b](a\n", "2s/^/; /"),
            ("; mine\ntype=aor\n[b]\n", "2s/^/; /"),
        ] {
            let config = Config::new(text);
            let found: Vec<_> =
                config.tree().obstacles(&config.at("p/ours.conf")).into_iter().map(|o| o.edit).collect();
            assert_eq!(found, [edit], "{text}");
        }
        for text in [
            "#tryinclude nowhere.conf\n#include p/*.conf\n",
            "[b](a,!)\n[a](!)\n[c](b)\n[d](+)\n[e](1000)\n",
            "#include main.conf\n[a] (x\n",
        ] {
            let config = Config::new(text);
            assert_eq!(config.tree().obstacles(&config.at("p/ours.conf")), [], "{text}");
        }
    }

    #[test]
    fn sections_have_the_type_of_their_template_and_their_lines() {
        let config = Config::new(
            "#include p/*.conf\n[base](!)\ntype = endpoint\n\n[1000](base)\ncontext=x ; mine\n\n; end\n[1001]\n\
             type=>aor\n[1000](+)\nallow=all\n",
        );
        let tree = config.tree();
        let sections = tree.sections(&config.at("p/ours.conf"));
        let found: Vec<_> = sections
            .iter()
            .map(|s| (s.name.as_str(), s.kind.as_deref(), s.is_template, s.adds, s.line, s.last_line))
            .collect();
        let expected = [
            ("base", Some("endpoint"), true, false, 2, 3),
            ("1000", Some("endpoint"), false, false, 5, 6),
            ("1001", Some("aor"), false, false, 9, 10),
            ("1000", None, false, true, 11, 12),
        ];
        assert_eq!(found, expected);
    }
}
