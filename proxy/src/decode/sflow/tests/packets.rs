//! What is found in a packet.

use serde_json::{Value, json};

use super::*;

#[test]
fn w20_packets_are_parsed_through_tags_and_labels() {
    let vlan = |hex: &str, id: u32| {
        let value = with(macs(), vec![("VlanId".into(), json!(id))]);
        assert_eq!(packet(1, &format!("{MACS} {hex} 0800 {IPV4}")), with(value, tcp("")));
    };
    vlan("8100 2064", 100);
    vlan("8100 0000", 0);
    assert_eq!(
        packet(1, &format!("{MACS} 88a8 0064 8100 60c8 0800 {IPV4}")),
        with(
            with(macs(), vec![("VlanId".into(), json!(100)), ("VlanIds".into(), json!([100, 200]))]),
            tcp("")
        )
    );
    assert_eq!(
        packet(1, &format!("{MACS} 8847 000640ff 000c8140 {IPV4}")),
        with(
            with(macs(), vec![("MplsLabel".into(), json!([100, 200])), ("MplsTtl".into(), json!([255, 64]))]),
            tcp("")
        )
    );
    for (protocol, before) in [(11, ""), (7, "0021"), (7, "ff030021"), (7, "21"), (14, "ff030021")] {
        assert_eq!(packet(protocol, &format!("{before}{IPV4}")), with(json!({}), tcp("")));
    }
    let llc = packet(1, &format!("{MACS} 0030 aaaa03 000000 0800 {IPV4}"));
    assert_eq!(llc, with(macs(), tcp("")));
    let pppoe = packet(1, &format!("{MACS} 8864 1100 0001 0036 0021 {IPV4}"));
    assert_eq!(pppoe, with(macs(), tcp("")));
    assert_eq!(packet(1, &format!("{MACS} 0026 424203 0000")), macs());
    assert_eq!(packet(1, &format!("{MACS} 0806 0001")), with(macs(), vec![("Etype".into(), json!(0x806))]));
}

#[test]
fn w20_ipv6_is_parsed_through_its_extension_headers() {
    let base = |proto: u32| {
        json!({
            "SrcAddr": "2001:db8::1", "DstAddr": "2001:db8::2", "Etype": 0x86dd, "Proto": proto, "IpTos": 0x12,
            "IpTtl": 64, "Ipv6FlowLabel": 0x34567,
        })
    };
    let ipv6 = |next: &str, rest: &str| {
        let header = IPV6.replacen(" 11 ", &format!(" {next} "), 1);
        packet(1, &format!("{MACS} 86dd {header} {rest}"))
    };
    let ports = vec![("SrcPort".to_owned(), json!(53)), ("DstPort".to_owned(), json!(65535))];
    let udp = with(with(macs(), vec![]), base(17).as_object().unwrap().clone().into_iter().collect());
    assert_eq!(ipv6("11", "0035 ffff 0000 0000"), with(udp.clone(), ports.clone()));
    // Hop by hop, routing, destination options, authentication, then UDP.
    let chain = "2b00 000000000000 3c00 000000000000 3300 000000000000 1101 0000 00000000 00000000";
    assert_eq!(ipv6("00", &format!("{chain} 0035 ffff 0000 0000")), with(udp.clone(), ports.clone()));
    let fragment = |offset: u32, flags: u32| {
        vec![
            ("FragmentId".to_owned(), json!(0x0102_0304)),
            ("FragmentOffset".to_owned(), json!(offset)),
            ("IpFlags".to_owned(), json!(flags)),
        ]
    };
    assert_eq!(
        ipv6("2c", "1100 0001 01020304 0035 ffff 0000 0000"),
        with(with(udp.clone(), fragment(0, 1)), ports)
    );
    assert_eq!(ipv6("2c", "1100 0010 01020304 0035 ffff"), with(udp, fragment(2, 0)));
    let icmp = with(macs(), base(58).as_object().unwrap().clone().into_iter().collect());
    let icmp = with(icmp, vec![("IcmpType".into(), json!(128)), ("IcmpCode".into(), json!(0))]);
    assert_eq!(ipv6("3a", "8000 0000"), icmp);
    let none = with(macs(), base(59).as_object().unwrap().clone().into_iter().collect());
    assert_eq!(ipv6("3b", "0035 ffff"), none);
}

