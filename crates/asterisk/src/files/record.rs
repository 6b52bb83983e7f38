//! The form in which a pair of include files is kept in the state directory: self-contained,
//! with its length and digest, so that a damaged record is an error and never another pair.
//!
//! ```text
//! pbx-asterisk record 1
//! tag <what the caller stored with the pair>
//! unpurged <aor>,<aor>,
//! endpoints <length in bytes>
//! <content>
//! dialplan <length in bytes>
//! <content>
//! sha256 <of all lines above>
//! ```

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::text::pair::Pair;

const HEAD: &str = "pbx-asterisk record 1";

/// A pair with what was stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// One line that means something to the caller alone.
    pub(crate) tag: String,
    /// Aors whose registered contacts are a former owner's, and are not purged yet.
    pub(crate) unpurged: BTreeSet<String>,
    pub(crate) pair: Pair,
}

impl Record {
    pub(crate) fn write(&self) -> Vec<u8> {
        let Pair { endpoints, dialplan } = &self.pair;
        // A name may hold a blank, and no comma, which separates the aors of an endpoint. With one behind each, a single name
        // is told from the list of version 0.1.0, which had blanks.
        let unpurged: String = self.unpurged.iter().flat_map(|aor| [aor, ","]).collect();
        let mut text = Vec::with_capacity(endpoints.len() + dialplan.len() + 400);
        text.extend_from_slice(
            format!("{HEAD}\ntag {}\nunpurged {unpurged}\n", self.tag.replace('\n', " ")).as_bytes(),
        );
        for (name, content) in [("endpoints", endpoints), ("dialplan", dialplan)] {
            text.extend_from_slice(format!("{name} {}\n", content.len()).as_bytes());
            text.extend_from_slice(content);
            text.push(b'\n');
        }
        let signature = signature(&text);
        text.extend_from_slice(signature.as_bytes());
        text
    }

    /// `None` for anything that [`Record::write`] did not write.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let signed = text.len().checked_sub("sha256 \n".len() + 64)?;
        let (signed, last) = text.split_at(signed);
        if last != signature(signed).as_bytes() {
            return None;
        }
        let mut rest = signed;
        if line(&mut rest)? != HEAD {
            return None;
        }
        let tag = line(&mut rest)?.strip_prefix("tag ")?.to_owned();
        let unpurged = line(&mut rest)?.strip_prefix("unpurged")?;
        let unpurged = unpurged.strip_prefix(' ').unwrap_or(unpurged);
        let unpurged = unpurged
            .split(if unpurged.contains(',') { ',' } else { ' ' })
            .filter(|aor| !aor.is_empty())
            .map(str::to_owned)
            .collect();
        let endpoints = content(&mut rest, "endpoints ")?;
        let dialplan = content(&mut rest, "dialplan ")?;
        rest.is_empty().then_some(Self { tag, unpurged, pair: Pair { endpoints, dialplan } })
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    std::str::from_utf8(line).ok()
}

fn content(rest: &mut &[u8], name: &str) -> Option<Vec<u8>> {
    let length: usize = line(rest)?.strip_prefix(name)?.parse().ok()?;
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after.strip_prefix(b"\n")?;
    Some(content.to_owned())
}

/// The last line of a record: the SHA-256 of all lines above.
pub(crate) fn signature(signed: &[u8]) -> String {
    format!("sha256 {}\n", base16ct::lower::encode_string(&Sha256::digest(signed)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        ("[a-z0-9 -]{0,40}", prop::collection::btree_set("[^,\n]{1,6}", 0..4), bytes(), bytes()).prop_map(
            |(tag, unpurged, endpoints, dialplan)| Record { tag, unpurged, pair: Pair { endpoints, dialplan } },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(record in record()) {
            prop_assert_eq!(Record::read(&record.write()), Some(record));
        }

        #[test]
        fn a_damaged_record_is_none(record in record(), at in any::<prop::sample::Index>(), bit in 0_u8..8, cut in any::<bool>()) {
            let mut text = record.write();
            let at = at.index(text.len());
            if cut { text.truncate(at) } else { text[at] ^= 1 << bit }
            prop_assert_eq!(Record::read(&text), None);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Record::read(&text), None);
        }
    }

    #[test]
    fn a_record_of_version_0_1_0_is_read() {
        for (line, aors) in
            [("unpurged", &[][..]), ("unpurged 1000", &["1000"]), ("unpurged 1000 1001", &["1000", "1001"])]
        {
            let body = format!("pbx-asterisk record 1\ntag a 7\n{line}\nendpoints 1\np\ndialplan 1\ne\n");
            let read = Record::read(format!("{body}{}", signature(body.as_bytes())).as_bytes()).unwrap();
            assert_eq!((read.tag.as_str(), read.pair), ("a 7", Pair { endpoints: b"p".into(), dialplan: b"e".into() }));
            assert!(read.unpurged.iter().eq(aors), "{line}");
        }
    }

    #[test]
    fn a_signed_text_that_is_no_record_is_none() {
        for body in [
            "",
            "pbx-asterisk record 2\n",
            "pbx-asterisk record 1\ntag \nunpurged \nendpoints 99999999999999999999\n",
            "pbx-asterisk record 1\ntag \nunpurged \nendpoints 5\nab\n",
        ] {
            let text = format!("{body}{}", signature(body.as_bytes()));
            assert_eq!(Record::read(text.as_bytes()), None, "{body:?}");
        }
    }
}
