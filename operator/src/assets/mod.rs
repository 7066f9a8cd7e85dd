//! Tokens and certificates that admitted datasets and the Proxy refer to, in the Proxy's own eight Secrets.
//!
//! A file is named after its content, so a new content is a new file and no pod ever reads a half-changed pair; the same
//! content is one file however many refer to it. An asset stays in the Secret it is in; a new one goes into the first
//! with room. What does not fit is reported, and nothing else moves. What may still be in use stays: see [`Shelf`].

mod shelf;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use aws_lc_rs::digest::{SHA256, digest};

pub use shelf::{Plan, Shelf};

/// How many Secrets a Proxy has for assets. Part of the pod template, so it never changes.
pub const SECRETS: usize = 8;
/// Most bytes in one: below the 1 MiB that an object may have, with room for names and base64.
const ROOM: usize = 700 << 10;
/// Where pods see configuration and assets.
pub const FOLDER: &str = "/etc/bytefreezer-proxy";

/// One key of one Secret that somebody refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub secret: String,
    /// The key in it.
    pub key: String,
}

impl AssetRef {
    /// A key of a Secret in `namespace`.
    pub fn new(namespace: &str, secret: &str, key: &str) -> Self {
        Self { namespace: namespace.to_owned(), secret: secret.to_owned(), key: key.to_owned() }
    }
}

impl fmt::Display for AssetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of Secret {}/{}", self.key, self.namespace, self.secret)
    }
}

/// What an asset must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetKind {
    /// A token of one line.
    Token,
    /// A serving certificate with its chain (PEM).
    Certificate,
    /// The key (PEM) of the certificate in the same Secret.
    Key,
    /// Authorities (PEM).
    Authorities,
}

/// Whose undelivered data needs an asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// Nobody's: it is for receiving.
    No,
    /// One tenant's.
    Tenant(String),
    /// That of every tenant.
    Any,
}

/// Somebody refers to an asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetUse {
    /// To which.
    pub asset: AssetRef,
    /// As what.
    pub kind: AssetKind,
    /// For whose delivery.
    pub delivery: Delivery,
}

/// Content of an asset. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Content(pub(crate) Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The assets that were found.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    contents: BTreeMap<AssetRef, Content>,
}

impl FromIterator<(AssetRef, Vec<u8>)> for Assets {
    fn from_iter<T: IntoIterator<Item = (AssetRef, Vec<u8>)>>(found: T) -> Self {
        Self { contents: found.into_iter().map(|(asset, content)| (asset, Content(content))).collect() }
    }
}

impl Assets {
    /// Whether it was found.
    pub fn has(&self, asset: &AssetRef) -> bool {
        self.contents.contains_key(asset)
    }

    /// Where pods find it. One that was not found has a path where nothing ever is, so that whoever needs it waits.
    pub fn path(&self, asset: &AssetRef) -> String {
        let file = self.contents.get(asset).map_or_else(
            || {
                format!(
                    "missing-{}",
                    short_hash(format!("{}\0{}\0{}", asset.namespace, asset.secret, asset.key).as_bytes())
                )
            },
            |content| file_name(&content.0),
        );
        format!("{FOLDER}/{file}")
    }

    /// The contents of `wanted` by the names of their files.
    pub fn files<'a>(&'a self, wanted: impl IntoIterator<Item = &'a AssetRef>) -> BTreeMap<String, &'a [u8]> {
        let found = wanted.into_iter().filter_map(|asset| self.contents.get(asset));
        found.map(|content| (file_name(&content.0), content.0.as_slice())).collect()
    }

    /// Name of the file of an asset that was found.
    fn file(&self, asset: &AssetRef) -> Option<(String, &Content)> {
        self.contents.get(asset).map(|content| (file_name(&content.0), content))
    }

    /// As if it had not been found.
    pub fn leave_out(&mut self, asset: &AssetRef) {
        self.contents.remove(asset);
    }
}

