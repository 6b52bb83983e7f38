//! `generated_routing.conf`: what happens when a user's extension is dialled.

use std::fmt::Write as _;

use askama::Template;
use pbx_domain::User;

use crate::{Generation, RenderError};

#[derive(Template)]
#[template(path = "generated_routing.conf", block = "head")]
struct Head<'a> {
    generation: &'a str,
}

#[derive(Template)]
#[template(path = "generated_routing.conf", block = "user")]
struct Entries<'a> {
    extension: &'a str,
}

/// Bytes that one user takes.
const USER_BYTES: usize = 96;

/// The file with [`Generation::NONE`] in its markers, until its generation is known.
pub(crate) struct Draft {
    text: String,
    head: usize,
}

impl Draft {
    pub(crate) fn of(users: &[&User]) -> Result<Self, RenderError> {
        let mut text = String::with_capacity(2048 + users.len() * USER_BYTES);
        text.push_str(&head(Generation::NONE));
        let head = text.len();
        let mut number = String::new();
        for user in users {
            number.clear();
            let refused = RenderError::ControlCharacter { extension: user.extension };
            write!(number, "{}", user.extension).map_err(|_| refused)?;
            Entries { extension: &number }.render_into(&mut text).map_err(|_| refused)?;
        }
        Ok(Self { text, head })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn seal(mut self, generation: Generation) -> String {
        self.text.replace_range(..self.head, &head(generation));
        self.text
    }
}

fn head(generation: Generation) -> String {
    crate::constant(&Head { generation: generation.as_str() })
}
