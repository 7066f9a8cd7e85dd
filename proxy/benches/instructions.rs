//! The hot loops under callgrind: instructions per case, compared with what `limits.txt` says.
//!
//! ```text
//! cargo bench -p bytefreezer-proxy --bench instructions                              compare, +10 % at most
//! UPDATE=1 cargo bench ...                                                           write limits.txt anew
//! valgrind --tool=callgrind --toggle-collect='instructions::measured' BINARY CASE    see where one goes
//! ```
//! Every case runs in a process of its own on input that does not depend on time, chance or threads. Instructions are
//! counted inside [`measured`] only. Counts depend on compiler and target, so a new one of these needs new limits; so does a processor with
//! other vector instructions, for which the limits say nothing.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    env,
    fmt::Write,
    fs,
    hint::black_box,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use bytefreezer_proxy::{
    batch::{Class, LineBuffer, Reservation, Stream, StreamKey},
    config::{Batching, DataFormat, KeepRaw, Oversize, SyslogMode, SyslogSource},
    decode::{
        ReceiveTime,
        flow::{Rules, Shared, Source, Transport},
        framing::{Framer, Step},
        sflow::{SflowRules, push_datagram},
        syslog::{SyslogRules, push_message},
        text::{self, TextRules},
    },
    ids::{DatasetKey, Hint},
    spool::{
        Stamp,
        frame::{self, Header, Kind, Mark},
        member::Compressor,
    },
};

// What the bench sends.
#[allow(dead_code)]
#[path = "../../e2e/src/datagrams.rs"]
mod datagrams;
// The tests use more of it.
#[allow(dead_code)]
#[path = "../tests/syslog_corpus/mod.rs"]
mod syslog_corpus;

use datagrams::{Datagrams, Exporter, Version};

/// What a case may take more than its limit, in percent: how the compiler divides the crate alone moves some by 4.
const SLACK: u64 = 10;
/// First line of the limits.
const PROCESSOR: &str = "# processor: ";
/// 2024-03-02T00:00:00.123456789Z
const NOW: u64 = 1_709_337_600_123_456_789;

type Case = (&'static str, fn());

const CASES: [Case; 11] = [
    ("syslog-corpus", syslog_corpus_lines),
    ("syslog-rfc3164", syslog_plain_lines),
    ("ndjson-bfts", ndjson),
    ("text-envelope", envelope),
    ("netflow-v5", || netflow(Version::V5)),
    ("netflow-v9", || netflow(Version::V9)),
    ("ipfix", || netflow(Version::Ipfix)),
    ("sflow-raw", sflow),
    ("framer-lines", framer),
    ("member-level-1", member),
    ("frame-encode", frames),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(name) = arguments.first() {
        let (_, run) = CASES.iter().find(|(known, _)| known == name).unwrap();
        run();
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed; `make packages` does it");
        return ExitCode::FAILURE;
    }
    let counts: Vec<(&str, u64)> = CASES.iter().map(|(name, _)| (*name, count(name))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/limits.txt");
    if env::var_os("UPDATE").is_some() {
        let mut lines = format!("{PROCESSOR}{}\n", processor());
        for (name, count) in &counts {
            writeln!(lines, "{name} {count}").unwrap();
        }
        fs::write(path, lines).unwrap();
        return ExitCode::SUCCESS;
    }
    compare(&counts, &fs::read_to_string(path).unwrap_or_default())
}

/// What the libraries choose their code by, as far as valgrind shows it.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let has = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let has: [(&str, bool); 0] = [];
    let has: Vec<&str> = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    format!("{} {}", env::consts::ARCH, has.join(" "))
}

fn compare(counts: &[(&str, u64)], limits: &str) -> ExitCode {
    let counted_on = limits.lines().find_map(|line| line.strip_prefix(PROCESSOR)).unwrap_or_default();
    if counted_on != processor() {
        println!("the limits were counted on `{counted_on}`, this is `{}`: not compared", processor());
        return ExitCode::SUCCESS;
    }
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|count| count.parse::<u64>().ok())
    };
    let mut code = ExitCode::SUCCESS;
    for (name, count) in counts {
        let Some(limit) = limit(name) else {
            println!("{name:16} {count:>12}  no limit: run with UPDATE=1");
            code = ExitCode::FAILURE;
            continue;
        };
        let percent = (*count as f64 / limit as f64 - 1.0) * 100.0;
        let verdict = if *count * 100 > limit * (100 + SLACK) {
            code = ExitCode::FAILURE;
            "  TOO MANY"
        } else if *count * 100 < limit * (100 - SLACK) {
            "  fewer: lower the limit with UPDATE=1"
        } else {
            ""
        };
        println!("{name:16} {count:>12} {percent:>+6.1} %{verdict}");
    }
    code
}

