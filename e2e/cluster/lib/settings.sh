# Versions, folders and addresses, and how this program speaks.

# Version and module of each program. One binary is all of Kubernetes: its module is beside this file.
declare -A version=(
    [kubernetes]=v1.36.3
    [helm]=v3.22.0
    [coredns]=v1.15.0
    # v0.16 needs a module that the public module proxy does not serve.
    [metallb-controller]=v0.15.2
    [local-path-provisioner]=v0.0.30
    [kubeconform]=v0.7.0
    # No part of a cluster: a peer of the bench.
    [goflow2]=v2.2.3
)
declare -A module=(
    [helm]=helm.sh/helm/v3/cmd/helm
    [coredns]=github.com/coredns/coredns
    [metallb-controller]=go.universe.tf/metallb/controller
    [local-path-provisioner]=github.com/rancher/local-path-provisioner
    [kubeconform]=github.com/yannh/kubeconform/cmd/kubeconform
    [goflow2]=github.com/netsampler/goflow2/v2/cmd/goflow2
)
kubernetes_programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

cluster=${CLUSTER:-bf}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bytefreezer-cluster
state=/tmp/$cluster-cluster
export KUBECONFIG=$state/admin.conf

# Node N is .10+N; the API server is on node 1.
fabric=172.30.0
api=$fabric.11
# Several addresses of outside clients, so that one test can be several senders; fifty are for exporters of flows.
clients=("$fabric".{2..5} "$fabric".{100..149})
pods=10.244 # node N: 10.244.N.0/24
services=10.96.0.0/16
dns=10.96.0.10
balancers=203.0.113 # LoadBalancer addresses are .10 to .250

say() { printf '%s\n' "$*" >&2; }
fail() { say "cluster: $*" && exit 1; }
node_ip() { echo "$fabric.$((10 + $1))"; }
# The folder of a program; its version is in the name, so that worktrees of different versions share the cache.
folder() { echo "$cache/$1-${version[$1]}"; }
program_path() {
    local name path=
    for name in "${!version[@]}"; do path+=:$(folder "$name"); done
    echo "${path#:}"
}
