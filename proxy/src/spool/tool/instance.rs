//! What is in an instance folder, read without changing anything.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::super::{
    Stamp,
    disk::{Disk, RealDisk},
    files::{Layout, Name, Tree},
    frame::{Cut, HEADER, Kind, Opening, Totals},
    segment::{self, Damage, PAGE, SegmentHeader},
    walk::{Piece, pieces},
};

/// A log segment.
#[derive(Debug)]
pub struct Segment {
    /// Number.
    pub number: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// Header, when one copy is valid.
    pub header: Option<SegmentHeader>,
    /// Valid frames.
    pub frames: usize,
    /// End of the last one.
    pub end: usize,
    /// How far it is known to be synced.
    pub synced: u32,
    /// Places that were synced and hold no valid frame.
    pub damage: Vec<Damage>,
    /// Bytes that are not zero behind the last frame: a round that was never synced.
    pub torn: Option<usize>,
}

/// A frame with lines.
#[derive(Debug, Clone, Copy)]
pub struct LineFrame {
    /// Segment.
    pub segment: u32,
    /// Offset of the frame in it.
    pub at: usize,
    /// Raw offset within the batch.
    pub offset: u64,
    /// Lines.
    pub lines: u32,
    /// Raw length.
    pub raw_len: u32,
    /// CRC-32 of the raw bytes, as the header says.
    pub raw_crc: u32,
}

/// What the log says about a batch.
#[derive(Debug, Default)]
pub struct Logged {
    /// Whose it is.
    pub opening: Option<Opening>,
    /// Its lines.
    pub lines: Vec<LineFrame>,
    /// Content of the Close frame.
    pub totals: Option<Totals>,
    /// An intent to cut it.
    pub cut: Option<Cut>,
    /// Finished.
    pub done: bool,
}

/// A batch file.
#[derive(Debug, Clone)]
pub struct Data {
    /// Name.
    pub name: Name,
    /// Where.
    pub tree: Tree,
    /// Bytes.
    pub bytes: u64,
}

/// An instance folder.
#[derive(Debug)]
pub struct Instance {
    /// Paths.
    pub layout: Layout,
    /// A process holds it.
    pub in_use: bool,
    /// Segments, by number.
    pub segments: Vec<Segment>,
    /// What the log says, by batch.
    pub logged: BTreeMap<Stamp, Logged>,
    /// Batch files.
    pub files: BTreeMap<Stamp, Data>,
    /// Metadata without data.
    pub stray: Vec<PathBuf>,
    /// Files that are not ours.
    pub foreign: Vec<PathBuf>,
    /// Files in quarantine with their bytes.
    pub quarantine: Vec<(String, u64)>,
}

/// What file and log together hold of a batch.
#[derive(Debug, Default)]
pub struct Assembled {
    /// Lines.
    pub lines: u64,
    /// Bytes before compression.
    pub raw: u64,
    /// CRC-32 of them all.
    pub crc: u32,
    /// Raw offset of the first place where bytes are missing.
    pub gap: Option<u64>,
    /// Bytes of the file that neither are sound nor can be had from the log.
    pub lost: Vec<std::ops::Range<usize>>,
    /// Bytes of the file that are not sound, but are in the log.
    pub mendable: Option<std::ops::Range<usize>>,
    /// Whether the file alone has all.
    pub file_is_whole: bool,
}

