//! Any bytes as the journal or the proven record: damaged ones are none, and one that is rightly signed is read as what
//! would be written of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pbx_asterisk::fuzzing;

fuzz_target!(|input: &[u8]| {
    if let Some(again) = fuzzing::rewritten_record(input) {
        assert_eq!(fuzzing::rewritten_record(&again), Some(again));
    }
    if let Some(again) = fuzzing::rewritten_record(&fuzzing::signed(input)) {
        assert_eq!(fuzzing::rewritten_record(&again).as_ref(), Some(&again));
        let mut damaged = again;
        let at = input.first().map_or(0, |first| usize::from(*first)) % damaged.len();
        damaged[at] ^= 1;
        assert_eq!(fuzzing::rewritten_record(&damaged), None);
    }
});
