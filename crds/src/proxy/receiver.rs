//! Where batches go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Id, NO_LIMIT, Seconds, SecretKeyRef, Size, YEAR, rules};

fn url_rules() -> serde_json::Value {
    const EXAMPLE: &str = "write one such as https://receiver.example:8080";
    rules(&[
        (
            r#"self.matches('^https?://[^\\s/?#@"<>^`|{}]+(/[^\\s?#"<>^`|{}]*)?$') || self.contains('@') || self.contains('{')"#,
            format!("is no http or https address: {EXAMPLE}, without query"),
        ),
        (
            "!self.contains('@')",
            "carries a user or password: put the token into a Secret and name it in tokenSecretRef"
                .to_owned(),
        ),
        (
            "!self.contains('{')",
            "has a placeholder, which is not filled in: leave it out, tenant and dataset are appended"
                .to_owned(),
        ),
    ])
}

/// The Receiver and the tokens for it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Address of the Receiver, such as `https://receiver.example:8080`.
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = url_rules()))]
    pub url: String,
    /// Upload token for every tenant without one of its own. Rotation reaches the pods without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyRef>,
    /// Upload tokens of tenants. A batch of a tenant that is listed here never goes out with the token of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1024),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tenantId"])
    )]
    pub tenants: Vec<TenantToken>,
    /// Authorities (PEM) to trust beside the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// Longest time for one upload.
    #[serde(default = "timeout")]
    pub timeout: Seconds<1, YEAR>,
    /// Uploads in flight per tenant and pod.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// Idle connections that a pod keeps open.
    #[serde(default = "max_idle_connections")]
    #[schemars(range(min = 0, max = 4096))]
    pub max_idle_connections: u32,
    /// Largest body the Receiver takes, compressed.
    #[serde(default = "max_payload_size")]
    pub max_payload_size: Size<65_536, NO_LIMIT>,
}

fn timeout() -> Seconds<1, YEAR> {
    Seconds::new(30)
}

const fn concurrency() -> u32 {
    5
}

const fn max_idle_connections() -> u32 {
    10
}

fn max_payload_size() -> Size<65_536, NO_LIMIT> {
    Size::new(10 << 20)
}

/// The upload token of one tenant.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantToken {
    /// The tenant.
    pub tenant_id: Id,
    /// Its token.
    pub token_secret_ref: SecretKeyRef,
}
