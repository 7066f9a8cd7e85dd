# A node: containerd, kubelet and kube-proxy in a network namespace.

containerd_socket() { echo "$state/node$1/containerd.sock"; }

node() { # NUMBER
    local i=$1 at=$state/node$1 kubernetes
    kubernetes=$(folder kubernetes)
    mkdir -p "$at"/{cni,kubelet,manifests}
    cgroups "$cluster-node$i"
    pod_network "$i" >"$at/cni/10-pods.conflist"
    containerd_config "$at" >"$at/containerd.toml"
    kubelet_config "$i" >"$at/kubelet.yaml"
    proxy_config "$i" >"$at/kube-proxy.yaml"
    start "containerd-$i" "node$i" containerd --config "$at/containerd.toml"
    wait_for 30 containerd ctr --address "$(containerd_socket "$i")" version
    import "$i" "$state/busybox.tar"
    start "kubelet-$i" "node$i" "$kubernetes/kubelet" --config "$at/kubelet.yaml" --kubeconfig "$KUBECONFIG" --root-dir "$at/kubelet" \
        --hostname-override "node$i" --node-ip "$(node_ip "$i")" --cert-dir "$at/kubelet/pki"
    start "kube-proxy-$i" "node$i" "$kubernetes/kube-proxy" --config "$at/kube-proxy.yaml"
}

import() { # NODE FILE
    ctr --address "$(containerd_socket "$1")" --namespace k8s.io images import "$2" >/dev/null
}

# Each kubelet has a cgroup root of its own, else two on one machine remove each other's pods' groups.
cgroups() { # NAME
    local at
    for at in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ -e "$at/cgroup.procs" ] || continue
        mkdir -p "$at/$1"
        [ ! -e "$at/cpuset.mems" ] || { cat "$at/cpuset.cpus" >"$at/$1/cpuset.cpus" && cat "$at/cpuset.mems" >"$at/$1/cpuset.mems"; }
    done
}

# ptp and not bridge: br_netfilter is not needed, and all traffic crosses the node's routing, where kube-proxy sits.
pod_network() { # NUMBER
    cat <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "$state/node$1/cni/ipam",
   "ranges": [[{"subnet": "$pods.$1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

# restrict_oom_score_adj, and the kubelet's oomScoreAdj of 0: lowering a score takes CAP_SYS_RESOURCE, which a container
# in which this runs may lack.
containerd_config() { # FOLDER
    cat <<END
version = 2
root = "$1/containerd"
state = "$1/containerd-run"
[grpc]
  address = "$1/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/busybox:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$1/cni"
END
}

kubelet_config() { # NUMBER
    cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $state/kubelet-ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$state/node$1/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cluster-node$1
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
clusterDomain: cluster.local
clusterDNS: [$dns]
evictionHard: {memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%}
END
}

proxy_config() { # NUMBER
    cat <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $KUBECONFIG}
mode: nftables
clusterCIDR: $pods.0.0/16
hostnameOverride: node$1
nodePortAddresses: [primary]
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {masqueradeAll: false}
END
}
