//! ConfigMap: the document, compressed once it no longer fits as text.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use flate2::{Compression, GzBuilder, read::GzDecoder};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};

use super::metadata;
use crate::{convert::Rendered, validate::ValidatedProxy};

/// Above this the document is compressed.
const MOST_TEXT: usize = 900 << 10;
/// Above this an object is refused by the API server: 1 MiB, less what base64 adds and the rest of the object needs.
const MOST_COMPRESSED: usize = 760 << 10;
/// Most bytes of a document that is read back.
const MOST_READ: u64 = 256 << 20;
/// The document as text.
const TEXT: &str = "config.yaml";
/// The document, compressed.
const COMPRESSED: &str = "config.yaml.gz";
/// What its name has after the Proxy's.
const SUFFIX: &str = "-config";

/// The document does not fit into a ConfigMap.
#[derive(Debug, thiserror::Error)]
#[error(
    "the configuration has {0} bytes compressed, {MOST_COMPRESSED} fit: move some of the datasets to another Proxy"
)]
pub struct TooLarge(usize);

pub(super) fn build(proxy: &ValidatedProxy, rendered: &Rendered) -> Result<ConfigMap, TooLarge> {
    let mut config_map = ConfigMap { metadata: metadata(proxy, SUFFIX), ..ConfigMap::default() };
    if rendered.yaml.len() <= MOST_TEXT {
        config_map.data = Some(BTreeMap::from([(TEXT.to_owned(), rendered.yaml.clone())]));
        return Ok(config_map);
    }
    let compressed = compress(rendered.yaml.as_bytes());
    if compressed.len() > MOST_COMPRESSED {
        return Err(TooLarge(compressed.len()));
    }
    config_map.binary_data = Some(BTreeMap::from([(COMPRESSED.to_owned(), ByteString(compressed))]));
    Ok(config_map)
}

/// Its name.
pub fn config_name(proxy: &str) -> String {
    format!("{proxy}{SUFFIX}")
}

/// The document in it.
pub fn document(config_map: &ConfigMap) -> Option<String> {
    if let Some(text) = config_map.data.as_ref().and_then(|data| data.get(TEXT)) {
        return Some(text.clone());
    }
    let compressed = config_map.binary_data.as_ref()?.get(COMPRESSED)?;
    let mut text = String::new();
    GzDecoder::new(&compressed.0[..]).take(MOST_READ).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Without time and name, so that equal documents stay equal.
fn compress(text: &[u8]) -> Vec<u8> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    // A Vec takes every byte.
    let _ = writer.write_all(text);
    writer.finish().unwrap_or_default()
}
