//! What a process without rights may do: ports below 1024, and a folder of the node. As root, like the kubelet.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Command,
};

use super::*;

/// The user of the image.
const USER: &str = "65532";

#[test]
fn a_port_that_needs_a_capability_is_refused_with_the_remedy_for_kubernetes_and_systemd() {
    let limit = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert!(limit.trim().parse::<u16>().unwrap() > 80, "this machine lets everybody have every port");
    let mut pod = Pod::new();
    pod.proxy.through(&["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]);
    let document = pod.document(&json!([udp("net/low", 79), hooks("net/hooks", 78, &json!({}))]), &json!({}));
    pod.mount.document(&document);
    pod.proxy.run().unwrap();
    for name in ["net/low", "net/hooks"] {
        let input = pod.wait(name, "retrying", |input| input["state"] == "retrying");
        assert_eq!((&input["error_kind"], &input["errno"]), (&json!("permission"), &json!(13)), "{input}");
        for remedy in ["exposure.hostNetwork.privilegedPorts", "AmbientCapabilities=CAP_NET_BIND_SERVICE"] {
            assert!(input["error"].as_str().unwrap().contains(remedy), "{input}");
        }
    }
}

/// A folder that root made on the node becomes the proxy's by an init container with CHOWN alone, again at every start.
#[test]
fn a_folder_of_the_node_is_given_to_the_proxys_user_with_chown_alone() {
    let port = free_port().unwrap();
    let mut pod = Pod::new();
    // The user of the image must get this far.
    fs::set_permissions(pod.proxy.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = pod.proxy.folder().join("bytefreezer-proxy");
    fs::copy(process::binary().unwrap(), &binary).unwrap();
    let spool = pod.proxy.spool();
    fs::create_dir(&spool).unwrap();
    assert_eq!(
        (fs::metadata(&spool).unwrap().uid(), fs::metadata(&spool).unwrap().mode() & 0o777),
        (0, 0o755)
    );
    fs::write(pod.words_file(), "").unwrap();
    fs::set_permissions(pod.words_file(), fs::Permissions::from_mode(0o666)).unwrap();

    let own = || {
        let mut init = Command::new("setpriv");
        init.args(["--bounding-set=-all,+chown", "--inh-caps=-all", "--no-new-privs"]);
        let output = init.arg(&binary).args(["spool", "own"]).arg(&spool).arg(USER).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata = fs::metadata(&spool).unwrap();
        assert_eq!(
            (metadata.uid().to_string(), metadata.gid().to_string()),
            (USER.to_owned(), USER.to_owned())
        );
    };
    let document = pod.document(&json!([hooks("net/hooks", port, &json!({}))]), &json!({}));
    pod.mount.document(&document);
    let user = [&format!("--reuid={USER}"), &format!("--regid={USER}")];
    let without_rights = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
    let enter =
        [&["setpriv", user[0], user[1]], &without_rights[..], &["sh", "-c", "shift; exec \"$0\" \"$@\""]]
            .concat();
    pod.proxy.through(&[&enter[..], &[binary.to_str().unwrap()]].concat());
    let mut sent = Vec::new();
    for stream in 1..3 {
        own();
        pod.proxy.run().unwrap();
        sent.push(
            load::http(&plan(port, Shape::Json, stream, 20, 0), "/webhook", 10, &Progress::default())
                .unwrap(),
        );
        all_delivered(&pod.receiver, &sent, LIMIT);
        assert!(pod.proxy.terminate(LIMIT).unwrap().success());
        assert_eq!(pod.words()["undelivered_bytes"], 0, "{}\n{}", pod.words(), pod.proxy.log_text());
    }
    // Whoever is not its owner says so and ends.
    std::os::unix::fs::chown(&spool, Some(0), Some(0)).unwrap();
    fs::remove_dir_all(spool.join(".instance-0")).unwrap();
    pod.proxy.spawn().unwrap();
    assert!(!pod.proxy.wait_exit(LIMIT).unwrap().success());
    let words = pod.words();
    assert!(words["ended"].as_str().unwrap().contains("Permission denied"), "{words}");
}
