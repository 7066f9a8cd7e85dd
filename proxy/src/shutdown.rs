//! The end, in order, so that nothing that was accepted is lost and as much as possible is delivered.
//!
//! ```text
//! shutdown_delay (all as before, still ready) -> intake ends -> batches close, one sync
//!     -> delivery for at most shutdown_grace -> API ends -> spool ends
//! ```

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::info;

use crate::run::{Proxy, tell_systemd};

/// For closing all open batches.
const CLOSING: Duration = Duration::from_secs(10);

/// Ends everything but the spool, which ends with its last sync when `proxy` is dropped. May be dropped at any point: what is in the spool's log is safe.
pub(crate) async fn in_order(proxy: &Proxy) {
    let server = proxy.running.load().config.server.clone();
    if !server.shutdown_delay.is_zero() {
        info!(seconds = server.shutdown_delay.as_secs(), "still serving while load balancers take notice");
        sleep(server.shutdown_delay).await;
    }
    tell_systemd(&[NotifyState::Stopping]);
    proxy.inputs.stop_intake().await;
    proxy.spool.close(CLOSING).await;
    proxy.deliverer.stop(server.shutdown_grace).await;
    proxy.api.stop().await;
    info!("ended; what is not delivered stays in the spool");
}
