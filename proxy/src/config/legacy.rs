//! Keys of the program this one replaces that are spelt differently here or have become unnecessary. Each is an
//! alias or is answered by name.

use super::{
    problems::Problems,
    tree::{Member, Node, Value},
};

/// What becomes of an old key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// The value belongs to this key now.
    Alias(&'static str),
    /// It has no effect; the text says what to do instead.
    Answer(&'static str),
    /// As `Answer`, but the given value asks for what happens anyway.
    AnswerUnless(&'static str, &'static str),
}

/// An old key.
#[derive(Debug)]
pub(super) struct Old {
    /// Path; a list's index is `[]`. A table stands for everything in it.
    pub key: &'static str,
    /// The `type`s of input it concerns; empty for all.
    pub types: &'static [&'static str],
    pub fate: Fate,
}

const fn alias(key: &'static str, now: &'static str) -> Old {
    Old { key, types: &[], fate: Fate::Alias(now) }
}
const fn answer(key: &'static str, text: &'static str) -> Old {
    Old { key, types: &[], fate: Fate::Answer(text) }
}
const fn unless(key: &'static str, value: &'static str, text: &'static str) -> Old {
    Old { key, types: &[], fate: Fate::AnswerUnless(value, text) }
}
const fn of_input(types: &'static [&'static str], key: &'static str, text: &'static str) -> Old {
    Old { key, types, fate: Fate::Answer(text) }
}

const CONTROL: &str = "it belongs to ByteFreezer Control, which is not in this version yet; leave it out";

/// All old keys. The reference prints them.
pub(super) const OLD: &[Old] = &[
    unless("app.version", "", "the program knows its own version; leave it out"),
    answer("config_polling", CONTROL),
    answer("health_reporting", CONTROL),
    answer("error_tracking", CONTROL),
    answer("tenant_validation", "the Receiver's answer (410, 403) decides about a tenant; leave it out"),
    answer("soc", "alert on /metrics instead, for example on bytefreezer_proxy_dlq_*; leave it out"),
    answer("dev", "use `logging.level: debug`; leave it out"),
    alias("otel.metrics_port", "server.health_port"),
    answer("otel.metrics_host", "`server.health_port` listens on `server.api_host`; leave it out"),
    answer("otel.otlp_endpoint", "let a collector scrape /metrics and forward it; leave it out"),
    answer("otel.endpoint", "let a collector scrape /metrics and forward it; leave it out"),
    unless("otel.mode", "prometheus", "let a collector scrape /metrics and forward it; leave it out"),
    unless("otel.enabled", "true", "metrics are always served at /metrics; leave it out"),
    unless("otel.prometheus_mode", "true", "metrics are always served at /metrics; leave it out"),
    answer("otel", "metrics are served at /metrics and pulled from there; leave it out"),
    alias("receiver.url", "receiver.base_url"),
    alias("receiver.retry_count", "spooling.retry_attempts"),
    answer(
        "receiver.max_conns_per_host",
        "`receiver.upload_worker_count` bounds the connections; leave it out",
    ),
    answer("receiver.retry_max_idle_conns", "first uploads and retries share connections; leave it out"),
    answer("receiver.retry_max_conns_per_host", "first uploads and retries share connections; leave it out"),
    unless("batching.enabled", "true", "lines are always batched; leave it out"),
    answer(
        "spooling.queue_processing_interval_seconds",
        "batches close by `batching.timeout_seconds` and size, and leave at once; leave it out",
    ),
    unless("spooling.keep_src", "false", "no copies of delivered batches are kept; leave it out"),
    unless(
        "spooling.organization",
        "tenant_dataset",
        "the spool has one layout, by tenant and dataset; leave it out",
    ),
    unless(
        "spooling.per_tenant_limits",
        "false",
        "a full spool always makes room by fair share; leave it out",
    ),
    unless("spooling.max_files_per_dataset", "0", "`spooling.max_size_bytes` bounds the spool; leave it out"),
    answer(
        "housekeeping",
        "`spooling.cleanup_interval_seconds` and the limits beside it do this; leave it out",
    ),
    answer("control_service", CONTROL),
    answer(
        "monitoring",
        "health and metrics are always served; `server.health_port` gives them their own port",
    ),
    answer("udp", "write an entry with `type: udp` under `inputs`"),
    answer("webhook", "write an entry with `type: http` under `inputs`"),
    answer(
        "inputs[].config.worker_count",
        "`limits.receive_threads` sets the threads for all inputs; leave it out",
    ),
    alias("inputs[].config.buffer_size", "inputs[].config.read_buffer_size"),
    of_input(
        OBJECTS,
        "inputs[].config.data_hint",
        "the lines are JSON objects, the hint always `ndjson`; leave it out",
    ),
    of_input(OBJECTS, "inputs[].config.data_format", "the lines are always JSON objects; leave it out"),
    of_input(
        &["netflow", "sflow", "ebpf"],
        "inputs[].config.protocol",
        "it is always UDP; leave it out, or write `type: ipfix` for IPFIX over TCP",
    ),
    of_input(&["udp"], "inputs[].config.protocol", "for syslog write `type: syslog`, else leave it out"),
    of_input(&["udp"], "inputs[].config.syslog_mode", "for syslog write `type: syslog`, else leave it out"),
];

