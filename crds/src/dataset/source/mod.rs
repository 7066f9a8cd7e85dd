//! How data arrives: a union, one file per member.
//!
//! A further kind of source is a file here, a line in [`sources!`] below, and a file in the operator's `convert`.

mod common;
mod ebpf;
mod flows;
mod http;
mod ipfix;
mod netflow;
mod sflow;
mod syslog;
mod tcp;
mod udp;

pub use common::{DataFormat, Oversize, Protocol, Tls};
pub use ebpf::Ebpf;
pub use flows::{ExporterId, Exporting, FlowOutput, Flows, MacFormat};
pub use http::{Auth, Http};
pub use ipfix::Ipfix;
pub use netflow::Netflow;
pub use sflow::Sflow;
pub use syslog::{KeepRaw, SourceZone, Syslog, SyslogMode};
pub use tcp::Tcp;
pub use udp::Udp;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::rules;

macro_rules! sources {
    ($($(#[$doc:meta])* $member:ident: $kind:ident),+ $(,)?) => {
        /// How the data arrives: exactly one member.
        #[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        #[schemars(extend("x-kubernetes-validations" = exactly_one(&[$(stringify!($member)),+])))]
        pub struct Source {
            $($(#[$doc])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $member: Option<$kind>,)+
        }

        /// The member that is given.
        #[derive(Clone, Copy, Debug)]
        pub enum SourceRef<'a> {
            $($(#[$doc])* $kind(&'a $kind),)+
        }

        impl Source {
            /// The member that is given; `None` unless it is exactly one.
            pub fn get(&self) -> Option<SourceRef<'_>> {
                let given = [$(self.$member.as_ref().map(SourceRef::$kind)),+];
                let mut given = given.into_iter().flatten();
                given.next().filter(|_| given.next().is_none())
            }
        }
    };
}

sources! {
    /// Datagrams of one or more lines each.
    udp: Udp,
    /// Connections that carry lines.
    tcp: Tcp,
    /// Syslog over UDP, TCP or TLS, RFC 3164 or RFC 5424.
    syslog: Syslog,
    /// HTTP requests whose bodies are lines. They are answered 200 when the lines are safe on disk.
    http: Http,
    /// Flow records of routers and switches: NetFlow 5, 7 and 9 over UDP; IPFIX on the same port is read too. `netflow: {}`
    /// listens on UDP port 2055.
    netflow: Netflow,
    /// Flow records by IPFIX (RFC 7011) over UDP, TCP or TLS; NetFlow on the same UDP port is read too. `ipfix: {}` listens
    /// on UDP port 4739.
    ipfix: Ipfix,
    /// Sampled packets and counters of switches: sFlow version 5 over UDP. `sflow: {}` listens on UDP port 6343.
    sflow: Sflow,
    /// JSON objects of eBPF agents over UDP, any number per datagram, pretty-printed or not. `ebpf: {}` listens on UDP port
    /// 2056.
    ebpf: Ebpf,
}

fn exactly_one(members: &[&str]) -> serde_json::Value {
    let given = members.iter().map(|member| format!("has(self.{member})")).collect::<Vec<_>>();
    rules(&[(
        format!("[{}].filter(given, given).size() == 1", given.join(", ")),
        format!("give exactly one of {}; a second stream is a second ProxyDataset", members.join(", ")),
    )])
}
