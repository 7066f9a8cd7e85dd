//! A process that is killed: what exporters have taught, and what waits for its template, is there for the next one.

use std::{fs, net::UdpSocket};

use e2e::{
    free_port,
    process::Proxy,
    receiver::{Receiver, Settings},
    until,
};
use serde_json::{Value, json};

use crate::{
    common::{LIMIT, input, input_status},
    datagrams::{set, template, v9},
};

/// A proxy with one input, and a router that sends to it.
struct World {
    receiver: Receiver,
    proxy: Proxy,
    router: UdpSocket,
}

impl World {
    fn start(more: &Value) -> Self {
        let receiver = Receiver::start(Settings::default()).unwrap();
        let port = free_port().unwrap();
        let config = json!({"inputs": [input("netflow", "routers", port, more)]});
        let proxy = Proxy::start(&receiver.url(), &config).unwrap();
        let router = UdpSocket::bind("127.0.0.1:0").unwrap();
        router.connect(("127.0.0.1", port)).unwrap();
        Self { receiver, proxy, router }
    }

    /// Until so many sets wait, those of exporters too that this process has not heard of yet.
    fn wait_waiting(&self, count: u16) {
        let waiting = || {
            let found =
                self.proxy.metric("bytefreezer_proxy_input_waiting_sets", &[("input", "routers")]).ok()?;
            (found as u16 == count).then_some(())
        };
        until(LIMIT, &format!("{count} sets that wait"), waiting)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log_text()));
    }

    fn killed(&mut self) {
        self.proxy.kill().unwrap();
        self.proxy.run().unwrap();
    }

    fn templates_are_written(&self) {
        let file = self.proxy.spool().join(".flows/acme/routers.templates");
        until(LIMIT, "the file of templates", || fs::metadata(&file).ok()).unwrap();
    }

    fn lines(&self, count: usize) -> Vec<Value> {
        let lines = self.receiver.wait_text("acme", "routers", count, LIMIT).unwrap();
        assert_eq!(self.receiver.violations(), [""; 0]);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(&self) -> Value {
        input_status(&self.proxy, "routers").unwrap()["refused"].clone()
    }
}

fn ports() -> Vec<u8> {
    set(0, &template(256, &[(7, 2), (11, 2)]))
}

fn data(source: u16) -> Vec<u8> {
    set(256, &[source.to_be_bytes(), 443_u16.to_be_bytes()].concat())
}

#[test]
fn between_template_and_data() {
    let mut world = World::start(&json!({}));
    world.router.send(&v9(0, 7, 1, &ports())).unwrap();
    world.templates_are_written();
    world.killed();
    world.router.send(&v9(1, 7, 1, &data(80))).unwrap();
    let line = &world.lines(1)[0];
    assert_eq!((&line["SrcPort"], &line["DstPort"]), (&json!(80), &json!(443)));
    assert_eq!(world.refused(), json!({}));
}

/// Records that came before the kill have their number and their receive time, and come in order.
#[test]
fn between_data_and_template() {
    const COUNT: u16 = 50;
    let mut world = World::start(&json!({"max_waiting_bytes": 0}));
    for number in 0..COUNT {
        world.router.send(&v9(number.into(), 7, 1, &data(number))).unwrap();
    }
    world.wait_waiting(COUNT);
    let before = crate::common::now_ns();
    world.killed();
    world.wait_waiting(COUNT);
    world.router.send(&v9(COUNT.into(), 7, 1, &data(COUNT))).unwrap();
    world.router.send(&v9(u32::from(COUNT) + 1, 7, 1, &ports())).unwrap();
    let lines = world.lines(usize::from(COUNT) + 1);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!((&line["SrcPort"], &line["SequenceNum"]), (&json!(number), &json!(number)), "{line}");
        let is_old = line["TimeReceivedNs"].as_u64().unwrap() < before;
        assert_eq!(is_old, number < usize::from(COUNT), "{line}");
    }
    world.wait_waiting(0);
    assert_eq!(world.refused(), json!({}));
    world.templates_are_written();
    // Once more: what was taken is not there twice.
    world.killed();
    world.router.send(&v9(u32::from(COUNT) + 2, 7, 1, &data(7))).unwrap();
    assert_eq!(world.lines(usize::from(COUNT) + 2).len(), usize::from(COUNT) + 2);
}
