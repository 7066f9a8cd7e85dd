//! Other people's decoders, and the records that they make of the datagrams, each with its exporter.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    path::Path,
    process::Command,
};

use e2e::{
    free_port,
    peers::{Peer, built, program},
    until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{
    common::{LIMIT, udp_inodes},
    datagrams, ours, pcap,
    sources::{exporters, name_of},
};

/// Who sent it, and what was made of it.
pub type Record = (String, Map<String, Value>);

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("decoder-").tempdir().unwrap()
}

/// Where datagrams go to in files of packets.
fn target(is_sflow: bool) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, if is_sflow { 6343 } else { 2055 })
}

fn write_pcap(path: &Path, is_sflow: bool) {
    let exporters = exporters().iter().filter(|exporter| exporter.is_sflow == is_sflow);
    let frames: Vec<_> = exporters
        .flat_map(|exporter| {
            let datagrams = exporter.datagrams.iter();
            datagrams.map(move |datagram| pcap::datagram(exporter.address, target(is_sflow), datagram))
        })
        .collect();
    pcap::write(path, &frames).unwrap();
}

fn listens(port: u16, peer: &Peer) {
    until(LIMIT, "a port", || (!udp_inodes(port).is_empty()).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", peer.log()));
}

/// goflow2, which writes a line per record as it comes. A last datagram of somebody else says that all have come.
pub fn goflow2(is_sflow: bool) -> Vec<Record> {
    let (folder, port) = (folder(), free_port().unwrap());
    let out = folder.path().join("out");
    let scheme = if is_sflow { "sflow" } else { "netflow" };
    let mut command = Command::new(built("goflow2").unwrap());
    command
        .arg(format!("-listen={scheme}://127.0.0.1:{port}?count=1&workers=1"))
        .args(["-addr=", "-format=json"]);
    command.arg("-transport=file").arg(format!("-transport.file={}", out.display()));
    let peer = Peer::start(command, folder).unwrap();
    listens(port, &peer);
    ours::send(is_sflow, port);
    let (last, sender) =
        if is_sflow { (datagrams::sflow(78), "192.0.2.78") } else { (datagrams::v5(), "127.0.3.1") };
    let socket = UdpSocket::bind(("127.0.3.1", 0)).unwrap();
    socket.send_to(&last, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let text = until(LIMIT, "the last datagram", || {
        let text = fs::read_to_string(&out).ok()?;
        (text.ends_with('\n') && text.contains(&format!("\"{sender}\""))).then_some(text)
    })
    .unwrap_or_else(|error| panic!("{error}: {}", peer.log()));
    // Its own end takes seconds.
    kill(Pid::from_raw(peer.pid() as i32), Signal::SIGKILL).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
    let records = lines.map(|line| {
        let sampler = line["sampler_address"].as_str().unwrap();
        (if is_sflow { sampler.to_owned() } else { name_of(sampler) }, line)
    });
    records.filter(|(exporter, _)| exporter != sender).collect()
}

/// nfcapd, and nfdump that shows its file.
pub fn nfdump() -> Vec<Record> {
    let (folder, port) = (folder(), free_port().unwrap());
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let mut command = Command::new(program("nfcapd").unwrap());
    command.args(["-b", "127.0.0.1", "-p", &port.to_string(), "-w"]).arg(&files);
    let mut peer = Peer::start(command, folder).unwrap();
    listens(port, &peer);
    ours::send(false, port);
    until(LIMIT, "an empty socket", || is_drained(port).then_some(())).unwrap();
    peer.stop();
    let mut command = Command::new(program("nfdump").unwrap());
    let output = command.env("TZ", "UTC").args(["-o", "json", "-R"]).arg(&files).output().unwrap();
    let records: Vec<Map<String, Value>> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", String::from_utf8_lossy(&output.stderr), peer.log()));
    records.into_iter().map(|record| (name_of(record["ip4_router"].as_str().unwrap()), record)).collect()
}

/// Whether everything that was sent to a port was read.
fn is_drained(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/udp").unwrap();
    let of_port = sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    of_port
        .filter(|fields| fields[1].ends_with(&format!(":{port:04X}")))
        .all(|fields| fields[4].ends_with(":00000000"))
}

/// tshark on a file of packets; what options say is among the records.
pub fn tshark(is_sflow: bool) -> Vec<Record> {
    let folder = folder();
    let file = folder.path().join("packets");
    write_pcap(&file, is_sflow);
    let protocol = if is_sflow { "sflow" } else { "cflow" };
    let output = Command::new(program("tshark").unwrap())
        .arg("-r")
        .arg(&file)
        .args(["-d", &format!("udp.port=={},{protocol}", target(is_sflow).port()), "-T", "json"])
        .arg("--no-duplicate-keys")
        .env("HOME", folder.path())
        .output()
        .unwrap();
    let packets: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut records = Vec::new();
    for packet in &packets {
        let layers = &packet["_source"]["layers"];
        let exporter = match layers["sflow"]["sflow_245.agent"].as_str() {
            Some(agent) => agent.to_owned(),
            None => name_of(layers["ip"]["ip.src"].as_str().unwrap()),
        };
        collect(&layers[protocol], &mut |record| records.push((exporter.clone(), record)));
    }
    records
}

/// Every record in a tree, flat.
fn collect(tree: &Value, found: &mut impl FnMut(Map<String, Value>)) {
    let Value::Object(members) = tree else { return };
    for (name, value) in members {
        let is_record =
            ["Flow sample", "Expanded flow sample", "pdu "].iter().any(|start| name.starts_with(start))
                || name
                    .strip_prefix("Flow ")
                    .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
        for value in each(value) {
            if is_record {
                let mut flat = Map::new();
                flatten(value, &mut flat);
                found(flat);
            } else {
                collect(value, found);
            }
        }
    }
}

/// Of each name the first value.
fn flatten(tree: &Value, flat: &mut Map<String, Value>) {
    let Value::Object(members) = tree else { return };
    for (name, value) in members {
        for value in each(value) {
            if value.is_object() {
                flatten(value, flat);
            } else if !flat.contains_key(name) {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The values of a name that comes several times.
fn each(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// nfacctd, or sfacctd, on a file of packets. What is alike in `keys` is one record with the sum of packets and bytes.
pub fn pmacct(is_sflow: bool, keys: &str) -> Vec<Record> {
    let folder = folder();
    let (file, out, config) =
        (folder.path().join("packets"), folder.path().join("out"), folder.path().join("conf"));
    write_pcap(&file, is_sflow);
    let name = if is_sflow { "sfacctd" } else { "nfacctd" };
    let text = format!(
        "daemonize: false\npcap_savefile: {}\n{name}_as: netflow\n{name}_net: netflow\nplugins: print\n\
         print_output: json\nprint_output_file: {}\nprint_refresh_time: 600\nprint_cache_entries: 16411\n\
         timestamps_utc: true\naggregate: peer_src_ip, {keys}\n",
        file.display(),
        out.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program(name).unwrap());
    command.env("TZ", "UTC").arg("-f").arg(config);
    let mut peer = Peer::start(command, folder).unwrap();
    // Its plugin is a process of its own.
    peer.wait_all(LIMIT).unwrap();
    let text = fs::read_to_string(&out).unwrap_or_else(|error| panic!("{error}: {}", peer.log()));
    let lines = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
    lines.map(|line| (name_of(line["peer_ip_src"].as_str().unwrap()), line)).collect()
}
