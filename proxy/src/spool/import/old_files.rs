//! Reads the folders of the old program: `<tenant>/<dataset>/{raw,queue,retry,dlq}`.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::super::{Stamp, State, files::Name, stamps::LATEST_NS};
use super::journal::Source;
use crate::ids::{DatasetKey, Hint, TenantId};

/// Bytes of single messages that make one batch, before compression.
const RAW_BYTES: u64 = 8 << 20;
/// Files that make one batch.
const RAW_FILES: usize = 10_000;
/// Subfolders that hold data, and what becomes of it.
const BATCHES: [(&str, State); 3] = [("queue", State::Queue), ("retry", State::Retry), ("dlq", State::Dlq)];

/// What one batch of ours will be made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name, when that is free.
    pub name: Name,
    /// Where it goes.
    pub state: State,
    /// A single gzip file, not messages.
    pub gzip: bool,
    /// The files, in order.
    pub sources: Vec<Source>,
    /// Metadata of the old program.
    pub meta: Option<PathBuf>,
}

impl Plan {
    /// Bytes it reads.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.len).sum()
    }
}

/// A dataset's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Whose.
    pub key: DatasetKey,
    /// From the spool directory on.
    pub path: PathBuf,
}

/// Everything found that is not a dataset's folder and does not belong to us.
pub type Foreign = Vec<PathBuf>;

/// Whether there is, or may be, anything to adopt or to report.
pub fn any(directory: &Path) -> bool {
    let mut foreign = Vec::new();
    !folders(directory, &mut foreign).is_ok_and(|found| found.is_empty()) || !foreign.is_empty()
}

