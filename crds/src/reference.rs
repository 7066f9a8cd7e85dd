//! The reference (`docs/reference/crds.md`), generated from the schemas.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

use crate::{
    conditions::{ConditionType, Reason},
    crds, schema,
};

const HEAD: &str = "# Resources

<!-- Generated from the code: `UPDATE=1 make generate`. Do not edit. -->

Group `bytefreezer.com`, version `v1alpha1`. `kubectl explain proxy.spec` and `kubectl explain proxydataset.spec` say the
same at the command line. Durations are written `90s`, `5m` or `1h30m`, sizes `512Ki`, `64Mi` or `20Gi`.
";

/// The whole page.
pub fn reference() -> Result<String, serde_json::Error> {
    let mut page = String::from(HEAD);
    for crd in crds()? {
        let json = serde_json::to_value(&crd)?;
        let none = Json::Null;
        let root = json.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap_or(&none);
        let names = &crd.spec.names;
        let short = names.short_names.as_deref().unwrap_or_default().join("`, `");
        let _ = write!(
            page,
            "\n## {}\n\n{} `kubectl get {}`, short `{short}`.\n",
            names.kind,
            text(root, "description"),
            names.plural
        );
        rules(&mut page, root);
        for part in ["spec", "status"] {
            section(&mut page, part, &root["properties"][part]);
        }
    }
    conditions(&mut page);
    Ok(page)
}

fn conditions(page: &mut String) {
    page.push_str("\n## Conditions\n\n| type | `True` means | what to do |\n|---|---|---|\n");
    for kind in ConditionType::ALL {
        let _ = writeln!(page, "| `{kind}` | {} | {} |", kind.meaning(), kind.remedy());
    }
    page.push_str("\n### Reasons\n\n| reason | means | what to do |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let _ = writeln!(page, "| `{reason}` | {} | {} |", reason.meaning(), reason.remedy());
    }
}

/// One table for an object, then one for each object of ours in it.
fn section(page: &mut String, path: &str, object: &Json) {
    let Some(properties) = object["properties"].as_object() else { return };
    let _ = write!(page, "\n### `{path}`\n\n");
    if path != "spec" && path != "status" {
        let _ = write!(page, "{}\n\n", text(object, "description"));
    }
    page.push_str("| field | takes | default | |\n|---|---|---|---|\n");
    let required = object["required"].as_array().cloned().unwrap_or_default();
    for (name, part) in properties {
        let needed = required.iter().any(|one| one == name);
        row(page, name, part, needed);
    }
    rules(page, object);
    for (name, part) in properties {
        let (suffix, inner) = if part["items"].is_object() { ("[]", &part["items"]) } else { ("", part) };
        if !is_foreign(inner) {
            section(page, &format!("{path}.{name}{suffix}"), inner);
        }
    }
}

fn row(page: &mut String, name: &str, part: &Json, needed: bool) {
    let mut doc = text(part, "description").replace('|', "\\|");
    for message in messages(part).chain(messages(&part["items"])) {
        let _ = write!(doc, "<br>Refused: \"{}\"", message.replace('|', "\\|"));
    }
    let default = match &part["default"] {
        _ if needed => "*required*".to_owned(),
        Json::Null | Json::Object(_) => String::new(),
        Json::String(text) => format!("`{}`", text.escape_debug()),
        other => format!("`{other}`"),
    };
    let _ = writeln!(page, "| `{name}` | {} | {default} | {doc} |", takes(part));
}

/// Kubernetes' own types, which its own reference describes.
fn is_foreign(part: &Json) -> bool {
    let Some(properties) = part["properties"].as_object() else { return true };
    let known: [&[&str]; 6] = [
        &["nodeAffinity"],
        &["matchExpressions", "matchLabels"],
        &["claims", "limits", "requests"],
        &["tolerationSeconds"],
        &["whenUnsatisfiable"],
        &["lastTransitionTime"],
    ];
    known.iter().any(|names| names.iter().all(|name| properties.contains_key(*name)))
}

fn takes(part: &Json) -> String {
    if let Some(words) = part["enum"].as_array() {
        return words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match part["type"].as_str() {
        Some("array") => format!("list of {}", takes(&part["items"])),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("integer") => match (part["minimum"].as_f64(), part["maximum"].as_f64()) {
            (Some(least), Some(most)) => format!("number, {least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("string") => "text".to_owned(),
        _ if part["additionalProperties"].is_object() => "names and texts".to_owned(),
        _ => "object".to_owned(),
    }
}

fn rules(page: &mut String, part: &Json) {
    let mut messages = messages(part).peekable();
    if messages.peek().is_some() {
        page.push_str("\nRefused with:\n");
    }
    for message in messages {
        let _ = writeln!(page, "- \"{message}\"");
    }
}

fn messages(part: &Json) -> impl Iterator<Item = &str> {
    let rules = part[schema::RULES].as_array().map(Vec::as_slice).unwrap_or_default();
    rules.iter().filter_map(|rule| rule["message"].as_str())
}

fn text<'a>(part: &'a Json, name: &str) -> &'a str {
    part.as_object().and_then(|part: &Map<String, Json>| part.get(name)?.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Compares a generated file with the one checked in, or writes it under `UPDATE=1`.
    fn is_current(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{name} is out of date: run UPDATE=1 make generate");
    }

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        is_current("docs/reference/crds.md", &super::reference().unwrap());
    }

    #[test]
    fn the_definitions_beside_the_code_are_the_generated_ones() {
        for crd in crate::crds().unwrap() {
            let name = format!("crds/bytefreezer.com_{}.yaml", crd.spec.names.plural);
            is_current(&name, &crate::yaml(&crd).unwrap());
        }
    }
}
