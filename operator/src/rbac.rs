//! What the operator may do, and why: the one list. The chart's Roles are generated from it
//! (`charts/bytefreezer-proxy/rbac.yaml`), and the tests on a cluster run with exactly those.
//!
//! - Secrets are neither listed nor watched, so nobody who gets hold of the operator's token learns which there are.
//! - Deleting is for kinds that `build` makes, whose orphans it removes; claims, pods and `<proxy>-api` are never deleted.

use std::fmt::Write as _;

/// Verbs on some resources of one API group.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// API group; empty is the core.
    pub group: &'static str,
    /// Resources, and subresources after a slash.
    pub resources: &'static [&'static str],
    /// Names; empty is every name.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

/// Rights that are given together.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Name, by which the chart's templates know it.
    pub name: &'static str,
    /// Where it holds.
    pub place: &'static str,
    /// Its rights.
    pub rights: &'static [Right],
}

const READ: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

const fn right(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right { group, resources, names: &[], verbs, why }
}

/// Everything.
pub const SETS: &[Set] = &[
    Set {
        name: "objects",
        place: "wherever the operator serves Proxies and datasets",
        rights: &[
            right("bytefreezer.com", &["proxies", "proxydatasets"], READ, "what shall be there"),
            right("bytefreezer.com", &["proxies/status", "proxydatasets/status"], &["patch"], "conditions"),
            right(
                "bytefreezer.com",
                &["proxies/finalizers"],
                &["update"],
                "to own objects that block its deletion",
            ),
            right(
                "",
                &["configmaps", "services", "serviceaccounts"],
                OWN,
                "the document, the addresses, the pods' account",
            ),
            right("apps", &["statefulsets", "daemonsets"], OWN, "the pods"),
            right("networking.k8s.io", &["networkpolicies"], OWN, "who may reach the pods"),
            right("policy", &["poddisruptionbudgets"], OWN, "one pod at a time"),
            right(
                "",
                &["pods"],
                &["get", "list", "watch", "patch"],
                "whom to ask; an annotation that makes the kubelet refresh volumes",
            ),
            right(
                "",
                &["persistentvolumeclaims"],
                &["get", "list", "watch", "patch"],
                "growth, and what a pod left undelivered",
            ),
            right("events.k8s.io", &["events"], &["create", "patch"], "events on Proxies and datasets"),
        ],
    },
    Set {
        name: "secrets",
        place: "the same, or only the namespaces of `secretNamespaces`",
        rights: &[
            right("", &["secrets"], &["get"], "by name: those that Proxies and datasets refer to"),
            right("", &["secrets"], &["create", "patch", "delete"], "<proxy>-api and <proxy>-assets-0 to -7"),
        ],
    },
    Set {
        name: "namespaces",
        place: "the whole cluster; not with `scope: Namespace`",
        rights: &[right("", &["namespaces"], READ, "labels, for allowedDatasets with from: Selector")],
    },
    Set {
        name: "lease",
        place: "the operator's own namespace",
        rights: &[right(
            "coordination.k8s.io",
            &["leases"],
            &["get", "create", "update"],
            "which of several operators works",
        )],
    },
    Set {
        name: "definitions",
        place: "the whole cluster, for the Job that brings them up to date, and for nobody else",
        rights: &[Right {
            group: "apiextensions.k8s.io",
            resources: &["customresourcedefinitions"],
            names: &["proxies.bytefreezer.com", "proxydatasets.bytefreezer.com"],
            verbs: &["get", "create", "patch"],
            why: "server-side apply, and a look whether they are served",
        }],
    },
];

/// The sets as the file that the chart reads.
pub fn yaml() -> String {
    let mut text = String::from(
        "# Generated from operator/src/rbac.rs: `UPDATE=1 make generate`. Do not edit.\n\
         # What the operator may do. Each set is the rules of a Role or ClusterRole.\n",
    );
    for Set { name, place, rights } in SETS {
        let _ = write!(text, "\n# {place}\n{name}:\n");
        for Right { group, resources, names, verbs, why } in *rights {
            let _ = writeln!(text, "  # {why}\n  - apiGroups: [{group:?}]");
            let _ = writeln!(text, "    resources: {resources:?}");
            if !names.is_empty() {
                let _ = writeln!(text, "    resourceNames: {names:?}");
            }
            let _ = writeln!(text, "    verbs: {verbs:?}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::Resource;
    use serde_json::json;

    use super::*;
    use crate::build::{Living, Objects, Workload, tests::built};

    /// Verbs on a resource in the sets that a cluster-wide operator has.
    fn verbs(group: &str, resource: &str) -> BTreeSet<&'static str> {
        let sets = SETS.iter().filter(|set| set.name != "definitions");
        sets.flat_map(|set| set.rights)
            .filter(|right| right.group == group && right.resources.contains(&resource))
            .flat_map(|right| right.verbs.iter().copied())
            .collect()
    }

    fn of<K: Resource<DynamicType = ()>>(_: &K) -> (String, String) {
        (K::group(&()).into_owned(), K::plural(&()).into_owned())
    }

    #[test]
    fn what_is_built_may_be_applied_and_its_orphans_removed() {
        // Taken apart without `..`: a further kind does not compile until it is here.
        let Objects {
            service_account,
            secrets,
            config_map,
            network_policy,
            disruption_budget,
            headless_service,
            services: _,
            workload,
        } = built(&json!({"workload": {"replicas": 2}}), &[("tcp", 514)], &Living::default());
        let workload = match &workload.unwrap() {
            Workload::StatefulSet(set) => of(&**set),
            Workload::DaemonSet(set) => of(&**set),
        };
        let daemon_set = of(&k8s_openapi::api::apps::v1::DaemonSet::default());
        let kinds = [
            of(&service_account),
            of(&config_map),
            of(&network_policy.unwrap()),
            of(&disruption_budget.unwrap()),
            of(&headless_service),
            workload,
            daemon_set,
        ];
        for (group, resource) in kinds {
            assert_eq!(verbs(&group, &resource), OWN.iter().copied().collect::<BTreeSet<_>>(), "{resource}");
        }
        let (group, resource) = of(&secrets[0]);
        assert_eq!(verbs(&group, &resource), BTreeSet::from(["create", "delete", "get", "patch"]));
    }

    #[test]
    fn nothing_that_nobody_should_have() {
        for right in SETS.iter().flat_map(|set| set.rights) {
            assert!(!right.why.is_empty());
            let words = right.verbs.iter().chain(right.resources).chain([&right.group]);
            assert!(words.clone().all(|word| *word != "*"), "{right:?}");
            assert!(
                words.clone().all(|word| !["escalate", "bind", "impersonate"].contains(word)),
                "{right:?}"
            );
            assert!(right.resources.iter().all(|one| !["pods/exec", "serviceaccounts/token"].contains(one)));
        }
        for kept in ["pods", "persistentvolumeclaims"] {
            assert!(!verbs("", kept).contains("delete"), "{kept} are never deleted");
        }
    }
}
