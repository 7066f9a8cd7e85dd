//! Why an input does not run as it should: in words for people, by kind and number for programs.

use std::{fmt, io};

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{Fault, Transport};

/// What sort of trouble an input has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputErrorKind {
    /// Somebody else holds the port.
    InUse,
    /// The process may not bind the port.
    Permission,
    /// The machine does not have the address.
    Address,
    /// A certificate or key cannot be used.
    Certificate,
    /// The port cannot be bound for another reason.
    Bind,
    /// The document has something that this version does not know.
    NotSupported,
    /// A setting is wrong.
    Invalid,
    /// Another input has what it wants.
    Conflict,
}

/// Why an input does not listen, or not as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// What sort of trouble it is.
    pub kind: InputErrorKind,
    /// What the system said.
    pub errno: Option<i32>,
    /// In words, with what to do.
    pub text: String,
}

impl InputError {
    /// Without a number of the system.
    pub fn new(kind: InputErrorKind, text: impl fmt::Display) -> Self {
        Self { kind, errno: None, text: text.to_string() }
    }

    /// `place` cannot be bound.
    pub fn bind(place: impl fmt::Display, transport: Transport, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::AddrInUse => InputErrorKind::InUse,
            io::ErrorKind::PermissionDenied => InputErrorKind::Permission,
            io::ErrorKind::AddrNotAvailable => InputErrorKind::Address,
            _ => InputErrorKind::Bind,
        };
        let text = format!("cannot listen on {place}: {error}{}", bind_remedy(transport, error));
        Self { kind, errno: error.raw_os_error(), text }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Fault> for InputErrorKind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Invalid => Self::Invalid,
            Fault::NotSupported => Self::NotSupported,
            Fault::Conflict => Self::Conflict,
        }
    }
}

/// What to do when a port cannot be bound, after the error.
pub fn bind_remedy(transport: Transport, error: &io::Error) -> &'static str {
    match (error.kind(), transport) {
        (io::ErrorKind::AddrInUse, Transport::Udp) => "; another process holds the port, see `ss -lnup`",
        (io::ErrorKind::AddrInUse, Transport::Tcp) => {
            "; another process or input holds the port, see `ss -lntp`"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: on the host network of Kubernetes set \
             `exposure.hostNetwork.privilegedPorts: true`, under systemd \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`, or choose a higher port"
        }
        (io::ErrorKind::AddrNotAvailable, _) => "; `host` must be an address of this machine, 0.0.0.0 or ::",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_becomes_a_kind_a_number_and_a_remedy() {
        let error = |number| {
            InputError::bind("udp 0.0.0.0:514", Transport::Udp, &io::Error::from_raw_os_error(number))
        };
        let permission = error(libc::EACCES);
        assert_eq!((permission.kind, permission.errno), (InputErrorKind::Permission, Some(13)));
        for remedy in ["exposure.hostNetwork.privilegedPorts", "AmbientCapabilities=CAP_NET_BIND_SERVICE"] {
            assert!(permission.text.contains(remedy), "{permission}");
        }
        let used = error(libc::EADDRINUSE);
        assert_eq!((used.kind, used.errno), (InputErrorKind::InUse, Some(98)));
        assert!(
            used.text.starts_with("cannot listen on udp 0.0.0.0:514: ") && used.text.contains("ss -lnup")
        );
        assert_eq!(error(libc::EADDRNOTAVAIL).kind, InputErrorKind::Address);
        assert_eq!(error(libc::EMFILE).kind, InputErrorKind::Bind);
    }
}
