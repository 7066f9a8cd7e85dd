//! The API behind the mounted Secret: certificate, read token, admin token; and health without any.

use std::{fs, path::Path};

use super::*;

/// The Secret's content.
fn secret(folder: &Path, read: &str, admin: &str) -> Vec<(&'static str, Vec<u8>)> {
    certificate(folder);
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    vec![
        ("tls.crt", file("tls.crt")),
        ("tls.key", file("tls.key")),
        ("read-token", read.into()),
        ("admin-token", format!("{admin}\n").into_bytes()),
    ]
}

#[test]
fn tokens_and_certificate_follow_the_mounted_secret_and_a_wrong_token_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for folder in [&first, &second] {
        fs::create_dir(folder).unwrap();
    }
    let mut api = Mount::new(folder.path(), "api");
    api.write(&secret(&first, "read-1", "admin-1"));
    let health = free_port().unwrap();
    let port = free_port().unwrap();
    let path = |name: &str| api.path(name).display().to_string();
    let mut pod = Pod::new();
    let document = pod.document(
        &json!([udp("net/fw", port)]),
        &json!({"server": {
            "health_port": health, "admin_token": null,
            "read_token_file": path("read-token"), "admin_token_file": path("admin-token"),
            "tls": {"cert_file": path("tls.crt"), "key_file": path("tls.key")},
        }}),
    );
    pod.mount.document(&document);
    pod.proxy.spawn().unwrap();
    let mut client = Client::new(([127, 0, 0, 1], health).into());
    let mut get = |path: &str| client.get(path).map_or(0, |answer| answer.status);
    until(LIMIT, "readiness", || (get("/readyz") == 200).then_some(()))
        .unwrap_or_else(|error| panic!("{error}\n{}", pod.proxy.log_text()));
    assert_eq!((get("/livez"), get("/metrics"), get("/api/v1/status")), (200, 200, 404));

    let ask = |ca: &Path, token: &str, post: bool| {
        let ca = ca.join("ca.crt").display().to_string();
        let header = format!("authorization: Bearer {token}");
        let path = if post { "/api/v1/config/reload" } else { "/api/v1/status" };
        let url = format!("https://localhost:{}{path}", pod.proxy.api().port());
        let method = if post { "POST" } else { "GET" };
        peers::curl(&["--ipv4", "--cacert", &ca, "-H", &header, "-X", method], &url)
            .map_or(0, |answer| answer.0)
    };
    let all = |ca: &Path, read: &str, admin: &str| {
        [(read, false), (read, true), (admin, false), (admin, true), ("wrong", false), ("wrong", true)]
            .map(|(token, post)| ask(ca, token, post))
    };
    let wanted = [200, 403, 200, 200, 401, 401];
    assert_eq!(all(&first, "read-1", "admin-1"), wanted);
    // What is neither shown nor meant for changing changes nothing.
    let inodes = udp_inodes(port);
    let generation =
        |status: &str| serde_json::from_str::<Value>(status).unwrap()["config_generation"].as_u64().unwrap();
    let status = |ca: &Path, token: &str| {
        let ca = ca.join("ca.crt").display().to_string();
        let header = format!("authorization: Bearer {token}");
        let url = format!("https://localhost:{}/api/v1/status", pod.proxy.api().port());
        peers::curl(&["--ipv4", "--cacert", &ca, "-H", &header], &url).unwrap().1
    };
    assert_eq!(generation(&status(&first, "read-1")), 1);

    // A swap of the mounted folder, no reload, no restart.
    let pid = pod.proxy.pid().unwrap();
    api.write(&secret(&second, "read-2", "admin-2"));
    until(LIMIT, "the new certificate and tokens", || {
        (all(&second, "read-2", "admin-2") == wanted).then_some(())
    })
    .unwrap_or_else(|error| {
        panic!("{error}: {:?}\n{}", all(&second, "read-2", "admin-2"), pod.proxy.log_text())
    });
    assert_eq!(ask(&second, "read-1", false), 401, "the old one");
    assert_eq!(ask(&first, "read-2", false), 0, "the old authority");
    // An empty or missing token admits nobody.
    let mut emptied = secret(&second, "", "admin-2");
    emptied.pop();
    api.write(&emptied);
    until(LIMIT, "no token", || {
        (ask(&second, "admin-2", false) == 401 && ask(&second, "", false) == 401).then_some(())
    })
    .unwrap();
    assert_eq!((pod.proxy.pid().unwrap(), udp_inodes(port)), (pid, inodes));
}
