//! ServiceAccount `<proxy>-pods`: proxies ask nothing of the API server. Not `<proxy>`: every namespace has an account
//! `default` that others use, and so may a Proxy be called.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{headless_service::SUFFIX, metadata};
use crate::validate::ValidatedProxy;

pub(super) fn build(proxy: &ValidatedProxy) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(proxy, SUFFIX),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
