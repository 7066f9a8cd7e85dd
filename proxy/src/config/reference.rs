//! The reference (`docs/reference/config.md`), generated from the known keys.

use std::fmt::Write;

use serde_json::Value as Json;

use super::{
    env,
    legacy::{Fate, LATER_TYPES, OLD},
    schema::{self, Key, Kind},
};

const HEAD: &str = "# Configuration

<!-- Generated from the code: `UPDATE=1 cargo test -p bytefreezer-proxy --lib config::reference`. Do not edit. -->

One YAML file, named by `--config` or the variable `CONFIG_FILE` (default: `config.yaml` in the working directory).
`bytefreezer-proxy check FILE` says what is wrong with one, with line, key and remedy.

- Names of keys match in any case. A number or switch written as text (`\"8008\"`, `\"true\"`) is taken, with a warning.
- A key left out has its default; an explicit `0` or `false` is what it says.
- An unknown key has no effect and is reported with the nearest known one. When that one restricts or protects (tokens,
  TLS, `allowed_sources`, `auth`, PROXY protocol, limits of connections and bodies) it is an error: nobody is let in
  because of a slip. So is any unknown key under `tls`, `auth` or `tenants.<id>`. Of variables only those that differ by
  one or two letters are: other programs' may begin alike.
- Durations are whole seconds, sizes bytes.
- Every secret has a twin `..._file` that names a file, read at each use.
- What is wrong with one input keeps that input from starting, and no other.
- A change of the file, or SIGHUP, applies the difference: what did not change keeps running, and what is not in the file
  any more ends. An input that has become wrong, or that would take what another one holds, goes on as it was until the
  process ends (a start with that file leaves it out: nothing is kept beside the file that would say how it was); the status
  says so and `config_failing` is 1. A file with an error outside single inputs changes nothing.
- The API moves to another address once that is bound, and until then stays where it is; where the old address is in the
  way it closes for the attempt, three seconds at most. `app.name`,
  `logging.encoding`, `spooling.enabled`, `spooling.directory` and `limits` take effect at the next start; the status
  lists those that wait for it.

## Environment

";

const ENVIRONMENT: &str = "reaches every key and beats the file: the key's path in capitals with `_` between its parts, such as
`BYTEFREEZER_PROXY_RECEIVER_BASE_URL`. Entries of `inputs` go by number from 0 (`BYTEFREEZER_PROXY_INPUTS_0_CONFIG_PORT`), lists are written with commas, an empty
value counts as not set. What Kubernetes sets for a Service called `bytefreezer-proxy` is not taken for a setting.

";

const TAIL: &str = "
## Keys of the former program

Each is still understood, or answered by name when it is found:

| key | now |
|---|---|
";

/// The whole page.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    let _ = write!(page, "`{}...` {ENVIRONMENT}", env::PREFIX);
    if let Kind::Table(keys) = schema::root() {
        page.push_str("## Top level\n\n");
        table(&mut page, "", &keys.iter().filter(|key| is_value(&key.kind)).collect::<Vec<_>>());
        for key in keys.iter().filter(|key| !is_value(&key.kind)) {
            section(&mut page, &key.name, key);
        }
    }
    page.push_str(TAIL);
    for old in OLD {
        let types =
            if old.types.is_empty() { String::new() } else { format!(" (`{}`)", old.types.join("`, `")) };
        let now = match old.fate {
            Fate::Alias(target) => format!("`{target}`"),
            Fate::Answer(text) | Fate::AnswerUnless(_, text) => text.to_owned(),
        };
        let _ = writeln!(page, "| `{}`{types} | {now} |", old.key);
    }
    let _ = writeln!(page, "\nNot in this version yet: inputs of the types `{}`.", LATER_TYPES.join("`, `"));
    page
}

fn is_value(kind: &Kind) -> bool {
    kind.is_scalar() || matches!(kind, Kind::List(inner) if inner.is_scalar())
}

fn section(page: &mut String, path: &str, key: &Key) {
    let _ = write!(page, "\n## `{path}`\n\n{}\n\n", key.doc);
    match &key.kind {
        Kind::Table(keys) => flat(page, "", keys),
        Kind::Named(inner) => {
            if let Kind::Table(keys) = &**inner {
                flat(page, "<id>.", keys);
            }
        }
        Kind::List(inner) => {
            if let Kind::Typed(variants) = &**inner {
                for variant in variants {
                    let _ = write!(page, "### `type: {}`\n\n{}\n\n", variant.name, variant.doc);
                    flat(page, "", &variant.keys);
                    page.push('\n');
                }
            }
        }
        _ => {}
    }
}

/// One table with the keys of nested tables under their dotted names.
fn flat(page: &mut String, prefix: &str, keys: &[Key]) {
    fn rows(prefix: &str, keys: &[Key], page: &mut String) {
        for key in keys {
            let name = format!("{prefix}{}", key.name);
            match &key.kind {
                Kind::Table(inner) => rows(&format!("{name}."), inner, page),
                Kind::List(inner) => match &**inner {
                    Kind::Table(inner) => rows(&format!("{name}[]."), inner, page),
                    _ => row(page, &name, key),
                },
                _ => row(page, &name, key),
            }
        }
    }
    page.push_str("| key | takes | default | |\n|---|---|---|---|\n");
    rows(prefix, keys, page);
}

fn table(page: &mut String, prefix: &str, keys: &[&Key]) {
    page.push_str("| key | takes | default | |\n|---|---|---|---|\n");
    for key in keys {
        row(page, &format!("{prefix}{}", key.name), key);
    }
}

fn row(page: &mut String, name: &str, key: &Key) {
    let old = if key.deprecated { "*Old.* " } else { "" };
    let mut doc = format!("{old}{}", key.doc);
    let words = match &key.kind {
        Kind::Choice(words) => words.as_slice(),
        Kind::List(inner) => match &**inner {
            Kind::Choice(words) => words.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    for word in words.iter().filter(|word| !word.doc.is_empty()) {
        let _ = write!(doc, "<br>`{}`: {}", word.value, word.doc);
    }
    let _ = writeln!(
        page,
        "| `{name}` | {} | {} | {} |",
        takes(&key.kind),
        default(&key.default),
        doc.replace('|', "\\|")
    );
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Integer { min, max: u64::MAX } => format!("number from {min}"),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Choice(words) => {
            words.iter().map(|word| format!("`{}`", word.value)).collect::<Vec<_>>().join(", ")
        }
        Kind::List(inner) => format!("list of {}", takes(inner)),
        Kind::Text | Kind::Table(_) | Kind::Named(_) | Kind::Typed(_) => "text".to_owned(),
    }
}

fn default(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::Array(items) if items.is_empty() => String::new(),
        Json::Array(items) => items.iter().map(default).collect::<Vec<_>>().join(", "),
        Json::String(text) => format!("`{}`", text.escape_debug()),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Compares a generated file with the one checked in, or writes it under `UPDATE=1`.
    fn is_current(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "docs/reference/{name} is out of date: run with UPDATE=1");
    }

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        is_current("config.md", &super::reference());
    }

    #[test]
    fn the_schema_in_docs_is_the_generated_one() {
        let schema = serde_json::to_string_pretty(&crate::config::json_schema()).unwrap();
        is_current("config.schema.json", &format!("{schema}\n"));
    }
}
