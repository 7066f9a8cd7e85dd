//! `<PRI>`: facility * 8 + severity.

/// A PRI as sent, with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Priority<'a> {
    pub text: &'a [u8],
    value: u16,
}

/// The highest legal value: facility 23, severity 7.
const HIGHEST: u16 = 191;

impl Priority<'_> {
    pub fn facility(&self) -> Option<u8> {
        (self.value <= HIGHEST).then_some((self.value >> 3) as u8)
    }

    pub fn severity(&self) -> Option<u8> {
        (self.value <= HIGHEST).then_some((self.value & 7) as u8)
    }
}

/// The PRI at the start, and what follows it. One to three digits; a value above 191 is kept as sent but names
/// neither facility nor severity.
pub(super) fn split(text: &[u8]) -> (Option<Priority<'_>>, &[u8]) {
    let Some((b'<', inner)) = text.split_first() else { return (None, text) };
    let mut value = 0_u16;
    for (at, &byte) in inner.iter().take(4).enumerate() {
        match byte {
            b'0'..=b'9' if at < 3 => value = value * 10 + u16::from(byte - b'0'),
            b'>' if at > 0 => {
                let (digits, rest) = inner.split_at(at);
                return (Some(Priority { text: digits, value }), rest.get(1..).unwrap_or_default());
            }
            _ => break,
        }
    }
    (None, text)
}

/// The members of each facility, as written.
pub(super) const FACILITIES: [&str; 24] = [
    r#","facility":0,"facility_name":"kern""#,
    r#","facility":1,"facility_name":"user""#,
    r#","facility":2,"facility_name":"mail""#,
    r#","facility":3,"facility_name":"daemon""#,
    r#","facility":4,"facility_name":"auth""#,
    r#","facility":5,"facility_name":"syslog""#,
    r#","facility":6,"facility_name":"lpr""#,
    r#","facility":7,"facility_name":"news""#,
    r#","facility":8,"facility_name":"uucp""#,
    r#","facility":9,"facility_name":"cron""#,
    r#","facility":10,"facility_name":"authpriv""#,
    r#","facility":11,"facility_name":"ftp""#,
    r#","facility":12,"facility_name":"ntp""#,
    r#","facility":13,"facility_name":"audit""#,
    r#","facility":14,"facility_name":"alert""#,
    r#","facility":15,"facility_name":"clock""#,
    r#","facility":16,"facility_name":"local0""#,
    r#","facility":17,"facility_name":"local1""#,
    r#","facility":18,"facility_name":"local2""#,
    r#","facility":19,"facility_name":"local3""#,
    r#","facility":20,"facility_name":"local4""#,
    r#","facility":21,"facility_name":"local5""#,
    r#","facility":22,"facility_name":"local6""#,
    r#","facility":23,"facility_name":"local7""#,
];

/// The members of each severity, as written.
pub(super) const SEVERITIES: [&str; 8] = [
    r#","severity":0,"severity_name":"emerg""#,
    r#","severity":1,"severity_name":"alert""#,
    r#","severity":2,"severity_name":"crit""#,
    r#","severity":3,"severity_name":"err""#,
    r#","severity":4,"severity_name":"warning""#,
    r#","severity":5,"severity_name":"notice""#,
    r#","severity":6,"severity_name":"info""#,
    r#","severity":7,"severity_name":"debug""#,
];
