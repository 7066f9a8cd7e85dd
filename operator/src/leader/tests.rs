//! Two candidates and an API server that holds one Lease.

use std::sync::Arc;

use http::{Method, Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use super::{
    fence::{FenceLayer, Fenced},
    *,
};
use crate::metrics::Metrics;

/// The Lease as the API server has it, and whether the API server answers.
#[derive(Default)]
struct Server {
    lease: Option<Json>,
    version: u64,
    is_down: bool,
    writes: u64,
}

fn answer(server: &Mutex<Server>, method: &Method, body: &Json) -> (u16, Json) {
    let mut server = server.lock();
    let failed = |code: u16, reason: &str| {
        (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}),
        )
    };
    if server.is_down {
        return failed(500, "InternalError");
    }
    let there = server.lease.clone();
    match (method, there) {
        (&Method::GET, Some(lease)) => (200, lease),
        (&Method::GET, None) => failed(404, "NotFound"),
        (&Method::POST, Some(_)) => failed(409, "AlreadyExists"),
        (&Method::PUT, Some(there))
            if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"] =>
        {
            failed(409, "Conflict")
        }
        _ => {
            server.version += 1;
            server.writes += 1;
            let mut lease = body.clone();
            lease["metadata"]["resourceVersion"] = json!(server.version.to_string());
            server.lease = Some(lease.clone());
            (200, lease)
        }
    }
}

fn client(server: &Arc<Mutex<Server>>) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let server = Arc::clone(server);
    tokio::spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Json = serde_json::from_slice(&body).unwrap_or_default();
            let (code, json) = answer(&server, &parts.method, &body);
            let body = Body::from(serde_json::to_vec(&json).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    Client::new(service, "ops")
}

struct Replica {
    standing: Standing,
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn replica(server: &Arc<Mutex<Server>>, identity: &str) -> Replica {
    let (standing, end) = (Standing::default(), CancellationToken::new());
    let candidate = Candidate::new(client(server), "ops", "operator", identity.to_owned(), standing.clone());
    Replica { task: tokio::spawn(candidate.run(end.clone())), standing, end }
}

async fn within(limit: u64, what: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    timeout(Duration::from_secs(limit), what).await.expect("in time");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_a_released_lease_is_taken_at_once() {
    let server = Arc::default();
    let first = replica(&server, "a");
    within(1, first.standing.gained()).await;
    let second = replica(&server, "b");
    sleep(Duration::from_mins(2)).await;
    assert!(first.standing.leads() && !second.standing.leads());
    assert_eq!(server.lock().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 0);

    first.end.cancel();
    first.task.await.unwrap();
    assert!(!first.standing.leads());
    within(3, second.standing.gained()).await;
    assert_eq!(server.lock().lease.as_ref().unwrap()["spec"]["holderIdentity"], "b");
    assert_eq!(server.lock().lease.as_ref().unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_within_20_s_and_never_by_two() {
    let server = Arc::default();
    let first = replica(&server, "a");
    within(1, first.standing.gained()).await;
    let others = [replica(&server, "b"), replica(&server, "c")];
    sleep(Duration::from_secs(7)).await;
    first.task.abort();
    let (b, c) = (others[0].standing.clone(), others[1].standing.clone());
    let one = async {
        tokio::select! {
            () = b.gained() => (),
            () = c.gained() => (),
        }
    };
    let took = within(20, one).await;
    assert!(!first.standing.leads(), "the old one stopped to write before, after {took:?}");
    sleep(Duration::from_secs(30)).await;
    assert!(others[0].standing.leads() != others[1].standing.leads());
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_renew_stops_to_write_and_leads_again_afterwards() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let first = replica(&server, "a");
    within(1, first.standing.gained()).await;
    server.lock().is_down = true;
    let took = within(DURATION.as_secs(), first.standing.lost()).await;
    assert!(took + MARGIN <= DURATION, "{took:?}");
    server.lock().is_down = false;
    within(5, first.standing.gained()).await;
}

#[tokio::test(start_paused = true)]
async fn the_fence_lets_reads_through_and_writes_only_while_leading() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let standing = Standing::default();
    let metrics = Arc::new(Metrics::default());
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            while let Some((request, reply)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body: Json =
                    serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
                let (code, json) = answer(&server, &parts.method, &body);
                let body = Body::from(serde_json::to_vec(&json).unwrap());
                reply.send_response(Response::builder().status(code).body(body).unwrap());
            }
        }
    });
    let layer = FenceLayer::new(standing.clone(), Arc::clone(&metrics));
    let client = Client::new(tower::Layer::layer(&layer, service), "ops");
    let api: Api<Lease> = Api::default_namespaced(client);
    let lease = Lease::default();
    let write = || async { api.create(&PostParams::default(), &lease).await };

    let Err(kube::Error::Service(error)) = write().await else { panic!("it was written") };
    assert_eq!(error.downcast_ref(), Some(&Fenced::Follows));
    assert_eq!((server.lock().writes, metrics.fenced.get()), (0, 1));
    assert!(api.get_opt("operator").await.unwrap().is_none(), "reads are free");

    standing.set(Some(Until::Time(Instant::now() + Duration::from_secs(9))));
    write().await.unwrap();
    assert_eq!(server.lock().writes, 1);
    sleep(Duration::from_secs(10)).await;
    assert!(write().await.is_err());
    assert_eq!(server.lock().writes, 1);
}
