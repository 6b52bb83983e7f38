//! `generated_endpoints.conf`: endpoint, auth and aor of every user.

use askama::Template;
use pbx_domain::User;
use sha2::{Digest as _, Sha256};

use crate::{EndpointOptions, RenderError, hash};

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "head")]
struct EndpointsHead<'a> {
    generation: &'a str,
}

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "endpoint")]
struct EndpointTemplate<'a> {
    prefix: &'a str,
    tag: &'a str,
    context: &'a str,
}

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "templates")]
struct OtherTemplates<'a> {
    prefix: &'a str,
    tag: &'a str,
}

#[derive(Template)]
#[template(path = "generated_endpoints.conf", block = "user")]
struct Sections<'a> {
    prefix: &'a str,
    tag: &'a str,
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
    prefix: &'a str,
    generation: &'a str,
}

/// Bytes that one user takes, about; a name of 79 bytes takes more.
const USER_BYTES: usize = 256;

/// Digits of the hash in the name of an auth.
const HASH_DIGITS: usize = 12;
/// Those in the names of the templates.
const TAG_DIGITS: usize = 8;

/// What the file says of all users alike.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    prefix: String,
    /// What the names of the templates end with: the hash of all that they say. A template of the administrator's with the
    /// same name, which Asterisk would take in the place of ours, can only say the same.
    tag: String,
    templates: String,
    /// Every user's hash covers the templates as well: a changed one changes every object.
    digest: Sha256,
}

impl Endpoints {
    pub(crate) fn new(prefix: &str, context: &str, options: &EndpointOptions) -> Self {
        let templates = |tag| {
            let endpoint = options.added_to(&crate::constant(&EndpointTemplate { prefix, tag, context }));
            endpoint + &crate::constant(&OtherTemplates { prefix, tag })
        };
        let tag = format!("-{}", hash::digits(Sha256::new_with_prefix(templates("")), TAG_DIGITS));
        let templates = templates(&tag);
        Self { prefix: prefix.to_owned(), tag, digest: Sha256::new_with_prefix(&templates), templates }
    }

    /// The whole file.
    pub(crate) fn render(&self, users: &[&User]) -> Result<String, RenderError> {
        let mut text = String::with_capacity(2048 + users.len() * USER_BYTES);
        text.push_str(&head(hash::NO_GENERATION));
        let head_end = text.len();
        text.push_str(&self.templates);

        for user in users {
            let number = user.extension.to_string();
            let sections = self.sections(user, &number);
            let at = text.len();
            sections.render_into(&mut text).map_err(|_| refused(user))?;
            let hash = &self.hash(&text[at..]);
            text.truncate(at);
            Sections { hash, ..sections }.render_into(&mut text).map_err(|_| refused(user))?;
        }

        let marker_at = text.len();
        text.push_str(&self.marker(hash::NO_GENERATION));
        let generation = hash::generation(&text);
        text.replace_range(marker_at.., &self.marker(&generation));
        text.replace_range(..head_end, &head(&generation));
        Ok(text)
    }

    /// The name of the user's auth.
    pub(crate) fn auth_name(&self, user: &User) -> Result<String, RenderError> {
        let number = user.extension.to_string();
        let unnamed = self.sections(user, &number).render().map_err(|_| refused(user))?;
        Ok(format!("{number}-{}", self.hash(&unnamed)))
    }

    /// The sections of the user, without their hash.
    fn sections<'a>(&'a self, user: &'a User, number: &'a str) -> Sections<'a> {
        Sections {
            prefix: &self.prefix,
            tag: &self.tag,
            extension: number,
            name: user.name.as_str(),
            realm: user.realm.as_str(),
            ha1: user.ha1.as_str(),
            hash: "",
        }
    }

    /// The hash of a user's sections, which were rendered without one.
    fn hash(&self, unnamed: &str) -> String {
        hash::digits(self.digest.clone().chain_update(unnamed), HASH_DIGITS)
    }

    fn marker(&self, generation: &str) -> String {
        crate::constant(&Marker { prefix: &self.prefix, generation })
    }
}

fn refused(user: &User) -> RenderError {
    RenderError::ControlCharacter { extension: user.extension }
}

fn head(generation: &str) -> String {
    crate::constant(&EndpointsHead { generation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_brings_a_line_of_its_own() {
        let sections =
            |name, realm| Sections { prefix: "x", tag: "", extension: "1000", name, realm, ha1: "", hash: "" }.render();
        assert!(sections("Alice", "asterisk").is_ok());
        for (name, realm) in
            [("Alice\n#include /etc/passwd", "asterisk"), ("Alice", "asterisk\r[1001]"), ("Al\0ice", "")]
        {
            assert!(sections(name, realm).is_err(), "{name:?} {realm:?}");
        }
    }

    #[test]
    fn a_realm_makes_no_arrow_of_the_sign_before_it() {
        let sections =
            |realm| Sections { prefix: "x", tag: "", extension: "1", name: "", realm, ha1: "", hash: "" }.render();
        for (realm, line) in [(">x", "\nrealm= >x\n"), ("a>x", "\nrealm=a>x\n")] {
            assert!(sections(realm).unwrap().contains(line), "{realm}");
        }
    }
}
