//! Many files, many datasets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::rig::*;
use crate::{
    batch::Class,
    spool::{Spool, member::Compressor},
};

const ACK: Class = Class::Acknowledged;

#[tokio::test]
async fn ten_thousand_backlog_files_delay_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = Compressor::default().member(b"x\n", 1, Class::Acknowledged, 7, 6);
    for dataset in 0..10 {
        let folder = folder(dir.path()).join(format!("batches/acme/d{dataset}"));
        std::fs::create_dir_all(&folder).unwrap();
        for n in 0..1000 {
            let stamp = 1_767_225_600_000_000_000_u64 + dataset * 1000 + n;
            std::fs::write(folder.join(format!("acme--d{dataset}--{stamp}--ndjson.gz")), &bytes).unwrap();
        }
    }
    let parts = parts(settings(dir.path()));
    let ledger = std::sync::Arc::clone(&parts.ledger);
    let begun = Instant::now();
    let spool = Spool::open(parts).unwrap();
    let rig = Rig { handle: spool.handle(), spool, ledger };
    let opened = begun.elapsed();
    rig.commit(raw(&stream("web", Class::Acknowledged, batching()), "a\n")).await;
    let committed = begun.elapsed();
    println!("opened after {opened:?}, first commit after {committed:?}");
    // Far above what it takes, for a busy machine; a scan would take longer.
    assert!(committed < Duration::from_secs(1), "{opened:?} {committed:?}");
    rig.until("all are found", |rig| rig.ledger.snapshot().queued == 10_000).await;
    println!("all found after {:?}", begun.elapsed());
    let asked = Instant::now();
    let totals = rig.handle.totals(crate::spool::State::Queue);
    println!("totals of 10 000 in {:?}", asked.elapsed());
    assert_eq!(totals.iter().map(|(_, totals)| totals.batches).sum::<u64>(), 10_000);
}

#[tokio::test]
async fn a_thousand_datasets_that_close_together_hold_up_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = settings(dir.path());
    limits.max_size_bytes = 1 << 30;
    let rig = Rig::open(limits).await;
    let mut soon = batching();
    soon.timeout = Duration::from_millis(1500);
    let text = "{\"message\":\"something of a usual length, with a number 12345\"}\n".repeat(100);
    let chunks: Vec<_> =
        (0..1000).map(|n| raw(&stream(&format!("d{n}"), Class::Acknowledged, soon.clone()), &text)).collect();
    rig.ledger.accept(100_000);
    rig.handle.commit(chunks).await.unwrap();
    let web = stream("web", Class::Acknowledged, batching());
    let mut took = Vec::new();
    let begun = Instant::now();
    while rig.all().len() < 1000 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        for _ in 0..20 {
            let begun = Instant::now();
            rig.commit(raw(&web, "a\n")).await;
            took.push(begun.elapsed());
        }
    }
    took.sort();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{} commits, p50 {p50:?}, p99 {p99:?}, longest {:?}", took.len(), took[took.len() - 1]);
    // The aim is 20 ms, measured by the bench; this is not optimised, and other tests run beside it.
    assert!(p99 < Duration::from_millis(250), "{p99:?}");
    rig.balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn w14_many_writers_and_a_reader_and_every_line_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = settings(dir.path());
    limits.max_size_bytes = 1 << 30;
    let rig = Arc::new(Rig::open(limits).await);
    let mut cut = batching();
    cut.max_lines = 50;
    let streams: Vec<_> = (0..4).map(|n| stream(&format!("d{n}"), ACK, cut.clone())).collect();
    let writers: Vec<_> = (0..16_u32)
        .map(|writer| {
            let (rig, stream) = (Arc::clone(&rig), Arc::clone(&streams[writer as usize % 4]));
            tokio::spawn(async move {
                for n in 0..200 {
                    rig.commit(raw(&stream, &format!("{writer}.{n}\n"))).await;
                }
            })
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (rig, done) = (Arc::clone(&rig), Arc::clone(&done));
        tokio::spawn(async move {
            let mut lines = Vec::new();
            loop {
                let last = done.load(Relaxed);
                for entry in rig.all() {
                    let text = rig.text(entry.stamp);
                    assert_eq!(text.lines().count() as u64, entry.lines, "no partial file is ever seen");
                    lines.extend(text.lines().map(str::to_owned));
                    rig.handle.delivered(entry.stamp).await.unwrap();
                }
                if last {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for writer in writers {
        writer.await.unwrap();
    }
    rig.close().await;
    done.store(true, Relaxed);
    let mut lines = reader.await.unwrap();
    lines.sort();
    let mut sent: Vec<_> = (0..16).flat_map(|w| (0..200).map(move |n| format!("{w}.{n}"))).collect();
    sent.sort();
    assert_eq!(lines, sent);
    assert_eq!(rig.balanced().delivered, 3200);
}
