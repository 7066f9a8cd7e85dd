//! The dead-letter queue, with a real spool.

use std::{io::Read, time::Instant};

use flate2::read::MultiGzDecoder;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::world::{World, answer, config, guarded, key};
use crate::spool::{Failure, Reason, State as Place};

async fn world() -> World {
    World::new(guarded()).await
}

async fn ask(world: &World, method: &str, path: &str) -> (StatusCode, Value) {
    answer(world.ask(method.parse().unwrap(), path).bearer_auth("admin-secret")).await
}

async fn retry(world: &World, body: &str) -> (StatusCode, Value) {
    let request = world.ask(Method::POST, "/api/v1/dlq/retry").bearer_auth("admin-secret");
    answer(request.body(body.to_owned())).await
}

fn ids(files: &Value) -> Vec<&str> {
    files["files"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap()).collect()
}

/// The status of a GET whose path is sent as it is; a client library would resolve dots.
async fn raw_get(world: &World, path: &str) -> u16 {
    let address = world.api.addresses().await[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin-secret\r\nConnection: close";
    stream.write_all(format!("GET {path} {head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Every path below the folder.
fn tree(folder: &std::path::Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        paths.push(path.display().to_string());
        if path.is_dir() {
            paths.extend(tree(&path));
        }
    }
    paths.sort();
    paths
}

#[tokio::test]
async fn w39_counters_and_oldest_entries_are_true() {
    let world = world().await;
    let (web, db) = (key("acme", "web"), key("beta", "db"));
    let first = world.buried(&web, "{\"a\":1}\n{\"a\":2}\n", Reason::Server).await;
    world.buried(&db, "{\"b\":1}\n", Reason::SpoolFull).await;
    let waiting = world.batch(&web, "{\"a\":3}\n").await;
    let failed = world.batch(&db, "{\"b\":2}\n").await;
    let failure = Failure { reason: Reason::Network, status: None, message: "connection refused".into() };
    world.state.spool.failed(failed, failure).await.unwrap();
    let (_, stats) = ask(&world, "GET", "/api/v1/dlq/stats").await;
    let totals =
        ["queue", "retry", "dlq"].map(|place| stats[format!("total_files_in_{place}")].as_u64().unwrap());
    assert_eq!(totals, [1, 1, 2], "{stats}");
    let acme = &stats["tenant_stats"]["acme"];
    assert_eq!(
        (&acme["queue_files"], &acme["dlq_files"], &acme["dataset_stats"]["web"]["dlq_files"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(stats["oldest_dlq_file"]["id"], first.as_str());
    assert_eq!(stats["oldest_dlq_file"]["failure_reason"], "the Receiver answers 503");
    assert!(stats["oldest_queue_file"]["id"].as_str().unwrap().contains(&format!("{:019}", waiting.0)));
    assert_eq!(stats["oldest_retry_file"]["retry_count"], 1);
    let size = stats["oldest_dlq_file"]["compressed_size"].as_u64().unwrap();
    assert!(size > 0 && stats["total_bytes_in_dlq"].as_u64().unwrap() > size);
    assert_eq!(
        (&stats["events"]["dlq"], &stats["events"]["queued"], &stats["events"]["retry"]),
        (&json!(3), &json!(1), &json!(1))
    );
    assert_eq!(stats["usage"]["unwritable"], Value::Null);
    assert_eq!(stats["spool_directory"], world.folder.path().join("spool").display().to_string());
}

#[tokio::test]
async fn entries_are_listed_page_by_page_and_by_filter() {
    let world = world().await;
    let (web, db) = (key("acme", "web"), key("beta", "db"));
    let (_, none) = ask(&world, "GET", "/api/v1/dlq/files?tenant_id=acme&dataset_id=web").await;
    assert_eq!(
        (&none["message"], ids(&none)),
        (&json!("No files in DLQ for tenant=acme dataset=web"), vec![])
    );
    let mut expected = Vec::new();
    for index in 0..5 {
        let reason = if index % 2 == 0 { Reason::Server } else { Reason::Unauthorized };
        expected.push(world.buried(&web, "{\"a\":1}\n", reason).await);
    }
    expected.push(world.buried(&db, "{\"b\":1}\n", Reason::Rejected).await);
    let (_, all) = ask(&world, "GET", "/api/v1/dlq/files?tenant_id=*&dataset_id=").await;
    assert_eq!(
        (ids(&all), &all["message"]),
        (expected.iter().map(String::as_str).collect(), &json!("Found 6 files in DLQ"))
    );
    assert!(all.get("next").is_none());
    let file = &all["files"][5];
    assert_eq!(
        (&file["trigger_reason"], &file["failure_reason"], &file["http_status"]),
        (&json!("rejected"), &json!("the Receiver answers 503"), &json!(503))
    );
    assert_eq!(
        (&file["filename"], &file["line_count"], &file["uncompressed_size"]),
        (&json!(format!("{}.gz", expected[5])), &json!(1), &json!(8))
    );
    let (mut seen, mut path) = (Vec::new(), "/api/v1/dlq/files?limit=2".to_owned());
    loop {
        let (_, page) = ask(&world, "GET", &path).await;
        seen.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        match page["next"].as_str() {
            Some(next) => {
                assert_eq!(page["message"], "Found 2+ files in DLQ");
                path = format!("/api/v1/dlq/files?limit=2&after={next}");
            }
            None => break,
        }
    }
    assert_eq!(seen, expected);
    let (_, denied) = ask(&world, "GET", "/api/v1/dlq/files?reason=unauthorized&tenant_id=acme").await;
    assert_eq!(ids(&denied), [expected[1].as_str(), expected[3].as_str()]);
    let middle = file["created_at"].as_str().unwrap();
    let (_, before) = ask(&world, "GET", &format!("/api/v1/dlq/files?created_before={middle}")).await;
    assert_eq!(ids(&before).len(), 5);
    let (_, after) = ask(&world, "GET", &format!("/api/v1/dlq/files?created_after={middle}")).await;
    assert_eq!(ids(&after), [expected[5].as_str()]);
}

#[tokio::test]
async fn a_retry_sends_back_what_its_filters_say_and_an_empty_body_means_all() {
    let world = world().await;
    let (web, db) = (key("acme", "web"), key("beta", "db"));
    let first = world.buried(&web, "{\"a\":1}\n", Reason::Server).await;
    for reason in [Reason::Server, Reason::Unauthorized] {
        world.buried(&web, "{\"a\":1}\n", reason).await;
    }
    world.buried(&db, "{\"b\":1}\n", Reason::Server).await;
    world.buried(&db, "{\"b\":1}\n", Reason::Server).await;
    for (body, message, count) in [
        (json!({"ids": [first]}).to_string(), "Successfully retried 1 files from DLQ", 1),
        (json!({"ids": [first]}).to_string(), "Successfully retried 0 files from DLQ", 0),
        (
            r#"{"tenant_id":"acme","reason":"unauthorized"}"#.to_owned(),
            "Successfully retried 1 files from DLQ for tenant=acme",
            1,
        ),
        (
            r#"{"created_before":"2020-01-01T00:00:00Z"}"#.to_owned(),
            "Successfully retried 0 files from DLQ",
            0,
        ),
        (
            r#"{"tenant_id":"acme","dataset_id":"web"}"#.to_owned(),
            "Successfully retried 1 files from DLQ for tenant=acme dataset=web",
            1,
        ),
        (
            r#"{"tenant_id":"nobody"}"#.to_owned(),
            "Successfully retried 0 files from DLQ for tenant=nobody",
            0,
        ),
        (String::new(), "Successfully retried 2 files from DLQ", 2),
    ] {
        let (status, answer) = retry(&world, &body).await;
        assert_eq!((status, answer["message"].as_str()), (StatusCode::OK, Some(message)), "{body}");
        assert_eq!((&answer["success"], answer["details"].as_array().unwrap().len()), (&json!(true), count));
    }
    for key in [&web, &db] {
        let entries = world.state.spool.entries(key, &[Place::Retry], None, 10);
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry.attempts == 0));
    }
    assert_eq!(world.state.ledger.snapshot().retry, 5);
    for bad in ["[", "{\"tenant\":\"acme\"}", "{\"ids\":[\"x\"]}"] {
        assert_eq!(retry(&world, bad).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
}

/// W-8: half of the spool stays for what comes in.
#[tokio::test]
async fn a_retry_stops_where_the_spool_is_half_full_and_says_so() {
    let world = world().await;
    let web = key("acme", "web");
    let first = world.buried(&web, "{\"a\":1}\n", Reason::Rejected).await;
    world.buried(&web, "{\"a\":1}\n", Reason::Rejected).await;
    let mut spooling = world.state.running.load().config.spooling.clone();
    let most = spooling.max_size_bytes;
    for (limit, body, count) in
        [(1, String::new(), 0), (1, json!({"ids": [first]}).to_string(), 0), (most, String::new(), 2)]
    {
        spooling.max_size_bytes = limit;
        world.state.spool.configure(spooling.clone(), 10 << 20);
        let (status, answer) = retry(&world, &body).await;
        assert_eq!((status, &answer["files_retried"]), (StatusCode::OK, &json!(count)), "{answer}");
        assert_eq!(answer["success"], json!(count == 2));
        assert_eq!(answer["message"].as_str().unwrap().contains("half full"), count == 0, "{answer}");
        assert_eq!(world.state.ledger.snapshot().dlq, 2 - count);
    }
}

#[tokio::test]
async fn an_entry_is_shown_downloaded_and_deleted() {
    let world = world().await;
    let web = key("acme", "web");
    let lines = (0..30).fold(String::new(), |lines, line| format!("{lines}{{\"line\":{line}}}\n"));
    let id = world.buried(&web, &lines, Reason::Rejected).await;
    let path = format!("/api/v1/dlq/files/acme/web/{id}");
    let (status, shown) = ask(&world, "GET", &path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(shown["preview"].as_array().unwrap().len(), 20);
    assert_eq!(
        (&shown["preview"][19], &shown["preview_truncated"], &shown["line_count"]),
        (&json!("{\"line\":19}"), &json!(true), &json!(30))
    );
    let short = world.buried(&web, "{\"one\":1}\n", Reason::Rejected).await;
    let (_, whole) = ask(&world, "GET", &format!("/api/v1/dlq/files/acme/web/{short}.gz")).await;
    assert_eq!((&whole["preview"], &whole["preview_truncated"]), (&json!(["{\"one\":1}"]), &json!(false)));
    let response =
        world.ask(Method::GET, &format!("{path}/download")).bearer_auth("read-secret").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/gzip");
    assert_eq!(response.headers()["content-disposition"], format!("attachment; filename=\"{id}.gz\""));
    let (mut text, bytes) = (String::new(), response.bytes().await.unwrap());
    MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, lines);
    let (status, deleted) = ask(&world, "DELETE", &path).await;
    assert_eq!((status, &deleted["events"]), (StatusCode::OK, &json!(30)));
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/download"))]
    {
        assert_eq!(ask(&world, method, &path).await.0, StatusCode::NOT_FOUND);
    }
    let events = world.state.ledger.snapshot();
    assert!(events.balanced() && events.deleted == 30, "{events:?}");
    assert!(!tree(world.folder.path()).iter().any(|path| path.contains(&id)));
}

#[tokio::test]
async fn w33_a_batch_that_expands_without_end_is_previewed_within_bounds() {
    let world = world().await;
    let web = key("acme", "web");
    let line = format!("{{\"zeros\":\"{}\"}}\n", "0".repeat(8 << 20));
    let id = world.buried(&web, &line, Reason::Rejected).await;
    let (status, shown) = ask(&world, "GET", &format!("/api/v1/dlq/files/acme/web/{id}")).await;
    assert_eq!((status, &shown["preview_truncated"]), (StatusCode::OK, &json!(true)));
    assert!(shown["preview"][0].as_str().unwrap().len() <= 64 << 10);
}

#[tokio::test]
async fn only_entries_of_the_dlq_can_be_touched() {
    let world = world().await;
    let stamp = world.batch(&key("acme", "web"), "{\"a\":1}\n").await;
    let path = format!("/api/v1/dlq/files/acme/web/acme--web--{:019}--ndjson", stamp.0);
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(&world, method, &path).await.0, StatusCode::NOT_FOUND);
    }
    let foreign = format!("/api/v1/dlq/files/beta/web/acme--web--{:019}--ndjson", stamp.0);
    assert_eq!(ask(&world, "DELETE", &foreign).await.0, StatusCode::BAD_REQUEST);
    assert!(world.state.spool.entry(stamp).is_some());
}

#[tokio::test]
async fn w27_w29_no_text_of_a_request_becomes_a_path() {
    let world = world().await;
    world.buried(&key("acme", "web"), "{\"a\":1}\n", Reason::Server).await;
    std::fs::create_dir_all(world.folder.path().join("victim/dlq")).unwrap();
    std::fs::write(world.folder.path().join("victim/dlq/secret.txt"), "x").unwrap();
    let before = tree(world.folder.path());
    let long = "a".repeat(300);
    for hostile in
        ["..", "../victim", "/etc", "a/b", "a\\b", "a\0", "dlq", "a--b", ".", "ä", "%2e%2e", long.as_str()]
    {
        for member in ["tenant_id", "dataset_id"] {
            let (status, answer) = retry(&world, &json!({ member: hostile }).to_string()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{hostile:?}: {answer}");
        }
        let encoded = hostile.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
        for path in [
            format!("/api/v1/dlq/files?tenant_id={encoded}"),
            format!("/api/v1/dlq/files?after={encoded}"),
            format!("/api/v1/senders?dataset_id={encoded}"),
            format!("/api/v1/dlq/files/{encoded}/web/acme--web--1767225600000000001--raw"),
            format!("/api/v1/dlq/files/acme/{encoded}/acme--web--1767225600000000001--raw"),
            format!("/api/v1/dlq/files/acme/web/{encoded}"),
            format!("/api/v1/dlq/files/acme/web/acme--web--1767225600000000001--{encoded}/download"),
        ] {
            let status = raw_get(&world, &path).await;
            // Some of these words are a hint, though not one of a batch that exists.
            assert!(status == 400 || (status == 404 && path.ends_with("/download")), "{path}: {status}");
        }
    }
    assert_eq!(
        retry(&world, "{\"tenant_id\":\"unknown\",\"dataset_id\":\"unknown\"}").await.0,
        StatusCode::OK
    );
    assert_eq!(tree(world.folder.path()), before);
}

#[tokio::test]
async fn memory_only_is_said_and_works_alike() {
    let mut config = config();
    config.spooling.enabled = false;
    let world = World::new(config).await;
    world.buried(&key("acme", "web"), "{\"a\":1}\n", Reason::Server).await;
    let (_, stats) = world.get("/api/v1/dlq/stats").await;
    assert_eq!((&stats["spooling_enabled"], &stats["total_files_in_dlq"]), (&json!(false), &json!(1)));
    let (_, files) = world.get("/api/v1/dlq/files").await;
    assert_eq!(ids(&files).len(), 1);
}

#[tokio::test]
async fn w36_many_entries_do_not_make_the_counters_slow() {
    let mut config = config();
    config.spooling.enabled = false;
    config.limits.memory_bytes = 256 << 20;
    let world = World::new(config).await;
    let web = key("acme", "web");
    for _ in 0..500 {
        world.buried(&web, "{\"a\":1}\n", Reason::Server).await;
    }
    let start = Instant::now();
    let (_, stats) = world.get("/api/v1/dlq/stats").await;
    let took = start.elapsed();
    assert_eq!(stats["total_files_in_dlq"], 500);
    assert!(took.as_millis() < 50, "{took:?}");
}