/// All folders of datasets, and what is none. A name that is no legal id cannot be delivered: L-10.
pub fn folders(directory: &Path, foreign: &mut Foreign) -> io::Result<Vec<Folder>> {
    let mut found = Vec::new();
    // Names with a dot are ours: no tenant begins with one.
    for tenant in list(directory)?.into_iter().filter(|entry| !entry.name.starts_with('.')) {
        let path = PathBuf::from(&tenant.name);
        let Some(id) = tenant.name.parse().ok().filter(|_| tenant.folder) else {
            foreign.push(path);
            continue;
        };
        for dataset in list(&directory.join(&path))? {
            let path = path.join(&dataset.name);
            let holds_data = |name: &str| directory.join(&path).join(name).is_dir();
            match dataset.name.parse() {
                Ok(dataset_id) if dataset.folder => {
                    if holds_data("raw") || BATCHES.iter().any(|(name, _)| holds_data(name)) {
                        let key = DatasetKey { tenant: TenantId::clone(&id), dataset: dataset_id };
                        found.push(Folder { key, path });
                    }
                }
                _ => foreign.push(path),
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// What batches a dataset's folder makes, oldest first. `known` says that a file is in a batch already.
pub fn plans(
    directory: &Path,
    folder: &Folder,
    known: impl Fn(&Path, u64) -> bool,
    foreign: &mut Foreign,
) -> io::Result<Vec<Plan>> {
    let mut found = Vec::new();
    for (name, state) in BATCHES {
        let path = folder.path.join(name);
        for entry in list(&directory.join(&path))? {
            let file = path.join(&entry.name);
            let Some(stem) = entry.name.strip_suffix(".gz").filter(|_| entry.regular) else {
                if file.extension().is_none_or(|ending| ending != "meta") {
                    foreign.push(file);
                }
                continue;
            };
            if known(&file, entry.len) {
                continue;
            }
            let meta = (state != State::Queue).then(|| path.join(format!("{stem}.meta")));
            let name = name_of(&folder.key, stem, entry.modified_ns);
            let sources = vec![Source { path: file, len: entry.len, damaged: false }];
            found.push(Plan { name, state, gzip: true, sources, meta });
        }
    }
    raw(directory, folder, known, foreign, &mut found)?;
    found.sort_by_key(|plan| plan.name.stamp);
    Ok(found)
}

fn raw(
    directory: &Path,
    folder: &Folder,
    known: impl Fn(&Path, u64) -> bool,
    foreign: &mut Foreign,
    found: &mut Vec<Plan>,
) -> io::Result<()> {
    let path = folder.path.join("raw");
    let mut groups: BTreeMap<Hint, Vec<(u64, Source)>> = BTreeMap::new();
    for entry in list(&directory.join(&path))? {
        let file = path.join(&entry.name);
        match message_name(&entry.name).filter(|_| entry.regular) {
            Some(_) if known(&file, entry.len) => {}
            Some((ns, hint)) => {
                let source = Source { path: file, len: entry.len, damaged: false };
                groups.entry(hint).or_default().push((ns, source));
            }
            None => foreign.push(file),
        }
    }
    for (hint, mut files) in groups {
        files.sort_by(|(one, a), (other, b)| (one, &a.path).cmp(&(other, &b.path)));
        let mut bytes = 0;
        let mut plan: Option<Plan> = None;
        for (ns, source) in files {
            if let Some(full) =
                plan.take_if(|plan| bytes + source.len > RAW_BYTES || plan.sources.len() >= RAW_FILES)
            {
                found.push(full);
                bytes = 0;
            }
            bytes += source.len;
            let name = Name { key: folder.key.clone(), stamp: Stamp(ns), hint: hint.clone() };
            plan.get_or_insert_with(|| Plan {
                name,
                state: State::Queue,
                gzip: false,
                sources: Vec::new(),
                meta: None,
            })
            .sources
            .push(source);
        }
        found.extend(plan);
    }
    Ok(())
}

/// `<ns>_<bytes>_<lines>.<ext>`: time and what the message is.
pub fn message_name(name: &str) -> Option<(u64, Hint)> {
    let (stem, extension) = name.split_once('.')?;
    let mut numbers = stem.split('_').map(|part| part.parse::<u64>().ok());
    let (ns, _, _) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() {
        return None;
    }
    let hint = match extension {
        "log" => "syslog",
        "txt" => "raw",
        other => other,
    };
    Some((ns.min(LATEST_NS), hint.parse().unwrap_or_else(|_| Hint::raw())))
}

/// A legal name for a batch of the old program: its own when it has one, so that sending it again replaces what
/// arrived before. Ids with `--` and older forms (`<batch>.<hint>`) keep their time and hint.
pub fn name_of(key: &DatasetKey, stem: &str, modified_ns: u64) -> Name {
    if let Some(name) = Name::parse(stem).filter(|name| name.key == *key) {
        return name;
    }
    let last = |separator: &str| stem.rsplit(separator).next().and_then(|word| word.parse::<Hint>().ok());
    let hint = if stem.contains("--") { last("--") } else { None };
    let hint = hint.or_else(|| last(".").filter(|_| stem.contains('.'))).unwrap_or_else(Hint::raw);
    let is_time = |run: &&str| run.len() == 19;
    let time = stem.split(|c: char| !c.is_ascii_digit()).find(is_time).and_then(|run| run.parse().ok());
    Name { key: key.clone(), stamp: Stamp(time.unwrap_or(modified_ns).min(LATEST_NS)), hint }
}

#[derive(Debug)]
struct Entry {
    name: String,
    folder: bool,
    regular: bool,
    len: u64,
    modified_ns: u64,
}

/// What is in a folder. Links are neither folders nor files of ours; names that are no text are reported as such.
fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let meta = match entry.metadata() {
            // It vanished meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let text = entry.file_name().into_string();
        let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        found.push(Entry {
            regular: meta.is_file() && text.is_ok(),
            name: text.unwrap_or_else(|name| name.to_string_lossy().into_owned()),
            folder: meta.is_dir(),
            len: meta.len(),
            modified_ns: modified.map_or(0, |at| at.as_nanos() as u64),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DatasetKey {
        DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() }
    }

    #[test]
    fn names_of_messages() {
        let hint = |name: &str| message_name(name).map(|(ns, hint)| (ns, hint.as_str().to_owned()));
        for (name, expected) in [
            ("17_5_1.ndjson", "ndjson"),
            ("17_5_1.log", "syslog"),
            ("17_5_1.txt", "raw"),
            ("17_5_1.apache", "apache"),
            ("17_5_1.Odd-One", "raw"),
        ] {
            assert_eq!(hint(name), Some((17, expected.to_owned())), "{name}");
        }
        for bad in ["notes.txt", "17_5.ndjson", "17_5_1", "17_5_1_2.ndjson", "-1_5_1.ndjson", ""] {
            assert_eq!(message_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn w22_a_batch_keeps_its_name_or_gets_a_legal_one_with_its_time_and_hint() {
        for (stem, stamp, hint) in [
            ("acme--web--1767225600000000001--ndjson", 1_767_225_600_000_000_001, "ndjson"),
            // Ids with the separator in them.
            ("a--b--web--1767225600000000001--csv", 1_767_225_600_000_000_001, "csv"),
            // The older form.
            ("1767225600000000001_99_3.syslog", 1_767_225_600_000_000_001, "syslog"),
            ("acme--web--1767225600000000001--Bad-Hint", 1_767_225_600_000_000_001, "raw"),
            ("something", 7, "raw"),
            // A time that no name can hold.
            ("9999999999999999999_1_1.csv", LATEST_NS, "csv"),
        ] {
            let name = name_of(&key(), stem, 7);
            assert_eq!((name.key, name.stamp.0, name.hint.as_str()), (key(), stamp, hint), "{stem}");
        }
    }
}
