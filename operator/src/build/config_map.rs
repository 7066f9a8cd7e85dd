//! ConfigMap: the document, compressed once it no longer fits as text.

use std::{collections::BTreeMap, io::Write as _};

use flate2::{Compression, GzBuilder};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};

use super::metadata;
use crate::{convert::Rendered, validate::ValidatedProxy};

/// Above this the document is compressed.
const MOST_TEXT: usize = 900 << 10;
/// Above this an object is refused by the API server: 1 MiB, less what base64 adds and the rest of the object needs.
const MOST_COMPRESSED: usize = 760 << 10;

/// The document does not fit into a ConfigMap.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration has {0} bytes compressed, {MOST_COMPRESSED} fit: move some of the datasets to another Proxy"
)]
pub struct TooLarge(usize);

pub(super) fn build(proxy: &ValidatedProxy, rendered: &Rendered) -> Result<ConfigMap, TooLarge> {
    let mut config_map = ConfigMap { metadata: metadata(proxy, "-config"), ..ConfigMap::default() };
    if rendered.yaml.len() <= MOST_TEXT {
        config_map.data = Some(BTreeMap::from([("config.yaml".to_owned(), rendered.yaml.clone())]));
        return Ok(config_map);
    }
    let compressed = compress(rendered.yaml.as_bytes());
    if compressed.len() > MOST_COMPRESSED {
        return Err(TooLarge(compressed.len()));
    }
    config_map.binary_data = Some(BTreeMap::from([("config.yaml.gz".to_owned(), ByteString(compressed))]));
    Ok(config_map)
}

/// Without time and name, so that equal documents stay equal.
fn compress(text: &[u8]) -> Vec<u8> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    // A Vec takes every byte.
    let _ = writer.write_all(text);
    writer.finish().unwrap_or_default()
}
