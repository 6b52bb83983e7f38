use std::{fmt, io};

use pbx_asterisk::Fault;

use crate::http::logging::OneLine;

/// The lines, and whether any of them is a failure.
pub(super) struct Report<'a> {
    is_good: bool,
    quiet: bool,
    out: &'a mut dyn io::Write,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn io::Write, quiet: bool) -> Self {
        Self { is_good: true, quiet, out }
    }

    pub(super) fn is_good(&self) -> bool {
        self.is_good
    }

    /// A point that passed, or its fault.
    pub(super) fn point(&mut self, point: &str, result: Result<impl fmt::Display, Fault>) {
        match result {
            Ok(words) => self.good(point, words),
            Err(fault) => self.fault(point, &fault),
        }
    }

    pub(super) fn good(&mut self, point: &str, words: impl fmt::Display) {
        if !self.quiet {
            self.line(format_args!("ok    {point}: {words}"));
        }
    }

    /// A note: it prevents no apply.
    pub(super) fn note(&mut self, point: &str, words: impl fmt::Display) {
        if !self.quiet {
            self.line(format_args!("note  {point}: {words}"));
        }
    }

    pub(super) fn fault(&mut self, point: &str, Fault { what, fix, .. }: &Fault) {
        self.is_good = false;
        self.line(format_args!("FAIL  {point}: {what}; to fix: {fix}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        if let Err(error) = writeln!(self.out, "{}", OneLine(line)) {
            log::error!("the report cannot be written: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(quiet: bool) -> (bool, String) {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, quiet);
        report.good("a", "fine");
        report.note("b", "old");
        report.fault("c", &Fault::new("broken\nby hand", "glue"));
        (report.is_good(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_failure_says_what_fixes_it_on_one_line() {
        let fault = "FAIL  c: broken\\nby hand; to fix: glue\n";
        assert_eq!(report(false), (false, format!("ok    a: fine\nnote  b: old\n{fault}")));
        assert_eq!(report(true), (false, fault.to_owned()));
    }
}
