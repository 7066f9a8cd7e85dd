//! Followers over real sockets.

use tokio::time::timeout;

use super::*;
use crate::mock::{self, eventually};

struct Bench {
    followers: Followers,
    changes: mpsc::Receiver<ObjectKey>,
    access: Access,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let (client, _) = mock::server(|_, _| None);
        let (told, changes) = mpsc::channel(4);
        let (access, certificate, key) = access();
        let followers = Followers { limits: short(), ..Followers::new(client, told) };
        Self { followers, changes, access, certificate, key }
    }

    async fn server(&self, habit: Habit) -> Server {
        Server::start(&self.certificate, &self.key, habit).await
    }

    fn follow(&self, pods: &[Arc<Pod>]) {
        self.followers.follow(&edge(), &self.access, pods);
    }

    /// Waits until the reports are so; each change must be told.
    async fn until(&mut self, what: &str, is_so: impl Fn(&[PodReport]) -> bool) -> Vec<PodReport> {
        loop {
            let reports = self.followers.reports(&edge());
            if is_so(&reports) {
                return reports;
            }
            let told = timeout(Duration::from_secs(30), self.changes.recv()).await;
            assert_eq!(told.unwrap_or_else(|_| panic!("{what}: {reports:?}")), Some(edge()));
        }
    }
}

fn has(reports: &[PodReport], hash: &str) -> bool {
    reports.iter().all(|report| report.has_applied(&web(), hash))
}

fn why(reports: &[PodReport]) -> Option<&Why> {
    reports[0].silence.as_ref().map(|silence| &silence.why)
}

