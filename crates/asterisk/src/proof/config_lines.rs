//! The lines of a configuration file, as Asterisk reads them.

use std::collections::BTreeSet;

/// What each line says without comments.
pub(crate) fn lines(text: &[u8]) -> Vec<String> {
    with_depths(text).map(|(line, _)| line).collect()
}

/// The line that begins a comment that does not end, and how many `--;` would end it.
pub(crate) fn unended(text: &[u8]) -> Option<(usize, usize)> {
    let depths: Vec<_> = with_depths(text).map(|(_, depth)| usize::try_from(depth).unwrap_or_default()).collect();
    let depth = depths.last().filter(|depth| **depth > 0)?;
    Some((depths.iter().rposition(|depth| *depth == 0).map_or(1, |last| last + 2), *depth))
}

/// What each line says without comments, and how deep in comments it ends.
fn with_depths(text: &[u8]) -> impl Iterator<Item = (String, i32)> {
    let text = String::from_utf8_lossy(text);
    let mut depth = 0;
    // Asterisk skips a byte order mark.
    let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
    lines.map(|line| (uncomment(line, &mut depth), depth)).collect::<Vec<_>>().into_iter()
}

/// The line as Asterisk sees it: without comments, and trimmed. `depth` says how deep in comments it begins and ends.
///
/// As `config_text_file_load` does it: `;--` begins a comment of many lines and `--;` ends one, another `;` begins one
/// to the end of the line, unless a backslash stands before it.
fn uncomment(line: &str, depth: &mut i32) -> String {
    let (mut said, mut rest) = (String::new(), line);
    while let Some((head, tail)) = rest.split_once(';') {
        let is_said = *depth == 0;
        rest = tail;
        if let Some(escaped) = head.strip_suffix('\\') {
            if is_said {
                said.push_str(escaped);
                said.push(';');
            }
            continue;
        }
        if is_said {
            said.push_str(head);
        }
        if tail.starts_with("--") && !tail.starts_with("---") {
            *depth += 1;
            rest = &tail[2..];
        } else if head.ends_with("--") {
            *depth -= 1;
        } else if is_said {
            return said.trim().to_owned();
        }
    }
    if *depth == 0 {
        said.push_str(rest);
    }
    said.trim().to_owned()
}

/// The pattern of an `#include` or `#tryinclude` line, in letters of either case, and whether it is the latter.
pub(crate) fn included(line: &str) -> Option<(&str, bool)> {
    let (word, rest) = line.strip_prefix('#')?.split_once([' ', '\t'])?;
    let is_tried = word.eq_ignore_ascii_case("tryinclude");
    (is_tried || word.eq_ignore_ascii_case("include")).then(|| (rest.trim().trim_matches(['"', '<', '>']), is_tried))
}

/// The name and the rest of a line that begins a section.
pub(crate) fn header(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once(']')
}

/// The names of the sections of a file of ours, which has no comment of many lines; in small letters, as Asterisk finds a
/// section by its name in letters of either case.
pub(crate) fn section_names(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(|line| header(line.trim())).map(|(name, _)| name.to_ascii_lowercase()).collect()
}

/// The key and the value of a line such as `type = endpoint` or `exten => 1000,1,Hangup()`. Asterisk takes a key in letters
/// of either case; it is in small ones here.
pub(crate) fn setting(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.split_once('=')?;
    Some((key.trim().to_ascii_lowercase(), value.trim_start_matches('>').trim()))
}

/// What stands in the brackets of the head of a section, as in `[a](!,b)`: Asterisk trims none of it.
pub(crate) fn options(rest: &str) -> impl Iterator<Item = &str> {
    let options = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(options, _)| options);
    options.into_iter().flat_map(|options| options.split(',')).filter(|option| !option.is_empty())
}

/// Whether the line runs a program, whose output Asterisk reads in its place.
pub(crate) fn is_exec(line: &str) -> bool {
    line.strip_prefix('#')
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|word| word.eq_ignore_ascii_case("exec"))
}

/// What is missing at the end of the head of a section.
pub(crate) fn unclosed(line: &str) -> Option<&'static str> {
    let Some((_, options)) = line.strip_prefix('[')?.split_once(']') else { return Some("has no ] at the end") };
    (options.starts_with('(') && !options.contains(')')).then_some("has no ) at the end")
}
