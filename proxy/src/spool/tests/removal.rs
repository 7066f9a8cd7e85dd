//! What is finished and cannot be removed: it may go again, but never shorter, and nothing that replaced it twice.

use std::io::ErrorKind;

use super::{
    faults::{noise, on, sim_settings},
    rig::*,
    setbacks::failing,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::Class,
    config::{Batching, Spooling},
    spool::Stamp,
};

const ACK: Class = Class::Acknowledged;

/// A log of 512 KiB.
fn short_log() -> Spooling {
    Spooling { max_size_bytes: 4 << 20, ..sim_settings() }
}

/// Traffic that is delivered at once: twenty times the bound of the log.
async fn shorten_log(rig: &Rig) {
    let fast = stream("fast", ACK, Batching { max_bytes: 50_000, ..batching() });
    for round in 0..500 {
        rig.pass_through(|| member(&fast, &noise(round, 20_000))).await;
    }
    rig.until("the log is short", |rig| rig.handle.usage().log_bytes <= 1 << 20).await;
}

/// One closed batch of two members.
async fn two_members(disk: &SimDisk) -> (Rig, Stamp) {
    let rig = on(disk, parts(short_log())).await;
    let web = stream("a", ACK, Batching { max_lines: 2, ..batching() });
    for text in ["one\n", "two\n"] {
        rig.commit(member(&web, text)).await;
    }
    rig.until("it is closed", |rig| !rig.all().is_empty()).await;
    let stamp = rig.all()[0].stamp;
    (rig, stamp)
}

fn text_of_a(rig: &Rig) -> String {
    rig.handle.entries(&key("a"), &ALL, None, 10).iter().map(|entry| rig.text(entry.stamp)).collect()
}

fn files_of_a(disk: &SimDisk) -> usize {
    disk.paths().iter().filter(|path| path.to_string_lossy().contains("/acme--a--")).count()
}

#[tokio::test]
async fn a_delivered_batch_whose_file_stays_comes_back_whole_or_not_at_all() {
    let disk = SimDisk::default();
    let (rig, stamp) = two_members(&disk).await;
    failing(&disk, Call::Remove, "/acme--a--", ErrorKind::Other);
    rig.handle.delivered(stamp).await.unwrap();
    shorten_log(&rig).await;
    disk.power_off();
    drop(rig);
    for seed in 1..40 {
        let disk = disk.after_power_cut(&mut Chance(seed), 50);
        let rig = on(&disk, parts(short_log())).await;
        let text = text_of_a(&rig);
        assert!(["", "one\ntwo\n"].contains(&text.as_str()), "seed {seed}: {text:?}");
        assert_eq!(rig.balanced().quarantined, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_goes_as_soon_as_it_can() {
    let disk = SimDisk::default();
    let (rig, stamp) = two_members(&disk).await;
    failing(&disk, Call::Remove, "/acme--a--", ErrorKind::Other);
    rig.handle.delivered(stamp).await.unwrap();
    assert_eq!(files_of_a(&disk), 1);
    disk.heal();
    rig.until("it is removed after all", |_| files_of_a(&disk) == 0).await;
    drop(rig);
    let rig = on(&disk, parts(short_log())).await;
    assert!(rig.all().is_empty(), "{:?}", rig.all());
}

#[tokio::test]
async fn a_half_that_was_cut_again_does_not_come_back_with_an_original_that_stays() {
    // The order in which recovery finds cuts is another one each time.
    for _ in 0..12 {
        let disk = SimDisk::default();
        let rig = on(&disk, parts(short_log())).await;
        rig.commit(raw(&stream("a", ACK, batching()), "one\ntwo\nthree\nfour\n")).await;
        rig.close().await;
        failing(&disk, Call::Remove, "/acme--a--", ErrorKind::Other);
        let [first, _] = rig.handle.split(rig.all()[0].stamp).await.unwrap().unwrap();
        rig.handle.split(first).await.unwrap().unwrap();
        disk.power_off();
        drop(rig);
        let disk = disk.after_power_cut(&mut Chance(1), 100);
        let rig = on(&disk, parts(short_log())).await;
        assert_eq!((text_of_a(&rig).as_str(), rig.all().len()), ("three\nfour\none\ntwo\n", 3));
    }
}

/// After a kill: an open batch of four lines in the segment of the run before.
async fn killed_with_four_lines() -> SimDisk {
    let disk = SimDisk::default();
    let rig = on(&disk, parts(short_log())).await;
    rig.commit(raw(&stream("a", ACK, batching()), "one\ntwo\nthree\nfour\n")).await;
    disk.power_off();
    drop(rig);
    disk.after_power_cut(&mut Chance(1), 100)
}

fn has_first_segment(disk: &SimDisk) -> bool {
    disk.paths().iter().any(|path| path.ends_with("0000000001.seg"))
}

#[tokio::test]
async fn an_old_segment_that_stays_brings_nothing_back() {
    let disk = killed_with_four_lines().await;
    failing(&disk, Call::Remove, "0000000001.seg", ErrorKind::Other);
    let rig = on(&disk, parts(short_log())).await;
    assert_eq!(text_of_a(&rig), "one\ntwo\nthree\nfour\n");
    let halves = rig.handle.split(rig.all()[0].stamp).await.unwrap().unwrap();
    for half in halves {
        rig.handle.delivered(half).await.unwrap();
    }
    // What the own log knows of it goes with its segments.
    shorten_log(&rig).await;
    drop(rig);
    assert!(has_first_segment(&disk));
    disk.heal();
    let rig = on(&disk, parts(short_log())).await;
    assert_eq!(text_of_a(&rig), "", "its halves were delivered");
    assert!(!has_first_segment(&disk));
}

#[tokio::test]
async fn an_old_segment_that_cannot_be_removed_goes_as_soon_as_it_can() {
    let disk = killed_with_four_lines().await;
    failing(&disk, Call::Remove, "0000000001.seg", ErrorKind::Other);
    let rig = on(&disk, parts(short_log())).await;
    assert_eq!(text_of_a(&rig), "one\ntwo\nthree\nfour\n");
    assert!(has_first_segment(&disk));
    disk.heal();
    rig.until("it is removed after all", |_| !has_first_segment(&disk)).await;
    assert_eq!((text_of_a(&rig).as_str(), rig.balanced().imported), ("one\ntwo\nthree\nfour\n", 4));
}
