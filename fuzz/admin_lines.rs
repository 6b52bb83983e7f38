//! Any text as a file of the administrator's: no reader panics, no line grows by being read, and a plain pattern stands
//! for itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pbx_asterisk::fuzzing;

fuzz_target!(|input: &str| {
    let (lines, patterns) = fuzzing::admin_lines(input);
    for (line, read) in input.lines().zip(&lines) {
        assert!(read.len() <= line.len(), "{line:?} was read as {read:?}");
    }
    assert!(patterns.len() <= 1000 * lines.len());
    if !input.contains(['{', '}', '\\', ';']) {
        assert!(patterns.iter().all(|pattern| input.contains(pattern.as_str())));
    }
    let (exten, number) = input.split_once('\n').unwrap_or((input, ""));
    // Only a pattern takes another number than its own.
    assert!(fuzzing::takes(exten, number) == (exten == number) || exten.starts_with('_'));
});
