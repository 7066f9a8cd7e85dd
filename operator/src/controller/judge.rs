//! Who takes part: the Proxy and its datasets, judged by what was gathered. Pure.

use std::collections::BTreeMap;

use bytefreezer_crds::{Proxy, ProxyDataset, conditions::Reason, proxy::ConfigMode};

use crate::{
    arbitrate::{Claimant, Pool, Refusal, Verdict, arbitrate},
    gather::{Authored, Gathered, Member},
    key::ObjectKey,
    status::Trouble,
    validate::{Defaults, ValidatedProxy},
};

/// What was decided.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The Proxy, when there is one that can be built from.
    pub proxy: Option<ValidatedProxy>,
    /// Why it does not take part, or cannot be read and goes on as it was.
    pub refused: Option<Trouble>,
    /// Whether it is to have pods.
    pub runs: bool,
    /// What takes part, by dataset.
    pub admitted: BTreeMap<ObjectKey, Claimant>,
    /// Why the others do not.
    pub rejected: BTreeMap<ObjectKey, Trouble>,
}

impl Judged {
    /// The Proxy turns out not to take part after all. What is there stays as it is.
    pub fn give_up(&mut self, trouble: Trouble) {
        for key in std::mem::take(&mut self.admitted).into_keys() {
            let why = format!("the Proxy is not accepted ({}): look at its conditions", trouble.0);
            self.rejected.insert(key, (Reason::Pending, why));
        }
        self.refused = Some(trouble);
    }

    /// A dataset turns out not to take part after all.
    pub fn reject(&mut self, key: &ObjectKey, trouble: Trouble) {
        self.admitted.remove(key);
        self.rejected.insert(key.clone(), trouble);
    }
}

/// Judges a Proxy and its datasets.
pub fn judge(gathered: &Gathered, defaults: &Defaults) -> Judged {
    let own = &gathered.own;
    let mut judged = Judged::default();
    let Some(row) = own.proxy.as_ref().filter(|row| !row.is_leaving()) else {
        let why = format!("there is no Proxy {}: make it, or correct spec.proxyRef", own.key);
        judged.reject_all(own, &(Reason::ProxyNotFound, why));
        return judged;
    };
    judged.refused = undecodable(row).map(|why| (Reason::Undecodable, why));
    match read(row, defaults) {
        Ok(proxy) => judged.proxy = proxy,
        Err(trouble) => judged.refused = Some(trouble),
    }
    let Some(proxy) = &judged.proxy else {
        let why = format!("Proxy {} is not accepted: look at its conditions", own.key);
        judged.reject_all(own, &(Reason::Pending, why));
        return judged;
    };
    let mut pools = vec![pool(proxy, row, own, gathered, &mut judged.rejected)];
    for neighbour in &gathered.neighbours {
        let Some(row) = neighbour.proxy.as_ref().filter(|row| !row.is_leaving()) else { continue };
        if let Ok(Some(proxy)) = read(row, defaults) {
            pools.push(pool(&proxy, row, neighbour, gathered, &mut BTreeMap::new()));
        }
    }
    let verdicts = arbitrate(&pools);
    match verdicts.proxies.get(&own.key) {
        Some(Verdict::Refused(refusal)) => judged.refused = Some(trouble(refusal)),
        _ => judged.runs = true,
    }
    for claimant in pools.swap_remove(0).claimants {
        match verdicts.datasets.get(&claimant.key) {
            Some(Verdict::Refused(refusal)) => {
                judged.rejected.insert(claimant.key.clone(), trouble(refusal));
            }
            _ => {
                judged.admitted.insert(claimant.key.clone(), claimant);
            }
        }
    }
    judged
}

impl Judged {
    fn reject_all(&mut self, member: &Member, why: &Trouble) {
        for (key, row) in present(member) {
            let broken = undecodable(row).filter(|_| row.object.is_none());
            let why = broken.map_or_else(|| why.clone(), |broken| (Reason::Undecodable, broken));
            self.rejected.insert(key.clone(), why);
        }
    }
}

/// What is said of an object that cannot be read.
pub fn undecodable<K: kube::Resource>(row: &Authored<K>) -> Option<String> {
    let error = &row.broken.as_ref()?.error;
    let outcome = if row.is_unread() { "" } else { ", so what it last held stays in force" };
    Some(format!(
        "it cannot be read{outcome}: {error}: correct it, or bring the current definitions \
         (`bytefreezer-operator crds apply`)"
    ))
}

fn trouble(refusal: &Refusal) -> Trouble {
    (refusal.reason, refusal.message.clone())
}

fn present(member: &Member) -> impl Iterator<Item = &(ObjectKey, std::sync::Arc<Authored<ProxyDataset>>)> {
    member.datasets.iter().filter(|(_, row)| !row.is_leaving())
}

fn read(row: &Authored<Proxy>, defaults: &Defaults) -> Result<Option<ValidatedProxy>, Trouble> {
    let Some(object) = &row.object else { return Ok(None) };
    let reason = match object.spec.config_mode {
        ConfigMode::LocalOnly => Reason::Invalid,
        ConfigMode::ControlOnly | ConfigMode::Hybrid => Reason::ConfigModeNotSupported,
    };
    ValidatedProxy::read(object, defaults).map(Some).map_err(|invalid| (reason, invalid.to_string()))
}

/// What arbitration looks at. Datasets of which the claims cannot be read are rejected.
fn pool(
    proxy: &ValidatedProxy,
    row: &Authored<Proxy>,
    member: &Member,
    gathered: &Gathered,
    rejected: &mut BTreeMap<ObjectKey, Trouble>,
) -> Pool {
    let created = row.metadata().and_then(|metadata| metadata.creation_timestamp.as_ref());
    let mut pool = proxy.pool(created.map(|time| time.0.as_second()));
    for (key, row) in present(member) {
        let labels =
            gathered.namespaces.get(&key.namespace).map(|labels| labels.0.clone()).unwrap_or_default();
        let claimant = match (&row.object, &row.kept, row.metadata()) {
            (Some(object), ..) => {
                Claimant::of(object, labels).ok_or_else(|| (Reason::Invalid, unreadable(object)))
            }
            (None, Some(kept), Some(metadata)) => {
                Ok(Claimant::of_entry(key.clone(), metadata, &kept.input, labels))
            }
            _ => Err((Reason::Undecodable, undecodable(row).unwrap_or_default())),
        };
        match claimant {
            Ok(claimant) => pool.claimants.push(claimant),
            Err(trouble) => _ = rejected.insert(key.clone(), trouble),
        }
    }
    pool
}

/// Which claim of a dataset cannot be read.
fn unreadable(object: &ProxyDataset) -> String {
    let spec = &object.spec;
    let proxies = spec.proxy_protocol.iter().flat_map(|proxy| &proxy.from);
    let networks = spec.allowed_sources.iter().chain(proxies);
    let error = networks.filter_map(|network| network.network().err()).map(|error| error.to_string()).next();
    error.unwrap_or_else(|| "spec.source has no member: write exactly one, such as syslog".to_owned())
}

#[cfg(test)]
mod tests;
