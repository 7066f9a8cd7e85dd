//! Datagrams of real devices of about 35 vendors, one per file: those of logstash-codec-netflow (Apache-2.0) in
//! `vendor-flows/`, those of telegraf (MIT) in `telegraf/`. They are not part of this repository: `FLOW_CAPTURES` names
//! the folder, and without it nothing is compared, which is said loudly.

use std::{fs, path::PathBuf};

use bytefreezer_proxy::decode::flow::{Fault, MacFormat, Rules};
use serde_json::json;

use crate::rig::{Rig, assert_members};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("FLOW_CAPTURES").map(PathBuf::from).filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("FLOW_CAPTURES NAMES NO FOLDER: THE DATAGRAMS OF REAL DEVICES ARE NOT COMPARED");
    }
    folder
}

fn rig() -> Rig {
    Rig::with(Rules { mac: MacFormat::Text, options: true, ..Rules::default() })
}

/// What the datagrams of one exporter give, in order: file, templates, lines, options records among them, sets that
/// wait for a template that no file has.
type Exporter = &'static [(&'static str, u32, u32, u32, u32)];

const EXPORTERS: &[Exporter] = &[
    &[("netflow5_test_juniper_mx80", 0, 29, 0, 0)],
    &[("netflow5_test_microtik", 0, 30, 0, 0)],
    // Several datagrams in one file; what follows the first is not part of it.
    &[("netflow5", 0, 2, 0, 0)],
    &[("netflow9_cisco_asr1001x_tpl259", 1, 25, 0, 0)],
    &[("netflow9_test_0length_fields_tpl_data", 2, 10, 0, 0)],
    &[("netflow9_test_cisco_1941K9", 1, 29, 0, 0)],
    &[("netflow9_test_cisco_aci_tpl256-258", 3, 0, 0, 0), ("netflow9_test_cisco_aci_data256", 0, 3, 0, 0)],
    &[("netflow9_test_cisco_asa_1_tpl", 13, 0, 0, 0), ("netflow9_test_cisco_asa_1_data", 0, 14, 0, 0)],
    &[
        ("netflow9_test_cisco_asa_2_tpl_26x", 16, 0, 0, 0),
        ("netflow9_test_cisco_asa_2_tpl_27x", 14, 0, 0, 0),
        ("netflow9_test_cisco_asa_2_data", 0, 19, 0, 0),
    ],
    &[
        ("netflow9_test_cisco_asr9k_opttpl256", 1, 0, 0, 0),
        ("netflow9_test_cisco_asr9k_opttpl257", 1, 0, 0, 0),
        ("netflow9_test_cisco_asr9k_opttpl334", 1, 0, 0, 0),
        ("netflow9_test_cisco_asr9k_tpl260", 1, 0, 0, 0),
        ("netflow9_test_cisco_asr9k_tpl266", 1, 0, 0, 0),
        ("netflow9_test_cisco_asr9k_data256", 0, 19, 19, 0),
        ("netflow9_test_cisco_asr9k_data260", 0, 21, 0, 0),
    ],
    &[
        ("netflow9_test_cisco_nbar_opttpl260", 1, 15, 15, 0),
        ("netflow9_test_cisco_nbar_tpl262", 1, 0, 0, 0),
        ("netflow9_test_cisco_nbar_data262", 0, 5, 0, 0),
    ],
    &[("netflow9_test_cisco_wlc_8510_tpl_262", 4, 0, 0, 0)],
    &[("netflow9_test_cisco_wlc_tpl", 2, 0, 0, 0), ("netflow9_test_cisco_wlc_data261", 0, 19, 0, 0)],
    &[
        ("netflow9_test_field_layer2segmentid_tpl", 1, 0, 0, 0),
        ("netflow9_test_field_layer2segmentid_data", 0, 1, 0, 0),
    ],
    &[
        ("netflow9_test_fortigate_fortios_521_tpl", 5, 0, 0, 0),
        ("netflow9_test_fortigate_fortios_521_data256", 0, 1, 1, 0),
        ("netflow9_test_fortigate_fortios_521_data257", 0, 1, 0, 0),
    ],
    &[
        ("netflow9_test_fortigate_fortios_542_appid_tpl258-269", 14, 0, 0, 0),
        ("netflow9_test_fortigate_fortios_542_appid_data258_262", 0, 17, 0, 0),
    ],
    &[
        ("netflow9_test_h3c_netstream_varstring_tpl3281", 1, 0, 0, 0),
        ("netflow9_test_h3c_netstream_varstring_data3281", 0, 1, 0, 0),
    ],
    &[
        ("netflow9_test_huawei_netstream_tpl", 1, 0, 0, 0),
        ("netflow9_test_huawei_netstream_data", 0, 1, 0, 0),
    ],
    // Invalid for a decoder that does not know options with scopes; it has nothing wrong.
    &[("netflow9_test_invalid01", 3, 3, 1, 0)],
    // Six sets are of templates that were sent before.
    &[("netflow9_test_iptnetflow_reduced_size_encoding_tpldata260", 1, 12, 0, 6)],
    &[("netflow9_test_juniper_srx_tplopt", 2, 1, 1, 0)],
    &[("netflow9_test_macaddr_tpl", 3, 1, 1, 0), ("netflow9_test_macaddr_data", 0, 29, 0, 0)],
    &[
        ("netflow9_test_nprobe_tpl", 3, 1, 1, 0),
        ("netflow9_test_nprobe_data", 0, 1, 0, 0),
        ("netflow9_test_nprobe_dpi", 1, 1, 0, 0),
    ],
    &[
        ("netflow9_test_paloalto_81_tpl256-263", 8, 0, 0, 0),
        ("netflow9_test_paloalto_81_data257_1flowset_in_large_zerofilled_packet", 0, 1, 0, 0),
    ],
    &[("netflow9_test_paloalto_panos_tpl", 8, 0, 0, 0), ("netflow9_test_paloalto_panos_data", 0, 8, 0, 0)],
    &[("netflow9_test_softflowd_tpl_data", 2, 7, 0, 0)],
    &[
        ("netflow9_test_streamcore_tpl_data256", 6, 2, 0, 0),
        ("netflow9_test_streamcore_tpl_data260", 0, 2, 0, 0),
    ],
    &[
        ("netflow9_test_ubnt_edgerouter_tpl", 4, 0, 0, 0),
        ("netflow9_test_ubnt_edgerouter_data1024", 0, 8, 0, 0),
        ("netflow9_test_ubnt_edgerouter_data1025", 0, 8, 0, 0),
    ],
    &[("netflow9_test_unknown_tpl266_292_data", 4, 2, 0, 0)],
    &[("netflow9_test_valid01", 2, 7, 0, 0)],
    &[("ipfix", 3, 13, 1, 0)],
    &[
        ("ipfix_test_barracuda_extended_uniflow_tpl256", 1, 0, 0, 0),
        ("ipfix_test_barracuda_extended_uniflow_data256", 0, 2, 0, 0),
    ],
    &[("ipfix_test_ixia_tpldata256", 3, 1, 0, 0), ("ipfix_test_ixia_tpldata271", 3, 2, 0, 0)],
    &[
        ("ipfix_test_juniper_mx240_junos151r6s3_opttpl512", 1, 0, 0, 0),
        ("ipfix_test_juniper_mx240_junos151r6s3_data512", 0, 1, 1, 0),
    ],
    &[
        ("ipfix_test_mikrotik_tpl", 2, 0, 0, 0),
        ("ipfix_test_mikrotik_data258", 0, 28, 0, 0),
        ("ipfix_test_mikrotik_data259", 0, 18, 0, 0),
    ],
    // One set is of a template that was sent before.
    &[("ipfix_test_netscaler_tpl", 7, 0, 0, 0), ("ipfix_test_netscaler_data", 0, 3, 0, 1)],
    &[("ipfix_test_nokia_bras_tpl", 2, 0, 0, 0), ("ipfix_test_nokia_bras_data256", 0, 1, 0, 0)],
    &[("ipfix_test_openbsd_pflow_tpl", 2, 0, 0, 0), ("ipfix_test_openbsd_pflow_data", 0, 26, 0, 0)],
    &[("ipfix_test_procera_tpl52935", 1, 0, 0, 0), ("ipfix_test_procera_data52935", 0, 8, 0, 0)],
    &[("ipfix_test_viptela_tpl257", 1, 0, 0, 0), ("ipfix_test_viptela_data257", 0, 1, 0, 0)],
    &[
        ("ipfix_test_vmware_vds_tpl", 13, 0, 0, 0),
        ("ipfix_test_vmware_vds_data264", 0, 1, 0, 0),
        ("ipfix_test_vmware_vds_data266", 0, 2, 0, 0),
        ("ipfix_test_vmware_vds_data266_267", 0, 2, 0, 0),
    ],
    &[
        ("ipfix_test_yaf_tpl45841", 1, 0, 0, 0),
        ("ipfix_test_yaf_tpls_option_tpl", 13, 0, 0, 0),
        ("ipfix_test_yaf_data45841", 0, 1, 0, 0),
        ("ipfix_test_yaf_data45873", 0, 1, 0, 0),
        ("ipfix_test_yaf_data53248", 0, 1, 1, 0),
    ],
];

