//! One line per event on standard error, with the id of the request it belongs to.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::panic;

use env_logger::fmt::Formatter;
use log::{Level, Record};

use crate::http::request_id::RequestId;

/// Informational, without the framework's own words about each start and stop, and about each
/// client that speaks no HTTP: an error to the framework, and a line of ours already.
const DEFAULT_FILTER: &str = "info,actix_server=warn,actix_http::h1::dispatcher=off";

/// Starts logging: `filter` is what `RUST_LOG` says, which changes of the default what it names;
/// `journal_stream` is what systemd says of the journal.
///
/// Panics are logged as one line as well.
pub fn start(filter: Option<&str>, journal_stream: Option<&str>) {
    let write = if is_journal(journal_stream) { write_journal_line } else { write_line };
    let mut builder = env_logger::Builder::new();
    // One after the other: `RUST_LOG=info` is no wish for the framework's own words.
    builder.parse_filters(DEFAULT_FILTER).parse_filters(filter.unwrap_or_default());
    builder.format(write).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log::error!("panic at {place}: {}", panic.payload_as_str().unwrap_or("no message"));
    }));
}

/// Whether standard error goes to the journal, and not where somebody redirected it since
/// (`JOURNAL_STREAM` in systemd.exec(5)).
fn is_journal(stream: Option<&str>) -> bool {
    let stderr = rustix::fs::fstat(io::stderr()).map(|file| format!("{}:{}", file.st_dev, file.st_ino));
    stderr.is_ok_and(|stderr| stream == Some(stderr.as_str()))
}

/// With the priority that `journalctl --priority` looks for (sd-daemon(3)).
fn write_journal_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let priority = match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    write!(out, "<{priority}>")?;
    write_line(out, record)
}

fn write_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = out.timestamp_micros();
    let style = out.default_level_style(record.level());
    write!(out, "{time} {style}{:<5}{style:#} {} ", record.level(), record.target())?;
    if let Some(id) = RequestId::current() {
        write!(out, "[{id}] ")?;
    }
    writeln!(out, "{}", OneLine(*record.args()))
}

/// Shows a text in one line: whatever could end the line, move the cursor or change the direction
/// of writing is shown escaped, so that no input can forge a line.
pub struct OneLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_string().chars().try_for_each(|c| match c {
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(f, "{}", c.escape_unicode())
            }
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_cannot_begin_a_line_of_its_own() {
        let forged = "a\r\nERROR\u{1b}[2K\0\u{85}\u{2028}\u{202e}b é \"q\"";
        assert_eq!(OneLine(forged).to_string(), "a\\r\\nERROR\\u{1b}[2K\\u{0}\\u{85}\\u{2028}\\u{202e}b é \"q\"",);
    }
}
