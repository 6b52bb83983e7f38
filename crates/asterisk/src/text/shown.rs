//! What `pjsip show registration NAME` or `pjsip show aor NAME` prints of one object: each of its options.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::listing::{CUT, STRANGE};
use crate::text::sections::Section;

/// The options of one object, each with its values: as a file gives them, or as Asterisk shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options(BTreeMap<String, Vec<String>>);

/// An option that may be given several times; of any other the last counts.
const LISTS: [&str; 1] = ["contact"];

/// What Asterisk 22 shows of an option that a registration or an aor does not give. It is needed only where a former file gave the
/// option: an option that is as before is then no sign that the former object was kept.
const DEFAULTS: [(&str, &str); 21] = [
    ("auth_rejection_permanent", "yes"),
    ("expiration", "3600"),
    ("fatal_retry_interval", "0"),
    ("forbidden_retry_interval", "0"),
    ("line", "no"),
    ("max_random_initial_delay", "10"),
    ("max_retries", "10"),
    ("retry_interval", "60"),
    ("security_negotiation", "no"),
    ("support_outbound", "no"),
    ("support_path", "no"),
    ("authenticate_qualify", "no"),
    ("default_expiration", "3600"),
    ("maximum_expiration", "7200"),
    ("minimum_expiration", "60"),
    ("max_contacts", "0"),
    ("qualify_2xx_only", "no"),
    ("qualify_frequency", "0"),
    ("qualify_timeout", "3"),
    ("remove_existing", "no"),
    ("remove_unavailable", "no"),
];

impl Options {
    /// Those that a section of a file gives.
    pub(crate) fn of(section: &Section<'_>) -> Self {
        let mut options = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in section.settings.iter().filter(|(key, _)| !key.eq_ignore_ascii_case("type")) {
            let key = key.to_ascii_lowercase();
            let is_list = LISTS.contains(&key.as_str());
            // The reader of the file takes a backslash before a semicolon away.
            let value = value.replace("\\;", ";");
            let values = options.entry(key).or_default();
            if is_list {
                values.extend(value.split(',').map(|value| value.trim().to_owned()));
            } else {
                *values = vec![value];
            }
        }
        Self(options)
    }

    /// Reads the answer: `None` where there is no such object.
    ///
    /// ```text
    ///  ParameterName            : ParameterValue
    ///  =======================================================
    ///  client_uri               : sip:493012345@192.0.2.1
    /// ```
    pub(crate) fn read(answer: &str, name: &str) -> Result<Option<Self>, &'static str> {
        if answer.trim() == format!("Unable to find object {name}.") {
            return Ok(None);
        }
        let is_head = |line: &str| line.split_once(':').is_some_and(|(key, _)| key.trim() == "ParameterName");
        let mut lines = answer.lines().skip_while(|line| !is_head(line)).skip(1);
        if !lines.next().is_some_and(|line| line.starts_with(" ====")) {
            return Err(if answer.contains("=====") { CUT } else { STRANGE });
        }
        let mut options = BTreeMap::<String, Vec<String>>::new();
        let mut is_ended = false;
        for line in lines {
            match line.split_once(" : ").or_else(|| Some((line.strip_suffix(" :")?, ""))) {
                _ if line.is_empty() => is_ended = true,
                Some((key, value)) if !is_ended => {
                    options.entry(key.trim().to_owned()).or_default().push(value.trim().to_owned());
                }
                _ => return Err(STRANGE),
            }
        }
        if is_ended { Ok(Some(Self(options))) } else { Err(CUT) }
    }

    /// In which options `live` is something else than this, one sentence each; `former` is what Asterisk may have kept instead.
    pub(crate) fn differences(&self, former: Option<&Self>, live: &Self) -> Vec<String> {
        let none = Vec::new();
        let mut other = Vec::new();
        for (key, wanted) in &self.0 {
            // Even without a value, an option that Asterisk does not know makes it refuse the object.
            match live.0.get(key) {
                None => other.push(format!("{key} is not shown")),
                Some(shown) if same_values(wanted, shown) => {}
                Some(shown) => other.push(format!("{key} is {:?}", shown.join(","))),
            }
        }
        let gone = former.into_iter().flat_map(|former| &former.0).filter(|(key, _)| !self.0.contains_key(*key));
        for (key, before) in gone {
            let default = DEFAULTS.iter().find(|(of, _)| of == key).map_or("", |(_, value)| value);
            let shown = live.0.get(key).unwrap_or(&none);
            if same_values(before, shown) && !same_values(&[default.to_owned()], shown) {
                other.push(format!("{key} is still {:?}", shown.join(",")));
            }
        }
        other
    }
}

