//! `generated_endpoints.conf`: endpoint, auth and aor of every user.

use std::fmt::Write as _;

use askama::Template;
use pbx_domain::User;
use sha2::{Digest as _, Sha256};

use crate::{RenderError, generation, hex};

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "head")]
struct Head<'a> {
    generation: &'a str,
}

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "templates")]
struct Templates;

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "user")]
struct Sections<'a> {
    extension: &'a str,
    name: &'a str,
    realm: &'a str,
    ha1: &'a str,
    /// Content hash of these very sections; nothing while it is being made.
    hash: &'a str,
}

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "marker")]
struct Marker<'a> {
    generation: &'a str,
}

/// Bytes that one user takes, about; a name of 79 bytes takes more.
const USER_BYTES: usize = 256;

/// The whole file.
pub(crate) fn render(users: &[&User]) -> Result<String, RenderError> {
    let mut text = String::with_capacity(2048 + users.len() * USER_BYTES);
    text.push_str(&head(generation::NONE));
    let head_end = text.len();

    let templates = crate::constant(&Templates);
    text.push_str(&templates);
    // Every user's hash covers the templates as well: a changed one changes every object.
    let templates = Sha256::new_with_prefix(templates);

    let mut number = String::new();
    let mut unnamed = String::with_capacity(USER_BYTES);
    for user in users {
        number.clear();
        let refused = RenderError::ControlCharacter { extension: user.extension };
        write!(number, "{}", user.extension).map_err(|_| refused)?;
        let mut sections = Sections {
            extension: &number,
            name: user.name.as_str(),
            realm: user.realm.as_str(),
            ha1: user.ha1.as_str(),
            hash: "",
        };
        unnamed.clear();
        sections.render_into(&mut unnamed).map_err(|_| refused)?;
        let hash: [u8; 12] = hex::digits(&templates.clone().chain_update(&unnamed).finalize().into());
        sections.hash = hex::as_str(&hash);
        sections.render_into(&mut text).map_err(|_| refused)?;
    }

    let marker_at = text.len();
    text.push_str(&marker(generation::NONE));
    let digits = generation::of(&text);
    text.replace_range(marker_at.., &marker(hex::as_str(&digits)));
    text.replace_range(..head_end, &head(hex::as_str(&digits)));
    Ok(text)
}

fn head(generation: &str) -> String {
    crate::constant(&Head { generation })
}

fn marker(generation: &str) -> String {
    crate::constant(&Marker { generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_brings_a_line_of_its_own() {
        let sections = |name, realm| Sections { extension: "1000", name, realm, ha1: "", hash: "" }.render();
        assert!(sections("Alice", "asterisk").is_ok());
        for (name, realm) in
            [("Alice\n#include /etc/passwd", "asterisk"), ("Alice", "asterisk\r[1001]"), ("Al\0ice", "")]
        {
            assert!(sections(name, realm).is_err(), "{name:?} {realm:?}");
        }
    }
}