/// Name of the file with this content.
pub fn file_name(content: &[u8]) -> String {
    format!("asset-{}", short_hash(content))
}

/// 128 bits of SHA-256.
fn short_hash(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let hash = digest(&SHA256, content);
    hash.as_ref().iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Which file is in which Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Names of files by Secret.
    pub secrets: [BTreeSet<String>; SECRETS],
    /// Names of files that found no room.
    pub left_out: BTreeSet<String>,
}

/// Places `files`, given what is where `now`. Files that are no longer wanted go.
pub fn place(files: &BTreeMap<String, &[u8]>, now: &[BTreeSet<String>; SECRETS]) -> Placement {
    let mut placement = Placement::default();
    let mut used = [0_usize; SECRETS];
    let cost = |name: &str| files.get(name).map_or(0, |content| name.len() + content.len());
    let mut placed = BTreeSet::new();
    for ((there, secret), used) in now.iter().zip(&mut placement.secrets).zip(&mut used) {
        for name in there.iter().filter(|name| files.contains_key(*name)) {
            if placed.insert(name.clone()) {
                *used += cost(name);
                secret.insert(name.clone());
            }
        }
    }
    for name in files.keys().filter(|name| !placed.contains(*name)) {
        let room = used.iter_mut().zip(&mut placement.secrets).find(|(used, _)| **used + cost(name) <= ROOM);
        if let Some((used, secret)) = room {
            *used += cost(name);
            secret.insert(name.clone());
        } else {
            placement.left_out.insert(name.clone());
        }
    }
    placement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_content_and_nothing_else() {
        let (a, b) = (AssetRef::new("one", "tls", "tls.key"), AssetRef::new("two", "copy", "key"));
        let missing = AssetRef::new("one", "gone", "key");
        let assets: Assets =
            [(a.clone(), b"secret".to_vec()), (b.clone(), b"secret".to_vec())].into_iter().collect();
        assert_eq!(assets.path(&a), assets.path(&b));
        assert_eq!(assets.files([&a, &b, &missing]).len(), 1);
        assert!(assets.path(&missing).starts_with("/etc/bytefreezer-proxy/missing-"));
        assert!(!assets.path(&a).contains("secret"));
    }

    #[test]
    fn what_is_placed_stays_and_what_is_not_wanted_goes() {
        let contents: Vec<(String, Vec<u8>)> =
            (0..40_u8).map(|n| (format!("f{n:02}"), vec![n; 100 << 10])).collect();
        let files: BTreeMap<String, &[u8]> =
            contents.iter().map(|(name, content)| (name.clone(), &content[..])).collect();
        let first = place(&files, &Placement::default().secrets);
        assert!(first.left_out.is_empty());
        assert_eq!(first.secrets.iter().map(BTreeSet::len).sum::<usize>(), 40);
        assert_eq!(place(&files, &first.secrets), first);

        let fewer: BTreeMap<_, _> = files.clone().into_iter().filter(|(name, _)| name != "f00").collect();
        let second = place(&fewer, &first.secrets);
        for (before, after) in first.secrets.iter().zip(&second.secrets) {
            assert!(after.is_subset(before), "nothing moved");
        }
        assert_eq!(second.secrets.iter().map(BTreeSet::len).sum::<usize>(), 39);
    }

    #[test]
    fn what_finds_no_room_is_named_and_the_rest_is_there() {
        let contents: Vec<(String, Vec<u8>)> =
            (0..20_u8).map(|n| (format!("f{n:02}"), vec![n; 400 << 10])).collect();
        let files: BTreeMap<String, &[u8]> =
            contents.iter().map(|(name, content)| (name.clone(), &content[..])).collect();
        let placement = place(&files, &Placement::default().secrets);
        assert_eq!(placement.left_out.len(), 12);
        assert!(placement.secrets.iter().all(|secret| secret.len() == 1));
    }
}
