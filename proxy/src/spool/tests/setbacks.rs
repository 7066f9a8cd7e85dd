//! One file, one folder, one limit that is in the way, and everything else goes on.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    faults::{noise, on, sim_settings},
    rig::*,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::{Class, MemoryBudget},
    config::{Batching, Spooling},
    metrics::Metrics,
    spool::{
        Failure, Reason, Refused, disk::RealDisk, metrics::SpoolMetrics, recovery, segment::SegmentHeader,
        store::Store,
    },
};

const ACK: Class = Class::Acknowledged;

pub fn failing(disk: &SimDisk, of: Call, part: &str, kind: ErrorKind) {
    let part = part.to_owned();
    disk.set_fault(move |call, path| (call == of && path.to_string_lossy().contains(&part)).then_some(kind));
}

/// A disk after a power cut, with an open batch of each of three datasets whose lines are in files and in the log.
async fn three() -> SimDisk {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    for (name, text) in [("a", "one\n"), ("b", "two\n"), ("c", "three\n")] {
        rig.commit(member(&stream(name, ACK, batching()), text)).await;
    }
    rig.until("files are written", |_| {
        disk.paths().iter().filter(|path| path.to_string_lossy().ends_with(".gz")).count() == 3
    })
    .await;
    disk.power_off();
    drop(rig);
    disk.after_power_cut(&mut Chance(1), 100)
}

pub fn segments(disk: &SimDisk) -> usize {
    disk.paths().iter().filter(|path| path.to_string_lossy().ends_with(".seg")).count()
}

#[tokio::test]
async fn a_batch_file_that_cannot_be_read_holds_up_itself_only_and_is_tried_again() {
    for (call, kind) in [(Call::Open, ErrorKind::PermissionDenied), (Call::Sync, ErrorKind::Other)] {
        let disk = three().await;
        failing(&disk, call, "/acme--b--", kind);
        let rig = on(&disk, parts(sim_settings())).await;
        assert_eq!(rig.texts(), "one\nthree\n", "{call:?}");
        assert_eq!(rig.handle.usage().unreadable, 1);
        assert_eq!(rig.balanced().queued, 2);
        let shared = rig.spool.shared_for_tests();
        assert_eq!(shared.metrics().unreadable.get(), 1);
        assert!(segments(&disk) > 1, "its frames are kept");
        for entry in rig.all() {
            rig.handle.delivered(entry.stamp).await.unwrap();
        }
        disk.heal();
        rig.until("it is read after all", |rig| rig.handle.usage().unreadable == 0).await;
        assert_eq!(rig.texts(), "two\n", "what was delivered meanwhile does not come back");
        rig.until("the old log goes", |_| segments(&disk) == 1).await;
        assert_eq!(rig.balanced().delivered, 2);
        assert_eq!(shared.metrics().unreadable.get(), 0);
    }
}

#[tokio::test]
async fn a_file_that_stays_unreadable_is_found_by_the_next_start() {
    let disk = three().await;
    failing(&disk, Call::Open, "/acme--b--", ErrorKind::Other);
    drop(on(&disk, parts(sim_settings())).await);
    disk.heal();
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_batch_for_which_there_is_no_room_waits_and_the_others_go_on() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    rig.commit(raw(&stream("a", ACK, batching()), "one\n")).await;
    rig.commit(raw(&stream("b", ACK, batching()), "two\n")).await;
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 100);
    failing(&disk, Call::Write, "/acme--b--", ErrorKind::StorageFull);
    let opening = on(&disk, parts(sim_settings()));
    let rig = tokio::time::timeout(Duration::from_secs(20), opening).await.expect("nobody waits for room");
    assert_eq!(rig.texts(), "one\n");
    assert_eq!(rig.handle.usage().unreadable, 1);
    disk.heal();
    rig.until("there is room", |rig| rig.handle.usage().unreadable == 0).await;
    assert_eq!(rig.texts(), "one\ntwo\n");
    assert_eq!(rig.balanced().queued, 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_listed_holds_up_its_own_batches_only() {
    let disk = three().await;
    failing(&disk, Call::List, "/batches/acme/b", ErrorKind::PermissionDenied);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "one\nthree\n");
    assert!(rig.handle.usage().unreadable > 0);
    disk.heal();
    rig.until("it is read after all", |rig| rig.handle.usage().unreadable == 0).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\n");
    rig.balanced();
}

