# What a real cluster brings along: names, a default StorageClass, addresses for load balancers. All run as daemons.

addons() {
    kubectl apply --filename "$(folder metallb-controller)/crds" --filename "$here/addons.yaml" >/dev/null
    dns_server
    volumes
    load_balancer
}

dns_server() {
    cat >"$state/Corefile" <<END
.:53 {
  bind $api
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $KUBECONFIG
  }
}
END
    start coredns node1 "$(folder coredns)/coredns" -conf "$state/Corefile"
}

# Volumes of the kind "local", so that fsGroup applies and a volume keeps its pod on its node.
volumes() {
    local i paths=()
    for i in $(seq "$(nodes)"); do paths+=("{\"node\": \"node$i\", \"paths\": [\"$state/node$i/volumes\"]}"); done
    (IFS=, && echo "{\"nodePathMap\": [${paths[*]}]}") >"$state/local-path.json"
    cat >"$state/local-path-helper.yaml" <<END
apiVersion: v1
kind: Pod
metadata: {name: helper}
spec:
  containers: [{name: helper, image: localhost/busybox:1, imagePullPolicy: Never}]
END
    start local-path node1 "$(folder local-path-provisioner)/local-path-provisioner" start --kubeconfig "$KUBECONFIG" \
        --config "$state/local-path.json" --helper-image localhost/busybox:1 --helper-pod-file "$state/local-path-helper.yaml"
}

# MetalLB's controller gives out addresses; its speakers are not needed, since lib/network.sh routes all to node 1.
load_balancer() {
    start metallb-controller node1 env METALLB_POD_NAMESPACE=metallb-system "$(folder metallb-controller)/metallb-controller" \
        --kubeconfig "$KUBECONFIG" --namespace metallb-system --webhook-mode disabled --disable-cert-rotation --port 7472
    kubectl wait --for=condition=Established crd/ipaddresspools.metallb.io --timeout=30s >/dev/null
    kubectl apply --filename - >/dev/null <<END
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: [$balancers.10-$balancers.250]}
END
}
