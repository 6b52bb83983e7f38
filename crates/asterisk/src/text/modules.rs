//! Which of Asterisk's modules reads which file.

use crate::text::pair::Pair;

/// Modules that are reloaded together, by one command.
pub(crate) type Modules = &'static [&'static str];

/// The module that reads the endpoints.
pub(crate) const PJSIP: &str = "res_pjsip.so";
/// The module that reads the dialplan.
pub(crate) const DIALPLAN: &str = "pbx_config.so";
pub(crate) const BOTH: Modules = &[PJSIP, DIALPLAN];

/// The modules that read what differs between `former` and `new`.
pub(crate) fn modules_of_change(former: &Pair, new: &Pair) -> Modules {
    match (former.endpoints == new.endpoints, former.dialplan == new.dialplan) {
        (false, true) => &[PJSIP],
        (true, false) => &[DIALPLAN],
        _ => BOTH,
    }
}
