//! An API server of which the test is the other end.

use std::{future::Future, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::time::{sleep, timeout};

use crate::apply::MANAGER;

/// What was asked, as `METHOD path`, with the bodies.
pub type Asked = Arc<Mutex<Vec<(String, Json)>>>;

/// Answers every request with `answer`, or with what it brought.
pub fn server(answer: impl Fn(&Method, &str) -> Option<(u16, Json)> + Send + 'static) -> (Client, Asked) {
    answering(move |method, uri, body| answer(method, uri).unwrap_or_else(|| (200, body.clone())))
}

/// Answers every request with `answer`, or with what it brought as if it had been applied in version 1.
pub fn stateful(
    answer: impl Fn(&Method, &str, &Json) -> Option<(u16, Json)> + Send + 'static,
) -> (Client, Asked) {
    answering(move |method, uri, body| answer(method, uri, body).unwrap_or_else(|| (200, kept(body, "1"))))
}

/// What the API server makes of an object that is applied: a version, and all that was said is ours.
pub fn kept(body: &Json, version: &str) -> Json {
    let mut object = body.clone();
    merge(
        &mut object,
        &json!({"metadata": {"resourceVersion": version, "uid": "1", "managedFields": [
            {"manager": MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:all": {}}},
        ]}}),
    );
    object
}

fn answering(answer: impl Fn(&Method, &str, &Json) -> (u16, Json) + Send + 'static) -> (Client, Asked) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some((request, reply)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body: Json = serde_json::from_slice(&body).unwrap_or_default();
            let (code, json) = answer(&parts.method, &parts.uri.to_string(), &body);
            seen.lock().push((format!("{} {}", parts.method, parts.uri), body));
            let body = Body::from(serde_json::to_vec(&json).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "net"), asked)
}

/// A failure of the API server.
pub fn status(code: u16, reason: &str) -> (u16, Json) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
    (code, status)
}

/// Writes `changes` over `value`, member by member.
pub fn merge(value: &mut Json, changes: &Json) {
    match (value, changes) {
        (Json::Object(value), Json::Object(changes)) => {
            for (name, change) in changes {
                merge(value.entry(name.clone()).or_insert(Json::Null), change);
            }
        }
        (value, change) => *value = change.clone(),
    }
}

/// Looks until there is something, at most 30 s.
pub async fn eventually<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), found).await.expect("it comes in time")
}
