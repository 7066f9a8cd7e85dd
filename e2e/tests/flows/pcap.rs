//! Files of packets, as tcpdump writes them.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
};

use crate::packets;

/// When the first packet was seen, Unix s.
const START: u32 = 1_767_225_600;
/// Ethernet.
const LINK: u32 = 1;

/// Writes Ethernet frames, a tenth of a second apart.
pub fn write(path: &Path, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, LINK] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for (number, frame) in (0_u32..).zip(frames) {
        let length = frame.len() as u32;
        for word in [START + number / 10, number % 10 * 100_000, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    fs::write(path, bytes)
}

/// The frame of a datagram over UDP.
pub fn datagram(source: Ipv4Addr, target: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp = packets::udp((target.port(), target.port()), payload);
    packets::ethernet(None, 0x0800, &packets::ipv4(source, *target.ip(), 17, 0, &udp))
}
