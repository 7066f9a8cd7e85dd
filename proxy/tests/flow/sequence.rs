//! Losses upstream, as each version counts them.

use bytefreezer_proxy::decode::flow::Tally;

use crate::rig::{Rig, ipfix, set, template, v5, v5_record, v9};

fn tally(rig: &Rig) -> Tally {
    rig.exporters.reports()[0].sequence
}

#[test]
fn v5_counts_flows() {
    let mut rig = Rig::new();
    for sequence in [0, 2, 6, 4, 4] {
        rig.lines(&v5(sequence, 2, 0, &[v5_record(); 2]));
    }
    assert_eq!(tally(&rig), Tally { lost: 0, duplicates: 2, reordered: 2, restarts: 0 });
    rig.lines(&v5(10, 1, 0, &[v5_record()]));
    assert_eq!(tally(&rig).lost, 2);
}

#[test]
fn v9_counts_datagrams() {
    let mut rig = Rig::new();
    rig.lines(&v9(0, 1, &[set(0, &template(256, &[(4, 1)]))]));
    for sequence in [1, 2, 5] {
        rig.lines(&v9(sequence, 1, &[set(256, &[6; 40])]));
    }
    // A domain of its own.
    rig.lines(&v9(90, 2, &[]));
    assert_eq!(tally(&rig), Tally { lost: 2, ..Tally::default() });
}

#[test]
fn ipfix_counts_data_records() {
    let mut rig = Rig::new();
    rig.lines(&ipfix(0, 1, &[set(2, &template(256, &[(4, 1)]))]));
    rig.lines(&ipfix(0, 1, &[set(256, &[6; 3])]));
    rig.lines(&ipfix(3, 1, &[set(256, &[6; 2]), set(256, &[6])]));
    rig.lines(&ipfix(6, 1, &[]));
    assert_eq!(tally(&rig), Tally::default());
    rig.lines(&ipfix(10, 1, &[set(256, &[6])]));
    assert_eq!(tally(&rig), Tally { lost: 4, ..Tally::default() });
    // How many records a set has is unknown without its template: nothing can be said of the next message.
    rig.send(&ipfix(11, 1, &[set(999, &[6])]));
    rig.lines(&ipfix(50, 1, &[set(256, &[6])]));
    assert_eq!(tally(&rig), Tally { lost: 4, ..Tally::default() });
}

#[test]
fn an_exporter_that_starts_again_has_lost_nothing() {
    let mut rig = Rig::new();
    for sequence in [70_000, 70_001, 0, 1, 2] {
        rig.lines(&v9(sequence, 1, &[]));
    }
    assert_eq!(tally(&rig), Tally { restarts: 1, ..Tally::default() });
}
