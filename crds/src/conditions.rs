//! The words of the conditions: types and reasons, one place for operator, documentation and alerts.

use std::fmt;

/// Type of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Whether the Proxy takes the dataset, or the operator the Proxy.
    Accepted,
    /// Whether every Secret that is named exists and may be used.
    ResolvedRefs,
    /// Whether every ready pod has acknowledged the listener.
    Programmed,
    /// All of the above, in one word.
    Ready,
    /// The kernel gives less receive buffer than was asked for.
    ReceiveBufferTooSmall,
    /// The kernel drops datagrams.
    PacketLoss,
    /// Senders' addresses are replaced on the way.
    SourceIPNotPreserved,
    /// The load balancer takes fewer ports than the datasets need.
    PortsExceedLoadBalancer,
    /// Claims without a pod hold undelivered data.
    SpoolStranded,
    /// A spool is nearly full.
    SpoolNearlyFull,
}

impl ConditionType {
    /// Every type, in the order of the status.
    pub const ALL: [Self; 10] = [
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::Ready,
        Self::ReceiveBufferTooSmall,
        Self::PacketLoss,
        Self::SourceIPNotPreserved,
        Self::PortsExceedLoadBalancer,
        Self::SpoolStranded,
        Self::SpoolNearlyFull,
    ];

    /// Whether `True` is good. Those are always in the status; the others only while they are true.
    pub fn is_positive(self) -> bool {
        matches!(self, Self::Accepted | Self::ResolvedRefs | Self::Programmed | Self::Ready)
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Reason of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Accepted.
    Accepted,
    /// Every reference was found.
    ResolvedRefs,
    /// Every ready pod has acknowledged.
    Programmed,
    /// All is well.
    Ready,
    /// The object holds a value that the schema cannot judge and the proxy does not take.
    Invalid,
    /// The object could not be read; what it last held stays in force.
    Undecodable,
    /// No Proxy has the name in `proxyRef`.
    ProxyNotFound,
    /// No rule of `allowedDatasets` names the dataset's namespace.
    NamespaceNotPermitted,
    /// No rule that names the namespace names the tenant.
    TenantNotPermitted,
    /// No rule that names the tenant names the port, or it is one of the Proxy's own.
    PortNotPermitted,
    /// No rule that names the port covers the dataset's sources.
    SourceNotPermitted,
    /// The rule that fits has as many datasets as it takes.
    TooManyDatasets,
    /// A port below 1024 on the host network without `privilegedPorts`.
    PrivilegedPortNotAllowed,
    /// Another dataset has the listener, the path, the prefix or the dataset id.
    Conflicted,
    /// Another Proxy, or a dataset of another Proxy, has the port of the nodes.
    HostPortConflict,
    /// A foreign process has the port, or it cannot be bound.
    PortUnavailable,
    /// A Secret that is named does not exist or lacks the key.
    SecretNotFound,
    /// A Secret of another namespace lacks the label that shares it.
    SecretNotShared,
    /// Certificates and tokens no longer fit into the Proxy's Secrets.
    AssetsFull,
    /// A pod runs a version that does not know an option.
    NotSupportedByPod,
    /// No pod is ready.
    NoReadyPods,
    /// A pod has not acknowledged yet.
    Pending,
    /// A pod cannot be asked.
    ProxyUnreachable,
    /// `configMode` is one of a later version.
    ConfigModeNotSupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 24] = [
        Self::Accepted,
        Self::ResolvedRefs,
        Self::Programmed,
        Self::Ready,
        Self::Invalid,
        Self::Undecodable,
        Self::ProxyNotFound,
        Self::NamespaceNotPermitted,
        Self::TenantNotPermitted,
        Self::PortNotPermitted,
        Self::SourceNotPermitted,
        Self::TooManyDatasets,
        Self::PrivilegedPortNotAllowed,
        Self::Conflicted,
        Self::HostPortConflict,
        Self::PortUnavailable,
        Self::SecretNotFound,
        Self::SecretNotShared,
        Self::AssetsFull,
        Self::NotSupportedByPod,
        Self::NoReadyPods,
        Self::Pending,
        Self::ProxyUnreachable,
        Self::ConfigModeNotSupported,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
