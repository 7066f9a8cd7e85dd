//! Labels and annotations that users see or set.

/// On what the operator makes for a Proxy: the Proxy's name. Part of every selector, so it never changes.
pub const PROXY: &str = "bytefreezer.com/proxy";
/// On what `build` makes, and on nothing else: what carries it and is no longer built is removed.
pub const BUILT: &str = "bytefreezer.com/built";
/// On a ProxyDataset that was made by a synchronisation with Control: `control`. Locally authored ones win conflicts.
pub const ORIGIN: &str = "bytefreezer.com/origin";
/// Value of [`ORIGIN`] for datasets that come from Control.
pub const ORIGIN_CONTROL: &str = "control";
/// On a Secret: `"true"` lets datasets of this namespace hand it to a Proxy of another namespace.
pub const PROXY_ASSET: &str = "bytefreezer.com/proxy-asset";
/// On a pod: set after a change, which makes the kubelet refresh its volumes at once.
pub const REFRESH: &str = "bytefreezer.com/refresh";
/// On a volume claim: bytes that its last pod left undelivered. Without it nobody knows, which counts as undelivered.
pub const UNDELIVERED: &str = "bytefreezer.com/undelivered-bytes";
