//! Documents that a program wrote, of our version or of another.

use super::*;

const INPUTS: &str = "inputs:
  - {type: udp, name: good, config: {port: 1, dataset_id: good}}
  - {type: udp, name: key, config: {port: 2, dataset_id: key, allowed_planets: [mars]}}
  - {type: kafka, name: kind, config: {port: 3, dataset_id: kind}}
  - {type: tcp, name: word, config: {port: 4, dataset_id: word, oversize: shrug}}
  - {type: udp, name: wrong, config: {port: 66000, dataset_id: wrong}}
  - {type: udp, name: rival, config: {port: 1, dataset_id: rival}}
";

#[test]
fn an_input_with_something_unknown_is_refused_alone_and_told_from_one_that_is_wrong() {
    for version in [1, 99] {
        let loaded = load(&format!("schema_version: {version}\n{HEAD}{INPUTS}"));
        let verdicts: Vec<_> = loaded.refused.iter().map(|one| (one.name.as_str(), one.fault)).collect();
        let expected = [
            ("key", Fault::NotSupported),
            ("kind", Fault::NotSupported),
            ("word", Fault::NotSupported),
            ("wrong", Fault::Invalid),
            ("rival", Fault::Conflict),
        ];
        assert_eq!(verdicts, expected, "{version}");
        let key = &loaded.refused[0];
        assert_eq!(
            (&key.hash, key.kind.as_str(), key.dataset_id.as_str()),
            (&loaded.hashes[1], "udp", "key")
        );
        assert!(key.problem.contains("inputs[1].config.allowed_planets"), "{}", key.problem);
        let config = loaded.usable().unwrap().config;
        assert_eq!((config.inputs.len(), config.schema_version), (1, Some(version)));
    }
}

#[test]
fn outside_of_inputs_what_a_newer_program_writes_is_a_warning() {
    let text = |version: &str| {
        format!(
            "{version}{HEAD}server: {{secret_knock_file: /k}}\nlogging: {{encoding: cbor}}\ntelepathy: {{on: true}}\n"
        )
    };
    let newer = load(&text("schema_version: 99\n"));
    assert!(!newer.has_errors(), "{:#?}", newer.problems);
    assert_eq!(newer.problems.iter().filter(|one| one.severity == Severity::Warning).count(), 3);
    // A person misspells.
    let person = load(&text(""));
    assert_eq!(problem(&person, "logging.encoding").severity, Severity::Error);
    // A program of our own version knows every word.
    let ours = load(&text("schema_version: 1\n"));
    assert_eq!(problem(&ours, "logging.encoding").severity, Severity::Error);
    assert_eq!(problem(&ours, "server.secret_knock_file").severity, Severity::Warning);
}

#[test]
fn a_program_may_want_no_inputs_or_none_that_we_can_run() {
    let empty = load(&format!("schema_version: 1\n{HEAD}inputs: []\n"));
    assert_eq!(empty.problems, []);
    assert!(empty.usable().is_ok());
    let none = "inputs: [{type: udp, name: a, config: {prot: 1}}]\n";
    assert!(load(&format!("schema_version: 1\n{HEAD}{none}")).usable().is_ok());
    assert!(load(&format!("{HEAD}{none}")).usable().is_err(), "a person has to look");
}

#[test]
fn an_entry_that_is_refused_at_a_reload_goes_on_with_its_own_hash() {
    let text = |config: &str| {
        format!(
            "schema_version: 1\n{HEAD}inputs:\n  - {{type: udp, name: a, config: {{dataset_id: a, port: 1{config}}}}}\n"
        )
    };
    let old = load(&text(""));
    let hash = old.hashes[0].clone();
    let old = good(old);
    assert_eq!(old.inputs[0].hash, hash);
    let new = config::reload("x.yaml", &text(", allowed_planets: [mars]"), [], &old);
    assert_eq!(new.refused[0].goes_on.as_ref(), Some(&old.inputs[0].key));
    assert_ne!(new.refused[0].hash, hash);
    let new = new.usable().unwrap().config;
    assert_eq!(new.inputs[0].hash, hash);
    let better = config::reload("x.yaml", &text(", source_field: from"), [], &new);
    assert_eq!((better.refused.len(), &good(better).inputs[0].source_field), (0, &Some("from".to_owned())));
}
