//! Numbers as decimal text, eight digits at a time.

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The eight decimal digits of a number below 10^8, most significant first, each in a byte of its own.
///
/// Halves, pairs and digits are divided in one register: each factor is a reciprocal that is exact for its range.
const fn eight(number: u32) -> u64 {
    let halves = (number / 10_000) as u64 | ((number % 10_000) as u64) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

/// Appends a number without leading zeros.
#[inline]
pub fn push_u64(number: u64, out: &mut Vec<u8>) {
    if number < 100_000_000 {
        return push_short(number as u32, out);
    }
    let (upper, lower) = (number / 100_000_000, (number % 100_000_000) as u32);
    if upper < 100_000_000 {
        push_short(upper as u32, out);
    } else {
        push_short((upper / 100_000_000) as u32, out);
        push_eight((upper % 100_000_000) as u32, out);
    }
    push_eight(lower, out);
}

/// Appends a number with its sign.
pub fn push_i64(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(number.unsigned_abs(), out);
}

/// Below 10^8, without leading zeros.
#[inline]
fn push_short(number: u32, out: &mut Vec<u8>) {
    let digits = eight(number);
    // The last digit stays, also when it is zero.
    let skip = (digits.trailing_zeros() / 8).min(7);
    let text = ((digits | ZEROS) >> (8 * skip)).to_le_bytes();
    let end = out.len() + 8 - skip as usize;
    out.extend_from_slice(&text);
    out.truncate(end);
}

#[inline]
fn push_eight(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(eight(number) | ZEROS).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(number: u64) -> String {
        let mut out = Vec::new();
        push_u64(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_magnitude_is_exact() {
        for power in 0..20 {
            let power = 10_u64.pow(power);
            for number in [power - 1, power, power + 1, power.saturating_mul(9)] {
                assert_eq!(text(number), number.to_string());
            }
        }
        assert_eq!(text(u64::MAX), u64::MAX.to_string());
        for number in 0..100_000 {
            assert_eq!(text(number), number.to_string());
        }
    }

    #[test]
    fn signs_are_kept() {
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            let mut out = Vec::new();
            push_i64(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_number_is_exact(number: u64, shift in 0_u32..64) {
            prop_assert_eq!(text(number >> shift), (number >> shift).to_string());
        }
    }
}
