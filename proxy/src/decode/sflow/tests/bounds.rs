//! Claims, damage and any bytes at all.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::decode::sflow::{counters, extended};

#[test]
fn w1_tiny_and_foreign_datagrams_are_refused() {
    for (bytes, damage) in [
        (&[][..], Damage::Version),
        (&[0, 5], Damage::Version),
        (&[0, 0, 0, 5], Damage::Header),
        (&[0, 9, 0, 0, 0, 0], Damage::Version),
        (&[0, 0, 0, 4, 0, 0, 0, 1], Damage::Version),
        (
            &[0, 0, 0, 5, 0, 0, 0, 3, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Damage::Header,
        ),
    ] {
        for rules in [ALL, LEGACY] {
            let (decoded, lines) = decode(bytes, rules);
            assert_eq!((decoded.damage, decoded.header, lines.len()), (Some(damage), None, 0));
        }
    }
}

#[test]
fn w4_a_claim_never_gives_more_than_there_is() {
    let claims_samples = head(u32::MAX);
    let claims_records = |format: u32, words: &[u32]| head(1).tagged(format, &Xdr::words(words));
    let beyond = head(1).and(Xdr::words(&[1, 0xffff_fff0, 1, 2]));
    let list = |format: u32, words: &[u32]| datagram(&[flow(&[(format, Xdr::words(words))])]);
    for (datagram, damage) in [
        (claims_samples, Some(Damage::Sample)),
        (beyond, Some(Damage::Sample)),
        (claims_records(1, &[9, 3, 1, 0, 0, 3, 7, u32::MAX]), Some(Damage::Record)),
        (claims_records(3, &[9, 0, 3, 1, 0, 0, 0, 3, 0, 7, 200_000]), Some(Damage::Record)),
        (claims_records(4, &[9, 0, 3, u32::MAX]), Some(Damage::Record)),
        (claims_records(5, &[9, 0, 3, 1, 2, 3, 4, u32::MAX]), Some(Damage::Record)),
        (claims_records(1, &[9, 3, 1]), Some(Damage::SampleHead)),
        (list(1003, &[1, 1, 2, 3, 4, u32::MAX, 0, 0, 0, 0]), None),
        (list(1012, &[u32::MAX]), None),
        (list(1005, &[1, u32::MAX, 0x6161_6161]), None),
        (datagram(&[(2, Xdr::words(&[1, 3, 1]).tagged(2001, &Xdr::words(&[u32::MAX, 1, u32::MAX])))]), None),
    ] {
        for rules in [ALL, LEGACY] {
            let (decoded, lines) = decode(&datagram.0, rules);
            assert_eq!(decoded.damage, damage);
            let length: usize = lines.iter().map(|line| serde_json::to_string(line).unwrap().len()).sum();
            assert!(lines.len() <= 1 && length < 1000, "{length}");
        }
    }
}

#[test]
fn samples_before_a_damaged_one_are_kept() {
    let whole = datagram(&[flow(&[]), flow(&[raw(11, &bytes(IPV4))]), flow(&[])]);
    for cut in head(0).0.len()..whole.0.len() {
        let (decoded, lines) = decode(&whole.0[..cut], ALL);
        assert_eq!(decoded.damage, Some(Damage::Sample));
        assert!(lines.len() < 3 && decoded.header.is_some());
    }
    let (decoded, lines) = decode(&whole.and([0; 3]).0, ALL);
    assert_eq!((decoded.damage, lines.len()), (None, 3), "what follows the last sample is padding");
}

#[test]
fn no_line_gets_longer_than_what_is_read_downstream() {
    for record in [
        (1005, Xdr::words(&[1]).opaque(&vec![1; 60_000]).opaque(&[])),
        (1003, Xdr::words(&[0, 1, 2, 3, 1, 2, 15_000]).and(vec![0xff; 60_000]).and(Xdr::words(&[0, 0]))),
        (77, Xdr(vec![0xff; 64_000])),
    ] {
        let mut out = Vec::new();
        let now = ReceiveTime::new(NOW);
        push_datagram(&datagram(&[flow(&[record])]).0, &ALL, "::1".parse().unwrap(), &now, &mut out);
        assert!(out.len() < crate::batch::MAX_LINE / 10, "{}", out.len());
    }
}

/// Bytes that look like samples and records of all the formats, with wrong lengths and counts now and then.
fn wild() -> impl Strategy<Value = Vec<u8>> {
    let formats: Vec<u32> = layout_formats().into_iter().chain([1, 2, 3, 4, 10, 1003, 2001, 3000]).collect();
    let word = prop_oneof![4 => 0_u32..8, 1 => any::<u32>()];
    let body = proptest::collection::vec(word, 0..24).prop_map(|words| Xdr::words(&words));
    let record = (proptest::sample::select(formats), body, prop_oneof![9 => Just(0_u32), 1 => any::<u32>()]);
    let records = proptest::collection::vec(record, 0..6);
    let sample = (1_u32..7, proptest::collection::vec(0_u32..9, 10), records, 0_u32..9);
    proptest::collection::vec(sample, 0..5).prop_map(|samples| {
        let count = samples.len() as u32;
        samples
            .into_iter()
            .fold(head(count), |all, (format, words, records, count)| {
                let fixed = [0, 7, 2, 10, 3, 7].get(format as usize).copied().unwrap_or(0);
                let body = records.into_iter().fold(
                    Xdr::words(&words[..fixed]).and(Xdr::words(&[count])),
                    |body, (format, data, wrong)| {
                        let length = (data.0.len() as u32).wrapping_add(wrong);
                        body.and(Xdr::words(&[format, length])).and(data)
                    },
                );
                all.tagged(format, &body)
            })
            .0
    })
}

fn layout_formats() -> Vec<u32> {
    let all = extended::EXTENDED.iter().chain(counters::COUNTERS);
    all.map(|layout| layout.enterprise << 12 | layout.format).collect::<HashSet<_>>().into_iter().collect()
}

proptest! {
    #[test]
    fn any_bytes_give_valid_lines(bytes in proptest::collection::vec(any::<u8>(), 0..300), headed: bool) {
        let datagram = if headed { head(3).and(bytes).0 } else { bytes };
        for rules in [ALL, LEGACY] {
            decode(&datagram, rules);
        }
    }

    #[test]
    fn any_samples_give_valid_lines_in_proportion(datagram in wild()) {
        for rules in [ALL, LEGACY] {
            let (_, lines) = decode(&datagram, rules);
            let length: usize = lines.iter().map(|line| serde_json::to_string(line).unwrap().len()).sum();
            prop_assert!(length <= 40 * datagram.len(), "{length} of {}", datagram.len());
        }
    }

    #[test]
    fn any_header_of_any_protocol_is_parsed_within_its_bytes(
        protocol in 0_u32..18,
        start in proptest::sample::select(vec![
            "", "02005e10000102005e1000020800", "02005e10000102005e10000286dd", "02005e10000102005e1000028847",
            "02005e10000102005e10000281000001", "02005e10000102005e1000028864",
        ]),
        rest in proptest::collection::vec(prop_oneof![Just(0x45_u8), Just(0x60), Just(0), Just(1), any::<u8>()], 0..120),
    ) {
        one(&[raw(protocol, &[bytes(start), rest].concat())]);
    }
}
