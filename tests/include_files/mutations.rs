//! Include files that are nearly right: a good one, with lines in it that readers may take in different ways.

use proptest::prelude::*;

pub(crate) const ENDPOINTS: &str = "; generated
[t](!)
type=endpoint
context=c
[u](!)
type=auth
[a](t)
auth=a-1
aors=a
[a-1](u)
username=a
password=secret
[a]
type=aor
[m-1]
type=aor
max_contacts=0
";

pub(crate) const ROUTING: &str = "[c]
exten => 1,hint,PJSIP/a
exten => 1,1,NoOp(x)
 same => n,Hangup(16)
exten => 2,1,NoOp
[d]
exten => _X.,1,Dial(PJSIP/a,30) ; ring
 same => n(end),Hangup()
";

/// Another pair, which shares no object with those: of one that it finds faulty, Asterisk keeps the former settings.
pub(crate) const FORMER: [&str; 2] = [
    "[f]\ntype=endpoint\nauth=f-1\naors=f\n[f-1]\ntype=auth\nusername=f\npassword=secret\n[f]\ntype=aor\n[m-0]\ntype=aor\n",
    "[c]\nexten => f,1,NoOp()\n",
];

const ENDPOINT_LINES: &[&str] = &[
    "",
    "[x]",
    "[x](t)",
    "[x] (t)",
    "[x](!)",
    "[x] (!)",
    "[x]( !)",
    "[x](t) y",
    "[x](t,u)",
    "[x](!,t)",
    "[x](+)",
    "[ x ]",
    "[a/b](t)",
    "[a b](t)",
    "[t](!)",
    "[a](t)",
    "[x](none)",
    "type=endpoint",
    "type = aor",
    "type=>auth",
    "TYPE=endpoint",
    "type=identify",
    "type=endpoint\0",
    "\u{a0}type=aor",
    "auth=",
    "Auth=a-1",
    "auth=a-1,a-1",
    "auth+=a-1",
    "auth=none",
    "aors=",
    "aors=m-1",
    "AORS=a,m-1",
    "aors=a\\;b",
    ";-- x",
    "--;",
    ";-- x --; [y](t)",
    ";-- x --; aors=m-1",
    "; x ;-- y",
    ";--- x",
    "context=d;x",
    "context=d\\;x",
    "context=d\\\\;x",
    "callerid=\"\\\"\\;\\\\\" <1>",
    "\t[y](t) ; y",
    "\u{b}[y](t)",
    "[y](t)\r",
    "x",
    "=x",
];

const DIALPLAN_LINES: &[&str] = &[
    "",
    "[c]",
    "[d](c)",
    "[e](!)",
    "[e](c)",
    "[e]",
    "[d] (c)",
    "[1@c]",
    "exten => 1,n,NoOp(y)",
    "exten => 3,n,NoOp(y)",
    "exten => 3,1,NoOp(y)",
    "exten => 3,01,NoOp()",
    "exten => 3,+1,NoOp()",
    "exten => 3,0,NoOp()",
    "exten => 3,2147483647,NoOp()",
    "exten => 3,4294967295,NoOp()",
    "exten => 1/2,1,NoOp()",
    "exten => ,1,NoOp()",
    "exten => 3,1",
    "exten => 3,1,",
    "exten => 3,1(l),NoOp()",
    "exten => 3,1,NoOp (x)",
    "exten => 3,1,NoOp(x) y",
    "exten => 3,1,NoOp(a\\;b)",
    "exten => 3,1,NoOp(a\\\\;b)",
    "exten => 3,1,NoOp(a;b)",
    "exten => 3,1,NoOp(a [c.conf:1]",
    "exten => 3,1,Set(X=1. NoOp())",
    "exten => ${X},1,NoOp()",
    "exten => _[1-3]!,1,NoOp()",
    "exten => 1-1,1,NoOp()",
    "exten => 1,hint,PJSIP/b",
    "exten => 2,hint,PJSIP/b",
    "exten => 2,HINT,PJSIP/b",
    "EXTEN => 3,1,NoOp()",
    "exten = 3,1,NoOp()",
    "same => n,NoOp(z)",
    "same => n(m),NoOp(z)",
    "same => n+2,NoOp(z)",
    "same => s,NoOp(z)",
    "same => end,NoOp(z)",
    "same => 9,NoOp(z)",
    "include => d",
    "ignorepat => 9",
    ";-- x",
    "--;",
    ";-- x --; exten => 4,1,NoOp()",
    "; x",
    "exten => 4,1,NoOp(\0)",
    "exten => 4,1,NoOp(\u{a0})\u{a0}",
];

/// The text of both files, of which one at least is changed.
pub(crate) fn pair() -> impl Strategy<Value = (String, String)> {
    let endpoints = || mutated(ENDPOINTS, ENDPOINT_LINES);
    let dialplan = || mutated(ROUTING, DIALPLAN_LINES);
    prop_oneof![
        (endpoints(), Just(ROUTING.to_owned())),
        (Just(ENDPOINTS.to_owned()), dialplan()),
        (endpoints(), dialplan()),
    ]
}

/// `text` with one line or two more, less, repeated or replaced.
fn mutated(text: &'static str, lines: &'static [&'static str]) -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..6, prop::sample::select(lines));
    prop::collection::vec(change, 1..=2).prop_map(|changes| {
        let mut changed: Vec<&str> = text.lines().collect();
        for (at, how, line) in changes {
            let at = at.index(changed.len());
            match how {
                0 => drop(changed.remove(at)),
                1 => changed.insert(at, changed[at]),
                2 => changed[at] = line,
                _ => changed.insert(at, line),
            }
        }
        changed.join("\n") + "\n"
    })
}
