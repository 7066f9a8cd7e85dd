//! Values with a format of their own. Each carries its rule and the message for it, so a field needs no more than the
//! type: `Seconds<1, YEAR>` is a duration from one second to a year wherever it stands.
//!
//! They hold the text as it was written: an object must stay readable when one value in it is wrong, so that the rest
//! can be judged and the error can be reported on the object.

use std::{borrow::Cow, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// One year in seconds, the longest duration of most fields.
pub const YEAR: u64 = 31_536_000;
/// No upper limit but that of the number.
pub const NO_LIMIT: u64 = u64::MAX;

/// Words that name no tenant and no dataset: they are names of folders and paths elsewhere.
pub const RESERVED_IDS: &[&str] = &[
    "tmp", "temp", "cache", "log", "logs", "var", "etc", "bin", "usr", "opt", "udp", "tcp", "http", "https",
    "ftp", "ssh", "syslog", "proxy", "receiver", "piper", "api", "admin", "root", "system", "meta",
    "metadata", "config", "settings", "status", "health", "con", "prn", "aux", "nul", "com1", "com2", "com3",
    "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7",
    "lpt8", "lpt9", "raw", "queue", "retry", "dlq", "src",
];

/// Why a text is no value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; {remedy}")]
pub struct ValueError {
    text: String,
    what: &'static str,
    remedy: String,
}

/// `x-kubernetes-validations` of pairs (rule, message).
pub(crate) fn rules<R: AsRef<str>, M: AsRef<str>>(rules: &[(R, M)]) -> Json {
    rules
        .iter()
        .map(|(rule, message)| json!({ "rule": rule.as_ref(), "message": message.as_ref() }))
        .collect()
}

/// A string of at most `length` bytes under `checks`.
fn text_schema(length: u32, checks: &Json) -> Schema {
    json_schema!({ "type": "string", "maxLength": length, "x-kubernetes-validations": checks })
}

/// A length of time in whole units of `UNIT` milliseconds, from `MIN` to `MAX` units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span<const UNIT: u64, const MIN: u64, const MAX: u64>(String);

/// Whole seconds: `60s`, `5m`, `1h30m`.
pub type Seconds<const MIN: u64, const MAX: u64> = Span<1000, MIN, MAX>;
/// Whole milliseconds: `200ms`, `1s`.
pub type Milliseconds<const MIN: u64, const MAX: u64> = Span<1, MIN, MAX>;
/// Whole days, in hours: `168h`.
pub type Days<const MIN: u64, const MAX: u64> = Span<86_400_000, MIN, MAX>;

impl<const UNIT: u64, const MIN: u64, const MAX: u64> Span<UNIT, MIN, MAX> {
    /// So many units.
    pub fn new(units: u64) -> Self {
        Self(Self::written(units))
    }

    /// The number of units.
    pub fn units(&self) -> Result<u64, ValueError> {
        milliseconds(&self.0)
            .filter(|length| length % UNIT == 0)
            .map(|length| length / UNIT)
            .filter(|units| (MIN..=MAX).contains(units))
            .ok_or_else(|| ValueError { text: self.0.clone(), what: "duration", remedy: Self::remedy() })
    }

    /// The length of time.
    pub fn duration(&self) -> Result<Duration, ValueError> {
        Ok(Duration::from_millis(self.units()? * UNIT))
    }

    fn written(units: u64) -> String {
        let length = units.saturating_mul(UNIT);
        match (UNIT, length) {
            (_, 0) => "0s".to_owned(),
            (_, length) if length % 3_600_000 == 0 && length >= 86_400_000 => {
                format!("{}h", length / 3_600_000)
            }
            (_, length) if length % 1000 == 0 => format!("{}s", length / 1000),
            (_, length) => format!("{length}ms"),
        }
    }

    fn remedy() -> String {
        let units = match UNIT {
            1 => "milliseconds, such as 200ms or 1s",
            1000 => "seconds, such as 90s, 5m or 1h30m",
            _ => "days, written in hours, such as 24h or 168h",
        };
        format!("write {} to {} in whole {units}", Self::written(MIN), Self::written(MAX))
    }

    fn rule() -> String {
        let milliseconds = if UNIT < 1000 { "([0-9]{1,9}ms)?" } else { "" };
        let days = if UNIT == 86_400_000 { " && duration(self).getHours() % 24 == 0" } else { "" };
        let parts = if UNIT == 86_400_000 {
            "(0s|[0-9]{1,9}h)".to_owned()
        } else {
            format!("([0-9]{{1,9}}h)?([0-9]{{1,9}}m)?([0-9]{{1,9}}s)?{milliseconds}")
        };
        format!(
            "self.matches('^{parts}$') && self != '' && duration(self) >= duration('{}') && duration(self) <= duration('{}'){days}",
            Self::written(MIN),
            Self::written(MAX),
        )
    }
}

/// Hours, minutes, seconds and milliseconds, each at most once and in this order.
fn milliseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(length);
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

impl<const UNIT: u64, const MIN: u64, const MAX: u64> JsonSchema for Span<UNIT, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Span{UNIT}_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema(24, &rules(&[(Self::rule(), Self::remedy())]))
    }
}

