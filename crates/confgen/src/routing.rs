//! `generated_routing.conf`: what happens when a user's extension is dialled.

use std::fmt::Write as _;

use askama::Template;
use pbx_domain::User;

use crate::{RenderError, generation, hex};

#[derive(Template)]
#[template(path = "generated_routing.conf", block = "head")]
struct Head<'a> {
    prefix: &'a str,
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
pub(crate) fn render(prefix: &str, users: &[&User]) -> Result<String, RenderError> {
    let mut text = String::with_capacity(2048 + users.len() * USER_BYTES);
    text.push_str(&head(prefix, generation::NONE));
    let head_end = text.len();
    let mut number = String::new();
    for user in users {
        number.clear();
        let refused = RenderError::ControlCharacter { extension: user.extension };
        write!(number, "{}", user.extension).map_err(|_| refused)?;
        Entries { prefix, extension: &number }.render_into(&mut text).map_err(|_| refused)?;
    }
    text.replace_range(..head_end, &head(prefix, hex::as_str(&generation::of(&text))));
    Ok(text)
}

fn head(prefix: &str, generation: &str) -> String {
    crate::constant(&Head { prefix, generation })
}
