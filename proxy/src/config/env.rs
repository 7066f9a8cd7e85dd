//! Environment variables over the file. `BYTEFREEZER_PROXY_` and the key's path with `_` between its parts reach
//! every key, whether its own name has `_` or not: names are resolved against the known keys, not split.

use super::{
    legacy,
    problems::{Origin, Problems},
    schema::{self, Kind},
    suggest::{is_slip, nearest},
    tree::{Member, Node, Value},
};

/// What every variable's name starts with.
pub const PREFIX: &str = "BYTEFREEZER_PROXY_";

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// Lays `variables` over `tree`. An empty value counts as not set.
pub(super) fn overlay(
    tree: &mut Node,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Problems,
) {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if value.is_empty() || of_kubernetes(rest, &value) {
            continue;
        }
        match resolve(rest, schema::root()).or_else(|| old(rest)) {
            Some(path) => settings.push((path, name, value)),
            None => unknown(&name, rest, problems),
        }
    }
    // Indices in order, so that `INPUTS_0` exists before `INPUTS_1`.
    settings.sort();
    for (path, name, value) in settings {
        let origin = Origin::Environment(name.clone());
        if !set(tree, &path, value, &origin) {
            problems.locate(&name, origin);
            problems.error(
                &name,
                "names an entry after a gap, or a part of a plain value",
                "count from 0 without gaps",
            );
        }
    }
}

/// Variables that Kubernetes sets for a Service called like this program.
fn of_kubernetes(rest: &str, value: &str) -> bool {
    let address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    address
        || rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.split_once("PORT_").is_some_and(|(_, number)| {
            number.starts_with(|c: char| c.is_ascii_digit())
                && ["_PROTO", "_PORT", "_ADDR"].iter().any(|end| number.ends_with(end))
        })
}

fn old(rest: &str) -> Option<Vec<Step>> {
    legacy::by_variable(rest).map(|key| key.split('.').map(|part| Step::Key(part.to_owned())).collect())
}

fn unknown(name: &str, rest: &str, problems: &mut Problems) {
    let known: Vec<_> = schema::paths().iter().map(|path| (parts(&path.text), path.protects)).collect();
    let shapes = shapes(rest);
    let near = |shape: &String| nearest(shape, known.iter().map(|(name, _)| name.as_str()));
    let near = shapes.iter().filter_map(|shape| Some((shape, near(shape)?)));
    let near = near.min_by_key(|(shape, near)| strsim::damerau_levenshtein(shape, near));
    let remedy =
        near.map_or_else(|| "unset it".to_owned(), |(_, near)| format!("did you mean `{PREFIX}{near}`?"));
    // Other programs' variables may begin like this too: only a slip can have been meant to protect.
    let protects = near.is_some_and(|(shape, near)| {
        is_slip(shape, near) && known.iter().any(|(name, protects)| *protects && name == near)
    });
    let key = of_input(rest).unwrap_or_else(|| name.to_owned());
    problems.locate(&key, Origin::Environment(name.to_owned()));
    problems.no_such_key(&key, "names no known key", protects, &remedy);
}

/// The key of a variable that concerns one input, as far as it can be told.
fn of_input(rest: &str) -> Option<String> {
    let (index, below) = rest.strip_prefix("INPUTS_")?.split_once('_')?;
    let index: usize = index.parse().ok()?;
    Some(format!("inputs[{index}].{}", below.to_ascii_lowercase()))
}

/// What a variable may have been meant as, with `0` and `<NAME>` for indices and names.
fn shapes(rest: &str) -> Vec<String> {
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let rest: Vec<_> = rest
        .to_ascii_uppercase()
        .split('_')
        .map(|part| if is_index(part) { "0".to_owned() } else { part.to_owned() })
        .collect();
    let rest = rest.join("_");
    match rest.strip_prefix("TENANTS_") {
        None => vec![rest],
        Some(below) => {
            let tails = below.match_indices('_').filter_map(|(at, _)| below.get(at..));
            tails.map(|tail| format!("TENANTS_<NAME>{tail}")).collect()
        }
    }
}

/// The names that reach each known key; `0` and `<NAME>` stand for indices and names.
pub fn variables() -> Vec<String> {
    schema::paths().iter().map(|path| format!("{PREFIX}{}", parts(&path.text))).collect()
}

/// A path as a variable writes it.
fn parts(path: &str) -> String {
    path.replace("[]", "_0").replace('.', "_").to_ascii_uppercase()
}

/// What follows `prefix_` in `name`, or nothing when they are equal.
fn after<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let head = name.get(..prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix) {
        return None;
    }
    let rest = name.get(prefix.len()..)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('_').filter(|rest| !rest.is_empty()) }
}

