//! What the admitted datasets listen on.

use std::collections::BTreeSet;

use crate::arbitrate::{Claimant, Transport};

/// Transports and ports, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(BTreeSet<(Transport, u16)>);

impl<'a> FromIterator<&'a Claimant> for Ports {
    fn from_iter<T: IntoIterator<Item = &'a Claimant>>(admitted: T) -> Self {
        let listeners = admitted.into_iter().flat_map(|claimant| &claimant.listeners);
        Self(listeners.map(|listener| (listener.transport, listener.port)).collect())
    }
}

impl Ports {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Transport, u16)> + '_ {
        self.0.iter().copied()
    }
}
