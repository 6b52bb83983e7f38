//! What the administrator's own files define, section by section. Nothing is changed.

use std::path::PathBuf;

use crate::proof::config_lines::{header, setting};
use crate::proof::config_tree::Tree;
use crate::text::expected::Expected;

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
    /// The sections of all files, in the order of the files' names.
    pub(crate) fn sections(&self) -> Vec<OwnSection> {
        let mut all: Vec<OwnSection> = Vec::new();
        for (path, lines) in &self.files {
            for (line, number) in lines.iter().map(String::as_str).zip(1..) {
                if let Some((name, options)) = header(line) {
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
                    if let Some((key, value)) = setting(line)
                        && key == "type"
                    {
                        section.kind = Some(value.to_owned());
                    }
                }
            }
        }
        all
    }

    /// The sections of all files, and whether an object of ours has the same type and name.
    pub(crate) fn objects(&self, expected: &Expected) -> Vec<OwnSection> {
        let of_ours = expected.objects();
        let mut all = self.sections();
        for section in all.iter_mut().filter(|section| !section.is_template) {
            let kind = section.kind.as_deref().unwrap_or_default();
            section.is_ours_too = of_ours.contains(&(kind, section.name.as_str()));
        }
        all
    }

    /// The extensions of all files, each with its context. A switch, which may have any, is the pattern `_.`.
    pub(crate) fn extensions(&self) -> Vec<(String, OwnSection)> {
        let mut all: Vec<(String, OwnSection)> = Vec::new();
        for section in self.sections() {
            let begin = all.len();
            let lines = &self.files[&section.path][section.line..section.last_line];
            for (line, number) in lines.iter().zip(section.line + 1..) {
                let Some((key, value)) = setting(line) else { continue };
                let name = value.split([',', '/']).next().unwrap_or_default().trim();
                match (key.as_str(), all[begin..].last_mut()) {
                    // It goes with the extension above it.
                    ("same", Some((_, extension))) => extension.last_line = number,
                    ("exten", Some((_, extension))) if extension.name == name => extension.last_line = number,
                    (key @ ("exten" | "switch" | "lswitch" | "eswitch"), _) => {
                        let name = if key == "exten" { name } else { "_." };
                        let (name, context) = (name.to_owned(), section.name.clone());
                        all.push((context, OwnSection { name, line: number, last_line: number, ..section.clone() }));
                    }
                    _ => {}
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::proof::config_tree::tests::Config;

    #[test]
    fn sections_have_the_type_of_their_template_and_their_lines() {
        let config = Config::new(
            "#include p/*.conf\n[base](!)\ntype = endpoint\n\n[1000](base)\ncontext=x ; mine\n\n; end\n[1001]\n\
             type=>aor\n[1000](+)\nallow=all\n[1002]\nType=endpoint\n",
        );
        let tree = config.tree();
        let sections = tree.sections();
        let found: Vec<_> = sections
            .iter()
            .map(|s| (s.name.as_str(), s.kind.as_deref(), s.is_template, s.adds, s.line, s.last_line))
            .collect();
        let expected = [
            ("base", Some("endpoint"), true, false, 2, 3),
            ("1000", Some("endpoint"), false, false, 5, 6),
            ("1001", Some("aor"), false, false, 9, 10),
            ("1000", None, false, true, 11, 12),
            ("1002", Some("endpoint"), false, false, 13, 14),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn extensions_have_their_lines_up_to_the_next_one() {
        let config = Config::new(
            "[general]\nstatic=yes\n[a]\nexten => 1,1,NoOp()\n same => n,Hangup()\nexten => 1,hint,PJSIP/1\ninclude => b\n\
             exten=2/3,1,Hangup()\nswitch => IAX2/x\n[b](+)\n same => n,Hangup()\n\nExten => _X.,1,Hangup()\n Same => n,Hangup()\n; end\n",
        );
        let found: Vec<_> = config
            .tree()
            .extensions()
            .into_iter()
            .map(|(context, own)| (context, own.name, own.line, own.last_line))
            .collect();
        let expected = [("a", "1", 4, 6), ("a", "2", 8, 8), ("a", "_.", 9, 9), ("b", "_X.", 13, 14)];
        assert_eq!(
            found,
            expected.map(|(context, name, line, last)| (context.to_owned(), name.to_owned(), line, last))
        );
    }
}
