use std::net::IpAddr;

use tempfile::TempDir;

use super::*;
use crate::decode::flow::{Clock, Origin};

const LIMIT: u64 = 1 << 20;

fn place(last: u8, template: u16) -> Place {
    let address = IpAddr::from([192, 0, 2, last]);
    Place { source: Source { address, port: 0 }, version: 9, domain: 7, template }
}

fn set(number: u8, length: usize) -> Set {
    let clock = Clock { export_ns: 5_000_000_000, uptime_ms: Some(9), started_ms: None };
    let origin = Origin { received_ns: 1000 + u64::from(number), clock, sequence: number.into(), count: 3 };
    Set { origin, bytes: vec![number; length].into() }
}

fn file(folder: &TempDir) -> WaitingFile {
    WaitingFile::new(folder.path().join("acme/flows.waiting"), LIMIT)
}

#[test]
fn sets_come_back_in_order_and_an_empty_file_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    for number in 0..3 {
        assert!(file.keep(&place(1, 256), &set(number, 100)));
        assert!(file.keep(&place(2, 256), &set(number + 10, 0)));
    }
    assert_eq!((file.len(), file.count(&place(1, 256)), file.count_of(&place(2, 256).source)), (6, 3, 3));
    assert_eq!(file.take(&place(1, 257)), None);
    for number in 0..3 {
        assert_eq!(file.take(&place(1, 256)), Some(set(number, 100)));
    }
    assert_eq!((file.take(&place(1, 256)), file.len()), (None, 3));
    assert!(file.expire(1012).is_empty());
    assert_eq!(file.expire(1013), [(place(2, 256).source, 3)]);
    assert_eq!(std::fs::metadata(&file.path).unwrap().len(), BLOCK);
    assert!(file.keep(&place(1, 256), &set(1, 1)));
    assert_eq!(file.take(&place(1, 256)), Some(set(1, 1)));
}

#[test]
fn what_waits_survives_a_restart_and_what_was_taken_does_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = file(&folder);
    for number in 0..4 {
        assert!(first.keep(&place(1, 256), &set(number, 1000)));
    }
    assert_eq!(first.take(&place(1, 256)), Some(set(0, 1000)));
    // Another process must not use it at the same time.
    assert!(!file(&folder).keep(&place(1, 256), &set(9, 1)));
    let path = first.path.clone();
    drop(first);
    let second = file(&folder);
    assert_eq!((second.find(0), second.len()), (vec![place(1, 256)], 3));
    assert!(second.find(0).is_empty());
    assert_eq!(second.take(&place(1, 256)), Some(set(1, 1000)));
    drop(second);
    // The last entry is cut off, the one before it damaged.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 500);
    let at = bytes.len() - 1200;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let third = file(&folder);
    assert!(third.find(0).is_empty());
    assert_eq!((third.len(), third.take_lost(), third.take_lost()), (0, 1, 0));
    assert!(third.keep(&place(1, 256), &set(5, 10)));
    assert_eq!(third.take(&place(1, 256)), Some(set(5, 10)));
}

#[test]
fn it_is_bounded_and_anything_that_is_no_such_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let none = WaitingFile::new(folder.path().join("none"), 0);
    assert!(!none.keep(&place(1, 256), &set(0, 1)));
    std::fs::write(folder.path().join("other"), b"something else").unwrap();
    let file = WaitingFile::new(folder.path().join("other"), 1000);
    assert!(file.find(0).is_empty());
    let kept = (0..20).filter(|number| file.keep(&place(1, 256), &set(*number, 100))).count();
    assert_eq!(kept, 4);
    assert!(std::fs::metadata(&file.path).unwrap().len() <= 1000);
    file.set_limit(LIMIT);
    assert!(file.keep(&place(1, 256), &set(0, 100)));
}