#[tokio::test]
async fn a_log_that_is_too_long_by_its_header_only_is_not_shortened_again_and_again() {
    let disk = SimDisk::default();
    failing(&disk, Call::Create, "/log", ErrorKind::StorageFull);
    let mut limits = sim_settings();
    limits.max_size_bytes = 4 << 20;
    limits.sync_interval = Duration::from_millis(500);
    let rig = on(&disk, parts(limits)).await;
    rig.until("it is known at once", |rig| !rig.handle.has_room(ACK)).await;
    disk.heal();
    rig.until("the volume has room", |rig| rig.handle.has_room(ACK)).await;
    // More than half a segment: the next one is made ahead, and its header waits for its first frames.
    let slow = stream("slow", Class::Unacknowledged, batching());
    rig.commit(member(&stream("a", ACK, batching()), &noise(1, 110_000))).await;
    rig.until("the next segment is made ahead", |_| segments(&disk) == 2).await;
    rig.submit(member(&slow, &noise(2, 900_000)));
    rig.until("the log is short", |rig| rig.handle.usage().log_bytes < 1 << 20 || segments(&disk) == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let checkpoints = rig.spool.shared_for_tests().metrics().checkpoints.get();
    assert!(checkpoints <= 5, "{checkpoints} checkpoints");
}

#[tokio::test]
async fn a_batch_whose_file_is_gone_is_written_off_with_its_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\nb\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    let failure = Failure { reason: Reason::Server, status: None, message: "busy".into() };
    rig.handle.failed(stamp, failure).await.unwrap();
    let below = folder(dir.path()).join("batches");
    let data =
        files(&below).into_iter().find(|path| path.extension().is_some_and(|end| end == "gz")).unwrap();
    fs::remove_file(data).unwrap();
    let missing = rig.handle.open(stamp).err().map(|error| error.kind());
    assert_eq!(missing, Some(ErrorKind::NotFound));
    // As if the volume were gone: then nothing is written off.
    let (log, away) = (folder(dir.path()).join("log"), dir.path().join("away"));
    fs::rename(&log, &away).unwrap();
    assert!(rig.handle.quarantine(stamp, "gone".to_owned()).await.is_err());
    assert_eq!(rig.all().len(), 1);
    fs::rename(&away, &log).unwrap();
    rig.handle.quarantine(stamp, "gone".to_owned()).await.unwrap();
    assert!(rig.all().is_empty());
    assert_eq!((rig.balanced().quarantined, files(&below).len()), (2, 0));
}

#[tokio::test]
async fn a_batch_file_that_cannot_be_written_and_a_full_spool_are_shown() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.max_size_bytes = 1 << 20;
    let rig = on(&disk, parts(limits)).await;
    failing(&disk, Call::Write, "/batches/", ErrorKind::PermissionDenied);
    let web = stream("web", ACK, batching());
    rig.commit(member(&web, "a\n")).await;
    rig.until("it is shown", |rig| {
        rig.handle.usage().files_unwritable.is_some_and(|why| why.contains("acme--web--"))
    })
    .await;
    assert_eq!(rig.handle.usage().unwritable, None);
    disk.heal();
    rig.until("it is over", |rig| rig.handle.usage().files_unwritable.is_none()).await;

    let full = |rig: &Rig| rig.handle.usage().full;
    assert!(!full(&rig).acknowledged && !full(&rig).unacknowledged);
    let refused = loop {
        rig.ledger.accept(1);
        if let Err(refused) = rig.handle.commit(vec![member(&web, &noise(3, 50_000))]).await {
            rig.ledger.unaccept(1);
            break refused;
        }
    };
    assert_eq!(refused, Refused::Full);
    assert!(full(&rig).acknowledged && full(&rig).unacknowledged);
    assert!(rig.spool.shared_for_tests().told_refused.pass().is_none(), "it was said in the log");
}

