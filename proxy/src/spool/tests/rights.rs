//! What may not be looked at is there nevertheless, and waits.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use super::{doubt::checkpointed, rig::*};
use crate::spool::disk::{Disk, RealDisk};

const NOBODY: u32 = 65534;

/// Root may look at everything: then the test runs once more, as somebody else. True when it did.
fn as_somebody_else(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    let program = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", &format!("spool::tests::rights::{test}")]).current_dir("/");
    let said = command.uid(NOBODY).gid(NOBODY).output().unwrap();
    let output = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && output.contains("1 passed"), "{output}");
    true
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_name_that_may_not_be_looked_at_is_listed() {
    if as_somebody_else("a_name_that_may_not_be_looked_at_is_listed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir_all(folder.join("below")).unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    mode(&folder, 0o400);
    let mut listed = RealDisk.list(&folder).unwrap();
    mode(&folder, 0o700);
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    let seen: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.folder)).collect();
    assert_eq!(seen, [("below", true), ("file", false)]);
}

/// The file has lines of which the log knows nothing any more, the log has lines that are not in the file.
#[tokio::test]
async fn a_batch_that_may_not_be_looked_at_keeps_its_frames_and_is_tried_again() {
    if as_somebody_else("a_batch_that_may_not_be_looked_at_keeps_its_frames_and_is_tried_again") {
        return;
    }
    for part in ["batches/acme/slow", "batches/acme", "batches"] {
        let (dir, limits) = checkpointed(&["one\n"], &["two\n", "three\n"]).await;
        let closed = folder(dir.path()).join(part);
        mode(&closed, 0o400);
        let rig = Rig::open(limits).await;
        assert!(rig.handle.usage().unreadable > 0, "{part}");
        assert!(rig.handle.entries(&key("slow"), &ALL, None, 10).is_empty(), "{part}");
        mode(&closed, 0o750);
        rig.until("it is read after all", |rig| rig.handle.usage().unreadable == 0).await;
        let found = rig.handle.entries(&key("slow"), &ALL, None, 10);
        let text: String = found.iter().map(|entry| rig.text(entry.stamp)).collect();
        assert_eq!(text, "one\ntwo\nthree\n", "{part}");
        rig.balanced();
    }
}
