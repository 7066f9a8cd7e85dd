//! rsyslog and syslog-ng as they are installed or unpacked, asked over UDP on the loopback.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{folder, text};

/// What a program found in a message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct View {
    pub pri: Option<u16>,
    pub time: Option<String>,
    pub host: Option<String>,
    pub program: Option<String>,
    pub pid: Option<String>,
    pub msgid: Option<String>,
    pub data: Option<Value>,
    pub message: Option<String>,
}

/// Both answers to one message; `None`: the daemon dropped it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Answers {
    pub line: String,
    pub rsyslog: Option<View>,
    pub syslog_ng: Option<View>,
}

#[derive(Debug, PartialEq)]
pub struct Recorded(BTreeMap<String, Answers>);

fn path() -> PathBuf {
    folder().join("oracles.ndjson")
}

impl Recorded {
    pub fn new(
        lines: impl Iterator<Item = String>,
        rsyslog: Vec<Option<View>>,
        syslog_ng: Vec<Option<View>>,
    ) -> Self {
        let answers = rsyslog.into_iter().zip(syslog_ng);
        Self(
            lines
                .zip(answers)
                .map(|(line, (rsyslog, syslog_ng))| (line.clone(), Answers { line, rsyslog, syslog_ng }))
                .collect(),
        )
    }

    pub fn read() -> Self {
        let text = fs::read_to_string(path()).unwrap();
        let answers = text.lines().map(|line| serde_json::from_str::<Answers>(line).unwrap());
        Self(answers.map(|answers| (answers.line.clone(), answers)).collect())
    }

    /// The lines that are answered differently, with both answers.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let lines = self.0.keys().chain(other.0.keys().filter(|line| !self.0.contains_key(*line)));
        lines
            .filter(|line| self.0.get(*line) != other.0.get(*line))
            .map(|line| format!("{line}\n  {:?}\n  {:?}", self.0.get(line), other.0.get(line)))
            .collect()
    }

    pub fn write(&self) {
        let lines: Vec<String> =
            self.0.values().map(|answers| serde_json::to_string(answers).unwrap()).collect();
        fs::write(path(), lines.join("\n") + "\n").unwrap();
    }

    pub fn of(&self, line: &str) -> &Answers {
        self.0.get(line).unwrap_or_else(|| {
            panic!("no answers are recorded to {line}: run .ci/packages, then this test with UPDATE=1")
        })
    }
}

/// Where the daemons are: folders with `usr/sbin` in them.
pub struct Daemons {
    rsyslog: PathBuf,
    syslog_ng: PathBuf,
}

const RSYSLOG_MODULES: &str = "usr/lib/x86_64-linux-gnu/rsyslog";
const SYSLOG_NG_MODULES: &str = "usr/lib/syslog-ng/3.38";

/// Ends the daemon with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemons {
    /// Where `.ci/packages` unpacks or installs them.
    pub fn find() -> Option<Self> {
        let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
        let roots = [peers.join("rsyslog"), peers.join("syslog-ng"), PathBuf::from("/")];
        let with = |name: &str, modules: &str| {
            roots
                .iter()
                .find(|root| root.join("usr/sbin").join(name).exists() && root.join(modules).exists())
                .cloned()
        };
        Some(Self {
            rsyslog: with("rsyslogd", RSYSLOG_MODULES)?,
            syslog_ng: with("syslog-ng", SYSLOG_NG_MODULES)?,
        })
    }

    pub fn ask_rsyslog(&self, messages: &[&[u8]]) -> Vec<Option<View>> {
        let work = tempfile::tempdir().unwrap();
        let out = work.path().join("out");
        let port = free_port();
        let config = work.path().join("conf");
        fs::write(
            &config,
            format!(
                r#"global(workDirectory="{work}" parser.escapeControlCharactersOnReceive="off" maxMessageSize="64k" net.enableDNS="off")
module(load="imudp")
template(name="view" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="received" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="program" name="programname" format="jsonf")
  property(outname="tag" name="syslogtag" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
ruleset(name="ask") {{ action(type="omfile" file="{out}" template="view" asyncWriting="off") }}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="ask")
"#,
                work = work.path().display(),
                out = out.display()
            ),
        )
        .unwrap();
        let modules = self.rsyslog.join(RSYSLOG_MODULES);
        let child = command(&self.rsyslog, "rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(work.path().join("pid"))
            .arg("-M")
            .arg(&modules)
            .spawn()
            .unwrap();
        ask(Running(child), port, &out, messages)
    }

    pub fn ask_syslog_ng(&self, messages: &[&[u8]]) -> Vec<Option<View>> {
        let work = tempfile::tempdir().unwrap();
        let out = work.path().join("out");
        let port = free_port();
        let config = work.path().join("conf");
        let pairs = "pri='$PRI' time='$S_ISODATE' received='$R_ISODATE' host='$HOST' program='$PROGRAM' pid='$PID' \
                     msgid='$MSGID' data='$SDATA' message='$MSG'";
        fs::write(
            &config,
            format!(
                r#"@version: 3.38
options {{ keep-hostname(yes); use-dns(no); time-zone("UTC"); recv-time-zone("UTC"); frac-digits(6); log-msg-size(65536); stats-freq(0); }};
source s {{ syslog(ip(127.0.0.1) port({port}) transport("udp")); }};
destination d {{ file("{out}" template("$(format-json {pairs})\n")); }};
log {{ source(s); destination(d); }};
"#,
                out = out.display()
            ),
        )
        .unwrap();
        let file = |name: &str| work.path().join(name);
        let child = command(&self.syslog_ng, "syslog-ng")
            .arg("--foreground")
            .arg("--no-caps")
            .arg("--cfgfile")
            .arg(&config)
            .arg("--persist-file")
            .arg(file("persist"))
            .arg("--pidfile")
            .arg(file("pid"))
            .arg("--control")
            .arg(file("control"))
            .arg(format!("--module-path={}", self.syslog_ng.join(SYSLOG_NG_MODULES).display()))
            .spawn()
            .unwrap();
        ask(Running(child), port, &out, messages)
    }
}

