//! One event, one name: lost answers and limits, files that vanish, names that clash.

use std::{sync::Arc, time::Duration};

use super::{
    receiver::{Act, FakeReceiver},
    site::{Plan, Site, key, taken, until},
};
use crate::{
    deliver::{client::Clients, worker::Link},
    ids::{DatasetId, TenantId},
    spool::{Reason, State},
};

/// The limit and patience of a reload.
fn limit(site: &Site, url: &str, max_payload_size: u64) {
    let receiver = super::upload::settings(url);
    let clients = Clients::new(&receiver, "test/1");
    site.deliverer.shared.worker.link.store(Arc::new(Link { clients, max_payload_size, retry_attempts: 3 }));
}

fn names(fake: &FakeReceiver) -> Vec<String> {
    let mut names: Vec<_> =
        fake.seen().iter().map(|request| request.header("x-proxy-filename").to_owned()).collect();
    names.dedup();
    names
}

/// The Receiver stored a batch and its answer was lost; then our limit is lowered, with and without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn w22_a_batch_that_the_receiver_may_have_is_not_cut_for_a_limit_of_ours() {
    for restart in [false, true] {
        let fake = FakeReceiver::new(|_| Act::Hang).await;
        let mut plan = Plan::new(&fake.url);
        plan.receiver.timeout = Duration::from_millis(500);
        let (dir, spooling) = (plan.dir.clone(), plan.spooling.clone());
        let mut site = plan.start();
        site.send_padded("a/one", 200, 500).await;
        until("the whole batch was sent", || fake.seen().iter().any(|request| request.whole)).await;
        if restart {
            site.deliverer.stop(Duration::ZERO).await;
            drop(site);
            let mut plan = Plan::new(&fake.url);
            (plan.dir, plan.spooling) = (dir, spooling);
            plan.receiver.max_payload_size = 20_000;
            fake.script(|_| Act::ok());
            site = plan.start();
        } else {
            site.circuit("receiver", "timeout").await;
            fake.script(|_| Act::ok());
            limit(&site, &fake.url, 20_000);
        }
        site.delivered(200).await;
        assert_eq!(names(&fake).len(), 1, "restart {restart}: {:?}", names(&fake));
        site.send_padded("a/two", 200, 500).await;
        site.delivered(400).await;
        let two = fake.of("a/two");
        assert!(
            two.len() > 1 && two.iter().all(|request| request.body.len() <= 20_000),
            "what is new is cut"
        );
    }
}

/// Two processes shared the folder: the other one closed and sent a batch after this one had begun, and left it here.
#[tokio::test(flavor = "multi_thread")]
async fn w22_a_batch_that_another_process_named_is_not_cut_for_a_limit_of_ours() {
    let fake = FakeReceiver::new(|_| Act::Hang).await;
    let plan = Plan::new(&fake.url);
    let (dir, spooling) = (plan.dir.clone(), plan.spooling.clone());
    let site = plan.start();
    site.send_padded("a/one", 200, 500).await;
    until("the whole batch was sent", || fake.seen().iter().any(|request| request.whole)).await;
    let stamp = site.entries("a/one", State::Queue)[0].stamp.0;
    site.deliverer.stop(Duration::ZERO).await;
    drop(site);
    // The name is later than any of the process to come, and has another id.
    let log = find(dir.path(), "0000000001.seg").remove(0);
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
    let file = find(dir.path(), ".gz").remove(0);
    let name = file.file_name().unwrap().to_str().unwrap();
    let later = (stamp + 3_600_000_000_000) ^ 1;
    let name = name.replace(&format!("{stamp:019}"), &format!("{later:019}"));
    std::fs::rename(&file, file.with_file_name(name)).unwrap();
    fake.script(|_| Act::ok());
    let mut plan = Plan::new(&fake.url);
    (plan.dir, plan.spooling) = (dir, spooling);
    plan.receiver.max_payload_size = 20_000;
    let site = plan.start();
    site.delivered(200).await;
    let names: Vec<_> = names(&fake).into_iter().filter(|name| name.contains(&later.to_string())).collect();
    assert_eq!((names.len(), fake.seen().len()), (1, 2));
}

