use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use super::*;
use crate::{assets::Delivery, mock};

/// Secrets by path of the API server, changed while it runs.
type There = Arc<Mutex<BTreeMap<String, (u16, Json)>>>;

fn put(there: &There, secret: &str, labels: &Json, data: &[(&str, &str)]) {
    use k8s_openapi::ByteString;
    let data: BTreeMap<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
    let (namespace, name) = secret.split_once('/').unwrap();
    let json = json!({
        "apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
    });
    there.lock().insert(secret.to_owned(), (200, json));
}

struct Bench {
    there: There,
    asked: mock::Asked,
    cache: Cache,
    changes: mpsc::Receiver<ObjectKey>,
}

impl Bench {
    fn new() -> Self {
        let there = There::default();
        let now = Arc::clone(&there);
        let (client, asked) = mock::server(move |method, uri| {
            assert_eq!(*method, Method::GET, "{uri}");
            let parts: Vec<_> = uri.split('/').collect();
            let ["", "api", "v1", "namespaces", namespace, "secrets", name] = parts[..] else {
                panic!("only single Secrets are read: {uri}");
            };
            let found = now.lock().get(&format!("{namespace}/{name}")).cloned();
            Some(found.unwrap_or_else(|| mock::status(404, "NotFound")))
        });
        let (told, changes) = mpsc::channel(16);
        Self { there, asked, cache: Cache::start(client, told), changes }
    }

    async fn resolve(&self, uses: &[AssetUse]) -> Resolved {
        self.cache.resolve(&edge(), uses).await.unwrap()
    }

    /// Waits until the Proxy is told of a change; paused time goes on by itself.
    async fn told(&mut self) {
        let told = timeout(Duration::from_secs(40), self.changes.recv()).await;
        assert_eq!(told.expect("told within the interval"), Some(edge()));
    }

    fn gets(&self) -> usize {
        self.asked.lock().len()
    }
}

fn edge() -> ObjectKey {
    ObjectKey::new("net", "edge")
}

fn used(secret: &str, key: &str, kind: AssetKind) -> AssetUse {
    let (namespace, name) = secret.split_once('/').unwrap();
    AssetUse { asset: AssetRef::new(namespace, name, key), kind, delivery: Delivery::No }
}

fn token(secret: &str) -> AssetUse {
    used(secret, "token", AssetKind::Token)
}

fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

#[tokio::test(start_paused = true)]
async fn only_what_is_referred_to_is_read_and_only_once() {
    let bench = Bench::new();
    put(&bench.there, "net/bf", &json!({}), &[("token", "one"), ("other", "two")]);
    put(&bench.there, "net/unused", &json!({}), &[("token", "three")]);
    let uses = [token("net/bf")];
    let resolved = bench.resolve(&uses).await;
    assert!(resolved.assets.has(&uses[0].asset) && resolved.problems.is_empty());
    assert!(!resolved.assets.has(&AssetRef::new("net", "bf", "other")), "nobody refers to it");
    bench.resolve(&uses).await;
    assert_eq!(bench.gets(), 1);
    bench.resolve(&[token("net/bf"), used("net/bf", "other", AssetKind::Token)]).await;
    assert_eq!(bench.gets(), 2, "another key of it");
}

