//! What holds for every set of datasets.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::{
    tests::{dataset, proxy},
    *,
};

/// Few ports, prefixes and names, so that nearly everything conflicts with something.
fn claimant() -> impl Strategy<Value = Claimant> {
    let kinds = select(vec!["udp", "tcp", "syslog", "http", "netflow", "ipfix", "sflow", "ebpf"]);
    let sources = select(vec![
        json!([]),
        json!(["10.0.0.0/8"]),
        json!(["10.1.0.0/16"]),
        json!(["10.1.0.0/16", "192.0.2.0/24"]),
    ]);
    let names = (select(vec!["net", "apps"]), 0..12_u8);
    (kinds, 1..4_u16, sources, select(vec!["acme", "globex"]), names, 0..3_i64, any::<bool>()).prop_map(
        |(kind, port, sources, tenant, (namespace, name), created, synced)| {
            let spec =
                json!({"tenantId": tenant, "source": {kind: {"port": port}}, "allowedSources": sources});
            Claimant { synced, ..dataset(&format!("{namespace}/d{name}"), created, spec) }
        },
    )
}

/// Two Proxies on the host network, which may share nodes, and their datasets; each dataset once.
fn pools() -> impl Strategy<Value = Vec<Pool>> {
    proptest::collection::vec((claimant(), any::<bool>()), 0..14).prop_map(|claims| {
        let once: BTreeMap<ObjectKey, (Claimant, bool)> =
            claims.into_iter().map(|(claimant, second)| (claimant.key.clone(), (claimant, second))).collect();
        let host = |ports: [u16; 2]| {
            json!({
                "exposure": {"type": "HostNetwork", "hostNetwork": {"privilegedPorts": true, "apiPort": ports[0], "healthPort": ports[1]}},
                "allowedDatasets": [{"namespaces": {"from": "All"}, "max": 4}],
            })
        };
        let mut pools = vec![proxy("one", 0, host([8008, 8009])), proxy("two", 1, host([9008, 9009]))];
        for (claimant, second) in once.into_values() {
            pools[usize::from(second)].claimants.push(claimant);
        }
        pools
    })
}

fn shuffled(pools: &[Pool]) -> Vec<Pool> {
    let mut pools: Vec<Pool> = pools.iter().rev().cloned().collect();
    for pool in &mut pools {
        pool.claimants.reverse();
        let half = pool.claimants.len() / 2;
        pool.claimants.rotate_left(half);
    }
    pools
}

fn admitted(verdicts: &Verdicts, key: &ObjectKey) -> bool {
    verdicts.datasets.get(key) == Some(&Verdict::Admitted)
}

proptest! {
    #[test]
    fn the_order_of_the_input_does_not_matter(pools in pools()) {
        prop_assert_eq!(arbitrate(&pools), arbitrate(&shuffled(&pools)));
    }

    #[test]
    fn a_loser_names_a_winner_that_won_and_ranks_before_it(pools in pools()) {
        let verdicts = arbitrate(&pools);
        let claimants: BTreeMap<_, _> =
            pools.iter().flat_map(|pool| &pool.claimants).map(|one| (one.key.clone(), one)).collect();
        for (key, verdict) in &verdicts.datasets {
            let Verdict::Refused(Refusal { winner: Some(winner), .. }) = verdict else { continue };
            prop_assert!(admitted(&verdicts, winner), "{key} lost to {winner}, which lost too");
            prop_assert!(claimants[winner].rank() < claimants[key].rank(), "{winner} is younger than {key}");
        }
    }

    #[test]
    fn of_two_on_the_same_prefix_at_most_one_wins(pools in pools()) {
        let verdicts = arbitrate(&pools);
        for pool in &pools {
            let won: Vec<_> = pool.claimants.iter().filter(|one| admitted(&verdicts, &one.key)).collect();
            for (at, a) in won.iter().enumerate() {
                for b in &won[at + 1..] {
                    let meet = a.listeners.iter().any(|one| b.listeners.contains(one));
                    let same = a.sources.iter().any(|one| b.sources.contains(one));
                    prop_assert!(!(meet && same), "{} and {} both won", a.key, b.key);
                }
            }
        }
    }

    #[test]
    fn taking_a_loser_away_changes_nobody(pools in pools()) {
        let before = arbitrate(&pools);
        let lost = before.datasets.iter().find(|(_, verdict)| **verdict != Verdict::Admitted);
        let Some((lost, _)) = lost else { return Ok(()) };
        let mut fewer = pools.clone();
        for pool in &mut fewer {
            pool.claimants.retain(|one| one.key != *lost);
        }
        let mut expected = before.clone();
        expected.datasets.remove(lost);
        prop_assert_eq!(arbitrate(&fewer), expected);
    }

    #[test]
    fn a_newcomer_of_last_rank_changes_nobody(pools in pools(), newcomer in claimant()) {
        let before = arbitrate(&pools);
        let newcomer = Claimant { synced: true, created: None, key: ObjectKey::new("zz", "new"), ..newcomer };
        let mut more = pools.clone();
        more[0].claimants.push(newcomer.clone());
        let mut after = arbitrate(&more);
        after.datasets.remove(&newcomer.key);
        prop_assert_eq!(after, before);
    }
}
