//! The reader of include files, on any two texts: it gives an answer, and the same text differs in nothing from itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pbx_asterisk::{Difference, Expected, Pair};

// The endpoints, and behind the first NUL the dialplan.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0).map(<[u8]>::to_vec);
    let pair = Pair { endpoints: parts.next().unwrap_or_default(), dialplan: parts.next().unwrap_or_default() };
    match Expected::read(&pair) {
        Ok(expected) => assert_eq!(expected.difference(&expected), Difference::default()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
