//! What survives the end of the process.

use std::net::IpAddr;

use bytefreezer_proxy::decode::{
    ReceiveTime,
    flow::{Rules, Shared, Source, Transport},
};
use proptest::prelude::*;
use serde_json::json;

use crate::rig::{NOW_NS, assert_members, ipfix, ipfix_options, lines, set, template, v9, v9_options};

fn send(
    shared: &Shared,
    last: u8,
    transport: Transport,
    datagram: &[u8],
) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let mut out = Vec::new();
    let source = Source { address: IpAddr::from([192, 0, 2, last]), port: 0 };
    shared.push(datagram, source, transport, &ReceiveTime::new(NOW_NS), &mut out);
    lines(&out)
}

/// Two exporters that use one number for different things, with options.
fn taught() -> Shared {
    let shared = Shared::new(Rules::default());
    send(
        &shared,
        1,
        Transport::Udp,
        &v9(
            0,
            0,
            &[
                set(0, &template(256, &[(10, 4), (48, 1)])),
                set(1, &v9_options(300, &[(1, 4)], &[(48, 1), (50, 4)])),
                set(300, &[0, 0, 0, 1, 7, 0, 0, 0, 100]),
                set(1, &v9_options(301, &[(2, 4)], &[(82, 4)])),
                set(301, b"\0\0\0\x04eth4"),
            ],
        ),
    );
    send(
        &shared,
        2,
        Transport::Udp,
        &ipfix(
            0,
            0,
            &[
                set(2, &template(256, &[(95, 4), (22, 4)])),
                set(3, &ipfix_options(300, &[(95, 4)], &[(96, 4)])),
                set(300, b"\x03\0\0\x35dns\0"),
                set(3, &ipfix_options(301, &[(149, 4)], &[(160, 8), (34, 4)])),
                set(301, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 50]),
            ],
        ),
    );
    shared
}

#[test]
fn a_restart_decodes_from_the_first_datagram() {
    let before = taught();
    let (generation, file) = before.save();
    assert_eq!(generation, before.generation());
    let after = Shared::new(Rules::default());
    assert!(after.restore(&file));
    let line = send(&after, 1, Transport::Udp, &v9(9, 0, &[set(256, &[0, 0, 0, 4, 7])]));
    assert_members(&line[0], json!({"InIf": 4, "InIfName": "eth4", "samplerId": 7, "SamplingRate": 100}));
    let line = send(&after, 2, Transport::Udp, &ipfix(9, 0, &[set(256, &[3, 0, 0, 0x35, 0, 0, 0, 1])]));
    assert_members(
        &line[0],
        json!({"ApplicationName": "dns", "SamplingRate": 50, "TimeFlowStartNs": 10_000_000}),
    );
    // Nothing is new, so there is nothing to save.
    let generation = after.generation();
    send(&after, 1, Transport::Udp, &v9(10, 0, &[set(0, &template(256, &[(10, 4), (48, 1)]))]));
    assert_eq!(after.generation(), generation);
    send(&after, 1, Transport::Udp, &v9(11, 0, &[set(0, &template(257, &[(10, 4)]))]));
    assert!(after.generation() > generation);
}

#[test]
fn sessions_end_with_their_connection() {
    let shared = Shared::new(Rules::default());
    send(&shared, 1, Transport::Tcp, &ipfix(0, 0, &[set(2, &template(256, &[(4, 1)]))]));
    let empty = Shared::new(Rules::default()).save().1;
    assert_eq!(shared.save().1, empty);
    shared.forget(&Source { address: IpAddr::from([192, 0, 2, 1]), port: 0 });
    assert!(shared.reports().is_empty());
}

#[test]
fn a_damaged_file_gives_what_comes_before_the_damage() {
    let (_, file) = taught().save();
    for end in 0..file.len() {
        let after = Shared::new(Rules::default());
        after.restore(&file[..end]);
    }
    let mut damaged = file.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let after = Shared::new(Rules::default());
    assert!(!after.restore(&damaged));
    assert!(!after.reports().is_empty());
    let mut newer = file;
    newer[7] = 2;
    let after = Shared::new(Rules::default());
    assert!(!after.restore(&newer));
    assert!(after.reports().is_empty());
    assert!(after.restore(&[]));
}

proptest! {
    #[test]
    fn any_bytes_can_be_restored(bytes: Vec<u8>, cut: usize, flip: (usize, u8)) {
        let shared = Shared::new(Rules::default());
        shared.restore(&bytes);
        let mut file = taught().save().1;
        let at = flip.0 % file.len();
        file[at] ^= flip.1;
        file.truncate(8 + cut % file.len());
        shared.restore(&file);
    }
}
