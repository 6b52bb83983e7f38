//! The content hash that a file carries, in a comment and as something that can be read back live.

use sha2::{Digest as _, Sha256};

use crate::hex;

/// Digits of a generation. As the name `synergycall-generation-<16 digits>` they take 39 characters: `pjsip list aors`
/// cuts names at 41.
const DIGITS: usize = 16;

/// The placeholder while it is not known.
pub(crate) const NONE: &str = "0000000000000000";

/// The generation of a text that has [`NONE`] where its generation belongs.
pub(crate) fn of(text: &str) -> [u8; DIGITS] {
    hex::digits(&Sha256::digest(text).into())
}
