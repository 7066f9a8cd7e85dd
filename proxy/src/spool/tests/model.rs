//! W-15: whatever is done and wherever the power fails, no acknowledged line is lost, no name is ever seen with less
//! than before, and no line is delivered under two names.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::{
    rig::*,
    sim_disk::{Call, Chance, SimDisk},
};
use crate::{
    batch::{Body, Chunk, Class},
    ledger::Ledger,
    spool::{
        Failure, Reason, Spool, SpoolHandle, State, files::Layout, member::Compressor, segment, walk::pieces,
    },
};

#[derive(Debug, Clone)]
enum Step {
    /// Commits of some lines each, at the same time, to datasets.
    Commit(Vec<(u8, u8, bool)>),
    /// The n-th batch was uploaded, and the Receiver's answer arrived.
    Deliver(u8),
    /// The n-th batch was uploaded, and the answer was lost.
    Send(u8),
    Fail(u8),
    Bury(u8),
    Revive(u8),
    Split(u8),
    /// The next syncs of the log fail, and what they should have kept is gone.
    SyncsFail(u8),
    /// The next removals of batch files fail.
    RemovalsFail(u8),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((0u8..3, 1u8..6, any::<bool>()), 1..5).prop_map(Step::Commit),
        3 => any::<u8>().prop_map(Step::Deliver),
        2 => any::<u8>().prop_map(Step::Send),
        1 => any::<u8>().prop_map(Step::Fail),
        1 => any::<u8>().prop_map(Step::Bury),
        1 => any::<u8>().prop_map(Step::Revive),
        1 => any::<u8>().prop_map(Step::Split),
        1 => (1u8..4).prop_map(Step::SyncsFail),
        1 => (1u8..4).prop_map(Step::RemovalsFail),
        1 => Just(Step::Wait),
    ]
}

#[derive(Debug, Clone)]
struct Run {
    steps: Vec<Step>,
    /// Calls to the disk until the power fails; none means an orderly end.
    crash_after: Option<u64>,
    /// Chance in percent of each unsynced change to survive.
    percent: u64,
    seed: u64,
}

fn run() -> impl Strategy<Value = Run> {
    (
        proptest::collection::vec(step(), 1..14),
        prop_oneof![6 => (1u64..160).prop_map(Some), 1 => Just(None)],
        prop_oneof![Just(0u64), Just(30), Just(70), Just(100)],
        1u64..u64::MAX,
    )
        .prop_map(|(steps, crash_after, percent, seed)| Run { steps, crash_after, percent, seed })
}

/// What the world outside knows.
#[derive(Debug, Default)]
struct World {
    next_line: u32,
    acknowledged: BTreeSet<u32>,
    /// What the Receiver has, by name.
    receiver: BTreeMap<String, Vec<u32>>,
    /// Names that were uploaded and not accepted for their size; they must not come back.
    refused: BTreeSet<String>,
}

impl World {
    fn receive(&mut self, name: &str, lines: &[u32]) {
        if let Some(before) = self.receiver.get(name) {
            assert!(lines.starts_with(before), "{name} was {before:?} and is {lines:?}");
        }
        self.receiver.insert(name.to_owned(), lines.to_vec());
    }
}

fn lines_of(handle: &SpoolHandle, stamp: crate::spool::Stamp) -> Option<Vec<u32>> {
    let mut file = Vec::new();
    handle.open(stamp).ok()?.read_to_end(&mut file).ok()?;
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(&file[..]).read_to_string(&mut text).expect("a whole gzip file");
    let numbers = text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap());
    Some(numbers.collect())
}

fn entries(handle: &SpoolHandle) -> Vec<crate::spool::Entry> {
    let keys = handle.datasets();
    let mut all: Vec<_> = keys.iter().flat_map(|key| handle.entries(key, &ALL, None, usize::MAX)).collect();
    all.sort_by_key(|entry| entry.stamp);
    all
}

fn open(disk: &SimDisk, ledger: &Arc<Ledger>, id: u16) -> Spool {
    let mut settings = settings(&PathBuf::from("/unused"));
    // Segments of 64 KiB, so that they are changed, checkpointed and removed all the time.
    settings.max_size_bytes = 1 << 20;
    settings.sync_interval = Duration::from_millis(1);
    let mut parts = parts(settings);
    parts.ledger = Arc::clone(ledger);
    Spool::open_on(parts, Arc::new(disk.clone()), Layout::new(PathBuf::from("/spool")), id, None, u64::MAX)
        .unwrap()
}

