//! Takes over what another instance folder holds once its process is gone: recovered there, moved here under the same
//! names, and shown to delivery.

use std::{io, path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    Shared,
    backlog::Record,
    disk::Disk,
    files::{Layout, Tree},
    instance,
    metrics::Usage,
    recovery::{self, Recovery},
    store::{Store, missing_is_fine},
    thread,
};

/// How often freed folders are looked for.
const EVERY: Duration = Duration::from_secs(30);

/// Looks for freed folders until the process ends. What the own folder holds comes first.
pub fn watch(shared: &Shared, directory: &Path) {
    while !shared.recovered.wait(Duration::from_millis(50)) {
        if shared.abandoned.is_set() {
            return;
        }
    }
    loop {
        // One folder's trouble; the others, and everything else, go on.
        let _ = thread::survives(|| look(shared, directory));
        if shared.abandoned.wait(EVERY) {
            return;
        }
    }
}

/// Adopts what is free, and counts what is not.
pub(super) fn look(shared: &Shared, directory: &Path) {
    let (mut others, mut unreadable) = (0, 0);
    let folders = instance::existing(directory).unwrap_or_default();
    for folder in folders.iter().filter(|folder| *folder != shared.store.layout.root()) {
        match instance::try_claim(folder) {
            Ok(Some(_claim)) => {
                match adopt(shared, folder) {
                    Ok(left) => unreadable += left as u64,
                    Err(error) => {
                        shared.metrics().file_failures.inc();
                        tracing::warn!(folder = %folder.display(), %error, "what another instance left cannot be taken over now; trying again");
                    }
                }
                others += size(&*shared.store.disk, folder);
            }
            Ok(None) => others += size(&*shared.store.disk, folder),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "another instance's folder cannot be looked at");
            }
        }
    }
    shared.usage().others.store(others, Relaxed);
    shared.unreadable_elsewhere.store(unreadable, Relaxed);
    shared.show_unreadable();
}

/// Returns how much cannot be read now.
pub(super) fn adopt(shared: &Shared, folder: &Path) -> io::Result<usize> {
    let theirs = Store::new(
        std::sync::Arc::clone(&shared.store.disk),
        Layout::new(folder.to_owned()),
        std::sync::Arc::clone(&shared.store.metrics),
        std::sync::Arc::new(Usage::default()),
    );
    let segments = recovery::segments(&theirs)?;
    let mut recovered = Recovery::new(shared, &theirs, segments.clone()).run()?;
    // Everything is whole in its file now. Their log goes before the files do: while it is there a crash would make the
    // batches anew.
    let (gone, kept) = recovered.divide(&segments);
    recovery::note_settled(&theirs, &kept, &recovered)?;
    // Only their own log knew of batches finished on the way.
    recovered.done.clear();
    if kept.is_empty() && !gone.is_empty() {
        // Which names were given there nobody knows without the log: the next process in it gives others.
        instance::forget_id(&*theirs.disk, folder)?;
    }
    for number in gone {
        recovery::remove_segment(&theirs, number)?;
    }
    let mut failed = None;
    for record in std::mem::take(&mut recovered.records) {
        match take_over(shared, &theirs, &record) {
            Ok(true) => recovered.records.push(record),
            Ok(false) => {}
            Err(error) => failed = Some(error),
        }
    }
    let keys = || recovered.records.iter().map(|record| &record.entry.key);
    let synced = shared.store.sync_folders(keys()).and_then(|()| theirs.sync_folders(keys()));
    let unreadable = recovered.unreadable.len();
    shared.publish_recovered(recovered);
    synced.and(failed.map_or(Ok(unreadable), Err))
}

/// Metadata first: data without it would be taken for new. False when we have it already. Another batch of ours with
/// the same stamp goes first; theirs waits where it is.
fn take_over(shared: &Shared, theirs: &Store, record: &Record) -> io::Result<bool> {
    let (ours, name) = (&shared.store, record.name());
    if let Some(here) = shared.backlog.get(record.entry.stamp) {
        if here.name() != name {
            return Ok(false);
        }
        theirs.remove(record.tree, &name, record.has_meta)?;
        return Ok(false);
    }
    ours.make_durable_folder(&ours.layout.folder(record.tree, &name.key))?;
    let disk = &ours.disk;
    if record.has_meta {
        missing_is_fine(
            disk.rename(&theirs.layout.meta(record.tree, &name), &ours.layout.meta(record.tree, &name)),
        )?;
    }
    disk.rename(&theirs.layout.data(record.tree, &name), &ours.layout.data(record.tree, &name))?;
    Ok(true)
}

/// Bytes in a folder's log and trees.
fn size(disk: &dyn Disk, folder: &Path) -> u64 {
    let layout = Layout::new(folder.to_owned());
    let parts = [layout.log(), layout.tree(Tree::Batches), layout.tree(Tree::Dlq)];
    parts.iter().map(|part| size_below(disk, part)).sum()
}

fn size_below(disk: &dyn Disk, folder: &Path) -> u64 {
    let listed = disk.list(folder).unwrap_or_default();
    let bytes = listed
        .iter()
        .map(|entry| if entry.folder { size_below(disk, &folder.join(&entry.name)) } else { entry.len });
    bytes.sum()
}
