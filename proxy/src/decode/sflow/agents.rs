//! Who sends, and what was lost on the way: an agent numbers the datagrams of each of its sub-agents.

use std::{collections::HashMap, net::IpAddr};

use super::{Address, Decoded};
use crate::{
    decode::flow::sequence::{Sequence, Tally},
    rate::Rate,
};

/// Most sub-agents that are known at a time; beyond, those not heard for longest go, an eighth at a time.
const MOST: usize = 16_384;

/// A sub-agent of an agent behind a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whose datagrams they are.
    pub source: IpAddr,
    /// Who the agent says it is; `None` when it does not.
    pub agent: Option<IpAddr>,
    /// Which of its parts.
    pub sub_agent: u32,
}

/// What a sub-agent sent since it was first heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// When it was first heard, Unix ns.
    pub first_ns: u64,
    /// When it was last heard, Unix ns.
    pub last_ns: u64,
    /// Datagrams whose header could be read.
    pub datagrams: u64,
    /// Lines.
    pub lines: u64,
    /// Damaged datagrams.
    pub damaged: u64,
}

/// A sub-agent as the API lists it. Losses are datagrams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Who.
    pub key: Key,
    /// What it sent.
    pub totals: Totals,
    /// Lines per second.
    pub rate: Rate,
    /// What was lost upstream.
    pub sequence: Tally,
}

/// All agents of an input.
#[derive(Debug)]
pub struct Agents {
    all: HashMap<Key, Agent>,
    most: usize,
    /// Of those that were forgotten.
    gone: Tally,
}

#[derive(Debug, Default)]
struct Agent {
    sequence: Sequence,
    totals: Totals,
    rate: Rate,
}

impl Default for Agents {
    fn default() -> Self {
        Self { all: HashMap::new(), most: MOST, gone: Tally::default() }
    }
}

impl Agents {
    /// Takes note of a datagram of `source`.
    pub fn note(&mut self, source: IpAddr, decoded: &Decoded, now_ns: u64) {
        let Some(header) = decoded.header else { return };
        let agent = Address::ip(header.agent);
        let key = Key { source: source.to_canonical(), agent, sub_agent: header.sub_agent };
        let agent = self.all.entry(key).or_default();
        agent.sequence.note(header.sequence, Some(1));
        agent.totals.add(decoded, now_ns);
        agent.rate.add(u64::from(decoded.lines), now_ns);
        if self.all.len() > self.most {
            self.evict();
        }
    }

    /// Every sub-agent, in order of its key.
    pub fn reports(&self) -> Vec<Report> {
        let report = |(key, agent): (&Key, &Agent)| Report {
            key: *key,
            totals: agent.totals,
            rate: agent.rate,
            sequence: agent.sequence.tally,
        };
        let mut all: Vec<_> = self.all.iter().map(report).collect();
        all.sort_unstable_by_key(|report| report.key);
        all
    }

    /// How many sub-agents are known, and what was lost upstream, those that were forgotten included.
    pub fn summary(&self) -> (usize, Tally) {
        let mut sum = self.gone;
        self.all.values().for_each(|agent| sum += agent.sequence.tally);
        (self.all.len(), sum)
    }

    fn evict(&mut self) {
        let mut heard: Vec<_> = self.all.values().map(|agent| agent.totals.last_ns).collect();
        let mut left = (self.most / 8).max(1);
        let (_, &mut limit, _) = heard.select_nth_unstable(left - 1);
        self.all.retain(|_, agent| {
            let goes = left > 0 && agent.totals.last_ns <= limit;
            left -= usize::from(goes);
            if goes {
                self.gone += agent.sequence.tally;
            }
            !goes
        });
    }
}

impl Totals {
    fn add(&mut self, decoded: &Decoded, now_ns: u64) {
        if self.datagrams == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = self.last_ns.max(now_ns);
        self.datagrams += 1;
        self.lines += u64::from(decoded.lines);
        self.damaged += u64::from(decoded.damage.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::Header;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn datagram(agent: u8, sub_agent: u32, sequence: u32) -> Decoded {
        let agent = Address::V4([0, 0, 0, agent]);
        let header = Some(Header { agent, sub_agent, sequence, uptime_ms: 0, samples: 0 });
        Decoded { header, ..Decoded::default() }
    }

    #[test]
    fn each_sub_agent_has_its_own_numbers() {
        let mut agents = Agents::default();
        for (agent, sub_agent, sequence) in [
            (1, 0, 1),
            (1, 1, 100),
            (2, 0, 50),
            (1, 0, 2),
            (1, 0, 5),
            (1, 1, 101),
            (1, 0, 4),
            (1, 0, 4),
            (2, 0, 51),
        ] {
            agents.note(SOURCE, &datagram(agent, sub_agent, sequence), 9);
        }
        let found: Vec<_> = agents
            .reports()
            .iter()
            .map(|Report { key, totals, sequence, .. }| {
                (
                    key.agent,
                    key.sub_agent,
                    totals.datagrams,
                    sequence.lost,
                    sequence.reordered,
                    sequence.duplicates,
                )
            })
            .collect();
        let agent = |last| Some(IpAddr::from([0, 0, 0, last]));
        assert_eq!(found, [(agent(1), 0, 5, 1, 1, 1), (agent(1), 1, 2, 0, 0, 0), (agent(2), 0, 2, 0, 0, 0)]);
    }

    #[test]
    fn those_not_heard_for_longest_are_forgotten() {
        let mut agents = Agents { most: 16, ..Agents::default() };
        for sub_agent in 0..100 {
            agents.note(SOURCE, &datagram(1, sub_agent, 0), sub_agent.into());
            agents.note(SOURCE, &datagram(1, 0, sub_agent), sub_agent.into());
            assert!(agents.reports().len() <= 16);
        }
        let reports = agents.reports();
        assert_eq!((reports[0].key.sub_agent, reports[0].totals.datagrams), (0, 101));
        assert!(reports.len() > 8 && reports[1..].iter().all(|report| report.key.sub_agent > 80));
    }
}
