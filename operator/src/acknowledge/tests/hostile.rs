//! Peers that are no proxies, or proxies of somebody else.

use tokio::time::{Instant, timeout};

use super::{super::ask::ask, *};

async fn asked(habit: Habit) -> Result<super::super::wire::Answer, Why> {
    let (access, certificate, key) = access();
    let server = Server::start(&certificate, &key, habit).await;
    let start = Instant::now();
    let answer = timeout(Duration::from_secs(20), ask(server.address, &access, None, short())).await;
    let answer = answer.expect("every question ends");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    answer
}

fn says(head: &str, body: &str) -> Habit {
    Habit::Says(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn a_proxy_is_understood() {
    let answer = asked(Habit::Proxy(state("1", "a"))).await.unwrap();
    assert_eq!(answer.said.inputs[&web()].hash, "a");
}

#[tokio::test]
async fn every_other_peer_is_told_apart_in_bounded_time() {
    let long = " ".repeat(2 << 20);
    let cases = [
        (Habit::HangsBeforeTls, Why::Timeout),
        (Habit::HangsAfterTls, Why::Timeout),
        (Habit::Stalls, Why::Timeout),
        (Habit::SaysWithoutTls("SSH-2.0-OpenSSH_10.0\r\n"), Why::Tls),
        (Habit::Closes, Why::Broken),
        (Habit::ClosesAfterTls, Why::Broken),
        (Habit::Endless, Why::Garbage),
        (Habit::EndlessHead, Why::Garbage),
        (Habit::Says("hello\r\n\r\n".to_owned()), Why::Garbage),
        (says("200 OK", "{}"), Why::Garbage),
        (says("200 OK", "<html>"), Why::Garbage),
        (says("200 OK", &format!("{}{long}", state("1", "a"))), Why::Garbage),
        (says("401 Unauthorized", ""), Why::Unauthorized),
        (says("403 Forbidden", ""), Why::Unauthorized),
        (says("503 Service Unavailable", ""), Why::Status(503)),
        (says("302 Found\r\nlocation: /elsewhere", ""), Why::Status(302)),
    ];
    for (habit, why) in cases {
        assert_eq!(asked(habit.clone()).await, Err(why), "{habit:?}");
    }
}

#[tokio::test]
async fn another_certificate_is_refused_before_the_token_is_sent() {
    let (access, ..) = access();
    let (_, certificate, key) = self::access();
    let server = Server::start(&certificate, &key, Habit::Proxy(state("1", "a"))).await;
    assert_eq!(ask(server.address, &access, None, short()).await, Err(Why::Tls));
    assert!(server.asked.lock().is_empty());
}

#[tokio::test]
async fn nobody_and_nowhere_are_told_apart() {
    let (access, certificate, key) = access();
    let server = Server::start(&certificate, &key, Habit::Closes).await;
    let address = server.address;
    drop(server);
    // The listener closes when its task is gone, a moment later.
    let refused = crate::mock::eventually(|| async {
        let answer = ask(address, &access, None, short()).await;
        (answer == Err(Why::Refused)).then_some(())
    });
    refused.await;
}