#[tokio::test]
async fn a_change_is_known_at_once_and_asked_for_with_etag_and_token() {
    let mut bench = Bench::new();
    let server = bench.server(Habit::Proxy(state("1", "a"))).await;
    bench.follow(&[server.pod("edge-0", "u0")]);
    let reports = bench.until("first answer", |reports| has(reports, "a")).await;
    assert_eq!(
        (reports[0].pod.as_str(), reports[0].node.as_deref(), reports[0].ready),
        ("edge-0", Some("node-1"), true)
    );
    assert_eq!(reports[0].silence, None);
    eventually(|| async { (server.asked.lock().len() == 2).then_some(()) }).await;
    server.habit.send_replace(Habit::Proxy(state("2", "b")));
    bench.until("the change", |reports| has(reports, "b")).await;
    let asked = server.asked.lock().clone();
    assert!(asked[0].starts_with("GET /api/v1/status HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("GET /api/v1/status?after=1&wait=30s HTTP/1.1\r\n"), "{asked:?}");
    let token = format!("authorization: Bearer {}\r\n", bench.access.read_token());
    assert!(asked.iter().all(|head| head.contains(&token)));
}

#[tokio::test]
async fn a_silent_pod_keeps_what_it_said_and_comes_back() {
    let mut bench = Bench::new();
    let server = bench.server(Habit::Proxy(state("1", "a"))).await;
    bench.follow(&[server.pod("edge-0", "u0")]);
    bench.until("first answer", |reports| has(reports, "a")).await;
    // The long poll that is open is answered; the next one meets the new habit.
    server.habit.send_replace(Habit::Proxy(state("2", "a")));
    eventually(|| async { (server.asked.lock().len() >= 3).then_some(()) }).await;
    server.habit.send_replace(Habit::Says("HTTP/1.1 500 Oops\r\n\r\n".to_owned()));
    // The third poll hangs in the old habit; a change of the pod's readiness starts a new one.
    let mut unready = (*server.pod("edge-0", "u0")).clone();
    unready.status.as_mut().unwrap().conditions = None;
    bench.follow(&[Arc::new(unready)]);
    let reports = bench.until("silence", |reports| why(reports) == Some(&Why::Status(500))).await;
    assert!(has(&reports, "a") && !reports[0].ready);
    assert_eq!(reports[0].silence.as_ref().unwrap().address, server.address.to_string());
    server.habit.send_replace(Habit::Proxy(state("3", "b")));
    let reports = bench.until("voice", |reports| why(reports).is_none()).await;
    assert!(has(&reports, "b"));
}

#[tokio::test]
async fn a_pod_of_the_same_name_owes_everything_anew() {
    let mut bench = Bench::new();
    let server = bench.server(Habit::Proxy(state("1", "a"))).await;
    bench.follow(&[server.pod("edge-0", "u0")]);
    bench.until("first answer", |reports| has(reports, "a")).await;
    bench.follow(&[pod("edge-0", "u1", None)]);
    let reports = bench.followers.reports(&edge());
    assert_eq!((reports.len(), reports[0].uid.as_str()), (1, "u1"));
    assert_eq!(reports[0].said, None);
    bench.until("no address", |reports| why(reports) == Some(&Why::NoAddress)).await;
    bench.follow(&[server.pod("edge-0", "u1")]);
    bench.until("an address", |reports| has(reports, "a")).await;
}

#[tokio::test]
async fn a_pod_that_hangs_delays_nobody() {
    let mut bench = Bench::new();
    let hanging = bench.server(Habit::HangsAfterTls).await;
    let well = bench.server(Habit::Proxy(state("1", "a"))).await;
    let pods = [hanging.pod("edge-0", "u0"), well.pod("edge-1", "u1")];
    bench.follow(&pods);
    bench.until("the other", |reports| has(&reports[1..], "a")).await;
    let reports = bench.until("the reason", |reports| why(reports) == Some(&Why::Timeout)).await;
    assert_eq!(reports[0].said, None);
}

#[tokio::test]
async fn a_new_access_is_used_and_pods_are_touched() {
    let (client, asked) = mock::server(|_, _| None);
    let mut bench = Bench::new();
    bench.followers.client = client;
    let server = bench.server(Habit::Proxy(state("1", "a"))).await;
    let pods = [server.pod("edge-0", "u0")];
    bench.follow(&pods);
    bench.until("first answer", |reports| has(reports, "a")).await;
    (bench.access, ..) = access();
    bench.follow(&pods);
    bench.until("the old certificate", |reports| why(reports) == Some(&Why::Tls)).await;
    let (line, body) = eventually(|| async { asked.lock().first().cloned() }).await;
    assert!(line.starts_with("PATCH /api/v1/namespaces/net/pods/edge-0?"), "{line}");
    assert!(
        body["metadata"]["annotations"]["bytefreezer.com/refresh"].as_str().unwrap().starts_with("api-"),
        "{body}"
    );
}

#[tokio::test]
async fn those_that_leave_are_left_alone() {
    let mut bench = Bench::new();
    let server = bench.server(Habit::Proxy(state("1", "a"))).await;
    let other = bench.server(Habit::Proxy(state("1", "a"))).await;
    bench.follow(&[server.pod("edge-0", "u0"), other.pod("edge-1", "u1")]);
    bench.until("both", |reports| has(reports, "a")).await;
    let mut ended = (*other.pod("edge-1", "u1")).clone();
    ended.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    bench.follow(&[server.pod("edge-0", "u0"), Arc::new(ended)]);
    assert_eq!(bench.followers.reports(&edge()).len(), 1);
    bench.followers.forget(&edge());
    assert!(bench.followers.reports(&edge()).is_empty());
    // Every task held a sender.
    let Bench { followers, mut changes, .. } = bench;
    drop(followers);
    let ends = async { while changes.recv().await.is_some() {} };
    timeout(Duration::from_secs(30), ends).await.expect("every task ends");
}

#[tokio::test]
async fn a_thousand_changes_that_nobody_takes_are_no_thousand_notes() {
    let mut bench = Bench::new();
    let mut servers = Vec::new();
    for _ in 0..8 {
        servers.push(bench.server(Habit::Proxy(state("1", "a"))).await);
    }
    let pods: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(n, server)| server.pod(&format!("edge-{n}"), &n.to_string()))
        .collect();
    bench.follow(&pods);
    eventually(|| {
        let all = has(&bench.followers.reports(&edge()), "a");
        async move { all.then_some(()) }
    })
    .await;
    assert!(bench.changes.len() <= 4);
    bench.until("all of them", |reports| reports.len() == 8 && has(reports, "a")).await;
}
