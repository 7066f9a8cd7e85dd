//! One upload: `POST {base_url}/{tenant}/{dataset}` with the file of a batch as body.
//!
//! HTTP/1.1, always with `Content-Length`, no redirect followed, no proxy taken from the environment. Of an answer's
//! body at most [`ANSWER_MAX`] bytes are read.

use std::{
    error::Error as _,
    io::Read,
    os::unix::fs::MetadataExt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::{
    Body, Certificate, Response,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    body::{Trouble, Word, stream},
    outcome::{Outcome, classify, unreachable},
};
use crate::{
    config::Receiver,
    spool::{Entry, Failure, Reason, Stamp},
    throttle::Throttle,
};

/// Bytes read of an answer's body; the connection of a longer one is closed.
const ANSWER_MAX: usize = 4096;
/// Patience for an answer's body; its status has decided already.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Longest time for TCP and TLS to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before a load balancer's usual minute is over.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `receiver.ca_file`.
    #[error("receiver.ca_file {path}: {why}; give a PEM file with at least one certificate")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Anything else.
    #[error(
        "the HTTP client cannot be set up: {0}; see that this system has authorities, or set receiver.ca_file"
    )]
    Setup(String),
}

/// What became of an upload.
#[derive(Debug)]
pub enum Upload {
    /// The Receiver or the network said so.
    Done {
        /// What.
        outcome: Outcome,
        /// All bytes went out, so the Receiver may have the batch whatever the outcome.
        whole: bool,
    },
    /// The file is not as it was written; nothing usable was sent.
    Corrupt(String),
    /// The file cannot be read now.
    Unreadable(std::io::Error),
}

/// The client of a configuration, made again when `receiver.ca_file` changed.
#[derive(Debug)]
pub struct Clients {
    receiver: Receiver,
    user_agent: String,
    made: Mutex<Made>,
    told: Throttle,
}

#[derive(Debug)]
struct Made {
    client: Result<Arc<Client>, ClientError>,
    file: Option<FileState>,
}

/// What is another one after a file was written, replaced or made readable.
type FileState = (u64, u64, i64, i64);

impl Clients {
    /// A client now, or the first one when it can be made: a file that is missing may come later.
    pub fn new(receiver: &Receiver, user_agent: &str) -> Self {
        // Looked at first: what changes in between is read once more.
        let file = file_state(receiver);
        let client = Client::new(receiver, user_agent).map(Arc::new);
        Self {
            made: Mutex::new(Made { client, file }),
            receiver: receiver.clone(),
            user_agent: user_agent.to_owned(),
            told: Throttle::default(),
        }
    }

    /// Where to.
    pub fn base_url(&self) -> &str {
        &self.receiver.base_url
    }

    /// The client to use now; why there is none. One that works stays until the file is sound again.
    pub fn get(&self) -> Result<Arc<Client>, String> {
        let mut made = self.made.lock();
        let file = file_state(&self.receiver);
        if made.client.is_err() || (file.is_some() && made.file != file) {
            match Client::new(&self.receiver, &self.user_agent) {
                Err(error) if made.client.is_ok() => {
                    if let Some(suppressed) = self.told.pass() {
                        tracing::warn!(%error, suppressed, "the file changed; the authorities read before go on");
                    }
                }
                outcome => made.client = outcome.map(Arc::new),
            }
            made.file = file;
        }
        made.client.as_ref().map(Arc::clone).map_err(ToString::to_string)
    }
}