/// A number of bytes as Kubernetes writes it, from `MIN` to `MAX`: `20Gi`, `500M`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Size<const MIN: u64, const MAX: u64>(String);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(written_size(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of bytes.
    pub fn bytes(&self) -> Result<u64, ValueError> {
        size(&self.0).filter(|bytes| (MIN..=MAX).contains(bytes)).ok_or_else(|| ValueError {
            text: self.0.clone(),
            what: "size",
            remedy: Self::remedy(),
        })
    }

    fn remedy() -> String {
        let least = written_size(MIN);
        if MAX == NO_LIMIT {
            format!("write {least} or more in whole bytes, such as 512Ki, 64Mi or 20Gi")
        } else {
            format!("write {least} to {} in whole bytes, such as 512Ki, 64Mi or 20Gi", written_size(MAX))
        }
    }

    fn rule() -> String {
        let most = if MAX == NO_LIMIT {
            String::new()
        } else {
            format!(" && quantity(self).compareTo(quantity('{}')) <= 0", written_size(MAX))
        };
        format!(
            "self.matches('^[0-9]+([.][0-9]{{1,3}})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$') && quantity(self).isInteger() && \
             quantity(self).compareTo(quantity('{}')) >= 0{most}",
            written_size(MIN)
        )
    }
}

const SIZES: [(&str, u64); 10] = [
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];

fn written_size(bytes: u64) -> String {
    SIZES
        .iter()
        .take(5)
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

fn size(text: &str) -> Option<u64> {
    let (number, factor) = SIZES
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = part.parse::<u64>().ok()?.checked_mul(factor)?;
    let bytes = whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part / scale)?;
    (part % scale == 0).then_some(bytes)
}

impl<const MIN: u64, const MAX: u64> From<&str> for Size<MIN, MAX> {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Size{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text_schema(20, &rules(&[(Self::rule(), Self::remedy())]))
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $length:expr, $rules:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                text_schema($length, &$rules)
            }
        }
    };
}

text!(
    /// An address or CIDR, IPv4 or IPv6.
    Cidr,
    49,
    rules(&[
        ("isIP(self) || isCIDR(self)", "is no address or CIDR: write one such as 192.0.2.0/24"),
        (
            "!isCIDR(self) || cidr(self) == cidr(self).masked()",
            "has bits beyond its prefix: write the network's first address, such as 192.0.2.0/24 and not 192.0.2.7/24"
        ),
    ])
);

impl Cidr {
    /// The network; an address is one of its own.
    pub fn network(&self) -> Result<IpNet, ValueError> {
        let address = || IpAddr::from_str(&self.0).map(IpNet::from);
        IpNet::from_str(&self.0).or_else(|_| address()).map_err(|_| ValueError {
            text: self.0.clone(),
            what: "address or CIDR",
            remedy: "write one such as 192.0.2.0/24".to_owned(),
        })
    }
}

/// The rules of an id in `subject`, each message after `place`.
pub(crate) fn id_rules(subject: &str, place: &str, remedy: &str) -> Vec<(String, String)> {
    let words = RESERVED_IDS.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    vec![
        (
            format!(
                "{subject}.matches('^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$') && size({subject}) <= 64"
            ),
            format!(
                "{place}takes 1 to 64 letters, digits, - and _, the first and last a letter or digit: {remedy}"
            ),
        ),
        (
            format!("!{subject}.contains('--')"),
            format!("{place}must not contain --, which separates the parts of a batch's name: {remedy}"),
        ),
        (format!("!({subject}.lowerAscii() in [{words}])"), format!("{place}is a reserved word: {remedy}")),
    ]
}

