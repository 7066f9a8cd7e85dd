//! Who holds the connections of a listener, so that nobody holds them all.
//!
//! Behind a NAT or a balancer one address is many senders, so up to three quarters of the connections are for whoever
//! comes first. Of the last quarter nobody gets any who has a quarter of all already, unless nobody else is there: then
//! only a sixteenth stays free, for the first other who comes. A listener may also have a fixed limit per source instead.
//! The addresses of an IPv6 /64 are one source, and so are all senders that no input admits.

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
        let alone = holder != Holder::Strangers && own == held.all;
        let enough = match (holder, per_source) {
            (Holder::Source(_), Some(limit)) => own >= limit,
            _ => own >= most.div_ceil(4) && held.all >= most - kept_for_others(most, alone),
        };
        if enough {
            return None;
        }
        held.all += 1;
        held.by.insert(holder, own + 1);
        Some(Share { shares: Arc::clone(self), holder })
    }
}

/// Of `most` connections, those that nobody gets who has many already.
fn kept_for_others(most: usize, alone: bool) -> usize {
    let quarter = most / 4;
    if alone { quarter.min(most.div_ceil(16)) } else { quarter }
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
        let other = shares.take(source("192.0.2.2"), 100, None);
        let greedy = exhaust(&shares, source("192.0.2.1"), None);
        assert_eq!(greedy.len(), 74);
        drop(other);
        let strangers = exhaust(&shares, Holder::Strangers, None);
        assert_eq!(strangers.len(), 25, "they may not send, so they are never alone");
        drop(greedy);
        assert_eq!(exhaust(&shares, source("192.0.2.1"), None).len(), 50);
        drop(strangers);
        let held = shares.0.lock();
        assert_eq!((held.all, held.by.len()), (0, 0));
    }

    #[test]
    fn a_source_alone_gets_nearly_all_until_another_comes() {
        let shares = Arc::<Shares>::default();
        let mut greedy = exhaust(&shares, source("192.0.2.1"), None);
        assert_eq!(greedy.len(), 93);
        let others: Vec<_> = (0..7).map(|_| shares.take(source("192.0.2.2"), 100, None)).collect();
        assert!(others.iter().all(Option::is_some), "somebody else always gets in");
        greedy.truncate(80);
        assert!(shares.take(source("192.0.2.1"), 100, None).is_none(), "what becomes free is for the others");
        assert!(shares.take(source("192.0.2.2"), 100, None).is_some());
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
