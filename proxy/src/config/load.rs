//! From text and variables to a [`Config`] with everything that was found on the way.

use serde_json::Value as Json;

use super::{
    Config, Origin, Problem, RefusedInput, Severity,
    author::Author,
    document::Document,
    env, fingerprint, fit, legacy,
    problems::{Origins, Problems},
    tree,
    validate::{Beside, validate},
};

/// The outcome of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// What runs: everything but the inputs with errors, or their running versions at a reload. `None` when something
    /// beyond single inputs is wrong.
    pub config: Option<Config>,
    /// Everything found, in the order of the file.
    pub problems: Vec<Problem>,
    /// The file with all defaults filled in and all secrets masked.
    pub effective: Json,
    /// Entries under `inputs`, with those that were left out.
    pub inputs_written: usize,
    /// Those that do not run as written.
    pub refused: Vec<RefusedInput>,
    /// What names each entry under `inputs`, in the order of the file; see [`super::Input::hash`].
    pub hashes: Vec<String>,
    /// Where each key was written.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(super) origins: Origins,
    /// The inputs' places in the file.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code))]
    pub(super) indices: Vec<usize>,
}

impl Loaded {
    /// Whether anything does not run as written.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The configuration, unless nothing useful is left: no input although some were written. Where a program wrote
    /// them it looks at what became of each, and an empty configuration is one too.
    pub fn usable(self) -> Result<Usable, Vec<Problem>> {
        match self.config {
            Some(config)
                if self.refused.is_empty()
                    || !config.inputs.is_empty()
                    || config.schema_version.is_some() =>
            {
                Ok(Usable { config, problems: self.problems, refused: self.refused })
            }
            _ => Err(self.problems),
        }
    }
}

/// A configuration that can run, though maybe not all of it.
#[derive(Debug)]
pub struct Usable {
    /// What runs.
    pub config: Config,
    /// Everything found.
    pub problems: Vec<Problem>,
    /// Inputs that do not run as written.
    pub refused: Vec<RefusedInput>,
}

/// Reads `text`, which `file` names, under `variables`.
pub fn load(file: &str, text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Loaded {
    read(file, text, variables, None)
}

/// As [`load`], for a process in which `running` runs: of an input that is wrong now, the version in there goes on.
pub fn reload(
    file: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    running: &Config,
) -> Loaded {
    read(file, text, variables, Some(running))
}

fn read(
    file: &str,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    running: Option<&Config>,
) -> Loaded {
    let mut problems = Problems::new(file);
    let mut tree = match tree::parse(&problems.file(), text) {
        Ok(tree) => tree,
        Err(error) => {
            let origin = Origin::File { file: problems.file(), line: error.line, column: error.column };
            problems.locate("", origin);
            problems.error("", error.message, "correct the YAML");
            let (problems, origins) = problems.into_sorted();
            return Loaded {
                config: None,
                problems,
                effective: Json::Null,
                inputs_written: 0,
                refused: Vec::new(),
                hashes: Vec::new(),
                origins,
                indices: Vec::new(),
            };
        }
    };
    let (hashes, author) = (fingerprint::of_inputs(&tree), Author::of(&tree));
    env::overlay(&mut tree, variables, &mut problems);
    legacy::settle(&mut tree, &mut problems);
    let fitted = fit::fit(&tree, author, &mut problems);
    let document: Document = match serde_json::from_value(fitted.json) {
        Ok(document) => document,
        Err(error) => {
            problems.error("", format!("cannot be read: {error}"), "correct the file");
            Document::default()
        }
    };
    let effective = masked(serde_json::to_value(&document).unwrap_or_default());
    let beside = Beside { tree: &tree, indices: &fitted.inputs, running, hashes: &hashes, author };
    let (config, refused) = validate(document, &beside, &mut problems);
    let (problems, origins) = problems.into_sorted();
    Loaded {
        config,
        problems,
        effective,
        inputs_written: fitted.written,
        refused,
        hashes,
        origins,
        indices: fitted.inputs,
    }
}

/// Every secret by the pattern of its name; paths of secret files are no secrets.
fn masked(mut json: Json) -> Json {
    fn walk(json: &mut Json) {
        match json {
            Json::Object(members) => {
                for (name, value) in members {
                    let secret =
                        ["token", "password", "secret", "key"].iter().any(|word| name.ends_with(word));
                    match value {
                        Json::String(text) if secret && !text.is_empty() => *value = "********".into(),
                        other => walk(other),
                    }
                }
            }
            Json::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut json);
    json
}
