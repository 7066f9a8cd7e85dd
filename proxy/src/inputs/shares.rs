//! Who holds the connections of a listener, so that nobody holds them all.
//!
//! Behind a NAT or a balancer one address is many senders, so up to three quarters of the connections are for whoever
//! comes first. Of the last quarter nobody gets any who has a quarter of all already. A listener may also have a fixed
//! limit per source instead. The addresses of an IPv6 /64 are one source, and so are all senders that no input admits.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// The network bits of a source's addresses: whoever has one has all of them.
const SITE: u128 = !0 << 64;

/// Connections of one listener by holder.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<Holder, usize>,
}

/// Whom a connection is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An address, or the network it is in.
    Source(IpAddr),
    /// Everybody who is answered but may not send.
    Strangers,
}

/// A connection, counted while it lives.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    holder: Holder,
}

impl Holder {
    pub fn source(address: IpAddr) -> Self {
        Self::Source(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & SITE).into(),
        })
    }
}

impl Shares {
    /// One more connection, of `most` in all; `None` when the holder has enough of them.
    pub fn take(self: &Arc<Self>, holder: Holder, most: usize, per_source: Option<usize>) -> Option<Share> {
        let mut held = self.0.lock();
        let own = held.by.get(&holder).copied().unwrap_or(0);
        let enough = match (holder, per_source) {
            (Holder::Source(_), Some(limit)) => own >= limit,
            _ => is_quarter(own, most) && is_quarter(held.all, most.saturating_mul(3)),
        };
        if enough {
            return None;
        }
        held.all += 1;
        held.by.insert(holder, own + 1);
        Some(Share { shares: Arc::clone(self), holder })
    }
}

fn is_quarter(part: usize, whole: usize) -> bool {
    part.saturating_mul(4) >= whole
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.0.lock();
        held.all = held.all.saturating_sub(1);
        if let Some(own) = held.by.get_mut(&self.holder) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Holder {
        Holder::source(address.parse().unwrap())
    }

    /// Takes until it is refused.
    fn exhaust(shares: &Arc<Shares>, holder: Holder, per_source: Option<usize>) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(holder, 100, per_source)).take(1000).collect()
    }

    #[test]
    fn one_source_gets_three_quarters_and_leaves_the_rest_to_others() {
        let shares = Arc::<Shares>::default();
        let greedy = exhaust(&shares, source("192.0.2.1"), None);
        assert_eq!(greedy.len(), 75);
        let strangers = exhaust(&shares, Holder::Strangers, None);
        assert_eq!(strangers.len(), 25);
        drop(greedy);
        assert_eq!(exhaust(&shares, source("192.0.2.1"), None).len(), 50);
        drop(strangers);
        let held = shares.0.lock();
        assert_eq!((held.all, held.by.len()), (0, 0));
    }

    #[test]
    fn a_listener_for_few_connections_is_no_smaller_by_it() {
        for most in 1..=3 {
            let shares = Arc::<Shares>::default();
            let held: Vec<_> = (0..most).map(|_| shares.take(source("192.0.2.1"), most, None)).collect();
            assert!(held.iter().all(Option::is_some), "{most}");
        }
    }

    #[test]
    fn a_limit_per_source_is_exact_and_no_matter_of_strangers() {
        let shares = Arc::<Shares>::default();
        let one = exhaust(&shares, source("192.0.2.1"), Some(10));
        let other = exhaust(&shares, source("192.0.2.2"), Some(90));
        assert_eq!((one.len(), other.len()), (10, 90));
        drop(other);
        assert_eq!(exhaust(&shares, Holder::Strangers, Some(1000)).len(), 65);
    }

    #[test]
    fn the_addresses_of_a_64_are_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