#[tokio::test]
async fn bytes_given_up_at_the_end_are_not_overtaken() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    let web = stream("web", ACK, batching());
    failing(&disk, Call::Write, "/batches/", ErrorKind::StorageFull);
    rig.commit(member(&web, "one\n")).await;
    rig.until("it was tried", |rig| rig.handle.usage().files_unwritable.is_some()).await;
    rig.commit(member(&web, "two\n")).await;
    rig.spool.close(Duration::from_millis(50)).await;
    // Within the second between two attempts: the first member is given up, and the second could be written.
    disk.heal();
    drop(rig);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "one\ntwo\n");
    assert_eq!(rig.balanced().quarantined, 0);
}

/// Runs that were killed before they had read the log: `count` segments of 2 MiB with a header and nothing else.
fn killed_runs(directory: &Path, count: u32) {
    let log = folder(directory).join("log");
    fs::create_dir_all(&log).unwrap();
    for number in 1..=count {
        let header = SegmentHeader { number, previous_synced: 0, created: 1, reserved: 2, salt: 0 };
        let path = log.join(format!("{number:010}.seg"));
        fs::write(&path, header.page()).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_len(2 << 20).unwrap();
    }
}

#[tokio::test]
async fn room_that_recovery_makes_is_seen_although_nothing_arrives() {
    let dir = tempfile::tempdir().unwrap();
    killed_runs(dir.path(), 40);
    let mut limits = settings(dir.path());
    limits.max_size_bytes = 64 << 20;
    let rig = Rig::open(limits).await;
    rig.until("there is room", |rig| rig.handle.has_room(ACK)).await;
    rig.until("only the own segment counts", |rig| rig.handle.usage().log_bytes <= 4 << 20).await;
}

#[test]
fn segments_of_killed_runs_give_back_what_they_never_wrote() {
    let dir = tempfile::tempdir().unwrap();
    killed_runs(dir.path(), 20);
    let layout = crate::spool::files::Layout::new(folder(dir.path()));
    let metrics = Arc::new(SpoolMetrics::new(&Metrics::default()));
    let store = Store::new(Arc::new(RealDisk), layout, metrics, Arc::default());
    let numbers = recovery::segments(&store).unwrap();
    let before = recovery::segment_bytes(&store, &numbers);
    store.usage.old_log.store(before, Relaxed);
    recovery::trim(&store, &numbers);
    assert_eq!((before, recovery::segment_bytes(&store, &numbers)), (40 << 20, 20 * 4096));
    assert_eq!(store.usage.old_log.load(Relaxed), 20 * 4096);
    assert_eq!(recovery::header(&store, 20).unwrap().reserved, 2, "headers stay");
}

#[tokio::test]
async fn nothing_is_moved_where_that_makes_no_room() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.max_size_bytes = 4 << 20;
    let rig = on(&disk, parts(limits)).await;
    let single = Batching { max_lines: 1, ..batching() };
    let udp = stream("flood", Class::Unacknowledged, single);
    for seed in 0..3 {
        rig.submit(member(&udp, &noise(seed, 1000)));
    }
    rig.until("three batches", |rig| rig.all().len() == 3).await;
    rig.spool.shared_for_tests().usage().others.store(50 << 20, Relaxed);
    let handle = rig.handle.clone();
    let late = member(&udp, "late\n");
    rig.ledger.accept(1);
    let refused = tokio::task::spawn_blocking(move || handle.submit_blocking(late)).await.unwrap();
    rig.ledger.unaccept(1);
    assert_eq!(refused, Err(Refused::Full));
    assert_eq!((rig.balanced().dlq, rig.balanced().queued), (0, 3));
}

