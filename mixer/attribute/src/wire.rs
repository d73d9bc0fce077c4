//! Messages field by field, straight from their bytes.

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field goes on behind the end.
    #[error("malformed message: it ends within a field")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("malformed message: a number is too long")]
    Number,
    /// There is no such field, or no such type on the wire.
    #[error("malformed message: invalid tag")]
    Tag,
    /// A known field is of another type on the wire.
    #[error("malformed message: field {field} is of another type")]
    WireType {
        /// Number of the field.
        field: u32,
    },
    /// A field that can only be there once.
    #[error("malformed message: field {field} is there twice")]
    Twice {
        /// Number of the field.
        field: u32,
    },
    /// A field that is there more often than anybody needs it.
    #[error("malformed message: field {field} is there more than {most} times")]
    TooMany {
        /// Number of the field.
        field: u32,
        /// How often it may be there.
        most: usize,
    },
    /// Text that has to be UTF-8 is not.
    #[error("malformed message: field {field} is not UTF-8")]
    Text {
        /// Number of the field.
        field: u32,
    },
}

/// The fields of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'r>(&'r [u8]);

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'r> {
    pub(crate) number: u32,
    data: Data<'r>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'r> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'r [u8]),
    /// Of a type that no field that we read has.
    Other,
}

/// How deep groups may be in each other.
const DEPTH: usize = 100;

// === impl Fields ===

impl<'r> Fields<'r> {
    pub(crate) fn new(message: &'r [u8]) -> Self {
        Self(message)
    }

    /// The next field, or `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field<'r>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let data = match wire_type {
            0 => Data::Varint(self.varint()?),
            2 => {
                let length = self.varint()?;
                Data::Bytes(self.take(length)?)
            }
            1 => Data::Fixed64(u64::from_le_bytes(self.array()?)),
            _ => {
                self.skip(number, wire_type)?;
                Data::Other
            }
        };
        Ok(Some(Field { number, data }))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag).map_err(|_| Malformed::Tag)? >> 3;
        if number == 0 {
            return Err(Malformed::Tag);
        }
        Ok((number, (tag & 7) as u8))
    }

    /// What stands behind the tag of a group or of 32 bits. Nobody who speaks this protocol writes any, but an unknown
    /// field may be of every type.
    fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), Malformed> {
        let mut groups = Vec::new();
        let (mut number, mut wire_type) = (number, wire_type);
        loop {
            match wire_type {
                0 => {
                    self.varint()?;
                }
                1 => {
                    self.take(8)?;
                }
                2 => {
                    let length = self.varint()?;
                    self.take(length)?;
                }
                3 if groups.len() < DEPTH => groups.push(number),
                4 if groups.pop() == Some(number) => {}
                5 => {
                    self.take(4)?;
                }
                _ => return Err(Malformed::Tag),
            }
            if groups.is_empty() {
                return Ok(());
            }
            (number, wire_type) = self.tag()?;
        }
    }

    /// Most numbers have one byte, and nearly all others two.
    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match *self.0 {
            [first, ref rest @ ..] if first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed::Truncated)?;
            self.0 = rest;
            // The tenth byte has the last bit.
            if shift == 63 && byte > 1 {
                return Err(Malformed::Number);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'r [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

// === impl Field ===

impl<'r> Field<'r> {
    #[inline]
    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        match self.data {
            Data::Varint(value) => Ok(value),
            _ => Err(self.wire_type()),
        }
    }

    /// An `int64`.
    #[inline]
    pub(crate) fn int64(self) -> Result<i64, Malformed> {
        self.varint().map(u64::cast_signed)
    }

    /// A `uint32`, of which what is above its 32 bits does not count.
    #[inline]
    pub(crate) fn uint32(self) -> Result<u32, Malformed> {
        #[expect(clippy::cast_possible_truncation, reason = "so are numbers of 32 bits read")]
        self.varint().map(|value| value as u32)
    }

    /// A `sint32`.
    #[inline]
    pub(crate) fn sint32(self) -> Result<i32, Malformed> {
        let value = self.uint32()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    #[inline]
    pub(crate) fn double(self) -> Result<f64, Malformed> {
        match self.data {
            Data::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wire_type()),
        }
    }

    #[inline]
    pub(crate) fn bytes(self) -> Result<&'r [u8], Malformed> {
        match self.data {
            Data::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wire_type()),
        }
    }

    /// The fields of a message that is a field.
    #[inline]
    pub(crate) fn message(self) -> Result<Fields<'r>, Malformed> {
        self.bytes().map(Fields::new)
    }

    /// Text that names something, so that it has to be UTF-8.
    pub(crate) fn text(self) -> Result<&'r str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text { field: self.number })
    }

    fn wire_type(self) -> Malformed {
        Malformed::WireType { field: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<u32>, Malformed> {
        let mut fields = Fields::new(message);
        let mut numbers = Vec::new();
        while let Some(field) = fields.next()? {
            numbers.push(field.number);
        }
        Ok(numbers)
    }

    #[test]
    fn fields_of_every_type_are_passed_over() {
        let message = [
            8, 1, // 1: a number
            0x11, 0, 0, 0, 0, 0, 0, 0, 0, // 2: 64 bits
            0x1a, 2, 7, 7, // 3: bytes
            0x23, 0x2b, 0x2c, 8, 1, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 0,
            0x24, // 4: a group with all of that
            0x2d, 0, 0, 0, 0, // 5: 32 bits
        ];
        assert_eq!(all(&message), Ok(vec![1, 2, 3, 4, 5]));
        for end in 1..message.len() {
            if ![2, 11, 15, 32].contains(&end) {
                assert_eq!(all(&message[..end]), Err(Malformed::Truncated), "{end}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(all(&[0]), Err(Malformed::Tag));
        assert_eq!(all(&[0x0c]), Err(Malformed::Tag), "the end of no group");
        assert_eq!(
            all(&[0x23, 0x2c]),
            Err(Malformed::Tag),
            "the end of another group"
        );
        assert_eq!(all(&[0x0e]), Err(Malformed::Tag), "a type that is not there");
        assert_eq!(all(&[0x23; 200]), Err(Malformed::Tag), "groups without end");
        assert_eq!(all(&[0xff; 12]), Err(Malformed::Number));
        assert_eq!(
            all(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            Fields::new(&[8, 1]).next().unwrap().unwrap().bytes(),
            Err(Malformed::WireType { field: 1 })
        );
    }

    #[test]
    fn signed_numbers_are_in_zigzag() {
        for (byte, value) in [(0, 0), (1, -1), (2, 1), (7, -4)] {
            assert_eq!(
                Fields::new(&[8, byte]).next().unwrap().unwrap().sint32(),
                Ok(value)
            );
        }
        let least = [8, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(
            Fields::new(&least).next().unwrap().unwrap().sint32(),
            Ok(i32::MIN)
        );
    }
}
