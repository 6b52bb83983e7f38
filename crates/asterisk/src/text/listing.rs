//! Readers of what Asterisk lists. Each knows how its listing ends, so that an incomplete one is an
//! error, and is never taken for a shorter list.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::expected::{Endpoint, Kind, Standalone};

pub(crate) const CUT: &str = "is cut short";
pub(crate) const STRANGE: &str = "is no listing";

/// Reads `pjsip show endpoints`: every endpoint with the auths, aors and identifies that are loaded for it. Of two whose
/// names are the same where Asterisk cuts them, what is listed of either.
///
/// # Errors
///
/// What is wrong with the answer.
pub fn endpoints(answer: &str) -> Result<BTreeMap<String, Endpoint>, &'static str> {
    let (mut endpoints, mut found) = (BTreeMap::<_, Endpoint>::new(), 0);
    let mut current: Option<&mut Endpoint> = None;
    let (mut is_in_channels, mut is_after_blank) = (false, false);
    // An endpoint is a block of lines, and what belongs to it follows its head:
    //  Endpoint:  1000/1000        Not in use    0 of inf
    //      InAuth:  1000-5625853c4d76/1000
    //         Aor:  1000           5
    for line in objects(answer) {
        let is_after_blank = std::mem::replace(&mut is_after_blank, line.is_empty());
        if is_in_channels && !(is_after_blank && is_whole_head(line)) {
            continue;
        }
        is_in_channels = line.starts_with("    Channel: ");
        if let Some(rest) = line.strip_prefix(" Endpoint:  ") {
            // A name may have a blank.
            let name = rest.split("  ").next().unwrap_or_default();
            let name = until(name, |byte| byte == b'/').to_owned();
            current = Some(endpoints.entry(name).or_default());
            found += 1;
        } else if let Some(endpoint) = &mut current {
            if let Some(rest) = line.strip_prefix("     InAuth:  ") {
                endpoint.auths.insert(until(rest, |byte| byte == b'/').to_owned());
            } else if let Some(rest) = line.strip_prefix("        Aor:  ") {
                endpoint.aors.insert(until(rest, |byte| byte == b' ').to_owned());
            } else if let Some(rest) = line.strip_prefix("    OutAuth:  ") {
                endpoint.outbound_auths.insert(until(rest, |byte| byte == b'/').to_owned());
            } else if let Some(rest) = line.strip_prefix("   Identify:  ") {
                endpoint.identifies.insert(until(rest, |byte| byte == b'/').to_owned());
            }
        }
    }
    check_count(answer, found).map(|()| endpoints)
}

/// Whether this line is surely the head of an endpoint's block, which ends the channels of the block before it.
///
/// The grammar of the listing:
///
/// ```text
/// block = head auth* (aor contact*)* transport? (identify match*)* channel* empty-line
/// head  = " Endpoint:  " name <column 65> state <column 79> channels " of " limit
/// ```
///
/// Asterisk prints the caller ID of each channel as the caller sent it, line breaks included. A caller whose name was
///
/// ```text
/// x
///
///  Endpoint:  1001/1001
/// ```
///
/// would have added an endpoint that does not exist, or hidden one that is missing. So everything between `Channel:` and
/// the next head is skipped, and a head counts only behind an empty line. A caller can send that too, but no line of more
/// than 79 bytes, and a real head is longer, with its columns in their places.
fn is_whole_head(line: &str) -> bool {
    /// Where the columns of a name, of a state and of the channels begin.
    const COLUMNS: [usize; 3] = [12, 65, 79];
    const LONGEST_OF_A_CALLER: usize = 79;
    let [name, state, channels] = COLUMNS;
    let column = |from: usize, to: usize| line.get(from..to).unwrap_or_default();
    let is_count = |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    line.starts_with(" Endpoint:  ")
        && line.len() > LONGEST_OF_A_CALLER
        // Asterisk writes a quotation mark between the caller's name and number: a line with one is made of both.
        && !column(name, state).contains('"')
        && column(state - 2, state) == "  "
        && column(state, state + 1).starts_with(|c: char| c.is_ascii_uppercase())
        && column(channels - 2, channels) == "  "
        && line.get(channels..).and_then(|text| text.trim_start().split_once(" of ")).is_some_and(|(now, most)| {
            is_count(now) && (most == "inf" || is_count(most))
        })
}

