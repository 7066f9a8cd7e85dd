use super::*;
use proptest::prelude::*;

/// Reads `stream` in pieces as a connection would; messages, whether each was cut, and the most bytes held.
fn run(mut framer: Framer, stream: &[u8], piece: usize) -> (Vec<(String, bool)>, Faults, usize) {
    let (mut buffer, mut messages, mut faults, mut most) = (Vec::new(), Vec::new(), Faults::default(), 0);
    let keep = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for read in stream.chunks(piece) {
        buffer.extend_from_slice(read);
        most = most.max(buffer.len());
        loop {
            let consumed = match framer.next(&buffer) {
                Step::Frame { bytes, consumed, cut } => {
                    messages.push((keep(bytes), cut));
                    consumed
                }
                Step::Skip { consumed } => consumed,
                Step::More => break,
                Step::Close => {
                    messages.push(("closed".to_owned(), false));
                    return (messages, framer.take_faults(), most);
                }
            };
            assert!(consumed > 0 && consumed <= buffer.len());
            buffer.drain(..consumed);
            let now = framer.take_faults();
            faults.dropped += now.dropped;
            faults.malformed += now.malformed;
        }
    }
    messages.extend(framer.finish(&buffer).map(|last| (keep(last.bytes), last.cut || last.broken_off)));
    let now = framer.take_faults();
    faults.dropped += now.dropped;
    faults.malformed += now.malformed;
    faults.broken += now.broken;
    (messages, faults, most)
}

fn texts(framer: impl Fn() -> Framer, stream: &str) -> (Vec<String>, Faults) {
    let whole = run(framer(), stream.as_bytes(), usize::MAX);
    for piece in [1, 2, 3, 7] {
        let parts = run(framer(), stream.as_bytes(), piece);
        assert_eq!(parts.0, whole.0, "in pieces of {piece}");
        assert_eq!(parts.1, whole.1, "in pieces of {piece}");
    }
    let mark = |(message, cut): (String, bool)| if cut { message + "~" } else { message };
    (whole.0.into_iter().map(mark).collect(), whole.1)
}

fn syslog(stream: &str) -> (Vec<String>, Faults) {
    texts(|| Framer::syslog(40, Oversize::Cut), stream)
}

#[test]
fn lines_end_at_the_delimiter_and_the_last_needs_none() {
    let (lines, _) = texts(|| Framer::lines(b'\n', 10, Oversize::Cut), "one\n\ntwo\r\n three");
    assert_eq!(lines, ["one", "two\r", " three"]);
    assert_eq!(texts(|| Framer::lines(b'|', 10, Oversize::Cut), "a\nb|c").0, ["a\nb", "c"]);
}

#[test]
fn a_line_above_the_limit_is_cut_dropped_or_ends_the_connection() {
    let stream = "0123456789\n0123456789a\nb\n0123456789abcdefghijklmnop";
    let lines = |oversize| texts(move || Framer::lines(b'\n', 10, oversize), stream);
    let fault = |dropped| Faults { dropped, ..Faults::default() };
    assert_eq!(lines(Oversize::Cut).0, ["0123456789", "0123456789~", "b", "0123456789~"]);
    assert_eq!(lines(Oversize::Drop), (["0123456789", "b"].map(ToOwned::to_owned).to_vec(), fault(2)));
    assert_eq!(lines(Oversize::Close).0, ["0123456789", "closed"]);
}

#[test]
fn a_cut_does_not_split_a_character() {
    let (lines, _) = texts(|| Framer::lines(b'\n', 4, Oversize::Cut), "aaaä\nb\n");
    assert_eq!(lines, ["aaa~", "b"]);
}

#[test]
fn w3_a_gibibyte_without_a_line_end_needs_no_more_memory_than_the_limit() {
    const LIMIT: usize = 1 << 16;
    for (mut framer, head) in [
        (Framer::lines(b'\n', LIMIT, Oversize::Cut), &b""[..]),
        (Framer::syslog(LIMIT, Oversize::Drop), b"<13>"),
        (Framer::syslog(LIMIT, Oversize::Cut), b"999999999 <13>"),
    ] {
        let piece = vec![b'x'; 1 << 16];
        let (mut buffer, mut frames) = (head.to_vec(), 0);
        for _ in 0..(1 << 14) {
            buffer.extend_from_slice(&piece);
            assert!(buffer.len() <= 3 * LIMIT);
            loop {
                match framer.next(&buffer) {
                    Step::Frame { consumed, cut, .. } => {
                        assert!(cut);
                        frames += 1;
                        buffer.drain(..consumed);
                    }
                    Step::Skip { consumed } => drop(buffer.drain(..consumed)),
                    Step::More => break,
                    Step::Close => unreachable!(),
                }
            }
        }
        assert!(frames <= 1 + usize::from(head.len() > 4));
    }
}

