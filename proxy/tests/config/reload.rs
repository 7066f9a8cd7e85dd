//! Another file for a process that runs.

use super::*;

#[test]
fn a_difference_names_what_changed_and_what_needs_a_restart() {
    let base =
        inputs("  - {type: udp, name: a, config: {port: 1}}\n  - {type: udp, name: b, config: {port: 2}}\n");
    let old = good(load(&base));
    assert!(Difference::between(&old, &good(load(&base.replace("port: 1}", "port:   1}")))).is_empty());
    let new = good(load(&format!(
        "{}  - {{type: udp, name: c, config: {{port: 3}}}}\nlogging: {{level: debug}}\nserver: {{api_port: 1234}}\nspooling: {{directory: /x}}\n",
        base.replace("name: b, config: {port: 2}", "name: b, config: {port: 4}")
    )));
    let difference = Difference::between(&old, &new);
    let names = |keys: &[bytefreezer_proxy::ids::DatasetKey]| {
        keys.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&difference.added), names(&difference.changed)),
        (vec!["acme/c".to_owned()], vec!["acme/b".to_owned()])
    );
    assert_eq!(difference.sections, ["logging", "server"]);
    assert_eq!(difference.restart, ["spooling.directory"]);
    assert_eq!(names(&Difference::between(&new, &old).removed), ["acme/c"]);
}

/// What runs after `text` was reloaded: name and port of each input, and the keys of all errors.
fn reloaded(running: &Config, text: &str) -> (Vec<(String, u16)>, Vec<String>) {
    let loaded = config::reload("x.yaml", &inputs(text), [], running);
    let errors = loaded.problems.iter().filter(|p| p.severity == Severity::Error);
    let errors = errors.map(|p| p.key.clone()).collect();
    let inputs = loaded.config.map(|config| config.inputs).unwrap_or_default();
    (inputs.into_iter().map(|input| (input.name, input.listen.port)).collect(), errors)
}

fn running(text: &str) -> Config {
    good(load(&inputs(text)))
}

const A: &str = "  - {type: udp, name: a, config: {port: 1}}\n";
const B: &str = "  - {type: udp, name: b, config: {port: 2}}\n";

#[test]
fn an_input_that_has_become_wrong_goes_on_as_it_runs_and_one_that_is_gone_does_not() {
    let old = running(&format!("{A}{B}"));
    for (wrong, key) in [
        ("  - {type: udp, name: b, config: {port: 99999}}\n", "config.port"),
        ("  - {type: udp, name: b, config: {}}\n", "config.port"),
        ("  - {type: udpp, name: b, config: {port: 2}}\n", "type"),
        ("  - {name: b, config: {port: 2}}\n", "type"),
        ("  - {type: udp, name: b, config: {port: 2, dataset_id: a--b}}\n", "config.dataset_id"),
        (
            "  - {type: udp, name: b, config: {port: 2, dataset_id: other, data_format: x}}\n",
            "config.data_format",
        ),
        ("  - {type: udp, name: renamed, config: {port: x, dataset_id: b}}\n", "config.port"),
        (
            "  - {type: udp, name: b, config: {port: 2, allowed_source: [10.0.0.1]}}\n",
            "config.allowed_source",
        ),
    ] {
        let (inputs, errors) = reloaded(&old, &format!("{wrong}{A}"));
        assert_eq!(inputs, [("b".to_owned(), 2), ("a".to_owned(), 1)], "{wrong}");
        assert_eq!(errors, [format!("inputs[0].{key}")], "{wrong}");
    }
    let loaded = config::reload("x.yaml", &inputs("  - {type: udp, name: b, config: {}}\n"), [], &old);
    let text = problem(&loaded, "inputs[0].config.port").to_string();
    assert!(
        text.starts_with("x.yaml:5:") && text.contains("Until then the input goes on as it was"),
        "{text}"
    );
    assert_eq!(loaded.config.unwrap().inputs, old.inputs[1..]);
    assert_eq!(reloaded(&old, A).0, [("a".to_owned(), 1)], "what is gone ends");
    let off = "  - {type: udp, name: b, enabled: false, config: {port: 99999}}\n";
    assert_eq!(reloaded(&old, &format!("{A}{off}")).0, [("a".to_owned(), 1)], "what is switched off ends");
    let new = "  - {type: udp, name: c, config: {port: 99999}}\n";
    assert_eq!(reloaded(&old, &format!("{A}{new}")).0, [("a".to_owned(), 1)], "what never ran does not");
}