/// Input types whose lines are JSON objects of our own making.
const OBJECTS: &[&str] = &["syslog", "netflow", "ipfix", "sflow", "ebpf"];

/// Input types of the old program that this version does not have yet.
pub(super) const LATER_TYPES: &[&str] = &["kafka", "nats", "sqs", "kinesis"];

/// Answers every old key, moves aliases to their new place and takes the rest out.
pub(super) fn settle(tree: &mut Node, problems: &mut Problems) {
    let on = |node: &Node| node.value.spelling().is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let otel = tree.get("otel").and_then(|otel| otel.get("enabled")).is_some_and(on);
    let mut settler = Settler { problems, moves: Vec::new(), otel };
    settler.walk(tree, "", "", "");
    for (target, node) in settler.moves {
        place(tree, target, node);
    }
    unlimited(tree, problems);
}

struct Settler<'a> {
    problems: &'a mut Problems,
    /// Values whose new place is in another table.
    moves: Vec<(&'static str, Node)>,
    /// Whether the old metrics port was switched on.
    otel: bool,
}

impl Settler<'_> {
    /// `pattern` is the path in [`OLD`], `shown` the one for people, `kind` the `type` of the input around it.
    fn walk(&mut self, node: &mut Node, pattern: &str, shown: &str, kind: &str) {
        match &mut node.value {
            Value::List(items) if pattern.eq_ignore_ascii_case("inputs") => {
                for (index, item) in items.iter_mut().enumerate() {
                    let kind = item.get("type").and_then(|node| node.value.spelling()).unwrap_or_default();
                    self.walk(item, "inputs[]", &format!("inputs[{index}]"), &kind.to_ascii_lowercase());
                }
            }
            Value::Map(members) => {
                let all = std::mem::take(members);
                *members =
                    all.into_iter().filter_map(|member| self.member(member, pattern, shown, kind)).collect();
            }
            _ => {}
        }
    }

    /// What is left of one member.
    fn member(&mut self, mut member: Member, pattern: &str, shown: &str, kind: &str) -> Option<Member> {
        let (pattern, shown) = (join(pattern, &member.key), join(shown, &member.key));
        let old = find(&pattern, kind);
        let has_parts = matches!(member.node.value, Value::Map(_) | Value::List(_))
            && old.is_none_or(|old| OLD.iter().any(|other| inside(other.key, old.key)));
        if has_parts {
            self.walk(&mut member.node, &pattern, &shown, kind);
        }
        let Some(old) = old else { return Some(member) };
        match (&member.node.value, old.fate) {
            (Value::Map(parts), Fate::Answer(text)) if has_parts => {
                for part in parts {
                    let key = join(&shown, &part.key);
                    self.problems.locate(&key, part.origin.clone());
                    self.problems.notice(&key, "has no effect", text);
                }
                None
            }
            _ => self.settle(old, member, &shown),
        }
    }

    fn settle(&mut self, old: &Old, mut member: Member, key: &str) -> Option<Member> {
        self.problems.locate(key, member.origin.clone());
        match old.fate {
            Fate::Alias("server.health_port") if !self.otel => {
                self.problems.notice(key, "has no effect while `otel.enabled` is not true", "leave it out");
            }
            Fate::Alias(target) => {
                self.problems.warning(key, "is an old name", format!("write `{target}`"));
                let (new_table, new_name) = target.rsplit_once('.')?;
                if old.key.rsplit_once('.').is_some_and(|(table, _)| table == new_table) {
                    new_name.clone_into(&mut member.key);
                    return Some(member);
                }
                self.moves.push((target, member.node));
            }
            Fate::Answer(text) => self.problems.notice(key, "has no effect", text),
            Fate::AnswerUnless(value, text) => {
                let asked = member.node.value.spelling().unwrap_or_default();
                let harmless = value.is_empty() || asked.eq_ignore_ascii_case(value);
                if harmless {
                    self.problems.notice(key, "has no effect", text);
                } else {
                    self.problems.warning(key, "has no effect", text);
                }
            }
        }
        None
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The value of `key`, whatever its case.
fn member<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Map(members) => {
            members.iter_mut().find(|m| m.key.eq_ignore_ascii_case(key)).map(|m| &mut m.node)
        }
        _ => None,
    }
}

