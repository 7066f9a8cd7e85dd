//! The text of the configuration: a file, or the same compressed beside it.
//!
//! A mounted ConfigMap holds `config.yaml`, or `config.yaml.gz` once that no longer fits, and may change from one to the
//! other. Where both are there the plain one counts. Length is bounded, before and after decompression.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

/// Longest text.
const MAX_TEXT: u64 = 32 << 20;

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// In this file.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither the file nor a compressed one.
    #[error(
        "{0}: error: there is neither this file nor {packed}; name another one with --config",
        packed = compressed(.0).display()
    )]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{0}: error: cannot be read: {1}; mend the file, or name another one with --config")]
    Unreadable(PathBuf, io::Error),
    /// Longer than any configuration.
    #[error("{0}: error: has more than {MAX_TEXT} bytes; this is no configuration")]
    TooLong(PathBuf),
}

/// The places of a configuration called `file`, in the order in which they are looked at.
pub fn candidates(file: &Path) -> Vec<PathBuf> {
    if is_compressed(file) { vec![file.to_owned()] } else { vec![file.to_owned(), compressed(file)] }
}

/// Reads the configuration called `file`.
pub fn read(file: &Path) -> Result<Found, SourceError> {
    for candidate in candidates(file) {
        match File::open(&candidate) {
            Ok(opened) => return text(candidate, opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SourceError::Unreadable(candidate, error)),
        }
    }
    Err(SourceError::Missing(file.to_owned()))
}

fn text(file: PathBuf, opened: File) -> Result<Found, SourceError> {
    let mut bytes = Vec::new();
    let read = if is_compressed(&file) {
        MultiGzDecoder::new(opened.take(MAX_TEXT)).take(MAX_TEXT + 1).read_to_end(&mut bytes)
    } else {
        opened.take(MAX_TEXT + 1).read_to_end(&mut bytes)
    };
    match read {
        Err(error) => Err(SourceError::Unreadable(file, error)),
        Ok(length) if length as u64 > MAX_TEXT => Err(SourceError::TooLong(file)),
        Ok(_) => {
            let Ok(text) = String::from_utf8(bytes) else {
                let error = io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text");
                return Err(SourceError::Unreadable(file, error));
            };
            Ok(Found { file, text })
        }
    }
}

fn is_compressed(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "gz")
}

fn compressed(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".gz");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_plain_file_counts_then_the_compressed_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("config.yaml.gz; name another one with --config"), "{error}");
        fs::write(folder.path().join("config.yaml.gz"), gzip(b"a: 1")).unwrap();
        assert_eq!(read(&file).unwrap().text, "a: 1");
        assert_eq!(read(&folder.path().join("config.yaml.gz")).unwrap().text, "a: 1");
        fs::write(&file, "a: 2").unwrap();
        assert_eq!(read(&file).unwrap().text, "a: 2");
    }

    #[test]
    fn what_is_no_text_or_has_no_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml.gz");
        for (bytes, says) in [
            (gzip(&vec![b'#'; MAX_TEXT as usize + 1]), "no configuration"),
            (b"a: 1".to_vec(), "cannot be read"),
            (gzip(b"a: 1")[..8].to_vec(), "cannot be read"),
            (gzip(b"\xff\xfe"), "no UTF-8"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("config.yaml.gz"), "{error}");
        }
    }
}
