//! `spool own`: gives the top folder of a spool to the user that the proxy runs as. For a container that starts as root
//! with the capability CHOWN alone, before one that does not: the folder of a node is made for root.

use std::{io, os::unix::fs::chown, path::Path};

/// The folder alone: what is in it was made by its user.
pub(super) fn folder(directory: &Path, user: u32) -> io::Result<()> {
    chown(directory, Some(user), Some(user))
}
