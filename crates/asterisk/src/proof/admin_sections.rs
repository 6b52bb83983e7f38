//! What the administrator's own files define, section by section. Nothing is changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::proof::config_lines::{self, header, setting};
use crate::proof::config_tree::Tree;
use crate::text::expected::Expected;

/// A section of one of the administrator's own files, or an extension that one of them adds to a context of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminSection {
    /// Its name, or the extension's.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its first line, counted from 1.
    pub line: usize,
    /// Whether the same is defined elsewhere, too: by the include file, as where this is in a copy of it, or before this in
    /// the administrator's own files. Or whether this adds to a section of the include file, or has the name of a template
    /// there and says something else.
    pub is_twice: bool,
    pub(crate) last_line: usize,
    /// Its own `type`, or that of the template it names.
    pub(crate) kind: Option<String>,
    pub(crate) is_template: bool,
    /// Whether it adds to a section of that name: `(+)`, or `(+type=endpoint)` for the one of that type.
    pub(crate) adds: bool,
}

impl AdminSection {
    /// The section that begins in this line, counted from 1, after those that were `read`.
    pub(super) fn begin(path: &Path, lines: &[String], line: usize, read: &[Self]) -> Option<Self> {
        let (name, options) = header(&lines[line - 1])?;
        // Asterisk takes the first of that name.
        let of_template = |option: &str| read.iter().find(|of| of.name.eq_ignore_ascii_case(option))?.kind.clone();
        let mut section = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            line,
            last_line: line,
            is_twice: false,
            kind: config_lines::options(options).find_map(of_template),
            is_template: config_lines::options(options).any(|option| option == "!"),
            adds: config_lines::options(options).any(|option| option.starts_with('+')),
        };
        for (said, number) in lines[line..].iter().zip(line + 1..).take_while(|(said, _)| !said.starts_with('[')) {
            if said.is_empty() || said.starts_with('#') {
                continue;
            }
            section.last_line = number;
            // PJSIP takes the first `type`, of which that of a template is the first.
            if let Some((_, value)) = setting(said).filter(|(key, _)| key == "type") {
                section.kind.get_or_insert_with(|| value.to_owned());
            }
        }
        Some(section)
    }
}

impl Tree {
    /// The settings of a section or of an extension, each with the number of its line.
    pub(crate) fn settings(&self, section: &AdminSection) -> impl Iterator<Item = (usize, String, &str)> {
        let AdminSection { path, line, last_line, .. } = section;
        let lines = self.files[path].iter().zip(1..).take(*last_line).skip(line - 1);
        lines.filter_map(|(line, number)| {
            let (key, value) = setting(line).filter(|_| !line.starts_with('['))?;
            Some((number, key, value))
        })
    }

    /// The sections of all files, and whether an object of the same type and name is defined before it, or is ours. What
    /// adds to one of ours has its name.
    pub(crate) fn objects(&self, expected: &Expected) -> Vec<AdminSection> {
        let of_ours = expected.objects();
        let names: BTreeSet<_> = of_ours.iter().map(|(_, name)| name.to_ascii_lowercase()).collect();
        let mut all = self.sections.clone();
        let mut before = BTreeSet::new();
        for (section, of) in all.iter_mut().zip(&self.sections).filter(|(section, _)| !section.is_template) {
            let object = (of.kind.as_deref().unwrap_or_default(), of.name.as_str());
            section.is_twice = if section.adds {
                names.contains(&of.name.to_ascii_lowercase())
            } else {
                // Of other types than these, Asterisk keeps an apply from nothing.
                of_ours.contains(&object) || (matches!(object.0, "endpoint" | "auth" | "aor") && !before.insert(object))
            };
        }
        for (file, site) in &self.repeated {
            let again = self.sections.iter().filter(|of| of.path == *file && !of.is_template && !of.adds);
            let again = again.filter(|of| before.contains(&(of.kind.as_deref().unwrap_or_default(), of.name.as_str())));
            let (path, line, last_line) = (&site.file, site.line, site.line);
            all.extend(again.map(|of| AdminSection {
                path: path.clone(),
                line,
                last_line,
                is_twice: true,
                ..of.clone()
            }));
        }
        all
    }

    /// Marks which of these `sections` have the name of a template of the file `ours` and say something else: Asterisk takes
    /// the first section of that name as the template.
    pub(crate) fn mark_templates(&self, sections: &mut [AdminSection], ours: &[u8]) {
        let lines = config_lines::lines(ours);
        let templates = (1..=lines.len()).filter_map(|line| AdminSection::begin(Path::new(""), &lines, line, &[]));
        for ours in templates.filter(|section| section.is_template) {
            for admin in sections.iter_mut().filter(|admin| !admin.adds && admin.name.eq_ignore_ascii_case(&ours.name))
            {
                admin.is_twice |=
                    self.files[&admin.path][admin.line..admin.last_line] != lines[ours.line..ours.last_line];
            }
        }
    }

