//! Reads the protobuf wire format without copying: fields, one after the other.
//!
//! An own reader rather than generated messages: it copies no attribute, needs no memory per
//! item however small the items are, and one bad string costs one item, not the request.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireError {
    Truncated,
    Invalid,
    TooDeep,
}

impl WireError {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "a message ends too early",
            Self::Invalid => "a field's tag or number is not valid",
            Self::TooDeep => "values are nested too deeply",
        }
    }
}

/// The content of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// A message, read field by field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field with its number, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::Invalid);
        }
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Field::Fixed32
            }
            _ => return Err(WireError::Invalid),
        };
        Ok(Some((number, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let overflows = shift == 63 && byte > 1;
                return if overflows {
                    Err(WireError::Invalid)
                } else {
                    Ok(number)
                };
            }
        }
        Err(WireError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_read_in_order() {
        let message = [
            0x08, 0xac, 0x02, // 1: varint 300
            0x11, 1, 0, 0, 0, 0, 0, 0, 0, // 2: fixed64 1
            0x1a, 2, b'h', b'i', // 3: bytes
            0x25, 9, 9, 9, 9, // 4: fixed32
        ];
        let mut reader = Reader::new(&message);
        assert_eq!(reader.next(), Ok(Some((1, Field::Varint(300)))));
        assert_eq!(reader.next(), Ok(Some((2, Field::Fixed64(1)))));
        assert_eq!(reader.next(), Ok(Some((3, Field::Bytes(b"hi")))));
        assert_eq!(reader.next(), Ok(Some((4, Field::Fixed32))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn broken_messages_are_errors() {
        let broken: [(&[u8], WireError); 5] = [
            (&[0x0a, 5, b'x'], WireError::Truncated),
            (&[0x08], WireError::Truncated),
            (&[0x11, 1, 2], WireError::Truncated),
            (&[0x00, 0x00], WireError::Invalid),
            (&[0xff; 11], WireError::Invalid),
        ];
        for (message, error) in broken {
            assert_eq!(Reader::new(message).next(), Err(error));
        }
    }
}
