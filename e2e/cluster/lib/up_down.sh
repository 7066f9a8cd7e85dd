# The whole cluster.

nodes() { cat "$state/nodes" 2>/dev/null || echo 0; }

root_only() { [ "$(id -u)" = 0 ] || fail "this takes root: it makes network namespaces, mounts and cgroups"; }

up() { # [NODES]
    local count=${1:-1} i
    root_only
    "$here/packages"
    build
    mkdir -p "$state"/{run,log}
    chmod 700 "$state"
    (
        flock 9
        [ "$(nodes)" -le "$count" ] || count=$(nodes)
        # The provisioner reads its nodes when it starts.
        [ "$(nodes)" = "$count" ] || { echo "$count" >"$state/nodes" && stop local-path; }
        [ -f "$state/busybox.tar" ] || base_image
        network "$count"
        control_plane
        for i in $(seq "$count"); do node "$i"; done
        addons
        for i in $(seq "$count"); do
            wait_for 120 "node$i to register" kubectl get node "node$i"
            kubectl wait --for=condition=Ready --timeout=120s "node/node$i" >/dev/null
        done
        wait_for 60 "the default service account" kubectl -n default get serviceaccount default
        load_images
        say "cluster $cluster is up, nodes: $count. A shell with kubectl and helm: $here/cluster exec bash"
    ) 9>"$state/lock"
}

# A shell for the provisioner's pods, which is also what keeps the network of a pod: it sleeps.
base_image() {
    local root=$state/busybox name
    mkdir -p "$root/bin"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for name in sh mkdir rm sleep; do ln -sf busybox "$root/bin/$name"; done
    "$here/../../packaging/oci-archive" localhost/busybox:1 "$here/image/Dockerfile" busybox "$root" "$state/busybox.tar"
}

# Archives are kept, for nodes that start later.
load() { # FILE...
    local file kept
    root_only
    [ -d "$state" ] || fail "no cluster $cluster is running; start it with: make cluster-up"
    mkdir -p "$state/images"
    for file in "$@"; do
        kept=$state/images/$(sha256sum "$file" | cut -c 1-16).tar
        [ -e "$kept" ] || cp "$file" "$kept"
    done
    load_images
}

load_images() {
    local i file
    for i in $(seq "$(nodes)"); do
        for file in "$state"/images/*.tar; do
            if [ -e "$file" ] && [ ! -e "$state/node$i/$(basename "$file").loaded" ]; then
                import "$i" "$file"
                touch "$state/node$i/$(basename "$file").loaded"
            fi
        done
    done
}

status() {
    local name
    [ -d "$state" ] || { echo "no cluster $cluster" && return 0; }
    for name in $(daemons); do
        if running "$name"; then echo "$name $(cat "$state/run/$name.pid")"; else echo "$name ended: $state/log/$name.log"; fi
    done
}

# Everything at once: the state goes too, so nothing needs a graceful end. Kubelets first, or they start pods anew.
down() {
    local name i
    root_only
    [ -d "$state" ] || return 0
    for name in $(daemons | grep '^kubelet-') $(daemons | grep '^local-path'); do kill_now "$name"; done
    for i in $(seq "$(nodes)"); do remove_containers "$i"; done
    for name in $(daemons); do kill_now "$name"; done
    awk -v state="$state/" 'index($2, state) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount --lazy
    for name in $(ip netns list | awk -v own="$cluster-" 'index($1, own) == 1 {print $1}'); do ip netns del "$name"; done
    find /sys/fs/cgroup -depth -type d -path "*/$cluster-node[0-9]*" -delete 2>/dev/null || true
    rm -rf "$state"
}

remove_containers() { # NODE
    local id pod_namespace ctr=(ctr --address "$(containerd_socket "$1")" --namespace k8s.io)
    [ -S "$(containerd_socket "$1")" ] || return 0
    for id in $("${ctr[@]}" containers ls -q 2>/dev/null); do
        for pod_namespace in $("${ctr[@]}" containers info "$id" | grep -o 'netns/cni-[0-9a-f-]*' | sort -u); do
            ip netns del "${pod_namespace#netns/}" 2>/dev/null || true
        done
        "${ctr[@]}" tasks kill --signal KILL "$id" >/dev/null 2>&1 || true
        "${ctr[@]}" tasks rm --force "$id" >/dev/null 2>&1 || true
        "${ctr[@]}" containers rm "$id" >/dev/null 2>&1 || true
    done
}
