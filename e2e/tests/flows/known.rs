//! Differences that have a reason, by whose datagrams show them.
//!
//! What begins with `made`, `softflowd-` or `nfprobe-` is made in this test or by a program that it starts, the rest is
//! captures.

use crate::compare::Known;

const fn known(
    exporters: &'static [&'static str],
    members: &'static [&'static str],
    why: &'static str,
) -> Known {
    Known { exporters, members, why }
}

pub const GOFLOW2: &[Known] = &[
    known(
        &["softflowd-9", "netflow9_test_invalid01"],
        &["*"],
        "it reads as many sets as the header counts, which are records (RFC 3954, 5.1)",
    ),
    known(
        &["ipfix_test_netscaler", "netflow9_test_iptnetflow_reduced_size_encoding"],
        &["*"],
        "one set of an unknown template costs it the datagram",
    ),
    known(&["ipfix"], &["*"], "we read the messages behind the first of a datagram too"),
    known(
        &[
            "made-9",
            "nfprobe-9",
            "netflow9_cisco_asr1001x",
            "netflow9_test_cisco_asa_1",
            "netflow9_test_cisco_asa_2",
            "netflow9_test_unknown",
            "netflow_v9_example",
        ],
        &["TimeFlow"],
        "of NetFlow 9 it reads times relative to the uptime only",
    ),
    known(
        &["netflow9_test_fortigate_fortios_521"],
        &["TimeFlow"],
        "the record's times are a week ahead of the header's uptime, for which we take them as wrapped",
    ),
    known(
        &["netflow9_test_fortigate_fortios_521"],
        &["Bytes", "Packets"],
        "it does not fall back on what went out (23, 24)",
    ),
    known(
        &["netflow9_test_0length_fields"],
        &["Bytes", "Packets"],
        "the record has what came in (1, 2) and what went out (23, 24); it takes the second",
    ),
    known(&["netflow9_test_cisco_1941K9"], &["VlanId"], "it does not know dot1qVlanId (243)"),
    known(&["netflow9_test_cisco_wlc"], &["SrcNet", "DstNet"], "it writes prefixes of no address"),
];

pub const GOFLOW2_SFLOW: &[Known] = &[
    known(&["192.0.2.77", "192.0.2.254", "192.168.227.2"], &["Icmp"], "it does not read ICMP"),
    known(&["192.168.227.2"], &["Proto"], "it does not look behind extension headers"),
    known(&["192.168.227.2"], &["OutIf"], "a number of interfaces is `OutIfCount` with us"),
];

pub const NFDUMP: &[Known] = &[
    known(&["ipfix"], &["*"], "we read the messages behind the first of a datagram too"),
    known(
        &["netflow5"],
        &["*"],
        "it reads more records than the header counts, which are another datagram's header",
    ),
    known(
        &["ipfix_test_yaf"],
        &["*"],
        "it looks into the lists of a record (RFC 6313), and takes totals (85, 86) for what was since the last record",
    ),
    known(
        &["ipfix_test_procera"],
        &["*"],
        "records have addresses of both families, one of them zero; it takes IPv6",
    ),
    known(
        &[
            "ipfix_test_barracuda",
            "ipfix_test_barracuda_extended_uniflow",
            "ipfix_test_mikrotik",
            "ipfix_test_nokia_bras",
            "netflow9_test_cisco_1941K9",
            "netflow9_test_cisco_asa_1",
            "netflow9_test_cisco_asa_2",
            "netflow9_test_cisco_wlc",
            "netflow9_test_macaddr",
        ],
        &["TimeFlow"],
        "where a record has no time we take that of the export",
    ),
    known(
        &["made-10", "ipfix_test_netscaler", "ipfix_test_viptela", "netflow9_test_unknown"],
        &["TimeFlow"],
        "it knows no times in seconds or microseconds",
    ),
    known(
        &["netflow9_test_fortigate_fortios_521"],
        &["TimeFlow"],
        "the record's times are a week ahead of the header's uptime, for which we take them as wrapped",
    ),
    known(
        &["ipfix_example", "netflow9_test_cisco_asa_1", "netflow9_test_cisco_asa_2"],
        &["Bytes", "Packets"],
        "it takes totals (85, 86, 231) for what was since the last record",
    ),
    known(
        &["made-5", "netflow5_test_juniper_mx80"],
        &["Bytes", "Packets"],
        "it multiplies by the sampling rate of the header",
    ),
    known(
        &["made-5", "netflow5_test_juniper_mx80"],
        &["SrcNet", "DstNet"],
        "it does not keep the prefix lengths of NetFlow 5",
    ),
    known(
        &[
            "nfprobe-9",
            "netflow9_test_cisco_asa_1",
            "netflow9_test_cisco_nbar",
            "netflow9_test_softflowd",
            "netflow9_test_valid01",
        ],
        &["Icmp"],
        "of NetFlow 9 it does not read type and code of ICMP from the port",
    ),
];

pub const TSHARK: &[Known] = &[
    known(
        &["softflowd-9", "netflow9_test_invalid01"],
        &["*"],
        "it reads as many sets as the header counts, which are records (RFC 3954, 5.1)",
    ),
    known(&["ipfix"], &["*"], "we read the messages behind the first of a datagram too"),
    known(&["netflow9_test_h3c"], &["*"], "it stops at a field whose length is not the usual one"),
    known(
        &["netflow9_test_cisco_asa_1"],
        &["firewallEvent", "postNA"],
        "Cisco's elements 40001 to 40005 have the same names there, and their own with us",
    ),
];

pub const TSHARK_SFLOW: &[Known] =
    &[known(&["192.168.227.2"], &["OutIf"], "a number of interfaces is `OutIfCount` with us")];

pub const NFACCTD: &[Known] = &[
    known(
        &["softflowd-9", "netflow9_test_invalid01"],
        &["*"],
        "it reads as many sets as the header counts, which are records (RFC 3954, 5.1)",
    ),
    known(&["ipfix"], &["*"], "we read the messages behind the first of a datagram too"),
    known(&["ipfix_example"], &["*"], "it does not read flags of two bytes, so that records become alike"),
    known(&["ipfix_test_viptela"], &["TcpFlags"], "it does not read flags of two bytes"),
    known(&["ipfix_test_netscaler"], &["*"], "it does not read a record of two"),
    known(
        &["ipfix_test_procera"],
        &["*"],
        "records have addresses of both families, one of them zero; it takes IPv6",
    ),
    known(
        &["ipfix_test_yaf", "netflow9_test_cisco_asa_1"],
        &["Bytes", "Packets"],
        "it takes totals (85, 86) for what was since the last record",
    ),
    known(
        &["made-5"],
        &["SrcPort", "DstPort", "TcpFlags"],
        "of NetFlow 5 it reads ports of TCP and UDP only, and flags of TCP",
    ),
    known(&["netflow5"], &["*"], "it refuses a datagram that is longer than its records"),
    known(&["netflow9_test_cisco_1941K9"], &["VlanId"], "it does not know dot1qVlanId (243)"),
    known(&["netflow9_test_cisco_wlc"], &["*"], "it leaves out records without addresses of IP"),
];

pub const SFACCTD: &[Known] = &[
    known(&["192.168.227.2"], &["OutIf"], "a number of interfaces is `OutIfCount` with us"),
    known(&["192.168.227.2"], &["VlanId"], "it is that of the extended switch record, with us `SrcVlan`"),
];
