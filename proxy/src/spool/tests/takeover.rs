//! What another instance left is taken over whole, once, and stays so where part of it cannot be read.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    faults::{failure, on, sim_settings},
    rig::*,
    setbacks::failing,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    spool::{
        Reason, Spool, State, adopt, files::Layout, member::Compressor, segment::SegmentHeader,
        writer::now_ns,
    },
};

const ACK: Class = Class::Acknowledged;

/// The file of dataset `b` in a folder.
fn file_of_b(folder: &Path) -> PathBuf {
    let of_b = |path: &PathBuf| path.to_string_lossy().contains("/acme--b--");
    files(folder).into_iter().find(of_b).unwrap()
}

/// A link to itself: root cannot read it either. Returns where the real one went.
fn hide(file: &Path, directory: &Path) -> PathBuf {
    let away = directory.join("away");
    fs::rename(file, &away).unwrap();
    std::os::unix::fs::symlink(file, file).unwrap();
    away
}

async fn two_batches(directory: &Path) -> Rig {
    let rig = Rig::open(settings(directory)).await;
    for (name, text) in [("a", "one\n"), ("b", "two\n")] {
        rig.commit(member(&stream(name, ACK, batching()), text)).await;
    }
    rig
}

/// The folder that the next process takes.
fn prefer(folder: &Path) {
    let lock = fs::File::options().write(true).open(folder.join("LOCK")).unwrap();
    lock.set_modified(std::time::SystemTime::now() + std::time::Duration::from_mins(1)).unwrap();
}

/// Its clock was an hour ahead and was set back: names of that hour must not be given once more.
#[tokio::test]
async fn a_folder_that_was_taken_over_gives_names_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = folder(dir.path());
    fs::create_dir_all(theirs.join("log")).unwrap();
    let future = now_ns() + 3_600_000_000_000;
    let header = SegmentHeader { number: 4, previous_synced: 0, created: future, reserved: future, salt: 0 };
    fs::write(theirs.join("log/0000000004.seg"), header.page()).unwrap();
    let second = Rig::open(settings(dir.path())).await;
    second.commit(raw(&stream("web", ACK, batching()), "ahead\n")).await;
    second.close().await;
    let ahead = second.all()[0].stamp;
    assert!(ahead.0 > future);
    let first = Rig::open(settings(dir.path())).await;
    drop(second);
    let look = || adopt::look(first.spool.shared_for_tests(), dir.path());
    look();
    assert_eq!(first.texts(), "ahead\n");
    prefer(&theirs);
    let third = Rig::open(settings(dir.path())).await;
    third.commit(raw(&stream("web", ACK, batching()), "now\n")).await;
    third.close().await;
    let now = third.all()[0].stamp;
    assert!(now < ahead && now.id() != ahead.id(), "{now:?} {ahead:?}");
    // It comes back to the folder it was made in, and is no stranger there.
    drop(first);
    adopt::look(third.spool.shared_for_tests(), dir.path());
    assert_eq!(third.texts(), "now\nahead\n");
    drop(third);
    prefer(&theirs);
    let fourth = Rig::open(settings(dir.path())).await;
    assert_eq!(fourth.texts(), "now\nahead\n");
}

#[tokio::test]
async fn another_instances_unreadable_file_stays_there_and_the_rest_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = two_batches(dir.path()).await;
    let second = Rig::open(settings(dir.path())).await;
    drop(first);
    let file = file_of_b(&folder(dir.path()));
    let look = || adopt::look(second.spool.shared_for_tests(), dir.path());
    let away = hide(&file, dir.path());
    look();
    assert_eq!((second.texts().as_str(), second.handle.usage().unreadable), ("one\n", 1));
    second.handle.delivered(second.all()[0].stamp).await.unwrap();
    look();
    assert!(second.all().is_empty(), "taken over once");
    fs::rename(&away, &file).unwrap();
    look();
    assert_eq!((second.texts().as_str(), second.handle.usage().unreadable), ("two\n", 0));
    second.balanced();
}

#[tokio::test]
async fn a_batch_that_came_back_to_its_first_folder_outlives_the_log_kept_there() {
    let dir = tempfile::tempdir().unwrap();
    let first = two_batches(dir.path()).await;
    let second = Rig::open(settings(dir.path())).await;
    drop(first);
    let file = file_of_b(&folder(dir.path()));
    let away = hide(&file, dir.path());
    adopt::look(second.spool.shared_for_tests(), dir.path());
    assert_eq!(second.texts(), "one\n");
    // The folder is taken again, with its kept log, and gets the batch back.
    prefer(&folder(dir.path()));
    let third = Rig::open(settings(dir.path())).await;
    drop(second);
    adopt::look(third.spool.shared_for_tests(), dir.path());
    assert_eq!(third.texts(), "one\n");
    drop(third);
    let fourth = Rig::open(settings(dir.path())).await;
    assert_eq!(fourth.texts(), "one\n", "the log that was kept says nothing of it any more");
    fs::rename(&away, &file).unwrap();
    drop(fourth);
    let fifth = Rig::open(settings(dir.path())).await;
    fifth.until("the other one is read", |rig| rig.handle.usage().unreadable == 0).await;
    assert_eq!(fifth.texts(), "one\ntwo\n");
    fifth.balanced();
}

