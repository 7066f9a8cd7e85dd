//! ServiceAccount: proxies ask nothing of the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::validate::ValidatedProxy;

pub(super) fn build(proxy: &ValidatedProxy) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(proxy, ""),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
