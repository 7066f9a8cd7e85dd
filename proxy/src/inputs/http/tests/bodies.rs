//! What is stored.

use std::io::Write;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

/// Many lines of many lengths.
fn text(lines: usize) -> String {
    let line = |index: usize| format!("{{\"n\":{index},\"x\":\"{}\"}}\n", "ab".repeat(index * 7 % 301));
    (0..lines).map(line).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn a_chunked_body_is_stored_whole_wherever_its_pieces_end() {
    let running = start(vec![input("web", |_, _| {})]);
    let whole = text(300);
    for size in [1, 7, 1000, 100_000] {
        running.store.0.text.lock().clear();
        let pieces: Vec<_> = whole.as_bytes().chunks(size).collect();
        assert_eq!(once(&running, chunked("/webhook", "", &pieces)).await.status, 200);
        assert_eq!(running.store.stored("web"), whole, "{size}");
    }
}

#[tokio::test]
async fn a_large_body_becomes_several_chunks_in_order() {
    let running = start(vec![input("web", |_, http| {
        http.max_payload_size = 32 << 20;
        http.max_lines_per_request = 1_000_000;
    })]);
    let whole = text(20_000);
    assert_eq!(once(&running, post("/webhook", "", &whole)).await.status, 200);
    assert!(running.store.0.text.lock().len() > 10);
    assert_eq!(running.store.stored("web"), whole);
    assert_eq!(running.ledger.snapshot().accepted, 20_000);
    assert_eq!(running.memory.used(), 0);
}

#[tokio::test]
async fn a_last_line_without_newline_is_a_line() {
    let running = start(vec![input("web", |_, _| {})]);
    for request in [post("/webhook", "", "a\nb"), chunked("/webhook", "", &[b"c\n", b"d", b"e"])] {
        assert_eq!(once(&running, request).await.status, 200);
    }
    assert_eq!(running.store.stored("web"), "a\nb\nc\nde\n");
}

#[tokio::test]
async fn lines_are_counted_as_lines() {
    let running = start(vec![input("web", |_, _| {})]);
    let thousand = "x\n".repeat(1000);
    assert_eq!(once(&running, post("/webhook", "", &thousand)).await.status, 200);
    let reply = once(&running, post("/webhook", "", thousand.clone() + "y")).await;
    assert_eq!((reply.status, reply.body.as_str()), (413, "Too many lines (max 1000)"));
    assert_eq!(running.store.stored("web"), thousand);
}

#[tokio::test]
async fn w1_null_is_a_line_like_any_other() {
    let running = start(vec![input("web", |input, _| {
        input.hint = Hint::ndjson();
        input.format = DataFormat::Auto;
    })]);
    assert_eq!(once(&running, post("/webhook", "", "null")).await.status, 200);
    let stored: serde_json::Value = serde_json::from_str(&running.store.stored("web")).unwrap();
    assert_eq!((&stored["raw"], &stored["source_ip"]), (&"null".into(), &"127.0.0.1".into()));
}

#[tokio::test]
async fn w1_garbage_of_any_kind_leaves_the_listener_alive() {
    let running = start(vec![input("web", |input, _| input.format = DataFormat::Auto)]);
    let mut state = 1u64;
    for _ in 0..300 {
        let mut client = Client::to(running.address).await;
        let mut bytes = Vec::new();
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((state >> 33) as u8);
        }
        let _ = client.stream.write_all(&bytes).await;
        let _ = client.stream.write_all(&post("/webhook", "Content-Encoding: zstd\r\n", &bytes)).await;
        let _ = client.stream.shutdown().await;
        let _ = timeout(PATIENCE, client.stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    for encoding in ["gzip", "deflate", "zstd", "identity"] {
        for body in ["null", "\0\0\0", "{", "\u{ff}", "\x1f\u{8b}", "[[[[[[[["] {
            let reply =
                once(&running, post("/webhook", &format!("Content-Encoding: {encoding}\r\n"), body)).await;
            assert!(matches!(reply.status, 200 | 400), "{encoding} {body:?} {reply:?}");
        }
    }
    assert!(running.ledger.snapshot().balanced());
}

#[tokio::test]
async fn compressed_bodies_are_stored_as_text() {
    let running = start(vec![input("web", |_, _| {})]);
    let whole = text(500);
    let raw = whole.as_bytes();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(raw).unwrap();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(raw).unwrap();
    let members = [gzip(&raw[..1001]), gzip(&raw[1001..])].concat();
    for (encoding, body) in [
        ("gzip", gzip(raw)),
        ("x-gzip", gzip(raw)),
        ("gzip", members),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
        ("zstd", zstd::encode_all(raw, 3).unwrap()),
        ("identity", raw.to_vec()),
    ] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        let pieces: Vec<_> = body.chunks(97).collect();
        for request in [post("/webhook", &headers, &body), chunked("/webhook", &headers, &pieces)] {
            running.store.0.text.lock().clear();
            assert_eq!(once(&running, request).await.status, 200, "{encoding}");
            assert_eq!(running.store.stored("web"), whole, "{encoding}");
        }
    }
}

#[tokio::test]
async fn a_compressed_body_that_is_cut_short_or_broken_stores_nothing() {
    let running = start(vec![input("web", |_, _| {})]);
    let body = gzip(text(500).as_bytes());
    let mut flipped = body.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    for bad in [&body[..body.len() - 1], &body[..20], &flipped, b"plain text"] {
        let reply = once(&running, post("/webhook", "Content-Encoding: gzip\r\n", bad)).await;
        assert_eq!((reply.status, reply.body.as_str()), (400, "Error reading request body"));
    }
    assert_eq!(running.store.stored("web"), "");
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_unfolds() {
    let running = start(vec![input("web", |_, http| http.max_payload_size = 8 << 20)]);
    let zeros = vec![b'0'; 256 << 20];
    let bombs = [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 1).unwrap())];
    drop(zeros);
    for (encoding, bomb) in bombs {
        let reply =
            once(&running, post("/webhook", &format!("Content-Encoding: {encoding}\r\n"), &bomb)).await;
        assert_eq!((reply.status, reply.body.as_str()), (413, "Payload too large"), "{encoding}");
    }
    // One that stays below the size is stopped by its ratio.
    let reply =
        once(&running, post("/webhook", "Content-Encoding: gzip\r\n", gzip(&vec![b'0'; 4 << 20]))).await;
    assert_eq!(reply.status, 413);
    assert_eq!((running.store.stored("web").len(), running.memory.used()), (0, 0));
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let running = start(vec![input("web", |_, _| {})]);
    let whole = chunked("/webhook", "", &[b"a\n", b"b\n"]);
    for cut in [5, 12, 17, 25] {
        let mut client = Client::to(running.address).await;
        client.send(&whole[..whole.len() - cut]).await;
        client.stream.shutdown().await.unwrap();
        if let Some(reply) = client.reply().await {
            assert_eq!(reply.status, 400, "{cut}");
        }
    }
    let bad = "POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\nzz\r\n";
    assert_eq!(once(&running, bad).await.status, 400);
    until("all counted", || running.stats[0].refused(Refusal::Malformed) >= 5).await;
    assert_eq!(running.stats[0].refused(Refusal::Malformed), 5);
    assert_eq!(running.store.stored("web"), "");
}