fn resolve(rest: &str, kind: &Kind) -> Option<Vec<Step>> {
    if rest.is_empty() {
        let plain = kind.is_scalar() || matches!(kind, Kind::List(inner) if inner.is_scalar());
        return plain.then(Vec::new);
    }
    match kind {
        Kind::Table(keys) => keys.iter().find_map(|key| through(rest, &key.name, &key.kind)),
        Kind::Typed(variants) => through(rest, "type", &Kind::Text).or_else(|| {
            variants
                .iter()
                .flat_map(|variant| &variant.keys)
                .find_map(|key| through(rest, &key.name, &key.kind))
        }),
        Kind::List(inner) => {
            let (index, below) = rest.split_once('_').unwrap_or((rest, ""));
            let mut path = vec![Step::Index(index.parse().ok()?)];
            path.extend(resolve(below, inner)?);
            Some(path)
        }
        Kind::Named(inner) => rest.match_indices('_').find_map(|(at, _)| {
            let (name, below) = (rest.get(..at)?, rest.get(at + 1..)?);
            let below = resolve(below, inner).filter(|below| !below.is_empty())?;
            let mut path = vec![Step::Key(name.to_owned())];
            path.extend(below);
            Some(path)
        }),
        Kind::Bool | Kind::Integer { .. } | Kind::Text | Kind::Choice(_) => None,
    }
}

fn through(rest: &str, name: &str, kind: &Kind) -> Option<Vec<Step>> {
    let below = after(rest, name)?;
    let mut path = vec![Step::Key(name.to_owned())];
    path.extend(resolve(below, kind)?);
    Some(path)
}

/// Writes `text` at `path`, making tables and list entries on the way. False when that is not possible.
fn set(node: &mut Node, path: &[Step], text: String, origin: &Origin) -> bool {
    let Some((step, rest)) = path.split_first() else {
        *node = Node { value: Value::Text(text), origin: origin.clone() };
        return true;
    };
    let empty = || Node { value: Value::Null, origin: origin.clone() };
    match step {
        Step::Key(key) => {
            if matches!(node.value, Value::Null) {
                node.value = Value::Map(Vec::new());
            }
            let Value::Map(members) = &mut node.value else { return false };
            let at = members.iter().position(|m| m.key.eq_ignore_ascii_case(key)).unwrap_or_else(|| {
                // Variables are written in capitals, ids mostly are not.
                let shouted = !key.contains(|c: char| c.is_ascii_lowercase());
                let key = if shouted { key.to_ascii_lowercase() } else { key.clone() };
                members.push(Member { key, origin: origin.clone(), node: empty() });
                members.len() - 1
            });
            members.get_mut(at).is_some_and(|member| set(&mut member.node, rest, text, origin))
        }
        Step::Index(index) => {
            if matches!(node.value, Value::Null) {
                node.value = Value::List(Vec::new());
            }
            let Value::List(items) = &mut node.value else { return false };
            if *index == items.len() {
                items.push(empty());
            }
            items.get_mut(*index).is_some_and(|item| set(item, rest, text, origin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w40_h53_a_variable_reaches_every_known_key() {
        let scalar = |path: &str| resolve(path.strip_prefix(PREFIX).unwrap(), schema::root()).is_some();
        let mut reached = 0;
        let paths = || schema::paths().iter().map(|path| path.text.as_str());
        for (path, name) in paths().zip(variables()) {
            let leaf = !paths().any(|other| {
                other.starts_with(&format!("{path}."))
                    || other.starts_with(&format!("{path}["))
                    || other.starts_with(&format!("{path}.<"))
            });
            if leaf {
                assert!(scalar(&name.replace("<NAME>", "ACME")), "{path} is not reached by {name}");
                reached += 1;
            }
        }
        assert!(reached > 80, "{reached}");
    }

    #[test]
    fn names_with_underscores_are_told_apart() {
        let path = |name| resolve(name, schema::root());
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(
            path("TENANTS_MY_CO_BEARER_TOKEN_FILE"),
            Some(vec![key("tenants"), key("MY_CO"), key("bearer_token_file")])
        );
        assert_eq!(path("INPUTS_12_TYPE"), Some(vec![key("inputs"), Step::Index(12), key("type")]));
        assert_eq!(path("SERVER"), None);
        assert_eq!(path("SERVER_"), None);
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_this_name_is_no_setting() {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT_SYSLOG_UDP", "514"),
            ("PORT", "tcp://10.0.0.1:8008"),
            ("PORT_514_UDP_ADDR", "10.0.0.1"),
            ("SERVER_API_PORT", "tcp://10.0.0.1:8008"),
            ("PORT_514_UDP", "udp://10.0.0.1:514"),
        ] {
            assert!(of_kubernetes(name, value), "{name}");
        }
        assert!(!of_kubernetes("SERVER_API_PORT", "8008"));
        assert!(!of_kubernetes("INPUTS_0_CONFIG_PORT", "514"));
    }
}
