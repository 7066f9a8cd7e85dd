# etcd, API server, controllers and scheduler, on node 1.

kubectl() { within client "$(folder kubernetes)/kubectl" "$@"; }

control_plane() {
    local kubernetes
    kubernetes=$(folder kubernetes)
    credentials
    # Nothing here outlives the machine, so etcd need not wait for the disk.
    start etcd node1 etcd --data-dir "$state/etcd" --unsafe-no-fsync --logger zap --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
    start kube-apiserver node1 "$kubernetes/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --cert-dir "$state/certs" \
        --secure-port 6443 --bind-address 0.0.0.0 --advertise-address "$api" --authorization-mode Node,RBAC \
        --token-auth-file "$state/tokens.csv" --service-account-key-file "$state/sa.pub" --service-account-signing-key-file "$state/sa.key" \
        --service-account-issuer https://kubernetes.default.svc --service-cluster-ip-range "$services" --allow-privileged=true \
        --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$state/kubelet-client.crt" --kubelet-client-key "$state/kubelet-client.key"
    wait_for 60 "the API server's certificate" test -s "$state/certs/apiserver.crt"
    kubeconfig
    wait_for 120 "the API server" kubectl get --raw /readyz
    start kube-controller-manager node1 "$kubernetes/kube-controller-manager" --kubeconfig "$KUBECONFIG" \
        --service-account-private-key-file "$state/sa.key" --use-service-account-credentials --root-ca-file "$state/certs/apiserver.crt" \
        --allocate-node-cidrs=false --leader-elect=false
    start kube-scheduler node1 "$kubernetes/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false
}

credentials() {
    [ ! -f "$state/tokens.csv" ] || return 0
    (
        umask 077
        cd "$state"
        openssl genrsa -out sa.key 2048
        openssl rsa -in sa.key -pubout -out sa.pub
        # The API server's identity at the kubelets: without it logs, exec and port-forward are refused.
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=kubelet-ca -keyout kubelet-ca.key -out kubelet-ca.crt
        openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=kube-apiserver -keyout kubelet-client.key -out kubelet-client.csr
        openssl x509 -req -days 3650 -in kubelet-client.csr -CA kubelet-ca.crt -CAkey kubelet-ca.key -CAcreateserial -out kubelet-client.crt
        openssl rand -hex 16 >token
        echo "$(cat token),admin,admin,\"system:masters\"" >tokens.csv
    ) 2>>"$state/log/openssl.log"
}

kubeconfig() {
    (
        umask 077
        cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
clusters: [{name: $cluster, cluster: {server: "https://$api:6443", certificate-authority-data: $(base64 -w0 <"$state/certs/apiserver.crt")}}]
users: [{name: admin, user: {token: $(cat "$state/token")}}]
contexts: [{name: $cluster, context: {cluster: $cluster, user: admin}}]
current-context: $cluster
END
    )
}
