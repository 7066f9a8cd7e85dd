//! The process dies at a marked place. The child is this test binary again, with `BYTEFREEZER_FAILPOINT` set; what it
//! was told and what it delivered it writes to a file that outlives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{rig::*, sim_disk::Chance};
use crate::{
    batch::Class,
    spool::{Entry, Failure, Reason, State},
};

const FOLDER: &str = "SPOOL_CRASH_DIR";

/// Each step of append, sync, close, file, remove, rename, split, checkpoint, removal of segments, recovery.
const PLACES: [&str; 38] = [
    "segment.create",
    "segment.created",
    "segment.prepared",
    "log.append",
    "log.write",
    "log.written",
    "log.sync",
    "log.synced",
    "log.acknowledged",
    "close.frame",
    "close.synced",
    "close.publish",
    "file.write",
    "file.written",
    "file.remove",
    "file.removed",
    "done.unlinked",
    "meta.write",
    "meta.written",
    "file.rename",
    "file.renamed",
    "replace.synced",
    "split.intent",
    "split.half",
    "split.synced",
    "split.removed",
    "split.done",
    "checkpoint.begin",
    "checkpoint.files",
    "checkpoint.synced",
    "retire.folders",
    "retire.removed",
    "retire.synced",
    "recovery.drop",
    "recovery.dropped",
    "recovery.read",
    "recovery.replayed",
    "recovery.synced",
];

/// What a child did, one fact a line.
struct Diary(File);

impl Diary {
    fn open(dir: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(dir.join("diary")).unwrap())
    }

    fn note(&mut self, fact: &str) {
        self.0.write_all(format!("{fact}\n").as_bytes()).unwrap();
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn small(directory: &Path) -> crate::config::Spooling {
    let mut settings = settings(directory);
    settings.max_size_bytes = 2 << 20;
    settings.sync_interval = Duration::from_millis(5);
    settings
}

/// Work that comes past every place, in the process that dies: this test binary again, told by the environment.
async fn child(dir: &Path) {
    let start: u64 = std::env::var("SPOOL_CRASH_START").unwrap().parse().unwrap();
    let mut diary = Diary::open(dir);
    let rig = Rig::open(small(&dir.join("spool"))).await;
    let mut cut = batching();
    cut.max_lines = 6;
    let streams: Vec<_> =
        (0..3).map(|n| stream(&format!("d{n}"), Class::Acknowledged, cut.clone())).collect();
    let slow = stream("slow", Class::Acknowledged, batching());
    let failure = || Failure { reason: Reason::Server, status: Some(503), message: "busy".into() };
    let mut split = BTreeSet::new();
    for round in 0..60 {
        for (n, stream) in streams.iter().enumerate() {
            let number = start + round * 10 + n as u64;
            let mut chance = Chance(number * 7919 + 1);
            let noise: String = (0..2000).map(|_| char::from(33 + chance.next(90) as u8)).collect();
            let text = format!("{number} {noise}\n");
            rig.commit(if n == 0 { raw(stream, &text) } else { member(stream, &text) }).await;
            diary.note(&format!("ack {number}"));
        }
        if round % 10 == 0 {
            rig.commit(raw(&slow, &format!("{} slow\n", start + round * 10 + 9))).await;
            diary.note(&format!("ack {}", start + round * 10 + 9));
        }
        let all = rig.all();
        let pick = |nth: usize| all.get(nth).map(|entry: &Entry| entry.stamp);
        match round % 6 {
            0 | 3 => {
                for entry in all.iter().take(2) {
                    let lines = numbers(&rig.text(entry.stamp));
                    diary.note(&format!("sent {} {}", entry.file_name(), joined(&lines)));
                    rig.handle.delivered(entry.stamp).await.unwrap();
                }
            }
            1 => {
                if let Some(stamp) = pick(0) {
                    rig.handle.failed(stamp, failure()).await.unwrap();
                }
            }
            2 => {
                if let Some(stamp) = pick(1) {
                    rig.handle.bury(stamp, failure()).await.unwrap();
                }
            }
            4 => {
                if let Some(entry) = all.iter().find(|entry| entry.state == State::Dlq) {
                    rig.handle.revive(entry.stamp).await.unwrap();
                }
            }
            _ => {
                let whole = all.iter().rev().find(|entry| entry.lines > 1 && !split.contains(&entry.stamp));
                if let Some(entry) = whole
                    && let Some(halves) = rig.handle.split(entry.stamp).await.unwrap()
                {
                    diary.note(&format!("split {}", entry.file_name()));
                    split.extend(halves);
                }
            }
        }
    }
    // In the background, and perhaps later than all of the above.
    let removed = |rig: &Rig| rig.spool.shared_for_tests().metrics().segments_removed.get();
    rig.until("a segment goes", |rig| removed(rig) > 0).await;
    rig.close().await;
}

/// Runs a child; true when it died at the place.
fn run_child(dir: &Path, start: u64, failpoint: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::tests::crash::w15_a_crash_at_any_place_loses_nothing_and_renames_nothing"])
        .env(FOLDER, dir)
        .env("SPOOL_CRASH_START", start.to_string())
        .env("BYTEFREEZER_FAILPOINT", failpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(6), "{failpoint}: {status}");
    !status.success()
}

async fn check(dir: &Path, after: &str) {
    let mut diary = String::new();
    File::open(dir.join("diary"))
        .map(|mut file| file.read_to_string(&mut diary).unwrap())
        .unwrap_or_default();
    let mut acknowledged = BTreeSet::new();
    let mut receiver: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut receive = |name: &str, lines: Vec<u64>| {
        let before = receiver.get(name).cloned().unwrap_or_default();
        assert!(lines.starts_with(&before), "{after}: {name} was {before:?} and is {lines:?}");
        receiver.insert(name.to_owned(), lines);
    };
    for fact in diary.lines() {
        let words: Vec<&str> = fact.split(' ').collect();
        match words[..] {
            ["ack", number] => drop(acknowledged.insert(number.parse::<u64>().unwrap())),
            ["sent", name, lines] => receive(name, lines.split(',').map(|n| n.parse().unwrap()).collect()),
            ["split", name] => drop(gone.insert(name.to_owned())),
            // The last line of a process that died may be cut.
            _ => {}
        }
    }
    let rig = Rig::open(small(&dir.join("spool"))).await;
    for entry in rig.all() {
        assert!(!gone.contains(&entry.file_name()), "{after}: {} came back", entry.file_name());
        receive(&entry.file_name(), numbers(&rig.text(entry.stamp)));
    }
    let mut under: BTreeMap<u64, usize> = BTreeMap::new();
    receiver.values().flatten().for_each(|line| *under.entry(*line).or_default() += 1);
    for line in acknowledged {
        assert!(under.contains_key(&line), "{after}: line {line} was acknowledged and is lost");
    }
    let twice: Vec<_> = under.iter().filter(|(_, names)| **names > 1).collect();
    assert!(twice.is_empty(), "{after}: lines under two names: {twice:?}");
    assert_eq!(rig.balanced().quarantined, 0, "{after}");
}

#[tokio::test]
async fn w15_a_crash_at_any_place_loses_nothing_and_renames_nothing() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return child(Path::new(&dir)).await;
    }
    for place in PLACES {
        let dir = tempfile::tempdir().unwrap();
        // Something must be there for recovery, and twice at the place, the second time later.
        run_child(dir.path(), 1_000, "log.synced:30");
        let died = run_child(dir.path(), 2_000, place);
        assert!(died, "nothing came past {place}");
        run_child(dir.path(), 3_000, &format!("{place}:4"));
        check(dir.path(), place).await;
    }
}