fn command(root: &Path, name: &str) -> Command {
    let mut command = Command::new(root.join("usr/sbin").join(name));
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"];
    let libraries: Vec<String> =
        libraries.iter().map(|folder| root.join(folder).display().to_string()).collect();
    command.env("LD_LIBRARY_PATH", libraries.join(":")).env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends the messages one by one; each is answered by one line, or dropped, which the answer to a marker that follows
/// it shows.
fn ask(daemon: Running, port: u16, out: &Path, messages: &[&[u8]]) -> Vec<Option<View>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    let marker = |number: usize| format!("<13>1 2024-03-01T00:00:00Z marker {number} - - - m");
    let answers = || fs::read(out).map_or_else(|_| Vec::new(), |bytes| lines(&bytes));
    let until = |wanted: usize, again: bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            // Until its socket is open the daemon hears nothing.
            if again {
                let _ = socket.send(marker(wanted).as_bytes());
            }
            thread::sleep(Duration::from_millis(if again { 50 } else { 1 }));
            let found = answers();
            if found.iter().any(|line| is_marker(line, wanted)) {
                return found;
            }
            assert!(Instant::now() < deadline, "the daemon does not answer");
        }
    };
    until(0, true);
    let mut views = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        socket.send(message).unwrap();
        socket.send(marker(at + 1).as_bytes()).unwrap();
        let found = until(at + 1, false);
        let before = found.iter().rposition(|line| is_marker(line, at)).unwrap();
        let end = found.iter().position(|line| is_marker(line, at + 1)).unwrap();
        views.push(
            found.get(before + 1..end).and_then(<[Value]>::first).filter(|line| !is_refusal(line)).map(view),
        );
    }
    drop(daemon);
    views
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(bytes);
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn is_marker(line: &Value, number: usize) -> bool {
    text(line, "host").as_deref() == Some("marker")
        && text(line, "program").is_some_and(|program| program == number.to_string())
}

/// syslog-ng's own message about one it cannot parse.
fn is_refusal(line: &Value) -> bool {
    text(line, "program").as_deref() == Some("syslog-ng")
        && text(line, "message").is_some_and(|message| message.starts_with("Error processing log message"))
}

fn view(line: &Value) -> View {
    let time = text(line, "time");
    // Without a time stamp the daemons take the time of reception.
    let invented = time == text(line, "received");
    let data = text(line, "data").filter(|data| data.starts_with('['));
    View {
        pri: text(line, "pri").and_then(|pri| pri.parse().ok()),
        time: time.filter(|_| !invented).map(without_guess),
        host: text(line, "host").filter(|host| !matches!(host.as_str(), "127.0.0.1" | "localhost")),
        // rsyslog cuts the program name at a slash.
        program: text(line, "tag").map_or_else(|| text(line, "program"), |tag| Some(program_of(&tag))),
        pid: text(line, "pid"),
        msgid: text(line, "msgid"),
        data: data.map(|data| {
            let sample = format!("<13>1 - - - - - {data}");
            crate::decode(sample.as_bytes()).get("structured_data").cloned().unwrap_or(Value::String(data))
        }),
        message: text(line, "message"),
    }
}

/// No message of the corpus says a year from 2025 on: the daemon took it from its clock. Year 0, so that the answers
/// stay the same.
fn without_guess(time: String) -> String {
    match time.split_once('-') {
        Some((year, rest)) if year.parse::<u32>().is_ok_and(|year| year >= 2025) => format!("0000-{rest}"),
        _ => time,
    }
}

/// `sshd` of `sshd[12]:`.
fn program_of(tag: &str) -> String {
    let tag = tag.strip_suffix(':').unwrap_or(tag);
    match tag.rfind('[') {
        Some(at) if tag.ends_with(']') => tag[..at].to_owned(),
        _ => tag.to_owned(),
    }
}