#[tokio::test]
async fn intake_goes_on_when_files_can_be_written_again_although_nothing_arrives() {
    let disk = SimDisk::default();
    let mut parts = parts(sim_settings());
    parts.memory = MemoryBudget::new(1 << 20);
    let rig = on(&disk, parts).await;
    failing(&disk, Call::Write, "/batches/", ErrorKind::PermissionDenied);
    let short = Batching { timeout: Duration::from_millis(50), ..batching() };
    let slow = stream("slow", Class::Unacknowledged, short);
    for seed in 0..20 {
        if rig.handle.has_room(Class::Unacknowledged) {
            rig.submit(raw(&slow, &noise(seed, 60_000)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    rig.until("intake is refused", |rig| rig.handle.usage().unwritable.is_some()).await;
    // Until all batches are closed and synced: then nothing wakes the writer any more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    disk.heal();
    rig.until("it goes on", |rig| rig.handle.has_room(ACK)).await;
    assert_eq!(rig.handle.usage().unwritable, None);
}

/// A volume that takes the header of a segment and nothing more of it.
#[tokio::test]
async fn segments_of_which_nothing_can_be_synced_do_not_fill_the_volume() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    let web = stream("web", ACK, batching());
    rig.commit(raw(&web, "one\n")).await;
    rig.until("the log is counted", |rig| rig.handle.usage().log_bytes > 0).await;
    let before = rig.handle.usage().log_bytes;
    let mut begun: HashSet<PathBuf> = disk.paths().into_iter().collect();
    disk.set_fault(move |call, path| {
        let of_log = call == Call::Sync && path.starts_with("/spool/log");
        (of_log && !begun.insert(path.to_owned())).then_some(ErrorKind::Other)
    });
    rig.ledger.accept(1);
    let refused = rig.handle.commit(vec![raw(&web, "two\n")]).await.unwrap_err();
    rig.ledger.unaccept(1);
    assert!(matches!(refused, Refused::Unwritable(_)), "{refused}");
    let failures = || rig.spool.shared_for_tests().metrics().log_failures.get();
    rig.until("it tries again and again", |_| failures() >= 10).await;
    let grown = rig.handle.usage().log_bytes - before;
    assert!(grown < 1 << 20, "{grown} bytes for segments without a frame");
    disk.heal();
    rig.until("the log can be written", |rig| rig.handle.has_room(ACK)).await;
    rig.commit(raw(&web, "three\n")).await;
    disk.power_off();
    drop(rig);
    let rig = on(&disk.after_power_cut(&mut Chance(1), 0), parts(sim_settings())).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\n");
    assert_eq!(rig.balanced().quarantined, 0);
}

#[tokio::test]
async fn what_is_lost_at_the_end_is_what_was_not_synced() {
    let disk = SimDisk::default();
    let limits =
        Spooling { max_size_bytes: 4 << 20, sync_interval: Duration::from_hours(1), ..sim_settings() };
    let rig = on(&disk, parts(limits.clone())).await;
    failing(&disk, Call::Create, "/log", ErrorKind::StorageFull);
    let udp = stream("datagrams", Class::Unacknowledged, batching());
    // The second one needs another segment: the first is synced before, though nobody waits for it.
    rig.submit(member(&udp, &noise(1, 100_000)));
    rig.submit(member(&udp, &noise(2, 100_000)));
    rig.until("the log is broken", |rig| !rig.handle.has_room(ACK)).await;
    let ledger = Arc::clone(&rig.ledger);
    drop(rig);
    let events = ledger.snapshot();
    assert!(events.balanced(), "{events:?}");
    assert_eq!((events.accepted, events.undelivered()), (1, 1));
    disk.heal();
    let rig = on(&disk, parts(limits)).await;
    assert_eq!(rig.balanced().imported, 1);
}
