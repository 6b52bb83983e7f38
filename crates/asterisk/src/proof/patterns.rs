//! The patterns of `#include` lines, and the files that they match.

use std::io;
use std::path::{Path, PathBuf};

use crate::proof::config_tree::canonical;

/// What Asterisk, by `glob` of the C library, understands otherwise than we do.
const UNKNOWN: [&str; 5] = ["[^", "[[:", "\\", "**", "{"];
const LIKE_ASTERISK: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether we understand a pattern as Asterisk does.
pub(super) fn is_known(pattern: &str) -> bool {
    !UNKNOWN.iter().any(|unknown| pattern.contains(unknown))
}

/// The regular files that Asterisk finds by a pattern, in its order. The file in question need not be there.
pub(super) fn matching(pattern: &Path, target: &Path) -> Vec<PathBuf> {
    let real = canonical(target);
    let found = pattern.to_str().and_then(|pattern| glob::glob_with(pattern, LIKE_ASTERISK).ok());
    let found = found.into_iter().flatten().flatten().map(|path| canonical(&path));
    // One that cannot be looked at may be one.
    let is_regular = |path: &PathBuf| *path == real || !path.metadata().is_ok_and(|file| !file.is_file());
    let mut found: Vec<_> = found.filter(is_regular).collect();
    if !found.contains(&real) && matches(pattern, target) {
        found.push(real);
    }
    found
}

/// Whether what a pattern matches can be seen: all directories up to its first `*` can be searched.
pub(super) fn can_be_seen(pattern: &Path) -> bool {
    let is_plain = |path: &&Path| !path.to_string_lossy().contains(['*', '?', '[']);
    let plain = pattern.ancestors().find(is_plain).unwrap_or(pattern);
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let found = if plain == pattern { plain.metadata().map(drop) } else { plain.read_dir().map(drop) };
    !found.is_err_and(|error| is_denied(&error))
}

/// Whether an `#include` of `pattern` reads `target`, once that is there.
fn matches(pattern: &Path, target: &Path) -> bool {
    let is_match = |pattern: &Path, target: &Path| {
        let pattern = pattern.to_str().and_then(|pattern| glob::Pattern::new(pattern).ok());
        pattern.is_some_and(|pattern| pattern.matches_path_with(target, LIKE_ASTERISK))
    };
    // Links may lead to the directory of either.
    let real = |path: &Path| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path.to_owned(),
    };
    is_match(pattern, target) || is_match(&real(pattern), &real(target)) || canonical(pattern) == canonical(target)
}
