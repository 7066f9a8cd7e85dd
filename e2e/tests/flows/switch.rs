//! Open vSwitch as an exporter, with ports and a datapath of its own making: no kernel module, no device, no rights.

use std::{path::Path, process::Command};

use e2e::{
    free_port,
    peers::{Peer, program},
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    common::{LIMIT, input},
    packets::{Flow, Transport, flows},
    senders::{assert_samples, of},
};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A switch with the ports `p1` and `p2`.
struct Switch {
    /// Ends before the database.
    daemon: Peer,
    _database: Peer,
    folder: TempDir,
}

impl Switch {
    fn start() -> Self {
        let folder = temporary();
        let at = |name: &str| folder.path().join(name).display().to_string();
        run(folder.path(), "ovsdb-tool", &["create", &at("conf.db"), SCHEMA]);
        let database = daemon(
            folder.path(),
            "ovsdb-server",
            &[
                &format!("--remote=punix:{}", at("db.sock")),
                &format!("--unixctl={}", at("db.ctl")),
                &at("conf.db"),
            ],
        );
        until(LIMIT, "the database", || folder.path().join("db.sock").exists().then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}", database.log()));
        let vswitchd = daemon(
            folder.path(),
            "ovs-vswitchd",
            &[
                "--enable-dummy=override",
                "--disable-system",
                &format!("--unixctl={}", at("switch.ctl")),
                &format!("unix:{}", at("db.sock")),
            ],
        );
        let switch = Self { daemon: vswitchd, _database: database, folder };
        let bridge = "add-br br0 -- set bridge br0 datapath-type=dummy fail-mode=standalone \
            -- add-port br0 p1 -- set Interface p1 type=dummy -- add-port br0 p2 -- set Interface p2 type=dummy";
        switch.set(&bridge.split(' ').collect::<Vec<_>>());
        switch
    }

    /// `ovs-vsctl`, which returns when the switch is so.
    fn set(&self, arguments: &[&str]) {
        let database = format!("--db=unix:{}", self.folder.path().join("db.sock").display());
        let arguments = [&[database.as_str(), "--timeout=30"], arguments].concat();
        run(self.folder.path(), "ovs-vsctl", &arguments);
    }

    /// Has it export to a port, with these settings of a table.
    fn export(&self, table: &str, column: &str, port: u16, settings: &[&str]) {
        let target = format!("targets=\"127.0.0.1:{port}\"");
        let create = ["--", "--id=@new", "create", table, &target];
        let column = format!("{column}=@new");
        self.set(&[&create, settings, &["--", "set", "bridge", "br0", &column]].concat());
    }

    /// `ovs-appctl`.
    fn tell(&self, arguments: &[&str]) {
        let control = self.folder.path().join("switch.ctl").display().to_string();
        run(self.folder.path(), "ovs-appctl", &[&["-t", &control], arguments].concat());
    }
}

fn temporary() -> TempDir {
    tempfile::Builder::new().prefix("openvswitch-").tempdir().unwrap()
}

fn command(folder: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name).unwrap());
    command.args(arguments);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, folder);
    }
    command
}

fn daemon(folder: &Path, name: &str, arguments: &[&str]) -> Peer {
    Peer::start(command(folder, name, arguments), temporary()).unwrap()
}

