//! Upload tokens in their old place, under an input.
//!
//! They are read from the tree, so that they count also where the entry is switched off, wrong or of an unknown type: the
//! spool may hold batches of that tenant, which must not go out with the global token.

use crate::{
    config::{
        model::{Config, Input, Secret, Tokens},
        problems::Problems,
        tree::{Node, Value},
    },
    ids::TenantId,
};

/// Adds the tokens that stand under `inputs`.
pub(super) fn add_old(
    tree: &Node,
    file_tenant: Option<&TenantId>,
    tokens: &mut Tokens,
    problems: &mut Problems,
) {
    let Some(Value::List(entries)) = tree.get("inputs").map(|node| &node.value) else { return };
    for (index, entry) in entries.iter().enumerate() {
        let of_clients = text(entry, "type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case("http"));
        let Some(config) = entry.get("config").filter(|_| !of_clients) else { continue };
        let Some(token) = text(config, "bearer_token") else { continue };
        let own = text(config, "tenant_id");
        let Some(tenant) = own.map_or_else(|| file_tenant.cloned(), |own| own.parse().ok()) else { continue };
        add(tenant, token, &format!("inputs[{index}].config.bearer_token"), tokens, problems);
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.value.spelling().filter(|text| !text.is_empty())
}

fn add(tenant: TenantId, token: String, key: &str, tokens: &mut Tokens, problems: &mut Problems) {
    let remedy = format!("write `tenants: {{{tenant}: {{bearer_token_file: /path/to/token}}}}`");
    match tokens.tenants.get(&tenant) {
        None => {
            problems.warning(key, format!("is taken for the upload token of tenant `{tenant}`"), remedy);
            tokens.tenants.insert(tenant, Secret::Inline(token));
        }
        Some(Secret::Inline(other)) if *other == token => {}
        Some(_) => {
            problems.warning(key, "differs from the tenant's upload token and has no effect", remedy);
        }
    }
}

/// An input that goes on as it runs keeps its tenant's token, whatever its new version says.
pub(super) fn keep(former: &[Option<Input>], running: &Config, tokens: &mut Tokens, problems: &Problems) {
    let kept = former.iter().enumerate().filter(|(index, _)| problems.input_failed(*index));
    for tenant in kept.filter_map(|(_, input)| Some(&input.as_ref()?.key.tenant)) {
        if let Some(token) = running.tokens.tenants.get(tenant) {
            tokens.tenants.entry(tenant.clone()).or_insert_with(|| token.clone());
        }
    }
}
