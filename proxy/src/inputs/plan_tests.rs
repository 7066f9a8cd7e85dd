use super::*;
use crate::{
    config::{Batching, DataFormat, KeepRaw, SyslogMode, SyslogSource},
    ids::DatasetKey,
};

fn input(name: &str, source: Source) -> Input {
    Input {
        name: name.into(),
        key: DatasetKey { tenant: "acme".parse().unwrap(), dataset: name.parse().unwrap() },
        paused: false,
        hint: "raw".parse().unwrap(),
        format: DataFormat::Auto,
        source_field: None,
        listen: Listen { host: "0.0.0.0".parse().unwrap(), port: 5140 },
        allowed_sources: Vec::new(),
        proxy_protocol_from: None,
        batching: Batching {
            max_lines: 0,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            compression_enabled: true,
            compression_level: 6,
            compression_adaptive: true,
        },
        source,
        hash: String::new(),
    }
}

fn tcp_source() -> TcpSource {
    TcpSource {
        max_connections: 10,
        max_connections_per_source: None,
        read_timeout: Some(Duration::from_secs(30)),
        max_line_size: 1000,
        oversize: Oversize::Cut,
        delimiter: b'\n',
        tls: None,
    }
}

fn udp(name: &str) -> Input {
    input(name, Source::Udp(UdpSource { read_buffer_size: 1000 }))
}

fn tcp(name: &str) -> Input {
    input(name, Source::Tcp(tcp_source()))
}

fn syslog(name: &str) -> Input {
    let udp = Some(UdpSource { read_buffer_size: 1000 });
    let (mode, raw, timezone) = (SyslogMode::Auto, KeepRaw::Drop, "UTC".into());
    let source = SyslogSource { udp, tcp: Some(tcp_source()), mode, raw, timezone, timezones: Vec::new() };
    input(name, Source::Syslog(source))
}

fn http(name: &str, path: &str) -> Input {
    let seconds = Duration::from_secs;
    input(
        name,
        Source::Http(HttpSource {
            path: path.into(),
            max_payload_size: 1000,
            max_lines_per_request: 10,
            max_compression_ratio: 100,
            max_connections: 10,
            max_connections_per_source: None,
            read_timeout: seconds(1),
            write_timeout: seconds(1),
            idle_timeout: seconds(1),
            auth: None,
            tls: None,
        }),
    )
}

fn with(mut input: Input, change: impl FnOnce(&mut Input)) -> Input {
    change(&mut input);
    input
}

fn from(input: Input, sources: &[&str]) -> Input {
    with(input, |input| input.allowed_sources = sources.iter().map(|net| net.parse().unwrap()).collect())
}

fn of(input: Input, tenant: &str) -> Input {
    with(input, |input| input.key.tenant = tenant.parse().unwrap())
}

fn on(input: Input, host: &str, port: u16) -> Input {
    with(input, |input| input.listen = Listen { host: host.parse().unwrap(), port })
}

fn streams(input: Input, change: impl FnOnce(&mut TcpSource)) -> Input {
    with(input, |input| match &mut input.source {
        Source::Tcp(source) => change(source),
        Source::Syslog(source) => change(source.tcp.as_mut().unwrap()),
        _ => unreachable!(),
    })
}

fn tls() -> ServerTls {
    ServerTls {
        cert_file: "cert".into(),
        key_file: "key".into(),
        client_ca_file: None,
        client_cert_required: false,
    }
}

/// Expects the second of the two to lose, for a reason with `text` in it, or both to run.
fn expect(case: &str, one: Input, two: Input, text: Option<&str>) {
    let plan = plan(&[one, two]);
    match (text, plan.conflicts.as_slice()) {
        (None, []) => {}
        (Some(text), [conflict]) => {
            assert_eq!(conflict.input, 1, "{case}");
            assert!(conflict.reason.contains(text), "{case}: {}", conflict.reason);
            assert!(conflict.reason.contains("\"one\""), "{case}: {}", conflict.reason);
            assert!(plan.listeners.values().all(|planned| planned.inputs == [0]), "{case}");
        }
        (_, conflicts) => panic!("{case}: {conflicts:?}"),
    }
}

