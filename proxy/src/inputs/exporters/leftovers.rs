//! Files of datasets that have no input any more.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::config::Input;

/// So long they stay after they were written: who was taken out by mistake, or for a while, finds them again.
const STAY: Duration = Duration::from_hours(7 * 24);

/// Removes those that are old. What it cannot tell is left alone.
pub fn remove(folder: &Path, inputs: &[Input]) {
    let wanted: HashSet<_> =
        inputs.iter().map(|input| (input.key.tenant.as_str(), input.key.dataset.as_str())).collect();
    for tenant in names(folder) {
        let place = folder.join(&tenant);
        for file in names(&place) {
            let Some(dataset) = dataset_of(&file) else { continue };
            let path = place.join(&file);
            if wanted.contains(&(tenant.as_str(), dataset)) || !is_old(&path) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed: no input has this dataset any more");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error,
                        "the file of a dataset that no input has any more cannot be removed; trying again at the next start");
                }
            }
        }
        // Fails where there is something in it.
        let _ = fs::remove_dir(place);
    }
}

/// `routers` of `routers.waiting`, `routers.templates`, `routers.templates.damaged`.
fn dataset_of(file: &str) -> Option<&str> {
    file.strip_suffix(".waiting").or_else(|| file.rsplit_once(".templates").map(|(dataset, _)| dataset))
}

fn is_old(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|found| found.modified());
    // A time ahead of the clock is not old.
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STAY))
}

fn names(folder: &Path) -> Vec<String> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                tracing::warn!(path = %folder.display(), %error,
                    "what exporters have taught cannot be listed; files that nobody needs stay");
            }
            return Vec::new();
        }
    };
    listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
