//! One task per pod: asks, remembers, tells when something changed.
//!
//! The pod answers when its state changes, else after half a minute; so a change is known within a fraction of a second
//! and a pod at rest costs two questions a minute. While it is silent it is asked at growing, jittered intervals, and at
//! once when Kubernetes says something new about it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    InputReport, Said, Silence, Why,
    ask::{Limits, ask},
    wire::Answer,
};
use crate::{
    api_secret::Access,
    jitter::{Backoff, jitter},
    key::ObjectKey,
};

/// Pauses while a pod is silent.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Between an answer with news and the next question.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two questions to a pod that answers at once without news, as no proxy does.
const LONG_PAUSE: Duration = Duration::from_secs(4);
/// An answer without news is at once when it takes less than this.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long no datagram must have been dropped until an input counts as well again.
const LOSING_FOR: Duration = Duration::from_mins(5);
/// Per cent of the spool: nearly full from the first on, no longer below the second.
const NEARLY_FULL: (u64, u64) = (90, 80);

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// Address and API port, once the pod has one.
    pub address: Option<SocketAddr>,
    /// The Proxy's access.
    pub access: Access,
    /// Whether Kubernetes calls the pod ready; a change is a reason to ask at once.
    pub ready: bool,
}

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    /// Its last answer.
    pub said: Option<Said>,
    /// Since when it is silent.
    pub silence: Option<Silence>,
}

impl Heard {
    /// Of a pod that was not asked yet.
    pub fn nothing() -> Self {
        Self {
            said: None,
            silence: Some(Silence { since: Timestamp::now(), address: String::new(), why: Why::NotAsked }),
        }
    }
}

/// The pod's task. Ends with the sender of `target`.
pub(super) struct Follower {
    /// The Proxy, for those who are told.
    pub proxy: ObjectKey,
    /// The pod's name, for logs.
    pub pod: String,
    /// Whom to ask.
    pub target: watch::Receiver<Target>,
    /// Where it goes.
    pub heard: watch::Sender<Heard>,
    /// Who is told. Bounded: while nobody listens, nobody asks.
    pub changed: mpsc::Sender<ObjectKey>,
    /// Time limits.
    pub limits: Limits,
}

