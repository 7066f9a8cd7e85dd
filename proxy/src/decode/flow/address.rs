//! Addresses as text: IPv4, IPv6 (RFC 5952), MAC.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `255.` and its length, for every octet.
const OCTETS: [(u32, u8); 256] = {
    let mut all = [(0, 0); 256];
    let mut rest: &mut [(u32, u8)] = &mut all;
    let mut octet = 0;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = text_of(octet);
        octet += 1;
        rest = after;
    }
    all
};

const fn text_of(octet: u32) -> (u32, u8) {
    let dot = b'.' as u32;
    match octet {
        0..10 => (ascii(octet) | dot << 8, 2),
        10..100 => (ascii(octet / 10) | ascii(octet % 10) << 8 | dot << 16, 3),
        _ => (ascii(octet / 100) | ascii(octet / 10 % 10) << 8 | ascii(octet % 10) << 16 | dot << 24, 4),
    }
}

const fn ascii(digit: u32) -> u32 {
    b'0' as u32 + digit
}

/// Appends `192.0.2.1`.
#[inline]
pub fn push_ipv4(address: [u8; 4], out: &mut Vec<u8>) {
    let (mut text, mut length) = (0_u128, 0);
    for octet in address {
        let (digits, more) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
        text |= u128::from(digits) << (8 * length);
        length += u32::from(more);
    }
    // Without the last dot.
    let end = out.len() + length as usize - 1;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

/// Appends an IPv6 address: the longest run of zero groups shortened, IPv4-mapped ones with the IPv4 part as such.
pub fn push_ipv6(address: [u8; 16], out: &mut Vec<u8>) {
    let bits = u128::from_be_bytes(address);
    if bits >> 32 == 0xffff {
        out.extend_from_slice(b"::ffff:");
        return push_ipv4((bits as u32).to_be_bytes(), out);
    }
    let group = |index: u32| (bits >> (112 - 16 * index)) as u16;
    let (start, length) = longest_zeros(group);
    let mut index = 0;
    while index < 8 {
        if index == start && length > 1 {
            out.extend_from_slice(b"::");
            index += length;
            continue;
        }
        if index > 0 && (index != start + length || length < 2) {
            out.push(b':');
        }
        push_group(group(index), out);
        index += 1;
    }
}

/// Where the first of the longest runs of zero groups starts, and how long it is.
fn longest_zeros(group: impl Fn(u32) -> u16) -> (u32, u32) {
    let (mut best, mut run) = ((0, 0), 0);
    for index in 0..8 {
        run = if group(index) == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (index + 1 - run, run);
        }
    }
    best
}

fn push_group(group: u16, out: &mut Vec<u8>) {
    let text = u32::from_le_bytes(hex_word(group));
    let skip = (u32::from(group) << 16 | 0x1_0000).leading_zeros() / 4;
    let end = out.len() + 4 - skip as usize;
    out.extend_from_slice(&(text >> (8 * skip)).to_le_bytes());
    out.truncate(end);
}

fn hex_word(word: u16) -> [u8; 4] {
    let digit = |shift: u16| HEX.get(usize::from(word >> shift & 15)).copied().unwrap_or(b'0');
    [digit(12), digit(8), digit(4), digit(0)]
}

/// Appends `02:00:5e:10:00:01`.
pub fn push_mac(address: [u8; 6], out: &mut Vec<u8>) {
    let mut text = [b':'; 17];
    for (to, octet) in text.chunks_mut(3).zip(address) {
        if let [upper, lower, ..] = to {
            [_, _, *upper, *lower] = hex_word(u16::from(octet));
        }
    }
    out.extend_from_slice(&text);
}

/// Appends bytes as two lower-case hexadecimal digits each.
pub fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        let [_, _, upper, lower] = hex_word(u16::from(*byte));
        out.extend_from_slice(&[upper, lower]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn ipv6(address: Ipv6Addr) -> String {
        text(|out| push_ipv6(address.octets(), out))
    }

    #[test]
    fn ipv6_is_as_rfc_5952_wants_it() {
        for address in [
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:db8:0:1:1:1:1:1",
            "2001:db8::1:0:0:1",
            "0:0:1::",
            "::ffff:192.0.2.128",
            "fe80::1:0:0:0",
            "1:2:3:4:5:6:7:8",
            "1:0:0:4:5:6:7:0",
            "0:2:3:4:5:6:7:8",
            "1:2:3:4:5:6::",
            "::3:4:5:6:7:8",
            "abcd:ef01:2345:6789:abcd:ef01:2345:6789",
            "::ffff:0.0.0.0",
        ] {
            let address: Ipv6Addr = address.parse().unwrap();
            assert_eq!(ipv6(address), address.to_string());
        }
    }

    #[test]
    fn macs_and_bytes_are_hexadecimal() {
        assert_eq!(text(|out| push_mac([2, 0, 0x5e, 0x10, 0, 0xff], out)), "02:00:5e:10:00:ff");
        assert_eq!(text(|out| push_hex(&[0, 0xab, 0x10], out)), "00ab10");
    }

    proptest! {
        #[test]
        fn any_ipv4_address_is_as_the_standard_library_writes_it(address: [u8; 4]) {
            prop_assert_eq!(text(|out| push_ipv4(address, out)), Ipv4Addr::from(address).to_string());
        }

        #[test]
        fn any_ipv6_address_is_as_the_standard_library_writes_it(groups: [u16; 8], zero: u8) {
            let mut groups = groups;
            for (index, group) in groups.iter_mut().enumerate() {
                if zero >> index & 1 == 1 {
                    *group = 0;
                }
            }
            let address = Ipv6Addr::from(groups);
            prop_assert_eq!(ipv6(address), address.to_string());
        }
    }
}
