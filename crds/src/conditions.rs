//! The words of the conditions: types and reasons, one place for operator, documentation and alerts.

use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($word:ident: $meaning:literal, $remedy:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $meaning] $word,)+
        }

        impl $name {
            /// Every one, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$word => $meaning,)+
                }
            }

            /// What to do about it; empty when there is nothing to do.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$word => $remedy,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

words! {
    /// Type of a condition. The first four are always there and good when `True`; the others are there while they are
    /// `True`, and bad.
    ConditionType {
        Accepted: "The Proxy takes the dataset, or the operator the Proxy.", "";
        ResolvedRefs: "Every Secret that is named exists and may be used.", "";
        Programmed: "Every ready pod has acknowledged the listener.", "";
        Ready: "All of the above.", "";
        ReceiveBufferTooSmall: "The kernel gives less receive buffer than was asked for.", "Raise `net.core.rmem_max` on the nodes; the message has the line.";
        PacketLoss: "The kernel drops datagrams.", "Raise the receive buffer, CPU or the number of pods.";
        SourceIPNotPreserved: "Senders' addresses are replaced on the way, so datasets cannot be told apart by them.", "Use `externalTrafficPolicy: Local` or the host network.";
        PortsExceedLoadBalancer: "The load balancer takes fewer ports than the datasets need.", "Spread the datasets over several Proxies, or let them share ports by `allowedSources`.";
        SpoolStranded: "Volume claims without a pod hold data that was not delivered.", "Raise `replicas` until their pods are back; they deliver.";
        SpoolNearlyFull: "A spool is nearly full.", "Look at the Receiver first, then raise `spool.size`.";
        SpoolNotGrown: "Volume claims are smaller than `spool.size` and cannot grow.", "Use a StorageClass with `allowVolumeExpansion`; the message has the claim and the API server's words.";
    }
}

words! {
    /// Reason of a condition.
    Reason {
        Accepted: "It takes part.", "";
        ResolvedRefs: "Every reference was found.", "";
        Programmed: "Every ready pod has acknowledged.", "";
        Ready: "All is well.", "";
        Invalid: "The object holds a value that the schema cannot judge and the proxy does not take.", "The message says what to write.";
        Undecodable: "The object cannot be read; what it last held stays in force.", "Apply the current definitions (`bytefreezer-operator crds apply`) and correct the object.";
        ProxyNotFound: "No Proxy has the name in `proxyRef`.", "Correct `proxyRef`, or make the Proxy.";
        NamespaceNotPermitted: "No rule of `allowedDatasets` names the dataset's namespace.", "Ask the Proxy's owner for a rule.";
        TenantNotPermitted: "No rule that names the namespace names the tenant.", "Correct `tenantId`, or ask the Proxy's owner for a rule.";
        PortNotPermitted: "No rule that names the tenant names the port, or it is one of the Proxy's own.", "Choose a port that is allowed.";
        SourceNotPermitted: "No rule that names the port covers the dataset's sources.", "Narrow `allowedSources`; left out they are all addresses.";
        TooManyDatasets: "The rule that fits has as many datasets as it takes.", "Delete one, or raise the rule's `max`.";
        PrivilegedPortNotAllowed: "A port below 1024 on the host network without `privilegedPorts`.", "Choose a port from 1024 on, or set `exposure.hostNetwork.privilegedPorts`.";
        Conflicted: "Another dataset has the listener, the path, the prefix or the dataset id; the message names it.", "Choose another port, or claim `allowedSources` of your own.";
        HostPortConflict: "Another Proxy, or a dataset of another Proxy, has the port of the nodes.", "Choose another port, or keep the Proxies apart by `nodeSelector`.";
        PortUnavailable: "A foreign process has the port, or it cannot be bound.", "End that process; the listener opens by itself then.";
        SecretNotFound: "A Secret that is named does not exist or lacks the key.", "Make it; it is found within 30 s.";
        SecretNotShared: "A Secret of another namespace than the Proxy's lacks the label that shares it.", "Label it `bytefreezer.com/proxy-asset: \"true\"`.";
        SecretNotReadable: "The operator may not read Secrets in that namespace.", "Add the namespace to the chart's `secretNamespaces`, or keep the Secret elsewhere.";
        SecretInvalid: "A Secret holds no usable certificate, key or token under the key that is named.", "Correct it; what was used before goes on until then.";
        AssetsFull: "Certificates and tokens no longer fit into the Proxy's Secrets.", "Move datasets to another Proxy.";
        NotSupportedByPod: "A pod runs a version that does not know an option.", "Wait for the roll-out, or leave the option out.";
        NoReadyPods: "No pod is ready.", "Look at the pods' events and logs.";
        Pending: "A pod has not acknowledged yet.", "";
        ApplyFailed: "The API server does not take an object of the Proxy.", "The message has the object and the API server's words; it is tried again by itself.";
        ProxyUnreachable: "A pod cannot be asked.", "Let the operator reach the pods' API port; the message has the address.";
        ConfigModeNotSupported: "`configMode` is one of a later version.", "Write `LocalOnly`.";
    }
}

impl ConditionType {
    /// Whether `True` is good. Those are always in the status; the others only while they are true.
    pub fn is_positive(self) -> bool {
        matches!(self, Self::Accepted | Self::ResolvedRefs | Self::Programmed | Self::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_says_what_to_do() {
        for kind in ConditionType::ALL {
            assert_eq!(kind.remedy().is_empty(), kind.is_positive(), "{kind}");
        }
        let fine = ["Accepted", "ResolvedRefs", "Programmed", "Ready", "Pending"];
        for reason in Reason::ALL {
            assert_eq!(reason.remedy().is_empty(), fine.contains(&reason.to_string().as_str()), "{reason}");
        }
    }
}
