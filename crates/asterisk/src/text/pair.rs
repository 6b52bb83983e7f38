use std::path::PathBuf;

/// Where the two include files lie that Asterisk's own configuration includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeFiles {
    /// The file that `pjsip.conf` includes.
    pub endpoints: PathBuf,
    /// The file that `extensions.conf` includes.
    pub dialplan: PathBuf,
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
