//! Secrets `<proxy>-assets-0` to `-7`: those that hold something.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::{assets::SECRETS, validate::ValidatedProxy};

pub(super) fn build(
    proxy: &ValidatedProxy,
    files: &BTreeMap<String, &[u8]>,
    placement: &[BTreeSet<String>; SECRETS],
) -> Vec<Secret> {
    let held = placement.iter().enumerate().filter(|(_, names)| !names.is_empty());
    held.map(|(index, names)| {
        let data =
            names.iter().filter_map(|name| Some((name.clone(), ByteString(files.get(name)?.to_vec()))));
        Secret {
            metadata: metadata(proxy, &format!("-assets-{index}")),
            data: Some(data.collect()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    })
    .collect()
}
