//! Listeners that are shared, and inputs that stand in each other's way.

use bytefreezer_proxy::inputs::InputState;

use crate::rig::{Rig, from, http, on_host, sender, tcp, udp, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_input_is_reported_and_the_rest_run() {
    let rig = Rig::start(vec![
        udp("first"),
        udp("same-port"),
        on_host(udp("elsewhere"), "127.0.0.2"),
        on_host(udp("nowhere"), "192.0.2.1"),
        tcp("stream"),
        http("not-a-stream"),
    ])
    .await;
    let state = |name| rig.status(name).state;
    assert_eq!(["first", "elsewhere", "stream"].map(state), [InputState::Listening; 3]);
    assert_eq!(["same-port", "not-a-stream"].map(state), [InputState::Rejected; 2]);
    assert!(rig.status("same-port").error.unwrap().contains("\"first\""));
    assert!(rig.status("not-a-stream").error.unwrap().contains("\"stream\""));
    let nowhere = rig.status("nowhere");
    assert_eq!(nowhere.state, InputState::Retrying);
    assert!(nowhere.error.unwrap().contains("`host` must be an address of this machine"));
    sender("127.0.0.1", rig.address("first", "udp")).send(b"works").unwrap();
    rig.wait_lines("first", 1).await;
    assert!(rig.lines("same-port").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_are_known_by_input_and_address() {
    let rig = Rig::start(vec![udp("seen")]).await;
    for source in ["127.0.0.1", "127.0.0.2"] {
        sender(source, rig.address("seen", "udp")).send(b"hello").unwrap();
    }
    rig.wait_lines("seen", 2).await;
    let rows = rig.senders.query(&bytefreezer_proxy::inputs::senders::SenderQuery::default());
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_sender_shows_on_its_listener() {
    let rig =
        Rig::start(vec![from(udp("datagrams"), &["192.0.2.0/24"]), from(tcp("stream"), &["192.0.2.0/24"])])
            .await;
    sender("127.0.0.1", rig.address("datagrams", "udp")).send(b"who is this").unwrap();
    drop(std::net::TcpStream::connect(rig.address("stream", "tcp")).unwrap());
    let listeners = until("both refused", || {
        let listeners = rig.supervisor.listeners();
        let all = listeners.iter().all(|listener| listener.refused.get("source") == Some(&1));
        if all { Ok(listeners) } else { Err(listeners) }
    })
    .await;
    let shown: Vec<_> = listeners.iter().map(|listener| (listener.kind, listener.address.clone())).collect();
    let expected = [("udp", "datagrams"), ("tcp", "stream")]
        .map(|(kind, name)| (kind, format!("{kind} {}", rig.address(name, kind))));
    assert_eq!(shown, expected);
    assert!(
        rig.metric("bytefreezer_proxy_listener_refused_total{listener=\"udp ")
            .is_some_and(|refused| refused == 1)
    );
    assert!(rig.status("datagrams").refused.is_empty() && rig.status("stream").refused.is_empty());
}