/// The text before the first ASCII byte that `is_end`.
fn until(text: &str, is_end: impl Fn(u8) -> bool) -> &str {
    text.bytes().position(is_end).and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Reads `pjsip list aors`, `auths` or `registrations`: their names.
pub(crate) fn names(kind: Kind, answer: &str) -> Result<Standalone, &'static str> {
    let before = match kind {
        Kind::Aor => "      Aor:  ",
        Kind::Auth => "     Auth:  ",
        Kind::Registration => " ",
    };
    let names: Vec<_> = objects(answer)
        .filter_map(|line| line.strip_prefix(before))
        .map(|rest| (kind, until(rest, |byte| matches!(byte, b'/' | b' ')).to_owned()))
        .collect();
    check_count(answer, names.len()).map(|()| names.into_iter().collect())
}

/// The lines below the rule that ends the listing's head.
pub(crate) fn objects(answer: &str) -> impl Iterator<Item = &str> {
    answer.lines().skip_while(|line| !line.starts_with("=====")).skip(1)
}

fn check_count(answer: &str, found: usize) -> Result<(), &'static str> {
    let last = answer.trim().lines().next_back().unwrap_or_default();
    match last.strip_prefix("Objects found: ") {
        Some(count) if count.trim().parse() == Ok(found) => Ok(()),
        Some(_) => Err("does not hold as many objects as it says"),
        None if last == "No objects found." && found == 0 => Ok(()),
        None if answer.contains("=====") => Err(CUT),
        None => Err(STRANGE),
    }
}

/// Reads `database show registrar/contact`: of each registered contact the aor, the key and what is kept under it. A key
/// of another form, as somebody may put there by hand, is nobody's.
pub(crate) fn contacts(answer: &str) -> Result<Vec<(&str, &str, &str)>, &'static str> {
    let (mut contacts, mut keys) = (Vec::new(), 0);
    for line in answer.lines() {
        if let Some(rest) = line.strip_prefix("/registrar/contact/") {
            let (key, value) = rest.split_once(": ").ok_or(STRANGE)?;
            contacts.extend(key.split_once(";@").map(|(aor, _)| (aor, key.trim_end(), value)));
            keys += 1;
        } else if let Some(found) = line.strip_suffix(" results found.") {
            let is_whole = found.parse() == Ok(keys);
            return if is_whole { Ok(contacts) } else { Err("does not hold as many keys as it says") };
        }
    }
    Err(CUT)
}

/// Reads `config list`: the files that Asterisk has read since its start.
pub(crate) fn config_files(answer: &str) -> impl Iterator<Item = &str> {
    answer.lines().filter_map(|line| line.split_once(' ')).map(|(_reader, file)| file.trim())
}

