//! Tells when a configuration may have changed: written, replaced, by its compressed form too, or its folder's symbolic
//! link swapped, as Kubernetes does with mounted ConfigMaps.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::source;

/// Writers take more than one step; all of them make one change.
const SETTLE: Duration = Duration::from_millis(200);
/// One that never ends is not waited for.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
/// Some file systems tell nothing: a look this often all the same.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same when nothing can be watched at all.
const LOOK_OFTEN: Duration = Duration::from_secs(2);

/// A watched configuration.
#[derive(Debug)]
pub struct FileWatch {
    file: PathBuf,
    /// Where it led when the watcher was made.
    target: Option<PathBuf>,
    changed: Arc<Notify>,
    /// Ends with this.
    watcher: Option<RecommendedWatcher>,
}

impl FileWatch {
    /// Watches the folder of `file`, and the folder it leads to when it is a link.
    pub fn new(file: &Path) -> Self {
        let changed = Arc::<Notify>::default();
        let (target, watcher) = loop {
            let target = target(file);
            let watcher = watch(file, target.as_deref(), Arc::clone(&changed));
            // Where it led may have gone with a swap just now.
            if watcher.is_ok() || self::target(file) == target {
                break (target, watcher);
            }
        };
        if let Err(error) = &watcher {
            tracing::warn!(file = %file.display(), "cannot be watched, is looked at every {LOOK_OFTEN:?} instead: {error}");
        }
        Self { file: file.to_owned(), target, changed, watcher: watcher.ok() }
    }

    /// Resolves some time after the file may have changed, once no more follows or [`SETTLE_AT_MOST`] is over. A link
    /// that leads elsewhere by then is followed from then on.
    pub async fn may_have_changed(&mut self) {
        self.settled().await;
        let target = target(&self.file);
        if target.is_some() && target != self.target {
            *self = Self::new(&self.file);
        }
    }

    async fn settled(&self) {
        let look = if self.watcher.is_some() { LOOK_EVERY } else { LOOK_OFTEN };
        tokio::select! {
            () = self.changed.notified() => {}
            () = sleep(look) => return,
        }
        let end = Instant::now() + SETTLE_AT_MOST;
        while timeout_at(end.min(Instant::now() + SETTLE), self.changed.notified()).await.is_ok() {}
    }
}

fn watch(file: &Path, target: Option<&Path>, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut folders = vec![folder(file)];
    let mut names: Vec<_> = source::candidates(file).iter().map(|candidate| name(candidate)).collect();
    if let Some(target) = target {
        folders.push(folder(target));
        names.push(name(target));
    }
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_of_interest(&event, &names)) {
            changed.notify_one();
        }
    })?;
    folders.dedup();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// An event without paths says that some were lost.
fn is_of_interest(event: &notify::Event, names: &[OsString]) -> bool {
    let others = || !event.paths.is_empty() && event.paths.iter().all(|path| is_other(path, names));
    !event.kind.is_access() && !others()
}

/// Whether this is a file beside ours. A link or a folder may be on the way to it.
fn is_other(path: &Path, names: &[OsString]) -> bool {
    !names.contains(&name(path)) && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Where the one that counts leads.
fn target(file: &Path) -> Option<PathBuf> {
    source::candidates(file).iter().find_map(|candidate| candidate.canonicalize().ok())
}

fn name(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Shorter than the look that comes without any event.
    const SOON: Duration = Duration::from_secs(25);

    #[tokio::test]
    async fn a_write_a_replacement_and_a_swapped_link_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("v1")).unwrap();
        fs::create_dir(path("v2")).unwrap();
        fs::write(path("v1/config.yaml"), "a").unwrap();
        fs::write(path("v2/config.yaml"), "b").unwrap();
        symlink("v1", path("..data")).unwrap();
        symlink("..data/config.yaml", path("config.yaml")).unwrap();
        let mut watch = FileWatch::new(&path("config.yaml"));
        assert!(watch.watcher.is_some());

        symlink("v2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        tokio::time::timeout(SOON, watch.may_have_changed()).await.expect("a swap is seen");
        assert_eq!(fs::read_to_string(path("config.yaml")).unwrap(), "b");

        fs::write(path("new"), "c").unwrap();
        fs::rename(path("new"), path("config.yaml")).unwrap();
        tokio::time::timeout(SOON, watch.may_have_changed()).await.expect("a replacement is seen");

        fs::write(path("config.yaml"), "d").unwrap();
        tokio::time::timeout(SOON, watch.may_have_changed()).await.expect("a write is seen");
    }

    #[tokio::test]
    async fn what_a_link_leads_to_now_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("elsewhere")).unwrap();
        for name in ["v1.yaml", "v2.yaml", "elsewhere/v3.yaml"] {
            fs::write(path(name), "a").unwrap();
        }
        symlink("v1.yaml", path("config.yaml")).unwrap();
        let mut watch = FileWatch::new(&path("config.yaml"));
        for to in ["v2.yaml", "elsewhere/v3.yaml"] {
            symlink(to, path("new")).unwrap();
            fs::rename(path("new"), path("config.yaml")).unwrap();
            tokio::time::timeout(SOON, watch.may_have_changed()).await.expect("a swap is seen");
            fs::write(path(to), "b").unwrap();
            tokio::time::timeout(SOON, watch.may_have_changed()).await.expect("a write is seen");
        }
    }

    #[test]
    fn lost_events_may_have_been_ours() {
        let lost = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert!(is_of_interest(&lost, &[name(Path::new("config.yaml"))]));
    }

    #[tokio::test]
    async fn a_file_that_is_written_without_end_is_read_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, "a").unwrap();
        let mut watch = FileWatch::new(&file);
        let writer = tokio::spawn(async move {
            for text in 0_u64.. {
                fs::write(&file, text.to_string()).unwrap();
                sleep(SETTLE / 20).await;
            }
        });
        let seen = tokio::time::timeout(SOON, watch.may_have_changed()).await;
        assert!(seen.is_ok() && !writer.is_finished());
        writer.abort();
    }

    #[test]
    fn only_files_beside_it_are_of_no_interest() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["config.yaml", "proxy.log"] {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path("v1")).unwrap();
        symlink("v1", path("..data")).unwrap();
        let other = |at: &str| is_other(&path(at), &[name(Path::new("config.yaml"))]);
        assert!(other("proxy.log"));
        for of_interest in ["config.yaml", "v1", "..data", "gone"] {
            assert!(!other(of_interest), "{of_interest}");
        }
    }
}
