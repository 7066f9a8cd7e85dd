//! What fails, and what is kept.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    life::copy_all,
    rig::*,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    config::Spooling,
    spool::{
        Failure, Parts, Reason, Refused, Spool, State,
        files::Layout,
        frame, segment,
        segment::SegmentHeader,
        writer::{Message, now_ns},
    },
};

const ACK: Class = Class::Acknowledged;

pub fn failure(reason: Reason) -> Failure {
    Failure { reason, status: None, message: "why".into() }
}

pub async fn on(disk: &SimDisk, parts: Parts) -> Rig {
    let ledger = Arc::clone(&parts.ledger);
    let layout = Layout::new(PathBuf::from("/spool"));
    let spool = Spool::open_on(parts, Arc::new(disk.clone()), layout, 7, None, u64::MAX).unwrap();
    spool.recovered().await;
    Rig { handle: spool.handle(), spool, ledger }
}

pub fn sim_settings() -> Spooling {
    settings(Path::new("/unused"))
}

/// A line that does not compress.
pub fn noise(seed: u64, len: usize) -> String {
    let mut chance = Chance(seed * 7919 + 1);
    (0..len).map(|_| char::from(33 + chance.next(90) as u8)).chain(['\n']).collect()
}

fn the_segment(root: &Path) -> PathBuf {
    let found = files(&root.join("log"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

pub fn number_of(path: &Path) -> u32 {
    Layout::segment_number(path.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// A folder as a kill leaves it, with one open batch of three commits.
pub async fn killed() -> (tempfile::TempDir, PathBuf) {
    let live = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(live.path())).await;
    let web = stream("web", ACK, batching());
    for text in ["one\n", "two\n", "three\n"] {
        rig.commit(raw(&web, text)).await;
    }
    let copy = tempfile::tempdir().unwrap();
    copy_all(&folder(live.path()), &folder(copy.path()));
    drop(rig);
    let segment = the_segment(&folder(copy.path()));
    (copy, segment)
}

/// Places of frames of a kind in a segment.
pub fn places(bytes: &[u8], number: u32, kind: frame::Kind) -> Vec<usize> {
    let mut at = segment::PAGE;
    let mut found = Vec::new();
    let mark = segment::mark(bytes, number);
    while let Some(next) = bytes.get(at..).and_then(|rest| frame::decode(rest, mark)) {
        if next.header.kind == kind {
            found.push(at);
        }
        at += frame::length(next.payload.len());
    }
    found
}

#[tokio::test]
async fn a_torn_tail_costs_what_was_not_acknowledged_only() {
    let (dir, segment) = killed().await;
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = *places(&bytes, number_of(&segment), frame::Kind::Raw).last().unwrap();
    bytes[last + frame::HEADER] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.texts(), "one\ntwo\n");
    assert_eq!(rig.balanced().quarantined, 0);
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_costs_that_frame_only() {
    let (dir, segment) = killed().await;
    let mut bytes = std::fs::read(&segment).unwrap();
    let second = places(&bytes, number_of(&segment), frame::Kind::Raw)[1];
    bytes[second + frame::HEADER] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.texts(), "one\nthree\n");
    rig.balanced();
}

/// Lines of one sender that are frames to look at: they say that a batch of somebody else is finished.
#[tokio::test]
async fn what_a_sender_made_to_look_like_a_frame_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "one\n")).await;
    rig.close().await;
    let victim = rig.all()[0].stamp;
    drop(rig);
    // Into the next segment, in which nothing is known of the salt.
    let rig = Rig::open(settings(dir.path())).await;
    let segment = the_segment(&folder(dir.path()));
    let mark = frame::Mark { segment: number_of(&segment), salt: 0 };
    let mut forged = Vec::new();
    frame::encode(&frame::Header::control(frame::Kind::Done, victim, 0, 0), mark, u32::MAX, &[], &mut forged);
    forged.extend_from_slice(b"tail of the line\n");
    let mut chunk = raw(&stream("evil", ACK, batching()), "x");
    chunk.raw_len = forged.len() as u32;
    chunk.raw_crc = crc32fast::hash(&forged);
    chunk.body = crate::batch::Body::Raw(forged);
    rig.commit(chunk).await;
    drop(rig);
    // The write of that round is torn in its last bytes.
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = *places(&bytes, number_of(&segment), frame::Kind::Raw).last().unwrap();
    bytes[last + frame::HEADER + 60] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.text(victim), "one\n");
}

