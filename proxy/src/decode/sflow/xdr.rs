//! Reading XDR (RFC 4506) within bounds: nothing is read beyond the bytes that are there, whatever a length says.

use std::net::IpAddr;

/// What is left to read. A read that fails leaves it where it was or at its end, and never before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// A data format with its bytes: an enterprise in 20 bits, a format of its own in 12, a length, the data.
#[derive(Debug, Clone, Copy)]
pub struct Tagged<'a> {
    /// SMI enterprise number; 0 is sflow.org.
    pub enterprise: u32,
    /// Format within the enterprise.
    pub format: u32,
    /// The data.
    pub body: &'a [u8],
}

/// `address`: a type, then as many bytes as that type has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Address {
    /// Type 0.
    #[default]
    Unknown,
    /// Type 1.
    V4([u8; 4]),
    /// Type 2.
    V6([u8; 16]),
}

impl Address {
    /// The address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Unknown => None,
            Self::V4(octets) => Some(octets.into()),
            Self::V6(octets) => Some(octets.into()),
        }
    }
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// So many bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// `unsigned int`.
    #[inline]
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// `unsigned hyper`.
    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// So many bytes.
    #[inline]
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    /// `opaque<>` or `string<>`: a length, the bytes, zeros up to a multiple of four. The zeros may be missing at the
    /// end of the data.
    #[inline]
    pub fn opaque(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let bytes = self.bytes(length)?;
        let padding = length.wrapping_neg() & 3;
        self.rest = self.rest.get(padding..).unwrap_or_default();
        Some(bytes)
    }

    /// A MAC address: six bytes, filled up to eight.
    #[inline]
    pub fn mac(&mut self) -> Option<[u8; 6]> {
        self.array::<8>()?.first_chunk().copied()
    }

    /// `address`; `None` also when its type is not known.
    #[inline]
    pub fn address(&mut self) -> Option<Address> {
        match self.u32()? {
            0 => Some(Address::Unknown),
            1 => self.array().map(Address::V4),
            2 => self.array().map(Address::V6),
            _ => None,
        }
    }

    /// A list's length and its 32-bit entries.
    pub fn list(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()? as usize;
        self.bytes(count.checked_mul(4)?)
    }

    /// A data format with its data.
    #[inline]
    pub fn tagged(&mut self) -> Option<Tagged<'a>> {
        let mut ahead = *self;
        let format = ahead.u32()?;
        let body = ahead.opaque()?;
        *self = ahead;
        Some(Tagged { enterprise: format >> 12, format: format & 0xfff, body })
    }
}

/// The 32-bit entries of a list.
pub fn words(list: &[u8]) -> impl Iterator<Item = u32> + Clone {
    list.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_the_bytes_are_refused() {
        for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 5, 1, 2, 3, 4], &[255; 8]] {
            assert!(Reader::new(bytes).opaque().is_none());
            assert!(Reader::new(bytes).list().is_none());
            assert!(Reader::new(bytes).tagged().is_none());
            assert!(Reader::new(bytes).address().is_none());
        }
    }

    #[test]
    fn padding_belongs_to_a_string() {
        let mut reader = Reader::new(&[0, 0, 0, 5, b'a', b'b', b'c', b'd', b'e', 0, 0, 0, 9]);
        assert_eq!(reader.opaque(), Some(&b"abcde"[..]));
        assert_eq!(reader.rest(), [9]);
        let mut cut = Reader::new(&[0, 0, 0, 1, b'a']);
        assert_eq!(cut.opaque(), Some(&b"a"[..]));
        assert!(cut.is_empty());
    }

    #[test]
    fn a_format_is_told_from_its_enterprise() {
        let mut reader = Reader::new(&[0x01, 0x13, 0xd0, 0x03, 0, 0, 0, 1, 7, 0, 0, 0, 8]);
        let tagged = reader.tagged().unwrap();
        assert_eq!((tagged.enterprise, tagged.format, tagged.body), (4413, 3, &[7][..]));
        assert_eq!(reader.rest(), [8]);
    }
}