    /// The extensions of all files, each with its context. A switch is the pattern that it is limited to, or `_.`, as it may
    /// have any extension.
    pub(crate) fn extensions(&self) -> Vec<(String, AdminSection)> {
        let mut all: Vec<(String, AdminSection)> = Vec::new();
        for section in &self.sections {
            let begin = all.len();
            for (number, key, value) in self.settings(section) {
                let name = value.split([',', '/']).next().unwrap_or_default().trim();
                match (key.as_str(), all[begin..].last_mut()) {
                    // It goes with the extension above it.
                    ("same", Some((_, extension))) => extension.last_line = number,
                    ("exten", Some((_, extension))) if extension.name == name => extension.last_line = number,
                    (key @ ("exten" | "switch" | "lswitch" | "eswitch"), _) => {
                        let name = if key == "exten" { name } else { limit(value) };
                        let (name, context) = (name.to_owned(), section.name.clone());
                        all.push((context, AdminSection { name, line: number, last_line: number, ..section.clone() }));
                    }
                    _ => {}
                }
            }
        }
        all
    }

    /// The lines of the switches that Asterisk asks before any context (`overrideswitch` of `[general]`), each with the
    /// pattern that it is limited to.
    pub(crate) fn override_switches(&self) -> Vec<(&Path, usize, &str)> {
        let mut switches = Vec::new();
        // With the templates of those before.
        let mut names = vec!["general"];
        let mut at = 0;
        while let Some(name) = names.get(at).copied() {
            let mut is_begun = false;
            for section in self.sections.iter().filter(|of| of.name.eq_ignore_ascii_case(name)) {
                // Of two of one name, Asterisk takes the first, and what is added to it.
                if (at == 0 && section.is_template) || (!section.adds && std::mem::replace(&mut is_begun, true)) {
                    continue;
                }
                let head = header(&self.files[&section.path][section.line - 1]);
                let options = head.into_iter().flat_map(|(_, rest)| config_lines::options(rest));
                let new: Vec<_> = options.filter(|option| !names.contains(option)).collect();
                names.extend(new);
                let settings = self.settings(section);
                switches.extend(
                    settings.filter_map(|(line, key, value)| Some((&*section.path, line, overriding(&key, value)?))),
                );
            }
            at += 1;
        }
        // A file that `[general]` includes may begin without a section.
        for (path, lines) in self.files.iter().filter(|(path, _)| **path != self.main) {
            let early = lines.iter().zip(1..).take_while(|(line, _)| !line.starts_with('['));
            let settings = early.filter_map(|(line, number)| Some((number, setting(line)?)));
            switches.extend(
                settings.filter_map(|(number, (key, value))| Some((&**path, number, overriding(&key, value)?))),
            );
        }
        switches
    }

    /// Whether an extension takes calls: the lines of one that is only a hint show its state.
    pub(crate) fn takes_calls(&self, extension: &AdminSection) -> bool {
        self.settings(extension).any(|(_, key, value)| {
            let priority = value.split(',').nth(usize::from(key == "exten")).unwrap_or_default();
            !priority.trim().eq_ignore_ascii_case("hint")
        })
    }
}

/// The pattern that a switch of `pbx_loopback` is limited to: `_0X.` of `Loopback/${EXTEN:1}@outside/_0X.`.
fn limit(switch: &str) -> &str {
    let mut parts = switch.splitn(3, '/');
    let is_loopback = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("loopback"));
    parts.nth(1).filter(|pattern| is_loopback && !pattern.contains('$')).unwrap_or("_.")
}

