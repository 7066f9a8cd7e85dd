//! Tenants beside each other: each with its token, none in another one's way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    delivery::failure_of,
    receiver::{Act, FakeReceiver},
    site::{Plan, taken},
};
use crate::{config::Secret, spool::Reason};

#[tokio::test(flavor = "multi_thread")]
async fn w8_h14_a_rotated_token_brings_everything_back() {
    let fake = FakeReceiver::new(|request| match request.header("authorization") {
        "Bearer new" => Act::ok(),
        _ => Act::say("401 Unauthorized", "Invalid Bearer token"),
    })
    .await;
    let mut plan = Plan::new(&fake.url);
    let token = plan.dir.path().join("token");
    std::fs::write(&token, "old").unwrap();
    plan.tokens.global = Some(Secret::File(token.clone()));
    let site = plan.start();
    for _ in 0..5 {
        site.send("a/one", 4).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    site.in_dlq(20).await;
    site.circuit("tenant", "unauthorized").await;
    assert_eq!(failure_of(&site, "a/one"), (Reason::Unauthorized, Some(401)));
    std::fs::write(&token, "new but longer").unwrap();
    std::fs::write(&token, "new").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&token)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    site.delivered(20).await;
    let all = taken(&fake, |request| request.header("authorization") == "Bearer new");
    assert!(all.len() == 20 && all.values().all(|times| *times == 1));
    assert!(site.metrics.encode().unwrap().contains("upload_dlq_moves_total{reason=\"unauthorized\"} "));
}

#[tokio::test(flavor = "multi_thread")]
async fn w25_a_hanging_tenant_delays_nobody_else() {
    let fake =
        FakeReceiver::new(|request| if request.key().starts_with("hung/") { Act::Hang } else { Act::ok() })
            .await;
    let mut plan = Plan::new(&fake.url);
    plan.receiver.timeout = Duration::from_secs(1);
    plan.pace = crate::deliver::circuit::Pace::default();
    let site = plan.start();
    for _ in 0..10 {
        site.send("hung/one", 1).await;
        tokio::time::sleep(Duration::from_millis(55)).await;
    }
    for n in 1..=20 {
        let since = Instant::now();
        site.send("alive/one", 1).await;
        site.delivered(n).await;
        assert!(since.elapsed() < Duration::from_secs(2), "{n}: {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(site.events().dlq, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_of_three_refused_for_long_while_the_others_flow() {
    let mended = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&mended);
    let fake = FakeReceiver::new(move |request| {
        if request.key().starts_with("dead/") && !switch.load(Relaxed) { Act::Reset } else { Act::ok() }
    })
    .await;
    let site = Plan::new(&fake.url).start();
    let mut alive = 0;
    for _ in 0..20 {
        site.send("dead/one", 1).await;
        let since = Instant::now();
        site.send("b/one", 1).await;
        site.send("c/one", 1).await;
        alive += 2;
        site.delivered(alive).await;
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
    mended.store(true, Relaxed);
    site.delivered(60).await;
    let all = taken(&fake, |_| true);
    assert!(all.len() == 60 && all.values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_each_tenant_sends_its_own_token_and_one_without_a_readable_token_waits() {
    let fake = FakeReceiver::new(|_| Act::ok()).await;
    let mut plan = Plan::new(&fake.url);
    let own = plan.dir.path().join("own-token");
    plan.tokens.global = Some(Secret::Inline("everybody".to_owned()));
    plan.tokens.tenants.insert("own".parse().unwrap(), Secret::File(own.clone()));
    let site = plan.start();
    site.send("own/one", 1).await;
    site.send("other/one", 1).await;
    site.delivered(1).await;
    site.circuit("tenant", "no_token").await;
    assert_eq!(fake.of("own/one").len(), 0);
    std::fs::write(&own, "mine").unwrap();
    site.delivered(2).await;
    assert_eq!(fake.of("own/one")[0].header("authorization"), "Bearer mine");
    assert_eq!(fake.of("other/one")[0].header("authorization"), "Bearer everybody");
}

pub fn config(url: &str, token: &str) -> crate::config::Config {
    let text = format!(
        "config_mode: local-only\nbearer_token: {token}\nreceiver:\n  base_url: {url}\nspooling:\n  retry_interval_seconds: 1\n\
         inputs:\n  - {{type: udp, name: one, config: {{port: 19999, tenant_id: acme, dataset_id: one}}}}\n"
    );
    crate::config::load("test.yaml", &text, []).usable().unwrap().config
}

#[tokio::test(flavor = "multi_thread")]
async fn w8_a_reload_with_a_new_token_and_address_takes_effect_at_once() {
    let old = FakeReceiver::new(|_| Act::say("401 Unauthorized", "")).await;
    let new = FakeReceiver::new(|request| match request.header("authorization") {
        "Bearer right" => Act::ok(),
        _ => Act::say("401 Unauthorized", ""),
    })
    .await;
    let mut plan = Plan::new(&old.url);
    plan.tokens.global = Some(Secret::Inline("wrong".to_owned()));
    plan.pace = crate::deliver::circuit::Pace {
        divert_min: Duration::from_mins(10),
        divert_max: Duration::from_mins(10),
        ..crate::deliver::circuit::Pace::default()
    };
    let site = plan.start();
    for _ in 0..3 {
        site.send("a/one", 1).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    site.in_dlq(3).await;
    site.deliverer.configure(&config(&new.url, "right")).unwrap();
    site.delivered(3).await;
    assert!(site.deliverer.circuits().is_empty());
    assert_eq!(taken(&new, |request| request.header("authorization") == "Bearer right").len(), 3);
}