fn chunk(world: &mut World, dataset: u8, lines: u8, as_member: bool) -> (Vec<u32>, Chunk) {
    let mut limits = batching();
    limits.max_lines = 12;
    limits.timeout = Duration::from_millis(30);
    let stream = stream(["zero", "one", "two"][usize::from(dataset)], Class::Acknowledged, limits);
    let numbers: Vec<u32> = (0..lines)
        .map(|_| {
            world.next_line += 1;
            world.next_line
        })
        .collect();
    // Some lines are long and cannot be compressed, so that segments fill up.
    let mut text = String::new();
    for number in &numbers {
        let mut chance = Chance(u64::from(*number) * 7919 + 1);
        let len = if number % 5 == 0 { 4000 } else { 5 };
        text.push_str(&number.to_string());
        text.push(' ');
        text.extend((0..len).map(|_| char::from(33 + chance.next(90) as u8)));
        text.push('\n');
    }
    let mut chunk = raw(&stream, &text);
    if as_member {
        let member = Compressor::default().member(
            text.as_bytes(),
            chunk.lines,
            Class::Acknowledged,
            chunk.first_ns,
            1,
        );
        chunk.body = Body::Member(member);
    }
    (numbers, chunk)
}

fn fail(disk: &SimDisk, mut times: u8, what: Call, below: &'static str) {
    disk.set_fault(move |call, path| {
        let hit = times > 0 && call == what && path.starts_with(below);
        times -= u8::from(hit);
        hit.then_some(std::io::ErrorKind::Other)
    });
}

async fn perform(world: &mut World, disk: &SimDisk, handle: &SpoolHandle, ledger: &Ledger, step: &Step) {
    let pick = |n: u8| {
        let all = entries(handle);
        (!all.is_empty()).then(|| all[usize::from(n) % all.len()].clone())
    };
    let failure = || Failure { reason: Reason::Server, status: Some(503), message: "".into() };
    match step {
        Step::Commit(chunks) => {
            let mut waiting = Vec::new();
            for (dataset, lines, as_member) in chunks {
                let (numbers, chunk) = chunk(world, *dataset, *lines, *as_member);
                ledger.accept(numbers.len() as u64);
                let handle = handle.clone();
                waiting.push((numbers, tokio::spawn(async move { handle.commit(vec![chunk]).await })));
            }
            for (numbers, answer) in waiting {
                match answer.await.unwrap() {
                    Ok(()) => world.acknowledged.extend(numbers),
                    Err(_) => ledger.unaccept(numbers.len() as u64),
                }
            }
        }
        Step::Deliver(n) => {
            if let Some(entry) = pick(*n)
                && let Some(lines) = lines_of(handle, entry.stamp)
            {
                world.receive(&entry.file_name(), &lines);
                let _ = handle.delivered(entry.stamp).await;
            }
        }
        Step::Send(n) => {
            if let Some(entry) = pick(*n)
                && let Some(lines) = lines_of(handle, entry.stamp)
            {
                world.receive(&entry.file_name(), &lines);
            }
        }
        Step::Fail(n) => {
            if let Some(entry) = pick(*n) {
                let _ = handle.failed(entry.stamp, failure()).await;
            }
        }
        Step::Bury(n) => {
            if let Some(entry) = pick(*n) {
                let _ = handle.bury(entry.stamp, failure()).await;
            }
        }
        Step::Revive(n) => {
            if let Some(entry) = pick(*n).filter(|entry| entry.state == State::Dlq) {
                let _ = handle.revive(entry.stamp).await;
            }
        }
        Step::Split(n) => {
            if let Some(entry) = pick(*n).filter(|entry| !world.receiver.contains_key(&entry.file_name()))
                && let Ok(Some(_)) = handle.split(entry.stamp).await
            {
                world.refused.insert(entry.file_name());
            }
        }
        Step::SyncsFail(times) => fail(disk, *times, Call::Sync, "/spool/log"),
        Step::RemovalsFail(times) => fail(disk, *times, Call::Remove, "/spool/batches"),
        Step::Wait => tokio::time::sleep(Duration::from_millis(40)).await,
    }
}