/// Whether `key` lies in the table `table`.
fn inside(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

fn find(path: &str, kind: &str) -> Option<&'static Old> {
    OLD.iter()
        .find(|old| old.key.eq_ignore_ascii_case(path) && (old.types.is_empty() || old.types.contains(&kind)))
}

/// Puts `node` at `target` unless something stands there already.
fn place(tree: &mut Node, target: &str, node: Node) {
    let (first, rest) = target.split_once('.').map_or((target, None), |(first, rest)| (first, Some(rest)));
    let Value::Map(members) = &mut tree.value else { return };
    let at = members.iter().position(|m| m.key.eq_ignore_ascii_case(first));
    match (at, rest) {
        (Some(at), Some(rest)) => {
            if let Some(member) = members.get_mut(at) {
                place(&mut member.node, rest, node);
            }
        }
        (Some(_), None) => {}
        (None, rest) => {
            let origin = node.origin.clone();
            let mut node = node;
            if let Some(rest) = rest {
                let mut table = Node { value: Value::Map(Vec::new()), origin: origin.clone() };
                place(&mut table, rest, node);
                node = table;
            }
            members.push(Member { key: first.to_owned(), origin, node });
        }
    }
}

/// A negative DLQ limit used to be the way to write "no limit".
fn unlimited(tree: &mut Node, problems: &mut Problems) {
    let Some(node) = member(tree, "spooling").and_then(|node| member(node, "dlq_max_size_bytes")) else {
        return;
    };
    if node.value.spelling().is_some_and(|text| text.trim().starts_with('-')) {
        let key = "spooling.dlq_max_size_bytes";
        problems.locate(key, node.origin.clone());
        problems.warning(key, "a negative number is the old way to write \"no limit\"", "write 0");
        node.value = Value::Number(0.into(), "0".to_owned());
    }
}

/// The old key that an environment variable's name (without prefix) spells.
pub(super) fn by_variable(name: &str) -> Option<&'static str> {
    let spelt = |old: &&Old| old.key.replace('.', "_").eq_ignore_ascii_case(name);
    OLD.iter().find(spelt).map(|old| old.key).or_else(|| {
        let table = |old: &&Old| {
            let prefix = format!("{}_", old.key.replace('.', "_"));
            !old.key.contains("[]")
                && matches!(old.fate, Fate::Answer(_))
                && name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(&prefix))
        };
        OLD.iter().find(table).map(|old| old.key)
    })
}
