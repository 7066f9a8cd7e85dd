//! Takes readable lines out of quarantine: gzip as far as it inflates, checksum or not; of JSON only lines that are
//! JSON. A file that was used gets the ending `.salvaged` and stays.

use std::{
    fs,
    io::{self, Read},
};

use serde::Serialize;

use super::super::{
    Stamp,
    disk::{Disk, RealDisk},
    files::{Layout, Name, Tree},
    import::{batch_file::BatchFile, old_files::name_of},
    member::{Compressor, HEADER, MemberInfo},
    stamps::Stamps,
    walk::{Piece, pieces},
    writer::now_ns,
};
use crate::ids::DatasetKey;

const USED: &str = ".salvaged";

/// What came out of a file.
#[derive(Debug, Serialize)]
pub struct Salvaged {
    /// Its name.
    pub file: String,
    /// The batch that holds its lines now.
    pub batch: Option<String>,
    /// Lines.
    pub lines: u64,
    /// Lines, or what may have been some, that are no lines any more.
    pub unreadable: u64,
}

/// Goes through the quarantine of an instance.
pub fn all(layout: &Layout, spool_id: u16) -> io::Result<Vec<Salvaged>> {
    let mut stamps = Stamps::new(spool_id, 0, now_ns());
    let mut done = Vec::new();
    let mut files = RealDisk.list(&layout.quarantine())?;
    files.sort_by(|one, other| one.name.cmp(&other.name));
    for file in files.into_iter().filter(|file| !file.folder && !file.name.ends_with(USED)) {
        let path = layout.quarantine().join(&file.name);
        let Some(name) = name_in(&file.name) else {
            done.push(Salvaged { file: file.name, batch: None, lines: 0, unreadable: 0 });
            continue;
        };
        let (text, unreadable) = readable(&fs::read(&path)?, name.hint.is_json());
        let mut salvaged = Salvaged { file: file.name.clone(), batch: None, lines: 0, unreadable };
        if !text.is_empty() {
            let new = Name { stamp: free(layout, &name, &mut stamps), ..name };
            salvaged.lines = write(layout, &new, &text)?;
            salvaged.batch = Some(new.data());
            // After this the lines count as taken out; a crash before it takes them out twice.
            RealDisk.rename(&path, &path.with_file_name(file.name + USED))?;
            RealDisk.sync_dir(&layout.quarantine())?;
        }
        done.push(salvaged);
    }
    Ok(done)
}

fn free(layout: &Layout, name: &Name, stamps: &mut Stamps) -> Stamp {
    loop {
        let stamp = stamps.next(now_ns());
        let new = Name { stamp, ..name.clone() };
        if [Tree::Batches, Tree::Dlq].iter().all(|tree| !layout.data(*tree, &new).exists()) {
            return stamp;
        }
    }
}

/// Whose lines a file in quarantine holds: its label begins with a batch's name, or is the path of an old program's
/// file, `<tenant>+<dataset>+<folder>+<name>.gz`.
fn name_in(label: &str) -> Option<Name> {
    let (stem, _) = label.split_once(".gz")?;
    let mut path = stem.splitn(4, '+');
    match (path.next(), path.next(), path.next(), path.next()) {
        (Some(tenant), Some(dataset), Some(_), Some(name)) => {
            let key = DatasetKey { tenant: tenant.parse().ok()?, dataset: dataset.parse().ok()? };
            Some(name_of(&key, name, 0))
        }
        _ => Name::parse(stem),
    }
}

/// Whole lines, and the number of those that are none any more.
fn readable(bytes: &[u8], json: bool) -> (Vec<u8>, u64) {
    let mut text = Vec::new();
    let mut unreadable = 0;
    for piece in pieces(bytes) {
        let info = match &piece {
            Piece::Sound { info, .. } => Some(*info),
            Piece::Bad { info, .. } => *info,
        };
        let raw = inflate(bytes.get(piece.at()).unwrap_or_default());
        let whole = raw.len() - raw.iter().rev().take_while(|byte| **byte != b'\n').count();
        let mut lines = 0;
        for line in raw.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            let good =
                !json || serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line).is_ok();
            if good {
                lines += 1;
                text.extend_from_slice(line);
            }
        }
        unreadable += missing(info, lines, raw.len() > whole);
    }
    (text, unreadable)
}

fn missing(info: Option<MemberInfo>, lines: u64, open: bool) -> u64 {
    info.map_or(u64::from(open), |info| u64::from(info.lines).saturating_sub(lines))
}

/// As much as inflates; the header's own length is enough for ours, whatever its fields say.
fn inflate(member: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let ours = member.get(12..14) == Some(b"BF");
    let data = if ours { member.get(HEADER..) } else { None };
    let mut buffer = vec![0; 1 << 12];
    let mut decoder: Box<dyn Read + '_> = match data {
        Some(data) => Box::new(flate2::bufread::DeflateDecoder::new(data)),
        None => Box::new(flate2::bufread::MultiGzDecoder::new(member)),
    };
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) | Err(_) => return raw,
            Ok(len) => raw.extend_from_slice(buffer.get(..len).unwrap_or_default()),
        }
    }
}

fn write(layout: &Layout, name: &Name, text: &[u8]) -> io::Result<u64> {
    let place = layout.data(Tree::Batches, name);
    let folder = layout.folder(Tree::Batches, &name.key);
    RealDisk.make_dirs(&folder)?;
    let beside = place.with_file_name(name.data() + ".tmp");
    let mut compressor = Compressor::default();
    let mut batch = BatchFile::create(&beside, &mut compressor, 6, name.stamp.0)?;
    for piece in text.chunks(1 << 16) {
        batch.push(piece)?;
    }
    let written = batch.finish()?;
    RealDisk.rename(&beside, &place)?;
    for dir in folder.ancestors().take_while(|dir| dir.starts_with(layout.root())) {
        RealDisk.sync_dir(dir)?;
    }
    Ok(written.lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Class;

    #[test]
    fn names_in_labels() {
        let name = "acme--web--1767225600000000001--ndjson";
        for label in [format!("{name}.gz"), format!("{name}.gz.123.bad"), format!("acme+web+queue+{name}.gz")]
        {
            assert_eq!(name_in(&label).unwrap().data(), format!("{name}.gz"), "{label}");
        }
        for label in ["1767225600000000001.frames", "x.gz", ""] {
            assert!(name_in(label).is_none(), "{label}");
        }
    }

    #[test]
    fn any_byte_of_a_member_may_be_wrong() {
        let text: String = (0..50).fold(String::new(), |text, n| text + &format!("{{\"n\":{n}}}\n"));
        let member = Compressor::default().member(text.as_bytes(), 50, Class::Acknowledged, 1, 6);
        for at in 0..member.len() {
            let mut bytes = member.clone();
            bytes[at] ^= 0x10;
            let (lines, _) = readable(&bytes, true);
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
            }
            let _ = readable(member.get(at..).unwrap(), false);
        }
        for wrong_checksum in [member.len() - 6, 29] {
            let mut bytes = member.clone();
            bytes[wrong_checksum] ^= 0x10;
            assert_eq!(readable(&bytes, true), (text.clone().into_bytes(), 0));
        }
    }
}
