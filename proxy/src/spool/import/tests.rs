use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    ids::DatasetKey,
    spool::{
        Reason, State,
        tests::rig::{Rig, files, folder, settings},
    },
};

const NS: u64 = 1_767_225_600_000_000_000;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn put(spool: &Path, path: &str, bytes: &[u8]) {
    let path = spool.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn batch(spool: &Path, state: &str, number: u64, text: &str) {
    put(spool, &format!("acme/web/{state}/acme--web--{}--ndjson.gz", NS + number), &gzip(text));
}

fn meta(spool: &Path, state: &str, number: u64) {
    let stem = format!("acme--web--{}--ndjson", NS + number);
    let text = format!(
        r#"{{"id":"{stem}","tenant_id":"acme","dataset_id":"web","filename":"/moved/away/acme/web/{state}/{stem}.gz",
        "compressed_size":512,"uncompressed_size":4100,"line_count":20,"created_at":"2026-01-01T00:01:00.1Z",
        "last_retry":"2026-01-01T00:02:00.1Z","retry_count":2,"status":"{state}",
        "failure_reason":"HTTP request failed with status 503: busy","trigger_reason":"upload_failed"}}"#
    );
    put(spool, &format!("acme/web/{state}/{stem}.meta"), text.as_bytes());
}

/// A spool as the old program leaves it when it is killed; its lines.
fn old_spool(spool: &Path) -> BTreeSet<&'static str> {
    put(spool, &format!("acme/web/raw/{}_4_1.ndjson", NS + 1), b"raw1\n");
    put(spool, &format!("acme/web/raw/{}_4_1.ndjson", NS + 2), b"raw2");
    put(spool, &format!("acme/web/raw/{}_9_1.ndjson", NS + 3), b"");
    put(spool, &format!("acme/web/raw/{}_9_2.log", NS + 4), b"raw3\n\nraw4\n");
    batch(spool, "queue", 10, "queue1\nqueue2\n");
    batch(spool, "queue", 11, "queue3");
    batch(spool, "retry", 20, "retry1\n");
    meta(spool, "retry", 20);
    batch(spool, "retry", 21, "retry2\n");
    batch(spool, "retry", 22, "retry3\n");
    put(spool, &format!("acme/web/retry/acme--web--{}--ndjson.meta", NS + 22), b"{\"id\":");
    batch(spool, "dlq", 30, "dlq1\n");
    meta(spool, "dlq", 30);
    batch(spool, "dlq", 31, "dlq2\n");
    BTreeSet::from([
        "raw1", "raw2", "raw3", "raw4", "queue1", "queue2", "queue3", "retry1", "retry2", "retry3", "dlq1",
        "dlq2",
    ])
}

fn old_files(spool: &Path) -> Vec<PathBuf> {
    let all = files(spool).into_iter();
    all.filter(|path| !path.strip_prefix(spool).unwrap().starts_with(".import") && !is_ours(path)).collect()
}

fn is_ours(path: &Path) -> bool {
    path.display().to_string().contains("/.instance-")
}

fn journals(spool: &Path) -> usize {
    let folder = files(&spool.join(".import"));
    folder.iter().filter(|path| path.extension().is_some_and(|end| end == "json")).count()
}

fn lines(rig: &Rig) -> Vec<String> {
    rig.texts().lines().map(str::to_owned).collect()
}

async fn deliver_all(rig: &Rig) {
    for entry in rig.all() {
        rig.handle.delivered(entry.stamp).await.unwrap();
    }
}

