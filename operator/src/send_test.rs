//! Sends one event to a dataset and follows it to the Receiver: what `helm test` runs.
//!
//! It needs no rights: pods are found by the headless Service, and what became of the event is read from their metrics,
//! `input_lines` and `delivered_events` of the dataset. Where others send to the dataset at the same time, theirs
//! count too, so it is meant for a fresh installation.

use std::{collections::BTreeSet, fmt, net::SocketAddr, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, lookup_host},
    time::{Instant, sleep, timeout},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For one request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to send, and what to look for.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Host whose addresses are the pods: the headless Service `<proxy>-pods`.
    #[arg(long)]
    pods: String,
    /// Port of health and metrics on the pods.
    #[arg(long, default_value_t = 8009)]
    health_port: u16,
    /// Where the dataset listens: `514/udp`, `514/tcp` or `8080/http`.
    #[arg(long)]
    listener: Listener,
    /// Path, for http.
    #[arg(long, default_value = "/")]
    path: String,
    /// Tenant of the dataset.
    #[arg(long)]
    tenant: String,
    /// The dataset.
    #[arg(long)]
    dataset: String,
    /// Seconds until it must have arrived.
    #[arg(long, default_value_t = 90)]
    timeout: u64,
}

/// Port and transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    port: u16,
    via: Via,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Udp,
    Tcp,
    Http,
}

impl std::str::FromStr for Listener {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (port, via) = text.split_once('/')?;
            let via = match via {
                "udp" => Via::Udp,
                "tcp" => Via::Tcp,
                "http" => Via::Http,
                _ => return None,
            };
            Some(Self { port: port.parse().ok()?, via })
        };
        read().ok_or_else(|| {
            format!("{text:?} is no listener: write one such as 514/udp, 514/tcp or 8080/http")
        })
    }
}

/// Where the event got stuck.
#[derive(Debug, thiserror::Error)]
pub enum SendTestError {
    /// No pod has an address.
    #[error("{0} has no address ({1}): is the Proxy Ready? `kubectl get proxies` says why not")]
    NoPods(String, String),
    /// The event could not be sent.
    #[error("{0}: {1}; does the dataset listen there? `kubectl get proxydatasets` says why not")]
    NotSent(SocketAddr, std::io::Error),
    /// The HTTP input refused it.
    #[error("{0} answered {1}")]
    Refused(SocketAddr, String),
    /// No pod counted it.
    #[error(
        "{0} took no event for {1} in time: `kubectl get proxydatasets` says whether it is Programmed; this pod's own \
         address must be among allowedSources"
    )]
    NotAccepted(SocketAddr, String),
    /// It was not delivered.
    #[error(
        "{0} took the event and did not deliver it in time: look at the pod's log, and whether it reaches the Receiver"
    )]
    NotDelivered(SocketAddr),
    /// The metrics cannot be read.
    #[error("the metrics at {0} cannot be read: {1}")]
    NoMetrics(SocketAddr, std::io::Error),
}

/// What a pod counted for the dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    accepted: u64,
    delivered: u64,
}

/// Sends an event to one of the pods and waits until it was delivered. Returns what happened, for people.
pub async fn run(arguments: &Arguments) -> Result<String, SendTestError> {
    let end = Instant::now() + Duration::from_secs(arguments.timeout);
    let address = first_pod(arguments, end).await?;
    let metrics = SocketAddr::new(address.ip(), arguments.health_port);
    let before = count(metrics, arguments).await?;
    send(address, arguments).await?;
    let name = format!("{}/{}", arguments.tenant, arguments.dataset);
    wait(metrics, arguments, end, |now| now.accepted > before.accepted)
        .await?
        .ok_or(SendTestError::NotAccepted(address, name.clone()))?;
    wait(metrics, arguments, end, |now| now.delivered > before.delivered)
        .await?
        .ok_or(SendTestError::NotDelivered(address))?;
    Ok(format!("{address} took an event for {name} and delivered it to the Receiver"))
}

