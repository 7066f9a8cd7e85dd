//! Which of many prefixes an address belongs to: the longest that contains it wins.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address or a prefix's border as a number; IPv4 before IPv6, IPv4-mapped IPv6 counts as IPv4.
type Position = (bool, u128);

/// Values by prefix. Built once, then a lookup is one binary search however many prefixes there are.
#[derive(Debug, Clone)]
pub struct PrefixTable<T> {
    values: Vec<T>,
    /// Where the answer changes and to what: ascending; what lies before the first has no answer.
    borders: Vec<(Position, Option<usize>)>,
}

impl<T> PrefixTable<T> {
    /// A table of `prefixes`; of two equal ones the first counts.
    pub fn new(prefixes: Vec<(IpNet, T)>) -> Self {
        let (nets, values): (Vec<_>, Vec<_>) = prefixes.into_iter().unzip();
        let mut ranges: Vec<_> = nets.into_iter().map(range).zip(0..).collect();
        // Wider ranges come before what they contain. Prefixes are nested or apart, never interleaved.
        ranges.sort_by_key(|((first, last), _)| (*first, std::cmp::Reverse(*last)));
        ranges.dedup_by_key(|(range, _)| *range);
        let mut borders = Vec::with_capacity(2 * ranges.len());
        let mut around: Vec<(Position, usize)> = Vec::new();
        for ((first, last), index) in ranges {
            leave(&mut around, &mut borders, Some(first));
            borders.push((first, Some(index)));
            around.push((last, index));
        }
        leave(&mut around, &mut borders, None);
        // Where one range ends and the next begins, the later word counts.
        borders.reverse();
        borders.dedup_by_key(|(position, _)| *position);
        borders.reverse();
        Self { values, borders }
    }

    /// The value of the longest prefix that contains `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let position = position(address);
        let after = self.borders.partition_point(|(border, _)| *border <= position);
        let (_, value) = self.borders.get(after.checked_sub(1)?)?;
        self.values.get((*value)?)
    }
}

/// Closes the ranges that end before `next`, the inner before the outer.
fn leave(
    around: &mut Vec<(Position, usize)>,
    borders: &mut Vec<(Position, Option<usize>)>,
    next: Option<Position>,
) {
    while let Some((last, _)) = around.pop_if(|(last, _)| next.is_none_or(|next| *last < next)) {
        if let Some(behind) = last.1.checked_add(1) {
            borders.push(((last.0, behind), around.last().map(|(_, index)| *index)));
        }
    }
}

fn position(address: IpAddr) -> Position {
    match address.to_canonical() {
        IpAddr::V4(address) => (false, u32::from(address).into()),
        IpAddr::V6(address) => (true, address.into()),
    }
}

fn range(net: IpNet) -> (Position, Position) {
    match (position(net.network()), position(net.broadcast())) {
        // `::/0` and others that reach beyond the mapped addresses are IPv6.
        (first @ (true, _), (false, _)) => (first, (true, u128::MAX)),
        range => range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(prefixes: &[&'static str]) -> PrefixTable<&'static str> {
        PrefixTable::new(prefixes.iter().map(|text| (text.parse().unwrap(), *text)).collect())
    }

    fn find(table: &PrefixTable<&'static str>, address: &str) -> &'static str {
        table.lookup(address.parse().unwrap()).copied().unwrap_or("-")
    }

    #[test]
    fn the_longest_prefix_wins_and_mapped_addresses_are_ipv4() {
        let table = table(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "10.1.0.0/16",
            "2001:db8::/32",
            "::ffff:192.0.2.0/120",
        ]);
        for (address, expected) in [
            ("10.0.0.0", "10.0.0.0/8"),
            ("10.1.255.255", "10.1.0.0/16"),
            ("10.2.0.0", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.4", "10.1.0.0/16"),
            ("11.0.0.0", "-"),
            ("9.255.255.255", "-"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("192.0.2.7", "::ffff:192.0.2.0/120"),
            ("2001:db8:ffff::", "2001:db8::/32"),
            ("2001:db9::", "-"),
        ] {
            assert_eq!(find(&table, address), expected, "{address}");
        }
        assert_eq!(find(&self::table(&[]), "10.0.0.1"), "-");
    }

    #[test]
    fn everybody_is_two_prefixes() {
        let everybody = table(&["0.0.0.0/0", "::/0"]);
        for (address, expected) in [
            ("0.0.0.0", "0.0.0.0/0"),
            ("255.255.255.255", "0.0.0.0/0"),
            ("::", "::/0"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
        ] {
            assert_eq!(find(&everybody, address), expected, "{address}");
        }
        assert_eq!(find(&table(&["::/0"]), "192.0.2.1"), "-");
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_through_all(
            prefixes in proptest::collection::vec((any::<u32>(), 0u8..=32, any::<bool>()), 0..20),
            addresses in proptest::collection::vec((any::<u32>(), any::<bool>()), 1..20),
        ) {
            // Few bits of difference, so that prefixes do nest.
            let address = |bits: u32, v6: bool| -> IpAddr {
                let bits = bits & 0xc000_0303;
                if v6 { IpAddr::V6((u128::from(bits) << 96).into()) } else { IpAddr::V4(bits.into()) }
            };
            let nets: Vec<IpNet> = prefixes
                .into_iter()
                .map(|(bits, len, v6)| IpNet::new(address(bits, v6), len).unwrap().trunc())
                .collect();
            let table = PrefixTable::new(nets.iter().map(|net| (*net, *net)).collect());
            for address in addresses.into_iter().map(|(bits, v6)| address(bits, v6)).chain(nets.iter().map(IpNet::broadcast)) {
                let best = nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
                prop_assert_eq!(table.lookup(address), best);
            }
        }
    }
}