#[test]
fn an_input_that_goes_on_keeps_the_token_of_its_tenant() {
    let entry = |text: &str| format!("{A}  - {{name: b, {text}}}\n");
    let good = "type: udp, config: {port: 2, tenant_id: beta, bearer_token: upload}";
    let old = running(&entry(good));
    for wrong in [
        "type: udpp, config: {port: 2, tenant_id: beta, bearer_token: upload}",
        "type: udp, config: {port: 99999, tenant_id: beta}",
        "type: udp, config: {port: 2, tenant_id: a--b, dataset_id: b, bearer_token: upload}",
        "type: udp, config: {port: 99999, tenant_id: gamma, bearer_token: upload}",
        "type: udp, config: {port: 2, tenant_id: beta, bearer_tokn: upload}",
    ] {
        let config = config::reload("x.yaml", &inputs(&entry(wrong)), [], &old).config.unwrap();
        assert_eq!(config.inputs, old.inputs, "{wrong}");
        let token = config.tokens.tenants.get(&"beta".parse().unwrap());
        assert_eq!(token, Some(&Secret::Inline("upload".into())), "{wrong}");
    }
    let config = config::reload("x.yaml", &inputs(A), [], &old).config.unwrap();
    assert!(config.tokens.tenants.is_empty(), "what is taken out is taken out");
}

#[test]
fn a_reload_ends_no_input_that_the_file_still_names() {
    let old = running(&format!("{A}{B}"));
    let ports = |text: &str| {
        let (inputs, errors) = reloaded(&old, text);
        (inputs.into_iter().map(|(_, port)| port).collect::<Vec<_>>(), errors)
    };
    let error = |index: usize| format!("inputs[{index}].config");
    // The first moves to where the second is: it stays where it was.
    let (inputs, errors) = ports(&format!("{}{B}", A.replace("port: 1", "port: 2")));
    assert_eq!((inputs, errors), (vec![1, 2], vec![error(0) + ".allowed_sources"]));
    // The same while the second is wrong.
    let wrong = B.replace("port: 2", "port: 2, data_format: x");
    let (inputs, errors) = ports(&format!("{}{wrong}", A.replace("port: 1", "port: 2")));
    assert_eq!((inputs, errors.len()), (vec![1, 2], 2), "{errors:?}");
    // A new one takes the place of one that cannot move.
    let new = "  - {type: udp, name: c, config: {port: 2}}\n";
    let (inputs, errors) = ports(&format!("{A}{new}{}", B.replace("port: 2", "port: 99999")));
    assert_eq!((inputs, errors), (vec![1, 2], vec![error(1) + ".allowed_sources", error(2) + ".port"]));
    // Two exchange their ports.
    let both = format!("{}{}", A.replace("port: 1", "port: 2"), B.replace("port: 2", "port: 1"));
    assert_eq!(ports(&both), (vec![2, 1], vec![]));
    // The API moves to where an input is.
    let old = running("  - {type: tcp, name: a, config: {port: 1}}\n");
    let text = "  - {type: tcp, name: a, config: {port: 1}}\nserver: {api_port: 1}\n";
    assert_eq!(reloaded(&old, text), (vec![("a".to_owned(), 1)], vec![error(0) + ".port"]));
}

#[test]
fn what_is_wrong_outside_inputs_changes_nothing() {
    let old = running(A);
    for wrong in [
        "tenants: {a--b: {bearer_token: x}}",
        "tenants: {b: {bearer_token_fil: /x}}",
        "spooling: {directory: relative}",
        "server: {read_token_fil: /x}",
        "limits: {memory_bytes: 5}",
    ] {
        let loaded = config::reload("x.yaml", &inputs(&format!("{A}{wrong}\n")), [], &old);
        assert!(loaded.usable().is_err(), "{wrong}");
    }
    let receiver = HEAD.replace("http://r:8080", "r:8080") + "inputs:\n" + A;
    assert!(config::reload("x.yaml", &receiver, [], &old).usable().is_err());
}

#[test]
fn a_change_of_who_reaches_the_api_is_put_into_words() {
    let old = good(load(&format!(
        "{HEAD}server: {{api_host: 127.0.0.1, api_port: 9000, health_port: 9001, read_token: x, tls: {{cert_file: /c, key_file: /k}}}}\n"
    )));
    let bare = good(load(HEAD));
    let words = Difference::between(&old, &bare).exposure.join("\n");
    for part in ["from 127.0.0.1:9000 to 0.0.0.0:8008", "health port", "no token", "without TLS"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(Difference::between(&old, &old.clone()).exposure.is_empty());
}