impl Instance {
    /// Reads log and folders. A process that works in it may change things meanwhile.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut this = Self {
            layout: Layout::new(folder.to_owned()),
            in_use: in_use(folder),
            segments: Vec::new(),
            logged: BTreeMap::new(),
            files: BTreeMap::new(),
            stray: Vec::new(),
            foreign: Vec::new(),
            quarantine: Vec::new(),
        };
        this.read_log()?;
        this.read_trees()?;
        for file in RealDisk.list(&this.layout.quarantine())? {
            this.quarantine.push((file.name, file.len));
        }
        this.quarantine.sort();
        Ok(this)
    }

    fn read_log(&mut self) -> io::Result<()> {
        let listed = RealDisk.list(&self.layout.log())?;
        let mut numbers: Vec<u32> =
            listed.iter().filter_map(|file| Layout::segment_number(&file.name)).collect();
        numbers.sort_unstable();
        // Backwards: what the next header says of a segment is known then.
        let mut said = 0;
        let mut found = Vec::new();
        for number in numbers.into_iter().rev() {
            let bytes = match fs::read(self.layout.segment(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let header = bytes.get(..PAGE).and_then(SegmentHeader::decode);
            found.push((number, bytes.len() as u64, header, said));
            said = header.map_or(0, |header| header.previous_synced);
        }
        for (number, len, header, synced) in found.into_iter().rev() {
            // A second reading, so that one segment at a time is in memory.
            let bytes = fs::read(self.layout.segment(number))?;
            let read = segment::read(&bytes, number, synced);
            let mut view = Segment {
                number,
                bytes: len,
                header,
                frames: read.frames.len(),
                end: PAGE,
                synced,
                damage: read.damage.clone(),
                torn: None,
            };
            for frame in &read.frames {
                let at = (frame.payload.as_ptr().addr() - bytes.as_ptr().addr()).saturating_sub(HEADER);
                view.end = at + super::super::frame::length(frame.payload.len());
                view.synced = view.synced.max(frame.synced);
                self.note(number, at, frame);
            }
            let after = view.damage.last().map_or(view.end, |damage| view.end.max(damage.at + damage.len));
            let rest = bytes.get(after..).unwrap_or_default();
            view.torn = rest.iter().any(|byte| *byte != 0).then_some(after);
            self.segments.push(view);
        }
        Ok(())
    }

    fn note(&mut self, segment: u32, at: usize, frame: &super::super::frame::Frame<'_>) {
        let batch = self.logged.entry(frame.header.stamp).or_default();
        match frame.header.kind {
            Kind::Settled => drop(self.logged.remove(&frame.header.stamp)),
            Kind::Open => batch.opening = Opening::decode(frame.payload),
            Kind::Raw | Kind::Member => {
                let header = frame.header;
                batch.lines.push(LineFrame {
                    segment,
                    at,
                    offset: header.offset,
                    lines: header.lines,
                    raw_len: header.raw_len,
                    raw_crc: header.raw_crc,
                });
            }
            Kind::Close => batch.totals = Totals::decode(frame.payload),
            Kind::Done => batch.done = true,
            Kind::Split => batch.cut = Cut::decode(frame.payload),
        }
    }

    fn read_trees(&mut self) -> io::Result<()> {
        for tree in [Tree::Batches, Tree::Dlq] {
            let root = self.layout.tree(tree);
            for tenant in folders_in(&root)? {
                for dataset in folders_in(&tenant)? {
                    self.read_folder(tree, &dataset)?;
                }
            }
        }
        Ok(())
    }

    fn read_folder(&mut self, tree: Tree, folder: &Path) -> io::Result<()> {
        let mut metas = Vec::new();
        for file in RealDisk.list(folder)? {
            let path = folder.join(&file.name);
            let (stem, is_meta) = match (file.name.strip_suffix(".gz"), file.name.strip_suffix(".meta")) {
                (Some(stem), _) => (stem, false),
                (_, Some(stem)) => (stem, true),
                _ => ("", false),
            };
            let ours = |name: &Name| !file.folder && self.layout.folder(tree, &name.key) == folder;
            match Name::parse(stem).filter(ours) {
                Some(name) if is_meta => metas.push((name, path)),
                Some(name) => {
                    self.files.insert(name.stamp, Data { name, tree, bytes: file.len });
                }
                None => self.foreign.push(path),
            }
        }
        for (name, path) in metas {
            if self.files.get(&name.stamp).is_none_or(|data| data.tree != tree) {
                self.stray.push(path);
            }
        }
        Ok(())
    }

    /// Puts a batch together in thought, as recovery would.
    pub fn assemble(&self, data: Option<&Data>, logged: Option<&Logged>) -> io::Result<Assembled> {
        let bytes = match data {
            Some(data) => fs::read(self.layout.data(data.tree, &data.name))?,
            None => Vec::new(),
        };
        let found = pieces(&bytes);
        let frames = logged.map_or(&[][..], |logged| &logged.lines);
        let first = frames.first().map(|frame| frame.offset);
        let mut out = Assembled { file_is_whole: true, ..Assembled::default() };
        let mut crc = crc32fast::Hasher::new();
        let mut count = |out: &mut Assembled, lines: u32, raw_len: u32, raw_crc: u32| {
            out.lines += u64::from(lines);
            out.raw += u64::from(raw_len);
            crc.combine(&crc32fast::Hasher::new_with_initial_len(raw_crc, u64::from(raw_len)));
        };
        for piece in &found {
            match piece {
                Piece::Sound { info, raw_crc, .. } => count(&mut out, info.lines, info.raw_len, *raw_crc),
                Piece::Bad { at, info } => {
                    out.file_is_whole = false;
                    if first.is_some_and(|first| first <= out.raw) {
                        out.mendable = Some(at.start..bytes.len());
                        break;
                    }
                    out.lost.push(at.clone());
                    out.raw += info.map_or(0, |info| u64::from(info.raw_len));
                }
            }
        }
        if !out.lost.is_empty() {
            out.raw = out.raw.max(first.unwrap_or(0));
        }
        for frame in frames.iter().filter(|frame| frame.offset + u64::from(frame.raw_len) > 0) {
            if frame.offset < out.raw {
                continue;
            }
            if frame.offset > out.raw {
                out.gap.get_or_insert(out.raw);
                out.raw = frame.offset;
            }
            out.file_is_whole = false;
            count(&mut out, frame.lines, frame.raw_len, frame.raw_crc);
        }
        out.crc = crc.finalize();
        Ok(out)
    }
}

fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = RealDisk.list(folder)?.into_iter().filter(|entry| entry.folder);
    let mut found: Vec<PathBuf> = listed.map(|entry| folder.join(entry.name)).collect();
    found.sort();
    Ok(found)
}

/// Whether a process holds the folder's lock. A shared lock taken for a moment tells, and changes nothing.
fn in_use(folder: &Path) -> bool {
    File::open(folder.join("LOCK"))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}
