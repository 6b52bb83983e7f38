//! The lines at which Asterisk ends to read the administrator's files.
//!
//! Seen with Asterisk 22.10.1: in the main file, such a line costs all of it, with what it includes before and after. In a
//! file that is included, it costs the rest of that file, and the files behind it that one pattern matches.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::file;
use crate::files::rights::quoted;
use crate::proof::admin_sections::AdminSection;
use crate::proof::config_lines::{header, options, section_names, unclosed, unended};
use crate::proof::config_tree::Tree;

/// A line at which Asterisk ends to read its file, and the edit with which it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// What is wrong with it.
    what: String,
    /// A command of `sed`.
    pub(crate) edit: String,
    /// Whether it keeps Asterisk from the file in question.
    pub(super) hides_target: bool,
}

impl Obstacle {
    pub(super) fn new(file: &Path, line: usize, what: impl Into<String>, edit: String) -> Self {
        Self { file: file.to_owned(), line, what: what.into(), edit, hides_target: false }
    }
}

impl Tree {
    /// The lines that keep Asterisk from reading the file in question.
    pub(crate) fn obstacles(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.iter().filter(|obstacle| obstacle.hides_target)
    }

    /// What keeps Asterisk from reading the file in question, and the command that edits it.
    pub(crate) fn blocked(&self) -> Option<(String, String)> {
        let shown = |found: &Obstacle| format!("{}, line {} {}", found.file.display(), found.line, found.what);
        let shown: Vec<_> = self.obstacles().map(shown).collect();
        let unread = if self.obstacles().any(|found| found.file == self.main) { &self.main } else { &self.target };
        let edit = edit(self.obstacles().map(|found| (found.file.as_path(), found.edit.clone())));
        (!shown.is_empty())
            .then(|| (format!("Asterisk takes nothing of {}: {}", unread.display(), shown.join("; ")), edit))
    }

    /// Why Asterisk does not read the file in question, once, as far as can be seen; and the command that makes it.
    pub(crate) fn wrong_include(&self) -> Option<(String, String)> {
        let target = self.target.display();
        let wrong = || {
            if self.is_gone() {
                // Asterisk runs what it read, trunks too, which a file with nothing but our line would end.
                let main = quoted(&self.main);
                return Some((format!("{} is gone", self.main.display()), format!("cp -a {main}.of-a-backup {main}")));
            }
            if self.count() == Some(0) {
                let line = self.target.strip_prefix(&self.directory).unwrap_or(&self.target).display();
                let read = file::read_at_most(&self.main, file::MOST_OF_OTHERS).ok().flatten().unwrap_or_default();
                let comment = unended(&read).map(|(line, depth)| {
                    (format!(": line {line} begins a comment that does not end"), "--;\\n".repeat(depth))
                });
                let (why, end) = comment.unwrap_or_default();
                let what = format!("{} does not include {target}{why}", self.main.display());
                return Some((what, self.append(&format!("{end}#include {line}"))));
            }
            let surplus = self.surplus();
            let edit = edit(surplus.iter().map(|site| (site.file.as_path(), format!("{}s/^/; /", site.line))));
            let what =
                || format!("{target} is included more than once, and Asterisk takes no object that it reads twice");
            (!surplus.is_empty()).then(|| (what(), edit))
        };
        self.blocked().or_else(wrong)
    }

