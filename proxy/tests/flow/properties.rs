//! Any bytes give whole lines of valid JSON, no member twice, bounded by the datagram.

use bytefreezer_proxy::decode::flow::{MacFormat, Rules};
use proptest::{collection::vec, prelude::*};

use crate::rig::{Rig, ipfix, ipfix_options, set, template_of, v9, v9_options};

/// Elements with a form of their own, and any others.
fn element() -> impl Strategy<Value = (u32, u16, u16)> {
    let known = prop::sample::select(vec![
        1, 2, 4, 7, 8, 10, 12, 14, 21, 22, 23, 27, 28, 32, 34, 47, 48, 50, 56, 58, 60, 70, 71, 72, 80, 82,
        89, 95, 96, 139, 140, 150, 152, 154, 156, 158, 160, 176, 197, 210, 225, 230, 256, 291, 292, 293, 302,
        313, 371, 434,
    ]);
    let id = prop_oneof![4 => known, 1 => 0_u16..0x7fff];
    let length = prop_oneof![6 => 1_u16..9, 1 => Just(16), 1 => Just(3), 2 => Just(65_535), 1 => 0_u16..40];
    let pen = prop_oneof![6 => Just(0), 1 => Just(9), 1 => Just(29_305), 1 => any::<u32>()];
    (pen, id, length)
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let fields = vec(element(), 0..12);
    let content = vec(prop_oneof![any::<u8>(), 0_u8..8], 0..200);
    (fields, content, any::<u32>(), 0..6, any::<u8>()).prop_map(|(fields, content, sequence, kind, noise)| {
        let plain: Vec<_> = fields.iter().map(|(_, id, length)| (*id, *length)).collect();
        let data = set(256, &content);
        let nested = set(2, &template_of(257, &[(0, 4, 1), (0, 292, 65_535)]));
        let mut bytes = match kind {
            0 => v9(sequence, 1, &[set(0, &template_of(256, &fields)), data]),
            1 => v9(sequence, 1, &[set(1, &v9_options(256, &[(1, 2)], &plain)), data]),
            2 => ipfix(sequence, 1, &[data.clone(), set(3, &ipfix_options(256, &[(149, 4)], &plain)), data]),
            3 => content,
            _ => ipfix(sequence, 1, &[nested, data.clone(), set(2, &template_of(256, &fields)), data]),
        };
        if noise < 40
            && let Some(byte) = bytes.get_mut(usize::from(noise))
        {
            *byte ^= noise;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_datagrams_give_whole_lines(datagrams in vec(datagram(), 1..4), text: bool, options: bool) {
        let mac = if text { MacFormat::Text } else { MacFormat::Number };
        let mut rig = Rig::with(Rules { mac, options, ..Rules::default() });
        for datagram in datagrams {
            // The rig parses every line and counts them.
            let (outcome, lines) = rig.send(&datagram);
            prop_assert!(lines.len() <= 4 * 65_535);
            prop_assert_eq!(outcome.fault.is_some(), outcome.faults > 0);
        }
    }

    #[test]
    fn any_bytes_of_any_version_are_taken(version in prop::sample::select(vec![5_u8, 7, 9, 10]), rest: Vec<u8>) {
        let mut rig = Rig::with(Rules { options: true, ..Rules::default() });
        rig.send(&[&[0, version][..], &rest].concat());
    }
}
