//! What was found in one message. Everything borrows from the message.

use super::{Shape, priority::Priority, stamp::When, structured::Structured};

/// The parts of a message; `None` and empty mean absent.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub shape: Shape,
    /// PRI as sent.
    pub priority: Option<&'a [u8]>,
    pub facility: Option<u8>,
    pub severity: Option<u8>,
    pub version: Option<&'a [u8]>,
    /// The time stamp as sent, with its marker and zone.
    pub stamp: Option<&'a [u8]>,
    /// What the time stamp (or, without one, the body) says.
    pub when: When<'a>,
    pub hostname: Option<&'a [u8]>,
    pub app_name: Option<&'a [u8]>,
    pub proc_id: Option<&'a [u8]>,
    pub msg_id: Option<&'a [u8]>,
    pub tag: Option<&'a [u8]>,
    pub sequence: Option<u64>,
    /// The part of the device that wrote the message: IOS-XR node, WLC task, NX-OS VDC.
    pub origin: Option<&'a [u8]>,
    /// Host name of the outer header when a whole message was wrapped by a relay.
    pub relay: Option<&'a [u8]>,
    pub structured: Option<Structured<'a>>,
    pub message: &'a [u8],
    /// A part that should be there was missing or malformed.
    pub damaged: bool,
}

impl<'a> Fields<'a> {
    pub fn set_priority(&mut self, priority: Priority<'a>) {
        self.priority = Some(priority.text);
        self.facility = priority.facility();
        self.severity = priority.severity();
    }

    /// Whether every part of the message was understood.
    pub fn is_complete(&self, has_time: bool) -> bool {
        match self.shape {
            Shape::Rfc5424 => !self.damaged && (has_time || self.stamp == Some(b"-".as_slice())),
            Shape::Rfc3164 => !self.damaged && has_time,
            Shape::Raw => false,
        }
    }
}
