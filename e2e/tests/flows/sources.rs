//! Who sends what to every decoder.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use crate::{datagrams, probes::Probe};

/// An exporter, which has an address of its own, or an agent of sFlow.
pub struct Exporter {
    pub name: String,
    pub address: Ipv4Addr,
    pub is_sflow: bool,
    pub datagrams: Vec<Vec<u8>>,
}

/// All of them: made here, recorded from [`Probe::ALL`], and captures where there are some.
pub fn exporters() -> &'static [Exporter] {
    static EXPORTERS: OnceLock<Vec<Exporter>> = OnceLock::new();
    EXPORTERS.get_or_init(|| {
        let probes = Probe::ALL.map(|probe| (probe, thread::spawn(move || probe.record())));
        let mut found = vec![
            ("made-5".to_owned(), false, vec![datagrams::v5()]),
            ("made-9".to_owned(), false, datagrams::netflow9()),
            ("made-10".to_owned(), false, datagrams::ipfix()),
            ("made-sflow".to_owned(), true, vec![datagrams::sflow(77)]),
        ];
        found.extend(captures());
        for (probe, thread) in probes {
            found.push((probe.name(), probe == Probe::Sfprobe, thread.join().unwrap()));
        }
        let numbered = (1_u8..).zip(found);
        let exporters = numbered.map(|(number, (name, is_sflow, datagrams))| {
            let address = Ipv4Addr::new(127, 0, 2, number);
            Exporter { name, address, is_sflow, datagrams }
        });
        exporters.collect()
    })
}

/// The name of who sends from this address.
pub fn name_of(address: &str) -> String {
    let found = exporters().iter().find(|exporter| exporter.address.to_string() == address);
    found.map_or(address.to_owned(), |exporter| exporter.name.clone())
}

/// The folder of captures.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("FLOW_CAPTURES").map(PathBuf::from).filter(|folder| folder.is_dir())
}

fn captures() -> Vec<(String, bool, Vec<Vec<u8>>)> {
    let Some(folder) = folder() else {
        eprintln!("FLOW_CAPTURES NAMES NO FOLDER: THE DATAGRAMS OF REAL DEVICES ARE NOT COMPARED");
        return Vec::new();
    };
    let mut found: Vec<(String, bool, Vec<Vec<u8>>)> = Vec::new();
    let mut files = files(&folder.join("vendor-flows"));
    // Templates first; what is one device's begins alike.
    files.sort_by_key(|(name, _)| (device(name).to_owned(), !name.contains("tpl"), name.clone()));
    for (name, bytes) in files {
        // Refused by us; others make up records of what is not there.
        if name.contains("invalid0") && name.contains("netflow5") {
            continue;
        }
        let device = device(&name);
        match found.last_mut() {
            Some((last, _, datagrams)) if last == device => datagrams.push(bytes),
            _ => found.push((device.to_owned(), false, vec![bytes])),
        }
    }
    let mut cases: Vec<_> =
        fs::read_dir(folder.join("telegraf")).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    for case in cases.iter().filter(|case| case.is_dir()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        let mut datagrams = files_of(case);
        datagrams.retain(|(name, _)| name.rsplit_once('.').is_some_and(|(_, ending)| ending == "bin"));
        datagrams.sort();
        let datagrams = datagrams.into_iter().map(|(_, bytes)| bytes).collect();
        found.push((name.to_owned(), name.starts_with("sflow"), datagrams));
    }
    found
}

/// `netflow9_test_cisco_asa_1_tpl` is of `netflow9_test_cisco_asa_1`.
fn device(name: &str) -> &str {
    let ends = ["_opttpl", "_tpl", "_data", "_dpi"];
    ends.iter().filter_map(|end| name.find(end)).min().map_or(name, |end| &name[..end])
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = files_of(folder).into_iter();
    files.filter_map(|(name, bytes)| Some((name.strip_suffix(".dat")?.to_owned(), bytes))).collect()
}

fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}