async fn first_pod(arguments: &Arguments, end: Instant) -> Result<SocketAddr, SendTestError> {
    loop {
        let found = lookup_host((arguments.pods.as_str(), arguments.listener.port)).await;
        let why = match found.map(|addresses| addresses.collect::<BTreeSet<_>>().pop_first()) {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => "no pods".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            return Err(SendTestError::NoPods(arguments.pods.clone(), why));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn send(address: SocketAddr, arguments: &Arguments) -> Result<(), SendTestError> {
    const EVENT: &str = "<14>1 - - bytefreezer-operator - - - helm test";
    let not_sent = |error| SendTestError::NotSent(address, error);
    match arguments.listener.via {
        Via::Udp => {
            let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).await.map_err(not_sent)?;
            socket.send_to(EVENT.as_bytes(), address).await.map_err(not_sent)?;
        }
        Via::Tcp => {
            let mut stream = connect(address).await.map_err(not_sent)?;
            stream.write_all(format!("{EVENT}\n").as_bytes()).await.map_err(not_sent)?;
            stream.shutdown().await.map_err(not_sent)?;
        }
        Via::Http => {
            let answer = request(address, "POST", &arguments.path, EVENT).await.map_err(not_sent)?;
            if answer.status != "200" {
                return Err(SendTestError::Refused(address, answer.status));
            }
        }
    }
    Ok(())
}

/// Looks until `done`; `None` when that did not come in time.
async fn wait(
    metrics: SocketAddr,
    arguments: &Arguments,
    end: Instant,
    done: impl Fn(Count) -> bool,
) -> Result<Option<Count>, SendTestError> {
    loop {
        let now = count(metrics, arguments).await?;
        if done(now) {
            return Ok(Some(now));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn count(metrics: SocketAddr, arguments: &Arguments) -> Result<Count, SendTestError> {
    let answer = request(metrics, "GET", "/metrics", "");
    let answer = answer.await.map_err(|error| SendTestError::NoMetrics(metrics, error))?;
    let labels = [format!("tenant=\"{}\"", arguments.tenant), format!("dataset=\"{}\"", arguments.dataset)];
    let sum = |name: &str| -> u64 {
        let ours = answer.body.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
                && labels.iter().all(|label| line.contains(label.as_str()))
        });
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    Ok(Count {
        accepted: sum("bytefreezer_proxy_input_lines_total"),
        delivered: sum("bytefreezer_proxy_delivered_events_total"),
    })
}

struct Answer {
    status: String,
    body: String,
}

/// HTTP/1.0, so that an answer is never in chunks.
async fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = connect(address).await?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let text = timeout(PATIENCE, exchange).await.unwrap_or_else(|late| Err(late.into()))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(Answer { status: status.to_owned(), body: body.to_owned() })
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    timeout(PATIENCE, TcpStream::connect(address)).await.unwrap_or_else(|late| Err(late.into()))
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let via = match self.via {
            Via::Udp => "udp",
            Via::Tcp => "tcp",
            Via::Http => "http",
        };
        write!(f, "{}/{via}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use tokio::net::TcpListener;

    use super::*;

    /// A pod that counts datagrams, and delivers them if it does.
    async fn pod(delivers: bool) -> Arguments {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let arguments = Arguments {
            pods: "127.0.0.1".to_owned(),
            health_port: metrics.local_addr().unwrap().port(),
            listener: Listener { port: socket.local_addr().unwrap().port(), via: Via::Udp },
            path: "/".to_owned(),
            tenant: "acme".to_owned(),
            dataset: "fw".to_owned(),
            timeout: 20,
        };
        let seen = Arc::new(AtomicU64::new(7));
        let counter = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut buffer = [0; 200];
            while socket.recv_from(&mut buffer).await.is_ok() {
                counter.fetch_add(1, Relaxed);
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = metrics.accept().await {
                let mut buffer = [0; 500];
                let Ok(1..) = stream.read(&mut buffer).await else { continue };
                let seen = seen.load(Relaxed);
                let delivered = if delivers { seen } else { 7 };
                let text = format!(
                    "bytefreezer_proxy_input_lines_total{{input=\"net/fw\",tenant=\"acme\",dataset=\"fw\"}} {seen}\n\
                     bytefreezer_proxy_input_lines_total{{input=\"net/x\",tenant=\"acme\",dataset=\"fw2\"}} 99\n\
                     bytefreezer_proxy_delivered_events_total{{tenant=\"acme\",dataset=\"fw\"}} {delivered}\n"
                );
                let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{text}").as_bytes()).await;
            }
        });
        arguments
    }

    #[tokio::test]
    async fn an_event_is_followed_to_the_receiver() {
        let said = run(&pod(true).await).await.unwrap();
        assert!(said.contains("acme/fw and delivered it"), "{said}");
    }

    #[tokio::test]
    async fn says_where_it_got_stuck() {
        let mut stuck = pod(false).await;
        stuck.timeout = 1;
        assert!(matches!(run(&stuck).await, Err(SendTestError::NotDelivered(_))));
        stuck.dataset = "other".to_owned();
        assert!(matches!(run(&stuck).await, Err(SendTestError::NotAccepted(..))));
        stuck.listener.via = Via::Tcp;
        stuck.listener.port = 1;
        assert!(matches!(run(&stuck).await, Err(SendTestError::NotSent(..))));
        stuck.pods = "no-such-host.invalid".to_owned();
        stuck.timeout = 0;
        assert!(matches!(run(&stuck).await, Err(SendTestError::NoPods(..))));
    }

    #[test]
    fn listeners_are_read() {
        for text in ["514/udp", "601/tcp", "8080/http"] {
            assert_eq!(text.parse::<Listener>().unwrap().to_string(), text);
        }
        assert!("514".parse::<Listener>().is_err() && "0x/udp".parse::<Listener>().is_err());
    }
}