#[test]
fn who_may_share_a_listener() {
    let (one, two) = ("one", "two");
    let ten = |input| from(input, &["10.0.0.0/8"]);
    let inner = |input| from(input, &["10.1.0.0/16"]);
    for (case, first, second, reason) in vec![
        ("everybody twice", udp(one), udp(two), Some("0.0.0.0/0")),
        ("other ports", udp(one), on(udp(two), "0.0.0.0", 5141), None),
        ("udp and tcp of one number", udp(one), tcp(two), None),
        ("apart", ten(udp(one)), from(udp(two), &["192.0.2.0/24"]), None),
        ("nested, one tenant", ten(udp(one)), inner(udp(two)), None),
        ("nested, one tenant, the inner first", inner(udp(one)), udp(two), None),
        ("nested, two tenants", ten(udp(one)), of(inner(udp(two)), "other"), Some("tenant acme's")),
        (
            "nested, two tenants, the inner first",
            inner(udp(one)),
            of(udp(two), "other"),
            Some("tenant acme's"),
        ),
        ("apart, two tenants", ten(udp(one)), of(from(udp(two), &["11.0.0.0/8"]), "other"), None),
        (
            "one of several prefixes",
            ten(udp(one)),
            from(udp(two), &["11.0.0.0/8", "10.0.0.0/8"]),
            Some("10.0.0.0/8"),
        ),
        (
            "a paused one keeps its prefixes",
            with(udp(one), |input| input.paused = true),
            udp(two),
            Some("0.0.0.0/0"),
        ),
        (
            "a wide address first",
            on(udp(one), "::", 5140),
            on(ten(udp(two)), "192.0.2.1", 5140),
            Some("overlaps"),
        ),
        ("a wide address last", on(udp(one), "192.0.2.1", 5140), ten(udp(two)), Some("overlaps")),
        ("0.0.0.0 and IPv6", udp(one), on(udp(two), "2001:db8::1", 5140), None),
        ("0.0.0.0 and ::", udp(one), on(ten(udp(two)), "::", 5140), Some("overlaps")),
        ("two addresses", on(udp(one), "192.0.2.1", 5140), on(udp(two), "192.0.2.2", 5140), None),
        ("kinds, udp", ten(udp(one)), inner(syslog(two)), Some("whose type is")),
        ("kinds, tcp", ten(tcp(one)), inner(syslog(two)), Some("whose type is")),
        ("kinds, http", ten(tcp(one)), inner(http(two, "/a")), Some("whose type is")),
        ("syslog", ten(syslog(one)), inner(syslog(two)), None),
        ("delimiter", ten(tcp(one)), streams(inner(tcp(two)), |tcp| tcp.delimiter = 0), Some("`delimiter`")),
        (
            "oversize",
            ten(tcp(one)),
            streams(inner(tcp(two)), |tcp| tcp.oversize = Oversize::Drop),
            Some("`oversize`"),
        ),
        ("tls", ten(tcp(one)), streams(inner(tcp(two)), |tcp| tcp.tls = Some(tls())), Some("`tls`")),
        (
            "proxy protocol",
            ten(syslog(one)),
            with(inner(syslog(two)), |input| input.proxy_protocol_from = Some(Vec::new())),
            Some("`proxy_protocol_from`"),
        ),
        ("other paths", http(one, "/a"), of(http(two, "/b"), "other"), None),
        ("one path", http(one, "/a"), http(two, "/a"), Some("0.0.0.0/0")),
        ("one path, told apart", ten(http(one, "/a")), from(http(two, "/a"), &["11.0.0.0/8"]), None),
    ] {
        expect(case, first, second, reason);
    }
}

#[test]
fn an_input_loses_as_a_whole_and_the_next_one_has_its_chance() {
    // The second could have its UDP half; without the TCP half it has neither.
    let inputs = [tcp("one"), syslog("two"), from(udp("three"), &["10.0.0.0/8"])];
    let plan = plan(&inputs);
    assert_eq!(plan.conflicts.len(), 1);
    let served: Vec<_> =
        plan.listeners.iter().map(|(key, planned)| (key.transport, planned.inputs.clone())).collect();
    assert_eq!(served, [(Transport::Udp, vec![2]), (Transport::Tcp, vec![0])]);
}

#[test]
fn numbers_of_a_shared_listener_are_the_largest() {
    let second = streams(from(tcp("two"), &["10.0.0.0/8"]), |tcp| {
        (tcp.max_line_size, tcp.max_connections, tcp.read_timeout) = (5000, 5, None);
        tcp.max_connections_per_source = Some(3);
    });
    let inputs = [tcp("one"), second];
    let plan = plan(&inputs);
    let Some(Planned { settings: Settings::Lines(lines), inputs }) = plan.listeners.into_values().next()
    else {
        panic!("no listener");
    };
    assert_eq!(inputs, [0, 1]);
    assert_eq!((lines.max_line_size, lines.max_connections, lines.read_timeout), (5000, 10, None));
    assert_eq!(lines.max_connections_per_source, None, "one dataset's limit is none of the other's");
    let larger = with(from(udp("two"), &["10.0.0.0/8"]), |input| {
        input.source = Source::Udp(UdpSource { read_buffer_size: 9000 });
    });
    let plan = super::plan(&[udp("one"), larger]);
    let Some(Settings::Udp(udp)) = plan.listeners.into_values().next().map(|planned| planned.settings) else {
        panic!("no listener");
    };
    assert_eq!(udp.read_buffer_size, 9000);
}

#[test]
fn a_limit_per_source_holds_where_all_have_one() {
    let limited = |input, most| {
        with(input, |input| match &mut input.source {
            Source::Tcp(tcp) => tcp.max_connections_per_source = most,
            Source::Http(http) => http.max_connections_per_source = most,
            _ => unreachable!(),
        })
    };
    for (one, two, expected) in [(Some(3), None, None), (None, Some(3), None), (Some(3), Some(5), Some(5))] {
        for (first, second) in
            [(tcp("one"), from(tcp("two"), &["10.0.0.0/8"])), (http("one", "/a"), http("two", "/b"))]
        {
            let plan = plan(&[limited(first, one), limited(second, two)]);
            let most: Vec<_> = plan
                .listeners
                .into_values()
                .map(|planned| match planned.settings {
                    Settings::Lines(lines) => lines.max_connections_per_source,
                    Settings::Http(http) => http.source.max_connections_per_source,
                    Settings::Udp(_) => unreachable!(),
                })
                .collect();
            assert_eq!(most, [expected]);
        }
    }
}

#[test]
fn the_same_input_twice_is_told() {
    let twice = [udp("one"), on(udp("one"), "0.0.0.0", 5141)];
    let conflicts = plan(&twice).conflicts;
    assert!(conflicts.len() == 1 && conflicts[0].reason.contains("acme/one"), "{conflicts:?}");
}
