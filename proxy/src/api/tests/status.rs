//! What runs, and waiting for it to change.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    super::Delivery,
    world::{World, answer, config, guarded, key},
};
use crate::{
    config::{Fault, RefusedInput},
    inputs::{InputErrorKind, InputState},
};

async fn world() -> World {
    World::new(config()).await
}

fn etag(status: &Value) -> String {
    status["etag"].as_str().unwrap().to_owned()
}

fn circuit() -> Delivery {
    Delivery { circuits: vec![open_circuit()], ..Delivery::default() }
}

pub fn open_circuit() -> crate::deliver::CircuitStatus {
    crate::deliver::CircuitStatus {
        scope: "receiver".to_owned(),
        tenant_id: None,
        dataset_id: None,
        since: "2026-01-01T00:00:00.000Z".to_owned(),
        reason: "network".to_owned(),
        status: None,
        message: "connection refused".to_owned(),
        diverts: false,
        next_probe: "2026-01-01T00:00:05.000Z".to_owned(),
    }
}

#[tokio::test]
async fn the_status_shows_inputs_configuration_and_events() {
    let world = world().await;
    world.state.ledger.accept(7);
    world.inputs.lock()[0].kernel_drops = 3;
    let (_, status) = world.get("/api/v1/status").await;
    assert_eq!(status["config_hash"], "one");
    assert_eq!(status["inputs"][0]["state"], "listening");
    assert_eq!(status["inputs"][0]["addresses"], json!(["udp 0.0.0.0:2055"]));
    assert_eq!(status["inputs"][0]["kernel_drops"], 3);
    assert_eq!(status["events"]["memory"], 7);
    assert_eq!(status["events_balanced"], true);
}

#[tokio::test]
async fn a_wait_ends_with_a_change_of_state_configuration_or_circuit_but_not_of_a_counter() {
    let world = world().await;
    let steps: [&dyn Fn(); 7] = [
        &|| world.inputs.lock()[0].state = InputState::Retrying,
        &|| world.inputs.lock()[0].error_kind = Some(InputErrorKind::InUse),
        &|| world.inputs.lock()[0].errno = Some(98),
        &|| world.inputs.lock()[0].addresses.clear(),
        &|| "another".clone_into(&mut world.inputs.lock()[0].hash),
        &|| world.change(|running| "two".clone_into(&mut running.hash)),
        &|| *world.delivery.lock() = circuit(),
    ];
    for change in steps {
        let before = etag(&world.get("/api/v1/status").await.1);
        let path = format!("/api/v1/status?after={before}&wait=60s");
        let asked = world.get(&path);
        let (answered, ()) = tokio::join!(asked, async {
            world.inputs.lock()[0].messages += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            change();
        });
        assert_eq!(answered.0, StatusCode::OK);
        assert_ne!(etag(&answered.1), before);
    }
    let now = etag(&world.get("/api/v1/status").await.1);
    world.inputs.lock()[0].messages += 1;
    world.inputs.lock()[0].error = Some("the same in other words".to_owned());
    world.state.ledger.accept(1);
    let start = Instant::now();
    let (status, same) = world.get(&format!("/api/v1/status?after={now}&wait=1")).await;
    assert_eq!((status, etag(&same)), (StatusCode::OK, now));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let (_, other) = world.get("/api/v1/status?after=other&wait=60").await;
    assert_eq!(other["inputs"][0]["state"], "retrying");
}

