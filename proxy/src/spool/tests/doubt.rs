//! Where it is not clear what became of a batch, it is kept: sent again, or set aside with a word about it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    faults::{killed, noise, number_of, on, places, sim_settings},
    rig::*,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    config::Spooling,
    spool::{
        frame::{self, Kind},
        segment,
    },
};

const ACK: Class = Class::Acknowledged;

#[tokio::test]
async fn a_batch_that_was_read_wrongly_once_is_not_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "one\ntwo\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    rig.handle.quarantine(stamp, "member 1 does not match its checksum".to_owned()).await.unwrap_err();
    assert_eq!(rig.texts(), "one\ntwo\n");
    assert_eq!((rig.balanced().queued, rig.balanced().quarantined), (2, 0));
}

#[tokio::test]
async fn a_batch_file_that_became_empty_is_set_aside_and_not_just_removed() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "one\n")).await;
    rig.close().await;
    drop(rig);
    // Read once and made durable: the log knows nothing of it any more.
    drop(Rig::open(settings(dir.path())).await);
    let file = files(&folder(dir.path()).join("batches")).remove(0);
    fs::write(&file, b"").unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert!(rig.all().is_empty());
    assert_eq!(files(&folder(dir.path()).join("quarantine")).len(), 1);
}

/// As a version with other rules for tenants would have written it.
#[tokio::test]
async fn frames_of_a_batch_whose_name_this_version_does_not_take_are_set_aside() {
    let (dir, segment) = killed().await;
    let number = number_of(&segment);
    let mut bytes = fs::read(&segment).unwrap();
    let at = places(&bytes, number, Kind::Open)[0];
    let mark = segment::mark(&bytes, number);
    let open = frame::decode(&bytes[at..], mark).unwrap();
    let payload = String::from_utf8_lossy(open.payload).replace("acme", "root");
    let mut other = Vec::new();
    frame::encode(&open.header, mark, open.synced, payload.as_bytes(), &mut other);
    bytes[at..at + other.len()].copy_from_slice(&other);
    fs::write(&segment, bytes).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert!(rig.all().is_empty());
    let kept = files(&folder(dir.path()).join("quarantine")).remove(0);
    assert_eq!(fs::read(kept).unwrap(), b"one\ntwo\nthree\n");
}

/// A folder as a kill leaves it: of the open batch in `slow` the file has `first`, one member each, of which the log knows
/// nothing any more; what came later is in the log only.
pub async fn checkpointed(first: &[&str], later: &[&str]) -> (tempfile::TempDir, Spooling) {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = settings(dir.path());
    limits.max_size_bytes = 4 << 20;
    let rig = Rig::open(limits.clone()).await;
    let (slow, fast) = (stream("slow", ACK, batching()), stream("fast", ACK, batching()));
    for text in first {
        rig.commit(member(&slow, text)).await;
    }
    let retired = || rig.spool.shared_for_tests().metrics().segments_removed.get();
    for round in 0..5000 {
        // Far enough below its bound that it is not shortened again.
        if retired() > 0 && rig.handle.usage().log_bytes <= 384 << 10 {
            break;
        }
        rig.pass_through(|| member(&fast, &noise(round, 20_000))).await;
    }
    assert!(retired() > 0);
    for text in later {
        rig.commit(raw(&slow, text)).await;
    }
    (dir, limits)
}

