//! Cutting a batch when something is in the way: the halves keep their names, and nothing goes under two.

use std::io::ErrorKind;

use super::{
    faults::{failure, noise, on, sim_settings},
    rig::*,
    setbacks::failing,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    spool::{Reason, Stamp, State},
};

const ACK: Class = Class::Acknowledged;

/// One closed batch of four lines.
async fn four_lines(disk: &SimDisk) -> (Rig, Stamp) {
    let rig = on(disk, parts(sim_settings())).await;
    rig.commit(raw(&stream("a", ACK, batching()), "one\ntwo\nthree\nfour\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    (rig, stamp)
}

/// The second half cannot be written.
fn second_half_fails(disk: &SimDisk) {
    let mut renamed = 0;
    disk.set_fault(move |call, path| {
        let of_batch = call == Call::Rename && path.to_string_lossy().contains("/acme--a--");
        renamed += usize::from(of_batch);
        (of_batch && renamed == 2).then_some(ErrorKind::StorageFull)
    });
}

fn batch_files(disk: &SimDisk) -> usize {
    disk.paths().iter().filter(|path| path.to_string_lossy().ends_with(".gz")).count()
}

#[tokio::test]
async fn halves_wait_for_their_original() {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(sim_settings())).await;
    rig.commit(raw(&stream("a", ACK, batching()), "one\ntwo\nthree\nfour\n")).await;
    rig.close().await;
    let original = rig.all()[0].clone();
    // The halves are written, the original cannot be removed.
    failing(&disk, Call::Remove, "/acme--a--", ErrorKind::Other);
    assert!(rig.handle.split(original.stamp).await.unwrap().is_some());
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 100);
    let stem = original.file_name();
    failing(&disk, Call::Open, &stem, ErrorKind::Other);
    let rig = on(&disk, parts(sim_settings())).await;
    assert!(rig.all().is_empty(), "{:?}", rig.all());
    disk.heal();
    rig.until("it is read after all", |rig| rig.handle.usage().unreadable == 0).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\nfour\n");
    assert_eq!(rig.all().len(), 2);
    rig.balanced();
}

#[tokio::test]
async fn halves_keep_their_names_when_one_cannot_be_written() {
    let disk = SimDisk::default();
    let (rig, original) = four_lines(&disk).await;
    second_half_fails(&disk);
    assert!(rig.handle.split(original).await.is_err());
    disk.heal();
    let halves = rig.handle.split(original).await.unwrap().unwrap();
    assert_eq!(rig.all().iter().map(|entry| entry.stamp).collect::<Vec<_>>(), halves);
    assert_eq!(batch_files(&disk), 2);
    drop(rig);
    let rig = on(&disk, parts(sim_settings())).await;
    assert_eq!(rig.texts(), "one\ntwo\nthree\nfour\n");
    rig.balanced();
}

#[tokio::test]
async fn a_cut_that_failed_does_not_keep_the_log_while_its_batch_waits() {
    let disk = SimDisk::default();
    let mut limits = sim_settings();
    limits.max_size_bytes = 4 << 20;
    let rig = on(&disk, parts(limits.clone())).await;
    let (mut four, mut small) = (batching(), batching());
    four.max_lines = 4;
    small.max_bytes = 50_000;
    let fast = stream("fast", ACK, small);
    rig.commit(raw(&stream("a", ACK, four), "one\ntwo\nthree\nfour\n")).await;
    rig.until("it is closed", |rig| !rig.all().is_empty()).await;
    let original = rig.all()[0].stamp;
    second_half_fails(&disk);
    assert!(rig.handle.split(original).await.is_err());
    disk.heal();
    rig.handle.bury(original, failure(Reason::Rejected)).await.unwrap();
    for round in 0..500 {
        rig.pass_through(|| member(&fast, &noise(round, 20_000))).await;
    }
    // Twenty times its bound, an eighth of the spool, has passed.
    rig.until("the log is short", |rig| rig.handle.usage().log_bytes <= 1 << 20).await;
    disk.power_off();
    drop(rig);
    let disk = disk.after_power_cut(&mut Chance(1), 0);
    let rig = on(&disk, parts(limits)).await;
    let halves = rig.handle.entries(&key("a"), &[State::Dlq], None, 10);
    assert_eq!(halves.len(), 2, "{halves:?}");
    assert_eq!(halves.iter().map(|half| rig.text(half.stamp)).collect::<String>(), "one\ntwo\nthree\nfour\n");
    rig.balanced();
}

#[tokio::test]
async fn an_original_that_is_delivered_after_all_leaves_no_half() {
    let disk = SimDisk::default();
    let (rig, original) = four_lines(&disk).await;
    second_half_fails(&disk);
    assert!(rig.handle.split(original).await.is_err());
    disk.heal();
    rig.handle.delivered(original).await.unwrap();
    disk.power_off();
    assert_eq!(batch_files(&disk), 0);
    drop(rig);
    for (seed, percent) in [(1, 0), (2, 50), (3, 50), (4, 50), (5, 100)] {
        let disk = disk.after_power_cut(&mut Chance(seed), percent);
        let rig = on(&disk, parts(sim_settings())).await;
        assert!(rig.all().is_empty(), "{percent} % of what was not synced is kept: {:?}", rig.all());
    }
}

#[tokio::test]
async fn a_replaced_file_that_cannot_be_removed_does_not_keep_the_log() {
    let disk = SimDisk::default();
    let (rig, original) = four_lines(&disk).await;
    failing(&disk, Call::Remove, &format!("{:019}", original.0), ErrorKind::Other);
    let halves = rig.handle.split(original).await.unwrap().unwrap();
    assert_eq!((rig.all().len(), batch_files(&disk)), (2, 3));
    disk.heal();
    rig.until("the original is removed after all", |_| batch_files(&disk) == 2).await;
    for half in halves {
        rig.handle.delivered(half).await.unwrap();
    }
    drop(rig);
    let rig = on(&disk, parts(sim_settings())).await;
    assert!(rig.all().is_empty(), "{:?}", rig.all());
}
