//! What must be live once Asterisk has taken a dialplan file.

use std::collections::BTreeMap;

use crate::{
    config_text::{Line, Reason, Unreadable, lines},
    expected::{Context, Step},
};

/// Reads the contexts of a dialplan file.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Context>, Unreadable> {
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    // The priority that `n` follows: of whatever extension, and of none behind a hint.
    let (mut context, mut exten, mut last) = (None, String::new(), None);
    for read in lines(text) {
        let (line, read) = read?;
        let not_an_extension = || Unreadable { line, reason: Reason::NotAnExtension };
        let (key, value) = match read {
            Line::Section { name, templates: "", .. } if can_be_asked_for(name) => {
                context = Some(name);
                contexts.entry(name.to_owned()).or_default();
                exten.clear();
                last = None;
                continue;
            }
            Line::Section { .. } => return Err(Unreadable { line, reason: Reason::NotAContext }),
            Line::Setting { key, value } => (key, value),
        };
        let steps = match key {
            "exten" => {
                let (name, rest) = value.split_once(',').ok_or_else(not_an_extension)?;
                name.trim().clone_into(&mut exten);
                rest
            }
            "same" if !exten.is_empty() => value,
            _ => return Err(not_an_extension()),
        };
        let (priority, application) = steps.split_once(',').ok_or_else(not_an_extension)?;
        let application = application.trim().replace("\\;", ";");
        if application.len() > MOST_LISTED {
            return Err(Unreadable { line, reason: Reason::TooLong });
        }
        let step = match priority.trim() {
            "hint" => {
                last = None;
                Step::Hint(application)
            }
            priority => {
                let (number, label) = match priority.split_once('(') {
                    Some((number, label)) => {
                        (number, Some(label.strip_suffix(')').ok_or_else(not_an_extension)?.to_owned()))
                    }
                    None => (priority, None),
                };
                let number = match number {
                    "n" => last.and_then(|last: u32| last.checked_add(1)),
                    number => number.parse().ok(),
                };
                last = number;
                Step::Priority {
                    number: number.ok_or_else(not_an_extension)?,
                    label,
                    application: with_parentheses(application),
                }
            }
        };
        let context = context.ok_or(Unreadable { line, reason: Reason::NoSection })?;
        let steps = contexts.entry(context.to_owned()).or_default().entry(exten.clone()).or_default();
        if steps.contains(&step) {
            return Err(Unreadable { line, reason: Reason::Twice(format!("a step of {exten:?}")) });
        }
        // Asterisk lists the hint first, wherever it stands in the file.
        let at = if matches!(step, Step::Hint(_)) { 0 } else { steps.len() };
        steps.insert(at, step);
    }
    Ok(contexts)
}

/// Asterisk lists 1023 bytes of a step, its number among them.
const MOST_LISTED: usize = 1000;

/// Whether `dialplan show NAME` means this context: it reads `exten@context`, quotes and escapes, and
/// Asterisk cuts longer names.
fn can_be_asked_for(name: &str) -> bool {
    name.len() <= 79 && !name.contains(['@', ' ', '\t', '"', '\\'])
}

/// Asterisk lists an application without arguments as `Answer()`.
fn with_parentheses(mut application: String) -> String {
    if !application.ends_with(')') {
        application.push_str("()");
    }
    application
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialplan_is_read_as_asterisk_lists_it() {
        let text = "[c]\nexten => 1000,1,Goto(ring,${EXTEN},1)\nexten => 1000,hint,PJSIP/1000\n\
            [ring]\nexten => _1XXX,1,Answer\n same => n,Dial(x,30)\n same => n(out),Hangup(20)\n[empty]\n";
        let contexts = read(text).unwrap();
        assert_eq!(contexts["c"]["1000"][0], Step::Hint("PJSIP/1000".to_owned()));
        let ring = &contexts["ring"]["_1XXX"];
        let step = |number, label: Option<&str>, application: &str| Step::Priority {
            number,
            label: label.map(str::to_owned),
            application: application.to_owned(),
        };
        assert_eq!(*ring, [step(1, None, "Answer()"), step(2, None, "Dial(x,30)"), step(3, Some("out"), "Hangup(20)")]);
        assert!(contexts["empty"].is_empty());
    }

    #[test]
    fn a_dialplan_that_cannot_be_proven_is_refused() {
        for text in [
            "exten => 1,1,A",
            "[c]\nsame => n,A",
            "[c]\nexten => 1",
            "[c]\nexten => 1,x,A",
            "[c]\ninclude => d",
            "[c]\nexten => 1,1,A\nexten => 1,1,A",
            "[c]\nsame => 1,A",
            "[c]\nexten => 1,n,A",
            "[c]\nexten => 1,hint,A\nsame => n,A",
            "[c]\nexten => 1,4294967295,A\nsame => n,A",
            "[c]\nexten => 1,1(l,A",
            "[c]\nexten => 1,1,A\n[d]\nsame => n,A",
            "[c]\nexten => 1,1,A\n[d]\nexten => 1,n,A",
            "[t](!)",
            "[c]\n[d](c)",
            "[1@c]",
            "[my c]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_or_a_context_of_which_asterisk_would_cut_the_end_is_refused() {
        let step = |length: usize| read(&format!("[c]\nexten => 1,1,{}", "A".repeat(length)));
        let context = |length: usize| read(&format!("[{}]", "c".repeat(length)));
        assert!(step(1000).is_ok() && context(79).is_ok());
        assert_eq!(step(1001).unwrap_err().reason, Reason::TooLong);
        assert_eq!(context(80).unwrap_err().reason, Reason::NotAContext);
    }

    #[test]
    fn the_next_priority_follows_the_last_of_whatever_extension() {
        let text = "[c]\nexten => 1,1,A(\\;)\nexten => 1,n,B\nexten => 2,n,C\nexten => 3,7,D\n same => n,E\n";
        let contexts = read(text).unwrap();
        let of = |exten: &str| -> Vec<_> {
            let steps = contexts["c"][exten].iter().map(|step| match step {
                Step::Priority { number, application, .. } => (*number, application.as_str()),
                Step::Hint(devices) => (0, devices.as_str()),
            });
            steps.collect()
        };
        assert_eq!(of("1"), [(1, "A(;)"), (2, "B()")]);
        assert_eq!(of("2"), [(3, "C()")]);
        assert_eq!(of("3"), [(7, "D()"), (8, "E()")]);
    }
}