fn file_state(receiver: &Receiver) -> Option<FileState> {
    let meta = std::fs::metadata(receiver.ca_file.as_ref()?).ok()?;
    Some((meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

/// A client for one Receiver.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    timeout: Duration,
}

impl Client {
    /// A client for these settings.
    pub fn new(receiver: &Receiver, user_agent: &str) -> Result<Self, ClientError> {
        // An error only says that the process has its provider already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authorities = authorities(receiver)?;
        let builder = || {
            reqwest::Client::builder()
                .user_agent(user_agent)
                .redirect(Policy::none())
                .no_proxy()
                .http1_only()
                .tcp_nodelay(true)
                .connect_timeout(CONNECT_TIMEOUT.min(receiver.timeout))
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(receiver.max_idle_conns)
        };
        // A system without any authority of its own (an image from scratch) still has those of `ca_file`.
        let http = builder()
            .tls_certs_merge(authorities.clone())
            .build()
            .or_else(|_| builder().tls_certs_only(authorities).build())
            .map_err(|error| {
                receiver.ca_file.as_ref().map_or_else(
                    || ClientError::Setup(causes(&error)),
                    |path| ClientError::CaFile { path: path.display().to_string(), why: causes(&error) },
                )
            })?;
        Ok(Self { http, base_url: receiver.base_url.clone(), timeout: receiver.timeout })
    }

    /// Sends a batch once.
    pub async fn upload(
        &self,
        entry: &Entry,
        authorization: Option<HeaderValue>,
        file: Box<dyn Read + Send>,
    ) -> Upload {
        let deadline = Instant::now() + self.timeout;
        let word = Arc::<Word>::default();
        let body = Body::wrap_stream(stream(file, entry.file_bytes, Arc::clone(&word)));
        let request = self.request(entry, authorization).body(body).send();
        let answer = tokio::time::timeout_at(deadline.into(), request).await;
        match word.trouble.lock().take() {
            Some(Trouble::Corrupt(why)) => return Upload::Corrupt(why),
            Some(Trouble::Unreadable(error)) => return Upload::Unreadable(error),
            None => {}
        }
        let outcome = match answer {
            Err(_) => unreachable(true, &format!("no answer within {} s", self.timeout.as_secs_f32())),
            Ok(Err(error)) => unreachable(error.is_timeout(), &causes(&error)),
            Ok(Ok(response)) => {
                // While the answer's body is read the batch goes on being sent: who answers first cannot mean what comes then.
                let answers_all = word.whole.load(Relaxed);
                let status = response.status().as_u16();
                let retry_after = response.headers().get(RETRY_AFTER).cloned();
                let until = deadline.min(Instant::now() + ANSWER_PATIENCE);
                let text = read_answer(response, until).await;
                let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
                let outcome = classify(status, retry_after, &text, SystemTime::now());
                if answers_all { outcome } else { incomplete(outcome) }
            }
        };
        Upload::Done { outcome, whole: word.whole.load(Relaxed) }
    }

    fn request(&self, entry: &Entry, authorization: Option<HeaderValue>) -> reqwest::RequestBuilder {
        let name = entry.file_name();
        let batch_id = name.split('.').next().unwrap_or_default();
        let url = format!("{}/{}/{}", self.base_url, entry.key.tenant, entry.key.dataset);
        let request = self
            .http
            .post(url)
            .header(CONTENT_LENGTH, entry.file_bytes)
            .header(CONTENT_ENCODING, "gzip")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("X-Proxy-Batch-ID", batch_id)
            .header("X-Proxy-Line-Count", entry.lines)
            .header("X-Proxy-Original-Bytes", entry.raw_bytes)
            .header("X-Proxy-Created-At", created_at(entry.stamp))
            .header("X-Proxy-Data-Hint", entry.hint.as_str())
            .header("X-Proxy-Filename", name.as_str());
        match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}

fn authorities(receiver: &Receiver) -> Result<Vec<Certificate>, ClientError> {
    let Some(path) = &receiver.ca_file else { return Ok(Vec::new()) };
    let bad = |why: String| ClientError::CaFile { path: path.display().to_string(), why };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| bad(causes(&error)))?;
    if found.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(found) }
}

/// Who says 2xx before the last bytes were sent cannot have them.
fn incomplete(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Delivered => Outcome::Failed(Failure {
            reason: Reason::Network,
            status: None,
            message: "2xx before the batch was sent; something between here and the Receiver answers for it"
                .into(),
        }),
        other => other,
    }
}

/// The time in a batch's name, RFC 3339 with seconds.
fn created_at(stamp: Stamp) -> String {
    Timestamp::from_nanosecond(i128::from(stamp.0)).map_or_else(
        |_| Timestamp::UNIX_EPOCH.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

async fn read_answer(mut response: Response, until: Instant) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < ANSWER_MAX {
        match tokio::time::timeout_at(until.into(), response.chunk()).await {
            Ok(Ok(Some(piece))) => text.extend_from_slice(&piece),
            _ => break,
        }
    }
    text.truncate(ANSWER_MAX);
    text
}

/// An error with everything below it: reqwest's own text hides the cause.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
