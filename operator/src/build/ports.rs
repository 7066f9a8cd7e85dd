//! What the admitted datasets listen on.

use std::collections::BTreeMap;

use crate::arbitrate::{Claimant, Transport};

/// Transports and ports, each once, in order, and whether a sender has to stay with one pod there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(BTreeMap<(Transport, u16), bool>);

impl<'a> FromIterator<&'a Claimant> for Ports {
    fn from_iter<T: IntoIterator<Item = &'a Claimant>>(admitted: T) -> Self {
        let listeners = admitted.into_iter().flat_map(|claimant| &claimant.listeners);
        Self(listeners.map(|listener| ((listener.transport, listener.port), listener.sticky)).collect())
    }
}

impl Ports {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Transport, u16)> + '_ {
        self.0.keys().copied()
    }

    /// Those where a sender has to stay with one pod, or the others.
    pub fn of(&self, sticky: bool) -> impl Iterator<Item = (Transport, u16)> + '_ {
        self.0.iter().filter(move |(_, own)| **own == sticky).map(|(port, _)| *port)
    }
}
