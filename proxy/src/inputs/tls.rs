//! Serving certificates that are re-read while the process runs.
//!
//! [`TlsHandle::acceptor`] reads the PEM files again when the last look is [`CHECK_EVERY`] ago and compares their
//! content, so a rewrite in place, a rename and the symlink swap of a Kubernetes Secret are all seen. A pair that
//! cannot be used leaves the old one in place, with one WARN per bad content. Connections that exist keep what they
//! negotiated; sessions are not resumed across certificates.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::config::ServerTls;

/// How often the files are looked at, at most.
pub const CHECK_EVERY: Duration = Duration::from_secs(2);
/// No chain, key or bundle of authorities is longer.
const MAX_PEM: u64 = 4 * 1024 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{0}: cannot be read: {1}; check path, mount and permissions")]
    Read(PathBuf, std::io::Error),
    /// Larger than [`MAX_PEM`].
    #[error("{0}: larger than {MAX_PEM} bytes; this is no PEM file of certificates or keys")]
    Size(PathBuf),
    /// The file is not what it should be.
    #[error("{0}: no {1} in PEM form found: {2}")]
    Pem(PathBuf, &'static str, String),
    /// Certificate and key do not fit, or the key's kind is unknown.
    #[error(
        "{0} and {1} cannot be used together: {2}; the first must hold the chain of the second's public key"
    )]
    Pair(PathBuf, PathBuf, rustls::Error),
    /// An authority cannot be used.
    #[error(
        "{0}: holds no usable authority: {1}; give the certificate of the authority that signs the clients'"
    )]
    ClientCa(PathBuf, String),
    /// The provider does not do TLS 1.2 or 1.3.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Makes aws-lc-rs the provider of every TLS connection of the process. May be called any number of times.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Fails only when another thread was first.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}

/// A serving certificate that follows its files.
pub struct TlsHandle {
    settings: ServerTls,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// Content last looked at, good or bad.
    seen: Option<Files>,
    /// What was last reported.
    error: Option<String>,
    checked: Instant,
}

#[derive(PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandle").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl TlsHandle {
    /// Reads the files; the first time they must be usable.
    pub fn load(settings: &ServerTls) -> Result<Self, TlsError> {
        let files = read(settings)?;
        let acceptor = build(settings, &files)?;
        let current = Current { acceptor, seen: Some(files), error: None, checked: Instant::now() };
        Ok(Self { settings: settings.clone(), current: Mutex::new(current) })
    }

    /// What the handle was made from.
    pub fn settings(&self) -> &ServerTls {
        &self.settings
    }

    /// The certificate now.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock();
        if current.checked.elapsed() >= CHECK_EVERY {
            current.checked = Instant::now();
            self.refresh(&mut current);
        }
        current.acceptor.clone()
    }

    /// Looks at the files at the next [`Self::acceptor`], however short the last look is ago.
    #[cfg(test)]
    pub(crate) fn expire(&self) {
        let mut current = self.current.lock();
        current.checked = Instant::now().checked_sub(CHECK_EVERY).unwrap_or_else(Instant::now);
    }

    fn refresh(&self, current: &mut Current) {
        let files = match read(&self.settings) {
            Ok(files) if current.seen.as_ref() == Some(&files) => return,
            Ok(files) => files,
            Err(error) => return self.keep(current, &error),
        };
        match build(&self.settings, &files) {
            Ok(acceptor) => {
                info!(cert_file = %self.settings.cert_file.display(), "certificate re-read");
                current.acceptor = acceptor;
                current.error = None;
            }
            Err(error) => self.keep(current, &error),
        }
        current.seen = Some(files);
    }

    fn keep(&self, current: &mut Current, error: &TlsError) {
        let text = error.to_string();
        if current.error.as_ref() != Some(&text) {
            warn!(
                cert_file = %self.settings.cert_file.display(),
                error = text,
                "the certificate changed but cannot be used; the old one stays"
            );
            current.error = Some(text);
        }
    }
}

fn read(settings: &ServerTls) -> Result<Files, TlsError> {
    Ok(Files {
        chain: read_file(&settings.cert_file)?,
        key: read_file(&settings.key_file)?,
        client_ca: settings.client_ca_file.as_deref().map(read_file).transpose()?,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read(path.to_owned(), error);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_PEM {
        return Err(TlsError::Size(path.to_owned()));
    }
    std::fs::read(path).map_err(failed)
}

fn build(settings: &ServerTls, files: &Files) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&settings.cert_file, &files.chain)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|error| TlsError::Pem(settings.key_file.clone(), "private key", error.to_string()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?;
    let builder = match (&settings.client_ca_file, &files.client_ca) {
        (Some(path), Some(pem)) => {
            let unusable = |error: String| TlsError::ClientCa(path.clone(), error);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, pem)? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if settings.client_cert_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(error.to_string()))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair(settings.cert_file.clone(), settings.key_file.clone(), error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::Pem(path.to_owned(), "certificate", why);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() { Err(wrong("the file has no CERTIFICATE section".to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