#[tokio::test(start_paused = true)]
async fn a_new_content_is_told_and_an_old_one_is_not() {
    let mut bench = Bench::new();
    put(&bench.there, "net/bf", &json!({}), &[("token", "one")]);
    let uses = [token("net/bf")];
    let before = bench.resolve(&uses).await.assets.path(&uses[0].asset);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(bench.changes.try_recv().is_err());
    let looks = bench.gets() - 1;
    assert!((9..=20).contains(&looks), "{looks} looks in 5 minutes");

    put(&bench.there, "net/bf", &json!({}), &[("token", "two")]);
    bench.told().await;
    assert_ne!(bench.resolve(&uses).await.assets.path(&uses[0].asset), before);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_missing_is_found_soon() {
    let mut bench = Bench::new();
    let uses = [token("net/bf")];
    let resolved = bench.resolve(&uses).await;
    assert_eq!(resolved.problem(&uses), Some((&uses[0].asset, &Problem::NoSecret)));
    put(&bench.there, "net/bf", &json!({}), &[("other", "one")]);
    let start = Instant::now();
    bench.told().await;
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(bench.resolve(&uses).await.problem(&uses).unwrap().1, &Problem::NoKey);
    put(&bench.there, "net/bf", &json!({}), &[("token", "one")]);
    bench.told().await;
    assert_eq!(bench.resolve(&uses).await.problem(&uses), None);
}

#[tokio::test(start_paused = true)]
async fn another_namespaces_secret_needs_the_label() {
    let mut bench = Bench::new();
    put(&bench.there, "apps/tls", &json!({}), &[("token", "one")]);
    let uses = [token("apps/tls")];
    let resolved = bench.resolve(&uses).await;
    assert_eq!(resolved.problem(&uses).unwrap().1, &Problem::NotShared);
    assert!(!resolved.assets.has(&uses[0].asset));
    for value in ["yes", "TRUE", ""] {
        put(&bench.there, "apps/tls", &json!({"bytefreezer.com/proxy-asset": value}), &[("token", "one")]);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(bench.resolve(&uses).await.problem(&uses).unwrap().1, &Problem::NotShared, "{value}");
    }
    put(&bench.there, "apps/tls", &json!({"bytefreezer.com/proxy-asset": "true"}), &[("token", "one")]);
    bench.told().await;
    assert!(bench.resolve(&uses).await.assets.has(&uses[0].asset));
    put(&bench.there, "apps/tls", &json!({}), &[("token", "one")]);
    bench.told().await;
    assert!(!bench.resolve(&uses).await.assets.has(&uses[0].asset), "no longer shared, no longer used");
}

#[tokio::test(start_paused = true)]
async fn a_bad_content_is_told_and_the_good_one_before_it_goes_on() {
    let mut bench = Bench::new();
    let ((crt, key), (other_crt, other_key)) = (pair(), pair());
    let uses =
        [used("net/tls", "tls.crt", AssetKind::Certificate), used("net/tls", "tls.key", AssetKind::Key)];
    put(&bench.there, "net/tls", &json!({}), &[("tls.crt", &crt), ("tls.key", &key)]);
    let paths = |resolved: &Resolved| uses.clone().map(|used| resolved.assets.path(&used.asset));
    let before = bench.resolve(&uses).await;
    assert!(before.problems.is_empty());

    put(&bench.there, "net/tls", &json!({}), &[("tls.crt", &other_crt), ("tls.key", &key)]);
    bench.told().await;
    let torn = bench.resolve(&uses).await;
    assert_eq!(paths(&torn), paths(&before), "certificate and key stay together");
    assert!(matches!(torn.problem(&uses).unwrap().1, Problem::Invalid(_)));

    put(&bench.there, "net/tls", &json!({}), &[("tls.crt", &other_crt), ("tls.key", &other_key)]);
    bench.told().await;
    let after = bench.resolve(&uses).await;
    assert!(after.problems.is_empty() && paths(&after) != paths(&before));

    bench.there.lock().remove("net/tls");
    bench.told().await;
    let gone = bench.resolve(&uses).await;
    assert!(!gone.assets.has(&uses[0].asset), "deleted is deleted");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_answers_what_was_read_goes_on_and_nothing_is_made_up() {
    let mut bench = Bench::new();
    put(&bench.there, "net/bf", &json!({}), &[("token", "one")]);
    let uses = [token("net/bf")];
    bench.resolve(&uses).await;
    bench.there.lock().insert("net/bf".to_owned(), mock::status(500, "InternalError"));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(bench.changes.try_recv().is_err());
    assert!(bench.resolve(&uses).await.assets.has(&uses[0].asset));

    bench.there.lock().insert("net/new".to_owned(), mock::status(500, "InternalError"));
    let error = bench.cache.resolve(&edge(), &[token("net/new")]).await.unwrap_err().to_string();
    assert!(error.starts_with("Secret net/new cannot be read: "), "{error}");
    bench.there.lock().insert("net/new".to_owned(), mock::status(403, "Forbidden"));
    let uses = [token("net/new")];
    assert_eq!(bench.resolve(&uses).await.problem(&uses).unwrap().1, &Problem::Forbidden);
    put(&bench.there, "net/new", &json!({}), &[("token", "one")]);
    bench.told().await;
    assert!(bench.resolve(&uses).await.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_refers_to_any_more_is_forgotten() {
    let bench = Bench::new();
    put(&bench.there, "net/bf", &json!({}), &[("token", "one")]);
    let other = ObjectKey::new("net", "other");
    bench.resolve(&[token("net/bf")]).await;
    bench.cache.resolve(&other, &[token("net/bf")]).await.unwrap();
    bench.cache.forget(&edge());
    assert_eq!(format!("{:?}", bench.cache), "Cache of 1 Secrets");
    bench.cache.forget(&other);
    assert_eq!(format!("{:?}", bench.cache), "Cache of 0 Secrets");
    let gets = bench.gets();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(bench.gets(), gets);
}

#[tokio::test(start_paused = true)]
async fn nothing_prints_a_content() {
    let bench = Bench::new();
    put(&bench.there, "net/bf", &json!({}), &[("token", "hunter2"), ("bad", "hunter2 hunter2")]);
    let uses =
        [token("net/bf"), used("net/bf", "bad", AssetKind::Token), used("net/bf", "bad", AssetKind::Key)];
    let resolved = bench.resolve(&uses).await;
    let (asset, problem) = resolved.problem(&uses).unwrap();
    let printed = format!("{resolved:?} {} {:?}", problem.message(asset), bench.cache);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!printed.contains("104, 117, 110"), "{printed}");
}