#[tokio::test]
async fn a_closed_batch_that_lost_a_frame_is_set_aside_and_not_sent_short() {
    let live = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(live.path())).await;
    let web = stream("web", ACK, batching());
    for text in ["one\n", "two\n", "three\n"] {
        rig.commit(raw(&web, text)).await;
    }
    rig.close().await;
    // A later frame, so that the damaged place is known to have been synced.
    rig.handle.failed(rig.all()[0].stamp, failure(Reason::Server)).await.unwrap();
    copy_all(&folder(live.path()), &folder(copy.path()));
    let root = folder(copy.path());
    let segment = the_segment(&root);
    let mut bytes = std::fs::read(&segment).unwrap();
    let second = places(&bytes, number_of(&segment), frame::Kind::Raw)[1];
    bytes[second + frame::HEADER] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();

    // With the file nothing is lost.
    let whole = tempfile::tempdir().unwrap();
    copy_all(&root, &folder(whole.path()));
    let rig = Rig::open(settings(whole.path())).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\n");
    drop(rig);

    for file in files(&root.join("batches")) {
        std::fs::remove_file(file).unwrap();
    }
    let rig = Rig::open(settings(copy.path())).await;
    assert!(rig.all().is_empty());
    assert_eq!(rig.balanced().quarantined, 3);
    assert_eq!(files(&root.join("quarantine")).len(), 1);
}

#[tokio::test]
async fn a_flipped_bit_in_a_batch_file_costs_that_member_only_and_never_shortens_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let web = stream("web", ACK, batching());
    for text in ["one\n", "two\n", "three\n"] {
        rig.commit(member(&web, text)).await;
    }
    rig.close().await;
    let old_name = rig.all()[0].file_name();
    drop(rig);
    // Read once and made durable: the log knows nothing of it any more.
    drop(Rig::open(settings(dir.path())).await);
    let file = files(&folder(dir.path()).join("batches")).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let rig = Rig::open(settings(dir.path())).await;
    if rig.all()[0].file_name() == old_name {
        // Headers are sound; delivery finds the damage.
        rig.handle.quarantine(rig.all()[0].stamp, "CRC".to_owned()).await.unwrap();
    }
    rig.until("the rest lives on", |rig| rig.all().len() == 1 && rig.all()[0].file_name() != old_name).await;
    assert_eq!(rig.texts(), "one\nthree\n");
    let events = rig.balanced();
    assert_eq!((events.queued, events.quarantined), (2, 1));
    assert_eq!(files(&folder(dir.path()).join("quarantine")).len(), 1);
    drop(rig);
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!((rig.all().len(), rig.texts().as_str()), (1, "one\nthree\n"));
}

#[tokio::test]
async fn w16_foreign_files_stay_and_nothing_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    rig.close().await;
    drop(rig);
    let data = files(&folder(dir.path()).join("batches")).remove(0);
    let beside = |name: &str| data.with_file_name(name);
    std::fs::write(beside("notes.txt"), "x").unwrap();
    std::fs::write(beside("acme--web--17--ndjson.gz"), "x").unwrap();
    // The right name and somebody else's bytes.
    std::fs::write(beside("acme--web--1767225600000000000--ndjson.gz"), "not gzip at all").unwrap();
    // Another dataset's file in the wrong folder.
    std::fs::write(beside("acme--other--1767225600000000001--ndjson.gz"), "x").unwrap();
    std::fs::create_dir_all(folder(dir.path()).join("batches/lost+found/x")).unwrap();
    std::fs::create_dir_all(dir.path().join("lost+found")).unwrap();

    let parts = parts(settings(dir.path()));
    let metrics = Arc::clone(&parts.metrics);
    let rig = Rig::open_with(parts).await;
    assert_eq!(rig.texts(), "a\n");
    for name in ["notes.txt", "acme--web--17--ndjson.gz", "acme--other--1767225600000000001--ndjson.gz"] {
        assert!(beside(name).exists(), "{name}");
    }
    let aside = files(&folder(dir.path()).join("quarantine"));
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), "not gzip at all");
    let text = metrics.encode().unwrap();
    assert!(text.contains("bytefreezer_proxy_spool_foreign_files 3"), "{text}");
    assert!(text.contains("bytefreezer_proxy_spool_quarantined_total 1"), "{text}");
}

#[tokio::test]
async fn w16_h62_metadata_that_cannot_be_written_is_missing_or_torn_costs_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    let stem = rig.all()[0].file_name().replace(".gz", ".meta");
    // A folder where the metadata should be.
    for tree in ["batches", "dlq"] {
        std::fs::create_dir_all(folder(dir.path()).join(tree).join("acme/web").join(&stem).join("x"))
            .unwrap();
    }
    rig.handle.failed(stamp, failure(Reason::Server)).await.unwrap();
    assert_eq!(rig.handle.entry(stamp).unwrap().attempts, 1);
    rig.handle.bury(stamp, failure(Reason::Rejected)).await.unwrap();
    assert_eq!(rig.handle.entry(stamp).unwrap().state, State::Dlq);
    assert_eq!(rig.text(stamp), "a\n");
    drop(rig);

    let rig = Rig::open(settings(dir.path())).await;
    let entry = rig.handle.entry(stamp).unwrap();
    assert_eq!(
        (entry.state, entry.attempts),
        (State::Dlq, 0),
        "data without metadata is a DLQ entry all the same"
    );
    assert_eq!(rig.text(stamp), "a\n");
    drop(rig);

    let meta = folder(dir.path()).join("dlq/acme/web").join(&stem);
    std::fs::remove_dir_all(&meta).unwrap();
    std::fs::write(&meta, "{\"attempts\":3,").unwrap();
    // And metadata without data.
    let stray = meta.with_file_name("acme--web--1767225600000000000--ndjson.meta");
    std::fs::write(&stray, "{\"attempts\":3}").unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.all().len(), 1);
    rig.handle.revive(stamp).await.unwrap();
    assert_eq!(rig.text(stamp), "a\n");
    assert!(!stray.exists());
}