#[tokio::test]
async fn w16_l6_l19_everything_is_adopted_under_its_name_and_old_files_go_after_delivery_only() {
    let dir = tempfile::tempdir().unwrap();
    let expected = old_spool(dir.path());
    let before = old_files(dir.path());
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("all are adopted", |rig| lines(rig).len() == expected.len()).await;

    let found: Vec<String> = lines(&rig);
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    let entries: BTreeMap<u64, _> = rig.all().into_iter().map(|entry| (entry.stamp.0 - NS, entry)).collect();
    assert_eq!(entries.keys().copied().collect::<Vec<_>>(), [1, 4, 10, 11, 20, 21, 22, 30, 31]);
    assert_eq!(entries[&4].hint.as_str(), "syslog");
    assert_eq!((entries[&4].lines, entries[&1].lines), (2, 2));
    for (number, state, attempts, reason) in [
        (10, State::Queue, 0, None),
        (20, State::Retry, 2, Some(Reason::Server)),
        (21, State::Retry, 0, Some(Reason::Network)),
        (22, State::Retry, 0, Some(Reason::Network)),
        (30, State::Dlq, 2, Some(Reason::Server)),
        (31, State::Dlq, 0, Some(Reason::Network)),
    ] {
        let entry = &entries[&number];
        let found = (entry.state, entry.attempts, entry.failure.as_ref().map(|failure| failure.reason));
        assert_eq!(found, (state, attempts, reason), "{number}");
    }
    assert_eq!(entries[&20].file_name(), format!("acme--web--{}--ndjson.gz", NS + 20));
    let events = rig.balanced();
    assert_eq!((events.imported, events.queued, events.retry, events.dlq), (12, 7, 3, 2));
    assert_eq!(old_files(dir.path()), before, "one can still go back");

    deliver_all(&rig).await;
    rig.until("the old files are gone", |_| old_files(dir.path()).is_empty() && journals(dir.path()) == 0)
        .await;
    assert_eq!(rig.balanced().delivered, 12);
    drop(rig);

    let again = Rig::open(settings(dir.path())).await;
    assert!(again.all().is_empty());
    assert_eq!(again.balanced().imported, 0);
}

#[tokio::test]
async fn l10_w24_what_is_no_dataset_of_the_old_program_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = [
        "README",
        "lost+found/x",
        "acme/dlq/raw/1_2_3.ndjson",
        "acme/web/queue/notes.txt",
        "acme/web/raw/half.ndjson.tmp",
        "a b/web/queue/x.gz",
        "acme/web/src/1_2_3.ndjson",
    ];
    for path in foreign {
        put(dir.path(), path, b"not ours");
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("acme/web/queue/link.gz")).unwrap();
    batch(dir.path(), "queue", 1, "line\n");
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("it is adopted", |rig| rig.all().len() == 1).await;
    deliver_all(&rig).await;
    rig.until("the old file is gone", |_| old_files(dir.path()).len() == foreign.len() + 1).await;
    for path in foreign {
        assert!(dir.path().join(path).exists(), "{path}");
    }
}

#[tokio::test]
async fn w16_torn_and_damaged_batches_are_in_quarantine_and_the_readable_lines_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let text = (0..20_000)
        .fold(String::new(), |text, n| text + &format!("{{\"n\":{n},\"x\":{}}}\n", n * 7919 % 10_007));
    let whole = gzip(&text);
    let name = |n: u64| format!("acme/web/queue/acme--web--{}--ndjson.gz", NS + n);
    put(dir.path(), &name(1), &whole[..whole.len() / 2]);
    let mut flipped = gzip("one\ntwo\n");
    let crc = flipped.len() - 7;
    flipped[crc] ^= 1;
    put(dir.path(), &name(2), &flipped);
    put(dir.path(), &name(3), b"no gzip at all");
    put(dir.path(), &name(4), b"");
    put(dir.path(), &name(7), &[gzip("three\n"), b"trailing".to_vec()].concat());
    let rig = Rig::open(settings(dir.path())).await;
    let quarantine = dir.path().join(".instance-0/quarantine");
    rig.until("all are dealt with", |rig| {
        rig.all().len() == 2 && files(&quarantine).len() == 4 && old_files(dir.path()).is_empty()
    })
    .await;
    let adopted = rig.all();
    let part = rig.text(adopted[0].stamp);
    assert!(part.len() > text.len() / 4 && text.starts_with(&part) && part.ends_with('\n'));
    assert_eq!(adopted[0].lines, part.lines().count() as u64);
    assert_eq!(rig.text(adopted[1].stamp), "three\n");
    let names: Vec<u64> = adopted.iter().map(|entry| entry.stamp.0 - NS).collect();
    assert_eq!(names, [2, 8], "under their own names more may have been sent");
    let kept = fs::read(files(&quarantine).first().unwrap()).unwrap();
    assert_eq!(kept, whole[..whole.len() / 2]);
    deliver_all(&rig).await;
    rig.until("the journals are gone", |_| journals(dir.path()) == 0).await;
    assert_eq!(files(&quarantine).len(), 4);
}

