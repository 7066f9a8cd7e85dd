//! Bodies of requests: see [`crate::fuzzing`].
#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc, clippy::indexing_slicing)]

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{
    Shared,
    encoding::{Encoding, InflateError, Inflater, STEP},
    lines::Lines,
    table::HttpRoute,
};
use crate::{
    batch::{Body, Level, MemoryBudget},
    config::{Batching, DataFormat, HttpSource, Input, Listen, Source},
    decode::{ReceiveTime, text::TextRules},
    fuzzing::choice,
    ids::Hint,
    inputs::{Route, Senders},
};

/// Bytes of a body after decompression, and lines, at most.
const LIMIT: usize = 64 * 1024;
const MAX_LINES: usize = 300;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Lines as they come, and in envelopes.
static ROUTES: LazyLock<(Shared, [HttpRoute; 2])> = LazyLock::new(|| {
    let routes = [DataFormat::Ndjson, DataFormat::Text].map(route);
    let shared = Shared {
        memory: MemoryBudget::new(16 << 20),
        level: Arc::new(Level::new(&routes[0].route.input.batching)),
        ledger: Arc::default(),
        senders: Arc::new(Senders::new(1)),
    };
    (shared, routes)
});

fn route(format: DataFormat) -> HttpRoute {
    let time = Duration::from_secs(1);
    let source = HttpSource {
        path: "/".to_owned(),
        max_payload_size: LIMIT,
        max_lines_per_request: MAX_LINES,
        max_compression_ratio: 100,
        max_connections: 1,
        max_connections_per_source: None,
        read_timeout: time,
        write_timeout: time,
        idle_timeout: time,
        auth: None,
        tls: None,
    };
    let input = Input {
        name: "web".to_owned(),
        key: crate::ids::DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() },
        paused: false,
        hint: Hint::raw(),
        format,
        source_field: None,
        listen: Listen { host: PEER, port: 0 },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: Batching {
            max_lines: 0,
            max_bytes: 1 << 20,
            timeout: time,
            compression_enabled: true,
            compression_level: 1,
            compression_adaptive: true,
        },
        source: Source::Http(source.clone()),
        hash: String::new(),
    };
    let rules = TextRules { format, bfts: false, source_field: None };
    HttpRoute { route: Arc::new(Route::new(input, Arc::default()).unwrap()), source, rules, token: None }
}

/// Any bytes as a body in each encoding, read in pieces of two sizes: the same text or none, inside its limit; and of
/// that text the same lines, all of them or none.
pub fn http_body(data: &[u8]) {
    let (choice, data) = choice(data);
    let piece = choice / 8 + 1;
    let encoding = [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd][choice % 4];
    let text = if encoding == Encoding::Identity {
        data.to_vec()
    } else {
        let [whole, pieces] = [usize::MAX, piece].map(|piece| inflate(encoding, data, piece));
        assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} at once, {pieces:?} in pieces of {piece}");
        let Ok(text) = whole else { return };
        assert_eq!(Ok(&text), pieces.as_ref());
        text
    };
    let (shared, routes) = &*ROUTES;
    let route = &routes[choice / 4 % 2];
    let whole = lines(route, shared, &text, usize::MAX);
    assert_eq!(lines(route, shared, &text, piece), whole);
    if let Some((stored, count)) = whole {
        assert_eq!(memchr::memchr_iter(b'\n', &stored).count() as u64, count);
        let expected = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        assert!(count <= expected as u64, "blank lines are none");
    }
}

fn inflate(encoding: Encoding, body: &[u8], piece: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::new(encoding, LIMIT, 100)?.unwrap();
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for piece in body.chunks(piece) {
        let mut rest = piece;
        loop {
            rest = inflater.step(rest, &mut out)?;
            assert!(out.len() <= STEP);
            all.extend_from_slice(&out);
            if rest.is_empty() && out.is_empty() {
                break;
            }
        }
    }
    inflater.finish()?;
    assert!(all.len() <= LIMIT);
    Ok(all)
}

/// What would be stored and how many lines it is; nothing when the request is refused.
fn lines(route: &HttpRoute, shared: &Shared, text: &[u8], piece: usize) -> Option<(Vec<u8>, u64)> {
    let mut lines = Lines::new(route, shared, PEER, ReceiveTime::new(1_767_225_600_000_000_001));
    for piece in text.chunks(piece) {
        lines.feed(piece, false).ok()?;
    }
    lines.finish().ok()?;
    let (chunks, count) = lines.into_chunks();
    let mut stored = Vec::new();
    for chunk in chunks {
        let before = stored.len();
        match chunk.body {
            Body::Raw(raw) => stored.extend_from_slice(&raw),
            Body::Member(member) => {
                flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut stored).unwrap();
            }
        }
        assert_eq!(stored.len() - before, chunk.raw_len as usize);
    }
    Some((stored, count))
}
