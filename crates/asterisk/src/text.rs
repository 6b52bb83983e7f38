//! Text: what an include file says must be live, and what Asterisk lists. Reads no file and asks nobody.

pub(crate) mod config_text;
pub(crate) mod dialplan_file;
pub(crate) mod dialplan_listing;
pub(crate) mod digest_names;
pub(crate) mod expected;
pub(crate) mod exten;
pub(crate) mod identifies;
pub(crate) mod listing;
pub(crate) mod modules;
pub(crate) mod pair;
pub(crate) mod pjsip_file;
pub(crate) mod sections;
pub(crate) mod shown;
