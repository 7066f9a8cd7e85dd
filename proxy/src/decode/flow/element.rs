//! Information elements: what a field means.
//!
//! The tables are data (`iana`, `vendors`); this page says what their types mean and finds an entry.

use super::{iana, vendors};

/// Private enterprise number of RFC 5103: the same elements, of the reverse direction.
pub const REVERSE: u32 = 29_305;

/// Abstract data types (RFC 7012, 3.1; RFC 6313 for the lists), as far as they differ in their text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Whole number.
    Unsigned,
    /// Whole number with a sign.
    Signed,
    /// IEEE 754.
    Float,
    /// 1 or 2.
    Boolean,
    /// MAC address.
    Mac,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// UTF-8.
    Text,
    /// Anything.
    Octets,
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// NTP time stamp of microseconds.
    Microseconds,
    /// NTP time stamp.
    Nanoseconds,
    /// Values of one element.
    BasicList,
    /// Records of one template.
    SubTemplateList,
    /// Records of several templates.
    SubTemplateMultiList,
}

/// Name and type of an element; `None` when no table has it.
pub fn find(pen: u32, id: u16) -> Option<(&'static str, Type)> {
    if pen == 0 {
        let entry = iana::ELEMENTS.get(usize::from(id)).filter(|(name, _)| !name.is_empty());
        return entry.or_else(|| vendors::find(0, id)).copied();
    }
    vendors::find(pen, id).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_number() {
        assert_eq!(find(0, 8), Some(("sourceIPv4Address", Type::Ipv4)));
        assert_eq!(find(0, 293), Some(("subTemplateMultiList", Type::SubTemplateMultiList)));
        assert_eq!(find(0, 0), None);
        assert_eq!(find(0, 65_535), None);
        assert_eq!(find(1, 1), None);
    }

    #[test]
    fn names_fit_and_need_no_escapes() {
        let iana = iana::ELEMENTS.iter().map(|(name, _)| name);
        for name in iana.chain(vendors::ELEMENTS.iter().map(|(_, _, (name, _))| name)) {
            assert!(name.len() <= super::super::record::MAX_NAME, "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte)), "{name}");
        }
    }

    #[test]
    fn vendors_are_in_order() {
        assert!(vendors::ELEMENTS.is_sorted_by(|(a, b, _), (c, d, _)| (a, b) < (c, d)));
    }
}
