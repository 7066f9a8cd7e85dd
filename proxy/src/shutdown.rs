//! The end, in order, so that nothing that was accepted is lost and as much as possible is delivered.
//!
//! ```text
//! shutdown_delay (all as before, still ready) -> not ready, intake goes on -> intake ends -> batches close, one sync
//!     -> delivery for at most shutdown_grace -> API ends -> spool ends
//! ```
//! Ready at first, since a load balancer that sends to this node alone has nobody else until it looks elsewhere. Not ready then,
//! because a flow of datagrams stays with this process as long as it is called ready: closed at that moment, whatever the flow
//! brings would be lost until somebody notices.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::{error, info};

use crate::{
    ledger::Events,
    run::{Proxy, tell_systemd},
};

/// From "not ready" until senders are led elsewhere: two probes of the operator's pods, two seconds apart, and then what a
/// cluster takes to pass it on. Only with a `shutdown_delay`: else nobody leads senders anywhere.
const TURN: Duration = Duration::from_secs(7);
/// For closing all open batches.
const CLOSING: Duration = Duration::from_secs(10);

/// Without the delay when `at_once`. Ends everything but the spool, which ends with its last sync when `proxy` is dropped. May be dropped at any point: what is in the spool's log is safe.
pub(crate) async fn in_order(proxy: &Proxy, at_once: bool) {
    let server = proxy.running.load().config.server.clone();
    if !at_once && !server.shutdown_delay.is_zero() {
        info!(seconds = server.shutdown_delay.as_secs(), "still serving while load balancers take notice");
        sleep(server.shutdown_delay).await;
        proxy.api.leave();
        info!(seconds = TURN.as_secs(), "not ready any more; intake goes on until senders are led elsewhere");
        sleep(TURN).await;
    }
    tell_systemd(&[NotifyState::Stopping]);
    proxy.inputs.stop_intake().await;
    proxy.spool.close(CLOSING).await;
    proxy.deliverer.stop(server.shutdown_grace).await;
    proxy.api.stop().await;
    info!("ended");
}

/// Says what becomes of events that were not delivered.
pub(crate) fn say_what_is_left(in_memory: bool, events: &Events) {
    let left = events.undelivered();
    if left == 0 {
        return;
    }
    if in_memory {
        error!(
            events = left,
            "events that were in memory only are lost: spooling.enabled is false and they were not delivered before the end"
        );
    } else {
        info!(events = left, "what is not delivered stays in the spool");
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(in_memory: bool, events: Events) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(logs, || say_what_is_left(in_memory, &events));
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_was_in_memory_only_is_an_error_with_a_number_and_what_is_on_disk_is_not() {
        let events = Events { open: 3, queued: 5, retry: 1, dlq: 2, delivered: 40, ..Events::default() };
        let text = said(true, events);
        assert!(text.contains("ERROR") && text.contains("events=11") && text.contains("lost"), "{text}");
        let text = said(false, events);
        assert!(text.contains("INFO") && text.contains("stays in the spool"), "{text}");
        assert_eq!(said(true, Events { delivered: 40, ..Events::default() }), "");
    }
}
