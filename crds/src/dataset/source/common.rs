//! What several sources have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{SecretKeyRef, SecretRef, rules};

/// Serve the port over TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = tls_rules()))]
pub struct Tls {
    /// Secret of the type kubernetes.io/tls with the serving certificate (tls.crt) and its key (tls.key). A new
    /// certificate is used without a restart.
    pub secret_ref: SecretRef,
    /// Authorities (PEM) of client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_secret_ref: Option<SecretKeyRef>,
    /// Whether clients without a certificate are refused. Default: true with clientCaSecretRef.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_required: Option<bool>,
}

fn tls_rules() -> serde_json::Value {
    rules(&[(
        "!has(self.clientCertificateRequired) || !self.clientCertificateRequired || has(self.clientCaSecretRef)",
        "clientCertificateRequired needs the authorities of client certificates: add clientCaSecretRef",
    )])
}

/// For sources whose `protocols` may leave TCP out.
pub(super) fn tls_needs_tcp() -> serde_json::Value {
    rules(&[(
        "!has(self.tls) || 'TCP' in self.protocols",
        "tls needs TCP: add TCP to protocols, or leave tls out",
    )])
}

/// Transport of a source that has a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

pub(super) fn datagrams() -> Vec<Protocol> {
    vec![Protocol::Udp]
}

/// What is done with a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DataFormat {
    /// A JSON object is passed through, any other line goes into an envelope.
    #[default]
    Auto,
    /// Every line is passed through.
    Ndjson,
    /// Every line goes into an envelope.
    Text,
}

/// What happens with a line that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Oversize {
    /// Its beginning is kept.
    #[default]
    Cut,
    /// Nothing of it is kept.
    Drop,
    /// The connection is closed.
    Close,
}

pub(super) fn hint_rules() -> serde_json::Value {
    rules(&[(
        "self.matches('^[a-z0-9_]{1,32}$')",
        "takes 1 to 32 of a-z, 0-9 and _: write one such as ndjson or raw",
    )])
}

pub(super) fn member_rules() -> serde_json::Value {
    rules(&[
        (
            "self.matches('^[A-Za-z0-9_.@-]{1,64}$')",
            "takes 1 to 64 letters, digits, _, -, . and @: write one such as source_ip",
        ),
        ("self.lowerAscii() != 'bfts'", "bfts is ByteFreezer's own member: write another name"),
    ])
}
