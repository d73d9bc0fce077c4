//! The names in a request, as they stand on the wire.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

/// The field that holds names to subscribe to, the same in requests of both forms of the protocol.
const NAMES: u32 = 3;

/// Names in encoded form: a sequence of records (key, length, name), in the order of the request.
///
/// In state of the world a proxy repeats all its names, thousands of them, in each of its answers. They stay in the
/// buffer that they came in, and are told apart by one pass over their bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameList {
    records: Bytes,
}

/// Tells lists of names apart. Only ever compared within one process, whose keys nobody outside can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    len: usize,
    digest: u64,
}

// === impl NameList ===

impl NameList {
    /// Takes the names out of an encoded request; returns them and the rest of it.
    ///
    /// # Errors
    ///
    /// When the request is malformed.
    pub(crate) fn split(request: &Bytes) -> Result<(Self, Bytes), DecodeError> {
        let (mut names, mut rest) = (Ranges::default(), Ranges::default());
        let mut left = &request[..];
        while !left.is_empty() {
            let start = request.len() - left.len();
            let (tag, wire_type) = encoding::decode_key(&mut left)?;
            encoding::skip_field(wire_type, tag, &mut left, DecodeContext::default())?;
            let field = start..request.len() - left.len();
            if tag == NAMES && wire_type == WireType::LengthDelimited {
                names.push(field);
            } else {
                rest.push(field);
            }
        }
        let names = Self {
            records: names.of(request),
        };
        Ok((names, rest.of(request)))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The names in the order of the request. Names are text; what is none names nothing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let mut left = &self.records[..];
        std::iter::from_fn(move || {
            // Malformed records have been ruled out.
            encoding::decode_key(&mut left).ok()?;
            let len = usize::try_from(encoding::decode_varint(&mut left).ok()?).ok()?;
            let name = left.get(..len)?;
            left.advance(len);
            Some(String::from_utf8_lossy(name))
        })
    }

    /// What tells these names in this order from others.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        self.digest(&KEYS)
    }

    /// Another one, under other keys: two lists that have both in common are equal as far as anybody can tell.
    pub(crate) fn second_fingerprint(&self) -> Fingerprint {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        self.digest(&KEYS)
    }

    fn digest(&self, keys: &RandomState) -> Fingerprint {
        Fingerprint {
            len: self.records.len(),
            digest: keys.hash_one(&*self.records),
        }
    }
}

/// Parts of a message. Neighbours become one.
#[derive(Debug, Default)]
struct Ranges(Vec<Range<usize>>);

// === impl Ranges ===

impl Ranges {
    fn push(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.0.push(range),
        }
    }

    /// The parts one after the other; a single one is shared with the message.
    fn of(self, message: &Bytes) -> Bytes {
        match &self.0[..] {
            [] => Bytes::new(),
            [only] => message.slice(only.clone()),
            several => {
                let parts = several.iter().map(|range| &message[range.clone()]);
                parts.collect::<Vec<_>>().concat().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::service::discovery::v3::DiscoveryRequest;
    use prost::Message as _;

    use super::*;

    fn encoded(names: &[&str], nonce: &str) -> Vec<u8> {
        let request = DiscoveryRequest {
            version_info: "v1".to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        };
        request.encode_to_vec()
    }

    fn split(request: impl Into<Bytes>) -> (NameList, DiscoveryRequest) {
        let (names, rest) = NameList::split(&request.into()).expect("is well-formed");
        (names, DiscoveryRequest::decode(rest).expect("decodes"))
    }

    fn texts(names: &NameList) -> Vec<String> {
        names.iter().map(String::from).collect()
    }

    #[test]
    fn names_are_taken_out_wherever_they_stand() {
        let (names, rest) = split(encoded(&["b", "a"], "n"));
        assert_eq!(texts(&names), ["b", "a"]);
        assert_eq!(
            (
                &*rest.version_info,
                &*rest.response_nonce,
                rest.resource_names.len()
            ),
            ("v1", "n", 0)
        );
        // Two messages one after the other are one message.
        let (names, rest) = split([encoded(&["b"], "1"), encoded(&["a"], "2")].concat());
        assert_eq!(texts(&names), ["b", "a"]);
        assert_eq!(rest.response_nonce, "2");
        assert!(split(encoded(&[], "n")).0.is_empty());
    }

    #[test]
    fn equal_lists_and_no_others_have_equal_fingerprints() {
        let of = |names: &[&str], nonce| {
            let names = split(encoded(names, nonce)).0;
            (names.fingerprint(), names.second_fingerprint())
        };
        assert_eq!(of(&["a", "b"], "1"), of(&["a", "b"], "2"));
        for other in [&["b", "a"][..], &["ab"], &["a"], &[]] {
            assert_ne!(of(&["a", "b"], "1"), of(other, "1"), "{other:?}");
        }
        let (first, second) = of(&["a", "b"], "1");
        assert_ne!(first, second);
    }

    #[test]
    fn garbage_is_an_error_or_text_and_no_panic() {
        for garbage in [
            &[0x1a][..],
            &[0x1a, 0x05, b'a'],
            &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x07],
        ] {
            assert!(
                NameList::split(&Bytes::copy_from_slice(garbage)).is_err(),
                "{garbage:x?}"
            );
        }
        let (names, _) =
            NameList::split(&Bytes::from_static(&[0x1a, 1, 0xff, 0x1a, 0])).expect("well-formed");
        assert_eq!(texts(&names), ["\u{fffd}", ""]);
    }
}
