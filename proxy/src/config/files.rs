//! Files that a configuration names, looked for by `check` only: at run time each user of a file says so itself.

use serde_json::Value as Json;

use super::{Fault, Loaded, Problem, Severity};

impl Loaded {
    /// Adds a problem for each file that is named and cannot be read.
    pub fn look_for_files(&mut self) {
        let mut files = Vec::new();
        collect(&self.effective, "", &self.indices, &mut files);
        for (key, path) in files {
            if let Err(error) = std::fs::File::open(&path) {
                self.problems.push(Problem {
                    severity: Severity::Error,
                    fault: Fault::Invalid,
                    origin: self.origins.of(&key),
                    key,
                    what: format!("{path} cannot be read: {error}"),
                    remedy: "create the file or correct the path".to_owned(),
                });
            }
        }
    }
}

/// Every key that ends in `_file`, with its value. `indices` are the inputs' places in the file.
fn collect(json: &Json, path: &str, indices: &[usize], files: &mut Vec<(String, String)>) {
    match json {
        Json::Object(members) => {
            for (name, value) in members {
                let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match value {
                    Json::String(file) if name.ends_with("_file") && !file.is_empty() => {
                        files.push((key, file.clone()));
                    }
                    other => collect(other, &key, indices, files),
                }
            }
        }
        Json::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                let index = indices.get(position).filter(|_| path == "inputs").copied().unwrap_or(position);
                collect(item, &format!("{path}[{index}]"), indices, files);
            }
        }
        _ => {}
    }
}
