//! A bound listener of any kind, as the supervisor handles it.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    InputContext, InputError, InputErrorKind, InputStats, Route, Table,
    accept::{AcceptSettings, Acceptor, Serve},
    http::Http,
    plan::{HttpSettings, LineSettings, ListenerKey, Settings},
    shard::Shards,
    tcp::LineService,
    tls::TlsHandle,
    udp::UdpListener,
};
use crate::config::{HttpSource, ServerTls, Transport};

/// What a listener is opened with and later changed to.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub settings: Settings,
    pub routes: Vec<Arc<Route>>,
}

impl Content {
    fn table(&self) -> Arc<Table> {
        Arc::new(Table::new(self.routes.clone()))
    }

    /// Whether both serve the same routes, made of the same inputs.
    fn same_routes(&self, other: &Self) -> bool {
        self.routes.iter().map(|route| route.id).eq(other.routes.iter().map(|route| route.id))
    }
}

/// A listener that is bound.
#[derive(Debug)]
pub(super) enum Running {
    Udp(UdpListener),
    Lines(Accepting<LineService>),
    Http(Accepting<Http>),
}

/// An accept loop.
#[derive(Debug)]
pub(super) struct Accepting<S> {
    service: Arc<S>,
    settings: Arc<ArcSwap<AcceptSettings>>,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Binds and starts to receive. The error is for people and names a remedy.
pub(super) fn open(
    key: &ListenerKey,
    content: &Content,
    counters: &Arc<InputStats>,
    shared: &InputContext,
    shards: &Arc<Shards>,
) -> Result<Running, InputError> {
    match &content.settings {
        Settings::Udp(settings) => UdpListener::open(
            key.address(),
            settings.read_buffer_size,
            content.table(),
            Arc::clone(counters),
            shards,
        )
        .map(Running::Udp)
        .map_err(|error| InputError::bind(key, Transport::Udp, &error)),
        Settings::Lines(settings) => Accepting::open(key, &content.settings, shared, counters, || {
            LineService::new(shared.clone(), content.table(), settings.clone(), Arc::clone(counters))
        })
        .map(Running::Lines),
        Settings::Http(_) => Accepting::open(key, &content.settings, shared, counters, || {
            Arc::new(Http::new(shared.clone(), &content.routes))
        })
        .map(Running::Http),
    }
}

impl Running {
    /// The address with the port the system chose when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Udp(listener) => listener.address(),
            Self::Lines(listener) => listener.address,
            Self::Http(listener) => listener.address,
        }
    }

    /// Whether it can go on with these settings on the same socket.
    pub fn fits(&self, settings: &Settings) -> bool {
        matches!(
            (self, settings),
            (Self::Udp(_), Settings::Udp(_))
                | (Self::Lines(_), Settings::Lines(_))
                | (Self::Http(_), Settings::Http(_))
        )
    }

    /// Goes on with other routes and settings. What did not change is not touched. On an error the old settings hold.
    pub fn change(&self, old: &Content, new: &Content) -> Result<(), InputError> {
        if !old.same_routes(new) {
            match self {
                Self::Udp(listener) => listener.set_table(new.table()),
                Self::Lines(listener) => listener.service.set_table(new.table()),
                Self::Http(listener) => listener.service.set_routes(&new.routes),
            }
        }
        if old.settings == new.settings {
            return Ok(());
        }
        match (self, &new.settings) {
            (Self::Udp(listener), Settings::Udp(settings)) => {
                listener.set_buffer(settings.read_buffer_size);
                Ok(())
            }
            (Self::Lines(listener), Settings::Lines(settings)) => {
                listener.change(&new.settings)?;
                listener.service.set_settings(settings.clone());
                Ok(())
            }
            (Self::Http(listener), Settings::Http(_)) => listener.change(&new.settings),
            // Never asked for: see `fits`.
            _ => Ok(()),
        }
    }

    /// Takes what the kernel holds, hands everything to the spool and closes the socket.
    pub async fn close(self) {
        match self {
            Self::Udp(listener) => listener.close().await,
            Self::Lines(listener) => listener.close().await,
            Self::Http(listener) => listener.close().await,
        }
    }
}

impl<S: Serve> Accepting<S> {
    fn open(
        key: &ListenerKey,
        settings: &Settings,
        context: &InputContext,
        counters: &Arc<InputStats>,
        service: impl FnOnce() -> Arc<S>,
    ) -> Result<Self, InputError> {
        let _entered = context.runtime.enter();
        let acceptor = Acceptor::bind(key.listen, accept_settings(settings, None)?)
            .map_err(|failed| InputError::bind(key, Transport::Tcp, &failed.error))?
            .count_in(Arc::clone(counters));
        let (service, stop) = (service(), CancellationToken::new());
        let (settings, address) = (acceptor.settings(), acceptor.local_addr());
        let (accepting, vitals) = (acceptor.run(Arc::clone(&service), stop.clone()), context.vitals.clone());
        let task = context.runtime.spawn(async move {
            vitals.watch("a listener", accepting).await;
        });
        Ok(Self { service, settings, address, stop, task })
    }

    fn change(&self, settings: &Settings) -> Result<(), InputError> {
        let present = self.settings.load().tls.clone();
        self.settings.store(Arc::new(accept_settings(settings, present)?));
        Ok(())
    }

    async fn close(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// What the accept loop needs of a listener's settings; a certificate that is in use already is kept.
fn accept_settings(
    settings: &Settings,
    present: Option<Arc<TlsHandle>>,
) -> Result<AcceptSettings, InputError> {
    let (tls, proxy, max_connections, max_connections_per_source) = match settings {
        Settings::Udp(_) => return Ok(AcceptSettings::default()),
        Settings::Lines(LineSettings {
            tls,
            proxy_protocol_from,
            max_connections,
            max_connections_per_source,
            ..
        })
        | Settings::Http(HttpSettings {
            proxy_protocol_from,
            source: HttpSource { tls, max_connections, max_connections_per_source, .. },
        }) => (tls, proxy_protocol_from, *max_connections, *max_connections_per_source),
    };
    Ok(AcceptSettings {
        tls: tls.as_ref().map(|tls| handle(tls, present)).transpose()?,
        proxy_protocol_from: proxy.clone().unwrap_or_default(),
        max_connections,
        max_connections_per_source,
        ..AcceptSettings::default()
    })
}

fn handle(tls: &ServerTls, present: Option<Arc<TlsHandle>>) -> Result<Arc<TlsHandle>, InputError> {
    match present {
        Some(present) if present.settings() == tls => Ok(present),
        _ => TlsHandle::load(tls)
            .map(Arc::new)
            .map_err(|error| InputError::new(InputErrorKind::Certificate, error)),
    }
}
