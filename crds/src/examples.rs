//! What users are shown is taken: every Proxy and ProxyDataset of the examples and of the documentation.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use crate::{
    conditions::{ConditionType, Reason},
    testing::{Kind, judge},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|there| there == extension) {
            found.push(path);
        }
    }
}

/// The YAML of a page, fence by fence.
fn fenced(page: &str) -> Vec<String> {
    page.split("\n```yaml\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split("\n```").next()?.to_owned()))
        .collect()
}

/// Judges every object of ours in `text`; how many there were.
fn judged(at: &Path, text: &str) -> usize {
    let mut count = 0;
    for document in format!("\n{text}").split("\n---") {
        let object: Json = serde_saphyr::from_str(document)
            .unwrap_or_else(|error| panic!("{}: {error}\n{document}", at.display()));
        let kind = match (object["apiVersion"].as_str(), object["kind"].as_str()) {
            (Some("bytefreezer.com/v1alpha1"), Some("Proxy")) => Kind::Proxy,
            (Some("bytefreezer.com/v1alpha1"), Some("ProxyDataset")) => Kind::Dataset,
            _ => continue,
        };
        assert_eq!(judge(kind, &object, None), Vec::<String>::new(), "{}:\n{document}", at.display());
        count += 1;
    }
    count
}

#[test]
fn examples_are_taken() {
    let mut found = Vec::new();
    files(&root().join("examples/kubernetes"), "yaml", &mut found);
    let count: usize = found.iter().map(|path| judged(path, &fs::read_to_string(path).unwrap())).sum();
    assert!(count >= 9, "only {count} objects in {found:#?}");
}

#[test]
fn the_documentation_is_taken() {
    let mut found = vec![root().join("README.md")];
    files(&root().join("docs/kubernetes"), "md", &mut found);
    let pages = found.iter().map(|path| (path, fs::read_to_string(path).unwrap()));
    let count: usize =
        pages.map(|(path, page)| fenced(&page).iter().map(|text| judged(path, text)).sum::<usize>()).sum();
    assert!(count >= 1, "only {count} objects in {found:#?}");
}

#[test]
fn every_condition_and_reason_has_a_row_in_the_troubleshooting_page_and_no_row_is_stale() {
    let page = fs::read_to_string(root().join("docs/kubernetes/troubleshooting.md")).unwrap();
    let rows = |part: &str| -> BTreeSet<String> {
        let word = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
        part.lines().filter_map(word).filter(|word| word.starts_with(char::is_uppercase)).collect()
    };
    let (_, page) = page.split_once("\n## Conditions\n").unwrap();
    let (conditions, page) = page.split_once("\n## Reasons\n").unwrap();
    let (reasons, _) = page.split_once("\n## The operator itself\n").unwrap();
    let known: BTreeSet<String> = ConditionType::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(rows(conditions), known);
    let known: BTreeSet<String> = Reason::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(rows(reasons), known);
}
