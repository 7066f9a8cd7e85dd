//! Exporters of NetFlow and IPFIX with what they have taught, in memory and in files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use super::waiting::WaitingFile;
use crate::{
    config::FlowSource,
    decode::flow::{Limits, Overflow, PATIENCE_NS, Rules, Shared, Summary},
    ids::DatasetKey,
    inputs::{InputStats, Refusal},
    spool::{Disk, RealDisk},
};

/// See the module.
#[derive(Debug)]
pub struct FlowMemory {
    shared: Shared,
    dataset: DatasetKey,
    stats: Arc<InputStats>,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    templates: PathBuf,
    waiting: Arc<WaitingFile>,
    /// Generation of what is in the file.
    saved: AtomicU64,
}

impl FlowMemory {
    /// What is known of the exporters of an input: what the files in `folder` say.
    pub fn open(
        source: &FlowSource,
        dataset: &DatasetKey,
        folder: Option<&Path>,
        stats: Arc<InputStats>,
    ) -> Self {
        let rules = rules(source);
        let Some(folder) = folder else {
            return Self { shared: Shared::new(rules), dataset: dataset.clone(), stats, files: None };
        };
        let place = |kind: &str| folder.join(format!("{}.{kind}", dataset.dataset));
        let waiting = Arc::new(WaitingFile::new(place("waiting"), source.max_waiting_file_bytes));
        let overflow: Arc<dyn Overflow> = Arc::<WaitingFile>::clone(&waiting);
        let shared = Shared::overflowing(rules, &overflow);
        let templates = place("templates");
        restore(&shared, &templates, dataset);
        let saved = AtomicU64::new(shared.generation());
        let files = Files { templates, waiting, saved };
        files.find(&shared);
        Self { shared, dataset: dataset.clone(), stats, files: Some(files) }
    }

    /// The exporters.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Goes on with other settings.
    pub fn change(&self, source: &FlowSource) {
        self.shared.set_rules(rules(source));
        if let Some(files) = &self.files {
            files.waiting.set_limit(source.max_waiting_file_bytes);
        }
    }

    /// All exporters together.
    pub fn summary(&self) -> Summary {
        let mut summary = self.shared.summary();
        summary.waiting += self.files.as_ref().map_or(0, |files| files.waiting.len());
        summary
    }

    /// Gives up what has waited for too long, and writes down what is new. Blocks.
    pub(super) fn keep(&self) {
        let Some(files) = &self.files else { return };
        files.find(&self.shared);
        self.give_up(files);
        let generation = self.shared.generation();
        if generation == files.saved.load(Relaxed) {
            return;
        }
        let (generation, bytes) = self.shared.save();
        match write(&files.templates, &bytes) {
            Ok(()) => files.saved.store(generation, Relaxed),
            Err(error) => {
                tracing::warn!(dataset = %self.dataset, path = %files.templates.display(), %error,
                    "templates cannot be written and would have to come again after a restart; trying again");
            }
        }
    }

    /// Writes down everything, what waits in memory too. Blocks.
    pub(super) fn finish(&self) {
        self.keep();
        let lost = self.shared.spill();
        if lost > 0 {
            self.stats.refuse(Refusal::Template, lost as u64);
            tracing::warn!(dataset = %self.dataset, sets = lost,
                "flow records lost: their template had not come, and there is no room in `max_waiting_file_bytes`");
        }
        if let Some(files) = &self.files {
            files.waiting.sync();
        }
    }

    fn give_up(&self, files: &Files) {
        let mut lost = files.waiting.take_lost();
        for (source, sets) in files.waiting.expire(now_ns().saturating_sub(PATIENCE_NS)) {
            self.shared.note_lost(&source, sets);
            lost += sets;
        }
        if lost > 0 {
            self.stats.refuse(Refusal::Template, lost);
        }
    }
}

impl Files {
    /// What an earlier process left to wait, or one that ends while this one runs already.
    fn find(&self, shared: &Shared) {
        for place in self.waiting.find(now_ns().saturating_sub(PATIENCE_NS)) {
            shared.recall(&place);
        }
    }
}

fn restore(shared: &Shared, path: &Path, dataset: &DatasetKey) {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(%dataset, path = %path.display(), %error,
                "templates of before cannot be read; records wait until their exporters send them again");
            return;
        }
    };
    if shared.restore(&bytes) {
        return;
    }
    let aside = path.with_extension("templates.damaged");
    let kept = fs::rename(path, &aside).is_ok();
    tracing::warn!(%dataset, path = %path.display(), aside = %aside.display(), kept,
        "the file of templates is damaged, or of a newer version: what could be read of it is in use, the rest comes \
         again with its exporters");
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    RealDisk.make_dirs(folder)?;
    // Of this process alone: while one follows another, both may write.
    let own = path.with_extension(format!("templates.{}", std::process::id()));
    RealDisk.replace(&own, bytes)?;
    RealDisk.rename(&own, path)?;
    RealDisk.sync_dir(folder)
}

fn rules(source: &FlowSource) -> Rules {
    let fields = source.max_template_fields;
    Rules {
        mac: source.mac_format,
        options: source.options_records,
        output: source.output,
        limits: Limits {
            exporters: source.max_exporters,
            fields_per_exporter: fields / 8,
            fields,
            waiting: source.max_waiting_bytes,
            ..Limits::default()
        },
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
