//! Messages that are others when they arrive.

use std::ops::Range;

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use crate::objects::Choices;

/// Numbers at which something may change.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    315_576_000_000,
    315_576_000_001,
    999_999_999,
    1_000_000_000,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX,
    // -1 and the like of `sint32`.
    3,
    5,
    440,
    442,
];

/// Texts that are not what they should be, or are more than that.
const TEXTS: &[&str] = &[
    "", "\0", "a", "ü", "true", "-1", "\r\nx: y", "10s", "%", "[::1]", "a.b.c",
];

/// How long what is blown up may become, in bytes.
const LARGE: usize = 1 << 16;

/// Bytes with one to three changes, whatever they say.
pub fn damaged(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    for _ in 0..=choices.below(3) {
        let byte = u8::try_from(choices.below(256)).unwrap_or_default();
        let at = choices.below(bytes.len() + 1);
        match choices.below(5) {
            0 => bytes.insert(at, byte),
            1 | 2 => match bytes.get_mut(at) {
                Some(old) => *old = byte,
                None => bytes.push(byte),
            },
            3 if bytes.len() < LARGE => bytes.extend_from_within(at..),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Any text, mostly an odd one.
pub fn string(choices: &mut Choices<'_>) -> String {
    match choices.below(4) {
        0 => choices.one_of(TEXTS).repeat(choices.below(40)),
        1 => {
            let letters = (0..choices.below(20)).map(|_| {
                let code = u32::try_from(choices.below(0x2100)).unwrap_or_default();
                char::from_u32(code).unwrap_or('\u{fffd}')
            });
            letters.collect()
        }
        _ => (*choices.one_of(TEXTS)).to_owned(),
    }
}

/// A message on the wire with one change in one of its fields, however deep that is: it is gone, there twice, elsewhere,
/// of another number, type or value, or huge. What is no message is [`damaged`].
pub fn message_changed(bytes: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let Some(fields) = fields(bytes).filter(|fields| !fields.is_empty()) else {
        return damaged(bytes.to_vec(), choices);
    };
    let field = choices.one_of(&fields);
    let whole = &bytes[field.whole.clone()];
    let around = |inside: &[u8]| {
        let mut made = bytes[..field.whole.start].to_vec();
        made.extend_from_slice(inside);
        made.extend_from_slice(&bytes[field.whole.end..]);
        made
    };
    match choices.below(10) {
        0 => around(&[]),
        1 => around(&[whole, whole].concat()),
        // Behind all others.
        2 => [around(&[]).as_slice(), whole].concat(),
        3 => {
            let number = *choices.one_of(&[1, 2, 3, 4, 5, 7, 8, 15, 1000]);
            around(&written(number, field.wire_type, &bytes[field.value.clone()]))
        }
        4 => {
            let wire_type = *choices.one_of(&[
                WireType::Varint,
                WireType::SixtyFourBit,
                WireType::LengthDelimited,
                WireType::StartGroup,
                WireType::ThirtyTwoBit,
            ]);
            around(&written(field.number, wire_type, &bytes[field.value.clone()]))
        }
        _ => {
            let value = match field.wire_type {
                WireType::Varint => {
                    let mut value = Vec::new();
                    encode_varint(*choices.one_of(NUMBERS), &mut value);
                    value
                }
                WireType::LengthDelimited => content_changed(&bytes[field.value.clone()], choices),
                _ => damaged(bytes[field.value.clone()].to_vec(), choices),
            };
            around(&written(field.number, field.wire_type, &value))
        }
    }
}

/// A message, a text or bytes inside of a message.
fn content_changed(content: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(8) {
        0 => Vec::new(),
        1 => string(choices).into_bytes(),
        2 => content.repeat(1 + choices.below(LARGE / content.len().max(1))),
        3 => damaged(content.to_vec(), choices),
        _ => message_changed(content, choices),
    }
}

/// A field of a message.
struct Field {
    number: u32,
    wire_type: WireType,
    whole: Range<usize>,
    /// Without key and length.
    value: Range<usize>,
}

/// The fields of a message; `None` if the bytes are none.
fn fields(bytes: &[u8]) -> Option<Vec<Field>> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let start = bytes.len() - rest.len();
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let mut from = bytes.len() - rest.len();
        let length = match wire_type {
            WireType::Varint => {
                let before = rest.len();
                decode_varint(&mut rest).ok()?;
                before - rest.len()
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                from = bytes.len() - rest.len();
                length
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let end = from.checked_add(length).filter(|end| *end <= bytes.len())?;
        rest = &bytes[end..];
        fields.push(Field {
            number,
            wire_type,
            whole: start..end,
            value: from..end,
        });
    }
    Some(fields)
}

fn written(number: u32, wire_type: WireType, value: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    encode_key(number, wire_type, &mut made);
    if wire_type == WireType::LengthDelimited {
        encode_varint(value.len() as u64, &mut made);
    }
    made.extend_from_slice(value);
    made
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{Duration, FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto};

    use super::*;

    fn sample() -> Vec<u8> {
        let method = MethodDescriptorProto {
            name: Some("Handle".to_owned()),
            ..MethodDescriptorProto::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("Service".to_owned()),
            method: vec![method.clone(), method],
            ..ServiceDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            service: vec![service],
            public_dependency: vec![1, 2],
            ..FileDescriptorProto::default()
        };
        file.encode_to_vec()
    }

    /// Most changes leave a message that can be read, and is another one.
    #[test]
    fn changed_messages_are_mostly_messages() {
        let sample = sample();
        let (mut others, mut readable) = (0, 0);
        for seed in 0..1000 {
            let made = message_changed(&sample, &mut Choices::seeded(seed));
            others += usize::from(made != sample);
            readable += usize::from(FileDescriptorProto::decode(&*made).is_ok());
            assert!(made.len() < 4 * LARGE);
        }
        assert!(others > 900 && readable > 400, "{others} {readable}");
        assert!(fields(&sample).is_some_and(|fields| fields.len() == 3));
    }

    #[test]
    fn anything_can_be_changed() {
        let empty = Duration::default().encode_to_vec();
        for bytes in [&empty[..], b"\xff\xff\xff", b"\x0a\x7f"] {
            for seed in 0..100 {
                let _ = message_changed(bytes, &mut Choices::seeded(seed));
                let _ = message_changed(bytes, &mut Choices::of_bytes(b""));
            }
        }
    }
}
