//! What bounds the spool, and who gives way.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    faults::{failure, noise, on, sim_settings},
    rig::*,
    setbacks::failing,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    spool::{Reason, Refused, Spool, State, files::Layout},
};

const ACK: Class = Class::Acknowledged;

#[tokio::test]
async fn w17_a_full_spool_is_bounded_refuses_and_keeps_what_was_acknowledged() {
    let disk = SimDisk::with_capacity(8 << 20);
    let mut limits = sim_settings();
    limits.max_size_bytes = 64 << 20;
    let rig = on(&disk, parts(limits)).await;
    let mut small = batching();
    small.max_bytes = 100_000;
    let web = stream("web", ACK, small.clone());
    let datagrams = stream("datagrams", Class::Unacknowledged, small.clone());
    let quiet = stream("quiet", Class::Unacknowledged, small);
    let mut acknowledged = 0_u64;
    for n in 0..20 {
        rig.commit(member(&web, &noise(n, 20_000))).await;
        acknowledged += 1;
    }
    rig.submit(member(&quiet, &noise(99, 20_000)));
    // A flood of what nobody was told is safe: it makes room among its own, the greatest dataset first.
    let mut taken = 0;
    for n in 0..600 {
        rig.ledger.accept(1);
        match rig.handle.submit_blocking(member(&datagrams, &noise(1000 + n, 20_000))) {
            Ok(()) => taken += 1,
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                rig.ledger.unaccept(1);
            }
        }
        tokio::task::yield_now().await;
    }
    rig.close().await;
    assert!(disk.used() <= 8 << 20);
    let events = rig.balanced();
    assert!(taken > 100 && events.dlq > 0, "{taken} {events:?}");
    let web_entries = rig.handle.entries(&key("web"), &[State::Queue], None, 1000);
    assert_eq!(
        web_entries.iter().map(|e| e.lines).sum::<u64>(),
        acknowledged,
        "a flood pushes nothing acknowledged out"
    );
    assert!(
        rig.handle.entries(&key("quiet"), &[State::Queue], None, 10).len() == 1,
        "the quiet dataset stays"
    );
    for entry in rig.handle.entries(&key("datagrams"), &[State::Dlq], None, 1000) {
        assert_eq!(entry.failure.unwrap().reason, Reason::SpoolFull);
    }
    drop(rig);

    // The same volume again: acknowledged data is taken up to the limit, then refused, and goes on after delivery.
    let rig = on(&disk, parts(sim_settings())).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    for n in 5000.. {
        rig.ledger.accept(1);
        let Err(refused) = rig.handle.commit(vec![member(&web, &noise(n, 20_000))]).await else { continue };
        rig.ledger.unaccept(1);
        if refused == Refused::Full {
            break;
        }
        // On a busy machine the volume is full before the limits are reckoned anew.
        assert!(matches!(refused, Refused::Unwritable(_)) && Instant::now() < deadline, "{refused}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!rig.handle.has_room(ACK) && !rig.handle.has_room(Class::Unacknowledged));
    for entry in rig.handle.entries(&key("datagrams"), &ALL, None, 1000) {
        rig.handle.delivered(entry.stamp).await.unwrap();
    }
    for entry in rig.handle.entries(&key("web"), &ALL, None, 3) {
        rig.handle.delivered(entry.stamp).await.unwrap();
    }
    rig.until("room again", |rig| rig.handle.has_room(ACK)).await;
    rig.commit(member(&web, &noise(9999, 20_000))).await;
    rig.balanced();
}

#[tokio::test]
async fn when_the_volume_is_full_the_dlq_gives_way_unacknowledged_first() {
    // The volume's own bound, or one that somebody set for its user.
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        the_dlq_gives_way(kind).await;
    }
}

