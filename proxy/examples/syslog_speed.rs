//! How long one syslog message takes: `cargo run --release --example syslog_speed [kind] [rounds]`.
//!
//! With a kind and few rounds it is short enough for an instruction count (`valgrind --tool=callgrind`).

use std::{hint::black_box, time::Instant};

use bytefreezer_proxy::{
    config::{KeepRaw, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        syslog::{SyslogRules, push_message},
    },
};

/// A name and a message of 256 bytes.
fn samples() -> Vec<(&'static str, String)> {
    let starts = [
        (
            "rfc3164",
            "<38>Mar  1 18:46:11 web01 sshd[2211]: Accepted publickey for root from 192.0.2.10 port 51514 ssh2 ",
        ),
        ("iso3164", "<38>2024-03-01T18:46:11.123456+01:00 web01 sshd[2211]: Accepted publickey for root "),
        (
            "rfc5424",
            "<165>1 2024-03-01T18:46:11.123Z mx1 mgd 3046 UI_CMD [junos@2636.1.1.1.2.18 username=\"user\" command=\"show log\"] User ",
        ),
        (
            "cisco",
            "<189>29: SW1: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured from console by vty2 ",
        ),
        (
            "fortinet",
            "<189>date=2024-03-01 time=18:46:11 devname=\"FGT60F\" tz=\"+0100\" logid=\"0000000013\" ",
        ),
        (
            "quotes",
            "<14>Mar  1 18:46:11 web01 app: {\"level\":\"info\",\"user\":\"bob\",\"path\":\"/a/b\",\"ms\":12} ",
        ),
        ("raw", "a line that is not syslog at all "),
    ];
    starts
        .iter()
        .map(|(name, start)| {
            let filler = "all work and no play makes jack a dull boy ".repeat(6);
            let mut message = format!("{start}{filler}");
            message.truncate(255);
            message.push('.');
            (*name, message)
        })
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next();
    let rounds: u32 = arguments.next().map_or(Ok(3_000_000), |text| text.parse())?;
    let rules = SyslogRules::new(&SyslogSource {
        udp: None,
        tcp: None,
        mode: SyslogMode::Auto,
        raw: KeepRaw::Drop,
        timezone: "UTC".to_owned(),
        timezones: Vec::new(),
    })?;
    let now = ReceiveTime::new(1_709_337_600_123_456_789);
    let source = "192.0.2.7".parse()?;
    for (name, message) in samples() {
        if kind.as_deref().is_some_and(|kind| kind != name && kind != "all") {
            continue;
        }
        let mut out = Vec::with_capacity(1 << 20);
        let start = Instant::now();
        for _ in 0..rounds {
            if out.len() > 900_000 {
                out.clear();
            }
            push_message(black_box(message.as_bytes()), &rules, source, &now, &mut out);
        }
        let each = start.elapsed().as_secs_f64() / f64::from(rounds) * 1e9;
        println!("{name:10} {each:7.1} ns a message of {} bytes", message.len());
        black_box(&out);
    }
    Ok(())
}
