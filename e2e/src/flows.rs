//! Datagrams of exporters and agents that carry a text, so that what is sent can be told apart like lines.

/// An IPFIX message with one record, whose `applicationName` is `text`; it brings its template.
pub fn ipfix(text: &str) -> Vec<u8> {
    // Template 256: element 96 of variable length.
    let template = words(&[2, 12, 256, 1, 96, u16::MAX]);
    let length = text.len() as u16;
    let record = [&[255][..], &length.to_be_bytes(), text.as_bytes()].concat();
    let data = [words(&[256, record.len() as u16 + 4]), record].concat();
    let header = words(&[10, (16 + template.len() + data.len()) as u16]);
    // Export time, sequence, domain.
    [header, numbers(&[1_767_225_600, 0, 1]), template, data].concat()
}

/// An sFlow datagram with one flow sample, whose `SrcUser` is `text`.
pub fn sflow(text: &str) -> Vec<u8> {
    let user = [numbers(&[106]), opaque(text.as_bytes()), numbers(&[106]), opaque(b"")].concat();
    let sample = [numbers(&[1, 3, 512, 512, 0, 3, 7, 1, 1004]), opaque(&user)].concat();
    // Version, agent 192.0.2.254, sub-agent, sequence, uptime, one sample.
    [numbers(&[5, 1, 0xc000_02fe, 0, 1, 1000, 1, 1]), opaque(&sample)].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// With its length, and filled up to four bytes.
fn opaque(bytes: &[u8]) -> Vec<u8> {
    let padding = bytes.len().wrapping_neg() & 3;
    [&numbers(&[bytes.len() as u32])[..], bytes, &[0; 3][..padding]].concat()
}