/// Instructions that callgrind sees inside [`measured`].
fn count(name: &str) -> u64 {
    let out = env::temp_dir().join(format!("callgrind-{}-{name}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=instructions::measured"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args([env::current_exe().unwrap(), PathBuf::from(name)])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let found = fs::read_to_string(&out).unwrap();
    fs::remove_file(&out).unwrap();
    let summary = found.lines().find_map(|line| line.strip_prefix("summary: ")).unwrap();
    summary.trim().parse().unwrap()
}

/// Counting begins and ends here.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn source() -> IpAddr {
    IpAddr::from([192, 0, 2, 7])
}

fn rules() -> SyslogRules {
    SyslogRules::new(&SyslogSource {
        udp: None,
        tcp: None,
        mode: SyslogMode::Auto,
        raw: KeepRaw::OnFailure,
        timezone: "UTC".to_owned(),
        timezones: Vec::new(),
    })
    .unwrap()
}

/// Messages with varied fields; the same in every run.
fn messages(count: usize, head: impl Fn(usize) -> String, tail: &str) -> Vec<String> {
    let mut state = 1_u64;
    let mut random = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    (0..count)
        .map(|number| {
            let mut message = head(number);
            while message.len() < 250 {
                let word = ["accept", "session", "10.0.0.", "port", "from", "user"][random(6) as usize];
                write!(message, "{word}{} ", random(60_000)).unwrap();
            }
            message + tail
        })
        .collect()
}

fn syslog_lines(count: usize) -> Vec<String> {
    messages(count, |n| format!("<{}>Oct 11 22:14:{:02} fw-{} sshd[{n}]: ", n % 190, n % 60, n % 8), "")
}

fn json_lines(count: usize) -> Vec<String> {
    messages(count, |n| format!("{{\"host\":\"fw-{}\",\"pid\":{n},\"ok\":true,\"text\":\"", n % 8), "\"}\n")
}

fn syslog(messages: &[Vec<u8>]) {
    let (rules, now) = (rules(), ReceiveTime::new(NOW));
    let mut out = Vec::with_capacity(messages.len() * 2048);
    measured(&mut || {
        for message in messages {
            push_message(message, &rules, source(), &now, &mut out);
        }
    });
    black_box(out);
}

fn syslog_corpus_lines() {
    let samples = syslog_corpus::FILES.iter().flat_map(|file| syslog_corpus::samples(file));
    syslog(&samples.map(|sample| sample.bytes).collect::<Vec<_>>());
}

fn syslog_plain_lines() {
    syslog(&syslog_lines(1000).into_iter().map(String::into_bytes).collect::<Vec<_>>());
}

fn lines(format: DataFormat) {
    let rules = TextRules { format, bfts: true, source_field: None };
    let (body, now) = (json_lines(1000).concat(), ReceiveTime::new(NOW));
    let mut out = Vec::with_capacity(body.len() * 3);
    measured(&mut || _ = text::push_lines(body.as_bytes(), &rules, source(), &now, &mut out));
    black_box(out);
}

fn ndjson() {
    lines(DataFormat::Ndjson);
}

fn envelope() {
    lines(DataFormat::Text);
}

/// Datagrams with a thousand records, after the template if there is one.
fn thousand(version: Version) -> Vec<Vec<u8>> {
    let (datagrams, mut exporter) = (Datagrams::new(version), Exporter::new(0));
    let mut all = Vec::from_iter(datagrams.template(&mut exporter));
    for number in (0..1000).step_by(version.records().into()) {
        let mut datagram = Vec::new();
        datagrams.append(&mut exporter, number, &mut datagram);
        all.push(datagram);
    }
    all
}

fn netflow(version: Version) {
    let (datagrams, shared, now) = (thousand(version), Shared::new(Rules::default()), ReceiveTime::new(NOW));
    let source = Source { address: source(), port: 0 };
    let mut out = Vec::with_capacity(1 << 20);
    measured(&mut || {
        for datagram in &datagrams {
            shared.push(datagram, source, Transport::Udp, &now, &mut out);
        }
    });
    black_box(out);
}

fn sflow() {
    let (datagrams, rules, now) = (thousand(Version::Sflow), SflowRules::default(), ReceiveTime::new(NOW));
    let mut out = Vec::with_capacity(1 << 20);
    measured(&mut || {
        for datagram in &datagrams {
            push_datagram(datagram, &rules, source(), &now, &mut out);
        }
    });
    black_box(out);
}

fn framer() {
    let stream = syslog_lines(1000).join("\n") + "\n";
    let mut framer = Framer::syslog(64 * 1024, Oversize::Cut);
    measured(&mut || {
        let mut rest = stream.as_bytes();
        while let Step::Frame { bytes, consumed, .. } = framer.next(rest) {
            black_box(bytes);
            rest = rest.get(consumed..).unwrap_or_default();
        }
        assert!(rest.is_empty());
    });
}

fn buffer() -> LineBuffer {
    let dataset = DatasetKey { tenant: "acme".parse().unwrap(), dataset: "web".parse().unwrap() };
    let batching = Batching {
        max_lines: 0,
        max_bytes: 1 << 20,
        timeout: Duration::from_secs(30),
        compression_enabled: true,
        compression_level: 1,
        compression_adaptive: false,
    };
    let key = StreamKey { dataset, hint: Hint::ndjson(), class: Class::Acknowledged };
    LineBuffer::new(Arc::new(Stream { key, batching }))
}

fn member() {
    let (lines, now) = (json_lines(1000), ReceiveTime::new(NOW));
    let (mut buffer, mut compressor) = (buffer(), Compressor::default());
    measured(&mut || {
        for line in &lines {
            buffer.out().extend_from_slice(line.as_bytes());
            buffer.added(1, &now);
        }
        black_box(buffer.take(1, &mut compressor, Reservation::default()));
    });
}

fn frames() {
    let (small, large) = (vec![b'x'; 300], vec![b'x'; 100_000]);
    let mut out = Vec::with_capacity(1 << 20);
    let header = |lines: &[u8]| Header {
        kind: Kind::Raw,
        stamp: Stamp(1),
        number: 1,
        offset: 0,
        lines: 1,
        raw_len: lines.len() as u32,
        raw_crc: 0,
    };
    let mark = Mark { segment: 1, salt: 7 };
    measured(&mut || {
        for _ in 0..100 {
            frame::encode(&header(&small), mark, 0, &small, &mut out);
        }
        frame::encode(&header(&large), mark, 0, &large, &mut out);
    });
    black_box(out);
}
