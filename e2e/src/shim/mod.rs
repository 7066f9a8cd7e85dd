//! Disk errors and a clock that steps, in the real binary: a small library between it and libc (`LD_PRELOAD`), told what
//! to do by a file that both sides see. A device that fails on request (dm-flakey) is not in every kernel.
//!
//! The file: seconds that the wall clock is off (i64), error number of writes and of syncs (i32 each, 0 is none), part of
//! the paths that are meant (48 bytes, ended by 0).

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::process::Proxy;

const PATH: usize = 48;

#[derive(Debug, Clone, Copy)]
struct Control {
    clock: i64,
    write: i32,
    sync: i32,
    path: [u8; PATH],
}

const WELL: Control = Control { clock: 0, write: 0, sync: 0, path: [0; PATH] };

/// Control over what fails in one proxy.
#[derive(Debug)]
pub struct Shim {
    _folder: TempDir,
    file: File,
    now: Mutex<Control>,
}

impl Shim {
    /// Builds the library and puts it into every run of `proxy` from the next start on; nothing fails yet.
    pub fn install(proxy: &mut Proxy) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let library = build(folder.path())?;
        let path = folder.path().join("control");
        let shim = Self { _folder: folder, file: File::create(&path)?, now: Mutex::new(WELL) };
        shim.change(|_| {})?;
        proxy.env("LD_PRELOAD", &library.display().to_string());
        proxy.env("SHIM_CONTROL", &path.display().to_string());
        Ok(shim)
    }

    /// From now on writes to files whose path contains `part` fail with EIO.
    pub fn fail_writes(&self, part: &str) -> Result<()> {
        let path = bytes(part)?;
        self.change(|now| (now.write, now.path) = (Errno::EIO as i32, path))
    }

    /// From now on syncs of files whose path contains `part` fail with EIO.
    pub fn fail_syncs(&self, part: &str) -> Result<()> {
        let path = bytes(part)?;
        self.change(|now| (now.sync, now.path) = (Errno::EIO as i32, path))
    }

    /// Nothing fails any more.
    pub fn heal(&self) -> Result<()> {
        self.change(|now| (now.write, now.sync) = (0, 0))
    }

    /// The wall clock is off by this many seconds from now on.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        self.change(|now| now.clock = seconds)
    }

    fn change(&self, change: impl FnOnce(&mut Control)) -> Result<()> {
        let mut now = self.now.lock();
        change(&mut now);
        let mut bytes = [0; 16 + PATH];
        let (numbers, path) = bytes.split_at_mut(16);
        path.copy_from_slice(&now.path);
        numbers[..8].copy_from_slice(&now.clock.to_ne_bytes());
        numbers[8..12].copy_from_slice(&now.write.to_ne_bytes());
        numbers[12..].copy_from_slice(&now.sync.to_ne_bytes());
        // The path first, so that no error is on with half of another path.
        self.file.write_all_at(&now.path, 16)?;
        Ok(self.file.write_all_at(&bytes, 0)?)
    }
}

fn bytes(part: &str) -> Result<[u8; PATH]> {
    ensure!(part.len() < PATH, "{part} is too long");
    let mut path = [0; PATH];
    path[..part.len()].copy_from_slice(part.as_bytes());
    Ok(path)
}

fn build(folder: &Path) -> Result<PathBuf> {
    let source = folder.join("shim.c");
    std::fs::write(&source, include_str!("shim.c"))?;
    let library = folder.join("shim.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([&library, &source])
        .output()
        .context("cc, which links Rust programs too")?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(library)
}
