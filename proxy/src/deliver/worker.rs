//! One job from beginning to end: read, send, and tell the spool what became of the batch.

use std::{
    collections::HashSet,
    io::ErrorKind,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Clients, Upload},
    metrics::{DeliverMetrics, OutcomeLabel, ReasonLabel},
    outcome::{Outcome, can_pass, label},
    schedule::{Answer, Job, Report, Task, Then},
    token::TokenStore,
    unsure::Unsure,
};
use crate::{
    ids::DatasetKey,
    spool::{Entry, Failure, Reason, SpoolHandle, Stamp, State},
    throttle::Throttle,
};

/// DLQ entries looked at in one pass.
const DLQ_PAGE: usize = 64;
/// A file that is moved just now is found again after this time.
const MOVED_WITHIN: Duration = Duration::from_secs(1);

/// What a reload replaces.
#[derive(Debug)]
pub struct Link {
    /// To the Receiver.
    pub clients: Clients,
    /// `receiver.max_payload_size`; 0 is no limit.
    pub max_payload_size: u64,
    /// `spooling.retry_attempts`.
    pub retry_attempts: u32,
}

/// What every job needs.
#[derive(Debug)]
pub struct Worker {
    /// Batches.
    pub spool: SpoolHandle,
    /// Numbers.
    pub metrics: DeliverMetrics,
    /// Client and limits now.
    pub link: ArcSwap<Link>,
    /// Tokens now.
    pub tokens: TokenStore,
    /// Ends uploads; their batches stay.
    pub cancel: CancellationToken,
    /// Batches being sent, so that none goes twice at a time when a person returns one that probes from the DLQ.
    pub sending: Mutex<HashSet<Stamp>>,
    /// Batches that must not be cut for a limit of ours.
    pub unsure: Unsure,
    /// Log lines about single batches.
    pub log: BatchLog,
}

/// A line per kind in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Throttles of the log lines about single batches.
#[derive(Debug)]
pub struct BatchLog {
    rejected: Throttle,
    local: Throttle,
}

impl Default for BatchLog {
    fn default() -> Self {
        Self { rejected: Throttle::new(LOG_EVERY), local: Throttle::new(LOG_EVERY) }
    }
}

/// A batch being sent, until dropped.
struct Sending<'a>(&'a Mutex<HashSet<Stamp>>, Stamp);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// What became of sending.
enum Sent {
    Done(Outcome),
    NoToken(String),
    NoClient(String),
    Corrupt(String),
    Unreadable(std::io::Error),
    Cancelled,
}

/// Where the batch of an upload was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Queue,
    Probe,
    Dlq,
}

impl Worker {
    /// Does a job.
    pub async fn run(&self, job: &Job) -> Report {
        match &job.task {
            Task::Upload(stamp) => match self.spool.entry(*stamp) {
                Some(entry) if entry.state != State::Dlq => {
                    self.upload(&entry, if job.probe { Origin::Probe } else { Origin::Queue }).await
                }
                _ => report(Answer::Nothing, Then::Left),
            },
            Task::Bury(stamp, failure) => self.bury(*stamp, failure.clone(), Answer::Nothing).await,
            Task::DlqProbe(after) => self.dlq_probe(&job.key, *after).await,
            Task::Return { after, limit } => self.bring_back(&job.key, *after, *limit).await,
        }
    }

    async fn upload(&self, entry: &Entry, origin: Origin) -> Report {
        let stamp = entry.stamp;
        if !self.sending.lock().insert(stamp) {
            return report(Answer::Nothing, Then::Later);
        }
        let _sending = Sending(&self.sending, stamp);
        self.upload_alone(entry, origin).await
    }

    async fn upload_alone(&self, entry: &Entry, origin: Origin) -> Report {
        let stamp = entry.stamp;
        let sent = self.send(entry).await;
        match sent {
            Sent::Done(outcome) => self.settle(entry, origin, outcome).await,
            Sent::NoToken(message) => {
                let failure = Failure { reason: Reason::NoToken, status: None, message: message.into() };
                report(Answer::NoToken(failure), Then::Again)
            }
            Sent::NoClient(message) => {
                let failure = Failure { reason: Reason::Network, status: None, message: message.into() };
                report(Answer::Unavailable(failure, None), Then::Again)
            }
            Sent::Cancelled => report(Answer::Nothing, Then::Again),
            Sent::Corrupt(why) => {
                let done = self.spool.quarantine(stamp, why).await;
                report(Answer::Nothing, self.left(stamp, done))
            }
            Sent::Unreadable(_) if self.spool.entry(stamp).is_none() => report(Answer::Nothing, Then::Left),
            Sent::Unreadable(error) if error.kind() == ErrorKind::NotFound => {
                self.missing(entry, error).await
            }
            Sent::Unreadable(error) => {
                self.trouble(stamp, &error);
                report(Answer::Nothing, Then::Later)
            }
        }
    }