#[tokio::test]
async fn many_messages_become_a_few_batches_and_equal_names_do_not_hide_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let big = "x".repeat(5 << 20);
    for n in 0..3 {
        put(dir.path(), &format!("acme/web/raw/{}_1_1.raw", NS + n), format!("{n}{big}").as_bytes());
    }
    put(dir.path(), &format!("acme/hooks/raw/{NS}_1_1.raw"), b"other dataset");
    put(dir.path(), &format!("acme/web/raw/{NS}_1_1.csv"), b"other hint");
    let mut settings = settings(dir.path());
    settings.max_size_bytes = 1 << 30;
    let rig = Rig::open(settings).await;
    rig.until("all are adopted", |rig| rig.all().len() == 5).await;
    let stamps: BTreeSet<u64> = rig.all().iter().map(|entry| entry.stamp.0 - NS).collect();
    assert_eq!(stamps, [0, 1, 2, 3, 4].into());
    assert_eq!(lines(&rig).len(), 5);
}

#[tokio::test]
async fn without_room_the_rest_waits_in_the_old_files() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..8_u64 {
        let noise: String = (0..600_000_u64)
            .map(|i| char::from(b'!' + (i * (n + 7) * 2_654_435_761 % 90_007 % 90) as u8))
            .collect();
        put(dir.path(), &format!("acme/web/queue/acme--web--{}--raw.gz", NS + n), &gzip(&noise));
        put(dir.path(), &format!("acme/web/dlq/acme--web--{}--raw.gz", NS + 100 + n), &gzip(&noise));
    }
    let mut settings = settings(dir.path());
    let one = fs::metadata(files(&dir.path().join("acme/web/queue")).first().unwrap()).unwrap().len();
    settings.dlq_max_size_bytes = Some(one * 3);
    let rig = Rig::open(settings).await;
    rig.until("the DLQ is full", |rig| {
        rig.all().iter().filter(|entry| entry.state == State::Dlq).count() >= 2 && rig.all().len() >= 10
    })
    .await;
    let mut delivered = BTreeSet::new();
    for _ in 0..300 {
        for entry in rig.all() {
            delivered.insert(entry.stamp.0 - NS);
            rig.handle.delivered(entry.stamp).await.unwrap();
        }
        if delivered.len() == 16 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(delivered.len(), 16, "{delivered:?}");
    assert_eq!(rig.balanced().evicted, 0);
}

#[tokio::test]
async fn a_file_that_the_old_program_moved_after_adoption_is_not_adopted_twice() {
    let dir = tempfile::tempdir().unwrap();
    batch(dir.path(), "queue", 1, "line\n");
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("it is adopted", |rig| rig.all().len() == 1).await;
    drop(rig);
    // The old program starts: queue to retry.
    let name = format!("acme--web--{}--ndjson.gz", NS + 1);
    fs::create_dir_all(dir.path().join("acme/web/retry")).unwrap();
    fs::rename(dir.path().join("acme/web/queue").join(&name), dir.path().join("acme/web/retry").join(&name))
        .unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("it is there", |rig| !rig.all().is_empty()).await;
    deliver_all(&rig).await;
    rig.until("the moved file is gone", |_| old_files(dir.path()).is_empty()).await;
    assert_eq!(rig.balanced().imported, 1);
}

#[tokio::test]
async fn a_damaged_adopted_batch_is_made_again_from_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    batch(dir.path(), "queue", 1, "line\n");
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("it is adopted", |rig| rig.all().len() == 1).await;
    let file = files(&folder(dir.path()).join("batches")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    rig.handle.quarantine(rig.all()[0].stamp, "test".to_owned()).await.unwrap();
    rig.until("it is adopted again", |rig| rig.all().len() == 1).await;
    assert_eq!(rig.all()[0].stamp.0, NS + 2, "a name never gets another content");
    assert_eq!(rig.texts(), "line\n");
    deliver_all(&rig).await;
    rig.until("the old file is gone", |_| old_files(dir.path()).is_empty()).await;
}