fn run(folder: &Path, name: &str, arguments: &[&str]) {
    let output = command(folder, name, arguments).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn open_vswitch_in_netflow_ipfix_and_sflow() {
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [netflow, ipfix, sflow] = [(); 3].map(|()| free_port().unwrap());
    let text = json!({"mac_format": "text"});
    let inputs = [
        input("netflow", "netflow", netflow, &text),
        input("ipfix", "ipfix", ipfix, &text),
        input("sflow", "sflow", sflow, &json!({"mac_format": "text", "counters": false})),
    ];
    let proxy = Proxy::start(&receiver.url(), &json!({"inputs": inputs})).unwrap();
    let switch = Switch::start();
    switch.export("NetFlow", "netflow", netflow, &["active_timeout=1"]);
    switch.export("IPFIX", "ipfix", ipfix, &["obs_domain_id=9", "sampling=1", "cache_max_flows=0"]);
    switch.export(
        "sFlow",
        "sflow",
        sflow,
        &["header=128", "sampling=1", "polling=0", "agent=\"192.0.2.88\""],
    );
    for frame in flows().iter().flat_map(Flow::frames) {
        let hex = frame.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        switch.tell(&["netdev-dummy/receive", "p1", &hex]);
    }
    // Flows end with their rules in the datapath.
    switch.tell(&["revalidator/purge"]);

    let lines = |dataset: &str| -> Vec<Value> {
        let text = receiver.text("acme", dataset).unwrap();
        text.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let sum =
        |lines: &[&Value], member: &str| lines.iter().map(|line| line[member].as_u64().unwrap()).sum::<u64>();
    let all = |dataset: &str, wanted: &dyn Fn(&[Value]) -> bool| {
        until(LIMIT, dataset, || Some(lines(dataset)).filter(|lines| wanted(lines))).unwrap_or_else(|error| {
            panic!("{error}: {:?}\n{}\n{}", lines(dataset), switch.daemon.log(), proxy.log_text())
        })
    };

    // A flow may come in several records; bytes are those of frames, of IPv4 alone.
    let counted = |lines: &[Value], flow: &Flow| sum(&of(lines, flow), "Packets") == flow.packets();
    let in_v5: Vec<Flow> = flows().into_iter().filter(|flow| flow.source.is_ipv4()).collect();
    let found = all("netflow", &|lines| in_v5.iter().all(|flow| counted(lines, flow)));
    for flow in &in_v5 {
        let own = of(&found, flow);
        assert_eq!(sum(&own, "Bytes"), flow.frames().concat().len() as u64, "{own:?}");
        for line in own {
            assert_eq!(
                (&line["Proto"], &line["IpTos"]),
                (&json!(flow.transport.protocol()), &json!(flow.tos)),
                "{line}"
            );
            let ports = match flow.transport {
                Transport::Tcp(ports, _) | Transport::Udp(ports) => ports,
                Transport::Icmp(kind, code) => (0, u16::from_be_bytes([kind, code])),
            };
            assert_eq!((&line["SrcPort"], &line["DstPort"]), (&json!(ports.0), &json!(ports.1)), "{line}");
        }
    }

    // Each packet as it came in, and as it went out at each other port.
    let came_in =
        |lines: &[Value]| lines.iter().filter(|line| line["flowDirection"] == 0).cloned().collect::<Vec<_>>();
    let found = came_in(&all("ipfix", &|lines| flows().iter().all(|flow| counted(&came_in(lines), flow))));
    for flow in flows() {
        let own = of(&found, &flow);
        assert_eq!(sum(&own, "Bytes"), flow.bytes(), "{own:?}");
        for line in own {
            assert_eq!(
                (&line["Proto"], &line["ObservationDomainId"]),
                (&json!(flow.transport.protocol()), &json!(9)),
                "{line}"
            );
            assert_eq!(
                (&line["SrcMac"], &line["DstMac"]),
                (&json!("02:00:00:00:00:01"), &json!("02:00:00:00:00:02")),
                "{line}"
            );
            if let Transport::Tcp(ports, _) | Transport::Udp(ports) = flow.transport {
                assert_eq!(
                    (&line["SrcPort"], &line["DstPort"]),
                    (&json!(ports.0), &json!(ports.1)),
                    "{line}"
                );
            }
        }
    }

    let packets: u64 = flows().iter().map(Flow::packets).sum();
    let found = all("sflow", &|lines| lines.len() as u64 >= packets);
    assert!(found.iter().all(|line| line["AgentAddress"] == "192.0.2.88"));
    assert_samples(&found, "Open vSwitch");
    assert_eq!(receiver.violations(), [""; 0]);
}
