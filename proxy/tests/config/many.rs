//! Documents of thousands of inputs: time grows with their number, not with its square.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::*;

/// As the operator writes them; on ports of their own, or all on one, told apart by source or by path.
fn document(count: usize, shared: bool, changed: bool) -> String {
    let mut text =
        "schema_version: 1\nconfig_mode: local-only\nreceiver: {base_url: 'http://r'}\ninputs:\n".to_owned();
    for number in 0..count {
        let (a, b) = (number / 250, number % 250);
        let tenant = number % 7;
        let level = if changed && number == count / 2 { 1 } else { 2 };
        let head = |kind: &str, port: usize| {
            format!(
                "- type: {kind}\n  name: net/fw-{number:05}\n  config:\n    tenant_id: acme-{tenant}\n    dataset_id: fw-{number:05}\n    \
                 host: '::'\n    port: {port}\n    batching:\n      compression_level: {level}\n"
            )
        };
        let sources = format!("    allowed_sources:\n    - 10.{a}.{b}.0/24\n");
        let _ = match (shared, number % 2) {
            (false, 0) => write!(text, "{}", head("udp", 10_000 + number)),
            (false, _) => write!(text, "{}{sources}", head("tcp", 10_000 + number)),
            (true, 0) => write!(text, "{}{sources}", head("udp", 514)),
            (true, _) => writeln!(text, "{}    path: /hooks/{number}", head("http", 8080)),
        };
    }
    text
}

fn run(count: usize, shared: bool) -> Duration {
    let (before, after) = (document(count, shared, false), document(count, shared, true));
    let old = load(&before);
    assert_eq!(old.problems, []);
    let old_config = old.config.unwrap();
    assert_eq!(old_config.inputs.len(), count);
    let start = Instant::now();
    let new = config::reload("x.yaml", &after, [], &old_config);
    let read = start.elapsed();
    let config = new.config.unwrap();
    let difference = Difference::between(&old_config, &config);
    let took = start.elapsed();
    assert_eq!((difference.changed.len(), difference.added.len(), difference.removed.len()), (1, 0, 0));
    let differ = old.hashes.iter().zip(&new.hashes).filter(|(one, two)| one != two).count();
    assert_eq!((old.hashes.len(), differ), (count, 1));
    println!(
        "{count} inputs, shared ports {shared}: {read:?} to read and check, {:?} to compare, {} bytes",
        took.saturating_sub(read),
        after.len()
    );
    took
}

#[test]
fn time_grows_with_the_number_of_inputs_and_not_with_its_square() {
    for shared in [false, true] {
        // The best of three, since others use this machine too.
        let best = |count| (0..3).map(|_| run(count, shared)).min().unwrap();
        let (thousand, five_thousand) = (best(1000), best(5000));
        assert!(five_thousand < 15 * thousand, "{thousand:?} for 1000, {five_thousand:?} for 5000");
    }
}

#[test]
fn thousands_of_wrong_inputs_are_all_named() {
    let mut text = document(5000, false, false);
    text = text.replace("    port:", "    prot:");
    let start = Instant::now();
    let loaded = load(&text);
    println!("5000 wrong inputs: {:?}", start.elapsed());
    assert_eq!((loaded.refused.len(), loaded.config.as_ref().unwrap().inputs.len()), (5000, 0));
    assert!(loaded.refused.iter().all(|one| one.fault == Fault::NotSupported && one.hash.len() == 32));
}