/// What an `overrideswitch` is limited to, unless it is empty.
fn overriding<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    // With `+=`, Asterisk appends.
    (key.trim_end_matches(['+', ' ']) == "overrideswitch" && !value.is_empty()).then(|| limit(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::config_tree::tests::Config;
    use crate::text::expected::tests::expected;

    #[test]
    fn sections_have_the_type_of_their_template_and_their_lines() {
        let config = Config::new(
            "#include p/*.conf\n[base](!)\ntype = endpoint\n\n[1000](base)\ncontext=x ; mine\n\n; end\n[1001]\n\
             type=>aor\n[1000](+)\nallow=all\n[1002]\nType=endpoint\n",
        );
        let tree = config.tree();
        let sections = &tree.sections;
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
    fn what_is_defined_twice_is_found_in_the_order_of_reading() {
        let ours = "[1000]\ntype=endpoint\nauth=1000-a1\naors=1000\n";
        let twice = |config: &Config| -> Vec<_> {
            let mut all = config.tree().objects(&expected(ours, ""));
            all.retain(|section| section.is_twice);
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            all.iter().map(|admin| (admin.name.clone(), name(&admin.path), admin.line)).collect()
        };
        let at = |name: &str, file: &str, line| (name.to_owned(), file.to_owned(), line);
        let trunk = "[trunk]\ntype=endpoint\n";
        let config = Config::new(&format!("{trunk}[trunk]\ntype=aor\n[TRUNK]\ntype=endpoint\n{trunk}"));
        assert_eq!(twice(&config), [at("trunk", "main.conf", 7)]);
        let config = Config::new(&format!("#include z.conf\n{trunk}")).write("z.conf", trunk);
        assert_eq!(twice(&config), [at("trunk", "main.conf", 2)]);
        // The first type counts, which is the template's.
        let config = Config::new(&format!("[t](!)\ntype=endpoint\n[trunk](T)\ntype=aor\n{trunk}"));
        assert_eq!(twice(&config), [at("trunk", "main.conf", 5)]);
        let config = Config::new("[t](!)\ntype=aor\n[t](t)\n[i]\ntype=identify\n[i]\ntype=identify\n[t](+type=aor)\n");
        assert_eq!(twice(&config), []);
        let config = Config::new("#include z.conf\n#include *z.conf\n").write("z.conf", trunk);
        assert_eq!(twice(&config), [at("trunk", "main.conf", 1)]);
        let added = "[1000](+)\n[1000-A1](+type=auth)\n[1001](+)\n[1000-a1]\ntype=auth\n";
        let config = Config::new(&format!("#include p/ours.conf\n[1000-a1]\n[1001]\n{added}"));
        let found = [at("1000", "main.conf", 4), at("1000-A1", "main.conf", 5), at("1000-a1", "main.conf", 7)];
        assert_eq!(twice(&config), found);
    }

    #[test]
    fn extensions_have_their_lines_up_to_the_next_one() {
        let config = Config::new(
            "[general]\nstatic=yes\n[a]\nexten => 1,1,NoOp()\n same => n,Hangup()\nexten => 1,hint,PJSIP/1\ninclude => b\n\
             exten=2/3,1,Hangup()\nswitch => IAX2/x/y/z\nlswitch => loopback/1@c/_0X.\n[b](+)\n same => n,Hangup()\n\nExten => _X.,1,Hangup()\n Same => n,Hangup()\n; end\n",
        );
        let found: Vec<_> = config
            .tree()
            .extensions()
            .into_iter()
            .map(|(context, admin)| (context, admin.name, admin.line, admin.last_line))
            .collect();
        let expected =
            [("a", "1", 4, 6), ("a", "2", 8, 8), ("a", "_.", 9, 9), ("a", "_0X.", 10, 10), ("b", "_X.", 14, 15)];
        assert_eq!(
            found,
            expected.map(|(context, name, line, last)| (context.to_owned(), name.to_owned(), line, last))
        );
    }

    #[test]
    fn the_switches_before_all_contexts_are_those_of_the_first_general_section() {
        let on = "overrideswitch=Loopback/1@x";
        let lines = |main: &str| {
            let config = Config::new(main).write("more.conf", &format!("\n{on}\n[other]\n{on}\n"));
            let tree = config.tree();
            let found = tree.override_switches().into_iter();
            found.map(|(path, line, _)| (path == config.at("main.conf"), line)).collect::<Vec<_>>()
        };
        for text in [
            format!("[general]\n{on}\n"),
            "[General]\n  OverrideSwitch => Nope ; mine\n".to_owned(),
            "[general]\noverrideswitch += Loopback/1@x\n".to_owned(),
            format!("[t](!)\n{on}\n[general](T)\n[general]\n{on}\n"),
            format!("[t](!)\n{on}\n[u](t,!)\n[general](u)\n"),
        ] {
            assert_eq!(lines(&text), [(true, 2)], "{text}");
        }
        assert_eq!(lines(&format!("[general](!)\n{on}\n[general]\n[general](+)\n{on}\n")), [(true, 5)]);
        assert_eq!(lines("[general]\n#include more.conf\n"), [(false, 2)]);
        for text in [
            format!("[general]\n;{on}\noverrideswitch= ; =Loopback/1@x\n"),
            format!("[general]\n[general]\n{on}\n"),
            format!("[general](!)\n{on}\n[t](!)\n{on}\n[globals]\n{on}\n[ general ]\n{on}\n[a]\n{on}\n"),
        ] {
            assert_eq!(lines(&text), [], "{text}");
        }
        let config = Config::new("[general]\noverrideswitch=loopback/1@x/_0X.\noverrideswitch=IAX2/a/b/_0X.\n");
        let limits: Vec<_> = config.tree().override_switches().iter().map(|of| of.2.to_owned()).collect();
        assert_eq!(limits, ["_0X.", "_."]);
    }

    #[test]
    fn a_hint_alone_takes_no_call() {
        let config = Config::new(
            "[a]\nexten => _1X, Hint ,PJSIP/${EXTEN}\n same => hint,PJSIP/1\nexten => _2X,hint,PJSIP/2\n\
             same => 1,Hangup()\nexten => _3X,1,Set(a=hint)\nswitch => Loopback/hint\n",
        );
        let tree = config.tree();
        let takes: Vec<_> = tree.extensions().iter().map(|(_, admin)| tree.takes_calls(admin)).collect();
        assert_eq!(takes, [false, true, true, true]);
    }
}
