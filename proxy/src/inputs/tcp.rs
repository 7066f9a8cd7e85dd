//! Streams of lines and of syslog messages: a task per connection.
//!
//! While the spool is full nothing is read, which slows the sender down. A connection whose sender no route admits
//! any more is closed; at the end of the proxy it is closed once nothing is left to read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    io::AsyncReadExt,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    InputContext, InputStats, Refusal, Route, Table,
    accept::{ByteStream, Connection, Serve},
    plan::LineSettings,
    session::Session,
};

/// How long reading goes on after the end was asked for, while bytes are there.
const DRAIN: Duration = Duration::from_millis(500);
/// With nothing to read for this long then, nothing is there.
const PAUSE: Duration = Duration::from_millis(10);

/// What the connections of one listener share.
#[derive(Debug)]
pub(super) struct LineService {
    context: InputContext,
    table: watch::Sender<Arc<Table>>,
    settings: ArcSwap<LineSettings>,
    /// Counts what belongs to no route.
    counters: Arc<InputStats>,
}

impl LineService {
    pub fn new(
        context: InputContext,
        table: Arc<Table>,
        settings: LineSettings,
        counters: Arc<InputStats>,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            table: watch::Sender::new(table),
            settings: ArcSwap::from_pointee(settings),
            counters,
        })
    }

    /// Connections look their route up again.
    pub fn set_table(&self, table: Arc<Table>) {
        self.table.send_replace(table);
    }

    /// For connections from now on.
    pub fn set_settings(&self, settings: LineSettings) {
        self.settings.store(Arc::new(settings));
    }

    fn route(&self, peer: IpAddr) -> Option<Arc<Route>> {
        self.table.borrow().lookup(peer).cloned()
    }
}

impl Serve for LineService {
    fn admits(&self, peer: IpAddr) -> bool {
        self.route(peer).is_some()
    }

    fn refused(&self, peer: IpAddr, cause: Refusal) {
        match self.route(peer) {
            Some(route) => route.stats.refuse(cause, 1),
            None => self.counters.refuse(cause, 1),
        }
    }

    async fn serve(self: Arc<Self>, connection: Connection, stop: CancellationToken) {
        let peer = connection.peer;
        let mut tables = self.table.subscribe();
        let found = tables.borrow_and_update().lookup(peer.ip()).cloned();
        let Some(route) = found else { return self.counters.refuse(Refusal::Source, 1) };
        let settings = self.settings.load_full();
        let mut session = Session::new(&self.context, peer, route, &settings);
        if let Err(cause) = read(&mut session, connection.stream, &mut tables, &stop).await {
            session.refuse(cause);
        }
        session.finish(&stop).await;
    }
}

/// Reads to the end of the connection, or of this proxy's patience.
async fn read(
    session: &mut Session<'_>,
    mut stream: Box<dyn ByteStream>,
    tables: &mut watch::Receiver<Arc<Table>>,
    stop: &CancellationToken,
) -> Result<(), Refusal> {
    let timer = sleep_until(session.next_timer());
    tokio::pin!(timer);
    let mut until = None;
    loop {
        session.make_room(stop).await?;
        let read = tokio::select! {
            biased;
            read = stream.read_buf(session.input()) => Some(read.unwrap_or(0)),
            () = sleep(PAUSE), if until.is_some() => return Ok(()),
            () = stop.cancelled(), if until.is_none() => None,
            _ = tables.changed() => {
                tables.mark_changed();
                None
            }
            () = &mut timer => {
                session.tick(stop).await?;
                timer.as_mut().reset(session.next_timer());
                None
            }
        };
        // Looked at after each read too: a peer that never pauses must not keep them from being seen, and what was
        // sent after a change belongs to the new route.
        if tables.has_changed().unwrap_or(false) {
            let table = Arc::clone(&tables.borrow_and_update());
            session.reroute(&table, stop).await?;
        }
        match read {
            Some(0) => return Ok(()),
            Some(_) => session.take(stop).await?,
            None => {}
        }
        if stop.is_cancelled() && *until.get_or_insert_with(|| Instant::now() + DRAIN) < Instant::now() {
            return Ok(());
        }
        if session.next_timer() < timer.deadline() {
            timer.as_mut().reset(session.next_timer());
        }
    }
}
