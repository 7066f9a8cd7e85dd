//! From the spool to the Receiver, answer by answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    receiver::{Act, FakeReceiver},
    site::{Plan, Site, taken, until},
    tenants::config,
};
use crate::spool::{Reason, State};

/// A Receiver that answers `act` until the switch is turned.
async fn until_mended(act: Act) -> (FakeReceiver, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&mended);
    let fake = FakeReceiver::new(move |_| if switch.load(Relaxed) { Act::ok() } else { act.clone() }).await;
    (fake, mended)
}

pub fn failure_of(site: &Site, name: &str) -> (Reason, Option<u16>) {
    let failure = site.entries(name, State::Dlq)[0].failure.clone().unwrap();
    (failure.reason, failure.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn w37_h16_a_line_is_at_the_receiver_as_soon_as_its_batch_closes() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let site = Plan::new(&fake.url).start();
    for n in 1..=5 {
        let since = Instant::now();
        site.send("a/one", 3).await;
        site.delivered(n * 3).await;
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    let all = taken(&fake, |_| true);
    assert!(all.len() == 15 && all.values().all(|times| *times == 1));
    let text = site.metrics.encode().unwrap();
    assert!(text.contains("bytefreezer_proxy_uploads_total{outcome=\"2xx\"}"), "{text}");
    assert!(text.contains("bytefreezer_proxy_uploaded_lines_total 15"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_an_outage_ends_with_every_line_delivered_once_and_nothing_to_do_by_hand() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let (port, url) = (fake.port, fake.url.clone());
    drop(fake);
    let site = Plan::new(&url).start();
    for _ in 0..10 {
        site.send("a/one", 5).await;
        site.send("b/two", 5).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    site.circuit("receiver", "network").await;
    // Many times retry_attempts x retry_interval.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(site.events().dlq, 0, "probes are no attempts");
    let fake = FakeReceiver::on(port, |_| Act::ok()).await;
    site.delivered(100).await;
    let all = taken(&fake, |_| true);
    assert!(all.len() == 100 && all.values().all(|times| *times == 1));
    assert_eq!(site.events().dlq, 0);
    until("all circuits closed", || site.deliverer.circuits().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_503_holds_everything_and_only_poison_stays_in_the_dlq() {
    let mended = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&mended);
    let fake = FakeReceiver::new(move |request| match request.key() {
        _ if !switch.load(Relaxed) => Act::say("503 Service Unavailable", ""),
        "a/poison" => Act::say("422 Unprocessable", "no"),
        _ => Act::ok(),
    })
    .await;
    let site = Plan::new(&fake.url).start();
    site.send("a/good", 10).await;
    site.send("a/poison", 1).await;
    site.circuit("receiver", "server").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    mended.store(true, Relaxed);
    site.delivered(10).await;
    site.in_dlq(1).await;
    assert_eq!(failure_of(&site, "a/poison"), (Reason::Rejected, Some(422)));
    let seen = fake.of("a/poison").len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.of("a/poison").len(), seen, "poison does not return by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn w8_h1_h2_refusals_of_a_stale_receiver_pass_by_themselves() {
    for (status, body, scope, reason) in [
        ("403 Forbidden", "", "tenant", "forbidden"),
        ("404 Not Found", "404 page not found", "dataset", "not_found"),
        ("410 Gone", "Tenant not found or inactive", "tenant", "gone"),
        ("400 Bad Request", "Unknown dataset for tenant", "dataset", "unknown_dataset"),
    ] {
        let (fake, mended) = until_mended(Act::say(status, body)).await;
        let site = Plan::new(&fake.url).start();
        for _ in 0..3 {
            site.send("a/one", 2).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        site.in_dlq(6).await;
        site.circuit(scope, reason).await;
        mended.store(true, Relaxed);
        site.delivered(6).await;
        until("circuits closed", || site.deliverer.circuits().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h20_a_failing_batch_keeps_its_true_reason_and_returns_when_that_is_over() {
    for (act, reason, status) in [
        (Act::say("500 Internal", "disk"), Reason::Server, Some(500)),
        (Act::say("408 Timeout", ""), Reason::Timeout, Some(408)),
        (
            Act::Say("301 Moved Permanently", "Location: /\r\n".to_owned(), String::new()),
            Reason::Redirect,
            Some(301),
        ),
    ] {
        let (fake, mended) = until_mended(act).await;
        let mut plan = Plan::new(&fake.url);
        plan.pace.lonely_min = Duration::from_secs(1);
        plan.pace.lonely_max = Duration::from_secs(1);
        let site = plan.start();
        site.send("a/one", 2).await;
        site.in_dlq(2).await;
        assert_eq!(failure_of(&site, "a/one"), (reason, status));
        let seen = fake.seen();
        assert_eq!(seen.len(), 3, "retry_attempts");
        for two in seen.windows(2) {
            assert!(two[1].at - two[0].at >= Duration::from_millis(100), "retry_interval");
        }
        assert_eq!(site.entries("a/one", State::Dlq)[0].attempts, 3);
        mended.store(true, Relaxed);
        site.delivered(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_dataset_that_flows_again_return_by_themselves() {
    let fake = FakeReceiver::new(|_| Act::say("500 Internal", "")).await;
    let mut plan = Plan::new(&fake.url);
    plan.spooling.retry_attempts = 1;
    plan.pace.lonely_min = Duration::from_hours(1);
    plan.pace.lonely_max = Duration::from_hours(1);
    let site = plan.start();
    for n in 1..=10 {
        site.send("a/one", 1).await;
        site.in_dlq(n).await;
    }
    fake.script(|_| Act::ok());
    site.send("a/one", 1).await;
    site.delivered(11).await;
    assert!(site.metrics.encode().unwrap().contains("bytefreezer_proxy_dlq_returned_total 10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn w22_h6_413_cuts_batches_until_they_fit() {
    const LIMIT: usize = 20_000;
    let too_long = |len: &str| len.parse::<usize>().unwrap() > LIMIT;
    let fake = FakeReceiver::new(move |request| {
        if too_long(request.header("content-length")) {
            Act::say("413 Payload Too Large", "")
        } else {
            Act::ok()
        }
    })
    .await;
    let site = Plan::new(&fake.url).start();
    site.send_padded("a/one", 400, 500).await;
    site.delivered(400).await;
    let all = taken(&fake, |request| !too_long(request.header("content-length")));
    assert!(all.len() == 400 && all.values().all(|times| *times == 1), "{}", all.len());
    site.send_padded("a/one", 1, 60_000).await;
    site.in_dlq(1).await;
    assert_eq!(failure_of(&site, "a/one"), (Reason::TooLarge, Some(413)));
    assert!(site.events().balanced());
}

#[tokio::test(flavor = "multi_thread")]
async fn w22_no_upload_is_longer_than_max_payload_size() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let mut plan = Plan::new(&fake.url);
    plan.receiver.max_payload_size = 20_000;
    let site = plan.start();
    site.send_padded("a/one", 400, 500).await;
    site.delivered(400).await;
    assert!(fake.seen().iter().all(|request| request.body.len() <= 20_000));
    assert_eq!(taken(&fake, |_| true).len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn h4_retry_after_of_429_is_honoured() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let fake = FakeReceiver::new(move |request| {
        // The script is asked twice per request: before and after the body.
        if request.whole && count.fetch_add(1, Relaxed) == 0 {
            Act::Say("429 Too Many Requests", "Retry-After: 1\r\n".to_owned(), String::new())
        } else {
            Act::ok()
        }
    })
    .await;
    let site = Plan::new(&fake.url).start();
    site.send("a/one", 1).await;
    site.circuit("receiver", "too_many_requests").await;
    site.send("a/two", 1).await;
    site.delivered(2).await;
    let seen = fake.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(990), "{:?}", seen[1].at - seen[0].at);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_of_one_address_does_not_hold_for_another() {
    let retry_after = "Retry-After: 3000\r\n".to_owned();
    let old =
        FakeReceiver::new(move |_| Act::Say("503 Service Unavailable", retry_after.clone(), String::new()))
            .await;
    let new = FakeReceiver::new(|_| Act::ok()).await;
    let site = Plan::new(&old.url).start();
    site.send("a/one", 1).await;
    site.circuit("receiver", "server").await;
    site.deliverer.configure(&config(&new.url, "any")).unwrap();
    site.delivered(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_batch_without_an_answer_holds_up_neither_its_dataset_nor_itself_for_ever() {
    let fake = FakeReceiver::new(|request| {
        if request.whole && request.lines().iter().any(|line| line.ends_with(" 0 ")) {
            Act::Hang
        } else {
            Act::ok()
        }
    })
    .await;
    let mut plan = Plan::new(&fake.url);
    plan.receiver.timeout = Duration::from_millis(500);
    let site = plan.start();
    let (mut lines, end) = (1, Instant::now() + Duration::from_mins(1));
    site.send("a/one", 1).await;
    until("its batch is on its way", || !fake.seen().is_empty()).await;
    // Its attempts are used up while others get through.
    while site.events().dlq == 0 {
        assert!(Instant::now() < end, "{:?}", site.events());
        site.send("a/one", 1).await;
        lines += 1;
        until("all others are there", || site.events().delivered + 1 >= lines).await;
    }
    assert_eq!(failure_of(&site, "a/one"), (Reason::Timeout, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_in_the_middle_is_tried_again_under_the_same_name() {
    let (fake, mended) = until_mended(Act::Reset).await;
    let site = Plan::new(&fake.url).start();
    site.send_padded("a/one", 1000, 500).await;
    site.circuit("receiver", "network").await;
    mended.store(true, Relaxed);
    site.delivered(1000).await;
    let mut names: Vec<_> =
        fake.seen().iter().map(|request| request.header("x-proxy-filename").to_owned()).collect();
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_drains_what_is_closed_and_lets_a_slow_upload_finish() {
    let fake = FakeReceiver::new(|_| Act::Slow(Duration::from_millis(300))).await;
    let site = Plan::new(&fake.url).start();
    for _ in 0..3 {
        site.send("a/one", 1).await;
    }
    until("closed", || site.events().open == 0).await;
    site.deliverer.stop(Duration::from_secs(10)).await;
    assert_eq!(site.events().delivered, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_gives_up_after_its_grace_and_keeps_the_batch() {
    let fake = FakeReceiver::new(|_| Act::Hang).await;
    let site = Plan::new(&fake.url).start();
    site.send("a/one", 1).await;
    until("on its way", || !fake.seen().is_empty()).await;
    let since = Instant::now();
    site.deliverer.stop(Duration::from_millis(300)).await;
    assert!(since.elapsed() < Duration::from_secs(2));
    let events = site.events();
    assert!(events.delivered == 0 && events.queued + events.retry == 1 && events.balanced(), "{events:?}");
}

fn batch_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(batch_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "gz") {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_damaged_on_disk_is_quarantined_and_never_stored() {
    let (fake, mended) = until_mended(Act::say("503 Service Unavailable", "")).await;
    let site = Plan::new(&fake.url).start();
    site.send("a/one", 10).await;
    site.circuit("receiver", "server").await;
    let files = batch_files(site.dir.path());
    assert_eq!(files.len(), 1);
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let last = bytes.len() - 9;
    bytes[last] ^= 0x10;
    std::fs::write(&files[0], bytes).unwrap();
    fake.script(|_| Act::ok());
    mended.store(true, Relaxed);
    until("quarantined", || site.events().quarantined == 10).await;
    site.send("a/one", 1).await;
    site.delivered(1).await;
    assert!(site.events().balanced());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_batch_goes_on_under_its_name_and_with_its_attempts() {
    let fake = FakeReceiver::new(|_| Act::say("500 Internal", "")).await;
    let mut plan = Plan::new(&fake.url);
    plan.spooling.retry_interval = Duration::from_secs(1);
    let (dir, spooling) = (Arc::clone(&plan.dir), plan.spooling.clone());
    let site = plan.start();
    site.send("a/one", 2).await;
    until("one attempt", || site.entries("a/one", State::Retry).iter().any(|entry| entry.attempts == 1))
        .await;
    site.deliverer.stop(Duration::ZERO).await;
    drop(site);
    fake.script(|_| Act::ok());
    let mut plan = Plan::new(&fake.url);
    (plan.dir, plan.spooling) = (dir, spooling);
    let site = plan.start();
    site.delivered(2).await;
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("x-proxy-filename"), seen[1].header("x-proxy-filename"));
    assert_eq!(seen[0].body, seen[1].body);
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(900), "retry_interval holds over a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn h16_a_thousand_datasets_are_served_together() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let site = Plan::new(&fake.url).start();
    for round in 1..=2 {
        let names: Vec<_> = (0..1000).map(|n| format!("t{}/d{n}", n % 50)).collect();
        futures_util::future::join_all(names.iter().map(|name| site.send(name, 1))).await;
        site.delivered(round * 1000).await;
    }
    assert_eq!(taken(&fake, |_| true).len(), 2000);
}