/// What the operator goes by.
#[tokio::test]
async fn an_entry_that_was_refused_is_shown_beside_what_goes_on() {
    let world = world().await;
    let refused = |goes_on| RefusedInput {
        name: "net/new".to_owned(),
        kind: "kafka".to_owned(),
        tenant_id: "acme".to_owned(),
        dataset_id: "new".to_owned(),
        hash: "hash-of-new".to_owned(),
        fault: Fault::NotSupported,
        problem: "config.yaml:9:5: error: inputs[2].config.foo: is no known key".to_owned(),
        goes_on,
    };
    let before = etag(&world.get("/api/v1/status").await.1);
    world.change(|running| running.refused = vec![refused(Some(key("acme", "flows"))), refused(None)]);
    let (_, status) = world.get("/api/v1/status").await;
    assert_ne!(etag(&status), before);
    let inputs = status["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 3);
    let shown = |input: &Value| {
        let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        (text("name"), text("hash"), text("state"), text("error_kind"))
    };
    let expected = |name: &str, hash: &str, state: &str, kind: &str| {
        (name.to_owned(), hash.to_owned(), state.to_owned(), kind.to_owned())
    };
    assert_eq!(shown(&inputs[0]), expected("flows", "hash-of-flows", "listening", "not_supported"));
    assert_eq!(shown(&inputs[1]), expected("hooks", "hash-of-hooks", "listening", ""));
    assert_eq!(shown(&inputs[2]), expected("net/new", "hash-of-new", "rejected", "not_supported"));
    assert_eq!((&inputs[2]["type"], &inputs[0]["error"]), (&json!("unknown"), &inputs[2]["error"]));
    assert_eq!(
        (&inputs[0]["receive_buffer"], &inputs[0]["receive_buffer_wanted"]),
        (&json!(0), &json!(8 << 20))
    );
}

#[tokio::test]
async fn the_status_shows_how_full_the_spool_is_and_with_whose_bytes() {
    let world = world().await;
    world.batch(&key("acme", "flows"), "{\"n\":1}\n").await;
    world.buried(&key("other", "hooks"), "{\"n\":2}\n", crate::spool::Reason::Server).await;
    let (_, status) = world.get("/api/v1/status").await;
    let spool = &status["spool"];
    let of = |tenant: &str, place: &str| spool["tenants"][tenant][place].as_u64().unwrap();
    assert!(of("acme", "queue_bytes") > 0 && of("other", "dlq_bytes") > 0, "{spool}");
    assert_eq!(
        (of("acme", "dlq_bytes"), of("other", "queue_bytes"), of("acme", "open_bytes")),
        (0, 0, 0),
        "{spool}"
    );
    assert!(spool["bytes"].as_u64() >= Some(of("acme", "queue_bytes")), "{spool}");
    assert!(
        spool["limit_bytes"].as_u64() > Some(0)
            && spool["dlq_bytes"].as_u64() >= Some(of("other", "dlq_bytes")),
        "{spool}"
    );
}

#[tokio::test]
async fn only_so_many_wait_at_a_time() {
    let world = world().await;
    let now = etag(&world.get("/api/v1/status").await.1);
    let path = format!("/api/v1/status?after={now}&wait=2s");
    let answers = join_all((0..40).map(|_| world.get(&path))).await;
    let refused = answers.iter().filter(|answer| answer.0 == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn w39_readiness_is_false_when_nothing_is_taken_in() {
    let world = world().await;
    let ready = async || {
        let response = world.ask(Method::GET, "/readyz").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(ready().await.0, 200);
    world.inputs.lock()[0].state = InputState::Retrying;
    assert_eq!(ready().await.0, 200);
    world.inputs.lock()[1].state = InputState::Retrying;
    world.inputs.lock()[0].error = Some("udp 0.0.0.0:2055 is busy".to_owned());
    let (status, text) = ready().await;
    assert_eq!(status, 503);
    assert!(text.contains("2055 is busy"), "{text}");
    // Who reads every input's state must not lose sight of the process.
    world.change(|running| running.config.schema_version = Some(1));
    assert_eq!(ready().await.0, 200);
    world.inputs.lock()[1].state = InputState::Starting;
    assert_eq!(ready().await.0, 503);
    world.inputs.lock().clear();
    assert_eq!(ready().await.0, 200);
    world.spool_trouble.lock().unwritable = Some("Read-only file system".to_owned());
    let (status, text) = ready().await;
    assert_eq!(status, 503);
    assert!(text.contains("Read-only file system"), "{text}");
    assert_eq!(world.ask(Method::GET, "/livez").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let world = world().await;
    let response = world.ask(Method::GET, "/metrics").send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(response.text().await.unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_silent_sender_is_found_page_by_page() {
    let world = world().await;
    let second = 1_000_000_000;
    for (source, at) in [("192.0.2.1", 30), ("192.0.2.2", 10), ("192.0.2.3", 20)] {
        world.state.senders.record(
            &key("acme", "flows"),
            source.parse::<IpAddr>().unwrap(),
            2,
            100,
            1,
            at * second,
        );
    }
    let (_, first) = world.get("/api/v1/senders?silent_first=true&limit=2&silent_for=60").await;
    let sources = |page: &Value| {
        page["senders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["source"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(sources(&first), ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(first["senders"][0]["last_seen"], "1970-01-01T00:00:10Z");
    assert_eq!((&first["senders"][0]["errors"], &first["next_offset"]), (&json!(1), &json!(2)));
    let (_, rest) = world.get("/api/v1/senders?silent_first=true&limit=2&offset=2").await;
    assert_eq!(sources(&rest), ["192.0.2.1"]);
    assert!(rest.get("next_offset").is_none());
    assert_eq!(sources(&world.get("/api/v1/senders?tenant_id=other").await.1).len(), 0);
}

#[tokio::test]
async fn a_reload_says_what_it_did_or_why_not() {
    let world = World::new(guarded()).await;
    let reload = || answer(world.ask(Method::POST, "/api/v1/config/reload").bearer_auth("admin-secret"));
    let (status, body) = reload().await;
    assert_eq!(
        (status, &body["success"], &body["plugins_loaded"]),
        (StatusCode::OK, &json!(true), &json!(2))
    );
    let (status, body) = reload().await;
    assert_eq!((status, &body["success"]), (StatusCode::OK, &json!(false)));
    assert_eq!(body["message"], "config.yaml:3: no such key");
}

/// Answers every request from a table of (start of the request, status, body) and keeps what it was sent.
async fn receiver(
    answers: Vec<(&'static str, u16, &'static str)>,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (answers, send) = (answers.clone(), send.clone());
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => return,
                    }
                }
                let request = String::from_utf8(request).unwrap();
                let answer = answers.iter().find(|(start, ..)| request.starts_with(start));
                let (_, status, body) = answer.copied().unwrap_or(("", 404, "404 page not found"));
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(text.as_bytes()).await.unwrap();
                send.send(request).unwrap();
            });
        }
    });
    (format!("http://{address}"), seen)
}

#[tokio::test]
async fn h50_connectivity_is_tested_per_dataset_without_sending_data() {
    let (base_url, mut seen) = receiver(vec![
        ("POST /acme/flows ", 400, "X-Proxy-Filename header is required"),
        ("POST /acme/hooks ", 400, "Unknown dataset for tenant"),
    ])
    .await;
    let mut config = guarded();
    config.receiver.base_url = base_url;
    let world = World::new(config).await;
    let (status, body) =
        answer(world.ask(Method::POST, "/api/v1/test/connectivity").bearer_auth("admin-secret")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["results"][0]["status"], "success", "{body}");
    assert_eq!(
        (&body["results"][1]["status"], &body["results"][1]["status_code"]),
        (&json!("failed"), &json!(400))
    );
    assert_eq!(body["results"][1]["response_body"], "Unknown dataset for tenant");
    assert_eq!(
        (&body["summary"]["total_tests"], &body["summary"]["success_rate_percent"]),
        (&json!(2), &json!(50.0))
    );
    assert!(!body.to_string().contains("tenant-secret"));
    for _ in 0..2 {
        let request = seen.recv().await.unwrap().to_lowercase();
        assert!(request.contains("authorization: bearer tenant-secret"), "{request}");
        assert!(request.contains("content-length: 0"), "{request}");
        assert!(!request.contains("x-proxy-filename"));
    }
}

#[tokio::test]
async fn h50_a_gateway_that_refuses_empty_uploads_is_asked_for_its_health() {
    let (base_url, _seen) =
        receiver(vec![("GET /health ", 200, "{\"status\":\"ok\"}"), ("POST ", 411, "Length Required")]).await;
    let mut config = guarded();
    config.receiver.base_url = base_url;
    let world = World::new(config).await;
    let ask = || answer(world.ask(Method::POST, "/api/v1/test/connectivity").bearer_auth("admin-secret"));
    let (_, body) = ask().await;
    assert_eq!(body["summary"]["success_count"], 2, "{body}");
    world.change(|running| "http://127.0.0.1:1".clone_into(&mut running.config.receiver.base_url));
    let (_, body) = ask().await;
    assert_eq!(body["summary"]["error_count"], 2, "{body}");
    assert!(body["results"][0]["error_message"].as_str().unwrap().contains("refused"), "{body}");
}