#[tokio::test]
async fn an_adopted_batch_whose_file_somebody_removed_is_made_again_from_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    batch(dir.path(), "queue", 1, "line\n");
    let rig = Rig::open(settings(dir.path())).await;
    rig.until("it is adopted", |rig| rig.all().len() == 1).await;
    let stamp = rig.all()[0].stamp;
    fs::remove_file(files(&folder(dir.path()).join("batches")).remove(0)).unwrap();
    rig.handle.quarantine(stamp, "test".to_owned()).await.unwrap();
    rig.until("it is adopted again", |rig| rig.all().iter().any(|entry| entry.stamp != stamp)).await;
    assert_eq!(rig.texts(), "line\n");
    deliver_all(&rig).await;
    rig.until("the old file is gone", |_| old_files(dir.path()).is_empty()).await;
}

#[tokio::test]
async fn two_processes_adopt_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let expected = old_spool(dir.path());
    let one = Rig::open(settings(dir.path())).await;
    let two = Rig::open(settings(dir.path())).await;
    let in_both = || one.all().len() + two.all().len();
    one.until("all are adopted", |_| in_both() == 9).await;
    assert_eq!(lines(&one).len() + lines(&two).len(), expected.len());
}

const PROCESS_THAT_DIES: &str = "BYTEFREEZER_ADOPTION_TEST";

/// What a process does that dies somewhere: adopts, delivers. It notes what it sends before it says so.
async fn process_that_dies(dir: &Path) {
    let spool = dir.join("spool");
    let rig = Rig::open(settings(&spool)).await;
    rig.until("adopted", |rig| rig.all().len() == 9 || old_files(&spool).is_empty()).await;
    send_all(&rig, &dir.join("sent")).await;
    rig.until("gone", |_| old_files(&spool).is_empty()).await;
}

async fn send_all(rig: &Rig, sent: &Path) {
    fs::create_dir_all(sent).unwrap();
    for entry in rig.all() {
        fs::write(sent.join(entry.file_name()), rig.text(entry.stamp)).unwrap();
        rig.handle.delivered(entry.stamp).await.unwrap();
    }
}

fn run_until_dead(dir: &Path, failpoint: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("spool::import::tests::w15_w16_a_crash_between_any_two_steps_loses_nothing_and_repeats_under_the_same_name_only")
        .env(PROCESS_THAT_DIES, dir)
        .env("BYTEFREEZER_FAILPOINT", failpoint)
        .output()
        .unwrap()
        .status;
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(6)
}

#[tokio::test]
async fn w15_w16_a_crash_between_any_two_steps_loses_nothing_and_repeats_under_the_same_name_only() {
    // The test is its own process that dies.
    if let Some(dir) = std::env::var_os(PROCESS_THAT_DIES) {
        return process_that_dies(Path::new(&dir)).await;
    }
    for failpoint in [
        "import.staged",
        "import.staged:4",
        "import.journal",
        "import.journal:9",
        "meta.write:2",
        "import.moved",
        "import.moved:5",
        "import.visible:3",
        "done.unlinked:4",
        "import.source",
        "import.source:3",
        "import.sources:2",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let expected = old_spool(&spool);
        assert!(run_until_dead(dir.path(), failpoint), "{failpoint}");
        let rig = Rig::open(settings(&spool)).await;
        let arrived = || -> Vec<String> {
            let sent = files(&dir.path().join("sent"));
            sent.iter()
                .flat_map(|file| {
                    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
                })
                .collect()
        };
        for _ in 0..400 {
            send_all(&rig, &dir.path().join("sent")).await;
            if old_files(&spool).is_empty() && journals(&spool) == 0 && rig.all().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(old_files(&spool), Vec::<PathBuf>::new(), "{failpoint}");
        let lines = arrived();
        assert_eq!(lines.len(), expected.len(), "{failpoint}: each under one name: {lines:?}");
        assert_eq!(lines.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{failpoint}");
        rig.balanced();
    }
}

#[tokio::test]
async fn nothing_of_the_old_program_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!dir.path().join(".import").exists());
    let key = DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() };
    assert!(rig.handle.entries(&key, &[State::Queue], None, 1).is_empty());
}
