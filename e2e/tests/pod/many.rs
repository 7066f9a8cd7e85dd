//! A thousand datasets in one pod.

use std::{collections::BTreeMap, fs, time::Instant};

use super::*;

const DATASETS: u16 = 1000;

/// Inodes of all UDP sockets by port.
fn sockets() -> BTreeMap<u16, Vec<String>> {
    let mut sockets = BTreeMap::<u16, Vec<String>>::new();
    for line in fs::read_to_string("/proc/net/udp").unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields[1].rsplit_once(':').unwrap().1, 16).unwrap();
        sockets.entry(port).or_default().push(fields[9].to_owned());
    }
    for inodes in sockets.values_mut() {
        inodes.sort();
    }
    sockets
}

#[test]
fn a_change_of_one_input_among_a_thousand_touches_that_one() {
    let ports: Vec<u16> = (0..=DATASETS).map(|_| free_port().unwrap()).collect();
    let (spare, ports) = ports.split_last().unwrap();
    let name = |number: usize| format!("net-{number:04}");
    let mut inputs: Vec<Value> =
        ports.iter().enumerate().map(|(number, port)| udp(&name(number), *port)).collect();
    let mut pod = Pod::start(&json!(inputs), &json!({"limits": {"receive_threads": 1}}));
    let hashes = |status: &Value| -> BTreeMap<String, String> {
        let inputs = status["inputs"].as_array().unwrap().iter();
        inputs.map(|input| (input["name"].to_string(), input["hash"].to_string())).collect()
    };
    let (before, held) = (hashes(&pod.status()), sockets());
    assert_eq!(before.len(), usize::from(DATASETS));
    let sent = load::udp(&plan(ports[0], Shape::Json, 1, 100, 0), &Progress::default()).unwrap();
    all_delivered(&pod.receiver, &[sent], LIMIT);
    let messages = |pod: &Pod| input_status(&pod.proxy, &name(0)).unwrap()["messages"].clone();
    let counted = messages(&pod);
    let changed = 500;
    inputs[changed] = udp(&name(changed), *spare);
    let document = pod.document(&json!(inputs), &json!({"limits": {"receive_threads": 1}}));
    let swapped = Instant::now();
    pod.mount.document(&document);
    until(LIMIT, "the move", || {
        let status = pod.status();
        (status["config_generation"] == 2 && status["inputs"][changed]["state"] == "listening").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", pod.proxy.log_text()));
    println!("one of {DATASETS} inputs changed {:?} after the swap", swapped.elapsed());
    let (after, holds) = (hashes(&pod.status()), sockets());
    for (number, port) in ports.iter().enumerate() {
        let key = format!("\"{}\"", name(number));
        if number == changed {
            assert!(!holds.contains_key(port) && holds.contains_key(spare) && before[&key] != after[&key]);
        } else {
            assert_eq!((held.get(port), &before[&key]), (holds.get(port), &after[&key]), "{key}");
        }
    }
    assert_eq!(messages(&pod), counted, "the same counters");
    assert!(
        pod.proxy.log_text().contains("configuration applied: 1 input changed"),
        "{}",
        pod.proxy.log_text()
    );
}
