//! Anything at all as Asterisk's answers: no reader panics, and what proves two users names each object of theirs.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pbx_asterisk::{Expected, Pair, fuzzing};

static WANTED: LazyLock<Expected> = LazyLock::new(|| {
    expected(
        "[1000]\ntype=endpoint\nauth=1000-a\naors=1000\n[1000-a]\ntype=auth\n[1000]\ntype=aor\n[1001]\ntype=endpoint\n\
         auth=1001-b\naors=1001\n[1001-b]\ntype=auth\n[1001]\ntype=aor\n[marker-2]\ntype=aor\n",
        "[ring]\nexten => 1000,hint,PJSIP/1000\nexten => 1000,1,Dial(PJSIP/1000)\n same => n(end),Hangup(17)\n\
         exten => 1001,1,Answer()\n",
    )
});

static FORMER: LazyLock<Expected> = LazyLock::new(|| {
    expected(
        "[1002]\ntype=endpoint\nauth=1002-c\naors=1002\n[1002-c]\ntype=auth\n[1002]\ntype=aor\n[marker-1]\ntype=aor\n",
        "[ring]\nexten => 1002,1,Answer()\n",
    )
});

/// Blanks apart, the beginning of a line about each object.
const SIGNIFICANT: [&[&str]; 3] = [
    &[" Endpoint:  1000", "     InAuth:  1000-a", "        Aor:  1000", " Endpoint:  1001", "     InAuth:  1001-b"],
    &["      Aor:  marker-2"],
    &["[ Context 'ring'", "  '1000' =>", "  '1001' =>", "     [end]"],
];

/// The beginning of a line about an object of the former files.
const STALE: [&str; 2] = ["     InAuth:  1002-c", "      Aor:  marker-1 "];

// The endpoints, the markers, and what the context holds, with a line `----` between them.
fuzz_target!(|input: &[u8]| {
    let input = String::from_utf8_lossy(input);
    let mut answers = input.splitn(3, "\n----\n");
    let answers: [&str; 3] = std::array::from_fn(|_| answers.next().unwrap_or_default());
    let contexts = [("ring".to_owned(), answers[2].to_owned())];
    if fuzzing::is_proven(&WANTED, &FORMER, answers[0], answers[1], &contexts) {
        for (answer, beginnings) in answers.iter().zip(SIGNIFICANT) {
            for beginning in beginnings {
                assert!(answer.lines().any(|line| line.starts_with(beginning)), "{beginning}");
            }
        }
        assert!(answers[2].contains("hint: PJSIP/1000") || answers[2].contains("hint:PJSIP/1000"));
        for answer in answers {
            assert!(!answer.lines().any(|line| STALE.iter().any(|stale| line.starts_with(stale))));
        }
    }
    if fuzzing::is_reloaded(&input) {
        for module in ["res_pjsip.so", "pbx_config.so"] {
            assert!(input.contains(&format!("Module '{module}' reloaded successfully.")));
        }
    }
    let lines = input.lines().count();
    assert!(fuzzing::counts(&input).iter().all(|count| *count <= lines));
});

fn expected(endpoints: &str, dialplan: &str) -> Expected {
    Expected::read(&Pair { endpoints: endpoints.into(), dialplan: dialplan.into() }).expect("a pair that can be proven")
}
