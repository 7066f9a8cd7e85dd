use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use super::*;
use crate::{build::tests::proxy, mock};

const OWN: &str = "0b5e9d0e-0000-4000-8000-000000000001";

/// A Secret as the API server has it.
fn stored(secret: &Secret, uid: &str) -> Json {
    let mut json = serde_json::to_value(secret).unwrap();
    mock::merge(&mut json, &json!({"metadata": {"uid": uid, "resourceVersion": "7"}}));
    json
}

fn made() -> Secret {
    make(&proxy(&json!({}))).unwrap()
}

/// A new access, with certificate and key as PEM.
pub(crate) fn access() -> (Access, Vec<u8>, Vec<u8>) {
    let secret = made();
    let access = read(&secret).unwrap();
    let data = secret.data.unwrap();
    (access, data[CERTIFICATE].0.clone(), data[KEY].0.clone())
}

/// A server that has `there`, in order, one per look (the last one from then on); 404 for `None`.
fn server(there: Vec<Option<Json>>) -> (Client, mock::Asked) {
    let looks = Mutex::new(there.into_iter().rev().collect::<Vec<_>>());
    mock::server(move |method, uri| {
        let mut looks = looks.lock();
        let now = looks.last().cloned().flatten();
        match *method {
            Method::GET => {
                assert!(uri.ends_with("/namespaces/net/secrets/edge-api"), "{uri}");
                if looks.len() > 1 {
                    looks.pop();
                }
                Some(now.map_or_else(|| mock::status(404, "NotFound"), |now| (200, now)))
            }
            Method::DELETE => Some((200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))),
            _ => None,
        }
    })
}

async fn ensured(client: &Client) -> Result<Access, ApiSecretError> {
    let proxy = proxy(&json!({}));
    timeout(Duration::from_secs(30), ensure(client, &proxy)).await.expect("it ends")
}

fn writes(asked: &mock::Asked) -> Vec<String> {
    let asked = asked.lock();
    let writes = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    writes.map(|(line, _)| line.split('?').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn it_is_made_once_by_create_and_goes_with_the_proxy_alone() {
    let (client, asked) = server(vec![None]);
    let access = ensured(&client).await.unwrap();
    assert_eq!(writes(&asked), ["POST /api/v1/namespaces/net/secrets"]);
    let body = asked.lock().last().unwrap().1.clone();
    assert_eq!(body["metadata"]["name"], "edge-api");
    assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], OWN);
    assert_eq!(body["metadata"]["labels"]["bytefreezer.com/proxy"], "edge");
    assert!(body["metadata"]["labels"].get(labels::BUILT).is_none(), "no pass removes it");
    assert_eq!(body["data"].as_object().unwrap().len(), 4);
    assert_ne!(access.read_token(), access.admin_token());
    assert!(access.read_token().len() >= 32);
    let printed = format!("{access:?}");
    assert!(!printed.contains(access.read_token()) && !printed.contains(access.admin_token()), "{printed}");
}

#[tokio::test]
async fn one_that_is_there_is_used_whoever_made_it() {
    let mut foreign = made();
    foreign.metadata.owner_references = None;
    for secret in [made(), foreign] {
        let (client, asked) = server(vec![Some(stored(&secret, "a"))]);
        let access = ensured(&client).await.unwrap();
        assert_eq!(access, read(&secret).unwrap());
        assert!(writes(&asked).is_empty());
    }
    assert_ne!(read(&made()).unwrap(), read(&made()).unwrap());
}

#[tokio::test]
async fn one_that_somebody_else_makes_meanwhile_is_used() {
    let theirs = made();
    let (there, looks) = (stored(&theirs, "a"), Mutex::new(0));
    let (client, _) = mock::server(move |method, _| {
        if *method == Method::POST {
            return Some(mock::status(409, "AlreadyExists"));
        }
        *looks.lock() += 1;
        Some(if *looks.lock() == 1 { mock::status(404, "NotFound") } else { (200, there.clone()) })
    });
    assert_eq!(ensured(&client).await.unwrap(), read(&theirs).unwrap());
}

#[tokio::test]
async fn a_broken_one_of_ours_is_replaced_in_the_version_that_was_seen() {
    let mut broken = made();
    broken.data.as_mut().unwrap().remove(READ_TOKEN);
    let (client, asked) = server(vec![Some(stored(&broken, "a")), None]);
    ensured(&client).await.unwrap();
    assert_eq!(
        writes(&asked),
        ["DELETE /api/v1/namespaces/net/secrets/edge-api", "POST /api/v1/namespaces/net/secrets"]
    );
    let asked = asked.lock();
    let delete = &asked.iter().find(|(line, _)| line.starts_with("DELETE")).unwrap().1;
    assert_eq!(delete["preconditions"], json!({"uid": "a", "resourceVersion": "7"}));
}

#[tokio::test]
async fn a_broken_one_of_somebody_else_is_reported_and_left_alone() {
    let mut broken = made();
    broken.metadata.owner_references = None;
    broken.data.as_mut().unwrap().insert(READ_TOKEN.to_owned(), ByteString(b"two words".to_vec()));
    let (client, asked) = server(vec![Some(stored(&broken, "a"))]);
    let error = ensured(&client).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "Secret edge-api cannot be used: read-token is no token of one line; correct it, or delete it and it is made anew"
    );
    assert!(writes(&asked).is_empty());
}

#[tokio::test]
async fn one_of_an_earlier_proxy_of_this_name_is_waited_for() {
    let mut old = made();
    old.metadata.owner_references.as_mut().unwrap()[0].uid = "another".to_owned();
    let (client, asked) = server(vec![Some(stored(&old, "a"))]);
    assert!(matches!(ensured(&client).await, Err(ApiSecretError::Leaving(_))));
    assert!(writes(&asked).is_empty());
}

#[test]
fn what_is_wrong_is_told_without_its_content() {
    let cases: [(&str, Option<&[u8]>, &str); 6] = [
        (CERTIFICATE, None, "it has no key tls.crt"),
        (CERTIFICATE, Some(b"hunter2"), "tls.crt and tls.key: it holds no certificate in PEM form"),
        (KEY, Some(b"hunter2"), "tls.crt and tls.key: the key is none in PEM form"),
        (ADMIN_TOKEN, Some(b""), "admin-token is no token of one line"),
        (ADMIN_TOKEN, Some(b"hunter2 hunter2"), "admin-token is no token of one line"),
        (READ_TOKEN, Some(b"\xff"), "read-token is no token of one line"),
    ];
    for (key, value, problem) in cases {
        let mut secret = made();
        let data = secret.data.as_mut().unwrap();
        match value {
            Some(value) => data.insert(key.to_owned(), ByteString(value.to_vec())),
            None => data.remove(key),
        };
        assert_eq!(read(&secret).unwrap_err(), problem);
    }
    let mut same = made();
    let data = same.data.as_mut().unwrap();
    data.insert(READ_TOKEN.to_owned(), data[ADMIN_TOKEN].clone());
    assert_eq!(read(&same).unwrap_err(), "read-token and admin-token are the same");
    let mut mixed = made();
    mixed.data.as_mut().unwrap().insert(KEY.to_owned(), made().data.unwrap()[KEY].clone());
    assert_eq!(
        read(&mixed).unwrap_err(),
        "tls.crt and tls.key: the first certificate is not that of the key"
    );
}