#[test]
fn counts_and_line_ends_are_told_apart_per_connection() {
    assert_eq!(syslog("9 <1>hello\n7 <1>a\nb\n6 <1>end").0, ["<1>hello", "<1>a\nb", "<1>end"]);
    assert_eq!(syslog("<1>hello\n9 <1>world\r\n").0, ["<1>hello", "9 <1>world\r"]);
    assert_eq!(syslog("2026-01-01 12 <x>\n12 apples\n").0, ["2026-01-01 12 <x>", "12 apples"]);
    assert_eq!(syslog("<1>a\0<1>b\n\0<1>c\0").0, ["<1>a", "<1>b", "<1>c"]);
    assert_eq!(syslog("4 <1>a\n4 <1>b\0").0, ["<1>a", "<1>b"]);
    assert_eq!(syslog("12").0, ["12"]);
    assert_eq!(syslog("\n\n").0, Vec::<String>::new());
}

#[test]
fn a_message_that_is_cut_off_by_the_end_of_the_connection_is_kept_and_marked() {
    assert_eq!(syslog("20 <1>hello").0, ["<1>hello~"]);
    assert_eq!(syslog("4 <1>a9 <1>hell").0, ["<1>a", "<1>hell~"]);
    assert_eq!(syslog("<1>hello\n20 <1>hello").0, ["<1>hello", "20 <1>hello"]);
    assert_eq!(syslog("4 <1>agarbage").0, ["<1>a", "garbage"]);
}

#[test]
fn a_wrong_count_costs_one_message_not_the_connection() {
    let (messages, faults) = syslog("5 <1>hello4 <1>b7 <1>a\nb4 <1>c");
    assert_eq!(messages, ["<1>he", "llo", "<1>b", "<1>a\nb4", "<1>c"]);
    assert_eq!(faults.malformed, 2);
    let (messages, faults) = syslog("4 <1>agarbage\n0 <1>x\n1234567890 <1>y\n4 <1>b");
    assert_eq!(messages, ["<1>a", "garbage", "0 <1>x", "1234567890 <1>y", "<1>b"]);
    assert_eq!(faults.malformed, 3);
}

#[test]
fn a_counted_message_above_the_limit_is_skipped_to_its_end() {
    let stream = format!("50 <1>{}4 <1>b", "x".repeat(47));
    let with = |oversize| texts(move || Framer::syslog(10, oversize), &stream);
    assert_eq!(with(Oversize::Cut).0, ["<1>xxxxxxx~", "<1>b"]);
    assert_eq!(with(Oversize::Drop).0, ["<1>b"]);
    assert_eq!(with(Oversize::Drop).1.dropped, 1);
    assert_eq!(with(Oversize::Close).0, ["closed"]);
}

#[test]
fn ipfix_messages_end_where_they_say_and_a_header_that_is_none_ends_the_connection() {
    let message = |length: u16, fill: u8| {
        let head = [10_u16.to_be_bytes(), length.to_be_bytes()].concat();
        [head, vec![fill; usize::from(length) - 4]].concat()
    };
    let (long, short) = (message(u16::MAX, b'a'), message(16, b'b'));
    let stream = [long.clone(), short.clone(), short[..15].to_vec()].concat();
    for piece in [1, 1000, usize::MAX] {
        let (messages, faults, _) = run(Framer::ipfix(), &stream, piece);
        let text = |bytes: &[u8]| (String::from_utf8_lossy(bytes).into_owned(), false);
        assert!(messages == [text(&long), text(&short)], "{piece}");
        assert_eq!(faults, Faults { broken: 1, ..Faults::default() });
    }
    for broken in [&[0, 9, 0, 20][..], &[0, 10, 0, 15], b"GET / HTTP/1.1\r\n"] {
        let stream = [&short, broken].concat();
        let (messages, _, most) = run(Framer::ipfix(), &stream, 1);
        assert_eq!(messages.last().map(|(text, _)| text.as_str()), Some("closed"));
        assert!(most <= short.len());
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_messages_within_the_limit(
        stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'<'), b'0'..=b'9', any::<u8>()], 0..120),
        piece in 1usize..9, limit in 1usize..30, lines: bool,
    ) {
        for oversize in [Oversize::Cut, Oversize::Drop, Oversize::Close] {
            let make = || if lines { Framer::lines(b'\n', limit, oversize) } else { Framer::syslog(limit, oversize) };
            let (messages, faults, _) = run(make(), &stream, usize::MAX);
            let (parts, parts_faults, most) = run(make(), &stream, piece);
            prop_assert_eq!(&parts, &messages);
            prop_assert_eq!(parts_faults, faults);
            prop_assert!(most <= limit + 2 * PARTIAL_COUNT + piece);
        }
    }

    #[test]
    fn counted_messages_come_back_whole(bodies in proptest::collection::vec("<[0-9]{1,3}>[a-z\n 0-9<]{0,30}z", 1..6)) {
        let stream: String = bodies.iter().fold(String::new(), |all, body| format!("{all}{} {body}", body.len()));
        prop_assert_eq!(syslog(&stream).0, bodies);
    }
}
