//! Which datasets are admitted to which Proxy, who loses and to whom.
//!
//! One pass in the order of rank: locally authored before synchronised, then older before newer, then namespace and
//! name. Each is judged against those admitted before it, and wins or loses as a whole. So the outcome does not depend
//! on the order of the input, a loser's winner is always admitted, and a newcomer of lower rank changes nobody's verdict.
//!
//! 1. Own ports: the API and health ports belong to the Proxy.
//! 2. Admission by `allowedDatasets`, whose most particular failure is the reason.
//! 3. Within the Proxy: dataset ids, listeners, paths, prefixes ([`listeners`]).
//! 4. On the host network: the ports of other Proxies that may share a node.
//!
//! A dataset that is paused, or whose Secrets are missing, is judged like any other: it keeps its prefixes.

mod admission;
mod listeners;
mod pool;

use std::collections::{BTreeMap, HashMap};

use bytefreezer_crds::conditions::Reason;
use ipnet::IpNet;

pub use admission::{NamespaceRule, Rule};
pub use listeners::{Certificates, Listener, Transport};
pub use pool::{Claimant, Host, Pool};

use crate::key::ObjectKey;

/// What became of a dataset or a Proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes part.
    Admitted,
    /// It does not.
    Refused(Refusal),
}

/// Why something does not take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In one word.
    pub reason: Reason,
    /// In a sentence that says what to do.
    pub message: String,
    /// Who has what it wants.
    pub winner: Option<ObjectKey>,
}

impl Refusal {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, winner: None }
    }

    fn by(self, winner: &ObjectKey) -> Self {
        Self { winner: Some(winner.clone()), ..self }
    }
}

/// The verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// By Proxy.
    pub proxies: BTreeMap<ObjectKey, Verdict>,
    /// By dataset.
    pub datasets: BTreeMap<ObjectKey, Verdict>,
}

/// What an admitted dataset holds.
struct Holder<'a> {
    claimant: &'a Claimant,
    /// Ranges that a rule grants it inside those of other namespaces.
    granted: Vec<IpNet>,
}

/// What is taken in one Proxy.
#[derive(Default)]
struct Taken<'a> {
    holders: HashMap<(Transport, u16), Vec<usize>>,
    admitted: Vec<Holder<'a>>,
    datasets: HashMap<(String, String), &'a ObjectKey>,
    per_rule: HashMap<usize, usize>,
}

/// Judges all Proxies and all datasets that name one of them.
pub fn arbitrate(pools: &[Pool]) -> Verdicts {
    let mut verdicts = Verdicts { proxies: pool::host_ports(pools), ..Verdicts::default() };
    let runs = |pool: &Pool| verdicts.proxies.get(&pool.key) == Some(&Verdict::Admitted);
    let running: Vec<bool> = pools.iter().map(runs).collect();
    let mut order: Vec<(usize, &Claimant)> = pools
        .iter()
        .enumerate()
        .flat_map(|(index, pool)| pool.claimants.iter().map(move |claimant| (index, claimant)))
        .collect();
    order.sort_by(|(_, a), (_, b)| a.rank().cmp(&b.rank()));
    let mut taken: Vec<Taken<'_>> = pools.iter().map(|_| Taken::default()).collect();
    for (index, claimant) in order {
        let judged = judge(pools, &running, &taken, index, claimant);
        let verdict = match judged {
            Err(refusal) => Verdict::Refused(refusal),
            Ok((rule, granted)) => {
                if let Some(taken) = taken.get_mut(index) {
                    taken.admit(claimant, rule, granted);
                }
                Verdict::Admitted
            }
        };
        verdicts.datasets.insert(claimant.key.clone(), verdict);
    }
    verdicts
}

fn judge(
    pools: &[Pool],
    running: &[bool],
    taken: &[Taken<'_>],
    index: usize,
    claimant: &Claimant,
) -> Result<(usize, Vec<IpNet>), Refusal> {
    let (Some(pool), Some(here)) = (pools.get(index), taken.get(index)) else {
        return Err(Refusal::new(Reason::ProxyNotFound, "no Proxy has this name".to_owned()));
    };
    pool.permits_ports(claimant)?;
    let matching = admission::matching(pool, claimant)?;
    let granted = matching.iter().filter_map(|(_, rule)| rule.sources.clone()).flatten().collect::<Vec<_>>();
    here.permits(claimant, &granted)?;
    if running.get(index) == Some(&true) {
        foreign_ports(pools, running, taken, index, claimant)?;
    }
    let rule = matching.iter().find(|(index, rule)| {
        rule.max.is_none_or(|max| here.per_rule.get(index).is_none_or(|count| *count < max))
    });
    let Some((rule, _)) = rule else {
        return Err(Refusal::new(
            Reason::TooManyDatasets,
            format!(
                "Proxy {} takes no further dataset by the rule of allowedDatasets that fits: delete an older one, or raise its max",
                pool.key
            ),
        ));
    };
    Ok((*rule, granted))
}

/// On the host network: whether another Proxy that may share a node has the port.
fn foreign_ports(
    pools: &[Pool],
    running: &[bool],
    taken: &[Taken<'_>],
    index: usize,
    claimant: &Claimant,
) -> Result<(), Refusal> {
    let Some(pool) = pools.get(index) else { return Ok(()) };
    for (other, other_taken) in pools.iter().zip(taken).enumerate().filter_map(|(at, pair)| {
        (at != index && running.get(at) == Some(&true) && pool.may_share_node(pair.0)).then_some(pair)
    }) {
        for listener in &claimant.listeners {
            let holder = other_taken.first(listener.transport, listener.port);
            let winner = if let Some(holder) = holder {
                &holder.claimant.key
            } else if listener.transport == Transport::Tcp && other.own_port(listener.port).is_some() {
                &other.key
            } else {
                continue;
            };
            let message = format!(
                "{listener} of the nodes belongs to {winner} of Proxy {}, which may share a node with Proxy {}: \
                 choose another port, or keep the Proxies apart by nodeSelector",
                other.key, pool.key
            );
            return Err(Refusal::new(Reason::HostPortConflict, message).by(winner));
        }
    }
    Ok(())
}

impl<'a> Taken<'a> {
    fn admit(&mut self, claimant: &'a Claimant, rule: usize, granted: Vec<IpNet>) {
        let index = self.admitted.len();
        for listener in &claimant.listeners {
            self.holders.entry((listener.transport, listener.port)).or_default().push(index);
        }
        self.datasets.insert(claimant.id(), &claimant.key);
        *self.per_rule.entry(rule).or_default() += 1;
        self.admitted.push(Holder { claimant, granted });
    }

    fn first(&self, transport: Transport, port: u16) -> Option<&Holder<'a>> {
        self.admitted.get(*self.holders.get(&(transport, port))?.first()?)
    }

    /// Whether nothing that was admitted here stands in the way.
    fn permits(&self, claimant: &Claimant, granted: &[IpNet]) -> Result<(), Refusal> {
        if let Some(winner) = self.datasets.get(&claimant.id()) {
            let message = format!(
                "{winner} delivers to dataset {} of tenant {} already: set another spec.datasetId",
                claimant.dataset, claimant.tenant
            );
            return Err(Refusal::new(Reason::Conflicted, message).by(winner));
        }
        for listener in &claimant.listeners {
            let holders = self.holders.get(&(listener.transport, listener.port));
            for holder in holders.into_iter().flatten().filter_map(|index| self.admitted.get(*index)) {
                listeners::conflict((claimant, listener, granted), holder).map_or(Ok(()), |message| {
                    Err(Refusal::new(Reason::Conflicted, message).by(&holder.claimant.key))
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;