fn file_of_slow(dir: &Path) -> PathBuf {
    let found = files(&folder(dir).join("batches/acme/slow"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn text_of_slow(rig: &Rig) -> String {
    let entries = rig.handle.entries(&key("slow"), &ALL, None, 10);
    entries.iter().filter_map(|entry| rig.text_if_there(entry.stamp)).collect()
}

/// What a bit flip, or a page that is lost, does to one member: the lines after it are sound, in the file or in the log.
#[tokio::test]
async fn a_damaged_member_of_an_open_batch_costs_nothing_but_its_lines() {
    type Case = (&'static [&'static str], fn(&mut Vec<u8>), &'static str);
    let cases: [Case; 3] = [
        (&["one\n"], |bytes| bytes[44] ^= 1, "two\nthree\n"),
        (&["zero\n", "one\n"], |bytes| *bytes.last_mut().unwrap() ^= 1, "zero\ntwo\nthree\n"),
        // Nobody can say how long it was.
        (&["one\n"], |bytes| bytes.fill(0), "two\nthree\n"),
    ];
    for (first, damage, left) in cases {
        let (dir, limits) = checkpointed(first, &["two\n", "three\n"]).await;
        let file = file_of_slow(dir.path());
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let rig = Rig::open(limits.clone()).await;
        rig.until("what is damaged is set aside", |_| !file.exists()).await;
        rig.until("the rest is there", |rig| text_of_slow(rig) == left).await;
        assert_eq!(files(&folder(dir.path()).join("quarantine")).len(), 1, "{left:?}");
        rig.balanced();
        drop(rig);
        let rig = Rig::open(limits).await;
        assert_eq!(text_of_slow(&rig), left);
    }
}

/// What is delivered was closed before: lines without a Close frame can be nowhere else.
#[tokio::test]
async fn an_open_batch_whose_file_somebody_removed_is_not_taken_for_delivered() {
    let (dir, limits) = checkpointed(&["one\n"], &["two\n", "three\n"]).await;
    fs::remove_file(file_of_slow(dir.path())).unwrap();
    let rig = Rig::open(limits).await;
    assert_eq!(text_of_slow(&rig), "");
    assert_eq!(rig.balanced().quarantined, 2);
    let kept = files(&folder(dir.path()).join("quarantine")).remove(0);
    assert_eq!(fs::read(kept).unwrap(), b"two\nthree\n");
}

/// Fails each sync of a batch file once; returns how many failed.
fn fail_each_first_sync(disk: &SimDisk) -> Arc<AtomicU64> {
    let failed = Arc::new(AtomicU64::new(0));
    let (counter, mut seen) = (Arc::clone(&failed), std::collections::HashSet::new());
    disk.set_fault(move |call, path| {
        let first = call == Call::Sync
            && path.to_string_lossy().contains("/batches/")
            && seen.insert(path.to_owned());
        counter.fetch_add(u64::from(first), Relaxed);
        first.then_some(ErrorKind::Other)
    });
    failed
}

/// Linux reports what it could not write once and takes it for written then: the next sync of that file says yes.
#[tokio::test]
async fn what_a_failed_sync_of_a_batch_file_did_not_write_is_written_again_before_the_log_goes() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.max_size_bytes = 4 << 20;
    let rig = on(&disk, parts(limits.clone())).await;
    let failed = fail_each_first_sync(&disk);
    let (slow, fast) = (stream("slow", ACK, batching()), stream("fast", ACK, batching()));
    rig.commit(raw(&slow, "keep me\n")).await;
    // As much as makes the oldest segment go, delivered as fast as it closes.
    let mut round = 0;
    let checkpoints = || rig.spool.shared_for_tests().metrics().checkpoints.get();
    let retired = || rig.spool.shared_for_tests().metrics().segments_removed.get();
    while checkpoints() < 1 || retired() < 4 {
        assert!(round < 5000, "{} checkpoints, {} segments removed", checkpoints(), retired());
        round += 1;
        rig.ledger.accept(1);
        // While the log cannot be shortened nothing is taken.
        if rig.handle.commit(vec![member(&fast, &noise(round, 20_000))]).await.is_err() {
            rig.ledger.unaccept(1);
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        for entry in rig.handle.entries(&key("fast"), &[crate::spool::State::Queue], None, 5) {
            rig.handle.delivered(entry.stamp).await.unwrap();
        }
    }
    assert!(failed.load(Relaxed) > 0);
    disk.power_off();
    drop(rig);
    // Nothing that was not synced survives.
    let disk = disk.after_power_cut(&mut Chance(1), 0);
    let rig = on(&disk, parts(limits)).await;
    let slow = rig.handle.entries(&key("slow"), &ALL, None, 10);
    assert_eq!(slow.iter().map(|entry| rig.text(entry.stamp)).collect::<String>(), "keep me\n");
}

#[tokio::test]
async fn the_same_at_the_next_start() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "keep me\n")).await;
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 100);
    let failed = fail_each_first_sync(&disk);
    let rig = on(&disk, parts(sim_settings())).await;
    rig.until("it is tried again", |rig| rig.handle.usage().unreadable == 0 && !rig.all().is_empty()).await;
    assert_eq!(failed.load(Relaxed), 1);
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 0);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "keep me\n");
}
