//! IPFIX over connections: messages that say their own length.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytefreezer_proxy::inputs::ExporterQuery;
use serde_json::Value;

use crate::{
    flow::{ipfix as message, set, template},
    rig::{Rig, from, ipfix, sender, until, with},
};

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether the other side has closed.
fn closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

fn ports() -> Vec<u8> {
    set(2, &template(256, &[(7, 2), (11, 2)]))
}

fn data(first: u16) -> Vec<u8> {
    set(256, &[first.to_be_bytes(), 443_u16.to_be_bytes()].concat())
}

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_connection_in_any_pieces() {
    let rig = Rig::start(vec![ipfix("routers")]).await;
    let mut stream = connect(rig.address("routers", "tcp"));
    let long = set(256, &[0, 80, 1, 187].repeat(16_000));
    let all = [
        message(0, 7, &[ports(), data(1)]),
        message(1, 7, std::slice::from_ref(&long)),
        message(16_001, 7, &[data(2)]),
    ]
    .concat();
    stream.write_all(&all[..10]).unwrap();
    stream.write_all(&all[10..30_000]).unwrap();
    stream.write_all(&all[30_000..]).unwrap();
    let lines = rig.wait_lines("routers", 16_002).await;
    let (first, last) = (parsed(&lines[..1]), parsed(&lines[16_001..]));
    assert_eq!((&first[0]["SrcPort"], &last[0]["SrcPort"]), (&1.into(), &2.into()));
    assert_eq!((&first[0]["Type"], &first[0]["SamplerAddress"]), (&"IPFIX".into(), &"127.0.0.1".into()));
    let rows = rig.supervisor.exporters(&ExporterQuery::default());
    assert_eq!((rows[0].port, rows[0].datagrams), (Some(stream.local_addr().unwrap().port()), 3));
    assert_eq!((rows[0].sequence_lost, rows[0].templates), (0, 1));
    // Its templates end with it; another connection has its own, and so have datagrams.
    drop(stream);
    until("its end", || {
        let rows = rig.supervisor.exporters(&ExporterQuery::default());
        if rows.is_empty() { Ok(()) } else { Err(rows) }
    })
    .await;
    let mut other = connect(rig.address("routers", "tcp"));
    other.write_all(&message(0, 7, &[data(3)])).unwrap();
    sender("127.0.0.1", rig.address("routers", "udp")).send(&message(0, 7, &[ports(), data(4)])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 16_003).await);
    assert_eq!(lines[16_002]["SrcPort"], 4);
    other.write_all(&message(1, 7, &[ports()])).unwrap();
    assert_eq!(parsed(&rig.wait_lines("routers", 16_004).await)[16_003]["SrcPort"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_none_ends_the_connection_and_what_is_cut_short_is_counted() {
    let rig = Rig::start(vec![ipfix("routers")]).await;
    for (number, broken) in
        [&[0, 9, 0, 20][..], &[0, 10, 0, 15], b"GET / HTTP/1.1\r\n\r\n"].into_iter().enumerate()
    {
        let mut stream = connect(rig.address("routers", "tcp"));
        stream.write_all(&message(0, 7, &[ports(), data(80)])).unwrap();
        stream.write_all(broken).unwrap();
        assert!(closed(&mut stream));
        let refused = number as u64 + 1;
        rig.wait_status("routers", |status| status.refused.get("malformed") == Some(&refused)).await;
    }
    let mut stream = connect(rig.address("routers", "tcp"));
    let whole = message(0, 7, &[ports(), data(81)]);
    stream.write_all(&[&whole[..], &whole[..20]].concat()).unwrap();
    drop(stream);
    rig.wait_status("routers", |status| status.refused.get("malformed") == Some(&4)).await;
    // What came before each was whole.
    assert_eq!(rig.wait_lines("routers", 4).await.len(), 4);
    // What still waits for its template when the connection ends is lost, and counted.
    let mut stream = connect(rig.address("routers", "tcp"));
    stream.write_all(&message(0, 7, &[data(80)])).unwrap();
    drop(stream);
    rig.wait_status("routers", |status| status.refused.get("template") == Some(&1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_load_balancer_the_header_names_the_exporter() {
    let behind =
        |input| with(input, |input| input.proxy_protocol_from = Some(vec!["127.0.0.1/32".parse().unwrap()]));
    let rig = Rig::start(vec![behind(from(ipfix("routers"), &["192.0.2.0/24"]))]).await;
    let mut stream = connect(rig.address("routers", "tcp"));
    stream.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 4739\r\n").unwrap();
    stream.write_all(&message(0, 7, &[ports(), data(80)])).unwrap();
    assert_eq!(parsed(&rig.wait_lines("routers", 1).await)[0]["SamplerAddress"], "192.0.2.7");
    let rows = rig.supervisor.exporters(&ExporterQuery::default());
    assert_eq!((rows[0].address.to_string().as_str(), rows[0].port), ("192.0.2.7", Some(4711)));
}
