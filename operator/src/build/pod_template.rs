//! The pods: a function of the Proxy alone.
//!
//! - Configuration and assets are one projected volume whose sources are all optional, so its content changes without
//!   the template, and document and assets change in one swap.
//! - The container declares only API and health; Services use numbers.
//! - Ports below 1024 need no privilege on the pod network (a safe sysctl). On the host network, where that sysctl must
//!   not be set, they need the copy of the program that carries the capability, and that needs leave to gain it.

use bytefreezer_crds::labels;
use k8s_openapi::{
    DeepMerge as _,
    api::core::v1::{
        Affinity, Capabilities, ConfigMapProjection, Container, ContainerPort, EnvVar, HTTPGetAction,
        HostPathVolumeSource, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec,
        Probe, ProjectedVolumeSource, SeccompProfile, SecretProjection, SecretVolumeSource, SecurityContext,
        Sysctl, Volume, VolumeMount, VolumeProjection, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{common_labels, headless_service::SUFFIX, pod_selector};
use crate::{
    assets::{FOLDER, SECRETS},
    convert::{API_FOLDER, SPOOL_FOLDER},
    validate::ValidatedProxy,
};

/// Name of the spool's volume and claim.
pub const SPOOL: &str = "spool";
/// Name of the one container.
pub const CONTAINER: &str = "proxy";
/// Name of its API port.
pub const API_PORT: &str = "api";
/// User and group of the image.
const USER: i64 = 65532;
/// What is left in the spool at a pod's end is written here.
const TERMINATION: &str = "/dev/termination-log";
/// The program.
const PROGRAM: &str = "/usr/bin/bytefreezer-proxy";
/// The same with the capability to bind ports below 1024.
const PRIVILEGED_PROGRAM: &str = "/usr/bin/bytefreezer-proxy-privileged";

pub(super) fn build(proxy: &ValidatedProxy) -> PodTemplateSpec {
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(common_labels(proxy)), ..ObjectMeta::default() }),
        spec: Some(spec(proxy)),
    };
    if let Some(overrides) = proxy.pod_template.clone() {
        template.merge_from(overrides);
        // The selector must go on to fit.
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(labels::PROXY.to_owned(), proxy.key.name.clone());
    }
    template
}

fn spec(proxy: &ValidatedProxy) -> PodSpec {
    let workload = &proxy.spec.workload;
    let on_host = proxy.on_host_network();
    PodSpec {
        service_account_name: Some(format!("{}{SUFFIX}", proxy.key.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_network: on_host.then_some(true),
        dns_policy: on_host.then(|| "ClusterFirstWithHostNet".to_owned()),
        termination_grace_period_seconds: Some(proxy.termination_seconds()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Else every start would walk the whole spool.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(seccomp()),
            sysctls: (!on_host).then(|| {
                vec![Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() }]
            }),
            ..PodSecurityContext::default()
        }),
        node_selector: (!workload.node_selector.is_empty()).then(|| workload.node_selector.clone()),
        tolerations: (!workload.tolerations.is_empty()).then(|| workload.tolerations.clone()),
        affinity: affinity(proxy),
        topology_spread_constraints: (!workload.topology_spread_constraints.is_empty())
            .then(|| workload.topology_spread_constraints.clone()),
        init_containers: proxy.is_daemon_set().then(|| vec![folder_maker(proxy)]),
        containers: vec![container(proxy)],
        volumes: Some(volumes(proxy)),
        ..PodSpec::default()
    }
}

fn container(proxy: &ValidatedProxy) -> Container {
    let program = if proxy.has_privileged_ports() { PRIVILEGED_PROGRAM } else { PROGRAM };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let probe = |path: &str, period, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(proxy.image.clone()),
        command: Some(vec![program.to_owned()]),
        args: Some(
            [
                "--config",
                &format!("{FOLDER}/config.yaml"),
                "--wait-for-config",
                "--termination-message",
                TERMINATION,
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        // As in the document: until there is one, nothing else says where health is asked for.
        env: Some(vec![
            variable(
                "BYTEFREEZER_PROXY_SERVER_API_HOST",
                proxy.spec.exposure.listen_address.as_str().to_owned(),
            ),
            variable("BYTEFREEZER_PROXY_SERVER_HEALTH_PORT", proxy.health_port.to_string()),
        ]),
        ports: Some(vec![port(API_PORT, proxy.api_port), port("health", proxy.health_port)]),
        resources: proxy.spec.workload.resources.clone(),
        // A long recovery of a large spool is no reason to start over.
        startup_probe: Some(probe("/livez", 2, 150)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        security_context: Some(container_security(proxy.has_privileged_ports())),
        termination_message_path: Some(TERMINATION.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(vec![
            mount("config", FOLDER, true),
            mount("api", API_FOLDER, true),
            mount(SPOOL, SPOOL_FOLDER, false),
        ]),
        ..Container::default()
    }
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() }
}

/// A file's capability counts only while it is in the bounding set and the process may gain privileges.
fn container_security(privileged_ports: bool) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(privileged_ports),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: privileged_ports.then(|| vec!["NET_BIND_SERVICE".to_owned()]),
        }),
        ..SecurityContext::default()
    }
}

/// Gives the folder of the node, which the kubelet makes for root, to the proxy's user. The top folder only.
fn folder_maker(proxy: &ValidatedProxy) -> Container {
    Container {
        name: "spool-folder".to_owned(),
        image: Some(proxy.image.clone()),
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(["spool", "own", SPOOL_FOLDER, &USER.to_string()].map(str::to_owned).to_vec()),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(vec!["CHOWN".to_owned()]),
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: SPOOL.to_owned(),
            mount_path: SPOOL_FOLDER.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn volumes(proxy: &ValidatedProxy) -> Vec<Volume> {
    let name = &proxy.key.name;
    let config = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: format!("{name}-config"),
            optional: Some(true),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let assets = (0..SECRETS).map(|index| VolumeProjection {
        secret: Some(SecretProjection {
            name: format!("{name}-assets-{index}"),
            optional: Some(true),
            ..SecretProjection::default()
        }),
        ..VolumeProjection::default()
    });
    let mut volumes = vec![
        Volume {
            name: "config".to_owned(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(0o440),
                sources: Some(std::iter::once(config).chain(assets).collect()),
            }),
            ..Volume::default()
        },
        Volume {
            name: "api".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(format!("{name}-api")),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ];
    if proxy.is_daemon_set() {
        volumes.push(Volume {
            name: SPOOL.to_owned(),
            host_path: Some(HostPathVolumeSource {
                path: proxy.host_folder(),
                type_: Some("DirectoryOrCreate".to_owned()),
            }),
            ..Volume::default()
        });
    }
    volumes
}

/// Replicas prefer different nodes; on the host network, where they share ports, they must have them.
fn affinity(proxy: &ValidatedProxy) -> Option<Affinity> {
    let wanted = proxy.spec.workload.affinity.clone();
    if proxy.is_daemon_set() {
        return wanted;
    }
    let apart = PodAffinityTerm {
        label_selector: Some(pod_selector(proxy)),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    if proxy.on_host_network() {
        let mut affinity = wanted.unwrap_or_default();
        let rules = affinity.pod_anti_affinity.get_or_insert_default();
        rules.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(apart);
        return Some(affinity);
    }
    wanted.or_else(|| {
        Some(Affinity {
            pod_anti_affinity: Some(PodAntiAffinity {
                preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: apart,
                }]),
                ..PodAntiAffinity::default()
            }),
            ..Affinity::default()
        })
    })
}
