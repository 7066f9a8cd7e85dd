//! The PROXY protocol, versions 1 and 2: a load balancer in front says who the sender is.
//!
//! Only the header's own bytes decide how many are read: at most [`V1_MAX`] or [`V2_MAX`], so a peer can make us hold no
//! more. How long a peer may take for it is the caller's to limit.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
};

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest header of version 1, its line end included.
const V1_MAX: usize = 107;
/// Bytes of a version 2 header before its addresses.
const V2_FIXED: usize = 16;
/// Longest header of version 2 that is taken: addresses and 4 KiB of extensions. Load balancers send some hundred bytes.
const V2_MAX: usize = 4096 + V2_FIXED;
const V2_SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;

/// Reads the header at the start of a connection: the sender it names and what was read beyond it. No sender when the
/// balancer speaks for itself (`LOCAL`, `UNKNOWN`, as in health checks): the peer's own address counts then.
pub async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Option<SocketAddr>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(256);
    loop {
        if let Some(len) = header_len(&bytes)? {
            let rest = bytes.split_off(len);
            return Ok((sender(&bytes)?, rest));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended within its PROXY header"));
        }
        bytes.reserve(256);
    }
}

/// Length of the header once all of it is there.
fn header_len(bytes: &[u8]) -> Result<Option<usize>> {
    let starts = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if starts(v1::PROTOCOL_PREFIX.as_bytes()) {
        let line = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n');
        return match line {
            None if bytes.len() >= V1_MAX => Err(invalid("a PROXY line of more than 107 bytes")),
            line => Ok(line.map(|end| end + 1)),
        };
    }
    if !starts(V2_SIGNATURE) {
        return Err(invalid("no PROXY header; is `proxy_protocol` right for this peer?"));
    }
    let Some(&[high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED).and_then(|len| len.first_chunk()) else {
        return Ok(None);
    };
    match V2_FIXED + usize::from(u16::from_be_bytes([high, low])) {
        len if len > V2_MAX => Err(invalid("a PROXY header of more than 4 KiB")),
        len => Ok((bytes.len() >= len).then_some(len)),
    }
}

fn sender(header: &[u8]) -> Result<Option<SocketAddr>> {
    let address = if header.first() == Some(&b'P') {
        let header = v1::Header::try_from(header).map_err(|error| invalid(&error.to_string()))?;
        match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => Some((ip.source_address.into(), ip.source_port)),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address.into(), ip.source_port)),
        }
    } else {
        let header = v2::Header::try_from(header).map_err(|error| invalid(&error.to_string()))?;
        match (header.command, header.protocol, header.addresses) {
            (v2::Command::Local, ..) | (_, v2::Protocol::Unspecified, v2::Addresses::Unspecified) => None,
            (_, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
                Some((ip.source_address.into(), ip.source_port))
            }
            (_, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
                Some((ip.source_address.into(), ip.source_port))
            }
            _ => return Err(invalid("a PROXY header for something else than TCP over IPv4 or IPv6")),
        }
    };
    Ok(address.map(|(ip, port): (std::net::IpAddr, u16)| SocketAddr::new(ip.to_canonical(), port)))
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_util::io::StreamReader;

    /// What a connection gives that brings `bytes` in pieces of `piece`.
    fn read(bytes: &[u8], piece: usize) -> Result<(Option<SocketAddr>, Vec<u8>)> {
        let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok::<_, Error>(piece.to_vec())).collect();
        let pieces = pieces.into_iter().map(|piece| piece.map(bytes::Bytes::from));
        let mut stream = StreamReader::new(futures_util::stream::iter(pieces));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (sender, mut rest) = read_header(&mut stream).await?;
            stream.read_to_end(&mut rest).await?;
            Ok((sender, rest))
        })
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = (addresses.len() as u16).to_be_bytes();
        [V2_SIGNATURE, &[0x20 | command, family], &len, addresses].concat()
    }

    const IPV4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0x10, 0, 0, 80];

    #[test]
    fn both_versions_name_the_sender_and_leave_the_rest() {
        let mut mapped = vec![0; 10];
        mapped.extend([0xff, 0xff, 192, 0, 2, 1]);
        mapped.extend([0; 16]);
        mapped.extend([0x10, 0, 0, 80]);
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 80\r\n".to_vec(), Some("192.0.2.1:4096")),
            (b"PROXY TCP6 2001:db8::1 ::1 4096 80\r\n".to_vec(), Some("[2001:db8::1]:4096")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), None),
            (v2(1, 0x11, IPV4), Some("192.0.2.1:4096")),
            (v2(1, 0x11, &[IPV4, &[4, 0, 1, 0]].concat()), Some("192.0.2.1:4096")),
            (v2(1, 0x21, &mapped), Some("192.0.2.1:4096")),
            (v2(0, 0x11, IPV4), None),
            (v2(0, 0, &[]), None),
            (v2(1, 0, &[]), None),
        ] {
            for piece in [1, 5, 1000] {
                let bytes = [&header[..], b"<13>hello\n"].concat();
                let (sender, rest) = read(&bytes, piece).unwrap();
                assert_eq!(sender.map(|sender| sender.to_string()).as_deref(), expected);
                assert_eq!(rest, b"<13>hello\n");
            }
        }
    }

    #[test]
    fn what_is_no_header_for_tcp_is_refused() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for (bytes, kind) in [
            (b"<13>hello\n".to_vec(), ErrorKind::InvalidData),
            (b"PROXY TCP4 192.0.2.1 x 1 2\r\n".to_vec(), ErrorKind::InvalidData),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 80\n".to_vec(), ErrorKind::InvalidData),
            (long, ErrorKind::InvalidData),
            (v2(1, 0x12, IPV4), ErrorKind::InvalidData),
            (v2(1, 0x31, &[0; 216]), ErrorKind::InvalidData),
            (v2(1, 0x11, &[0; 4]), ErrorKind::InvalidData),
            (v2(1, 0x11, &[0; 5000]), ErrorKind::InvalidData),
            (v2(7, 0x11, IPV4), ErrorKind::InvalidData),
            (b"PROXY TC".to_vec(), ErrorKind::UnexpectedEof),
            (b"".to_vec(), ErrorKind::UnexpectedEof),
            (V2_SIGNATURE.to_vec(), ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(read(&bytes, 3).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(version in 0..3, bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1usize..50) {
            let start: &[u8] = match version { 0 => b"", 1 => b"PROXY TCP4 ", _ => V2_SIGNATURE };
            let _ = read(&[start, &bytes].concat(), piece);
        }
    }
}