async fn the_dlq_gives_way(kind: ErrorKind) {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    let mut one = batching();
    one.max_lines = 1;
    let (web, datagrams) = (stream("web", ACK, one.clone()), stream("datagrams", Class::Unacknowledged, one));
    rig.commit(raw(&web, "old\n")).await;
    rig.submit(raw(&datagrams, "newer\n"));
    rig.until("both closed", |rig| rig.all().len() == 2).await;
    for entry in rig.all() {
        rig.handle.bury(entry.stamp, failure(Reason::Rejected)).await.unwrap();
    }
    let full = Arc::new(AtomicU64::new(2));
    let left = Arc::clone(&full);
    disk.set_fault(move |call, path| {
        (call == Call::Write
            && path.to_string_lossy().contains("/batches/")
            && left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok())
        .then_some(kind)
    });
    rig.commit(raw(&web, "now\n")).await;
    rig.until("written after room was made", |rig| {
        rig.handle.entries(&key("web"), &[State::Queue], None, 9).len() == 1
    })
    .await;
    let events = rig.balanced();
    assert_eq!(events.evicted + events.dlq, 2);
    assert!(events.evicted >= 1);
    assert!(
        rig.handle.entries(&key("datagrams"), &ALL, None, 9).is_empty(),
        "unacknowledged goes first, though newer"
    );
}

#[tokio::test]
async fn the_dlq_evicts_oldest_first_unacknowledged_before_acknowledged_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = settings(dir.path());
    // A batch counts as a block at least.
    limits.dlq_max_size_bytes = Some(2 * 4096);
    let parts = parts(limits);
    let metrics = Arc::clone(&parts.metrics);
    let rig = Rig::open_with(parts).await;
    let mut one = batching();
    one.max_lines = 1;
    let (web, datagrams) = (stream("web", ACK, one.clone()), stream("datagrams", Class::Unacknowledged, one));
    for n in 0..3 {
        rig.commit(raw(&web, &format!("w{n}\n"))).await;
        rig.submit(raw(&datagrams, &format!("d{n}\n")));
    }
    rig.until("all closed", |rig| rig.all().len() == 6).await;
    for entry in rig.all() {
        rig.handle.bury(entry.stamp, failure(Reason::Rejected)).await.unwrap();
    }
    assert_eq!(rig.texts(), "w1\nw2\n");
    assert_eq!(rig.balanced().evicted, 4);
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"spool_evicted_total{class="acknowledged",cause="limit"} 1"#), "{text}");
    assert!(text.contains(r#"spool_evicted_total{class="unacknowledged",cause="limit"} 3"#), "{text}");
}

/// The index of batches is memory, however small they are.
#[tokio::test]
async fn the_number_of_batches_is_bounded_like_their_bytes() {
    let disk = SimDisk::default();
    let parts = parts(sim_settings());
    let ledger = Arc::clone(&parts.ledger);
    let layout = Layout::new("/spool".into());
    let spool = Spool::open_on(parts, Arc::new(disk.clone()), layout, 7, None, 100).unwrap();
    spool.recovered().await;
    let rig = Rig { handle: spool.handle(), spool, ledger };
    let mut one = batching();
    one.max_lines = 1;
    let (web, datagrams) = (stream("web", ACK, one.clone()), stream("datagrams", Class::Unacknowledged, one));
    for n in 0..50 {
        rig.commit(raw(&web, &format!("w{n}\n"))).await;
    }
    // Three quarters of them; then the oldest of their kind give way.
    for n in 0..100 {
        rig.submit(raw(&datagrams, &format!("d{n}\n")));
        rig.until("it is closed", |rig| rig.ledger.snapshot().open == 0 && rig.ledger.snapshot().memory == 0)
            .await;
    }
    let count = |rig: &Rig, name: &str, state| rig.handle.entries(&key(name), &[state], None, 1000).len();
    assert_eq!(count(&rig, "web", State::Queue), 50);
    assert!(count(&rig, "datagrams", State::Queue) <= 25, "{}", count(&rig, "datagrams", State::Queue));
    assert!(count(&rig, "datagrams", State::Dlq) >= 75);
    let mut refused = None;
    for n in 50..150 {
        rig.ledger.accept(1);
        if let Err(error) = rig.handle.commit(vec![raw(&web, &format!("w{n}\n"))]).await {
            rig.ledger.unaccept(1);
            refused = Some(error);
            break;
        }
        rig.until("it is closed", |rig| rig.ledger.snapshot().open == 0).await;
    }
    assert_eq!(refused, Some(Refused::Full));
    let acknowledged = count(&rig, "web", State::Queue);
    for entry in rig.handle.entries(&key("web"), &[State::Queue], None, 1000) {
        rig.handle.bury(entry.stamp, failure(Reason::Rejected)).await.unwrap();
    }
    assert_eq!(count(&rig, "web", State::Dlq), acknowledged, "what nobody was told is safe goes first");
    assert_eq!(rig.all().iter().filter(|entry| entry.state == State::Dlq).count(), 100);
    rig.commit(raw(&web, "again\n")).await;
    rig.balanced();
}

#[tokio::test]
async fn an_entry_that_could_not_be_moved_to_the_dlq_is_not_evicted_for_its_limit() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.dlq_max_size_bytes = Some(1);
    let rig = on(&disk, parts(limits)).await;
    let mut one = batching();
    one.max_lines = 1;
    for text in ["older\n", "newer\n"] {
        rig.commit(raw(&stream("web", ACK, one.clone()), text)).await;
    }
    rig.until("both are closed", |rig| rig.all().len() == 2).await;
    let stamps = rig.all().iter().map(|entry| entry.stamp).collect::<Vec<_>>();
    failing(&disk, Call::Rename, ".gz", ErrorKind::PermissionDenied);
    rig.handle.bury(stamps[0], failure(Reason::Rejected)).await.unwrap();
    disk.heal();
    rig.handle.bury(stamps[1], failure(Reason::Rejected)).await.unwrap();
    assert_eq!(rig.texts(), "older\n");
    assert_eq!((rig.balanced().dlq, rig.balanced().evicted), (1, 1));
}