/// A batch that goes bad before it got away for the first time may still be cut: nothing of it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn w22_a_batch_whose_body_never_left_whole_is_cut_as_ever() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let (port, url) = (fake.port, fake.url.clone());
    drop(fake);
    let site = Plan::new(&url).start();
    site.send_padded("a/one", 200, 500).await;
    site.circuit("receiver", "network").await;
    limit(&site, &url, 20_000);
    let fake = FakeReceiver::on(port, |_| Act::ok()).await;
    site.delivered(200).await;
    assert!(fake.seen().iter().all(|request| request.body.len() <= 20_000));
}

/// A batch whose file somebody removed is given up with its lines counted; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn w16_a_batch_file_that_is_gone_is_given_up_and_holds_nobody_up() {
    let fake = FakeReceiver::new(|_| Act::say("503 Service Unavailable", "")).await;
    let site = Plan::new(&fake.url).start();
    site.send("a/one", 7).await;
    site.circuit("receiver", "server").await;
    let files = find(site.dir.path(), ".gz");
    assert_eq!(files.len(), 1);
    std::fs::remove_file(&files[0]).unwrap();
    site.send("a/two", 2).await;
    fake.script(|_| Act::ok());
    site.delivered(2).await;
    until("the lines are counted", || site.events().quarantined == 7).await;
    assert!(site.events().balanced() && site.entries("a/one", State::Queue).is_empty());
}

/// Files below a folder whose names end like this.
fn find(folder: &std::path::Path, ending: &str) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.to_str() {
            _ if path.is_dir() => find(&path, ending),
            Some(name) if name.ends_with(ending) => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

/// H-5: what can never be taken is not tried until the budget of retries is used up.
#[tokio::test(flavor = "multi_thread")]
async fn h5_a_permanent_answer_to_a_retry_goes_to_the_dlq_at_once() {
    let fake = FakeReceiver::new(|_| Act::say("500 Internal", "")).await;
    let mut plan = Plan::new(&fake.url);
    plan.spooling.retry_attempts = 50;
    let site = plan.start();
    site.send("a/one", 1).await;
    until("a retry", || site.entries("a/one", State::Retry).iter().any(|entry| entry.attempts > 0)).await;
    fake.script(|_| Act::say("422 Unprocessable", "no"));
    site.in_dlq(1).await;
    let refused = fake.seen().len();
    let entry = site.entries("a/one", State::Dlq).remove(0);
    let failure = entry.failure.unwrap();
    assert_eq!((failure.reason, failure.status), (Reason::Rejected, Some(422)));
    assert_eq!(refused, entry.attempts as usize + 1, "one answer decides");
}

/// W-24: words of the old layout are no names, and a spool may be anywhere and beside anything.
#[tokio::test(flavor = "multi_thread")]
async fn w24_names_that_clash_with_folders_of_a_spool() {
    for word in ["dlq", "meta", "queue", "raw", "retry", "DLQ", "Meta", "..", "lost+found", ".instance-1"] {
        assert!(word.parse::<TenantId>().is_err() && word.parse::<DatasetId>().is_err(), "{word}");
    }
    for root in ["dlq/spool", "acme/queue/dlq", "retry/meta/raw"] {
        let fake = FakeReceiver::new(|request| match request.key() {
            "acme/bad" => Act::say("422 Unprocessable", ""),
            _ => Act::ok(),
        })
        .await;
        let mut plan = Plan::new(&fake.url);
        let directory = plan.dir.path().join(root);
        let foreign = directory.join("lost+found/#1234");
        std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        std::fs::write(&foreign, "of fsck").unwrap();
        plan.spooling.directory.clone_from(&directory);
        let site = plan.start();
        // Names with such a word in them, or as another's beginning, are names like any other.
        for name in ["acme/dlq-2", "acme/queued", "retry_1/metas", "acme/bad"] {
            site.send(name, 1).await;
        }
        site.delivered(3).await;
        site.in_dlq(1).await;
        assert!(taken(&fake, |request| request.key() != "acme/bad").values().all(|times| *times == 1));
        assert_eq!(site.spool.entries(&key("acme/bad"), &[State::Dlq], None, 9).len(), 1, "{root}");
        assert_eq!(std::fs::read(&foreign).unwrap(), b"of fsck");
    }
}
