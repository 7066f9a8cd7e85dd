//! Single values: addresses, URLs, paths, zones, tokens of a header.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::config::problems::Problems;

/// An address to listen on.
pub(super) fn host(text: &str, key: &str, problems: &mut Problems) -> Option<IpAddr> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    match bare {
        "" | "*" => return Some(Ipv4Addr::UNSPECIFIED.into()),
        "localhost" => return Some(Ipv4Addr::LOCALHOST.into()),
        _ => {}
    }
    if let Ok(address) = bare.parse() {
        return Some(address);
    }
    problems.error(
        key,
        format!("{text:?} is no IP address"),
        "write `0.0.0.0`, `::` or an address of this host",
    );
    None
}

/// Addresses and CIDRs; one that is wrong is reported, the others are kept.
pub(super) fn networks(list: &[String], key: &str, problems: &mut Problems) -> Vec<IpNet> {
    let mut networks = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        if let Some(network) = network(text, &format!("{key}[{index}]"), problems) {
            networks.push(network);
        }
    }
    networks
}

/// An address or CIDR, IPv4-mapped ones as IPv4.
pub(super) fn network(text: &str, key: &str, problems: &mut Problems) -> Option<IpNet> {
    let parsed: Option<IpNet> =
        text.trim().parse().ok().or_else(|| text.trim().parse::<IpAddr>().ok().map(IpNet::from));
    let Some(network) = parsed else {
        problems.error(key, format!("{text:?} is no address or CIDR"), "write one such as `192.0.2.0/24`");
        return None;
    };
    let trunc = network.trunc();
    if trunc != network {
        problems.warning(key, format!("{network} has bits beyond its prefix"), format!("write `{trunc}`"));
    }
    Some(unmapped(trunc))
}

fn unmapped(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|address| IpNet::new(address.into(), v6.prefix_len() - 96).ok())
            .unwrap_or(network),
        other => other,
    }
}

/// The Receiver's address without a trailing slash.
pub(super) fn base_url(text: &str, key: &str, problems: &mut Problems) -> String {
    const EXAMPLE: &str = "write one such as `https://receiver.example:8080`";
    let url = text.trim().trim_end_matches('/');
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if authority.is_empty() {
        problems.error(key, format!("{text:?} is no http or https address"), EXAMPLE);
    } else if authority.contains('@') {
        problems.error(key, "carries a user or password", "put the token into `bearer_token_file`");
    } else if url.contains(['{', '}']) {
        problems.error(
            key,
            "has placeholders, which are not filled in",
            "leave them out: tenant and dataset are appended",
        );
    } else if url.contains(|c: char| c.is_whitespace() || c.is_control() || "?#\"<>\\^`|".contains(c)) {
        problems.error(key, "has a character that no address has there", EXAMPLE);
    } else if port_of(authority).is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        problems.error(key, "has a port that is none", "write a port from 1 to 65535");
    }
    url.to_owned()
}

fn port_of(authority: &str) -> Option<&str> {
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    authority.get(after_address..)?.rsplit_once(':').map(|(_, port)| port)
}

/// The path of an http input: exact, or a prefix that ends in `/`.
pub(super) fn http_path(text: &str, key: &str, problems: &mut Problems) -> String {
    let path = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    if path == "/health" || path.starts_with("/health/") {
        problems.error(key, "belongs to the input's own health answer", "write another path");
    } else if path.contains(|c: char| !c.is_ascii_graphic() || "{}?#\\\"<>^`|%".contains(c)) {
        problems.error(
            key,
            format!("{text:?} has a character that no path has"),
            "use letters, digits, `-`, `_`, `.` and `/`",
        );
    } else if path.split('/').any(|part| part == "." || part == "..") || path.contains("//") {
        problems.error(key, format!("{text:?} is no plain path"), "write it without `//`, `.` and `..`");
    }
    path
}

/// A time zone's name.
pub(super) fn zone(text: &str, key: &str, problems: &mut Problems) -> String {
    if jiff::fmt::temporal::DateTimeParser::new().parse_time_zone(text).is_err() {
        let near = crate::config::suggest::nearest(text, COMMON_ZONES.iter().copied());
        let remedy = near.map_or_else(
            || "write a name such as `Europe/Berlin` or `UTC`, or an offset such as `+02:00`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        problems.error(key, format!("{text:?} is no known time zone"), remedy);
    }
    text.to_owned()
}

const COMMON_ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Paris",
    "Europe/Amsterdam",
    "Europe/Vienna",
    "Europe/Zurich",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Tokyo",
    "Asia/Shanghai",
    "Asia/Singapore",
    "Asia/Kolkata",
    "Australia/Sydney",
];

/// The first byte of a delimiter; `\n` may also be written with a backslash.
pub(super) fn delimiter(text: &str, key: &str, problems: &mut Problems) -> u8 {
    let byte = match text {
        "\\n" | "\\r\\n" => Some(b'\n'),
        "\\r" => Some(b'\r'),
        "\\t" => Some(b'\t'),
        "\\0" => Some(0),
        other => other.bytes().next(),
    };
    byte.unwrap_or_else(|| {
        problems.error(key, "is empty", "write a character, or leave it out for a newline");
        b'\n'
    })
}

/// Name of the JSON member for the sender's address.
pub(super) fn member_name(text: &str, key: &str, problems: &mut Problems) -> String {
    let fits = (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'));
    if !fits || text.eq_ignore_ascii_case("bfts") {
        problems.error(
            key,
            format!("{text:?} cannot name the member"),
            "use up to 64 letters, digits, `_`, `-`, `.`",
        );
    }
    text.to_owned()
}

/// The name in the User-Agent: a token without blanks.
pub(super) fn product(text: &str, problems: &mut Problems) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c) { c } else { '-' })
        .collect();
    if clean.is_empty() {
        return "bytefreezer-proxy".to_owned();
    }
    if clean != text {
        problems.notice(
            "app.name",
            format!("{text:?} has characters that a User-Agent cannot hold"),
            format!("taken for `{clean}`"),
        );
    }
    clean
}

/// Whether a directory is absolute, on whatever system this is checked.
pub(super) fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
}