#[tokio::test]
async fn a_kept_log_does_not_bring_back_what_was_delivered() {
    let dir = tempfile::tempdir().unwrap();
    drop(two_batches(dir.path()).await);
    let file = file_of_b(&folder(dir.path()));
    let away = hide(&file, dir.path());
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.texts(), "one\n");
    rig.handle.delivered(rig.all()[0].stamp).await.unwrap();
    drop(rig);
    // As after a rotation of the log: the frame about the delivery is gone, the older segments were kept.
    let log = folder(dir.path()).join("log");
    let newest = files(&log).into_iter().max().unwrap();
    fs::remove_file(newest).unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.texts(), "");
    fs::rename(&away, &file).unwrap();
    drop(rig);
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.texts(), "two\n");
}

#[tokio::test]
async fn a_batch_that_is_here_already_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = two_batches(dir.path()).await;
    let second = Rig::open(settings(dir.path())).await;
    drop(first);
    adopt::look(second.spool.shared_for_tests(), dir.path());
    assert_eq!(second.texts(), "one\ntwo\n");
    // A copy of the file in the folder it came from, as a takeover that was broken off by a crash used to leave it.
    let ours = file_of_b(&dir.path().join(".instance-1"));
    let theirs = folder(dir.path()).join(ours.strip_prefix(dir.path().join(".instance-1")).unwrap());
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    let mut copy = fs::read(&ours).unwrap();
    copy.extend(copy.clone());
    fs::write(&theirs, copy).unwrap();
    adopt::look(second.spool.shared_for_tests(), dir.path());
    assert!(!theirs.exists());
    assert_eq!(second.texts(), "one\ntwo\n");
    second.balanced();
}

/// Two processes may have had the same id.
#[tokio::test]
async fn another_batch_of_the_same_stamp_waits_until_ours_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Rig::open(settings(dir.path())).await;
    let second = Rig::open(settings(dir.path())).await;
    drop(first);
    second.commit(raw(&stream("a", ACK, batching()), "ours\n")).await;
    second.close().await;
    let entry = second.all().remove(0);
    let theirs = folder(dir.path()).join("batches/acme/b").join(entry.file_name().replace("--a--", "--b--"));
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, Compressor::default().member(b"theirs\n", 1, ACK, 1, 6)).unwrap();
    let look = || adopt::look(second.spool.shared_for_tests(), dir.path());
    look();
    assert_eq!(second.texts(), "ours\n");
    assert!(theirs.exists());
    second.handle.delivered(entry.stamp).await.unwrap();
    look();
    assert_eq!(second.texts(), "theirs\n");
    second.balanced();
}

/// Their log is kept for a file that cannot be read, and a batch of theirs was being cut.
#[tokio::test]
async fn a_cut_that_is_finished_for_another_instance_is_finished_once() {
    let disk = SimDisk::default();
    let first = on(&disk, parts(sim_settings())).await;
    for (name, text) in [("a", "one\ntwo\nthree\nfour\n"), ("b", "five\n")] {
        first.commit(raw(&stream(name, ACK, batching()), text)).await;
    }
    first.close().await;
    let original = first.all()[0].stamp;
    failing(&disk, Call::Remove, &format!("{:019}", original.0), ErrorKind::Other);
    first.handle.split(original).await.unwrap().unwrap();
    disk.power_off();
    drop(first);
    let disk = disk.after_power_cut(&mut Chance(1), 100);
    failing(&disk, Call::Open, "/acme--b--", ErrorKind::Other);

    let parts = parts(sim_settings());
    let ledger = Arc::clone(&parts.ledger);
    let layout = Layout::new(PathBuf::from("/other"));
    let spool = Spool::open_on(parts, Arc::new(disk.clone()), layout, 8, None, u64::MAX).unwrap();
    spool.recovered().await;
    let second = Rig { handle: spool.handle(), spool, ledger };
    let adopt = || adopt::adopt(second.spool.shared_for_tests(), Path::new("/spool")).unwrap();
    assert_eq!(adopt(), 1);
    assert_eq!(second.texts(), "one\ntwo\nthree\nfour\n");
    assert_eq!(second.all().len(), 2);
    for half in second.all() {
        second.handle.delivered(half.stamp).await.unwrap();
    }
    assert_eq!(adopt(), 1);
    assert!(second.all().is_empty(), "{:?}", second.all());
    disk.heal();
    assert_eq!(adopt(), 0);
    assert_eq!(second.texts(), "five\n");
    second.balanced();
}

#[tokio::test]
async fn a_second_process_takes_over_what_the_first_left() {
    let dir = tempfile::tempdir().unwrap();
    let first = Rig::open(settings(dir.path())).await;
    let web = stream("web", ACK, batching());
    first.commit(raw(&web, "open\n")).await;
    let mut one = batching();
    one.max_lines = 1;
    first.commit(raw(&stream("other", ACK, one), "buried\n")).await;
    first.until("closed", |rig| rig.all().len() == 1).await;
    first.handle.bury(first.all()[0].stamp, failure(Reason::Rejected)).await.unwrap();
    let name = first.all()[0].file_name();

    let second = Rig::open(settings(dir.path())).await;
    second.commit(raw(&web, "mine\n")).await;
    assert!(second.all().is_empty());
    drop(first);
    crate::spool::adopt::look(second.spool.shared_for_tests(), dir.path());
    assert_eq!(second.texts(), "open\nburied\n");
    let buried = second.all().into_iter().find(|entry| entry.state == State::Dlq).unwrap();
    assert_eq!((buried.file_name(), buried.failure.unwrap().reason), (name, Reason::Rejected));
    let events = second.balanced();
    assert_eq!((events.imported, events.open), (2, 1));
    let left = files(&dir.path().join(".instance-0"));
    assert!(left.iter().all(|path| path.extension().is_none()), "{left:?}");
    drop(second);
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("all three", |rig| rig.all().len() == 3).await;
}
