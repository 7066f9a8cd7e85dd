//! Before and after the first document.

use super::*;

#[test]
fn without_a_document_it_lives_says_what_it_waits_for_and_starts_with_the_first_one() {
    let mut pod = Pod::new();
    let health = free_port().unwrap();
    pod.proxy.env("BYTEFREEZER_PROXY_SERVER_API_HOST", "127.0.0.1");
    pod.proxy.env("BYTEFREEZER_PROXY_SERVER_HEALTH_PORT", &health.to_string());
    pod.proxy.spawn().unwrap();
    let ask = |path: &str| Client::new(([127, 0, 0, 1], health).into()).get(path).ok();
    let says = |text: &str| {
        until(LIMIT, text, || ask("/readyz").filter(|answer| answer.text().contains(text)))
            .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", ask("/readyz"), pod.proxy.log_text()))
    };
    let answer = says("there is neither this file nor");
    assert!(
        answer.status == 503 && answer.text().contains("waiting for a configuration"),
        "{}",
        answer.text()
    );
    assert_eq!(ask("/livez").unwrap().status, 200);

    // One that cannot be used is no end either.
    pod.mount.document(&json!({"schema_version": 1, "receiver": {"base_url": "nonsense"}}));
    let answer = says("receiver.base_url");
    assert!(answer.status == 503 && answer.text().contains("config.yaml:"), "{}", answer.text());

    // An empty one is one.
    let document = pod.document(&json!([]), &json!({}));
    pod.mount.document(&document);
    let ready = || ask("/readyz").filter(|answer| answer.status == 200);
    until(LIMIT, "readiness", ready).unwrap_or_else(|error| panic!("{error}\n{}", pod.proxy.log_text()));
    let status = pod.status();
    assert_eq!((&status["inputs"], &status["problems"]), (&json!([]), &json!([])), "{status:#}");
    assert_eq!(status["schema_version"], 1);
    assert!(!pod.proxy.log_text().contains("\"WARN\""), "{}", pod.proxy.log_text());
    assert!(pod.proxy.terminate(LIMIT).unwrap().success());
    assert_eq!(pod.words(), json!({"ended": "SIGTERM", "undelivered_bytes": 0}));
}

#[test]
fn a_signal_ends_the_wait_and_the_spool_is_not_known() {
    let mut pod = Pod::new();
    pod.proxy.spawn().unwrap();
    until(LIMIT, "the wait", || pod.proxy.log_text().contains("waiting for a configuration").then_some(()))
        .unwrap();
    assert!(pod.proxy.terminate(LIMIT).unwrap().success());
    let words = pod.words();
    assert_eq!(words["undelivered_bytes"], Value::Null);
    assert!(words["ended"].as_str().unwrap().contains("before there was a configuration"), "{words}");
}

#[test]
fn it_is_ready_although_its_only_port_is_taken_and_the_status_says_by_which_error() {
    let port = free_port().unwrap();
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let pod = Pod::start(&json!([hooks("net/hooks", port, &json!({}))]), &json!({}));
    let input = pod.wait("net/hooks", "retrying", |input| input["state"] == "retrying");
    assert_eq!((&input["error_kind"], &input["errno"]), (&json!("in_use"), &json!(98)), "{input}");
    assert!(input["error"].as_str().unwrap().contains("ss -lntp"), "{input}");
    assert_eq!(pod.proxy.get("/readyz").unwrap().status, 200);
    drop(squatter);
    let healed = pod.wait("net/hooks", "listening", |input| input["state"] == "listening");
    assert_eq!((&healed["error_kind"], &healed["errno"]), (&Value::Null, &Value::Null));
    assert_eq!(healed["hash"], input["hash"]);
}
