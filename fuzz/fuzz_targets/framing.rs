//! Any bytes as a stream, in two ways of cutting it into reads: the same messages, none above the limit, progress at
//! every step.
#![no_main]

use bytefreezer_proxy::{
    config::Oversize,
    decode::framing::{Framer, Step},
};
use libfuzzer_sys::fuzz_target;

fn run(mut framer: Framer, stream: &[u8], piece: usize, limit: usize) -> Vec<Vec<u8>> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for read in stream.chunks(piece) {
        buffer.extend_from_slice(read);
        loop {
            let consumed = match framer.next(&buffer) {
                Step::Frame { bytes, consumed, .. } => {
                    assert!(bytes.len() <= limit);
                    messages.push(bytes.to_vec());
                    consumed
                }
                Step::Skip { consumed } => consumed,
                Step::More => break,
                Step::Close => return messages,
            };
            assert!(consumed > 0 && consumed <= buffer.len());
            buffer.drain(..consumed);
        }
    }
    messages.extend(framer.finish(&buffer).map(|last| last.bytes.to_vec()));
    messages
}

fuzz_target!(|data: &[u8]| {
    let [choice, limit, piece, stream @ ..] = data else { return };
    let limit = usize::from(*limit) + 1;
    let oversize = [Oversize::Cut, Oversize::Drop, Oversize::Close][usize::from(*choice) % 3];
    let make = || match choice & 128 {
        0 => Framer::syslog(limit, oversize),
        _ => Framer::lines(b'\n', limit, oversize),
    };
    let whole = run(make(), stream, usize::MAX, limit);
    assert_eq!(run(make(), stream, usize::from(*piece) + 1, limit), whole);
});