#[tokio::test]
async fn a_line_longer_than_what_is_read_downstream_is_refused() {
    let running = start(vec![input("web", |_, http| http.max_payload_size = 16 << 20)]);
    let long = vec![b'x'; crate::batch::MAX_LINE + 1];
    let reply = once(&running, post("/webhook", "", &long)).await;
    assert_eq!((reply.status, reply.body.starts_with("Line too long")), (413, true));
    assert_eq!((running.store.stored("web").len(), running.memory.used()), (0, 0));
}

#[tokio::test]
async fn a_chunked_body_that_decompresses_to_nothing_is_no_longer_than_others() {
    let running = start(vec![input("web", |_, http| http.max_payload_size = 64 << 10)]);
    // A frame that decoders skip, with nothing in it.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    for (encoding, nothing) in [("gzip", gzip(b"")), ("zstd", skipped.to_vec())] {
        let many = nothing.repeat((128 << 10) / nothing.len());
        let head = format!("Content-Encoding: {encoding}\r\n");
        let reply = once(&running, chunked("/webhook", &head, &[&many])).await;
        assert_eq!((reply.status, reply.body.as_str()), (413, "Payload too large"), "{encoding}");
        let few = nothing.repeat((32 << 10) / nothing.len());
        assert_eq!(once(&running, chunked("/webhook", &head, &[&few])).await.status, 200, "{encoding}");
    }
}
