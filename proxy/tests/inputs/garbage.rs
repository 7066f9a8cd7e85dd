//! W-1: no byte sequence stops the process.

use std::{io::Write, net::TcpStream};

use bytefreezer_proxy::inputs::InputState;

use crate::rig::{Rig, http, on_host, sender, syslog, tcp, udp, until};

/// A small generator of arbitrary bytes; the same ones each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = (self.next() % 300) as usize;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn samples() -> Vec<Vec<u8>> {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    let fixed: [&[u8]; 16] = [
        b"\x00\x0a",
        b"\x00\x09",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\"",
        b"<",
        b"<>",
        b"<999>1",
        b"<34>1 - - - - - [",
        b"\xff\xfe\xfd",
        b"\n\n\n",
        b"99999999999 x",
        b"1 <",
        b"{\"bfts\":",
    ];
    let mut samples: Vec<Vec<u8>> = fixed.iter().map(|bytes| bytes.to_vec()).collect();
    samples.extend((0..3000).map(|_| noise.bytes()));
    let seeds: [&[u8]; 3] = [
        b"<34>1 2026-01-01T00:00:00Z host app 1 id [a@1 b=\"c\"] text",
        b"<30>Jan  1 00:00:00 gw dhcpd[22]: lease",
        b"{\"a\":[1,2,{\"b\":\"c\\u00e9\"}],\"BfTs\":1}",
    ];
    for seed in seeds {
        samples.extend((0..seed.len()).map(|len| seed[..len].to_vec()));
        for _ in 0..500 {
            let mut bent = seed.to_vec();
            let at = noise.next() as usize % bent.len();
            bent[at] = noise.next() as u8;
            samples.push(bent);
        }
    }
    samples.push(vec![b'['; 60_000]);
    samples.push(vec![b'{'; 60_000]);
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_garbage_on_every_port_stops_nothing() {
    let rig = Rig::start(vec![
        udp("datagrams"),
        on_host(syslog("devices"), "127.0.0.2"),
        tcp("streams"),
        on_host(http("requests"), "127.0.0.3"),
    ])
    .await;
    let samples = samples();
    for name in ["datagrams", "devices"] {
        let socket = sender("127.0.0.1", rig.address(name, "udp"));
        for (sent, sample) in (1..).zip(&samples) {
            socket.send(sample).unwrap();
            // No faster than it is read, so that every one of them is decoded.
            if sent % 64 == 0 || sent == samples.len() as u64 {
                rig.wait_status(name, |status| status.messages == sent).await;
            }
        }
    }
    for name in ["streams", "devices", "requests"] {
        for chunk in samples.chunks(200) {
            let mut stream = TcpStream::connect(rig.address(name, "tcp")).unwrap();
            // The other side may close in the middle, which is its right.
            let _ = chunk.iter().try_for_each(|sample| stream.write_all(sample));
        }
    }
    for name in ["datagrams", "devices", "streams", "requests"] {
        let status = rig.wait_status(name, |status| status.connections == 0).await;
        assert_eq!(status.state, InputState::Listening, "{status:?}");
        assert_eq!(
            status.refused.get("malformed").copied().unwrap_or(0) * u64::from(name != "requests"),
            0,
            "{status:?}"
        );
    }
    assert!(rig.status("devices").undecoded > 1000);
    // Every line that was stored is JSON: text in an envelope, syslog as an object.
    for name in ["datagrams", "devices", "streams"] {
        let lines = rig.wait_lines(name, rig.status(name).lines as usize).await;
        assert!(lines.len() > 1000, "{name}: {}", lines.len());
        for line in &lines {
            assert!(
                serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()),
                "{name}: {line}"
            );
        }
    }
    sender("127.0.0.1", rig.address("datagrams", "udp")).send(b"still alive").unwrap();
    until("a line after all that", || {
        rig.lines("datagrams").last().filter(|line| line.contains("still alive")).map(|_| ()).ok_or(())
    })
    .await;
    let events = rig.ledger.snapshot();
    assert!(events.balanced(), "{events:?}");
}
