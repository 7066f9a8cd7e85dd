//! When pods are touched.

use tokio::time::{Instant, sleep};

use super::{
    super::{
        follower::Heard,
        refresh::{Debtor, refresh},
    },
    *,
};
use crate::mock;

fn heard(document: &str) -> Heard {
    Heard { said: Some(Said { document: document.to_owned(), ..Said::default() }), silence: None }
}

fn owes(heard: &Heard) -> bool {
    heard.said.as_ref().is_none_or(|said| said.document != "d2")
}

/// Two pods with document `d1`, and what becomes known of them.
fn debtors() -> (Vec<Debtor>, Vec<watch::Sender<Heard>>) {
    let pods = ["edge-0", "edge-1"].map(|pod| {
        let (known, heard) = watch::channel(heard("d1"));
        (Debtor { pod: pod.to_owned(), uid: format!("uid-of-{pod}"), heard }, known)
    });
    pods.into_iter().unzip()
}

#[tokio::test(start_paused = true)]
async fn those_who_owe_are_touched_four_times_and_then_left_to_the_kubelet() {
    let (client, asked) = mock::server(|_, _| None);
    let (debtors, known) = debtors();
    let start = Instant::now();
    let pays = async {
        sleep(Duration::from_secs(3)).await;
        known[0].send_replace(heard("d2"));
    };
    tokio::join!(refresh(Api::namespaced(client, "net"), "d2".to_owned(), debtors, owes), pays);
    assert_eq!(start.elapsed().as_secs(), 15);
    let asked = asked.lock();
    let of = |pod: &str| -> Vec<Json> {
        let all = asked
            .iter()
            .filter(|(line, _)| line.starts_with(&format!("PATCH /api/v1/namespaces/net/pods/{pod}?")));
        all.map(|(_, body)| body["metadata"]["annotations"]["bytefreezer.com/refresh"].clone()).collect()
    };
    assert_eq!(of("edge-0"), ["d2-0", "d2-1"]);
    assert_eq!(of("edge-1"), ["d2-0", "d2-1", "d2-2", "d2-3"]);
    assert_eq!(asked[0].1["metadata"]["uid"], "uid-of-edge-0", "and no later pod of that name");
    assert_eq!(asked.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn who_owes_nothing_is_not_touched() {
    let (client, asked) = mock::server(|_, _| None);
    let (debtors, known) = debtors();
    for pod in &known {
        pod.send_replace(heard("d2"));
    }
    refresh(Api::namespaced(client, "net"), "d2".to_owned(), debtors, owes).await;
    assert!(asked.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_or_an_api_server_that_fails_is_no_trouble() {
    for code in [404, 409, 500] {
        let (client, asked) = mock::server(move |_, _| Some(mock::status(code, "No")));
        let (debtors, _known) = debtors();
        refresh(Api::namespaced(client, "net"), "d2".to_owned(), debtors, owes).await;
        assert_eq!(asked.lock().len(), 8, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_document_again_writes_nothing() {
    let (client, asked) = mock::server(|_, _| None);
    let (changed, _changes) = mpsc::channel(4);
    let followers = Followers::new(client, changed);
    let (access, ..) = access();
    followers.follow(&edge(), &access, &[pod("edge-0", "u0", None)]);
    for _ in 0..10 {
        followers.refresh(&edge(), "d2");
        sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(asked.lock().len(), 4);
    followers.refresh(&edge(), "d3");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(asked.lock().len(), 8, "another one does");
}