/// Whether all that is written is shown and nothing else, in any order.
fn same_values(written: &[String], shown: &[String]) -> bool {
    let some = |values: &[String]| values.iter().filter(|value| !value.is_empty()).cloned().collect::<BTreeSet<_>>();
    let (written, shown) = (some(written), some(shown));
    written.len() == shown.len() && shown.iter().all(|shown| written.iter().any(|written| is_shown_as(written, shown)))
}

/// Whether Asterisk takes a word for true.
pub(crate) fn is_yes(word: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"].iter().any(|yes| yes.eq_ignore_ascii_case(word))
}

/// Whether Asterisk takes a written value for the one that it shows. What it shows says which kind of option it is:
/// `yes` is no number of contacts, `08` and `8.0` are none either, and Asterisk keeps the former aor then.
fn is_shown_as(written: &str, shown: &str) -> bool {
    const NO: [&str; 6] = ["no", "false", "n", "f", "0", "off"];
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match shown {
        // `no` is a word of `security_negotiation`, which is not 0.
        "true" => is_yes(written),
        "false" => NO.iter().any(|no| no.eq_ignore_ascii_case(written)),
        // A fraction, as in 3.500000.
        _ if shown.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part)) => {
            written.parse::<f64>().ok() == shown.parse().ok()
        }
        _ => written.split(',').map(str::trim).eq(shown.split(',').map(str::trim)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::sections::sections;

    const ANSWER: &str = "
 <Registration/ServerURI..............................>  <Auth....................>  <Status.......>
==========================================================================================

 carrier/sip:127.0.0.1:5999                              out           Unregistered      (exp. 8s)

 ParameterName            : ParameterValue
 =======================================================
 auth_rejection_permanent : true
 client_uri               : sip:1@127.0.0.1;x=y
 contact_user             : \n expiration               : 600
 outbound_auth            : out


";

    fn options(text: &str) -> Options {
        Options::of(&sections(text).unwrap()[0])
    }

    const WANTED: &str = "[carrier]\ntype=registration\nOutbound_Auth=out\nclient_uri=sip:1@127.0.0.1\\;x=y\nexpiration=600\ncontact_user=\n";

    #[test]
    fn an_object_is_what_asterisk_shows_of_it() {
        let live = Options::read(ANSWER, "carrier").unwrap().unwrap();
        assert_eq!(options(WANTED).differences(None, &live), [""; 0]);
        for (from, to, other) in [
            ("=out", "=other", "outbound_auth is \"out\""),
            ("sip:1@", "sip:2@", "client_uri is \"sip:1@127.0.0.1;x=y\""),
            ("=600", "=abc", "expiration is \"600\""),
            ("=600", "=0600", "expiration is \"600\""),
            ("contact_user=", "contact_user=1", "contact_user is \"\""),
            ("contact_user=", "nonsense=", "nonsense is not shown"),
            ("contact_user=", "nonsense=1", "nonsense is not shown"),
            ("contact_user=", "auth_rejection_permanent=no", "auth_rejection_permanent is \"true\""),
            ("contact_user=", "auth_rejection_permanent=Yes", ""),
        ] {
            assert_eq!(options(&WANTED.replace(from, to)).differences(None, &live).join(""), other, "{to}");
        }
    }

    #[test]
    fn an_option_that_is_no_more_and_still_shown_is_a_sign_of_the_former_object() {
        let live = Options::read(ANSWER, "carrier").unwrap().unwrap();
        let former = options(WANTED);
        let without = |line: &str| options(&WANTED.replace(line, "")).differences(Some(&former), &live);
        assert_eq!(without("expiration=600\n"), ["expiration is still \"600\""]);
        assert_eq!(without("contact_user=\n"), [""; 0]);
        let of_default = live.0.clone().into_keys().map(|key| (key, vec!["3600".to_owned()]));
        let (former, live) = (options("[c]\nexpiration=3600"), Options(of_default.collect()));
        assert_eq!(options("[c]\n").differences(Some(&former), &live), [""; 0]);
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        assert_eq!(Options::read("Unable to find object x.\n\n", "x"), Ok(None));
        assert_eq!(Options::read("Unable to find object x.\n\n", "y"), Err(STRANGE));
        let end = ANSWER.trim_end().len();
        for length in 0..end {
            assert!(Options::read(&ANSWER[..length], "carrier").is_err(), "{length}");
        }
    }
}
