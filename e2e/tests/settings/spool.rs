//! Settings of the spool.

use super::*;

#[test]
fn spooling_off_is_memory_only() {
    let on = world(&json!({}));
    on.send(1);
    assert!(on.proxy.spool().exists());

    let off = world(&json!({"spooling": {"enabled": false}, "limits": {"memory_bytes": 4 << 20}}));
    let sent = off.send(100);
    all_delivered(&off.receiver, &[sent], LIMIT);
    assert!(!off.proxy.spool().exists() || fs::read_dir(off.proxy.spool()).unwrap().next().is_none());
    // Honest limits: what does not fit is refused, not discarded.
    off.receiver.down();
    let mut client = Client::new(([127, 0, 0, 1], off.port).into());
    let noise = noise(400_000);
    let refused = until(LIMIT, "a refusal", || {
        let answer = client.post("/webhook", &noise).unwrap();
        (answer.status != 200).then_some(answer)
    })
    .unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
}

/// H-19: the limit holds when data is taken in, not at a clean-up later.
#[test]
fn w17_a_full_spool_answers_503_and_recovers() {
    let world = world(&json!({"spooling": {"max_size_bytes": 8 << 20}}));
    world.receiver.down();
    let mut client = Client::new(([127, 0, 0, 1], world.port).into());
    let noise = noise(500_000);
    let lines = lines_of(&noise);
    let mut accepted = 0;
    let refused = until(LIMIT, "a refusal", || {
        let answer = client.post("/webhook", &noise).unwrap();
        if answer.status == 200 {
            accepted += 1;
            assert!(accepted < 100, "the limit has no effect");
            return None;
        }
        Some(answer)
    })
    .unwrap();
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{}", refused.text());
    assert!(accepted > 0);
    let used = disk_usage(&world.proxy.spool());
    assert!(used <= 9 << 20, "{used} bytes");
    let refusals = input_status(&world.proxy, "hooks").unwrap()["refused"]["full"].as_u64();
    assert!(refusals >= Some(1), "{refusals:?}");
    world.receiver.up().unwrap();
    world.receiver.wait_lines(accepted * lines, LIMIT).unwrap();
    let mut client = Client::new(([127, 0, 0, 1], world.port).into());
    until(LIMIT, "room again", || (client.post("/webhook", b"x").unwrap().status == 200).then_some(()))
        .unwrap();
    world.receiver.wait_lines(accepted * lines + 1, LIMIT).unwrap();
    assert_eq!(world.receiver.lines(), accepted * lines + 1);
    assert_eq!(world.receiver.violations(), [""; 0]);
}

fn disk_usage(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            let Ok(meta) = entry.metadata() else { return 0 };
            if meta.is_dir() { disk_usage(&entry.path()) } else { meta.blocks() * 512 }
        })
        .sum()
}

#[test]
fn dlq_limit_evicts_and_zero_is_no_limit() {
    for (limit, evicts) in [(200_000, true), (0, false)] {
        let world = world(&json!({
            "spooling": {"dlq_max_size_bytes": limit, "cleanup_interval_seconds": 1},
            "batching": {"max_lines": 50},
        }));
        world.receiver.fault(Scope::All, Fault::status(422));
        let mut client = Client::new(([127, 0, 0, 1], world.port).into());
        for _ in 0..10 {
            assert_eq!(client.post("/webhook", &noise(100_000)).unwrap().status, 200);
        }
        let total = world.event("accepted");
        until(LIMIT, "all of it set aside", || {
            (world.event("dlq") + world.event("evicted") == total).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", events(&world.proxy)));
        if evicts {
            until(LIMIT, "eviction", || (world.event("evicted") > 0).then_some(())).unwrap();
            until(LIMIT, "the limit", || {
                let stats = world.proxy.json("/api/v1/dlq/stats").ok()?;
                (stats["total_bytes_in_dlq"].as_u64()? <= limit).then_some(())
            })
            .unwrap();
            assert!(world.proxy.log_text().contains("ERROR"), "an evicted acknowledged entry is an error");
        } else {
            thread::sleep(Duration::from_millis(1500));
            assert_eq!(world.event("evicted"), 0);
        }
    }
}

#[test]
fn max_age_moves_old_batches_at_the_next_cleanup() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    receiver.down();
    let port = free_port().unwrap();
    let config = json!({
        "inputs": [input("http", "web", port, &json!({}))],
        "spooling": {"max_age_days": 1, "cleanup_interval_seconds": 1},
    });
    let mut proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
    // Left by the old program two days ago.
    let two_days_ago = common::now_ns() - 2 * 86_400 * 1_000_000_000;
    common::old_spool_entry(
        &proxy.spool(),
        "queue",
        "acme",
        "web",
        two_days_ago,
        "{\"n\":1}\n{\"n\":2}\n",
        None,
    );
    proxy.run().unwrap();
    until(LIMIT, "the old batch in the DLQ", || (events(&proxy)["dlq"] == 2).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", events(&proxy), proxy.log_text()));
}

#[test]
fn sync_interval_sets_how_often_the_log_is_synced() {
    let syncs = |interval: u64| {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let port = free_port().unwrap();
        let config = json!({
            "inputs": [input("udp", "events", port, &json!({}))],
            "spooling": {"sync_interval_ms": interval},
            "batching": {"timeout_seconds": 3600},
        });
        let proxy = Proxy::start(&receiver.url(), &config).unwrap();
        let count = || proxy.metric("bytefreezer_proxy_spool_sync_seconds_count", &[]).unwrap();
        let before = count();
        load::udp(&plan(port, Shape::Text, 1, 1500, 500), &Progress::default()).unwrap();
        count() - before
    };
    let (often, rarely) = (syncs(20), syncs(1000));
    assert!(rarely <= 8.0 && often > 2.0 * rarely, "{often} with 20 ms, {rarely} with 1000 ms");
}