    /// The file is gone: the batch is given up, with its lines counted, instead of being tried for ever.
    async fn missing(&self, entry: &Entry, error: std::io::Error) -> Report {
        let stamp = entry.stamp;
        tokio::time::sleep(MOVED_WITHIN).await;
        match self.spool.open(stamp) {
            Ok(_) => report(Answer::Nothing, Then::Again),
            Err(again) if again.kind() == ErrorKind::NotFound => {
                let why = format!("the file {} is gone: {error}", entry.file_name());
                let done = self.spool.quarantine(stamp, why).await;
                report(Answer::Nothing, self.left(stamp, done))
            }
            Err(error) => report(Answer::Nothing, self.left(stamp, Err(error))),
        }
    }

    async fn send(&self, entry: &Entry) -> Sent {
        let link = self.link.load_full();
        let too_large = link.max_payload_size > 0 && entry.file_bytes > link.max_payload_size;
        // Of what others named nobody knows what was under way when they ended.
        let sure = self.spool.made_here(entry.stamp) && !self.unsure.contains(entry.stamp);
        if too_large && sure {
            return Sent::Done(Outcome::TooLarge(Failure {
                reason: Reason::TooLarge,
                status: None,
                message: format!(
                    "{} bytes, more than receiver.max_payload_size ({})",
                    entry.file_bytes, link.max_payload_size
                )
                .into(),
            }));
        }
        let client = match link.clients.get() {
            Ok(client) => client,
            Err(why) => return Sent::NoClient(why),
        };
        let token = match self.tokens.header(&entry.key.tenant) {
            Ok(token) => token,
            Err(why) => return Sent::NoToken(why),
        };
        let file = match self.spool.open(entry.stamp) {
            Ok(file) => file,
            Err(error) => return Sent::Unreadable(error),
        };
        let started = Instant::now();
        self.metrics.in_flight.inc();
        let upload = self.cancel.run_until_cancelled(client.upload(entry, token, file)).await;
        self.metrics.in_flight.dec();
        let (sent, outcome) = match upload {
            None => return Sent::Cancelled,
            Some(Upload::Corrupt(why)) => (Sent::Corrupt(why), "corrupt"),
            Some(Upload::Unreadable(error)) => (Sent::Unreadable(error), "local"),
            Some(Upload::Done { outcome, whole }) => {
                self.note(entry.stamp, &outcome, whole);
                let class = class(&outcome);
                (Sent::Done(outcome), class)
            }
        };
        self.metrics.duration.observe(started.elapsed().as_secs_f64());
        self.metrics.uploads.get_or_create(&OutcomeLabel { outcome }).inc();
        sent
    }

    fn note(&self, stamp: Stamp, outcome: &Outcome, whole: bool) {
        match outcome {
            Outcome::Delivered => self.unsure.remove(stamp),
            Outcome::Unavailable { .. } | Outcome::Failed(_) if whole => {
                self.unsure.insert(stamp, |stamp| self.spool.entry(stamp).is_some());
            }
            _ => {}
        }
    }

    async fn settle(&self, entry: &Entry, origin: Origin, outcome: Outcome) -> Report {
        let stamp = entry.stamp;
        match outcome {
            Outcome::Delivered => {
                self.metrics.bytes.inc_by(entry.file_bytes);
                self.metrics.lines.inc_by(entry.lines);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let latency = now.saturating_sub(Duration::from_nanos(stamp.0));
                self.metrics.latency.observe(latency.as_secs_f64());
                let done = self.spool.delivered(stamp).await;
                report(Answer::Accepted, self.left(stamp, done))
            }
            Outcome::Unavailable { failure, retry_after } => {
                let answer = Answer::Unavailable(failure.clone(), retry_after);
                match origin {
                    Origin::Queue => self.attempt_failed(entry, failure, answer).await,
                    Origin::Probe | Origin::Dlq => report(answer, Then::Again),
                }
            }
            Outcome::Failed(failure) if origin == Origin::Dlq => {
                tracing::debug!(batch = entry.file_name(), message = &*failure.message, "stays in the DLQ");
                report(Answer::Answered, Then::Left)
            }
            Outcome::Failed(failure) => self.attempt_failed(entry, failure, Answer::Answered).await,
            Outcome::Refused { tenant, failure } => {
                let answer = Answer::Refused { tenant, failure: failure.clone() };
                match origin {
                    Origin::Dlq => report(answer, Then::Left),
                    Origin::Queue | Origin::Probe => self.bury(stamp, failure, answer).await,
                }
            }
            Outcome::TooLarge(failure) => self.split(entry, origin, failure).await,
            Outcome::Rejected(failure) => {
                if let Some(suppressed) = self.log.rejected.pass() {
                    tracing::warn!(
                        batch = entry.file_name(),
                        message = &*failure.message,
                        suppressed,
                        "the Receiver will not take this batch; it stays in the DLQ for a person"
                    );
                }
                self.bury(stamp, failure, Answer::Answered).await
            }
        }
    }

