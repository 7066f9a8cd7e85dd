use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Command, Verdict, Where, run};
use crate::{
    batch::Class,
    spool::{
        Failure, Reason,
        segment::PAGE,
        tests::rig::{Rig, batching, files, folder, key, member, raw, settings, stream},
    },
};

fn place(dir: &Path, json: bool) -> Where {
    Where { directory: dir.to_owned(), json }
}

fn ls(dir: &Path) -> Value {
    let answer = run(&Command::Ls(place(dir, true)));
    assert_eq!(answer.verdict, Verdict::Sound, "{}", answer.text);
    serde_json::from_str::<Value>(&answer.text).unwrap()["instances"][0].take()
}

fn verify(dir: &Path) -> (Verdict, String) {
    let answer = run(&Command::Verify(place(dir, false)));
    (answer.verdict, answer.text)
}

fn repair(dir: &Path, salvage: bool) -> (Verdict, String) {
    // It has a runtime of its own.
    std::thread::scope(|scope| {
        let repairing = scope.spawn(|| run(&Command::Repair { place: place(dir, false), salvage }));
        let answer = repairing.join().unwrap();
        (answer.verdict, answer.text)
    })
}

fn batches(listing: &Value) -> Vec<(String, String, u64)> {
    let all = listing["batches"].as_array().unwrap().iter();
    let mut found: Vec<_> = all
        .map(|b| {
            let text = |key: &str| b[key].as_str().unwrap().to_owned();
            (text("state"), text("held_by"), b["lines"].as_u64().unwrap())
        })
        .collect();
    found.sort();
    found
}

fn failure(message: &str) -> Failure {
    Failure { reason: Reason::Server, status: Some(503), message: message.into() }
}

fn text(from: u32, lines: u32) -> String {
    (from..from + lines).fold(String::new(), |text, n| text + &format!("{{\"n\":{n}}}\n"))
}

/// One batch in each state, closed and delivered or not.
async fn healthy(dir: &Path) {
    let rig = Rig::open(settings(dir)).await;
    for (n, dataset) in ["fresh", "failed", "set-aside", "sent"].into_iter().enumerate() {
        let stream = stream(dataset, Class::Acknowledged, batching());
        rig.commit(raw(&stream, &text(n as u32 * 10, 3))).await;
    }
    rig.close().await;
    rig.until("all are closed", |rig| rig.all().len() == 4).await;
    let stamp = |dataset: &str| {
        let all = rig.all();
        all.iter().find(|entry| entry.key == key(dataset)).unwrap().stamp
    };
    rig.handle.failed(stamp("failed"), failure("busy")).await.unwrap();
    rig.handle.bury(stamp("set-aside"), failure("too busy")).await.unwrap();
    rig.handle.delivered(stamp("sent")).await.unwrap();
}

/// A process dies with an open batch: what it leaves while it runs, copied.
async fn killed(dir: &Path) -> (tempfile::TempDir, PathBuf) {
    let rig = Rig::open(settings(dir)).await;
    let one = stream("one", Class::Acknowledged, batching());
    for n in 0..5 {
        rig.commit(raw(&one, &text(n * 10, 10))).await;
        rig.commit(member(&one, &text(n * 10, 10))).await;
    }
    let copy = tempfile::tempdir().unwrap();
    for file in files(dir) {
        let to = copy.path().join(file.strip_prefix(dir).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, to).unwrap();
    }
    let segment = files(&folder(copy.path()).join("log")).first().unwrap().clone();
    (copy, segment)
}

