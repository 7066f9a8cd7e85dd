# Programs from Go modules, into the cache.

build() { # PROGRAM...: all of them when none is named
    local name missing=()
    [ $# -gt 0 ] || set -- kubernetes helm coredns metallb-controller local-path-provisioner
    for name in "$@"; do
        [ -n "${version[$name]:-}" ] || fail "no program $name; there are: ${!version[*]}"
        [ -e "$(folder "$name")/$name" ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v go >/dev/null || fail "Go (1.21 or later) is missing: https://go.dev/doc/install says how to get it"
    mkdir -p "$cache"
    (
        # Two builds at a time would only slow each other down.
        flock --nonblock 9 || { say "another build is running; waiting for it" && flock 9; }
        [[ " ${missing[*]} " != *" kubernetes "* ]] || say "Building Kubernetes and its parts from their Go modules into $cache." \
            "This happens once and takes about 15 minutes on 2 cores, 8 of them for Kubernetes itself."
        for name in "${missing[@]}"; do
            [ -e "$(folder "$name")/$name" ] || build_one "$name"
        done
        # What is built is not built again: gigabytes that would help nobody.
        rm -rf "$cache/go-build"
    ) 9>"$cache/lock"
}

# build_one PROGRAM: its folder appears when it is complete, so an interrupted build leaves nothing half made
build_one() {
    local name=$1 target part
    target=$(folder "$name")
    part=$target.part
    rm -rf "$part" && mkdir -p "$part"
    if [ "$name" = kubernetes ]; then
        build_kubernetes "$part"
    else
        GOBIN=$part compile "$name" "$(go env GOPATH)" install -ldflags "-s -w" "${module[$name]}@${version[$name]}"
        [ -e "$part/$name" ] || mv "$part/$(basename "${module[$name]}")" "$part/$name"
    fi
    [ "$name" != metallb-controller ] || cp -r "$(module_folder go.universe.tf/metallb)/config/crd/bases" "$part/crds"
    rm -rf "$target" && mv "$part" "$target"
}

build_kubernetes() { # FOLDER
    local link set=k8s.io/component-base/version release=${version[kubernetes]} minor
    minor=${release#v1.} minor=${minor%%.*}
    compile kubernetes "$here/kubernetes" build -trimpath -o "$1/kubernetes" \
        -ldflags "-s -w -X $set.gitVersion=$release -X $set.gitMajor=1 -X $set.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$release" .
    for link in "${kubernetes_programs[@]}"; do ln -s kubernetes "$1/$link"; done
}

module_folder() { # MODULE: where Go keeps its sources
    local at
    at=$(go mod download -json "$1@${version[metallb-controller]}" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$at" ] || fail "no sources of $1"
    echo "$at"
}

# compile PROGRAM FOLDER GO-ARGUMENTS...: shows how far it is; the whole output is in the cache
compile() {
    local name=$1 at=$2 log=$cache/$1.log command=$3 started=$SECONDS
    shift 3
    say "$name ${version[$name]}: fetching and compiling"
    mkdir -p "$at"
    (cd "$at" && CGO_ENABLED=0 GOCACHE=$cache/go-build go "$command" -v "$@" 2>&1) | tee "$log" | progress "$name" || {
        tail -n 20 "$log" >&2
        fail "building $name failed; all it said: $log"
    }
    say "$name ${version[$name]}: done after $((SECONDS - started)) s"
}

progress() { # PROGRAM: `go -v` names a package per line
    local line packages=0 started=$SECONDS every=200
    [ ! -t 2 ] || every=10
    while read -r line; do
        [[ $line != "go: "* ]] || continue
        packages=$((packages + 1))
        [ $((packages % every)) -ne 0 ] || say "  $1: $packages packages, $((SECONDS - started)) s"
    done
}