    async fn attempt_failed(&self, entry: &Entry, failure: Failure, answer: Answer) -> Report {
        match self.spool.failed(entry.stamp, failure.clone()).await {
            Ok(()) if entry.attempts + 1 >= self.link.load().retry_attempts => {
                return self.bury(entry.stamp, failure, answer).await;
            }
            Err(_) if self.spool.entry(entry.stamp).is_none() => return report(answer, Then::Left),
            Err(error) => self.trouble(entry.stamp, &error),
            Ok(()) => {}
        }
        report(answer, Then::Later)
    }

    async fn bury(&self, stamp: Stamp, failure: Failure, answer: Answer) -> Report {
        let reason = label(failure.reason);
        let done = self.spool.bury(stamp, failure).await;
        let buried = done.is_ok();
        if buried {
            self.metrics.buried.get_or_create(&ReasonLabel { reason }).inc();
        }
        Report { answer, then: self.left(stamp, done), buried }
    }

    async fn split(&self, entry: &Entry, origin: Origin, failure: Failure) -> Report {
        // Nothing was sent when our own limit spoke.
        let answer = if failure.status.is_some() { Answer::Answered } else { Answer::Nothing };
        if origin == Origin::Dlq
            && let Err(error) = self.spool.revive(entry.stamp).await
        {
            return report(answer, self.left(entry.stamp, Err(error)));
        }
        match self.spool.split(entry.stamp).await {
            Ok(Some(halves)) => {
                tracing::info!(batch = entry.file_name(), ?halves, "too large for the Receiver: cut in two");
                report(answer, Then::Left)
            }
            Ok(None) => self.bury(entry.stamp, failure, answer).await,
            Err(error) => report(answer, self.left(entry.stamp, Err(error))),
        }
    }

    async fn dlq_probe(&self, key: &DatasetKey, after: Option<Stamp>) -> Report {
        let page = self.spool.entries(key, &[State::Dlq], after, DLQ_PAGE);
        let Some(entry) = page.iter().find(|entry| returns(entry)) else {
            let end = page.len() < DLQ_PAGE;
            let cursor = page.last().map(|entry| entry.stamp);
            return report(Answer::Nothing, Then::Dlq { cursor, end, returned: 0 });
        };
        let mut report = self.upload(entry, Origin::Dlq).await;
        let returned = usize::from(matches!(report.answer, Answer::Accepted));
        report.then = Then::Dlq { cursor: Some(entry.stamp), end: false, returned };
        self.metrics.returned.inc_by(returned as u64);
        report
    }

    async fn bring_back(&self, key: &DatasetKey, after: Option<Stamp>, limit: usize) -> Report {
        let page = self.spool.entries(key, &[State::Dlq], after, DLQ_PAGE);
        let (mut returned, mut cursor) = (0, after);
        for entry in &page {
            if returned == limit || !self.spool.usage().has_room_for_returns() {
                return report(Answer::Nothing, Then::Dlq { cursor, end: false, returned });
            }
            cursor = Some(entry.stamp);
            if returns(entry) {
                match self.spool.revive(entry.stamp).await {
                    Ok(()) => {
                        returned += 1;
                        self.metrics.returned.inc();
                    }
                    Err(error) => self.trouble(entry.stamp, &error),
                }
            }
        }
        report(Answer::Nothing, Then::Dlq { cursor, end: page.len() < DLQ_PAGE, returned })
    }

    fn left(&self, stamp: Stamp, done: std::io::Result<()>) -> Then {
        match done {
            Ok(()) => Then::Left,
            Err(_) if self.spool.entry(stamp).is_none() => Then::Left,
            Err(error) => {
                self.trouble(stamp, &error);
                Then::Later
            }
        }
    }

    fn trouble(&self, stamp: Stamp, error: &std::io::Error) {
        if let Some(suppressed) = self.log.local.pass() {
            let batch = self.spool.entry(stamp).map(|entry| entry.file_name()).unwrap_or_default();
            tracing::warn!(
                batch,
                %error,
                suppressed,
                "the spool could not read a batch or note what became of it; it stays and is tried again"
            );
        }
    }
}

fn report(answer: Answer, then: Then) -> Report {
    Report { answer, then, buried: false }
}

fn returns(entry: &Entry) -> bool {
    entry.failure.as_ref().is_none_or(|failure| can_pass(failure.reason))
}

fn class(outcome: &Outcome) -> &'static str {
    let failure = match outcome {
        Outcome::Delivered => return "2xx",
        Outcome::Unavailable { failure, .. }
        | Outcome::Refused { failure, .. }
        | Outcome::Failed(failure)
        | Outcome::TooLarge(failure)
        | Outcome::Rejected(failure) => failure,
    };
    match failure.status {
        Some(300..=399) => "3xx",
        Some(400..=499) => "4xx",
        Some(_) => "5xx",
        None if failure.reason == Reason::Timeout => "timeout",
        None => "network",
    }
}
