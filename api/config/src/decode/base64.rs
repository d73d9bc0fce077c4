//! Bytes as text (RFC 4648).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be there or not, as proto JSON demands.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the standard and the URL-safe alphabet. Line breaks are skipped: long values in YAML have them.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_ascii_whitespace())
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    STANDARD.decode(text).ok()
}

/// Writes the standard alphabet with padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_with_or_without_padding() {
        for text in ["Zm9vYg==", "Zm9vYg", "Zm9v\n  Yg==\n"] {
            assert_eq!(decode(text).as_deref(), Some(&b"foob"[..]), "{text}");
        }
        assert_eq!(decode("-_-_"), decode("+/+/"));
        assert_eq!(encode(b"foob"), "Zm9vYg==");
        for text in ["A", "Zg===", "Z*==", "Zg==Zg=="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