#[test]
fn every_vendor_is_decoded_without_a_fault() {
    let Some(folder) = folder() else { return };
    for exporter in EXPORTERS {
        let mut rig = rig();
        for (name, templates, lines, options, waiting) in *exporter {
            let datagram = fs::read(folder.join(format!("vendor-flows/{name}.dat"))).unwrap();
            let (outcome, _) = rig.send(&datagram);
            let found = (outcome.templates, outcome.lines, outcome.options, outcome.waiting, outcome.fault);
            assert_eq!(found, (*templates, *lines, *options, *waiting, None), "{name}");
        }
    }
}

#[test]
fn what_is_invalid_on_purpose_is_refused_and_counted() {
    let Some(folder) = folder() else { return };
    for name in ["netflow5_test_invalid01", "netflow5_test_invalid02"] {
        let (outcome, lines) =
            rig().send(&fs::read(folder.join(format!("vendor-flows/{name}.dat"))).unwrap());
        assert_eq!((outcome.fault, lines.len()), (Some(Fault::Short), 0), "{name}");
    }
}

/// The numbers of telegraf's line protocol that our lines have too.
const TELEGRAF: [(&str, &str); 12] = [
    ("src", "SrcAddr"),
    ("dst", "DstAddr"),
    ("src_port", "SrcPort"),
    ("dst_port", "DstPort"),
    ("in_bytes", "Bytes"),
    ("in_packets", "Packets"),
    ("in_snmp", "InIf"),
    ("out_snmp", "OutIf"),
    ("bgp_src_as", "SrcAs"),
    ("bgp_dst_as", "DstAs"),
    ("in_src_mac", "SrcMac"),
    ("next_hop", "NextHop"),
];

