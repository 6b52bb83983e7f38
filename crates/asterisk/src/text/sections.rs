//! The objects of an endpoints file, with their templates worked in.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::text::config_text::{Line, Reason, Unreadable, lines};

/// A PJSIP section with all its settings, those of its templates before its own.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) line: usize,
    pub(crate) name: &'a str,
    is_template: bool,
    pub(crate) settings: Vec<(&'a str, &'a str)>,
    said: DefaultHasher,
}

impl<'a> Section<'a> {
    pub(crate) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.settings.iter().filter(move |(of, _)| of.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }

    /// The word of `type=…`: of two, Asterisk takes the first.
    pub(crate) fn kind(&self) -> &'a str {
        self.values("type").next().unwrap_or_default()
    }

    /// What the last setting of this key names; the last replaces the others.
    pub(crate) fn names(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let names = self.values(key).next_back().unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty())
    }

    pub(crate) fn unreadable(&self, reason: Reason) -> Unreadable {
        Unreadable { line: self.line, reason }
    }

    /// A hash of all that the file says of the section.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.said.finish()
    }

    /// A name that Asterisk's listings show whole, and apart from what is printed beside it.
    pub(crate) fn listed<'n>(&self, name: &'n str, longest: usize) -> Result<&'n str, Unreadable> {
        if name.len() > longest || name.contains([' ', '\t', '/']) {
            return Err(self.unreadable(Reason::Unlistable { name: name.to_owned(), longest }));
        }
        Ok(name)
    }

    pub(crate) fn all_listed(&self, key: &str, longest: usize) -> Result<BTreeSet<String>, Unreadable> {
        self.names(key).map(|name| self.listed(name, longest).map(str::to_owned)).collect()
    }
}

/// All sections of an endpoints file but for its templates.
pub(crate) fn sections(text: &str) -> Result<Vec<Section<'_>>, Unreadable> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut templates: BTreeMap<&str, usize> = BTreeMap::new();
    for read in lines(text) {
        let (line, read) = read?;
        match read {
            Line::Section { name, options } => {
                let (mut settings, mut said) = (Vec::new(), DefaultHasher::new());
                let is_template = options.split(',').any(|option| option == "!");
                for base in options.split(',').filter(|base| !base.is_empty() && *base != "!") {
                    let unknown = || Unreadable { line, reason: Reason::UnknownTemplate(base.to_owned()) };
                    let base = &sections[*templates.get(base).ok_or_else(unknown)?];
                    settings.extend_from_slice(&base.settings);
                    base.fingerprint().hash(&mut said);
                }
                if is_template && templates.insert(name, sections.len()).is_some() {
                    return Err(Unreadable { line, reason: Reason::Twice(format!("the template {name:?}")) });
                }
                sections.push(Section { line, name, is_template, settings, said });
            }
            Line::Setting { key, value } => {
                let section = sections.last_mut().ok_or(Unreadable { line, reason: Reason::NoSection })?;
                if key.eq_ignore_ascii_case("type") && section.values("type").next().is_some() {
                    return Err(Unreadable { line, reason: Reason::Twice("the type".to_owned()) });
                }
                (key, value).hash(&mut section.said);
                section.settings.push((key, value));
            }
        }
    }
    sections.retain(|section| !section.is_template);
    Ok(sections)
}