fn used(dir: &Path) -> usize {
    ls(dir)["segments"][0]["used_bytes"].as_u64().unwrap() as usize
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_healthy_spool_is_listed_and_sound() {
    let dir = tempfile::tempdir().unwrap();
    healthy(dir.path()).await;
    let listing = ls(dir.path());
    let expected = [("dlq", "file", 3), ("queue", "both", 3), ("retry", "file", 3)];
    let found = batches(&listing);
    assert_eq!(found.len(), 3, "{found:?}");
    for ((state, _, lines), (expected_state, _, expected_lines)) in found.iter().zip(expected) {
        assert_eq!((state.as_str(), *lines), (expected_state, expected_lines));
    }
    let retry = listing["batches"].as_array().unwrap().iter().find(|b| b["state"] == "retry").unwrap();
    assert_eq!((&retry["attempts"], &retry["status"]), (&1.into(), &503.into()));
    assert_eq!((&retry["reason"], &retry["message"]), (&"server".into(), &"busy".into()));
    let (verdict, page) = verify(dir.path());
    assert_eq!(verdict, Verdict::Sound, "{page}");
    assert!(page.ends_with("0 problems\n"), "{page}");
    let page = run(&Command::Ls(place(dir.path(), false))).text;
    assert!(page.contains("acme--set-aside--") && page.contains("server: too busy"), "{page}");
    // The folder itself can be named, too.
    assert_eq!(batches(&ls(&folder(dir.path()))).len(), 3);
}

#[tokio::test]
async fn an_open_batch_of_a_killed_process_is_found_and_completed() {
    let dir = tempfile::tempdir().unwrap();
    let (copy, segment) = killed(dir.path()).await;
    let found = batches(&ls(copy.path()));
    assert_eq!((found.len(), found[0].0.as_str(), found[0].2), (1, "open", 100));
    // A torn tail: a piece of a frame behind the last one.
    let end = used(copy.path());
    change(&segment, |bytes| bytes[end..end + 60].fill(0xBF));
    let (verdict, page) = verify(copy.path());
    assert_eq!(verdict, Verdict::Sound, "{page}");
    assert!(page.contains(&format!("byte {end}: note: a round that was never synced")), "{page}");
    let (verdict, page) = repair(copy.path(), false);
    assert_eq!(verdict, Verdict::Sound, "{page}");
    assert!(page.contains("1 now with 100 lines; 1 were completed"), "{page}");
    assert_eq!(batches(&ls(copy.path())), [("queue".to_owned(), "file".to_owned(), 100)]);
    let rig = Rig::open(settings(copy.path())).await;
    assert_eq!(rig.texts().lines().count(), 100);
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (copy, segment) = killed(dir.path()).await;
    for file in files(&folder(copy.path()).join("batches")) {
        fs::remove_file(file).unwrap();
    }
    change(&segment, |bytes| bytes[PAGE + 400] ^= 1);
    let (verdict, page) = verify(copy.path());
    assert_eq!(verdict, Verdict::Problems, "{page}");
    assert!(
        page.contains("bytes were synced and hold no valid frame") && page.contains("0000000001.seg: byte")
    );
    assert!(page.contains("lines are missing from raw byte"), "{page}");
    let (_, page) = repair(copy.path(), false);
    assert!(page.contains("1 now with 90 lines"), "{page}");
    assert_eq!(verify(copy.path()).0, Verdict::Sound);
}

#[tokio::test]
async fn a_flipped_bit_in_a_batch_file_is_set_aside_and_its_readable_lines_can_be_had_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    let one = stream("one", Class::Acknowledged, batching());
    rig.commit(member(&one, &text(0, 10))).await;
    rig.commit(member(&one, &text(10, 20))).await;
    rig.close().await;
    rig.until("it is closed", |rig| rig.all().len() == 1).await;
    drop(rig);
    // Its file is whole, and the log is gone, as after a checkpoint.
    assert_eq!(repair(dir.path(), false).0, Verdict::Sound);
    let data = files(&folder(dir.path()).join("batches")).first().unwrap().clone();
    let trailer = fs::read(&data).unwrap().len() - 6;
    change(&data, |bytes| bytes[trailer] ^= 4);

    let (verdict, page) = verify(dir.path());
    assert_eq!(verdict, Verdict::Problems, "{page}");
    assert!(page.contains("bytes are no sound gzip member"), "{page}");
    assert!(page.contains("acme--one--"), "{page}");

    // Headers alone look right; whoever reads the file finds out.
    let (verdict, page) = repair(dir.path(), false);
    assert_eq!(verdict, Verdict::Problems, "{page}");
    assert!(page.contains("1 pieces went to quarantine"), "{page}");
    assert_eq!(batches(&ls(dir.path()))[0].2, 10);
    let (verdict, page) = repair(dir.path(), true);
    assert_eq!(verdict, Verdict::Sound, "{page}");
    assert!(page.contains("20 lines are batch acme--one--"), "{page}");
    let lines: Vec<u64> = batches(&ls(dir.path())).into_iter().map(|(_, _, lines)| lines).collect();
    assert_eq!(lines.iter().sum::<u64>(), 30);
    let (_, page) = repair(dir.path(), true);
    assert!(!page.contains("are batch"), "not twice: {page}");
    let rig = Rig::open(settings(dir.path())).await;
    let mut all: Vec<String> = rig.texts().lines().map(str::to_owned).collect();
    all.sort_by_key(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64());
    assert_eq!(all.join("\n") + "\n", text(0, 30));
}

#[tokio::test]
async fn a_spool_in_use_is_read_but_not_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(settings(dir.path())).await;
    rig.commit(raw(&stream("one", Class::Acknowledged, batching()), "a\n")).await;
    assert_eq!(ls(dir.path())["in_use"], true);
    assert_eq!(verify(dir.path()).0, Verdict::Sound);
    let before = files(dir.path());
    let (verdict, page) = repair(dir.path(), true);
    assert_eq!(verdict, Verdict::Failed);
    assert!(page.contains("nothing was done"), "{page}");
    assert_eq!(files(dir.path()), before);
    drop(rig);
    assert_eq!(ls(dir.path())["in_use"], false);
}

#[test]
fn what_is_no_spool_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    for directory in [dir.path().to_owned(), dir.path().join("missing")] {
        for command in [
            Command::Ls(place(&directory, false)),
            Command::Verify(place(&directory, true)),
            Command::Repair { place: place(&directory, false), salvage: true },
        ] {
            assert_eq!(run(&command).verdict, Verdict::Failed);
        }
    }
    assert!(files(dir.path()).is_empty());
}

#[test]
fn own_gives_the_folder_and_nothing_below_it() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let before = fs::metadata(&inner).unwrap();
    // Only root may give away; everybody may give to himself.
    let user = if before.uid() == 0 { 65532 } else { before.uid() };
    let own = |directory: &Path| run(&Command::Own { directory: directory.to_owned(), user });
    let answer = own(dir.path());
    if before.uid() == 0 || before.gid() == user {
        assert_eq!((answer.verdict, answer.error.as_str()), (Verdict::Sound, ""));
        let after = fs::metadata(dir.path()).unwrap();
        assert_eq!((after.uid(), after.gid()), (user, user));
    }
    let after = fs::metadata(&inner).unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));

    let missing = own(&dir.path().join("missing"));
    assert_eq!(missing.verdict, Verdict::Failed);
    assert!(missing.error.contains("cannot be given to user"), "{}", missing.error);
}
