//! The normal life of a batch.

use std::time::{Duration, Instant};

use super::rig::*;
use crate::{
    batch::Class,
    spool::{Failure, Reason, Refused, State},
};

fn failure(reason: Reason, status: u16) -> Failure {
    Failure { reason, status: Some(status), message: "busy".into() }
}

#[tokio::test]
async fn lines_come_out_as_they_went_in_and_every_event_has_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let web = stream("web", Class::Acknowledged, batching());
    let big = "{\"text\":\"something longer\"}\n".repeat(3000);
    rig.commit(raw(&web, "one\ntwo\n")).await;
    assert_eq!(rig.balanced().open, 2);
    rig.commit(member(&web, &big)).await;
    rig.commit(raw(&web, "three\n")).await;
    assert!(rig.all().is_empty(), "an open batch is not in the backlog");
    rig.close().await;
    let all = rig.all();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].lines, all[0].state, all[0].attempts), (3003, State::Queue, 0));
    assert_eq!(rig.text(all[0].stamp), format!("one\ntwo\n{big}three\n"));
    let events = rig.balanced();
    assert_eq!((events.accepted, events.queued, events.open), (3003, 3003, 0));

    rig.handle.delivered(all[0].stamp).await.unwrap();
    assert_eq!(rig.balanced().delivered, 3003);
    assert!(rig.handle.datasets().is_empty());
    assert!(files(&folder(dir.path())).iter().all(|path| path.extension().is_none_or(|ext| ext != "gz")));
    assert!(rig.handle.delivered(all[0].stamp).await.is_err());
}

#[tokio::test]
async fn a_stopped_spool_takes_nothing_and_a_new_one_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let web = stream("web", Class::Acknowledged, batching());
    let udp = stream("datagrams", Class::Unacknowledged, batching());
    rig.commit(raw(&web, "a\nb\n")).await;
    rig.submit(raw(&udp, "c\n"));
    rig.close().await;
    assert_eq!(rig.handle.commit(vec![raw(&web, "d\n")]).await, Err(Refused::Stopping));
    let before = rig.all();
    drop(rig);
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.balanced().imported, 3);
    let after = rig.all();
    assert_eq!(
        before
            .iter()
            .map(|e| (e.file_name(), e.lines, e.raw_bytes, e.file_bytes, e.class))
            .collect::<Vec<_>>(),
        after
            .iter()
            .map(|e| (e.file_name(), e.lines, e.raw_bytes, e.file_bytes, e.class))
            .collect::<Vec<_>>()
    );
    assert_eq!(rig.texts(), "a\nb\nc\n");
    rig.until("old segments go", |_| files(&folder(dir.path()).join("log")).len() == 1).await;
}

#[tokio::test]
async fn open_batches_of_a_killed_process_are_closed_and_delivered_under_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let web = stream("web", Class::Acknowledged, batching());
    rig.commit(raw(&web, "a\nb\n")).await;
    rig.commit(member(&web, "c\n")).await;
    // What is on the disk now is what a kill leaves.
    copy_all(&folder(dir.path()), &folder(copy.path()));
    let rig2 = Rig::open(settings(copy.path())).await;
    assert_eq!(rig2.texts(), "a\nb\nc\n");
    assert_eq!(rig2.balanced().queued, 3);
    rig.close().await;
    assert_eq!(rig.all()[0].file_name(), rig2.all()[0].file_name());
}

pub fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}

#[tokio::test]
async fn h20_failures_are_kept_as_they_are_over_moves_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", Class::Acknowledged, batching()), "a\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    rig.handle.failed(stamp, failure(Reason::Server, 503)).await.unwrap();
    rig.handle.failed(stamp, failure(Reason::TooManyRequests, 429)).await.unwrap();
    let entry = rig.handle.entry(stamp).unwrap();
    assert_eq!((entry.state, entry.attempts), (State::Retry, 2));
    rig.handle.bury(stamp, failure(Reason::Unauthorized, 401)).await.unwrap();
    assert_eq!(rig.balanced().dlq, 1);
    drop(rig);

    let rig = Rig::open(settings(dir.path())).await;
    let entry = rig.handle.entry(stamp).unwrap();
    assert_eq!((entry.state, entry.attempts), (State::Dlq, 2));
    let failed = entry.failure.unwrap();
    assert_eq!((failed.reason, failed.status, &*failed.message), (Reason::Unauthorized, Some(401), "busy"));
    assert!(entry.last_attempt.is_some());
    rig.handle.revive(stamp).await.unwrap();
    let entry = rig.handle.entry(stamp).unwrap();
    assert_eq!((entry.state, entry.attempts), (State::Retry, 0));
    assert_eq!(rig.text(stamp), "a\n");
    drop(rig);

    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!(rig.handle.entry(stamp).unwrap().state, State::Retry);
    assert_eq!(rig.balanced().retry, 1);
    rig.handle.bury(stamp, failure(Reason::Rejected, 400)).await.unwrap();
    rig.handle.delete(stamp).await.unwrap();
    assert_eq!(rig.balanced().deleted, 1);
    let left = files(&folder(dir.path()));
    assert!(
        left.iter().all(|path| path.extension().is_none_or(|ext| ext != "meta" && ext != "gz")),
        "{left:?}"
    );
}

