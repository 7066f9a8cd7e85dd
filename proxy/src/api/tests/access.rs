//! Who may do what.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed};

use axum::{body::Body, http::Request};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::{
    super::{guard::Peer, openapi},
    world::{SECRETS, World, answer, config, guarded},
};
use crate::config::{Secret, ServerTls};

const READS: [&str; 5] =
    ["/api/v1/config", "/api/v1/status", "/api/v1/senders", "/api/v1/exporters", "/api/v1/plugins"];
const WRITES: [(&str, &str); 4] = [
    ("POST", "/api/v1/config/reload"),
    ("POST", "/api/v1/dlq/retry"),
    ("POST", "/api/v1/test/connectivity"),
    ("DELETE", "/api/v1/dlq/files/acme/web/acme--web--1767225600000000001--raw"),
];
const OPEN: [&str; 6] = ["/livez", "/readyz", "/metrics", "/v1/docs", "/v1/docs/openapi.json", "/"];

async fn world(config: crate::config::Config) -> World {
    World::new(config).await
}

fn method(name: &str) -> Method {
    name.parse().unwrap()
}

/// What a peer elsewhere is answered: the router that runs, with another peer's address.
async fn from_elsewhere(world: &World, method: &str, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request =
        Request::builder().method(method).uri(path).extension(Peer("192.0.2.7:1234".parse().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = openapi::router(world.state.clone());
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn w26_without_a_token_only_reads_from_the_machine_itself_are_answered() {
    let world = world(config()).await;
    for path in READS {
        assert_eq!(world.get(path).await.0, StatusCode::OK, "{path}");
        assert_eq!(from_elsewhere(&world, "GET", path, &[]).await, StatusCode::FORBIDDEN, "{path}");
    }
    for (name, path) in WRITES {
        let (status, body) = answer(world.ask(method(name), path)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(body["error"].as_str().unwrap().contains("server.admin_token_file"), "{body}");
        assert_eq!(from_elsewhere(&world, name, path, &[]).await, StatusCode::FORBIDDEN);
    }
    for path in OPEN {
        assert!(from_elsewhere(&world, "GET", path, &[]).await.as_u16() < 400, "{path}");
    }
    assert_eq!(world.reloads.load(Relaxed), 0);
}

/// An address of this machine that is not loopback, where there is one.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing, only asks for a route.
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test]
async fn w26_over_the_network_nothing_but_health_is_answered_without_a_token() {
    let Some(ip) = own_address() else { return eprintln!("skipped: no address but loopback") };
    let mut config = config();
    config.server.api_host = "0.0.0.0".parse().unwrap();
    let world = world(config).await;
    let port = world.api.addresses().await[0].port();
    for (path, expected) in
        [("/livez", 200), ("/api/v1/health", 200), ("/api/v1/config", 403), ("/api/v1/dlq/files", 403)]
    {
        let response = world.client().get(format!("http://{ip}:{port}{path}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{path}");
        assert!(!response.text().await.unwrap().contains("plugins"));
    }
}

#[tokio::test]
async fn w26_what_comes_through_a_proxy_or_a_browser_is_not_the_machine_itself() {
    let world = world(config()).await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
        ("via", "1.1 edge"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-external-address", "203.0.113.9"),
        ("host", "rebound.example:8008"),
    ] {
        let request = world.ask(Method::GET, "/api/v1/config").header(name, value);
        assert_eq!(answer(request).await.0, StatusCode::FORBIDDEN, "{name}");
    }
    for host in ["localhost:8008", "127.0.0.1"] {
        let request = world.ask(Method::GET, "/api/v1/config").header("host", host);
        assert_eq!(answer(request).await.0, StatusCode::OK, "{host}");
    }
}

/// A proxy on the machine may forward requests without a sign of it.
#[tokio::test]
async fn w26_what_senders_sent_takes_a_token_even_on_the_machine_itself() {
    let entry = "/api/v1/dlq/files/acme/web/acme--web--1767225600000000001--raw";
    let open = world(config()).await;
    for path in [entry.to_owned(), format!("{entry}/download")] {
        let (status, body) = open.get(&path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(body["error"].as_str().unwrap().contains("server.read_token_file"), "{body}");
    }
    assert_eq!(open.get("/api/v1/dlq/files").await.0, StatusCode::OK);
    let guarded = world(guarded()).await;
    let request = guarded.ask(Method::GET, entry).bearer_auth("read-secret");
    assert_eq!(answer(request).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn w26_h51_tokens_divide_reading_from_changing() {
    let world = world(guarded()).await;
    for (token, reads, writes) in [
        (None, StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        (Some("wrong"), StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        (Some(""), StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
        (Some("read-secret"), StatusCode::OK, StatusCode::FORBIDDEN),
        (Some("admin-secret"), StatusCode::OK, StatusCode::OK),
    ] {
        let with = |method: &str, path: &str| {
            let request = world.ask(self::method(method), path);
            answer(match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            })
        };
        for path in READS {
            assert_eq!(with("GET", path).await.0, reads, "{path} with {token:?}");
        }
        assert_eq!(with("POST", "/api/v1/config/reload").await.0, writes, "{token:?}");
    }
    assert_eq!(world.reloads.load(Relaxed), 1);
    let response = world.ask(Method::GET, "/api/v1/config").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(
        from_elsewhere(&world, "GET", "/api/v1/config", &[("authorization", "bearer read-secret")]).await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn w30_a_token_file_is_read_at_each_request_and_an_empty_one_admits_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let mut config = config();
    config.server.read_token = Some(Secret::File(file.clone()));
    let world = world(config).await;
    let with = |token: &'static str| answer(world.ask(Method::GET, "/api/v1/config").bearer_auth(token));
    assert_eq!(with("").await.0, StatusCode::UNAUTHORIZED);
    for (content, token, expected) in [
        ("\n", "", StatusCode::UNAUTHORIZED),
        ("one\n", "one", StatusCode::OK),
        ("two\n", "one", StatusCode::UNAUTHORIZED),
        ("two\n", "two", StatusCode::OK),
    ] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(with(token).await.0, expected, "{content:?} {token:?}");
    }
}

#[tokio::test]
async fn h51_w30_no_secret_is_in_any_answer() {
    let world = world(guarded()).await;
    for path in READS.into_iter().chain(OPEN) {
        let response = world.ask(Method::GET, path).bearer_auth("admin-secret").send().await.unwrap();
        let text = response.text().await.unwrap();
        for secret in SECRETS.into_iter().chain(["url-secret"]) {
            assert!(!text.contains(secret), "{path} shows {secret}: {text}");
        }
    }
    let (_, config) = answer(world.ask(Method::GET, "/api/v1/config").bearer_auth("read-secret")).await;
    assert_eq!(config["bearer_token"], "********");
    assert_eq!(config["tenants"]["acme"]["bearer_token"], "********");
    assert_eq!(config["plugins"]["plugin_details"][1]["config"]["auth"]["token"], "********");
    assert_eq!(config["server"]["admin_token"], "********");
    assert_eq!(config["receiver"]["base_url"], "http://127.0.0.1:9");
    assert_eq!(config["plugins"]["plugin_details"][0]["config"]["port"], 2055);
    assert_eq!(config["spooling"]["dlq_max_size_bytes"], 0);
}

#[tokio::test]
async fn the_health_port_has_nothing_else_and_needs_no_token() {
    let mut config = guarded();
    config.server.health_port = Some(0);
    let world = world(config).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(
            world.client().get(world.health_url(path)).send().await.unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }
    for path in READS.into_iter().chain(["/", "/v1/docs", "/api/v1/health", "/api/v1/dlq/files"]) {
        let request = world.client().get(world.health_url(path)).bearer_auth("admin-secret");
        assert_eq!(answer(request).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_api_port_speaks_tls_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, signed.cert.pem()).unwrap();
    std::fs::write(&key_file, signed.signing_key.serialize_pem()).unwrap();
    let mut config = guarded();
    config.server.tls =
        Some(ServerTls { cert_file, key_file, client_ca_file: None, client_cert_required: false });
    let world = world(config).await;
    let (status, _) = answer(world.ask(Method::GET, "/api/v1/status").bearer_auth("read-secret")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_reload_opens_and_closes_ports_and_swaps_tokens() {
    let world = world(config()).await;
    let before = world.api.addresses().await;
    world.change(|running| {
        running.config.server = guarded().server;
        running.config.server.health_port = Some(0);
    });
    world.api.apply().await.unwrap();
    let after = world.api.addresses().await;
    assert_eq!((after.len(), after[0]), (2, before[0]));
    assert_eq!(world.get("/api/v1/config").await.0, StatusCode::UNAUTHORIZED);
    world.api.stop().await;
    assert!(world.client().get(world.url("/livez")).send().await.is_err());
}

/// A reload that cannot have the new address does not take the API away.
#[tokio::test]
async fn the_api_stays_where_it_is_until_it_can_move() {
    let world = world(config()).await;
    let before = world.api.addresses().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    world.change(|running| running.config.server.api_port = port);
    let problem = world.api.apply().await.unwrap_err();
    assert!(
        problem.contains(&format!("goes on at {}", before[0])) && problem.contains(&port.to_string()),
        "{problem}"
    );
    assert_eq!(world.api.addresses().await, before);
    assert_eq!(world.get("/livez").await.0, StatusCode::OK);
    drop(taken);
    world.api.apply().await.unwrap();
    let now = world.api.addresses().await;
    assert_eq!(now[0].port(), port);
    let url = format!("http://{}/livez", now[0]);
    assert!(world.client().get(url).send().await.unwrap().status().is_success());
    // The same port under a wider address: both cannot be at a time, and it comes back.
    world.change(|running| running.config.server.api_host = [0, 0, 0, 0].into());
    world.api.apply().await.unwrap();
    assert_eq!(world.api.addresses().await, [([0, 0, 0, 0], port).into()]);
    // Certificates that are not there.
    let nowhere = std::path::PathBuf::from("/nowhere");
    world.change(|running| {
        running.config.server.tls = Some(ServerTls {
            cert_file: nowhere.clone(),
            key_file: nowhere.clone(),
            client_ca_file: None,
            client_cert_required: false,
        });
    });
    assert!(world.api.apply().await.unwrap_err().contains("/nowhere"));
    let url = format!("http://127.0.0.1:{port}/livez");
    assert!(world.client().get(&url).send().await.unwrap().status().is_success(), "without TLS as before");
    // The same with an address that needs the port of the present one.
    world.change(|running| running.config.server.api_host = [127, 0, 0, 1].into());
    assert!(world.api.apply().await.unwrap_err().contains("/nowhere"));
    assert!(world.client().get(&url).send().await.unwrap().status().is_success(), "where it was");
}

/// Where the present address is in the way of the new one.
#[tokio::test]
async fn the_api_is_back_where_it_was_when_it_cannot_move() {
    let world = world(config()).await;
    let before = world.api.addresses().await;
    let port = before[0].port();
    let Ok(squatter) = std::net::TcpListener::bind(("127.0.0.2", port)) else { return };
    world.change(|running| {
        (running.config.server.api_host, running.config.server.api_port) = ([0, 0, 0, 0].into(), port);
    });
    for _ in 0..2 {
        let problem = world.api.apply().await.unwrap_err();
        assert!(problem.contains(&format!("goes on at {}", before[0])), "{problem}");
        assert_eq!(world.api.addresses().await, before);
        assert_eq!(world.get("/livez").await.0, StatusCode::OK);
    }
    // Once it is elsewhere, the way is free.
    drop(squatter);
    world.change(|running| running.config.server.api_host = [127, 0, 0, 1].into());
    world.api.apply().await.unwrap();
    world.change(|running| running.config.server.api_host = [0, 0, 0, 0].into());
    world.api.apply().await.unwrap();
    assert_eq!(world.api.addresses().await, [([0, 0, 0, 0], port).into()]);
    // An address that this machine does not have.
    world.change(|running| running.config.server.api_host = [192, 0, 2, 7].into());
    let problem = world.api.apply().await.unwrap_err();
    assert!(problem.contains("192.0.2.7 cannot be had"), "{problem}");
    assert_eq!(world.api.addresses().await, [([0, 0, 0, 0], port).into()]);
    assert_eq!(world.get("/livez").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_api_and_its_health_port_exchange_places() {
    let mut config = config();
    config.server.health_port = Some(0);
    let world = world(config).await;
    let before = world.api.addresses().await;
    world.change(|running| {
        running.config.server.api_port = before[1].port();
        running.config.server.health_port = Some(before[0].port());
    });
    world.api.apply().await.unwrap();
    assert_eq!(world.api.addresses().await, [before[1], before[0]]);
    let status = async |address: std::net::SocketAddr| {
        let url = format!("http://{address}/api/v1/status");
        world.client().get(url).send().await.unwrap().status()
    };
    assert_eq!((status(before[1]).await, status(before[0]).await), (StatusCode::OK, StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn wrong_paths_methods_and_bodies_are_answered_in_json() {
    let world = world(guarded()).await;
    let admin = |method: &str, path: &str| world.ask(self::method(method), path).bearer_auth("admin-secret");
    for (method, path, expected, word) in [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("POST", "/api/v1/config", 405, "UNIMPLEMENTED"),
        ("GET", "/api/v1/status?nonsense=1", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/v1/status?wait=soon", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/v1/senders?tenant_id=..", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/v1/senders?limit=many", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/v1/exporters?dataset_id=..", 400, "INVALID_ARGUMENT"),
        ("GET", "/api/v1/exporters?router=1", 400, "INVALID_ARGUMENT"),
    ] {
        let (status, body) = answer(admin(method, path)).await;
        assert_eq!(
            (status.as_u16(), body["status"].as_str()),
            (expected, Some(word)),
            "{method} {path}: {body}"
        );
        assert!(!body["error"].as_str().unwrap().is_empty());
    }
    let (status, body) = answer(admin("POST", "/api/v1/dlq/retry").body(vec![b' '; 2 << 20])).await;
    assert_eq!((status, body["status"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("INVALID_ARGUMENT")));
    let options = admin("OPTIONS", "/api/v1/config").send().await.unwrap();
    assert_eq!(options.status(), StatusCode::NO_CONTENT);
    assert!(options.headers()["allow"].to_str().unwrap().contains("GET"));
    let head = admin("HEAD", "/api/v1/config").send().await.unwrap();
    assert_eq!((head.status(), head.bytes().await.unwrap().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn the_documentation_is_whole_and_needs_nothing_from_elsewhere() {
    let world = world(guarded()).await;
    let root = world.ask(Method::GET, "/").send().await.unwrap();
    assert_eq!((root.status().as_u16(), root.headers()["location"].to_str().unwrap()), (302, "/v1/docs"));
    let page = world.ask(Method::GET, "/v1/docs").send().await.unwrap().text().await.unwrap();
    assert!(
        !page.contains("http://") && !page.contains("https://") && page.contains("/v1/docs/openapi.json")
    );
    let (_, api) = world.get("/v1/docs/openapi.json").await;
    for path in READS
        .into_iter()
        .chain(OPEN)
        .chain(["/api/v1/dlq/stats", "/api/v1/dlq/files/{tenant}/{dataset}/{name}/download"])
    {
        assert!(api["paths"].get(path).is_some(), "{path}");
    }
    let text = api.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#/components/schemas/") {
        let name = text[at..].split('/').nth(3).unwrap().split('"').next().unwrap();
        assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_checked_in_openapi_document_is_the_present_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
    let now = openapi::openapi_json();
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "docs/reference/openapi.json is out of date; UPDATE=1 cargo test writes it");
    serde_json::from_str::<Value>(now).unwrap();
}