text!(
    /// A tenant or dataset as ByteFreezer knows it.
    Id,
    64,
    rules(&id_rules("self", "", "write another id"))
);

text!(
    /// One port or a range of ports: `514`, `5000-5999`.
    PortRange,
    11,
    rules(&[(
        "self.matches('^[0-9]{1,5}(-[0-9]{1,5})?$') && self.split('-').all(p, int(p) >= 1 && int(p) <= 65535) && \
         int(self.split('-')[0]) <= int(self.split('-')[size(self.split('-')) - 1])",
        "is no port: write one such as 514, or a range from low to high such as 5000-5999, both from 1 to 65535"
    )])
);

impl PortRange {
    /// First and last port.
    pub fn bounds(&self) -> Result<(u16, u16), ValueError> {
        let (low, high) = self.0.split_once('-').unwrap_or((&self.0, &self.0));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        port(low).zip(port(high)).filter(|(low, high)| low <= high).ok_or_else(|| ValueError {
            text: self.0.clone(),
            what: "port or range of ports",
            remedy: "write one such as 514 or 5000-5999".to_owned(),
        })
    }
}

text!(
    /// Name of a Kubernetes object.
    ObjectName,
    253,
    rules(&[(
        "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
        "is no name of a Kubernetes object: use small letters, digits, - and ., the first and last a letter or digit"
    )])
);

text!(
    /// Key in a Secret.
    SecretKey,
    253,
    rules(&[(
        "self.matches('^[A-Za-z0-9._-]+$')",
        "is no key of a Secret: use letters, digits, -, _ and ."
    )])
);

/// One value in a Secret of the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: ObjectName,
    /// Key in the Secret.
    pub key: SecretKey,
}

/// A Secret of the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: ObjectName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, expected) in [("90s", Some(90)), ("1h30m", Some(5400)), ("1000ms", Some(1)), ("0s", None)]
        {
            assert_eq!(Span::<1000, 1, YEAR>(text.to_owned()).units().ok(), expected, "{text}");
        }
        for text in ["", "60", "1m1h", "1s1s", "-1s", "1.5s", "18446744073709551615h", "9000h"] {
            assert!(Span::<1000, 1, YEAR>(text.to_owned()).units().is_err(), "{text}");
        }
        assert_eq!(Span::<86_400_000, 0, 36_500>("48h".to_owned()).units(), Ok(2));
        assert!(Span::<86_400_000, 0, 36_500>("36h".to_owned()).units().is_err());
        for seconds in [1, 59, 300, 86_400, YEAR] {
            assert_eq!(Seconds::<1, YEAR>::new(seconds).units(), Ok(seconds));
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, expected) in
            [("20Gi", Some(20 << 30)), ("1.5Gi", Some(3 << 29)), ("500M", Some(500_000_000)), ("0", Some(0))]
        {
            assert_eq!(Size::<0, NO_LIMIT>(text.to_owned()).bytes().ok(), expected, "{text}");
        }
        for text in ["", "Gi", "1.5", "1.0001Ki", "20GB", "99999Pi", "-1", "1e3", "1..2"] {
            assert!(Size::<0, NO_LIMIT>(text.to_owned()).bytes().is_err(), "{text}");
        }
        let error = Size::<1024, 2048>("1".to_owned()).bytes().unwrap_err().to_string();
        assert_eq!(error, "\"1\" is no size; write 1Ki to 2Ki in whole bytes, such as 512Ki, 64Mi or 20Gi");
    }

    #[test]
    fn ports_and_networks() {
        assert_eq!(PortRange::from("514").bounds(), Ok((514, 514)));
        assert_eq!(PortRange::from("5000-5999").bounds(), Ok((5000, 5999)));
        assert!(PortRange::from("9-1").bounds().is_err() && PortRange::from("0").bounds().is_err());
        assert_eq!(Cidr::from("192.0.2.1").network().unwrap().to_string(), "192.0.2.1/32");
        assert!(Cidr::from("192.0.2.1/33").network().is_err());
    }
}
