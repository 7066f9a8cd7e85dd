//! Before the first configuration, for a process that is started before it is written (`--wait-for-config`): it waits
//! until there is one that can be used, says what it waits for, and is alive but not ready. Nothing else runs yet.
//!
//! The port for health is that of the environment (`BYTEFREEZER_PROXY_SERVER_HEALTH_PORT`), since there is no other
//! place yet.

use std::{io, net::IpAddr, path::Path, sync::Arc};

use axum::{Router, http::StatusCode, routing};
use parking_lot::Mutex;
use serde_json::Value as Json;
use tokio::{net::TcpListener, runtime::Builder};

use crate::{
    cli, config,
    reload::{self, Read},
    run::Ends,
    watch::FileWatch,
};

/// What is waited for, in words.
type Reason = Arc<Mutex<String>>;

/// The first configuration called `file` that can be used. `None` when a signal came first.
pub(crate) fn for_configuration(file: &Path) -> io::Result<Option<Read>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Everything ends with the runtime, so the port is free again.
    runtime.block_on(async {
        let reason = Reason::default();
        let _health = tokio::spawn(serve(Arc::clone(&reason)));
        let mut ends = Ends::new()?;
        tokio::select! {
            read = until_usable(file, &reason) => Ok(Some(read)),
            name = ends.next() => {
                eprintln!("{name} while waiting for a configuration");
                Ok(None)
            }
        }
    })
}

async fn until_usable(file: &Path, reason: &Reason) -> Read {
    let mut watch = FileWatch::new(file);
    loop {
        match reload::read(file, None) {
            Ok(read) => return read,
            Err(error) => {
                let text = format!("waiting for a configuration: {error}");
                let before = std::mem::replace(&mut *reason.lock(), text.clone());
                if before != text {
                    eprintln!("{text}");
                }
            }
        }
        watch.may_have_changed().await;
    }
}

async fn serve(reason: Reason) {
    let Some((host, port)) = health_address() else { return };
    let ready = move || async move { (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.lock())) };
    let router = Router::new()
        .route("/livez", routing::get(|| async { "ok\n" }))
        .route("/readyz", routing::get(ready));
    let served = match TcpListener::bind((host, port)).await {
        Ok(listener) => axum::serve(listener, router).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        eprintln!("health is not served at {host} port {port}: {error}");
    }
}

/// As far as the environment says.
fn health_address() -> Option<(IpAddr, u16)> {
    let server = config::load("environment", "", cli::environment()).effective.get("server").cloned()?;
    let port = server.get("health_port").and_then(Json::as_u64)?;
    let host = server.get("api_host").and_then(Json::as_str)?;
    Some((host.parse().ok()?, port.try_into().ok()?))
}
