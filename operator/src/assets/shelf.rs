//! What the Proxy's Secrets hold, and what must stay there although nothing refers to it any more.
//!
//! A file that the wanted document no longer names goes only when
//! 1. the document that was applied last does not name it either, and every pod has applied that document, and
//! 2. no pod holds undelivered data that would need it: data of a tenant without another token or authority in its place.
//!    For files that were there before this process, nobody knows for whom they are; each tenant counts.
//!
//! So a file is added before the document that names it, and removed after the last pod that may read it. Without pods
//! nothing goes: their claims may hold data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytefreezer_crds::labels;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::Value as Json;

use super::{AssetKind, AssetRef, AssetUse, Assets, Content, Delivery, Placement, SECRETS, place};
use crate::{acknowledge::PodReport, validate::ValidatedProxy};

/// What the Secrets of one Proxy hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    held: BTreeMap<String, Held>,
    placement: [BTreeSet<String>; SECRETS],
    /// The document that was applied last.
    document: Option<String>,
}

/// One file.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    content: Content,
    /// As what it is used; empty when nobody knows.
    uses: BTreeSet<(AssetKind, Delivery)>,
    /// Whether the document names it.
    wanted: bool,
    /// Whether a dataset needs it of which nobody knows what it refers to.
    kept: bool,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("uses", &self.uses).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// What the Secrets shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    files: BTreeMap<String, Held>,
    /// Names of files by Secret.
    pub placement: [BTreeSet<String>; SECRETS],
    /// Assets that found no room.
    pub left_out: BTreeSet<AssetRef>,
}

impl Plan {
    /// Contents by name.
    pub fn files(&self) -> BTreeMap<String, &[u8]> {
        self.files.iter().map(|(name, held)| (name.clone(), held.content.0.as_slice())).collect()
    }

    /// Whether something stays that is to go later: worth another pass after a while.
    pub fn waits(&self) -> bool {
        self.files.values().any(|held| !held.wanted)
    }
}

impl Shelf {
    /// What is there, once per process and Proxy.
    pub async fn read(client: &Client, proxy: &ValidatedProxy) -> Result<Self, kube::Error> {
        let api: Api<Secret> = Api::namespaced(client.clone(), &proxy.key.namespace);
        let mut secrets = Vec::with_capacity(SECRETS);
        for index in 0..SECRETS {
            let secret = api.get_opt(&format!("{}-assets-{index}", proxy.key.name)).await?;
            secrets.push(secret.filter(|secret| is_built_for(secret, &proxy.owner.uid)));
        }
        Ok(Self::of(secrets))
    }

    fn of(secrets: Vec<Option<Secret>>) -> Self {
        let mut shelf = Self::default();
        for (names, secret) in shelf.placement.iter_mut().zip(secrets) {
            for (name, content) in secret.and_then(|secret| secret.data).unwrap_or_default() {
                let held =
                    Held { content: Content(content.0), uses: BTreeSet::new(), wanted: false, kept: false };
                if shelf.held.insert(name.clone(), held).is_none() {
                    names.insert(name);
                }
            }
        }
        shelf
    }

    /// From now on what these entries of an earlier document name stays, whoever refers to it.
    pub fn keep<'a>(&mut self, entries: impl Iterator<Item = &'a Json>) {
        let entries: Vec<String> = entries.map(Json::to_string).collect();
        for (name, held) in &mut self.held {
            held.kept = entries.iter().any(|entry| entry.contains(name));
        }
    }

    /// What shall be there for `uses`. What finds no room is taken out of `assets`, as if it had not been found.
    pub fn plan(&self, assets: &mut Assets, uses: &[AssetUse], reports: &[PodReport]) -> Plan {
        let mut files: BTreeMap<String, Held> = BTreeMap::new();
        for used in uses {
            if let Some((name, content)) = assets.file(&used.asset) {
                let held = files.entry(name).or_insert_with(|| Held {
                    content: content.clone(),
                    uses: BTreeSet::new(),
                    wanted: true,
                    kept: false,
                });
                held.uses.insert((used.kind, used.delivery.clone()));
            }
        }
        let served: BTreeSet<_> = files.values().flat_map(|held| held.uses.clone()).collect();
        let settled = self.is_settled(reports);
        for (name, held) in &self.held {
            let stays = held.kept || !settled || held.wanted || is_needed(held, &served, reports);
            if stays && !files.contains_key(name) {
                files.insert(name.clone(), Held { wanted: held.kept, ..held.clone() });
            }
        }
        let contents = files.iter().map(|(name, held)| (name.clone(), held.content.0.as_slice())).collect();
        let Placement { secrets, left_out } = place(&contents, &self.placement);
        files.retain(|name, _| !left_out.contains(name));
        let no_room =
            |used: &&AssetUse| assets.file(&used.asset).is_some_and(|(name, _)| left_out.contains(&name));
        let left_out: BTreeSet<_> = uses.iter().filter(no_room).map(|used| used.asset.clone()).collect();
        for asset in &left_out {
            assets.leave_out(asset);
        }
        Plan { files, placement: secrets, left_out }
    }

    /// Before a plan is applied. Should that fail half-way, nothing goes until a later pass succeeds.
    pub fn begin(&mut self, plan: Plan) {
        *self = Self { held: plan.files, placement: plan.placement, document: None };
    }

    /// After the plan and the document with this hash were applied.
    pub fn applied(&mut self, document: &str) {
        self.document = Some(document.to_owned());
    }

    /// Whether every pod has applied the document that was applied last.
    fn is_settled(&self, reports: &[PodReport]) -> bool {
        let has_it = |report: &PodReport| {
            report.said.as_ref().is_some_and(|said| Some(&said.document) == self.document.as_ref())
        };
        self.document.is_some() && !reports.is_empty() && reports.iter().all(has_it)
    }
}

