//! Makes values of what is written, each with its own rule.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use config::ValueKind;
use pbx_asterisk::Cli;
use pbx_confgen::EndpointOptions;
use pbx_domain::Realm;

use super::SettingsError;
use super::written::{Written, default_of};
use crate::http::auth::Tokens;
use crate::http::is_name;

impl Written {
    fn text(&self, key: &'static str) -> Result<&str, SettingsError> {
        match &self.get(key).kind {
            ValueKind::String(text) => Ok(text),
            other => Err(self.wrong(key, "must be a text", shown(other), "write it in quotes")),
        }
    }

    /// `config`'s own conversion would take `"2"`, `2.0` and `true` for numbers.
    pub(super) fn number<N>(&self, key: &'static str, range: RangeInclusive<N>) -> Result<N, SettingsError>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        let value = self.get(key);
        let number = match &value.kind {
            ValueKind::I64(number) => Some(*number),
            // Outside the file everything is text.
            ValueKind::String(text) if value.origin().is_some() => text.parse().ok(),
            _ => None,
        };
        number.and_then(|number| N::try_from(number).ok()).filter(|number| range.contains(number)).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            self.wrong(
                key,
                &format!("must be a whole number from {first} to {last}"),
                shown(&value.kind),
                "without quotes or unit",
            )
        })
    }

    pub(super) fn seconds(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Duration, SettingsError> {
        self.number(key, range).map(Duration::from_secs)
    }

    pub(super) fn address(&self, key: &'static str) -> Result<SocketAddr, SettingsError> {
        let fix = "write for example 127.0.0.1:8000 or [::1]:8000";
        self.parsed(key, fix, |text| text.parse().map_err(|_| "must be an IP address and a port"))
    }

    /// An absolute path without `..`: it means the same file for every process.
    pub(super) fn path(&self, key: &'static str) -> Result<PathBuf, SettingsError> {
        self.parsed(key, "begin it with /", |text| {
            let path = Path::new(text);
            let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !path.is_absolute() || !is_plain || path.file_name().is_none() || text.chars().any(char::is_control) {
                return Err("must be an absolute path without ..");
            }
            // Without doubled and trailing slashes.
            Ok(path.components().collect())
        })
    }

    /// The path of an include file: a file of its own, as an apply replaces it as a whole.
    pub(super) fn include_file(&self, key: &'static str) -> Result<PathBuf, SettingsError> {
        let path = self.path(key)?;
        if ["pjsip.conf", "extensions.conf"].iter().any(|main| path.ends_with(main)) {
            let rule = "must be a file that Asterisk's own one includes, and not that itself";
            let fix = format!("write for example {}", default_of(key));
            return Err(self.wrong(key, rule, format_args!("{:?}", path.display().to_string()), &fix));
        }
        Ok(path)
    }

    /// A program and its leading arguments. Only an absolute path, or a name to look up in `PATH`:
    /// a relative path would depend on the directory the service was started in.
    pub(super) fn cli(&self, key: &'static str, timeout: Duration) -> Result<Cli, SettingsError> {
        self.parsed(key, "write for example asterisk or /usr/sbin/asterisk", |text| {
            let program = text.split_whitespace().next();
            let is_found = program.is_some_and(|program| program.starts_with('/') || !program.contains('/'));
            let cli = Cli::new(text, timeout).ok().filter(|_| is_found);
            cli.ok_or("must name a program, not by a relative path")
        })
    }

    pub(super) fn realm(&self, key: &'static str) -> Result<Realm, SettingsError> {
        self.parsed(key, "write what default_realm of pjsip.conf says, asterisk if nothing", str::parse::<Realm>)
    }

    /// A list of `option=value`; outside the file a text, split at blanks and at each comma before another `option=`.
    pub(super) fn endpoint_options(&self, key: &'static str) -> Result<EndpointOptions, SettingsError> {
        let value = self.get(key);
        let options: Vec<&str> = match &value.kind {
            ValueKind::Array(options) => options
                .iter()
                .map(|option| match &option.kind {
                    ValueKind::String(text) => Ok(text.as_str()),
                    other => Err(self.wrong(key, "must be a list of texts", shown(other), "write each in quotes")),
                })
                .collect::<Result<_, _>>()?,
            ValueKind::String(text) if value.origin().is_some() => options_of(text),
            other => {
                let fix = "write for example [\"media_encryption=sdes\"]";
                return Err(self.wrong(key, "must be a list of texts", shown(other), fix));
            }
        };
        EndpointOptions::new(options).map_err(|error| {
            self.error(key, &format!("{error}, has {:?}", error.option()), "remove or correct that option")
        })
    }

    /// The name of this host in audit records.
    pub(super) fn node(&self, key: &'static str) -> Result<String, SettingsError> {
        self.parsed(key, "name this host, for example pbx1", |name| {
            if is_name(name) { Ok(name.to_owned()) } else { Err("must be 1 to 64 of A-Z a-z 0-9 . _ -") }
        })
    }

    /// libpq itself checks it, where it is used.
    pub(super) fn database_url(&self) -> Result<String, SettingsError> {
        match self.text("database.url")? {
            "" => Err(SettingsError::new(
                "database.url",
                "is missing",
                "set DATABASE_URL=postgresql://user:password@host/database in the environment",
            )
            .of_key("database.url")),
            url => Ok(url.to_owned()),
        }
    }

    /// The tokens of both keys: who may do everything, and who may only read.
    pub(super) fn tokens(&self, key: &'static str, read_only: &'static str) -> Result<Tokens, SettingsError> {
        let wrong = |key: &'static str, problem: &str| {
            let (problem, fix) = problem.split_once("; ").unwrap_or((problem, "write name:token,name:token"));
            self.error(key, &format!("is wrong: {problem}"), fix)
        };
        let of = |key: &'static str| Tokens::parse(self.text(key)?).map_err(|problem| wrong(key, &problem));
        of(key)?.with_read_only(of(read_only)?).map_err(|problem| wrong(read_only, &problem))
    }

    /// What `parse` makes of a text, or the rule that the text breaks.
    fn parsed<T, E: Display>(
        &self,
        key: &'static str,
        fix: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, SettingsError> {
        let text = self.text(key)?;
        parse(text).map_err(|rule| self.wrong(key, &rule.to_string(), format!("{text:?}"), fix))
    }

    fn wrong(&self, key: &'static str, rule: &str, written: impl Display, fix: &str) -> SettingsError {
        self.error(key, &format!("{rule}, is {written}"), fix)
    }
}

/// The options of a variable, each behind a blank or a comma.
pub(crate) fn options_of(text: &str) -> Vec<&str> {
    text.split_whitespace().flat_map(split_at_options).collect()
}

/// The options of a text such as `media_encryption=sdes,allow=opus,ulaw`, where a comma may also stand in a value.
fn split_at_options(text: &str) -> Vec<&str> {
    let begins_option = |rest: &str| {
        let name = rest.split('=').next().filter(|name| name.len() < rest.len());
        name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
    };
    let commas = text.match_indices(',').map(|(at, _)| at).filter(|at| begins_option(&text[at + 1..]));
    let mut options = Vec::new();
    let mut start = 0;
    for comma in commas {
        options.push(&text[start..comma]);
        start = comma + 1;
    }
    options.push(&text[start..]);
    options
}

fn shown(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "an array".to_owned(),
        other => other.to_string(),
    }
}
