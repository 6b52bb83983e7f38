//! The reader of what Asterisk lists of the dialplan.

use std::collections::BTreeMap;

use crate::text::expected::{BESIDES, Step};
use crate::text::listing::{CUT, STRANGE};

/// One extension as it is live: its steps, and where each was read from (`extensions.conf:12`).
pub(crate) type LiveExten = Vec<(Step, String)>;

/// Reads `dialplan show CONTEXT`, as [`Context`](crate::text::expected::Context) has it; `None` where there is no such
/// context.
pub(crate) fn context(answer: &str, context: &str) -> Result<Option<BTreeMap<String, LiveExten>>, &'static str> {
    let none = format!("There is no existence of '{context}' context");
    let head = format!("[ Context '{context}' created by '");
    // Before it, the client may say something of its own.
    let mut lines = answer.lines().skip_while(|line| *line != none && !line.starts_with(&head));
    match lines.next() {
        Some(line) if line == none => return Ok(None),
        Some(_) => {}
        None => return Err(STRANGE),
    }
    let mut extens: Vec<(String, LiveExten)> = Vec::new();
    let mut besides = Vec::new();
    // Each line is like one of these:
    //   '1000' =>         hint: PJSIP/1000                              [generated_routing.conf:8]
    //                     1. Goto(synergycall-ring,${EXTEN},1)          [generated_routing.conf:9]
    //      [unavailable]  2. Hangup(20)                                 [generated_routing.conf:20]
    //   Include =>        'more'                                        [pbx_config]
    // -= 1 extension (3 priorities) in 1 context. =-
    while let Some(line) = lines.next() {
        if let Some(footer) = line.strip_prefix("-= ") {
            let steps = extens.iter().map(|(_, steps)| steps.len()).sum();
            check_dialplan_count(footer, extens.len(), steps)?;
            let count = extens.len();
            let mut by_name: BTreeMap<_, _> = extens.into_iter().collect();
            // An extension that is listed twice, or lines behind the last, are of no listing that we know.
            let is_sound = by_name.len() == count && lines.all(str::is_empty);
            by_name.extend(besides.into_iter().map(|name| (name, Vec::new())));
            return if is_sound { Ok(Some(by_name)) } else { Err(STRANGE) };
        }
        let step = match exten(line) {
            Some((name, rest)) => {
                extens.push((name, Vec::new()));
                rest
            }
            None if line.starts_with("     ") => line,
            None => {
                besides.extend(beside(line));
                continue;
            }
        };
        let step = read_step(step).zip(extens.last_mut());
        let ((step, origin), (_, steps)) = step.ok_or("holds a line that is no step")?;
        steps.push((step, origin.to_owned()));
    }
    Err(CUT)
}

/// Reads `dialplan show NUMBER@CONTEXT`: the context, the extension and the origin of the step that takes the calls. A hint
/// takes none.
pub(crate) fn first(answer: &str) -> Option<[String; 3]> {
    let (mut context, mut name) = ("", String::new());
    answer.lines().find_map(|line| {
        // `[ Context 'x' created by` or `[ Included context 'x' created by`: the first is the one that is looked at first.
        if let Some((_, head)) = line.strip_prefix("[ ").and_then(|head| head.split_once("ontext '")) {
            context = head.split('\'').next().unwrap_or_default();
            return None;
        }
        let step = exten(line).map(|(found, step)| {
            name = found;
            step
        });
        let (Step::Priority { .. }, origin) = read_step(step.unwrap_or(line))? else { return None };
        Some([context, &name, origin].map(str::to_owned))
    })
}

/// `  '1000' =>`, and where it is for callers of one number `  '1000' (CID match '2000') =>`, which
/// is written `1000/2000`; with what follows.
fn exten(line: &str) -> Option<(String, &str)> {
    let (name, rest) = line.strip_prefix("  '")?.split_once(" =>")?;
    let name = match name.strip_suffix("')").and_then(|name| name.split_once("' (CID match '")) {
        Some((name, caller)) => format!("{name}/{caller}"),
        None => name.strip_suffix('\'')?.to_owned(),
    };
    Some((name, rest))
}

/// `  Include =>  'other'  [pbx_config]` as it is written.
fn beside(line: &str) -> Option<String> {
    let (key, rest) = line.trim().split_once("=>")?;
    let at = ["Include", "Ignore pattern", "Alt. Switch"].iter().position(|listed| *listed == key.trim_end())?;
    let (value, _origin) = rest.trim_start().strip_prefix('\'')?.rsplit_once('\'')?;
    Some(format!("{} => {value}", BESIDES[at]))
}

/// `hint: PJSIP/1000`, `1. Answer()` or `[label] 7. Hangup(20)`; and where it was read from.
fn read_step(step: &str) -> Option<(Step, &str)> {
    let step = step.trim();
    // The last bracket is the origin: an application may have brackets of its own (`Set(x=$[1+1])`).
    let (text, origin) = match step.strip_suffix(']').and_then(|step| step.rsplit_once('[')) {
        Some((text, origin)) => (text.trim_end(), origin),
        None => (step, ""),
    };
    if let Some(hint) = text.strip_prefix("hint:") {
        return Some((Step::Hint(hint.trim().to_owned()), origin));
    }
    let (label, text) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((label, rest)) => (Some(label.to_owned()), rest.trim_start()),
        None => (None, text),
    };
    let (number, application) = text.split_once(". ")?;
    Some((Step::Priority { number: number.parse().ok()?, label, application: application.to_owned() }, origin))
}

/// `2 extensions (4 priorities) in 1 context. =-`
fn check_dialplan_count(footer: &str, extensions: usize, priorities: usize) -> Result<(), &'static str> {
    let of = |count, one, many| format!("{count} {}", if count == 1 { one } else { many });
    let (extensions, priorities) =
        (of(extensions, "extension", "extensions"), of(priorities, "priority", "priorities"));
    let is_whole = footer == format!("{extensions} ({priorities}) in 1 context. =-");
    if is_whole { Ok(()) } else { Err("does not hold as many extensions as it says") }
}
