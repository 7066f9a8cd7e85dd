//! Listeners that are shared, and inputs that stand in each other's way.

use bytefreezer_proxy::inputs::InputState;

use crate::rig::{Rig, http, on_host, sender, tcp, udp};

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
