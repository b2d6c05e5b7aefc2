//! Enters: bytes of a protobuf message. Leaves: its fields, one after the other, borrowed. It must never allocate, panic
//! or look at a byte twice: what it is given was written by a stranger.
//!
//! Libraries decode into owned messages, where two bytes of a file can become a hundred of memory. Here the caller
//! counts before it keeps anything.

/// What a message cannot be read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: a message, a string, bytes, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The content of a message, string or bytes.
    pub(super) const fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32(_) => Err(Malformed),
        }
    }

    /// A string; names of ONNX are UTF-8.
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// A number.
    pub(super) const fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Fixed64(_) | Self::Bytes(_) | Self::Fixed32(_) => Err(Malformed),
        }
    }

    /// The numbers of a repeated integer field, packed or one of many single ones.
    pub(super) const fn varints(self) -> Result<Varints<'a>, Malformed> {
        match self {
            Self::Varint(number) => Ok(Varints { single: Some(number), rest: &[] }),
            Self::Bytes(rest) => Ok(Varints { single: None, rest }),
            Self::Fixed64(_) | Self::Fixed32(_) => Err(Malformed),
        }
    }

    /// How many numbers of a width a repeated field of fixed width holds, packed or one of many single ones.
    pub(super) fn fixed_count(self, width: usize) -> Result<usize, Malformed> {
        match self {
            Self::Bytes(bytes) if bytes.len().is_multiple_of(width) => Ok(bytes.len() / width),
            Self::Fixed32(_) if width == 4 => Ok(1),
            Self::Fixed64(_) if width == 8 => Ok(1),
            Self::Bytes(_) | Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32(_) => Err(Malformed),
        }
    }
}

/// Packed numbers.
#[derive(Debug, Clone)]
pub(super) struct Varints<'a> {
    single: Option<u64>,
    rest: &'a [u8],
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(number) = self.single.take() {
            return Some(Ok(number));
        }
        if self.rest.is_empty() {
            return None;
        }
        let number = varint(&mut self.rest);
        if number.is_err() {
            self.rest = &[];
        }
        Some(number)
    }
}

/// The fields of a message, in the file's order. Ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let length = varint(&mut self.rest)?;
                Value::Bytes(self.take(usize::try_from(length).map_err(|_| Malformed)?)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Malformed)?)),
            _ => return Err(Malformed),
        };
        // Field 0 does not exist; padding a file with it would be a way to hide things.
        if key >> 3 == 0 { Err(Malformed) } else { Ok((key >> 3, value)) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        // The tenth byte has room for one bit.
        if shift == 63 && *byte > 1 {
            return Err(Malformed);
        }
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_type_is_read_and_garbage_is_an_error() {
        let message = [8, 0x96, 1, 18, 2, b'h', b'i', 29, 1, 0, 0, 0, 33, 2, 0, 0, 0, 0, 0, 0, 0];
        let fields: Vec<_> = Fields::of(&message).collect();
        let expected =
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed32(1)), (4, Value::Fixed64(2))];
        assert_eq!(fields, expected.map(Ok));
        for cut in [1, 2, 4, 5, 9, 15] {
            assert_eq!(Fields::of(&message[..cut]).last(), Some(Err(Malformed)), "{cut}");
        }
        for bad in
            [&[0, 0][..], &[11, 0], &[12], &[0xFF; 11], &[18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]]
        {
            assert_eq!(Fields::of(bad).last(), Some(Err(Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn packed_numbers_end_at_the_first_error() {
        let numbers = |bytes| Value::Bytes(bytes).varints().map(Iterator::collect::<Vec<_>>);
        assert_eq!(numbers(&[1, 0x80, 1]), Ok(vec![Ok(1), Ok(128)]));
        assert_eq!(numbers(&[1, 0x80]), Ok(vec![Ok(1), Err(Malformed)]));
        assert_eq!(Value::Bytes(&[0; 9]).fixed_count(4), Err(Malformed));
        assert_eq!(Value::Bytes(&[0; 8]).fixed_count(4), Ok(2));
    }
}
