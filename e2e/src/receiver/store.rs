//! What was stored, and what was wrong with it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    time::Instant,
};

use anyhow::Result;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::sequence::Tally;

/// Tenant and dataset of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// First path segment.
    pub tenant: String,
    /// Second path segment.
    pub dataset: String,
}

/// The last upload under one name.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Owner.
    pub key: Key,
    /// `X-Proxy-Filename`.
    pub name: String,
    /// Body as it came.
    pub body: Bytes,
    /// Non-blank lines; what the header claims when nothing is verified.
    pub lines: u64,
    /// Bytes after inflating; 0 when nothing is verified.
    pub raw_len: usize,
    /// How often it was uploaded and stored.
    pub uploads: u32,
    /// When the first upload was stored.
    pub first: Instant,
    digest: u64,
}

impl Batch {
    /// The lines.
    pub fn inflate(&self) -> Result<Vec<u8>> {
        let mut raw = Vec::new();
        MultiGzDecoder::new(&self.body[..]).read_to_end(&mut raw)?;
        Ok(raw)
    }

    /// Fourth part of the name.
    pub fn hint(&self) -> &str {
        self.name.rsplit("--").next().and_then(|last| last.strip_suffix(".gz")).unwrap_or_default()
    }
}

/// An upload that passed the Receiver's own checks.
pub(super) struct Upload {
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(String, String)>,
    pub(super) verify: bool,
    pub(super) keep: bool,
}

impl Upload {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str())
    }
}

/// Batches by owner and name.
#[derive(Debug, Default)]
pub struct Store {
    batches: BTreeMap<(Key, String), Batch>,
    uploads: u64,
    violations: Vec<String>,
    /// Of batches whose bodies were not kept.
    tally: Tally,
}

impl Store {
    pub(super) fn put(&mut self, upload: Upload) {
        self.uploads += 1;
        let claimed = upload.header("x-proxy-line-count").parse().unwrap_or(1);
        let mut problems = check_head(&upload);
        let (mut lines, mut raw_len, mut digest) = (claimed, 0, 0);
        let mut raw = Vec::new();
        if upload.verify {
            match inspect(&upload.body) {
                Ok(content) => {
                    (lines, raw_len, digest) = (content.lines, content.raw.len(), content.digest);
                    if lines != claimed {
                        problems.push(format!("X-Proxy-Line-Count says {claimed}, the body has {lines}"));
                    }
                    if content.open_end {
                        problems.push("the last line has no newline".to_owned());
                    }
                    raw = content.raw;
                }
                Err(error) => problems.push(format!("the body is no whole gzip: {error}")),
            }
        }
        let at = (upload.key.clone(), upload.name.clone());
        if let Some(old) = self.batches.get(&at)
            && upload.verify
            && (old.raw_len, old.digest) != (raw_len, digest)
        {
            problems.push(format!(
                "one name, two contents: {} lines, {} bytes before; {lines} lines, {raw_len} bytes now",
                old.lines, old.raw_len
            ));
        }
        self.violations.extend(problems.into_iter().map(|problem| format!("{}: {problem}", upload.name)));
        let batch = self.batches.entry(at).or_insert_with(|| Batch {
            key: upload.key,
            name: upload.name,
            body: Bytes::new(),
            lines: 0,
            raw_len: 0,
            uploads: 0,
            first: Instant::now(),
            digest,
        });
        if upload.keep {
            batch.body = upload.body;
        } else if batch.uploads == 0 {
            self.tally.add(&raw, 1);
        }
        batch.lines = lines;
        batch.raw_len = raw_len;
        batch.digest = digest;
        batch.uploads += 1;
    }

    pub(super) fn batches(&self) -> Vec<Batch> {
        self.batches.values().cloned().collect()
    }

    pub(super) fn lines(&self) -> u64 {
        self.batches.values().map(|batch| batch.lines).sum()
    }

    pub(super) fn uploads(&self) -> u64 {
        self.uploads
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }
}

struct Content {
    raw: Vec<u8>,
    lines: u64,
    digest: u64,
    open_end: bool,
}

fn inspect(body: &[u8]) -> Result<Content> {
    let mut raw = Vec::with_capacity(body.len() * 8);
    MultiGzDecoder::new(body).read_to_end(&mut raw)?;
    let lines = raw.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).count() as u64;
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    let open_end = raw.last().is_some_and(|b| *b != b'\n');
    Ok(Content { raw, lines, digest: hasher.finish(), open_end })
}

/// What the real Receiver lets pass and the proxy still promises: name and headers that agree.
fn check_head(upload: &Upload) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = upload.name.trim_end_matches(".gz").split("--").collect();
    match parts[..] {
        [tenant, dataset, stamp, hint] => {
            if tenant != upload.key.tenant || dataset != upload.key.dataset {
                problems.push("name and path differ".to_owned());
            }
            if stamp.len() != 19 || !stamp.bytes().all(|b| b.is_ascii_digit()) {
                problems.push(format!("{stamp:?} is no stamp of 19 digits"));
            }
            if hint != upload.header("x-proxy-data-hint") {
                problems.push(format!("hint {hint:?}, header {:?}", upload.header("x-proxy-data-hint")));
            }
        }
        _ => problems.push("the name has not four parts".to_owned()),
    }
    if upload.name.strip_suffix(".gz") != Some(upload.header("x-proxy-batch-id")) {
        problems.push(format!("batch id {:?}", upload.header("x-proxy-batch-id")));
    }
    if upload.header("content-encoding") != "gzip" {
        problems.push("Content-Encoding is not gzip".to_owned());
    }
    if upload.header("x-proxy-original-bytes").parse::<u64>().is_err() {
        problems.push("X-Proxy-Original-Bytes is no number".to_owned());
    }
    problems
}
