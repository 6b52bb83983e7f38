#![doc = include_str!("../README.md")]
//!
//! Nothing blocks, and all public types are `Send` and `Sync`.
//!
//! # What is in the files
//!
//! Their form is the one that a strict line reader understands: `[name]`, `[name](template)`,
//! `[name](!)`, `key=value`, `include => …`, `exten => …`, ` same => …` and comments of whole lines.
//!
//! - The endpoint and the aor of a user bear the extension's number; the auth is named
//!   `<number>-<12 hexadecimal digits>` after a SHA-256 over everything that the file says of
//!   that user, our templates included. An endpoint that is live with the right auth is therefore
//!   live with the right settings.
//! - All other objects and contexts but a context of your own are named after the [`Prefix`], `synergycall-…`. The
//!   extensions are in `synergycall-users`, which the administrator may include where others are to call the users. Phones call in
//!   `synergycall-internal`, which includes it and holds nothing else: what the administrator adds there, phones alone
//!   may reach.
//! - Each file carries its own generation, 16 hexadecimal digits of a SHA-256 over its text with zeros in their place:
//!   in the comment `; generation <digits>`, and as something that can be read back live, the aor
//!   `synergycall-generation-<digits>` and `generation@synergycall-ring` in the dialplan. So users that change without
//!   a change of numbers leave the dialplan's file as it was.
//! - A display name appears in the endpoint's `callerid` alone, within quotes. No template can
//!   write a value unescaped.
//!
//! Meaning of the options: Asterisk's documentation, [PJSIP Configuration Sections and
//! Relationships][sections], [Configuring res_pjsip to work through NAT][nat] and the module
//! reference of [res_pjsip][options]. What the caller hears is chosen by the Q.850 cause that the
//! dialplan hangs up with: 17 is sent as 486, 19 and 20 are sent as 480
//! ([RFC 3398, section 8.2.6.1](https://www.rfc-editor.org/rfc/rfc3398#section-8.2.6.1)).
//!
//! [sections]: https://docs.asterisk.org/Configuration/Channel-Drivers/SIP/Configuring-res_pjsip/PJSIP-Configuration-Sections-and-Relationships/
//! [nat]: https://docs.asterisk.org/Configuration/Channel-Drivers/SIP/Configuring-res_pjsip/Configuring-res_pjsip-to-work-through-NAT/
//! [options]: https://docs.asterisk.org/Asterisk_22_Documentation/API_Documentation/Module_Configuration/res_pjsip/

#![warn(missing_debug_implementations)]

mod context;
mod endpoint_options;
mod endpoints;
mod error;
mod escape;
mod hash;
mod prefix;
mod renderer;
mod routing;

use std::fmt;

use askama::Template;
pub use context::{Context, ContextError};
pub use endpoint_options::{EndpointOptionError, EndpointOptions};
pub use error::RenderError;
pub use prefix::{Prefix, PrefixError};
pub use renderer::Renderer;

/// The text of both include files.
///
/// The endpoints hold the digests that phones register with, which are as good as passwords:
/// `Debug` shows no text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rendering {
    /// The text of `generated_endpoints.conf`. It holds secrets: keep the file from other eyes.
    pub endpoints: String,
    /// The text of `generated_routing.conf`.
    pub routing: String,
}

impl fmt::Debug for Rendering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendering")
            .field("endpoints", &format_args!("({} bytes)", self.endpoints.len()))
            .field("routing", &format_args!("({} bytes)", self.routing.len()))
            .finish()
    }
}

/// A part of a file whose values are all ours.
#[expect(clippy::expect_used, reason = "the escaper refuses control characters alone, and a String takes all")]
fn constant(template: &impl Template) -> String {
    template.render().expect("neither a prefix nor hexadecimal digits have control characters")
}