    /// Whether there is no main file.
    pub(crate) fn is_gone(&self) -> bool {
        std::fs::metadata(&self.main).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// The command that appends lines to the main file.
    pub(crate) fn append(&self, lines: &str) -> String {
        format!("printf '\\n{lines}\\n' >> {}", quoted(&self.main))
    }

    /// Remembers it. Its number is returned, unless Asterisk takes nothing at all for it: what follows is then looked at as
    /// if it were not there.
    pub(super) fn meet(&mut self, obstacle: Obstacle) -> Option<usize> {
        let is_main = obstacle.file == self.main;
        self.obstacles.push(Obstacle { hides_target: is_main, ..obstacle });
        (!is_main).then_some(self.obstacles.len() - 1)
    }

    /// What is wrong with a line, counted from 1, whatever it includes.
    pub(super) fn obstacle(&self, path: &Path, lines: &[String], number: usize) -> Option<Obstacle> {
        let line = lines[number - 1].as_str();
        if let Some(what) = unclosed(line) {
            return Some(Obstacle::new(path, number, what, format!("{number}s/^/; /")));
        }
        if let Some((name, rest)) = header(line) {
            let what = options(rest).find_map(|option| self.unknown(name, option))?;
            // As in `[a](b, c)`, where there is a `c`.
            let is_blank = options(rest).all(|option| self.unknown(name, option.trim()).is_none());
            let last = || AdminSection::begin(path, lines, number, &[]).map_or(number, |section| section.last_line);
            let edit = if is_blank {
                format!("{number}s/[[:blank:]]*\\([(,)]\\)[[:blank:]]*/\\1/g")
            } else {
                format!("{number},{}s/^/; /", last())
            };
            return Some(Obstacle::new(path, number, what, edit));
        }
        // In another file than the main one, a section may have begun before.
        if path != self.main
            || line.is_empty()
            || line.starts_with('#')
            || lines[..number - 1].iter().any(|line| !line.is_empty())
        {
            return None;
        }
        let early = lines.iter().zip(1..).take_while(|(line, _)| !line.starts_with(['[', '#']));
        let last = early.filter(|(line, _)| !line.is_empty()).last().map_or(number, |(_, last)| last);
        Some(Obstacle::new(path, number, "stands before the first section", format!("{number},{last}s/^/; /")))
    }

    /// What is said of an option in the head of the section `name` that names what was not read before.
    fn unknown(&self, name: &str, option: &str) -> Option<String> {
        // It may be of a file that cannot be read.
        if option == "!" || !self.is_readable() {
            return None;
        }
        let filter = option.strip_prefix('+');
        let wanted = if filter.is_some() { name } else { option };
        let kind = filter.and_then(|filter| filter.strip_prefix("type="));
        let is_wanted = |of: &AdminSection| {
            let is_kind = filter.is_none()
                || (!of.is_template && kind.is_none_or(|kind| of.kind.as_deref().is_none_or(|of| of == kind)));
            is_kind && of.name.eq_ignore_ascii_case(wanted)
        };
        let names = || {
            self.names_of_target
                .get_or_init(|| section_names(&file::read(&self.target).ok().flatten().unwrap_or_default()))
        };
        if self.sections.iter().any(is_wanted)
            || (!self.readings.is_empty() && names().contains(&wanted.to_ascii_lowercase()))
        {
            return None;
        }
        Some(match filter {
            Some(_) => format!("adds to a section [{name}] that no line before it begins"),
            None => format!("names the template {option:?}, which no line before it defines"),
        })
    }
}

/// The command that edits lines of files.
pub(crate) fn edit<'a>(lines: impl IntoIterator<Item = (&'a Path, String)>) -> String {
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for (path, edit) in lines {
        files.entry(path).or_default().push(edit);
    }
    let edits = files.into_iter().map(|(path, edits)| format!("sed -i '{}' {}", edits.join(";"), quoted(path)));
    edits.collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::config_tree::tests::Config;

    #[test]
    fn lines_for_which_asterisk_takes_nothing_are_found_with_their_edits() {
        for (text, edit) in [
            ("#include p/ours.conf\n#include nowhere.conf\n", "2s/#include/#tryinclude/I"),
            ("#include n*.conf\n", "1s/#include/#tryinclude/I"),
            ("#include p\n", "1s/#include/#tryinclude/I"),
            ("[a](none)\ntype=aor\n[b]\n", "1,2s/^/; /"),
            ("[a]\n[b\ntype=aor\n", "2s/^/; /"),
            ("[a]\n[b](a\n", "2s/^/; /"),
            ("; mine\ntype=aor\nx\n\n[b]\n", "2,3s/^/; /"),
            ("[a](b)\n[b](!)\n", "1,1s/^/; /"),
            ("[a](a)\n", "1,1s/^/; /"),
            ("[a]\n[b](!)\n[c](a,b, b)\n", "3s/[[:blank:]]*\\([(,)]\\)[[:blank:]]*/\\1/g"),
            ("[a]\n[ b ](!)\n[c](a ,b)\n", "3,3s/^/; /"),
            ("[a](+)\n\nx=y\n\n[a]\n", "1,3s/^/; /"),
            ("[a](!)\n[a](+)\n", "2,2s/^/; /"),
            ("[a]\ntype=aor\n[a](+type=auth)\n", "3,3s/^/; /"),
            ("[1000](+)\n#include p/*.conf\n[1000](+)\n", "1,1s/^/; /"),
            ("[a](1000)\n#include p/*.conf\n[b](1000)\n", "1,1s/^/; /"),
        ] {
            let config = Config::new(text);
            let found: Vec<_> = config.tree().obstacles().map(|found| found.edit.clone()).collect();
            assert_eq!(found, [edit], "{text}");
        }
        for text in [
            "#tryinclude nowhere.conf\n#include p/*.conf\n",
            "[a](!)\n[b](A,!)\n[c](b)\ntype=aor\n[C](+)\n[c](+type=aor,,a)\n[d]() x\n[d] (x)\n",
            "[a]\ntype=aor\n[A](+type=aor)\n#include p/ours.conf\n[b](1000)\n[1000](+)\n[1000](+type=auth)\n",
            "#include main.conf\n[a] (x\n",
        ] {
            let config = Config::new(text);
            assert_eq!(config.tree().obstacles().collect::<Vec<_>>(), [] as [&Obstacle; 0], "{text}");
        }
    }

    #[test]
    fn a_comment_that_does_not_end_is_ended_before_what_is_appended() {
        for (text, line, end) in [
            (";--\n#include p/ours.conf\n", 1, "--;"),
            ("[a]\n;-- b --;\n;-- c ;--\nd\n", 3, "--;\\n--;"),
            ("[a]\nb=c ;--\n;-- d\n--;\n", 2, "--;"),
        ] {
            let config = Config::new(text);
            let (what, edit) = config.tree().wrong_include().unwrap();
            assert!(what.ends_with(&format!(": line {line} begins a comment that does not end")), "{what}");
            assert!(edit.starts_with(&format!("printf '\\n{end}\\n#include p/ours.conf\\n' >> ")), "{edit}");
        }
        for text in ["", ";-- a\n--;\n", "[a]\n--;\n"] {
            let (_, edit) = Config::new(text).tree().wrong_include().unwrap();
            assert!(edit.starts_with("printf '\\n#include "), "{edit}");
        }
    }

    #[test]
    fn in_a_file_that_is_included_what_comes_after_it_is_lost() {
        for text in ["[a](nobody)\n", "[a](+)\n", "[a\n", "#include nowhere.conf\n"] {
            let found = |config: &Config| {
                let tree = config.tree();
                let found = tree.obstacles().map(|found| (found.file == config.at("p/a.conf"), found.line));
                (
                    found.collect::<Vec<_>>(),
                    tree.count(),
                    tree.sections.iter().map(|of| of.name.clone()).collect::<Vec<_>>(),
                )
            };
            let all = format!("[b]\n{text}[c]\n#include p/ours.conf\n");
            let config = Config::new("#include p/a.conf\n[d]\n").write("p/a.conf", &all);
            assert_eq!(found(&config), (vec![(true, 2)], Some(1), vec!["b".to_owned(), "d".to_owned()]), "{text}");
            // Of the files that a pattern matches, the next ones are lost, too.
            let config = Config::new("#include p/*.conf\n[d]\n").write("p/a.conf", text);
            assert_eq!(found(&config), (vec![(true, 1)], Some(1), vec!["d".to_owned()]), "{text}");
            let config = Config::new("#include p/a.conf\n#include p/ours.conf\n").write("p/a.conf", text);
            assert_eq!(found(&config), (Vec::new(), Some(1), Vec::new()), "{text}");
        }
    }
}
