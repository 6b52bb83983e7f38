use std::time::Instant;

use crate::deploy::deployment::Deployment;

/// An option of every version. Where Asterisk does not know even this one, its documentation is not installed and its
/// answers mean nothing.
const KNOWN: &str = "context";

impl Deployment {
    /// Those of these options of PJSIP endpoints (`media_encryption`, `sdes`) with which Asterisk takes no endpoint or gets
    /// no call through, as far as it answers until `deadline`; each with the reason, which begins with `which`. What
    /// values Asterisk takes cannot be found out beforehand. Changes nothing.
    #[must_use]
    pub fn unfit_endpoint_options<'a>(
        &self,
        options: &[(&'a str, &'a str)],
        deadline: Instant,
    ) -> Vec<(&'a str, &'static str)> {
        let ask = |question: &str| self.cli.ask(question, deadline).unwrap_or_default();
        let is_unknown = |option: &str| {
            let is_word = option.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let says = format!("No option {option} found for res_pjsip:endpoint");
            !is_word || ask(&format!("config show help res_pjsip endpoint {option}")).trim() == says
        };
        let unfit = |name: &'a str, value: &'a str| {
            if is_unknown(name) && !is_unknown(KNOWN) {
                return Some("which Asterisk does not know");
            }
            (name == "transport" && ask(&format!("pjsip show transport {value}")).starts_with("Unable to find"))
                .then_some("which names a transport that there is not")
        };
        options.iter().filter_map(|&(name, value)| Some((name, unfit(name, value)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::deploy::deployment::tests::soon;
    use crate::deploy::tests::Host;

    #[test]
    fn options_that_asterisk_does_not_know_are_found_where_it_knows_any() {
        let host = Host::new();
        let help = |known: &str| {
            host.answering(&format!(
                r#"'config show help res_pjsip endpoint '{known}) echo 'It is known.' ;;
'config show help res_pjsip endpoint '*) echo "No option ${{2##* }} found for res_pjsip:endpoint" ;;
'pjsip show transport udp') echo ' Transport:  udp' ;;
'pjsip show transport '*) echo "Unable to find object ${{2##* }}." ;;"#
            ));
        };
        let unfit = |options: &[&'static str]| {
            let options: Vec<_> = options.iter().map(|name| (*name, "udp")).collect();
            host.deployment.unfit_endpoint_options(&options, soon())
        };
        help("[ct]*");
        let unknown = ["no_1", "two words"].map(|name| (name, "which Asterisk does not know"));
        assert_eq!(unfit(&["transport", "no_1", "context", "two words"]), unknown);
        let asked = ["transport", "no_1", "context", "context", "context"];
        assert_eq!(host.asked("config show help res_pjsip endpoint "), asked);
        assert_eq!(unfit(&["transport"]), []);
        let options = [("transport", "udp"), ("transport", "tls"), ("no_1", "udp"), ("tos", "tls")];
        assert_eq!(
            host.deployment.unfit_endpoint_options(&options, soon()),
            [("transport", "which names a transport that there is not"), ("no_1", "which Asterisk does not know")]
        );
        help("nothing");
        assert_eq!(unfit(&["transport", "no_1"]), []);
        // Nor is anything known of an Asterisk that does not answer.
        host.answering("'config show help res_pjsip endpoint '[!c]*) exit 1 ;;");
        assert_eq!(unfit(&["transport"]), []);
    }
}
