//! The role and the database of `DATABASE_URL` in the commands that are printed.

use pbx_persistence::Address;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Whose shell a command is for.
pub(super) const THERE: &str = "on the host of PostgreSQL: ";

/// What a URL says of database and role, for the commands that are printed; the service's own where it says nothing.
pub(super) struct DatabaseNames<'a> {
    pub(super) url: &'a str,
    pub(super) database: String,
    pub(super) role: String,
    /// The schema of the tables.
    pub(super) schema: String,
    pub(super) is_local: bool,
}

impl<'a> DatabaseNames<'a> {
    pub(super) fn of(url: &'a str) -> Self {
        let Address { role, database, is_local, .. } = Address::of(url);
        // As libpq does.
        let database = database.or_else(|| role.clone());
        let named = |name: Option<String>, default: &str, placeholder: &str| match name {
            None => default.to_owned(),
            // A terminal would not show it as it is, and a name that begins so is a pattern to pg_hba.conf.
            Some(name) if name.starts_with('/') || name.contains(|c: char| c.is_control() || c == '\u{fffd}') => {
                placeholder.to_owned()
            }
            Some(name) => name,
        };
        Self {
            url,
            database: named(database, "pbx_portal", "DATABASE_OF_DATABASE_URL"),
            role: named(role, "pbx-portal", "ROLE_OF_DATABASE_URL"),
            schema: "public".to_owned(),
            is_local,
        }
    }

    /// Whether they are those that the package's script makes on this host.
    pub(super) fn are_ours(&self) -> bool {
        self.is_local && self.database == "pbx_portal" && self.role == "pbx-portal"
    }

    /// Role and database as SQL has them.
    pub(super) fn in_sql(&self) -> (String, String) {
        (identifier(&self.role), identifier(&self.database))
    }

    /// A command for PostgreSQL's superuser.
    pub(super) fn there(&self, command: &str) -> String {
        format!("{}cd / && runuser -u postgres -- {command}", if self.is_local { "" } else { THERE })
    }

    /// The command that runs statements of the whole server, as its superuser.
    pub(super) fn sql(&self, statements: &[&str]) -> String {
        let options: Vec<_> = statements.iter().map(|sql| format!("-c {}", quoted(sql))).collect();
        self.there(&format!("psql {}", options.join(" ")))
    }

    /// The command that runs a statement in the database, as its superuser.
    pub(super) fn in_database(&self, sql: &str) -> String {
        // Of a name with `=`, psql would make options.
        let database = if is_plain(&self.database) {
            self.database.clone()
        } else {
            quoted(&format!("dbname='{}'", self.database.replace('\\', r"\\").replace('\'', r"\'")))
        };
        // A superuser sees other schemas than the role.
        let path = match self.schema.as_str() {
            "public" => String::new(),
            schema => format!("-c {} ", quoted(&format!("SET search_path TO {}", identifier(schema)))),
        };
        self.there(&format!("psql -d {database} {path}-c {}", quoted(sql)))
    }

    pub(super) fn create_database(&self) -> String {
        let (role, database) = self.in_sql();
        format!("CREATE DATABASE {database} OWNER {role} ENCODING UTF8 TEMPLATE template0")
    }
}

/// A word of the shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A name in SQL, in a command of psql and in `pg_hba.conf`.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as a part of a URL.
pub(super) fn in_url(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// Whether a word needs no quoting for the shell, SQL or `sed`.
pub(super) fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_for_commands_are_those_of_the_url() {
        for (url, names) in [
            ("postgresql:///pbx_portal", ("pbx-portal", "pbx_portal", true)),
            ("postgresql://me:pa%2Fss@db.example.com/mine?sslmode=verify-full", ("me", "mine", false)),
            ("postgres://postgres@/test?host=/tmp/x", ("postgres", "test", true)),
            ("host=db password='x y'", ("pbx-portal", "pbx_portal", false)),
            ("host = db dbname=phones user='alice'", ("alice", "phones", false)),
            ("dbname=phones host=/run/postgresql", ("pbx-portal", "phones", true)),
            ("postgresql://bob@/x?hostaddr=192.0.2.1&user=alice", ("alice", "x", false)),
            ("postgresql://a,b/c", ("pbx-portal", "c", false)),
            ("postgresql://me@a", ("me", "me", false)),
            ("postgresql://%C3%BC%40x:p@a/o%27b%22?user=%20", (" ", "o'b\"", false)),
            ("host=a user='a b' dbname=c%20", ("a b", "c%20", false)),
            ("postgresql://a%0Ab@c/%FF", ("ROLE_OF_DATABASE_URL", "DATABASE_OF_DATABASE_URL", false)),
        ] {
            let DatabaseNames { role, database, is_local, .. } = DatabaseNames::of(url);
            assert_eq!((role.as_str(), database.as_str(), is_local), names);
        }
    }
}
