//! `spool repair`: the spool is opened and recovered as the proxy would, on a disk that sets no limits, and closed again.

use std::{
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{
    super::{
        Parts, Spool, SpoolHandle, Stamp, State,
        disk::{Disk, DiskFile, Listed, RealDisk, Source, Space},
        files::Layout,
        instance as folders,
        walk::{Piece, pieces},
    },
    Report, Said, Verdict, line, ls, salvage,
};
use crate::{batch::MemoryBudget, config::Spooling, ledger::Ledger, metrics::Metrics};

/// Memory for tails.
const MEMORY: u64 = 64 << 20;
/// How often the end of recovery is looked for.
const STEP: Duration = Duration::from_millis(20);

/// What was done.
#[derive(Debug, Serialize)]
pub struct Repaired {
    folder: PathBuf,
    /// Why nothing was done.
    refused: Option<&'static str>,
    /// Whole batches before.
    pub whole_before: usize,
    /// Whole batches now.
    pub whole_now: usize,
    /// Batches that were put together from the log, or finished.
    pub completed: usize,
    /// Lines in all batches now.
    pub lines: u64,
    /// Files in quarantine that were not there before.
    pub quarantined: usize,
    /// What came out of quarantine.
    pub salvaged: Vec<salvage::Salvaged>,
}

/// Repairs an instance.
pub fn instance(folder: &Path, and_salvage: bool) -> io::Result<Said> {
    let mut out = Repaired {
        folder: folder.to_owned(),
        refused: None,
        whole_before: 0,
        whole_now: 0,
        completed: 0,
        lines: 0,
        quarantined: 0,
        salvaged: Vec::new(),
    };
    let Some(claim) = folders::try_claim(folder)? else {
        out.refused = Some(
            "a running proxy holds this folder, or a newer version wrote it; stop the proxy, or use the newer version",
        );
        return Ok(Said::Repair(out));
    };
    let quarantine = Layout::new(folder.to_owned()).quarantine();
    let set_aside = || RealDisk.list(&quarantine).map(|files| files.len());
    let before = ls::listing(folder)?;
    let set_aside_before = set_aside()?;
    let spool_id = claim.spool_id;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let layout = Layout::new(folder.to_owned());
    let (parts, metrics) = parts(folder);
    let spool = Spool::open_on(parts, Arc::new(Unlimited), layout, spool_id, Some(claim), u64::MAX)
        .map_err(io::Error::other)?;
    runtime.block_on(recover(&spool, &metrics))?;
    drop(spool);
    // The lock is free now; it is taken again so that nobody starts while quarantine is emptied.
    let claim = folders::try_claim(folder)?;
    if and_salvage && claim.is_some() {
        out.salvaged = salvage::all(&Layout::new(folder.to_owned()), spool_id)?;
    }
    let now = ls::listing(folder)?;
    let is_whole = |b: &&ls::BatchLine| b.held_by == "file" && b.state != "open";
    let whole = |listing: &ls::Listing| listing.batches.iter().filter(is_whole).count();
    out.whole_before = whole(&before);
    out.whole_now = whole(&now);
    out.completed = before.batches.len() - out.whole_before;
    out.lines = now.batches.iter().map(|batch| batch.lines).sum();
    out.quarantined = set_aside()?.saturating_sub(set_aside_before);
    Ok(Said::Repair(out))
}

/// Waits for recovery, and for what it asked the worker to set aside.
async fn recover(spool: &Spool, metrics: &Metrics) -> io::Result<()> {
    while !spool.recovery_ended() {
        if metrics.encode().is_ok_and(|text| has_failed(&text)) {
            return Err(io::Error::other(
                "a file cannot be read or written; look at the volume and the rights, then try again",
            ));
        }
        tokio::time::sleep(STEP).await;
    }
    if spool.handle().usage().unreadable > 0 {
        return Err(io::Error::other(
            "not every batch can be put together: see that the volume has room and its files can be read, then try again",
        ));
    }
    // There is no such batch, but the worker answers in order.
    match spool.handle().delete(Stamp(0)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => other?,
    }
    set_damaged_aside(&spool.handle()).await?;
    spool.close(Duration::from_mins(1)).await;
    Ok(())
}

/// Recovery reads only headers of batches that are whole; delivery, and we, look at all of them.
async fn set_damaged_aside(spool: &SpoolHandle) -> io::Result<()> {
    for key in spool.datasets() {
        let all = spool.entries(&key, &[State::Queue, State::Retry, State::Dlq], None, usize::MAX);
        for stamp in all.into_iter().map(|entry| entry.stamp) {
            let mut bytes = Vec::new();
            spool.open(stamp)?.read_to_end(&mut bytes)?;
            if pieces(&bytes).iter().any(|piece| matches!(piece, Piece::Bad { .. })) {
                spool.quarantine(stamp, "found damaged by repair".to_owned()).await?;
            }
        }
    }
    Ok(())
}

fn has_failed(metrics: &str) -> bool {
    let mut counts =
        metrics.lines().filter_map(|line| line.strip_prefix("bytefreezer_proxy_spool_file_failures_total "));
    counts.any(|count| count != "0")
}

fn parts(folder: &Path) -> (Parts, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let settings = Spooling {
        enabled: true,
        directory: folder.to_owned(),
        max_size_bytes: MEMORY,
        dlq_max_size_bytes: None,
        retry_attempts: 0,
        retry_interval: Duration::from_mins(1),
        cleanup_interval: Duration::from_hours(24),
        max_age: None,
        sync_interval: Duration::from_millis(200),
        dlq_auto_retry: false,
    };
    let parts = Parts {
        settings,
        memory: MemoryBudget::new(MEMORY),
        ledger: Arc::new(Ledger::default()),
        metrics: Arc::clone(&metrics),
        level: Arc::new(|_| 6),
        max_payload: u64::MAX,
    };
    (parts, metrics)
}

impl Report for Repaired {
    fn verdict(&self) -> Verdict {
        match self.refused {
            Some(_) => Verdict::Failed,
            None if self.quarantined > 0 => Verdict::Problems,
            None => Verdict::Sound,
        }
    }

    fn write(&self, page: &mut String) {
        let folder = self.folder.display();
        if let Some(why) = self.refused {
            line(page, format_args!("{folder}: nothing was done: {why}"));
            return;
        }
        line(
            page,
            format_args!(
                "{folder}: {} whole batches before, {} now with {} lines; {} were completed from the log; {} pieces went to quarantine",
                self.whole_before, self.whole_now, self.lines, self.completed, self.quarantined
            ),
        );
        for piece in &self.salvaged {
            match &piece.batch {
                Some(batch) => line(
                    page,
                    format_args!(
                        "{}: {} lines are batch {batch} now, {} could not be read",
                        piece.file, piece.lines, piece.unreadable
                    ),
                ),
                None => line(page, format_args!("{}: no line of it can be read", piece.file)),
            }
        }
    }
}

/// The real disk, of a size that never makes anything give way: a repair deletes nothing.
#[derive(Debug)]
struct Unlimited;

impl Disk for Unlimited {
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dirs(dir)
    }
    fn create(&self, path: &Path, size: u64) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create(path, size)
    }
    fn write_at(&self, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        RealDisk.write_at(path, at, bytes)
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        RealDisk.truncate(path, len)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        RealDisk.open(path)
    }
    fn sync(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync(path)
    }
    fn write_again(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        RealDisk.write_again(path, bytes)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Listed>> {
        RealDisk.list(dir)
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Err(ErrorKind::Unsupported.into())
    }
}
