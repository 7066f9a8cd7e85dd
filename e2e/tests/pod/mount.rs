//! A projected volume as the kubelet keeps it: each version in a folder of its own, `..data` leads to the present one,
//! and every file is a link through that. A new version is a swap of `..data`, then links come and go.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// A mounted folder.
pub struct Mount {
    folder: PathBuf,
    version: u32,
}

impl Mount {
    /// An empty one in `parent`.
    pub fn new(parent: &Path, name: &str) -> Self {
        let mut mount = Self { folder: parent.join(name), version: 0 };
        fs::create_dir(&mount.folder).unwrap();
        mount.write(&[]);
        mount
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// From now on these are its files.
    pub fn write(&mut self, files: &[(&str, Vec<u8>)]) {
        let before = self.folder.join(format!("..v{}", self.version));
        self.version += 1;
        let data = format!("..v{}", self.version);
        fs::create_dir(self.folder.join(&data)).unwrap();
        for (name, content) in files {
            fs::write(self.folder.join(&data).join(name), content).unwrap();
        }
        symlink(&data, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
        for (name, _) in files.iter().filter(|(name, _)| self.path(name).symlink_metadata().is_err()) {
            symlink(Path::new("..data").join(name), self.path(name)).unwrap();
        }
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("..") && !files.iter().any(|(kept, _)| *kept == name) {
                fs::remove_file(path).unwrap();
            }
        }
        let _ = fs::remove_dir_all(before);
    }

    /// The document alone.
    pub fn document(&mut self, document: &Value) {
        self.write(&[("config.yaml", text(document))]);
    }

    /// The same compressed.
    pub fn compressed(&mut self, document: &Value) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&text(document)).unwrap();
        self.write(&[("config.yaml.gz", encoder.finish().unwrap())]);
    }
}

/// JSON is YAML.
pub fn text(document: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap()
}
