//! What must be live once Asterisk has taken a dialplan file.

use std::collections::BTreeMap;

use crate::text::config_text::{Line, Reason, Unreadable, lines};
use crate::text::expected::{BESIDES, Extens, Step};

/// Reads the contexts of a dialplan file.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Extens>, Unreadable> {
    let mut contexts: BTreeMap<String, Extens> = BTreeMap::new();
    // The priority that `n` follows: of whatever extension, and of none behind a hint.
    let (mut exten, mut last) = (String::new(), None);
    let mut context: Option<&mut Extens> = None;
    for read in lines(text) {
        let (line, read) = read?;
        let not_an_extension = || Unreadable { line, reason: Reason::NotAnExtension };
        let (key, value) = match read {
            Line::Section { name, options: "" } if can_be_asked_for(name) => {
                context = Some(contexts.entry(name.to_owned()).or_default());
                exten.clear();
                last = None;
                continue;
            }
            Line::Section { .. } => return Err(Unreadable { line, reason: Reason::NotAContext }),
            Line::Setting { key, value } => (key, value),
        };
        let of_context = context.as_deref_mut().ok_or(Unreadable { line, reason: Reason::NoSection })?;
        if BESIDES.contains(&key) {
            if of_context.insert(format!("{key} => {value}"), Vec::new()).is_some() {
                return Err(Unreadable { line, reason: Reason::Twice(format!("`{key} => {value}`")) });
            }
            continue;
        }
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
        // Asterisk lists what it has read, without the escape: `Dial(a\;b)` as `Dial(a;b)`.
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
                let (number, label) = read_priority(priority, last).ok_or_else(not_an_extension)?;
                last = Some(number);
                Step::Priority { number, label, application: with_parentheses(application) }
            }
        };
        let steps = of_context.entry(exten.clone()).or_default();
        if steps.contains(&step) {
            return Err(Unreadable { line, reason: Reason::Twice(format!("a step of {exten:?}")) });
        }
        // Asterisk lists the hint first, wherever it is in the file.
        let at = if matches!(step, Step::Hint(_)) { 0 } else { steps.len() };
        steps.insert(at, step);
    }
    for steps in contexts.values_mut().flat_map(BTreeMap::values_mut) {
        // In the first line of an extension's listing, its name takes the place of the label.
        if let Some(Step::Priority { label, .. }) = steps.first_mut() {
            *label = None;
        }
    }
    Ok(contexts)
}

/// `1`, `n`, `n+10`, or one of these with a `(label)` behind it.
fn read_priority(priority: &str, last: Option<u32>) -> Option<(u32, Option<String>)> {
    let (number, label) = match priority.split_once('(') {
        Some((number, label)) => (number, Some(label.strip_suffix(')')?.to_owned())),
        None => (priority, None),
    };
    let (number, plus) = match number.split_once('+') {
        Some((number, plus)) => (number, plus.parse().ok()?),
        None => (number, 0),
    };
    // `n` is one more than the priority before it, and `n+10` ten more than that.
    let number = if number == "n" { last?.checked_add(1)? } else { number.parse().ok()? };
    Some((number.checked_add(plus)?, label))
}

/// Asterisk lists 1023 bytes of a step, its number among them.
const MOST_LISTED: usize = 1000;

/// Whether `dialplan show NAME` means this context: it reads `exten@context`, quotes and escapes, and
/// Asterisk cuts longer names; two names are none of a context.
fn can_be_asked_for(name: &str) -> bool {
    name.len() <= 79 && !name.contains(['@', ' ', '\t', '"', '\\']) && !["general", "globals"].contains(&name)
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

    fn step(number: u32, label: Option<&str>, application: &str) -> Step {
        Step::Priority { number, label: label.map(str::to_owned), application: application.to_owned() }
    }

    #[test]
    fn the_dialplan_is_read_as_asterisk_lists_it() {
        let text = "[c]\nexten => 1000,1,Goto(ring,${EXTEN},1)\nexten => 1000,hint,PJSIP/1000\n\
            [ring]\nexten => _1XXX,1,Answer\n same => n,Dial(x,30)\n same => n(out),Hangup(20)\n[empty]\n";
        let contexts = read(text).unwrap();
        assert_eq!(contexts["c"]["1000"][0], Step::Hint("PJSIP/1000".to_owned()));
        let ring = &contexts["ring"]["_1XXX"];
        assert_eq!(*ring, [step(1, None, "Answer()"), step(2, None, "Dial(x,30)"), step(3, Some("out"), "Hangup(20)")]);
        assert!(contexts["empty"].is_empty());
    }

    #[test]
    fn what_else_a_context_has_stands_beside_its_extensions() {
        let text = "[in]\ninclude => day,9:00-17:00,mon-fri,*,*\nignorepat => 9\nswitch => Loopback/day\n\
            exten = 77,1(start),A\nexten = 77,n+101(busy),B\nexten = 77/4930,1,C\n";
        let context = &read(text).unwrap()["in"];
        assert_eq!(context["77"], [step(1, None, "A()"), step(103, Some("busy"), "B()")]);
        let names: Vec<_> = context.keys().map(String::as_str).collect();
        let besides = ["ignorepat => 9", "include => day,9:00-17:00,mon-fri,*,*", "switch => Loopback/day"];
        assert_eq!(names, [&["77", "77/4930"], &besides[..]].concat());
    }

    #[test]
    fn a_dialplan_that_cannot_be_proven_is_refused() {
        for text in [
            "exten => 1,1,A",
            "[c]\nsame => n,A",
            "[c]\nexten => 1",
            "[c]\nexten => 1,x,A",
            "[c]\neswitch => d",
            "[c]\ninclude => d\ninclude => d",
            "[c]\nexten => 1,1+x,A",
            "include => d",
            "[general]",
            "[globals]",
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
