//! Takes over what another instance folder holds once its process is gone: recovered there, moved here under the same
//! names, and shown to delivery.

use std::{io, path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    Shared,
    backlog::Record,
    disk::Disk,
    files::{Layout, Tree},
    frame, instance,
    metrics::Usage,
    recovery::{self, Recovery},
    segment::SegmentHeader,
    store::{Store, missing_is_fine},
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
        look(shared, directory);
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
fn adopt(shared: &Shared, folder: &Path) -> io::Result<usize> {
    let theirs = Store::new(
        std::sync::Arc::clone(&shared.store.disk),
        Layout::new(folder.to_owned()),
        std::sync::Arc::clone(&shared.store.metrics),
        std::sync::Arc::new(Usage::default()),
    );
    let segments = recovery::segments(&theirs)?;
    let mut recovered = Recovery::new(shared, &theirs, segments.clone()).run()?;
    for record in &recovered.records {
        take_over(shared, &theirs, record)?;
    }
    let keys = || recovered.records.iter().map(|record| &record.entry.key);
    shared.store.sync_folders(keys())?;
    theirs.sync_folders(keys())?;
    // Only their own log knows of batches finished on the way, and it goes.
    recovered.done.clear();
    // A crash in the middle of this may have brought some over before.
    recovered.records.retain(|record| shared.backlog.get(record.entry.stamp).is_none());
    let (gone, kept) = recovered.divide(&segments);
    if let Some(last) = kept.last() {
        note_taken(&theirs, *last, &recovered.records)?;
    }
    let unreadable = recovered.unreadable.len();
    shared.publish_recovered(recovered);
    for number in gone {
        missing_is_fine(theirs.disk.remove(&theirs.layout.segment(number)))?;
        theirs.disk.sync_dir(&theirs.layout.log())?;
    }
    Ok(unreadable)
}

/// Their log stays for what cannot be read now; what was taken over is finished there.
fn note_taken(theirs: &Store, last: u32, taken: &[Record]) -> io::Result<()> {
    let known = recovery::header(theirs, last);
    let (created, reserved) = known.map_or((0, 0), |header| (header.created, header.reserved));
    let number = last + 1;
    let mut bytes = SegmentHeader { number, previous_synced: 0, created, reserved }.page();
    for record in taken {
        let header = frame::Header::control(frame::Kind::Done, record.entry.stamp, 0, 0);
        frame::encode(&header, number, 0, &[], &mut bytes);
    }
    theirs.disk.replace(&theirs.layout.segment(number), &bytes)?;
    theirs.disk.sync_dir(&theirs.layout.log())
}

/// Metadata first: data without it would be taken for new.
fn take_over(shared: &Shared, theirs: &Store, record: &Record) -> io::Result<()> {
    let (ours, name) = (&shared.store, record.name());
    ours.make_durable_folder(&ours.layout.folder(record.tree, &name.key))?;
    let disk = &ours.disk;
    if record.has_meta {
        missing_is_fine(
            disk.rename(&theirs.layout.meta(record.tree, &name), &ours.layout.meta(record.tree, &name)),
        )?;
    }
    disk.rename(&theirs.layout.data(record.tree, &name), &ours.layout.data(record.tree, &name))
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
