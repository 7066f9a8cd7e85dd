//! What is wrong with a configuration, where, and how to mend it. All of it, never only the first.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Notice,
    /// Runs, but not as written.
    Warning,
    /// What it concerns does not run: one input, or the whole file.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What sort of a mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A value is missing, wrong, or does not go with another.
    Invalid,
    /// A program of another version wrote what this one does not know.
    NotSupported,
    /// Another input has what it wants.
    Conflict,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file, line and column from 1.
    File {
        /// Name as it was given.
        file: Arc<str>,
        /// Line from 1; 0 when unknown.
        line: u64,
        /// Column from 1; 0 when unknown.
        column: u64,
    },
    /// In an environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0, .. } => f.write_str(file),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

impl serde::Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What sort of a mistake it is.
    pub fault: Fault,
    /// Where it was written.
    pub origin: Origin,
    /// Path of the key, such as `inputs[0].config.port`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// Index of the input it concerns, when it concerns only one.
    pub fn input(&self) -> Option<usize> {
        self.key.strip_prefix("inputs[")?.split_once(']')?.0.parse().ok()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.origin, self.severity)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Where each key was written.
#[derive(Debug)]
pub(super) struct Origins {
    written: BTreeMap<String, Origin>,
    file: Arc<str>,
}

impl Origins {
    /// Where `key`, or the nearest key around it, was written.
    pub fn of(&self, key: &str) -> Origin {
        let mut at = key;
        loop {
            if let Some(origin) = self.written.get(at) {
                return origin.clone();
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = at.get(..end).unwrap_or_default(),
                None => return Origin::File { file: Arc::clone(&self.file), line: 0, column: 0 },
            }
        }
    }
}

/// Collects findings.
#[derive(Debug)]
pub(super) struct Problems {
    found: Vec<Problem>,
    origins: Origins,
    /// Keys that have an error.
    wrong: HashSet<String>,
    /// Inputs that have one.
    failed: BTreeSet<usize>,
    /// Something beyond single inputs is wrong.
    file_failed: bool,
}

impl Problems {
    pub fn new(file: &str) -> Self {
        Self {
            found: Vec::new(),
            origins: Origins { written: BTreeMap::new(), file: file.into() },
            wrong: HashSet::new(),
            failed: BTreeSet::new(),
            file_failed: false,
        }
    }

    /// Name of the file.
    pub fn file(&self) -> Arc<str> {
        Arc::clone(&self.origins.file)
    }

    /// Remembers where `key` was written.
    pub fn locate(&mut self, key: &str, origin: Origin) {
        self.origins.written.insert(key.to_owned(), origin);
    }

    /// Where `key`, or the nearest key around it, was written.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.of(key)
    }

    /// An error at `key`. A key has one: the first is the cause of the others.
    pub fn error(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.fault(Fault::Invalid, key, what, remedy);
    }

    /// The same for another sort of mistake.
    pub fn fault(&mut self, fault: Fault, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        if !self.wrong.insert(key.to_owned()) {
            return;
        }
        self.push(Severity::Error, fault, key, what.into(), remedy.into());
        match self.found.last().and_then(Problem::input) {
            Some(index) => _ = self.failed.insert(index),
            None => self.file_failed = true,
        }
    }

    pub fn warning(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Warning, Fault::Invalid, key, what.into(), remedy.into());
    }

    /// A key without effect. When it was meant to keep somebody out, running without it is no option.
    pub fn no_such_key(&mut self, key: &str, what: &str, protects: bool, remedy: &str) {
        if protects {
            let what =
                format!("{what}, but looks like one that restricts or protects: nothing runs without it");
            self.error(key, what, format!("{remedy} Correct it or leave it out"));
        } else {
            self.warning(key, format!("{what} and has no effect"), remedy);
        }
    }

    pub fn notice(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(Severity::Notice, Fault::Invalid, key, what.into(), remedy.into());
    }

    fn push(&mut self, severity: Severity, fault: Fault, key: &str, what: String, remedy: String) {
        let origin = self.origin(key);
        self.found.push(Problem { severity, fault, origin, key: key.to_owned(), what, remedy });
    }

    /// Says of inputs with errors that they go on as they run.
    pub fn go_on(&mut self, inputs: &BTreeSet<usize>) {
        let errors = self.found.iter_mut().filter(|problem| problem.severity == Severity::Error);
        for problem in errors.filter(|problem| problem.input().is_some_and(|index| inputs.contains(&index))) {
            problem.remedy.push_str(". Until then the input goes on as it was; a restart would leave it out");
        }
    }

    /// Whether this input has an error of its own.
    pub fn input_failed(&self, index: usize) -> bool {
        self.failed.contains(&index)
    }

    /// The first error of each input that has one.
    pub fn of_inputs(&self) -> BTreeMap<usize, &Problem> {
        let mut first = BTreeMap::new();
        for problem in self.found.iter().filter(|problem| problem.severity == Severity::Error) {
            if let Some(index) = problem.input() {
                first.entry(index).or_insert(problem);
            }
        }
        first
    }

    /// Whether anything beyond single inputs is wrong.
    pub fn file_failed(&self) -> bool {
        self.file_failed
    }

    /// The findings in the order of the file, and where everything was written.
    pub fn into_sorted(mut self) -> (Vec<Problem>, Origins) {
        self.found.sort_by_key(|p| match &p.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            Origin::Environment(_) => (1, 0, 0),
        });
        (self.found, self.origins)
    }
}
