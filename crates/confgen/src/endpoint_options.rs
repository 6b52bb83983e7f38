//! Options of every endpoint that the administrator chooses.

use std::fmt::Write as _;

/// The options that make users and their numbers what they are, each with what speaks against another value.
const DECIDED: &[(&str, &str)] = &[
    ("aors", "each user has an aor of its own"),
    ("auth", "each user has an auth of its own"),
    ("callerid", "it is the user's name and number"),
    ("context", "phones call in the context of the users: add to that one in extensions.conf"),
    ("from_user", "a called phone is shown who calls"),
    ("identify_by", "a phone is known by the user name that it authenticates with"),
    ("outbound_auth", "Asterisk logs in at no phone"),
    ("trust_id_inbound", "a phone could call under another user's name"),
    ("type", "the section is an endpoint"),
];

/// The longest line that is written. Asterisk skips lines of more than 8190 bytes.
const MAX_BYTES: usize = 1000;

/// PJSIP options of every endpoint, beside our own or in place of them: `media_encryption=sdes`, `allow=opus,ulaw`,
/// `language=de`.
///
/// An option that we set too replaces ours; `allow` is then the whole list of codecs, and `disallow` takes away from it. Whether Asterisk knows an option,
/// and takes its value, only Asterisk can say. Those that decide who a user is and where its calls go are refused.
///
/// ```
/// use pbx_confgen::EndpointOptions;
///
/// let options = EndpointOptions::new(["media_encryption=sdes", "allow=opus,ulaw"])?;
/// assert_eq!(options.iter().next(), Some(("media_encryption", "sdes")));
/// let refused = EndpointOptions::new(["context=default"]).unwrap_err();
/// assert!(refused.to_string().starts_with("must not set context: "));
/// # Ok::<(), pbx_confgen::EndpointOptionError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions(Vec<(String, String)>);

impl EndpointOptions {
    /// Options from texts of the form `option=value`, in their order; of several with one name Asterisk decides, most
    /// take the last.
    ///
    /// # Errors
    ///
    /// The first that is not of this form, does not fit into a line of a file, or is decided already.
    pub fn new<T: AsRef<str>>(options: impl IntoIterator<Item = T>) -> Result<Self, EndpointOptionError> {
        options.into_iter().map(|option| read(option.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// The options, each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The section of our own options, which ends with a line break, with these.
    pub(crate) fn added_to(&self, section: &str) -> String {
        // Codecs are taken away from what is there: without our `disallow=all`, `allow` would add to Asterisk's own list.
        let is_replaced =
            |line: &str| self.iter().any(|(name, _)| name != "disallow" && line.split('=').next() == Some(name));
        let mut text: String = section.split_inclusive('\n').filter(|line| !is_replaced(line)).collect();
        for (name, value) in self.iter() {
            // A bare semicolon starts a comment. Nothing else means anything to Asterisk's reader behind the `=`.
            _ = writeln!(text, "{name}={}", value.replace(';', "\\;"));
        }
        text
    }
}

fn read(option: &str) -> Result<(String, String), EndpointOptionError> {
    let refused = |reason: &str| EndpointOptionError { option: option.to_owned(), reason: reason.to_owned() };
    if option.len() > MAX_BYTES || option.chars().any(char::is_control) {
        return Err(refused(&format!("must fit into a line of {MAX_BYTES} bytes, without control characters")));
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let parts = option.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    let Some((name, value)) = parts.filter(|(name, _)| is_name(name)) else {
        return Err(refused("must be of the form option=value, the option of a-z 0-9 _"));
    };
    if let Some((name, reason)) = DECIDED.iter().find(|(decided, _)| *decided == name) {
        return Err(refused(&format!("must not set {name}: {reason}")));
    }
    // `=>` is another way to write `=`.
    if value.is_empty() || value.starts_with('>') {
        return Err(refused("must have a value, and none that begins with >"));
    }
    if value.contains("\\;") {
        return Err(refused("must have its semicolons without a backslash: each gets one in the file"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// An option that no endpoint gets, and why. Its text begins with `must`, to stand behind the name of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EndpointOptionError {
    option: String,
    reason: String,
}

impl EndpointOptionError {
    /// The option as it was given.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(option: &str) -> String {
        EndpointOptions::new([option]).expect_err(option).to_string()
    }

    #[test]
    fn an_option_stands_below_ours_or_in_place_of_ours() {
        let options = EndpointOptions::new(["allow = opus,ulaw", "outbound_proxy=sip:192.0.2.1;lr", "set_var=A=1"]);
        let section = "\n[x](!)\ntype=endpoint\nallow=ulaw\nallow_overlap=no\n";
        assert_eq!(
            options.unwrap().added_to(section),
            "\n[x](!)\ntype=endpoint\nallow_overlap=no\nallow=opus,ulaw\noutbound_proxy=sip:192.0.2.1\\;lr\nset_var=A=1\n"
        );
        assert_eq!(EndpointOptions::default().added_to(section), section);
        let options = EndpointOptions::new(["disallow=ulaw"]).unwrap();
        assert_eq!(
            options.added_to("disallow=all\nallow=ulaw,alaw\n"),
            "disallow=all\nallow=ulaw,alaw\ndisallow=ulaw\n"
        );
        assert_eq!((options.is_empty(), EndpointOptions::default().is_empty()), (false, true));
    }

    #[test]
    fn what_decides_who_a_user_is_is_refused_by_name() {
        for (name, reason) in DECIDED {
            assert_eq!(refused(&format!("{name}=x")), format!("must not set {name}: {reason}"));
        }
    }

    #[test]
    fn what_is_no_line_of_an_endpoint_is_refused() {
        for option in ["", "x", "=x", "Allow=ulaw", "[x]=1", "a b=c", "allow+=ulaw", "#exec x=1", ";x=1"] {
            assert!(refused(option).contains("option=value"), "{option}");
        }
        for option in ["x=", "x= ", "x=>1"] {
            assert!(refused(option).contains("must have a value"), "{option:?}");
        }
        let long = format!("x={}", "y".repeat(MAX_BYTES));
        for option in ["x=1\n[1000]", "x\n=1", "x=1\r", "x=1\0", "x=\u{85}y", &long] {
            assert!(refused(option).contains("a line of"), "{option:?}");
        }
        assert!(EndpointOptions::new([&long[..MAX_BYTES]]).is_ok());
        assert!(refused(r"outbound_proxy=sip:192.0.2.1\;lr").contains("without a backslash"));
        assert_eq!(EndpointOptions::new(["type=auth"]).unwrap_err().option(), "type=auth");
    }
}