#[test]
fn telegraf_reads_the_same_values() {
    let Some(folder) = folder() else { return };
    let mut compared = 0;
    for case in
        ["netflow_v5_example", "netflow_v9_example", "ipfix_example", "ipfix_pen_35632", "issue_14370"]
    {
        let mut files: Vec<_> = fs::read_dir(folder.join("telegraf").join(case))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        let mut rig = Rig::with(Rules { mac: MacFormat::Text, ..Rules::default() });
        let mut lines = Vec::new();
        for file in files.iter().filter(|file| file.extension().is_some_and(|kind| kind == "bin")) {
            lines.extend(rig.lines(&fs::read(file).unwrap()));
        }
        let expected = fs::read_to_string(folder.join("telegraf").join(case).join("expected.out")).unwrap();
        let expected: Vec<_> =
            expected.lines().filter(|line| line.starts_with("netflow,")).map(|line| members(line)).collect();
        assert_eq!(lines.len(), expected.len(), "{case}");
        // Telegraf's order is that of its output, so lines are paired by what they say.
        for wanted in &expected {
            let same = |line: &serde_json::Map<String, serde_json::Value>| {
                wanted.iter().all(|(name, value)| line.get(*name) == Some(value))
            };
            let at = lines.iter().position(same).unwrap_or_else(|| panic!("{case}: {wanted:?} in {lines:?}"));
            compared += wanted.len();
            lines.swap_remove(at);
        }
    }
    assert!(compared > 250, "{compared}");
}

/// `name=value` pairs that have a counterpart; `12u` is a number.
fn members(line: &str) -> Vec<(&'static str, serde_json::Value)> {
    let (_, fields) = line.split_once(' ').unwrap();
    fields
        .split([',', ' '])
        .filter_map(|field| field.split_once('='))
        .filter_map(|(name, value)| {
            let own = TELEGRAF.iter().find(|(theirs, _)| *theirs == name)?.1;
            Some((
                own,
                match value.strip_suffix('u') {
                    Some(number) => json!(number.parse::<u64>().unwrap()),
                    None => json!(value.trim_matches('"')),
                },
            ))
        })
        .collect()
}

#[test]
fn values_that_are_known_of_single_devices() {
    let Some(folder) = folder() else { return };
    let lines = |templates: &[&str], data: &str| {
        let read = |name: &str| fs::read(folder.join(format!("vendor-flows/{name}.dat"))).unwrap();
        let mut rig = rig();
        for name in templates {
            rig.lines(&read(name));
        }
        rig.lines(&read(data))
    };
    let line = &lines(
        &["netflow9_test_paloalto_81_tpl256-263"],
        "netflow9_test_paloalto_81_data257_1flowset_in_large_zerofilled_packet",
    )[0];
    assert_members(line, json!({"paloAltoAppId": "kerberos", "paloAltoUserId": "unknown"}));
}
