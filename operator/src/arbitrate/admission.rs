//! `allowedDatasets`.

use std::collections::{BTreeMap, BTreeSet};

use bytefreezer_crds::{
    conditions::Reason,
    proxy::{AllowedDatasets, NamespaceFrom},
    values::{Cidr, PortRange, ValueError},
};
use ipnet::IpNet;
use kube::core::{Selector, SelectorExt};

use super::{Claimant, Pool, Refusal};

/// One rule; a member that is `None` allows all.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Namespaces.
    pub namespaces: NamespaceRule,
    /// Tenants.
    pub tenants: Option<BTreeSet<String>>,
    /// First and last ports.
    pub ports: Option<Vec<(u16, u16)>>,
    /// Ranges that contain what may be claimed.
    pub sources: Option<Vec<IpNet>>,
    /// How many datasets.
    pub max: Option<usize>,
}

/// Which namespaces.
#[derive(Clone, Debug, Default)]
pub enum NamespaceRule {
    /// The Proxy's own.
    #[default]
    Same,
    /// Any.
    All,
    /// Those with these labels.
    Selector(Selector),
}

/// Why a rule cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A port or network.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The selector of namespaces.
    #[error("namespaces.selector cannot be read: {0}")]
    Selector(#[from] kube::core::ParseExpressionError),
}

impl Rule {
    /// Reads a rule.
    pub fn read(written: &AllowedDatasets) -> Result<Self, RuleError> {
        let namespaces = match (written.namespaces.from, &written.namespaces.selector) {
            (NamespaceFrom::Same, _) => NamespaceRule::Same,
            (NamespaceFrom::All, _) => NamespaceRule::All,
            (NamespaceFrom::Selector, selector) => {
                NamespaceRule::Selector(selector.clone().unwrap_or_default().try_into()?)
            }
        };
        let ports =
            written.ports.as_ref().map(|list| list.iter().map(PortRange::bounds).collect::<Result<_, _>>());
        let sources =
            written.sources.as_ref().map(|list| list.iter().map(Cidr::network).collect::<Result<_, _>>());
        Ok(Self {
            namespaces,
            tenants: written
                .tenant_ids
                .as_ref()
                .map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
            ports: ports.transpose()?,
            sources: sources.transpose()?,
            max: written.max.map(|max| max as usize),
        })
    }

    fn names_namespace(&self, own: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.namespaces {
            NamespaceRule::Same => own == namespace,
            NamespaceRule::All => true,
            NamespaceRule::Selector(selector) => selector.matches(labels),
        }
    }

    fn names_tenant(&self, tenant: &str) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    fn names_port(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.iter().any(|(low, high)| (*low..=*high).contains(&port)))
    }

    fn covers(&self, source: &IpNet) -> bool {
        self.sources.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(source)))
    }
}

/// The rules that allow the dataset; else the reason nearest to being allowed.
pub(super) fn matching<'a>(pool: &'a Pool, claimant: &Claimant) -> Result<Vec<(usize, &'a Rule)>, Refusal> {
    let refuse = |reason, what: String| {
        Err(Refusal::new(reason, format!("Proxy {} does not allow {what} in its allowedDatasets", pool.key)))
    };
    let namespace = &claimant.key.namespace;
    let mut rules: Vec<(usize, &Rule)> = pool.rules.iter().enumerate().collect();
    rules
        .retain(|(_, rule)| rule.names_namespace(&pool.key.namespace, namespace, &claimant.namespace_labels));
    if rules.is_empty() {
        return refuse(Reason::NamespaceNotPermitted, format!("datasets of namespace {namespace}"));
    }
    rules.retain(|(_, rule)| rule.names_tenant(&claimant.tenant));
    if rules.is_empty() {
        return refuse(
            Reason::TenantNotPermitted,
            format!("tenant {} for namespace {namespace}", claimant.tenant),
        );
    }
    let tenants = rules.clone();
    rules.retain(|(_, rule)| claimant.listeners.iter().all(|listener| rule.names_port(listener.port)));
    if rules.is_empty() {
        let allowed = |port| tenants.iter().any(|(_, rule)| rule.names_port(port));
        let port =
            claimant.listeners.iter().find(|listener| !allowed(listener.port)).or(claimant.listeners.first());
        let port = port.map(ToString::to_string).unwrap_or_default();
        return refuse(Reason::PortNotPermitted, format!("{port} for tenant {}", claimant.tenant));
    }
    rules.retain(|(_, rule)| claimant.sources.iter().all(|source| rule.covers(source)));
    if rules.is_empty() {
        let sources = claimant.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return refuse(
            Reason::SourceNotPermitted,
            format!("the sources {sources} (allowedSources left out are all) for tenant {}", claimant.tenant),
        );
    }
    Ok(rules)
}
