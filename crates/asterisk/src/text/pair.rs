use std::path::PathBuf;

/// Where the two include files lie that Asterisk's own configuration includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeFiles {
    /// The file that `pjsip.conf` includes.
    pub endpoints: PathBuf,
    /// The file that `extensions.conf` includes.
    pub dialplan: PathBuf,
}

impl IncludeFiles {
    /// Whether an extension of this origin (`extensions.conf:7`) is of the dialplan's file. Asterisk names no directory.
    pub(crate) fn is_dialplan(&self, origin: &str) -> bool {
        let ours = self.dialplan.file_name().unwrap_or_default().to_string_lossy();
        origin.split_once(':').is_some_and(|(file, _)| file == ours)
    }
}

/// The content of both include files. They are one thing: installed together or not at all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pair {
    /// The PJSIP objects.
    pub endpoints: Vec<u8>,
    /// The dialplan.
    pub dialplan: Vec<u8>,
}

/// Lengths only: the endpoints file holds credentials.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({} bytes of endpoints, {} of dialplan)", self.endpoints.len(), self.dialplan.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shows_no_content() {
        let pair = Pair { endpoints: b"password=secret".into(), dialplan: b"[c]".into() };
        assert_eq!(format!("{pair:?}"), "Pair(15 bytes of endpoints, 3 of dialplan)");
    }
}