#[tokio::test]
async fn h13_a_clock_that_steps_back_brings_no_name_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = folder(dir.path()).join("log");
    std::fs::create_dir_all(&log).unwrap();
    let future = now_ns() + 3_600_000_000_000;
    let header = SegmentHeader { number: 4, previous_synced: 0, created: future, reserved: future, salt: 0 };
    std::fs::write(log.join("0000000004.seg"), header.page()).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    rig.close().await;
    assert!(rig.all()[0].stamp.0 > future);
    drop(rig);
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.all().len(), 1, "a batch from the future is no stranger");
    rig.commit(raw(&stream("web", ACK, batching()), "b\n")).await;
    rig.close().await;
    let all = rig.all();
    assert!(all[1].stamp > all[0].stamp);
}

#[tokio::test]
async fn l16_l19_the_spool_may_lie_below_a_folder_called_dlq_and_may_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("dlq/retry");
    let mut limits = settings(&first);
    limits.dlq_max_size_bytes = Some(0);
    let rig = Rig::open(limits.clone()).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    rig.close().await;
    rig.handle.failed(rig.all()[0].stamp, failure(Reason::Server)).await.unwrap();
    drop(rig);
    let second = dir.path().join("moved");
    std::fs::rename(&first, &second).unwrap();
    limits.directory = second;
    let rig = Rig::open(limits).await;
    assert_eq!((rig.texts().as_str(), rig.all()[0].attempts), ("a\n", 1));
}

#[tokio::test]
async fn a_sync_that_fails_once_costs_nothing() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    let web = stream("web", ACK, batching());
    rig.commit(raw(&web, "a\n")).await;
    let failed = Arc::new(AtomicBool::new(false));
    let once = Arc::clone(&failed);
    disk.set_fault(move |call, path| {
        (call == Call::Sync && path.to_string_lossy().contains("/log/") && !once.swap(true, Relaxed))
            .then_some(ErrorKind::Other)
    });
    rig.commit(raw(&web, "b\n")).await;
    assert!(failed.load(Relaxed));
    rig.commit(raw(&web, "c\n")).await;
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 0);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "a\nb\nc\n");
}

#[tokio::test]
async fn what_the_end_finds_unwritten_is_not_said_to_stay() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    rig.commit(raw(&stream("web", ACK, batching()), "a\n")).await;
    disk.set_fault(|call, path| {
        let log = path.to_string_lossy().contains("/log");
        (log && (call == Call::Sync || call == Call::Create)).then_some(ErrorKind::Other)
    });
    // In frames when the sync fails, and held since then.
    let datagrams = stream("datagrams", Class::Unacknowledged, batching());
    rig.submit(raw(&datagrams, "b\nc\n"));
    rig.until("the log is broken", |rig| rig.handle.usage().unwritable.is_some()).await;
    rig.ledger.accept(1);
    rig.spool.shared_for_tests().tell_writer(Message::Chunk(raw(&datagrams, "d\n")));
    rig.spool.close(Duration::from_millis(50)).await;
    let Rig { spool, ledger, .. } = rig;
    drop(spool);
    let events = ledger.snapshot();
    assert!(events.balanced(), "{events:?}");
    assert_eq!(events.undelivered(), 1);
    let disk = disk.after_power_cut(&mut Chance(1), 0);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "a\n");
    assert_eq!(rig.balanced().imported, 1);
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_log_cannot_be_written_and_intake_comes_back() {
    for what in [Call::Sync, Call::Write] {
        let disk = SimDisk::default();
        let rig = on(&disk, parts(sim_settings())).await;
        let web = stream("web", ACK, batching());
        rig.commit(raw(&web, "a\n")).await;
        disk.set_fault(move |call, path| {
            let log = path.to_string_lossy().contains("/log");
            (log && (call == what || call == Call::Create)).then_some(ErrorKind::Other)
        });
        rig.ledger.accept(1);
        let refused = rig.handle.commit(vec![raw(&web, "b\n")]).await;
        assert!(matches!(refused, Err(Refused::Unwritable(_))), "{what:?} {refused:?}");
        rig.ledger.unaccept(1);
        rig.balanced();
        assert!(!rig.handle.has_room(ACK));
        assert!(rig.handle.usage().unwritable.is_some());
        assert!(rig.handle.commit(vec![raw(&web, "c\n")]).await.is_err());
        disk.heal();
        rig.until("the log is repaired", |rig| rig.handle.has_room(ACK)).await;
        rig.commit(raw(&web, "d\n")).await;
        disk.power_off();
        drop(rig);
        let disk = disk.after_power_cut(&mut Chance(1), 0);
        let rig = on(&disk, parts(sim_settings())).await;
        let text = rig.texts();
        assert!(text.starts_with("a\n") && text.ends_with("d\n") && !text.contains('c'), "{what:?} {text:?}");
    }
}