#[test]
fn fragments_have_no_ports() {
    let later = IPV4.replacen("4000", "2010", 1);
    let value = packet(1, &format!("{MACS} 0800 {later}"));
    assert_eq!((&value["FragmentOffset"], &value["IpFlags"]), (&json!(16), &json!(1)));
    assert!(value.get("SrcPort").is_none() && value.get("TcpFlags").is_none());
}

#[test]
fn tunnels_show_the_packet_within() {
    let outer = |proto: &str, payload: &str| {
        packet(1, &format!("{MACS} 0800 45000000 0000 0000 40{proto} 0000 0a000001 0a000002 {payload}"))
    };
    let frame = format!("{MACS} 0800 {IPV4}");
    let inner = |kind: &str, id: Value, ethernet: bool| {
        let mut members = vec![("TunnelType".to_owned(), json!(kind))];
        if !id.is_null() {
            members.push(("TunnelId".to_owned(), id));
        }
        if ethernet {
            members.push(("InnerSrcMac".to_owned(), json!("02:00:5e:10:00:02")));
            members.push(("InnerDstMac".to_owned(), json!("02:00:5e:10:00:01")));
        }
        members.extend(tcp("Inner"));
        members
    };
    for (proto, payload, expected) in [
        ("11", format!("c000 12b5 0000 0000 08000000 00138800 {frame}"), inner("vxlan", json!(5000), true)),
        (
            "11",
            format!("c000 17c1 0000 0000 0100 6558 00138800 00000000 {frame}"),
            inner("geneve", json!(5000), true),
        ),
        ("11", format!("c000 17c1 0000 0000 0000 0800 00138800 {IPV4}"), inner("geneve", json!(5000), false)),
        ("2f", format!("0000 0800 {IPV4}"), inner("gre", Value::Null, false)),
        ("2f", format!("b000 6558 00000000 0000002a 00000001 {frame}"), inner("gre", json!(42), true)),
        ("2f", format!("1000 88be 00000001 1000000000000000 {frame}"), inner("gre", Value::Null, true)),
        (
            "2f",
            format!("1000 22eb 00000001 100000000000000000000000 {frame}"),
            inner("gre", Value::Null, true),
        ),
        ("04", IPV4.to_owned(), inner("ip", Value::Null, false)),
    ] {
        let Value::Object(value) = outer(proto, &payload) else { unreachable!() };
        for (name, expected) in expected {
            assert_eq!(value.get(&name), Some(&expected), "{name} of {payload}");
        }
        assert_eq!(value["SrcAddr"], "10.0.0.1");
    }
    let without = SflowRules { inner: false, ..ALL };
    let record =
        raw(1, &bytes(&format!("{MACS} 0800 45000000 0000 0000 4004 0000 0a000001 0a000002 {IPV4}")));
    let (_, lines) = decode(&datagram(&[flow(&[record])]).0, without);
    assert!(lines[0].keys().all(|name| !name.starts_with("Inner") && !name.starts_with("Tunnel")));
}

#[test]
fn what_the_agent_parsed_fills_what_no_header_says() {
    let macs = bytes("02005e100002 0000 02005e100001 0000");
    let ethernet = (2, Xdr::words(&[600]).and(macs).and(Xdr::words(&[0x86dd])));
    let ipv6 = (4, Xdr::words(&[580, 17]).and([0x20; 16]).and([0x30; 16]).and(Xdr::words(&[53, 0, 0, 0x12])));
    let line = one(&[ethernet.clone(), ipv6.clone()]);
    for (name, value) in [
        ("Bytes", json!(600)),
        ("SrcMac", json!("02:00:5e:10:00:02")),
        ("Etype", json!(0x86dd)),
        ("SrcAddr", json!("2020:2020:2020:2020:2020:2020:2020:2020")),
        ("Proto", json!(17)),
        ("SrcPort", json!(53)),
        ("DstPort", json!(0)),
        ("IpTos", json!(0x12)),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    let line = one(&[ethernet, raw(1, &bytes(&format!("{MACS} 0800 {IPV4}"))), ipv6]);
    assert_eq!((&line["Bytes"], &line["Etype"], &line["SrcPort"]), (&json!(1514), &json!(2048), &json!(443)));
}