/// Reads `module show`: the modules that run.
pub(crate) fn running_modules(answer: &str) -> BTreeSet<String> {
    let is_running = |line: &&str| line.split("  ").any(|column| column.trim() == "Running");
    answer.lines().filter(is_running).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Reads one value of `core show settings` or `pjsip show settings`.
pub(crate) fn setting<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::dialplan_listing::context;
    use crate::text::expected::Step;

    const ENDPOINTS: &str = "
 Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>
    I/OAuth:  <AuthId/UserName...........................................................>
        Aor:  <Aor............................................>  <MaxContact>
==========================================================================================

 Endpoint:  1000/1000                                            Not in use    0 of inf
     InAuth:  1000-5625853c4d76/1000
        Aor:  1000                                               5
      Contact:  1000/sip:1000@127.0.0.1:5072             8d7e2d1b3e NonQual         nan

 Endpoint:  trunk                                                Unavailable   0 of inf
    OutAuth:  trunk/us
        Aor:  trunk                                              0
        Aor:  spare                                              0
   Identify:  office/trunk
        Match: 192.0.2.1/32


Objects found: 2

";

    const CONTEXT: &str = "[ Context 'synergycall-ring' created by 'pbx_config' ]
  '1000' =>         hint: PJSIP/1000                              [generated_routing.conf:8]
                    1. Goto(synergycall-ring,${EXTEN},1)          [generated_routing.conf:9]
  '_1XXX' =>        1. Set(D=${PJSIP_DIAL_CONTACTS(${EXTEN})}) [generated_routing.conf:14]
     [unavailable]  2. Hangup(20)                                 [generated_routing.conf:20]
     [congestion]   10. Hangup(34)                                [generated_routing.conf:23]
  Include =>        'more'                                        [pbx_config]
  Ignore pattern => '9'                                           [pbx_config]
  Alt. Switch =>    'Loopback/more'                               [pbx_config]

-= 2 extensions (5 priorities) in 1 context. =-
";

    #[test]
    fn endpoints_come_with_what_is_loaded_for_them() {
        let read = endpoints(ENDPOINTS).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["1000", "trunk"]);
        assert_eq!(read["1000"].auths, BTreeSet::from(["1000-5625853c4d76".to_owned()]));
        assert_eq!(read["1000"].aors, BTreeSet::from(["1000".to_owned()]));
        assert!(read["trunk"].auths.is_empty());
        assert_eq!(read["trunk"].aors.len(), 2);
        assert_eq!(read["trunk"].outbound_auths, BTreeSet::from(["trunk".to_owned()]));
        assert_eq!(read["trunk"].identifies, BTreeSet::from(["office".to_owned()]));
        assert_eq!(endpoints("No objects found.\n\n"), Ok(BTreeMap::new()));
        assert!(endpoints(&ENDPOINTS.replace("Objects found: 2", "No objects found.")).is_err());
        assert_eq!(names(Kind::Aor, "\n No objects found.\n\n"), Ok(Standalone::new()));
    }

    /// The listing with a call to 1000, whose caller sent this.
    fn called_by(caller: &str) -> String {
        let channel = format!(
            "    Channel: PJSIP/1000-00000002/AppDial                         Up            00:00:02   \n        \
             Exten:                           CLCID: \"x\" <{caller}>\n"
        );
        ENDPOINTS.replacen("\n\n Endpoint:  trunk", &format!("\n{channel}\n Endpoint:  trunk"), 1)
    }

    #[test]
    fn what_a_caller_sent_is_no_part_of_the_listing() {
        let truth = endpoints(ENDPOINTS).unwrap();
        for caller in [
            "0501234567",
            "\n Endpoint:  1000/x",
            "\n\n Endpoint:  1001/x",
            "\n Endpoint:  1001/1001\n     InAuth:  1001-42e0418f9ecb/1001\n        Aor:  1001",
            "\nObjects found: 99",
            "\n\n\nObjects found: 1\n\n",
            "1\n     InAuth:  x/y",
            "1\n        Aor:  x",
            "\n    Channel: PJSIP/1\n\n",
            "\n=====\n",
        ] {
            assert_eq!(endpoints(&called_by(caller)).as_ref(), Ok(&truth), "{caller:?}");
        }
    }

    #[test]
    fn a_head_that_a_caller_could_have_sent_is_none() {
        let head = " Endpoint:  1000/1000                                            Not in use    0 of inf";
        assert!(is_whole_head(head) && is_whole_head(&head.replace("0 of inf", "12 of 3")));
        // The longest line that a caller can send, and one that is made of two fields.
        for head in [&head[..79], &head.replacen("1000/1000     ", "1000/x\" <    ", 1)] {
            assert!(!is_whole_head(head), "{head}");
        }
    }

    /// Asterisk cuts names beyond some 50 characters.
    #[test]
    fn endpoints_of_one_name_have_what_is_loaded_for_either() {
        let answer = ENDPOINTS.replace("1000/1000", "trunk/1000");
        let read = endpoints(&answer).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["trunk"]);
        assert_eq!((read["trunk"].auths.len(), read["trunk"].aors.len()), (1, 3));
    }

    #[test]
    fn objects_of_each_kind_are_listed() {
        let answer = "\n      Aor:  <Aor....>  <MaxContact>\n=====\n\n      Aor:  synergycall-generation-8f3a1c5e0b77a1b2      0\n\nObjects found: 1\n\n";
        assert_eq!(
            names(Kind::Aor, answer),
            Ok(BTreeSet::from([(Kind::Aor, "synergycall-generation-8f3a1c5e0b77a1b2".to_owned())]))
        );
        let answer = "\n  I/OAuth:  <AuthId/UserName>\n=====\n\n     Auth:  carrier/4930\n\nObjects found: 1\n\n";
        assert_eq!(names(Kind::Auth, answer), Ok(BTreeSet::from([(Kind::Auth, "carrier".to_owned())])));
        let answer = "\n <Registration/ServerURI>  <Auth>  <Status>\n=====\n\n carrier/sip:192.0.2.1    n/a   Unregistered      (exp. 10s)\n\nObjects found: 1\n\n";
        assert_eq!(names(Kind::Registration, answer), Ok(BTreeSet::from([(Kind::Registration, "carrier".to_owned())])));
    }

    #[test]
    fn a_context_comes_with_where_each_step_was_read() {
        let read = context(CONTEXT, "synergycall-ring").unwrap().unwrap();
        assert_eq!(read["1000"][0], (Step::Hint("PJSIP/1000".to_owned()), "generated_routing.conf:8".to_owned()));
        assert_eq!(read["_1XXX"].len(), 3);
        let Step::Priority { number, label, application } = &read["_1XXX"][2].0 else { panic!("no priority") };
        assert_eq!((*number, label.as_deref(), application.as_str()), (10, Some("congestion"), "Hangup(34)"));
        for name in ["include => more", "ignorepat => 9", "switch => Loopback/more"] {
            assert_eq!(read[name], [], "{name}");
        }
        let none = "There is no existence of 'x' context\nCommand 'dialplan show x' failed.\n";
        assert_eq!(context(none, "x"), Ok(None));
        assert_eq!(context(none, "y"), Err(STRANGE));
        assert_eq!(context(CONTEXT, "ring"), Err(STRANGE));
    }

    #[test]
    fn an_extension_for_callers_of_one_number_is_named_as_it_is_written() {
        let answer = "[ Context 'c' created by 'pbx_config' ]\n  '1' (CID match '2') =>  hint: A     [x.conf:4]\n\
            \u{20}                   1. NoOp()     [x.conf:2]\n  '1' =>            1. Hangup()   [x.conf:3]\n\n\
            -= 2 extensions (3 priorities) in 1 context. =-\n";
        let read = context(answer, "c").unwrap().unwrap();
        assert_eq!(
            read.iter().map(|(name, steps)| (name.as_str(), steps.len())).collect::<Vec<_>>(),
            [("1", 1), ("1/2", 2)]
        );
    }

    #[test]
    fn a_step_of_no_extension_is_an_error() {
        let answer = "[ Context 'c' created by 'pbx_config' ]\n                    1. NoOp()     [x.conf:2]\n\n\
            -= 0 extensions (1 priority) in 1 context. =-\n";
        assert_eq!(context(answer, "c"), Err("holds a line that is no step"));
    }

    #[test]
    fn contacts_come_with_their_aor() {
        let answer = "/registrar/contact/1000;@8d7e2d1b                   : {\"via_addr\":\"\"}\n\
            /registrar/contact/1000;@ffff: {}\n/registrar/contact/my door;@1 : {}\n3 results found.\n";
        let keys: Vec<_> = contacts(answer).unwrap().into_iter().map(|(aor, key, _)| (aor, key)).collect();
        assert_eq!(keys, [("1000", "1000;@8d7e2d1b"), ("1000", "1000;@ffff"), ("my door", "my door;@1")]);
        assert_eq!(contacts("0 results found.\n"), Ok(Vec::new()));
        assert_eq!(contacts("/registrar/contact/1000;@8d7e2d1b : {}\n"), Err(CUT));
    }

    #[test]
    fn a_key_that_is_no_contacts_is_counted_and_nobodys() {
        let answer = "/registrar/contact/1000;@ffff: {}\n/registrar/contact/junk   : x\n2 results found.\n";
        assert_eq!(contacts(answer), Ok(vec![("1000", "1000;@ffff", "{}")]));
        assert!(contacts(&answer.replace("2 results", "1 results")).is_err());
    }

    #[test]
    fn the_files_that_asterisk_read_are_listed() {
        let answer = "core                 /etc/asterisk/acl.conf                            \n8f3a-48              /etc/asterisk/pjsip.conf   \n";
        assert_eq!(config_files(answer).collect::<Vec<_>>(), ["/etc/asterisk/acl.conf", "/etc/asterisk/pjsip.conf"]);
    }

    #[test]
    fn only_modules_that_run_are_listed() {
        let answer = "Module                         Description    Use Count  Status      Support Level\n\
            app_dial.so                    Dialing Application                      0          Running              core\n\
            chan_pjsip.so                  PJSIP Channel Driver                     0          Not Running          core\n\
            2 modules loaded\n";
        assert_eq!(running_modules(answer), BTreeSet::from(["app_dial.so".to_owned()]));
    }

    #[test]
    fn settings_are_found_by_name() {
        let answer = "  Configuration directory:     /etc/asterisk\n default_realm        : asterisk\n";
        assert_eq!(setting(answer, "Configuration directory"), Some("/etc/asterisk"));
        assert_eq!(setting(answer, "default_realm"), Some("asterisk"));
        assert_eq!(setting(answer, "realm"), None);
    }

    #[test]
    fn a_listing_that_ends_early_is_distinguished_from_another_answer() {
        assert_eq!(endpoints(ENDPOINTS.split("Objects").next().unwrap()), Err(CUT));
        assert_eq!(endpoints("Unable to find object x.\n\n"), Err(STRANGE));
    }

    #[test]
    fn other_answers_are_no_listings() {
        for answer in ["", "No such command 'pjsip show endpoints'", "Unable to find object x.\n\n"] {
            assert_eq!(endpoints(answer), Err(STRANGE));
            assert_eq!(context(answer, "x"), Err(STRANGE));
        }
    }

    proptest! {
        /// Every cut that loses a line that counts is an error.
        #[test]
        fn a_cut_listing_is_an_error(part in 0.0_f64..1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a fraction of a length")]
            let cut = |text: &str| text[..(text.len() as f64 * part) as usize].to_owned();
            let whole = cut(ENDPOINTS);
            prop_assert!(endpoints(&whole).is_err() || whole.contains("Objects found: 2"));
            let whole = cut(CONTEXT);
            prop_assert!(context(&whole, "synergycall-ring").is_err() || whole.ends_with(" =-"));
        }

        /// Anything in a channel's block, up to what a caller can send.
        #[test]
        fn no_caller_spoils_or_makes_a_proof(
            caller in "[ -~\n]{0,79}|(\n| Endpoint:  1000/x|     InAuth:  |        Aor:  |Objects found: |1| of inf|\"){0,6}",
        ) {
            let caller: String = caller.chars().take(79).collect();
            let answer = called_by(&caller);
            prop_assert_eq!(endpoints(&answer), endpoints(ENDPOINTS));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "(?s).{0,400}|( Endpoint:  |     InAuth:  |=====|\n|Objects found: |1|/|  '|' =>|-= |\\[|\\]|\\. ){0,60}") {
            let _unused = (endpoints(&text).is_ok(), Kind::ALL.map(|kind| names(kind, &text).is_ok()), context(&text, "").is_ok(), contacts(&text).is_ok());
            let _unused = (setting(&text, "x"), config_files(&text).count(), running_modules(&text));
        }
    }
}
