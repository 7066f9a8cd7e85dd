//! The short run: no coverage, but every target on every change, with the toolchain that is there.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::TARGETS;

/// Inputs of a target beyond its corpus, unless they take longer than [`LIMIT`].
const INPUTS: u32 = 20_000;
const LIMIT: Duration = Duration::from_secs(4);
/// Longest input.
const LONGEST: usize = 4096;
/// Numbers that lengths and offsets go wrong at.
const NUMBERS: [u32; 8] = [0, 1, 7, 0x7f, 0xff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Runs a target on its corpus and on mutations of it. `FUZZ_SEED` makes other ones.
pub fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    for input in &corpus {
        check(target, input);
    }
    let seed = std::env::var("FUZZ_SEED").map_or(1, |text| text.parse().unwrap());
    let mut mutator = Mutator { random: seed, words: words(name), corpus };
    let started = Instant::now();
    let mut count = 0;
    while count < INPUTS && started.elapsed() < LIMIT {
        check(target, &mutator.next());
        count += 1;
    }
    println!(
        "{name}: {} of the corpus, {count} mutations, seed {seed}, {:?}",
        mutator.corpus.len(),
        started.elapsed()
    );
}

/// The input of a failure is printed as a file that the fuzz target can be given.
fn check(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let hex = input.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        println!("input, for xxd -r -p: {hex}\n{:?}", String::from_utf8_lossy(input));
        resume_unwind(panic);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let files =
        fs::read_dir(folder().join("corpus").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A dictionary as libFuzzer reads it: `"text"` or `name="text"` a line, with `\\`, `\"` and `\xAB`.
fn words(name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder().join("dictionaries").join(name).with_extension("dict"))
        .unwrap_or_default();
    let quoted = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (_, rest) = line.split_once('"')?;
        rest.strip_suffix('"')
    });
    quoted.map(unescape).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = if byte == b'\\' { rest.next() } else { None };
        bytes.push(match escaped {
            Some(b'x') => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            Some(escaped) => escaped,
            None => byte,
        });
    }
    bytes
}

struct Mutator {
    random: u64,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    fn below(&mut self, limit: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % limit.max(1)
    }

    fn next(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        let mut input = self.corpus.get(at).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let len = input.len();
        let at = self.below(len + 1);
        let end = (at + self.below(16)).min(len);
        match self.below(9) {
            0 if at < len => input[at] ^= 1 << self.below(8),
            1 if at < len => input[at] = self.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                input.splice(at..(at + 4).min(len), number);
            }
            5 => {
                let other = self.below(self.corpus.len());
                let other = self.corpus.get(other).cloned().unwrap_or_default();
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            6 => input.truncate(at),
            7 => input.insert(at, self.below(256) as u8),
            _ if !self.words.is_empty() => {
                let word = self.below(self.words.len());
                input.splice(at..at, self.words[word].clone());
            }
            _ => {}
        }
    }
}

/// What is listed here runs under libFuzzer as well, and the other way round.
#[test]
fn every_target_has_a_program_and_a_corpus() {
    let names = |of: &str, ending: &str| -> Vec<String> {
        let files = fs::read_dir(folder().join(of)).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.iter().map(|name| name.strip_suffix(ending).unwrap().to_owned()).collect()
    };
    assert_eq!(names("fuzz_targets", ".rs"), TARGETS);
    assert_eq!(names("corpus", ""), TARGETS);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program =
            fs::read_to_string(folder().join("fuzz_targets").join(name).with_extension("rs")).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(data)")), "{name}");
        assert!(corpus(name).len() >= 5, "{name} has a corpus too small to begin with");
    }
    for name in names("dictionaries", ".dict") {
        assert!(TARGETS.contains(&&name[..]) && !words(&name).is_empty(), "{name}");
    }
}