#[tokio::test]
async fn batches_beyond_max_age_go_to_the_dlq() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = settings(dir.path());
    limits.max_age = Some(Duration::from_millis(1));
    limits.cleanup_interval = Duration::from_millis(50);
    let rig = Rig::open(limits).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    rig.close().await;
    rig.until("aged", |rig| rig.all()[0].state == State::Dlq).await;
    assert_eq!(rig.all()[0].failure.as_ref().unwrap().reason, Reason::Age);
}

#[tokio::test]
async fn the_log_stays_inside_its_bound_and_what_it_forgets_is_durable() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.max_size_bytes = 32 << 20;
    let rig = on(&disk, parts(limits.clone())).await;
    let slow: Vec<_> = (0..20).map(|n| stream(&format!("slow{n}"), ACK, batching())).collect();
    let fast = stream("fast", ACK, batching());
    let mut most = 0;
    for round in 0..1000_u64 {
        if round % 20 == 0 {
            for (n, slow) in slow.iter().enumerate() {
                rig.commit(raw(slow, &format!("{round} {n}\n"))).await;
            }
        }
        rig.commit(member(&fast, &noise(round, 20_000))).await;
        most = most.max(rig.handle.usage().log_bytes);
        // Delivered as fast as it closes.
        for entry in rig.handle.entries(&key("fast"), &[State::Queue], None, 5) {
            rig.handle.delivered(entry.stamp).await.unwrap();
        }
    }
    assert!(most <= 3 * (4 << 20), "the log had {most} bytes; an eighth of the spool is {}", 4 << 20);
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(3), 50);
    let rig = on(&disk, parts(limits)).await;
    for n in 0..20 {
        let entries = rig.handle.entries(&key(&format!("slow{n}")), &ALL, None, 10);
        assert_eq!(entries.len(), 1);
        assert_eq!(
            rig.text(entries[0].stamp),
            (0..50).map(|r| format!("{} {n}", r * 20)).collect::<Vec<_>>().join("\n") + "\n"
        );
    }
    rig.balanced();
}
