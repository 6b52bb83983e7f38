//! What keeps Asterisk from taking anything of the administrator's files, ours included.

use std::path::{Path, PathBuf};

use crate::files::file;
use crate::proof::config_lines::{section_names, templates, unclosed};
use crate::proof::config_tree::{Site, Tree};
use crate::proof::own_sections::OwnSection;

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

impl Tree {
    /// The lines for which Asterisk takes nothing of the whole tree, which `ours` may define templates for.
    pub(crate) fn obstacles(&self, ours: &Path) -> Vec<Obstacle> {
        let mut all = Vec::new();
        for Site { file, line, .. } in &self.dangling {
            let (what, edit) = ("includes no regular file".to_owned(), format!("{line}s/#include/#tryinclude/I"));
            all.push(Obstacle { file: file.clone(), line: *line, what, edit });
        }
        let sections = self.sections();
        let mut names = section_names(&file::read(ours).ok().flatten().unwrap_or_default());
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
        for (path, lines) in &self.files {
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
}

#[cfg(test)]
mod tests {
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
}
