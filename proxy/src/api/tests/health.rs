//! Health at a glance.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::SpoolTrouble,
    status::open_circuit,
    world::{World, answer, config, guarded, key},
};
use crate::{inputs::InputState, spool::Reason};

#[tokio::test]
async fn h52_w39_health_tells_the_truth_about_inputs_receiver_and_counters() {
    let world = World::new(config()).await;
    let (status, health) = world.get("/api/v1/health").await;
    assert_eq!(
        (status, &health["status"], &health["service_name"]),
        (StatusCode::OK, &json!("healthy"), &json!("bytefreezer-proxy"))
    );
    assert_eq!(
        (&health["plugins"]["total_plugins"], &health["plugins"]["active_plugins"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(health["plugins"]["plugins_by_type"], json!({"http": 1, "udp": 1}));
    let first = &health["plugins"]["plugin_details"][0];
    assert_eq!(
        (&first["status"], &first["port"], &first["dataset_id"]),
        (&json!("active"), &json!(2055), &json!("flows"))
    );
    assert_eq!(health["stats"].get("last_activity"), Some(&Value::Null));

    world.buried(&key("acme", "web"), "{\"a\":1}\n", Reason::Server).await;
    world.state.senders.record(
        &key("acme", "flows"),
        "192.0.2.1".parse().unwrap(),
        5,
        50,
        0,
        1_767_225_600_000_000_000,
    );
    {
        let mut inputs = world.inputs.lock();
        (inputs[0].messages, inputs[0].bytes, inputs[0].lines, inputs[0].kernel_drops) = (5, 50, 4, 2);
        inputs[0].refused.insert("source", 1);
        inputs[0].error = Some("goes on with its old settings".to_owned());
        inputs[1].state = InputState::Retrying;
        inputs[1].error = Some("port 8081 is busy".to_owned());
        let mut delivery = world.delivery.lock();
        (delivery.totals.batches, delivery.totals.bytes, delivery.totals.failures) = (7, 700, 3);
        delivery.circuits.push(open_circuit());
    }
    let (code, health) = world.get("/api/v1/health").await;
    assert_eq!((code, &health["status"]), (StatusCode::OK, &json!("degraded")));
    assert_eq!(health["plugins"]["active_plugins"], 1);
    let second = &health["plugins"]["plugin_details"][1];
    assert_eq!((&second["status"], &second["last_error"]), (&json!("retrying"), &json!("port 8081 is busy")));
    assert_eq!(health["receiver"]["status"], "failing");
    let counters = &health["stats"];
    for (member, expected) in [
        ("udp_messages_received", 5),
        ("udp_message_errors", 3),
        ("lines_received", 4),
        ("bytes_received", 50),
        ("bytes_forwarded", 700),
        ("batches_forwarded", 7),
        ("batches_created", 8),
        ("forwarding_errors", 3),
    ] {
        assert_eq!(counters[member], expected, "{member}");
    }
    assert_eq!(counters["last_activity"], "2026-01-01T00:00:00Z");
    let problems = health["problems"].to_string();
    assert!(problems.contains("goes on with its old settings"), "{problems}");
    assert!(
        problems.contains("8081 is busy") && problems.contains("delivery to receiver: connection refused"),
        "{problems}"
    );
}

#[tokio::test]
async fn an_input_that_was_left_out_is_a_problem_of_the_status_too() {
    let world = World::new(config()).await;
    world.change(|running| {
        running.left_out.push("config.yaml:9: inputs[1].config.port: is missing".to_owned());
    });
    let (_, health) = world.get("/api/v1/health").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(
        health["problems"],
        json!(["configuration: config.yaml:9: inputs[1].config.port: is missing"])
    );
    let (_, status) = world.get("/api/v1/status").await;
    assert_eq!(status["config_left_out"].as_array().unwrap().len(), 1);
    world.change(|running| running.needs_restart.push("limits.receive_threads"));
    let (_, status) = world.get("/api/v1/status").await;
    assert_eq!(status["config_needs_restart"], json!(["limits.receive_threads"]));
    assert!(status["problems"][1].as_str().unwrap().contains("`limits.receive_threads`"), "{status}");
}

#[tokio::test]
async fn w26_without_permission_health_is_one_word() {
    let world = World::new(guarded()).await;
    let (status, health) = world.get("/api/v1/health").await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("healthy")));
    let members: Vec<_> = health.as_object().unwrap().keys().collect();
    assert_eq!(members, ["status", "version", "service_name", "timestamp"]);
    let (_, whole) = answer(world.ask(Method::GET, "/api/v1/health").bearer_auth("read-secret")).await;
    assert!(whole.get("plugins").is_some());
}

type Change = fn(&mut SpoolTrouble);

/// W-39: what holds intake or batches up is a problem of health and status, and of readiness when nothing gets in.
#[tokio::test]
async fn w39_a_full_or_damaged_spool_and_used_up_memory_are_problems() {
    let world = World::new(config()).await;
    let ready = || async { world.client().get(world.url("/readyz")).send().await.unwrap().status().as_u16() };
    let steps: [(Change, &str, u16); 5] = [
        (|spool| spool.files_unwritable = Some("read-only".to_owned()), "batch files cannot be written", 200),
        (|spool| spool.unreadable = 3, "3 batches or folders", 200),
        (|spool| spool.full_acknowledged = true, "full for acknowledged data, HTTP answers 503", 200),
        (|spool| spool.full_unacknowledged = true, "full for unacknowledged data", 200),
        (
            |spool| (spool.full_acknowledged, spool.full_unacknowledged) = (true, true),
            "full for unacknowledged data",
            503,
        ),
    ];
    let mut etags = std::collections::BTreeSet::new();
    for (change, says, code) in steps {
        *world.spool_trouble.lock() = SpoolTrouble::default();
        change(&mut world.spool_trouble.lock());
        let (_, health) = world.get("/api/v1/health").await;
        assert_eq!(health["status"], "degraded");
        assert!(health["problems"].to_string().contains(says), "{health}");
        let (_, status) = world.get("/api/v1/status").await;
        assert_eq!(status["problems"], health["problems"]);
        etags.insert(status["etag"].to_string());
        assert_eq!(ready().await, code, "{says}");
    }
    assert_eq!(etags.len(), 5, "each is a change of state");
    *world.spool_trouble.lock() = SpoolTrouble::default();
    assert_eq!(world.get("/api/v1/health").await.1["status"], "healthy");
    *world.memory_problem.lock() = Some("memory: used up".to_owned());
    assert_eq!(world.get("/api/v1/health").await.1["problems"], json!(["memory: used up"]));
    assert_eq!(ready().await, 503);
}

#[tokio::test]
async fn without_inputs_the_details_are_null_as_clients_of_the_former_program_know_them() {
    let mut config = config();
    config.inputs.clear();
    let world = World::new(config).await;
    for path in ["/api/v1/health", "/api/v1/config"] {
        let (_, answer) = world.get(path).await;
        let plugins = answer["plugins"].as_object().unwrap();
        assert_eq!(plugins["total_plugins"], 0, "{path}");
        assert_eq!(plugins["plugin_details"], Value::Null, "{path}");
    }
    assert_eq!(world.get("/api/v1/health").await.1["plugins"]["status"], "no_plugins");
}
