//! Parts without which the process is of no use, and what it means when one of them meets a defect.
//!
//! A task or thread that panics ends alone, and nobody would miss it: delivery would stand still, or a reload, or the
//! datagrams of a socket, while the process is called healthy. So these parts run under an eye, and when one has panicked
//! the process ends: in order, because the others work and what is in memory is safe in the log alone, and with a failure,
//! so that whoever started it starts it again. The spool's own threads end it at once; see `spool/thread.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use tokio::sync::watch;

/// The eye; clones share it.
#[derive(Debug, Clone)]
pub struct Vitals(watch::Sender<Option<&'static str>>);

impl Default for Vitals {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Vitals {
    /// What a part of the program comes to, unless it panics.
    pub async fn watch<T>(&self, part: &'static str, run: impl Future<Output = T>) -> Option<T> {
        let end = AssertUnwindSafe(run).catch_unwind().await;
        self.note(part, end.ok())
    }

    /// The same for a thread.
    pub fn watch_thread<T>(&self, part: &'static str, run: impl FnOnce() -> T) -> Option<T> {
        self.note(part, catch_unwind(AssertUnwindSafe(run)).ok())
    }

    /// The part that failed first, as soon as one has.
    pub async fn failed(&self) -> &'static str {
        let mut seen = self.0.subscribe();
        // The sender lives as long as this.
        let found = seen.wait_for(Option::is_some).await;
        found.ok().and_then(|part| *part).unwrap_or("unknown")
    }

    fn note<T>(&self, part: &'static str, end: Option<T>) -> Option<T> {
        if end.is_none() {
            tracing::error!(
                part,
                "a part of the program met a defect and ended: the process ends in order, and with a failure, so that it is started again; please report it"
            );
            self.0.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(part);
                is_first
            });
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_noted_and_the_first_one_counts() {
        let vitals = Vitals::default();
        let (one, two) = (vitals.clone(), vitals.clone());
        assert_eq!(vitals.watch("fine", async { 1 }).await, Some(1));
        assert_eq!(vitals.watch_thread("fine", || 2), Some(2));
        assert!(timeout(Duration::from_millis(20), vitals.failed()).await.is_err());
        let waiting = tokio::spawn(async move { one.failed().await });
        let ended = std::thread::spawn(move || two.watch_thread("receive", || panic!("defect")));
        assert_eq!(ended.join().unwrap(), None::<()>);
        assert_eq!(waiting.await.unwrap(), "receive");
        assert_eq!(vitals.watch("deliver", async { panic!("defect") }).await, None::<()>);
        assert_eq!(vitals.failed().await, "receive");
    }
}
