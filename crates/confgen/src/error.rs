use pbx_domain::{Extension, ExtensionRange};

/// Why users cannot be rendered: either all of the text is made, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Two users have one extension. Asterisk would load no endpoint at all of a file that
    /// defines one twice.
    #[error("extension {extension} belongs to two users: delete one of them")]
    DuplicateExtension {
        /// The extension that both have.
        extension: Extension,
    },
    /// The renderer is for other numbers: no call would reach this one.
    #[error("extension {extension} is none of {} to {}", range.first(), range.last())]
    OutsideRange {
        /// The user's extension.
        extension: Extension,
        /// The range of the renderer.
        range: ExtensionRange,
    },
    /// A value of this user holds a control character, which no line of an Asterisk file can.
    #[error("the user with extension {extension} has a value with a control character: delete and recreate the user")]
    ControlCharacter {
        /// The user's extension.
        extension: Extension,
    },
}
