//! `generated_routing.conf`: what happens when a user's extension is dialled.

use askama::Template;
use pbx_domain::{ExtensionRange, User};

use crate::{RenderError, hash};

#[derive(Template)]
#[template(path = "generated_routing.conf", block = "head")]
struct RoutingHead<'a> {
    prefix: &'a str,
    /// Where phones call.
    context: &'a str,
    /// What all extensions match.
    pattern: &'a str,
    generation: &'a str,
}

#[derive(Template)]
#[template(path = "generated_routing.conf", block = "user")]
struct Entries<'a> {
    prefix: &'a str,
    extension: &'a str,
}

/// Bytes that one user takes.
const USER_BYTES: usize = 96;

/// The whole file.
pub(crate) fn render(
    prefix: &str,
    context: &str,
    range: ExtensionRange,
    users: &[&User],
) -> Result<String, RenderError> {
    let pattern = pattern(range);
    let head = |generation: &str| crate::constant(&RoutingHead { prefix, context, pattern: &pattern, generation });
    let mut text = String::with_capacity(2048 + users.len() * USER_BYTES);
    text.push_str(&head(hash::NO_GENERATION));
    let head_end = text.len();
    for user in users {
        let entries = Entries { prefix, extension: &user.extension.to_string() };
        entries.render_into(&mut text).map_err(|_| RenderError::ControlCharacter { extension: user.extension })?;
    }
    text.replace_range(..head_end, &head(&hash::generation(&text)));
    Ok(text)
}

/// A pattern that matches every extension of the range, and may match more: it is reached from the entries of users alone.
fn pattern(range: ExtensionRange) -> String {
    let (first, last) = (range.first().to_string(), range.last().to_string());
    if first.len() != last.len() {
        // A digit, and whatever follows.
        return "_X!".to_owned();
    }
    let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    format!("_{}{}", &first[..common], "X".repeat(first.len() - common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_all_of_a_range() {
        for (first, last, expected) in [
            (1000, 1999, "_1XXX"),
            (200, 299, "_2XX"),
            (2010, 2019, "_201X"),
            (7, 7, "_7"),
            (90, 110, "_X!"),
            (1, 9, "_X"),
        ] {
            assert_eq!(pattern(ExtensionRange::new(first, last).unwrap()), expected);
        }
    }
}
