//! Templates: before and after their data, over restarts and reloads.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    time::{Duration, SystemTime},
};

use bytefreezer_proxy::{
    config::{ExporterId, Input, MacFormat},
    inputs::{ExporterQuery, ExporterRow},
};
use serde_json::Value;

use crate::{
    flow::{ipfix as message, set, template, v9, v9_options},
    rig::{Rig, config, flows, ipfix, netflow, on_port, sender, until, with},
};

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The only exporter, once it is as wanted.
async fn exporter(rig: &Rig, wanted: impl Fn(&ExporterRow) -> bool) -> ExporterRow {
    until("an exporter", || {
        let rows = rig.supervisor.exporters(&ExporterQuery::default());
        if rows.len() == 1 && wanted(&rows[0]) { Ok(rows[0].clone()) } else { Err(rows) }
    })
    .await
}

/// Ends the process and starts the next one, on the same port.
async fn restarted(rig: Rig, input: &Input) -> Rig {
    let port = rig.address(&input.name, "udp").port();
    let folder = rig.end().await;
    Rig::start_in(folder, config(vec![on_port(input.clone(), port)])).await
}

fn ports() -> Vec<u8> {
    set(0, &template(256, &[(7, 2), (11, 2)]))
}

fn data(first: u16) -> Vec<u8> {
    set(256, &[first.to_be_bytes(), 443_u16.to_be_bytes()].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_before_their_template_wait_for_it() {
    let rig = Rig::start(vec![netflow("routers")]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    for number in 0..20_u16 {
        router.send(&v9(number.into(), 7, &[data(number)])).unwrap();
    }
    let waiting = exporter(&rig, |row| row.waiting == 20).await;
    assert_eq!((waiting.records, waiting.templates, waiting.waited), (0, 0, 20));
    router.send(&v9(20, 7, &[ports()])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 20).await);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!((&line["SrcPort"], &line["SequenceNum"]), (&number.into(), &number.into()), "{line}");
    }
    let row = exporter(&rig, |row| row.waiting == 0).await;
    assert_eq!((row.records, row.templates, row.sequence_lost, row.kind), (20, 1, 0, "netflow"));
    assert_eq!(rig.status("routers").refused, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_template_and_data_decodes_from_the_first_datagram() {
    let input = netflow("routers");
    let rig = Rig::start(vec![input.clone()]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    let options = [set(1, &v9_options(300, &[(1, 4)], &[(50, 4)])), set(300, &[0, 0, 0, 1, 0, 0, 0, 100])];
    router.send(&v9(0, 7, &[&[ports()], &options[..]].concat())).unwrap();
    exporter(&rig, |row| row.templates == 2).await;
    let rig = restarted(rig, &input).await;
    router.send(&v9(1, 7, &[data(80)])).unwrap();
    let line = &parsed(&rig.wait_lines("routers", 1).await)[0];
    assert_eq!((&line["SrcPort"], &line["SamplingRate"]), (&80.into(), &100.into()));
    assert_eq!(rig.status("routers").refused, BTreeMap::new());
}

/// Not only an orderly end: what was learned is on disk soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_are_written_while_the_process_runs_and_damage_costs_the_damaged_ones() {
    let input = netflow("routers");
    let rig = Rig::start(vec![input.clone()]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    router.send(&v9(0, 7, &[ports()])).unwrap();
    let path = rig.path(".flows/acme/routers.templates");
    let file = until("the file of templates", || fs::read(&path).map_err(|error| error.to_string())).await;
    router.send(&v9(1, 7, &[set(0, &template(257, &[(4, 1)]))])).unwrap();
    until("the other template", || match fs::read(&path) {
        Ok(now) if now.len() > file.len() => Ok(()),
        other => Err(other.map(|now| now.len()).ok()),
    })
    .await;
    let port = rig.address("routers", "udp").port();
    let folder = rig.end().await;
    // The last entry is damaged; the one before it is not.
    let mut file = fs::read(&path).unwrap();
    *file.last_mut().unwrap() ^= 1;
    fs::write(&path, &file).unwrap();
    let rig = Rig::start_in(folder, config(vec![on_port(input, port)])).await;
    let row = exporter(&rig, |row| row.templates == 1).await;
    assert_eq!((row.first_seen, row.datagrams), (None, 0));
    assert_eq!(fs::read(path.with_extension("templates.damaged")).unwrap(), file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_goes_to_a_file_beyond_its_memory_and_outlives_a_restart() {
    let input = flows(netflow("routers"), |source| source.max_waiting_bytes = 0);
    let rig = Rig::start(vec![input.clone()]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    for number in 0..50_u16 {
        router.send(&v9(number.into(), 7, &[data(number)])).unwrap();
    }
    exporter(&rig, |row| row.waiting == 50).await;
    assert!(fs::metadata(rig.path(".flows/acme/routers.waiting")).unwrap().len() > 50 * 64);
    let rig = restarted(rig, &input).await;
    let name = "bytefreezer_proxy_input_waiting_sets{input=\"routers\",tenant=\"acme\",dataset=\"routers\"}";
    assert_eq!(rig.metric(name), Some(50));
    router.send(&v9(50, 7, &[data(50)])).unwrap();
    router.send(&v9(51, 7, &[ports()])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 51).await);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["SrcPort"], number, "{line}");
    }
    assert_eq!(rig.metric(name), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_memory_outlives_an_orderly_end() {
    let input = netflow("routers");
    let rig = Rig::start(vec![input.clone()]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    router.send(&v9(0, 7, &[data(1)])).unwrap();
    exporter(&rig, |row| row.waiting == 1).await;
    let rig = restarted(rig, &input).await;
    router.send(&v9(1, 7, &[ports()])).unwrap();
    assert_eq!(parsed(&rig.wait_lines("routers", 1).await)[0]["SrcPort"], 1);
}

/// Nothing is lost silently: what can wait nowhere is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_wait_nowhere_is_counted() {
    let input = flows(netflow("routers"), |source| {
        (source.max_waiting_bytes, source.max_waiting_file_bytes) = (0, 0);
    });
    let rig = Rig::start(vec![input]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    router.send(&v9(0, 7, &[data(1), data(2)])).unwrap();
    rig.wait_status("routers", |status| status.refused.get("template") == Some(&2)).await;
    assert_eq!(exporter(&rig, |_| true).await.lost_without_template, 2);
}

/// A large piece of what waited is more than a batch's buffer at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_that_waited_is_decoded_in_pieces() {
    let rig = Rig::start(vec![netflow("routers")]).await;
    let router = sender("127.0.0.1", rig.address("routers", "udp"));
    let many = set(256, &[0, 80, 1, 187].repeat(300));
    for number in 0..40 {
        router.send(&v9(number, 7, std::slice::from_ref(&many))).unwrap();
    }
    exporter(&rig, |row| row.waiting == 40).await;
    router.send(&v9(40, 7, &[ports()])).unwrap();
    assert_eq!(rig.wait_lines("routers", 12_000).await.len(), 12_000);
    exporter(&rig, |row| (row.waiting, row.records) == (0, 12_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_is_redefined_and_exporters_with_one_source_id_have_their_own() {
    let rig = Rig::start(vec![netflow("routers")]).await;
    let address = rig.address("routers", "udp");
    let [one, two]: [UdpSocket; 2] = ["127.0.0.1", "127.0.0.2"].map(|own| sender(own, address));
    one.send(&v9(0, 0, &[ports(), data(80)])).unwrap();
    two.send(&v9(0, 0, &[set(0, &template(256, &[(1, 4)])), data(80)])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 2).await);
    for line in &lines {
        let first = line["SamplerAddress"] == "127.0.0.1";
        assert_eq!(line.get("SrcPort").is_some(), first, "{line}");
        assert_eq!(line.get("Bytes") == Some(&0x0050_01bb.into()), !first, "{line}");
    }
    one.send(&v9(1, 0, &[set(0, &template(256, &[(11, 2), (7, 2)])), data(80)])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 3).await);
    assert_eq!((&lines[2]["DstPort"], &lines[2]["SrcPort"]), (&80.into(), &443.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exporters_behind_one_address_are_told_apart_by_their_ports() {
    let rig =
        Rig::start(vec![flows(netflow("routers"), |source| source.exporter_id = ExporterId::AddressPort)])
            .await;
    let address = rig.address("routers", "udp");
    let [one, two] = [sender("127.0.0.1", address), sender("127.0.0.1", address)];
    one.send(&v9(0, 0, &[ports(), data(80)])).unwrap();
    two.send(&v9(0, 0, &[set(0, &template(256, &[(1, 4)])), data(80)])).unwrap();
    one.send(&v9(1, 0, &[data(80)])).unwrap();
    let lines = parsed(&rig.wait_lines("routers", 3).await);
    assert_eq!(lines.iter().filter(|line| line.get("SrcPort").is_some()).count(), 2);
    let rows = rig.supervisor.exporters(&ExporterQuery::default());
    let mut ports: Vec<_> =
        [one, two].iter().map(|socket| socket.local_addr().ok().map(|own| own.port())).collect();
    ports.sort_unstable();
    assert_eq!(rows.iter().map(|row| row.port).collect::<Vec<_>>(), ports);
}

/// A reload changes what it names: templates are the input's and stay, also where it is the input that changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_outlive_reloads() {
    let mut rig = Rig::start(vec![ipfix("routers")]).await;
    let address = rig.address("routers", "udp");
    let router = sender("127.0.0.1", address);
    router.send(&message(0, 7, &[set(2, &template(256, &[(56, 6)]))])).unwrap();
    exporter(&rig, |row| row.templates == 1).await;
    let data = set(256, &[2, 0, 0, 0, 0, 1]);
    for (input, expected) in [
        (with(ipfix("routers"), |input| input.batching.max_lines = 7), Value::from(0x0200_0000_0001_u64)),
        (flows(ipfix("routers"), |source| source.mac_format = MacFormat::Text), "02:00:00:00:00:01".into()),
        (ipfix("routers"), 0x0200_0000_0001_u64.into()),
    ] {
        rig.apply(vec![input]).await;
        assert_eq!(rig.address("routers", "udp"), address);
        let before = rig.lines("routers").len();
        router.send(&message(0, 7, std::slice::from_ref(&data))).unwrap();
        let lines = parsed(&rig.wait_lines("routers", before + 1).await);
        assert_eq!(lines[before]["SrcMac"], expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_datasets_without_an_input_go_at_a_start_once_they_are_old() {
    let rig = Rig::start(vec![netflow("routers")]).await;
    let folder = rig.end().await;
    let place = folder.path().join(".flows/acme");
    fs::create_dir_all(&place).unwrap();
    let write = |name: &str, days: u64| {
        let file = fs::File::create(place.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(24 * days)).unwrap();
    };
    for name in ["gone.templates", "gone.waiting", "gone.templates.damaged", "routers.waiting", "notes"] {
        write(name, 8);
    }
    write("paused.templates", 6);
    let rig = Rig::start_in(folder, config(vec![netflow("routers")])).await;
    let mut left: Vec<_> =
        fs::read_dir(rig.path(".flows/acme")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["notes", "paused.templates", "routers.waiting"]);
}
