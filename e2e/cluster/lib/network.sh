# Network namespaces: one per node, one for outside clients, and one whose bridge joins them. Nothing leaves them.

namespace_file() { echo "/run/netns/$cluster-$1"; }

# Not `ip netns exec`: that mounts a fresh /sys and hides the cgroups.
within() { nsenter --net="$(namespace_file "$1")" "${@:2}"; }

client() {
    [ -e "$(namespace_file client)" ] || fail "no cluster $cluster is running; start it with: make cluster-up"
    PATH=$(program_path):$PATH
    export PATH
    exec nsenter --net="$(namespace_file client)" "$@"
}

# Becomes the program, so that whoever ends this ends that.
on_node() { # NODE CMD...
    exec nsenter --net="$(namespace_file "node${1:?number of the node}")" "${@:2}"
}

namespace() { # NAME ADDRESS...
    local name=$1 address
    shift
    [ ! -e "$(namespace_file "$name")" ] || return 0
    ip netns add "$cluster-$name"
    ip -n "$cluster-$name" link set lo up
    ip -n "$cluster-$name" link add eth0 type veth peer name "$name" netns "$cluster-fabric"
    ip -n "$cluster-fabric" link set "$name" master bridge up
    ip -n "$cluster-$name" link set eth0 up
    for address in "$@"; do ip -n "$cluster-$name" addr add "$address/24" dev eth0; done
}

fabric_namespace() {
    [ ! -e "$(namespace_file fabric)" ] || return 0
    ip netns add "$cluster-fabric"
    ip -n "$cluster-fabric" link add bridge type bridge
    ip -n "$cluster-fabric" link set bridge up
}

network() { # NODES
    local i j
    fabric_namespace
    namespace client "${clients[@]}"
    # Addresses of load balancers are those of node 1; its kube-proxy knows the rest.
    ip -n "$cluster-client" route replace "$balancers.0/24" via "$api"
    for i in $(seq "$1"); do
        namespace "node$i" "$(node_ip "$i")"
        ip -n "$cluster-node$i" route replace default via "${clients[0]}"
        within "node$i" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
        # Pods reach what a test listens on, and a test the pods, by their own addresses.
        ip -n "$cluster-client" route replace "$pods.$i.0/24" via "$(node_ip "$i")"
    done
    for i in $(seq "$1"); do
        for j in $(seq "$1"); do
            [ "$i" = "$j" ] || ip -n "$cluster-node$i" route replace "$pods.$j.0/24" via "$(node_ip "$j")"
        done
    done
}
