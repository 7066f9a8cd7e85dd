//! Who sends.

use super::*;

#[tokio::test]
async fn w31_datasets_on_one_path_are_told_apart_by_their_senders() {
    let only = |sources: &[&str]| sources.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>();
    let running = start(vec![
        input("two", |input, _| input.allowed_sources = only(&["127.0.0.2/32"])),
        input("three", |input, _| input.allowed_sources = only(&["127.0.0.0/29"])),
        input("free", |_, http| http.path = "/free".to_owned()),
    ]);
    for (source, status) in [("127.0.0.2", 200), ("127.0.0.3", 200), ("127.0.0.9", 403)] {
        let mut client = Client::from(source, running.address).await;
        assert_eq!(client.post("/webhook", "", source).await.status, status, "{source}");
        assert_eq!(client.post("/free", "", source).await.status, 200);
    }
    assert_eq!(running.store.stored("two"), "127.0.0.2\n");
    assert_eq!(running.store.stored("three"), "127.0.0.3\n");
    assert_eq!(running.stats[0].refused(Refusal::Source), 1);
}

/// W-31: a sender whom nobody admits is told so and holds no connection, nor do all such together hold them all.
#[tokio::test]
async fn w31_strangers_get_one_answer_and_leave_connections_for_senders() {
    let web = input("web", |input, _| input.allowed_sources = vec!["127.0.0.2/32".parse().unwrap()]);
    let settings = AcceptSettings { max_connections: 8, ..AcceptSettings::default() };
    let running = start_with(vec![web], "127.0.0.1", settings, 64 << 20);
    for request in
        ["GET /health HTTP/1.1\r\nHost: x\r\n\r\n".into(), post("/webhook", "", "a"), post("/no", "", "a")]
    {
        let mut stranger = Client::from("127.0.0.3", running.address).await;
        stranger.send(request).await;
        let reply = stranger.reply().await.unwrap();
        assert!(reply.head.to_ascii_lowercase().contains("connection: close"), "{}", reply.head);
        assert!(stranger.is_closed().await);
    }
    let mut silent = Vec::new();
    for last in 3..=14 {
        silent.push(Client::from(&format!("127.0.0.{last}"), running.address).await);
    }
    until("those above the share are closed", || running.stats[0].refused(Refusal::Connections) >= 6).await;
    let mut sender = Client::from("127.0.0.2", running.address).await;
    assert_eq!(sender.post("/webhook", "", "a").await.status, 200);
    assert_eq!(sender.post("/webhook", "", "b").await.status, 200);
}

#[tokio::test]
async fn paths_are_exact_unless_they_end_in_a_slash_and_the_longest_decides() {
    let at = |dataset: &str, path: &str| input(dataset, |_, http| path.clone_into(&mut http.path));
    let running = start(vec![
        at("all", "/in/"),
        at("app", "/in/app/"),
        at("exact", "/in/app/one"),
        input("closed", |input, http| {
            http.path = "/in/closed/".to_owned();
            input.allowed_sources = vec!["192.0.2.0/24".parse().unwrap()];
        }),
    ]);
    for (path, dataset) in
        [("/in/", "all"), ("/in/x", "all"), ("/in/app/two?q=1", "app"), ("/in/app/one", "exact")]
    {
        running.store.0.text.lock().clear();
        assert_eq!(once(&running, post(path, "", path)).await.status, 200);
        assert_eq!(running.store.stored(dataset), format!("{path}\n"));
    }
    assert_eq!(once(&running, post("/in", "", "a")).await.status, 404);
    assert_eq!(once(&running, post("/in/closed/x", "", "a")).await.status, 403);
    assert_eq!(once(&running, post("http://host/in/x", "", "a")).await.status, 200);
}

#[tokio::test]
async fn ipv4_senders_of_an_ipv6_listener_keep_their_address() {
    let web = input("web", |input, _| input.format = DataFormat::Text);
    let running = start_with(vec![web], "::", AcceptSettings::default(), 64 << 20);
    for host in ["127.0.0.1", "::1"] {
        running.store.0.text.lock().clear();
        let host: IpAddr = host.parse().unwrap();
        let mut client = Client::to(SocketAddr::new(host, running.address.port())).await;
        assert_eq!(client.post("/webhook", "", "a").await.status, 200);
        assert!(running.store.stored("web").contains(&format!("\"source_ip\":\"{host}\"")));
    }
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x03\xe8\0\x50";

fn behind(proxies: &str) -> Running {
    let settings = AcceptSettings {
        proxy_protocol_from: vec![proxies.parse().unwrap()],
        handshake_timeout: Duration::from_secs(10),
        ..AcceptSettings::default()
    };
    let web = input("web", |input, _| input.format = DataFormat::Text);
    start_with(vec![web], "127.0.0.1", settings, 64 << 20)
}

#[tokio::test]
async fn the_header_of_a_listed_proxy_names_the_sender() {
    let running = behind("127.0.0.0/8");
    for header in [V1, V2] {
        running.store.0.text.lock().clear();
        let request = [header, &post("/webhook", "", "a")].concat();
        assert_eq!(once(&running, &request).await.status, 200);
        assert!(running.store.stored("web").contains("\"source_ip\":\"192.0.2.7\""));
    }
    let mut without = Client::to(running.address).await;
    without.send(post("/webhook", "", "a")).await;
    assert!(without.is_closed().await);
    until("counted", || running.stats[0].refused(Refusal::Handshake) == 1).await;
}

#[tokio::test]
async fn w31_a_peer_outside_the_list_cannot_name_another_sender() {
    let running = behind("192.0.2.0/24");
    for header in [V1, V2] {
        let request = [header, &post("/webhook", "", "spoof")].concat();
        let mut client = Client::to(running.address).await;
        client.send(request).await;
        if let Some(reply) = client.reply().await {
            assert_eq!(reply.status, 400);
        }
        assert!(client.is_closed().await);
    }
    assert_eq!(running.store.stored("web"), "");
    assert_eq!(once(&running, post("/webhook", "", "a")).await.status, 200);
    assert!(running.store.stored("web").contains("\"source_ip\":\"127.0.0.1\""));
}