impl Follower {
    pub async fn run(mut self) {
        let mut history = History::default();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut etag: Option<String> = None;
        loop {
            let target = self.target.borrow_and_update().clone();
            let asked = Instant::now();
            let answer = tokio::select! {
                answer = question(&target, etag.as_deref(), self.limits) => answer,
                alive = self.target.changed() => match alive {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let pause = match answer {
                Ok(answer) => {
                    backoff.reset();
                    let news = answer.etag.is_some() && answer.etag != etag;
                    etag.clone_from(&answer.etag);
                    let said = history.settle(answer, Instant::now());
                    self.tell(|heard| *heard = Heard { said: Some(said), silence: None }).await;
                    if news || asked.elapsed() >= AT_ONCE { PAUSE } else { jitter(LONG_PAUSE) }
                }
                Err(why) => {
                    // It may have started anew meanwhile.
                    etag = None;
                    let address = target.address.map(|address| address.to_string()).unwrap_or_default();
                    self.tell(|heard| heard.is_silent(address, why)).await;
                    backoff.pause()
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                alive = self.target.changed() => match alive {
                    Ok(()) => backoff.reset(),
                    Err(_) => return,
                },
            }
        }
    }

    /// Changes what is known, and tells when that means something.
    async fn tell(&mut self, change: impl FnOnce(&mut Heard)) {
        let before = self.heard.borrow().clone();
        self.heard.send_modify(change);
        let now = self.heard.borrow().clone();
        match (&before.silence, &now.silence) {
            (None, Some(silence)) => {
                warn!(proxy = %self.proxy, pod = self.pod, address = silence.address, "a pod does not answer: {}", silence.why);
            }
            (Some(_), None) => info!(proxy = %self.proxy, pod = self.pod, "a pod answers"),
            _ => {}
        }
        if before.differs(&now) {
            // Whoever is told is gone only when everything ends.
            let _ = self.changed.send(self.proxy.clone()).await;
        }
    }
}

async fn question(target: &Target, after: Option<&str>, limits: Limits) -> Result<Answer, Why> {
    match target.address {
        Some(address) => ask(address, &target.access, after, limits).await,
        None => Err(Why::NoAddress),
    }
}

impl Heard {
    fn is_silent(&mut self, address: String, why: Why) {
        let since = self.silence.as_ref().map_or_else(Timestamp::now, |silence| silence.since);
        self.silence = Some(Silence { since, address, why });
    }

    /// Whether anything but a counter is another.
    fn differs(&self, other: &Self) -> bool {
        self.silence != other.silence || self.said.as_ref().map(settled) != other.said.as_ref().map(settled)
    }
}

/// Without what counts.
fn settled(said: &Said) -> Said {
    let inputs = said.inputs.iter();
    let inputs = inputs.map(|(key, input)| (key.clone(), InputReport { kernel_drops: 0, ..input.clone() }));
    Said { inputs: inputs.collect(), spooled: None, ..said.clone() }
}

/// What the answers before the last one said that still counts.
#[derive(Default)]
struct History {
    /// Kernel drops by input, and when they last rose.
    drops: BTreeMap<ObjectKey, (u64, Option<Instant>)>,
    nearly_full: bool,
}

impl History {
    fn settle(&mut self, answer: Answer, now: Instant) -> Said {
        let Answer { mut said, spool_percent, .. } = answer;
        if let Some(percent) = spool_percent {
            let bound = if self.nearly_full { NEARLY_FULL.1 } else { NEARLY_FULL.0 };
            self.nearly_full = percent >= bound;
        }
        said.spool_nearly_full = self.nearly_full;
        let mut drops = BTreeMap::new();
        for (key, input) in &mut said.inputs {
            // Fewer than before: the process is another one.
            let rose = match self.drops.get(key) {
                Some((before, _)) if input.kernel_drops > *before => Some(now),
                Some((_, rose)) => *rose,
                None => None,
            };
            input.losing = rose.is_some_and(|rose| now.duration_since(rose) < LOSING_FOR);
            drops.insert(key.clone(), (input.kernel_drops, rose));
        }
        self.drops = drops;
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(drops: u64, percent: u64) -> Answer {
        let input = InputReport { kernel_drops: drops, ..InputReport::default() };
        let said = Said { inputs: [(ObjectKey::new("net", "web"), input)].into(), ..Said::default() };
        Answer { etag: None, said, spool_percent: Some(percent) }
    }

    #[test]
    fn losing_begins_with_more_drops_and_ends_after_five_minutes_without() {
        let mut history = History::default();
        let start = Instant::now();
        let mut losing = |drops, minutes| {
            let said = history.settle(answer(drops, 0), start + Duration::from_mins(minutes));
            said.inputs[&ObjectKey::new("net", "web")].losing
        };
        assert!(!losing(7, 0), "what was dropped before we looked is no news");
        assert!(losing(8, 1));
        assert!(losing(8, 5));
        assert!(losing(9, 6));
        assert!(losing(9, 10));
        assert!(!losing(9, 11));
        assert!(!losing(0, 12), "another process");
        assert!(losing(1, 13));
    }

    #[test]
    fn nearly_full_does_not_flutter() {
        let mut history = History::default();
        let mut full = |percent| history.settle(answer(0, percent), Instant::now()).spool_nearly_full;
        let said = [70, 89, 90, 85, 80, 79, 85, 91].map(&mut full);
        assert_eq!(said, [false, false, true, true, true, false, false, true]);
    }

    #[test]
    fn counters_are_no_news() {
        let heard = |drops, spooled: u64| {
            let mut said = answer(drops, 0).said;
            said.spooled = Some([("acme".to_owned(), spooled)].into());
            Heard { said: Some(said), silence: None }
        };
        assert!(!heard(1, 1).differs(&heard(2, 2)));
        let mut other = heard(1, 1);
        other.said.as_mut().unwrap().document = "b".to_owned();
        assert!(heard(1, 1).differs(&other));
        other = heard(1, 1);
        other.is_silent("a".to_owned(), Why::Timeout);
        assert!(heard(1, 1).differs(&other));
    }
}
