//! Events on Proxies and datasets: what changed for the worse, and what became well again.
//!
//! - One per change of a condition, never one per pass; the API server makes a series of what repeats.
//! - Bounded: a queue of [`ROOM`], at most [`PER_SECOND`] a second. What finds no room is counted and dropped: the
//!   conditions tell the same.

use std::{sync::Arc, time::Duration};

use bytefreezer_crds::conditions::Reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

use crate::{apply::MANAGER, metrics::Metrics, status::Finding};

const ROOM: usize = 1000;
const PER_SECOND: u32 = 20;
/// Longest note that the API server takes.
const LONGEST_NOTE: usize = 1000;

/// Takes events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<(ObjectReference, Event)>,
    metrics: Arc<Metrics>,
}

/// Publishes events.
pub struct Publisher {
    receiver: mpsc::Receiver<(ObjectReference, Event)>,
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

/// Both ends.
pub fn events(client: Client, instance: String, metrics: Arc<Metrics>) -> (Events, Publisher) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(instance) };
    let recorder = Recorder::new(client, reporter);
    (Events { sender, metrics: Arc::clone(&metrics) }, Publisher { receiver, recorder, metrics })
}

impl Events {
    /// A condition of `object` changed.
    pub fn found(&self, object: ObjectReference, finding: &Finding) {
        let event = Event {
            type_: if finding.is_good() { EventType::Normal } else { EventType::Warning },
            reason: finding.reason(),
            note: Some(finding.message.chars().take(LONGEST_NOTE).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if self.sender.try_send((object, event)).is_err() {
            self.metrics.events.get_or_create(&[("result", "dropped")]).inc();
        }
    }
}

/// Whether a change is worth an event: it is bad and not a matter of seconds, or good after something bad.
pub fn is_worth(before: Option<&str>, finding: &Finding) -> bool {
    let passes = matches!(finding.reason, Reason::Pending | Reason::NoReadyPods);
    if finding.is_good() { before.is_some_and(|status| status != "True") } else { !passes }
}

impl Publisher {
    /// Publishes until every [`Events`] is gone.
    pub async fn run(mut self) {
        let mut pace = interval(Duration::from_secs(1) / PER_SECOND);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some((object, event)) = self.receiver.recv().await {
            pace.tick().await;
            let result = match self.recorder.publish(&event, &object).await {
                Ok(()) => "made",
                Err(error) => {
                    warn!(%error, object = object.name, "an event cannot be made");
                    "failed"
                }
            };
            debug!(reason = event.reason, object = object.name, result, "event");
            self.metrics.events.get_or_create(&[("result", result)]).inc();
        }
    }
}