#[tokio::test]
async fn batches_are_cut_by_lines_bytes_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let mut limits = batching();
    limits.max_lines = 5;
    let lines = stream("lines", Class::Acknowledged, limits);
    for _ in 0..3 {
        rig.commit(raw(&lines, "1\n2\n3\n")).await;
    }
    rig.until("cut by lines", |rig| rig.all().len() == 2).await;
    assert!(rig.all().iter().all(|entry| entry.lines == 3));

    let mut limits = batching();
    limits.max_bytes = 20_000;
    let bytes = stream("bytes", Class::Acknowledged, limits);
    let mut seed = 1_u64;
    let mut noise = || {
        (0..1000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(33 + (seed >> 33) as u8 % 90)
            })
            .chain(['\n'])
            .collect::<String>()
    };
    for _ in 0..100 {
        rig.commit(raw(&bytes, &noise())).await;
    }
    let sizes = |rig: &Rig| {
        rig.handle.entries(&key("bytes"), &ALL, None, 100).iter().map(|e| e.file_bytes).collect::<Vec<_>>()
    };
    rig.until("cut by bytes", |rig| sizes(rig).len() >= 4).await;
    assert!(sizes(&rig).iter().all(|size| (10_000..=20_000).contains(size)), "{:?}", sizes(&rig));

    let mut limits = batching();
    limits.timeout = Duration::from_millis(300);
    let begun = Instant::now();
    rig.commit(raw(&stream("time", Class::Acknowledged, limits), "x\n")).await;
    while rig.handle.entries(&key("time"), &ALL, None, 1).is_empty() {
        rig.handle.changed().await;
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(800), "{took:?}");
    rig.balanced();
}

#[tokio::test]
async fn w22_a_batch_is_split_at_a_line_and_one_line_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", Class::Acknowledged, batching()), "one\ntwo\nthree\nfour\n")).await;
    rig.close().await;
    let stamp = rig.all()[0].stamp;
    rig.handle.failed(stamp, failure(Reason::TooLarge, 413)).await.unwrap();
    let halves = rig.handle.split(stamp).await.unwrap().unwrap();
    assert!(rig.handle.entry(stamp).is_none());
    assert_eq!(halves.map(|half| rig.text(half)).concat(), "one\ntwo\nthree\nfour\n");
    let quarters = rig.handle.split(halves[0]).await.unwrap().unwrap();
    assert_eq!(rig.handle.split(quarters[0]).await.unwrap(), None);
    assert_eq!(rig.balanced().retry, 4);
    drop(rig);
    let rig = Rig::open(settings(dir.path())).await;
    assert_eq!((rig.all().len(), rig.balanced().retry), (3, 4));
    let mut lines: Vec<_> = rig.texts().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["four", "one", "three", "two"]);
}

#[tokio::test]
async fn without_spooling_batches_live_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut off = settings(dir.path());
    off.enabled = false;
    let rig = Rig::open(off).await;
    rig.commit(raw(&stream("web", Class::Acknowledged, batching()), "a\n")).await;
    rig.close().await;
    assert_eq!(rig.texts(), "a\n");
    assert!(files(dir.path()).is_empty());
    rig.handle.delivered(rig.all()[0].stamp).await.unwrap();
    assert_eq!(rig.balanced().delivered, 1);
}

#[tokio::test]
async fn changed_never_misses_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let mut limits = batching();
    limits.max_lines = 1;
    let web = stream("web", Class::Acknowledged, limits);
    for n in 1..=20 {
        rig.commit(raw(&web, "x\n")).await;
        while rig.handle.entries(&key("web"), &ALL, None, 100).len() < n {
            tokio::time::timeout(Duration::from_secs(10), rig.handle.changed()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_waits_in_a_folder_is_counted_unless_a_process_looks_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("web", Class::Acknowledged, batching()), "a\nb\n")).await;
    let waiting = || crate::spool::tool::waiting(&folder(dir.path())).unwrap();
    assert_eq!(waiting(), (0, 0));
    drop(rig);
    assert_eq!(waiting(), (1, 2), "an open batch, too");
    let mut off = settings(dir.path());
    off.enabled = false;
    drop(Rig::open(off).await);
    assert_eq!(waiting(), (1, 2));
}
