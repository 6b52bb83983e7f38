use pbx_domain::Extension;

/// Why users cannot be rendered: either all of the text is made, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// Two users have one extension. Asterisk would load no endpoint at all of a file that
    /// defines one twice.
    #[error("extension {extension} belongs to two users: delete one of them")]
    DuplicateExtension {
        /// The extension that both have.
        extension: Extension,
    },
    /// A value of this user holds a control character, which no line of an Asterisk file can.
    #[error("the user with extension {extension} has a value with a control character: delete and recreate the user")]
    ControlCharacter {
        /// The user's extension.
        extension: Extension,
    },
}
