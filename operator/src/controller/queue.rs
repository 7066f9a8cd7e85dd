//! Which Proxies have to be looked at, and when.
//!
//! - A key waits [`Queue::settle`] from its first change on, so a burst of changes is one pass; further changes do not put
//!   it off.
//! - A key is never handed out twice at a time; what changes meanwhile is handed out afterwards.
//! - It is bounded by the number of Proxies.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::key::ObjectKey;

/// Proxies that have to be looked at.
#[derive(Debug)]
pub struct Queue {
    settle: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: HashMap<ObjectKey, Instant>,
    running: HashSet<ObjectKey>,
}

/// A key that was handed out; when it is dropped, the key may be handed out again.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    /// The Proxy.
    pub key: ObjectKey,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.state.lock().running.remove(&self.key);
        self.queue.changed.notify_one();
    }
}

impl Queue {
    /// An empty queue in which changes settle for `settle`.
    pub fn new(settle: Duration) -> Self {
        Self { settle, state: Mutex::default(), changed: Notify::new() }
    }

    /// A Proxy has to be looked at, once changes have settled.
    pub fn add(&self, key: ObjectKey) {
        self.add_at(key, Instant::now() + self.settle);
    }

    /// Proxies have to be looked at, once changes have settled.
    pub fn add_all(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            self.add(key);
        }
    }

    /// A Proxy has to be looked at, at `due` or before.
    pub fn add_at(&self, key: ObjectKey, due: Instant) {
        let mut state = self.state.lock();
        let at = state.due.entry(key).or_insert(due);
        *at = due.min(*at);
        drop(state);
        self.changed.notify_one();
    }

    /// How many wait whose time has come.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        self.state.lock().due.values().filter(|due| **due <= now).count()
    }

    /// Waits for the next key. One caller at a time.
    pub async fn next(self: &Arc<Self>) -> Turn {
        loop {
            let first = {
                let mut state = self.state.lock();
                let waiting = state.due.iter().filter(|(key, _)| !state.running.contains(*key));
                let first = waiting.min_by_key(|(_, due)| **due).map(|(key, due)| (key.clone(), *due));
                if let Some((key, due)) = &first
                    && *due <= Instant::now()
                {
                    state.due.remove(key);
                    state.running.insert(key.clone());
                    return Turn { queue: Arc::clone(self), key: key.clone() };
                }
                first
            };
            match first {
                Some((_, due)) => tokio::select! {
                    () = sleep_until(due) => (),
                    () = self.changed.notified() => (),
                },
                None => self.changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(300);

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("net", name)
    }

    async fn none(queue: &Arc<Queue>, wait: Duration) -> bool {
        tokio::time::timeout(wait, queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_turn_and_a_stream_of_changes_does_not_put_it_off() {
        let queue = Arc::new(Queue::new(SETTLE));
        let start = Instant::now();
        let changes = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move {
                loop {
                    queue.add(key("a"));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        let turn = queue.next().await;
        assert_eq!(turn.key, key("a"));
        assert!(start.elapsed() <= SETTLE + Duration::from_millis(10));
        changes.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_runs_once_at_a_time_and_again_for_what_changed_meanwhile() {
        let queue = Arc::new(Queue::new(SETTLE));
        queue.add(key("a"));
        queue.add_at(key("b"), Instant::now() + SETTLE * 2);
        let first = queue.next().await;
        assert_eq!(first.key, key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await.key, key("b"), "others go on");
        assert!(none(&queue, SETTLE * 10).await);
        assert_eq!(queue.depth(), 1);
        drop(first);
        assert_eq!(queue.next().await.key, key("a"));
        assert!(none(&queue, SETTLE * 10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_time_counts() {
        let queue = Arc::new(Queue::new(SETTLE));
        let start = Instant::now();
        queue.add_at(key("a"), start + Duration::from_mins(1));
        queue.add(key("a"));
        drop(queue.next().await);
        assert_eq!(start.elapsed(), SETTLE);
        assert!(none(&queue, Duration::from_mins(2)).await, "the later time went with it");
    }
}