fn check_end(world: &World, handle: &SpoolHandle) {
    // Everything that is still there arrives.
    let mut receiver = world.receiver.clone();
    for entry in entries(handle) {
        let name = entry.file_name();
        let lines = lines_of(handle, entry.stamp).expect("a batch that is shown can be read");
        assert_eq!(lines.len() as u64, entry.lines, "{name}");
        assert!(!world.refused.contains(&name), "{name} came back after its split");
        if let Some(before) = receiver.get(&name) {
            assert!(lines.starts_with(before), "{name} was {before:?} and is {lines:?}");
        }
        receiver.insert(name, lines);
    }
    let mut under: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (name, lines) in &receiver {
        for line in lines {
            under.entry(*line).or_default().push(name);
        }
    }
    for line in &world.acknowledged {
        assert!(under.contains_key(line), "line {line} was acknowledged and is lost");
    }
    for (line, names) in &under {
        assert_eq!(names.len(), 1, "line {line} is under {names:?}");
        assert!(*line <= world.next_line);
    }
}

/// What is where, when `SPOOL_TRACE` is set.
fn tell(when: &str, disk: &SimDisk, handle: &SpoolHandle) {
    if std::env::var_os("SPOOL_TRACE").is_none() {
        return;
    }
    println!("== {when}");
    for entry in entries(handle) {
        println!("{:?} {} {} lines", entry.state, entry.file_name(), entry.lines);
    }
    for path in disk.paths() {
        let bytes = disk.peek(&path);
        println!("{} {}", path.display(), bytes.len());
        match path.file_name().and_then(|name| Layout::segment_number(&name.to_string_lossy())) {
            Some(number) => {
                for frame in segment::read(&bytes, number, 0).frames {
                    println!("    {:?} synced {}", frame.header, frame.synced);
                }
            }
            None => pieces(&bytes).iter().for_each(|piece| println!("    {piece:?}")),
        }
    }
}

fn play(runs: &[Run]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::default();
        let mut disk = SimDisk::default();
        for (number, run) in runs.iter().enumerate() {
            let ledger = Arc::new(Ledger::default());
            if let Some(calls) = run.crash_after {
                // The first calls make the folders; without them there is no spool.
                disk.crash_after(calls + 16);
            }
            let spool = open(&disk, &ledger, 7);
            let handle = spool.handle();
            if number % 2 == 0 {
                // A power cut also hits recovery itself, so do not always wait for it.
                while !disk.is_off() && !spool.recovery_ended() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            for step in &run.steps {
                if disk.is_off() {
                    break;
                }
                // A dead process answers nobody.
                let dead = async {
                    while !disk.is_off() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                };
                tokio::select! {
                    () = perform(&mut world, &disk, &handle, &ledger, step) => {}
                    () = dead => {}
                }
                if !disk.is_off() {
                    let events = ledger.snapshot();
                    assert!(events.balanced(), "{events:?}");
                }
            }
            if run.crash_after.is_some() {
                disk.power_off();
            } else {
                spool.close(Duration::from_secs(10)).await;
                spool.recovered().await;
                check_end(&world, &handle);
            }
            tell(&format!("run {number} {run:?}"), &disk, &handle);
            drop(spool);
            disk.heal();
            let mut chance = Chance(run.seed);
            let cut = run.crash_after.is_some();
            disk = if cut { disk.after_power_cut(&mut chance, run.percent) } else { disk };
            tell("after it", &disk, &handle);
        }
        let ledger = Arc::new(Ledger::default());
        let spool = open(&disk, &ledger, 7);
        spool.recovered().await;
        tell("end", &disk, &spool.handle());
        check_end(&world, &spool.handle());
        let events = ledger.snapshot();
        assert!(events.balanced() && events.quarantined == 0, "{events:?}");
    });
}

proptest! {
    // `PROPTEST_CASES` makes it longer.
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn w15_no_acknowledged_line_is_lost_and_no_name_gets_shorter(runs in proptest::collection::vec(run(), 1..5)) {
        play(&runs);
    }
}