fn is_built_for(secret: &Secret, uid: &str) -> bool {
    let built = secret.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(labels::BUILT));
    built && secret.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

/// Whether some pod holds data that nothing else that is `served` would let out.
fn is_needed(held: &Held, served: &BTreeSet<(AssetKind, Delivery)>, reports: &[PodReport]) -> bool {
    let is_served = |kind, delivery: &Delivery| served.contains(&(kind, delivery.clone()));
    reports.iter().any(|report| {
        let Some(spooled) = report.said.as_ref().and_then(|said| said.spooled.as_ref()) else {
            return held.uses.is_empty() || held.uses.iter().any(|(_, delivery)| *delivery != Delivery::No);
        };
        if held.uses.is_empty() {
            let any = is_served(AssetKind::Token, &Delivery::Any);
            let has_token =
                |tenant: &String| any || is_served(AssetKind::Token, &Delivery::Tenant(tenant.clone()));
            return !spooled.keys().all(has_token);
        }
        held.uses.iter().any(|(kind, delivery)| {
            let has_data = match delivery {
                Delivery::No => false,
                Delivery::Tenant(tenant) => spooled.contains_key(tenant),
                Delivery::Any => !spooled.is_empty(),
            };
            has_data && !is_served(*kind, delivery)
        })
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::{acknowledge::Said, assets::file_name};

    fn asset(key: &str) -> AssetRef {
        AssetRef::new("net", "bf", key)
    }

    fn used(key: &str, delivery: Delivery) -> AssetUse {
        AssetUse { asset: asset(key), kind: AssetKind::Token, delivery }
    }

    fn tenant(name: &str) -> Delivery {
        Delivery::Tenant(name.to_owned())
    }

    fn assets(contents: &[(&str, &str)]) -> Assets {
        contents.iter().map(|(key, content)| (asset(key), content.as_bytes().to_vec())).collect()
    }

    fn pod(document: &str, spooled: Option<&[&str]>) -> PodReport {
        let spooled = spooled.map(|tenants| tenants.iter().map(|tenant| ((*tenant).to_owned(), 1)).collect());
        PodReport {
            pod: "edge-0".to_owned(),
            uid: "1".to_owned(),
            node: None,
            ready: true,
            said: Some(Said { document: document.to_owned(), spooled, ..Said::default() }),
            silence: None,
        }
    }

    /// A shelf with token `old` of this delivery, applied with document `d1`.
    fn shelf(delivery: Delivery) -> Shelf {
        let mut shelf = Shelf::default();
        let plan = shelf.plan(&mut assets(&[("a", "old")]), &[used("a", delivery)], &[]);
        shelf.begin(plan);
        shelf.applied("d1");
        shelf
    }

    fn names(plan: &Plan) -> Vec<String> {
        plan.placement.iter().flatten().cloned().collect()
    }

    #[test]
    fn a_rotated_token_goes_after_the_last_pod_that_may_read_it() {
        let (old, new) = (file_name(b"old"), file_name(b"new"));
        let mut shelf = shelf(tenant("acme"));
        let now = &mut assets(&[("a", "new")]);
        let uses = [used("a", tenant("acme"))];
        let busy: Option<&[&str]> = Some(&["acme"]);

        let plan = shelf.plan(now, &uses, &[pod("d1", busy)]);
        assert_eq!(names(&plan).len(), 2, "added before the document names it, nothing goes yet");
        assert!(plan.waits());
        shelf.begin(plan);
        shelf.applied("d2");

        let plan = shelf.plan(now, &uses, &[pod("d2", busy), pod("d1", busy)]);
        assert!(names(&plan).contains(&old), "one pod may still read it");
        let mut unheard = pod("d2", busy);
        unheard.said = None;
        assert!(names(&shelf.plan(now, &uses, &[pod("d2", busy), unheard])).contains(&old));
        assert!(names(&shelf.plan(now, &uses, &[])).contains(&old), "no pods, but perhaps claims");

        let plan = shelf.plan(now, &uses, &[pod("d2", busy), pod("d2", busy)]);
        assert_eq!(names(&plan), [new], "acme's data goes out with the new token");
        assert!(!plan.waits());
    }

    #[test]
    fn a_token_without_a_successor_stays_until_its_tenant_has_nothing_left() {
        let mut shelf = shelf(tenant("acme"));
        let plan = shelf.plan(&mut Assets::default(), &[], &[pod("d1", Some(&[]))]);
        assert_eq!(names(&plan).len(), 1, "the document that is applied names it");
        shelf.begin(plan);
        shelf.applied("d2");
        let left = |spooled| names(&shelf.plan(&mut Assets::default(), &[], &[pod("d2", spooled)])).len();
        assert_eq!(left(Some(&["acme"])), 1);
        assert_eq!(left(None), 1, "a pod that does not say counts as if it had some");
        assert_eq!(left(Some(&["other"])), 0);
    }

    #[test]
    fn a_serving_key_does_not_wait_for_delivery() {
        let mut shelf = shelf(Delivery::No);
        let plan = shelf.plan(&mut Assets::default(), &[], &[]);
        shelf.begin(plan);
        shelf.applied("d2");
        let plan = shelf.plan(&mut Assets::default(), &[], &[pod("d2", Some(&["acme"]))]);
        assert!(names(&plan).is_empty());
    }

    #[test]
    fn what_an_entry_names_that_is_kept_stays_while_it_is_kept() {
        let key = file_name(b"old");
        let mut shelf = shelf(Delivery::No);
        let entry =
            serde_json::json!({"config": {"tls": {"key_file": format!("{}/{key}", crate::assets::FOLDER)}}});
        let reports = [pod("d2", Some(&[]))];
        for _ in 0..2 {
            shelf.keep([&entry].into_iter());
            let plan = shelf.plan(&mut Assets::default(), &[], &reports);
            assert_eq!((names(&plan), plan.waits()), (vec![key.clone()], false));
            shelf.begin(plan);
            shelf.applied("d2");
        }
        shelf.keep(std::iter::empty());
        shelf.begin(shelf.plan(&mut Assets::default(), &[], &reports));
        shelf.applied("d2");
        assert!(names(&shelf.plan(&mut Assets::default(), &[], &reports)).is_empty());
    }

    #[test]
    fn a_pass_that_fails_half_way_removes_nothing_afterwards() {
        let mut shelf = shelf(Delivery::No);
        let plan = shelf.plan(&mut Assets::default(), &[], &[pod("d1", Some(&[]))]);
        shelf.begin(plan);
        let plan = shelf.plan(&mut Assets::default(), &[], &[pod("d1", Some(&[])), pod("d2", Some(&[]))]);
        assert_eq!(names(&plan).len(), 1);
    }

    #[test]
    fn what_was_there_before_is_nobodys_until_it_is_known() {
        let secret = |name: &str, content: &str| Secret {
            data: Some([(name.to_owned(), ByteString(content.as_bytes().to_vec()))].into()),
            ..Secret::default()
        };
        let mut shelf =
            Shelf::of(vec![Some(secret(&file_name(b"x"), "x")), None, Some(secret(&file_name(b"y"), "y"))]);
        let (uses, now) = ([used("y", tenant("acme"))], &mut assets(&[("y", "y")]));
        let plan = shelf.plan(now, &uses, &[pod("d1", Some(&[]))]);
        assert_eq!(plan.placement[0], [file_name(b"x")].into());
        assert_eq!(plan.placement[2], [file_name(b"y")].into(), "it stays where it is");
        shelf.begin(plan);
        shelf.applied("d1");
        let mut left = |spooled| names(&shelf.plan(now, &uses, &[pod("d1", Some(spooled))])).len();
        assert_eq!(left(&["acme"]), 1, "acme has a token");
        assert_eq!(left(&["acme", "beta"]), 2, "beta has none: x may be its");
    }

    #[test]
    fn what_finds_no_room_is_as_if_it_were_not_there() {
        let (big, bigger) = ("b".repeat(600 << 10), "c".repeat(750 << 10));
        let mut now = assets(&[("a", &big), ("b", &bigger)]);
        let uses = [used("a", Delivery::No), used("b", Delivery::No)];
        let plan = Shelf::default().plan(&mut now, &uses, &[]);
        assert_eq!(plan.left_out, [asset("b")].into());
        assert!(now.has(&asset("a")) && !now.has(&asset("b")));
        assert_eq!(plan.files().len(), 1);
    }

    #[test]
    fn nothing_prints_a_content() {
        let shelf = shelf(Delivery::Any);
        let plan = shelf.plan(&mut assets(&[("a", "old")]), &[used("a", Delivery::Any)], &[]);
        let printed = format!("{shelf:?} {plan:?} {:?}", assets(&[("a", "old")]));
        let bytes = format!("{:?}", b"old");
        assert!(!printed.contains("\"old\"") && !printed.contains(&bytes[1..bytes.len() - 1]), "{printed}");
    }
}
