//! What is shipped beside the program: systemd unit, compose file, image. No engine and no systemd runs here, so each is
//! judged by the nearest thing that does: systemd's own analysis, Compose's own parser, and the image's file system as
//! the root of a process without rights.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{LIMIT, input};
use e2e::{
    free_port,
    http::Client,
    load::{self, Framing, Progress, Shape},
    peers::{self, Peer},
    process::{self, Proxy},
    receiver::{Receiver, Settings},
    until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const PROGRAM: &str = "/usr/bin/bytefreezer-proxy";
const CONFIG: &str = "/etc/bytefreezer-proxy/config.yaml";
const SPOOL: &str = "/var/spool/bytefreezer-proxy";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name).canonicalize().unwrap()
}

fn text(name: &str) -> String {
    fs::read_to_string(shipped(name)).unwrap()
}

/// What a command prints; it must succeed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Values of a key of the unit.
fn unit(key: &str) -> Vec<String> {
    let start = format!("{key}=");
    text("bytefreezer-proxy.service")
        .lines()
        .filter_map(|line| line.strip_prefix(&start))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_unit_fits_the_program_and_what_is_installed_with_it() {
    let start = unit("ExecStart").concat();
    let (program, arguments) = start.split_once(' ').unwrap();
    assert_eq!(program, PROGRAM);
    let own = shipped("etc/config.yaml").display().to_string();
    assert!(arguments.contains(CONFIG));
    let arguments = arguments.replace(CONFIG, &own);
    let binary = process::binary().unwrap();
    run(Command::new(binary).args(arguments.split(' ')).arg("--dry-run"));
    run(Command::new(binary).args(["check", "--strict", &own]));
    // Time for a delay of nothing and the grace of the sample, and some room.
    assert!(unit("TimeoutStopSec").concat().parse::<u64>().unwrap() >= 20);
    assert_eq!(unit("ReadWritePaths"), [SPOOL]);
    assert!(text("etc/config.yaml").contains(&format!("directory: {SPOOL}")));
    assert!(text("tmpfiles.conf").contains(SPOOL) && text("sysusers.conf").contains(SPOOL));
    for file in ["tmpfiles.conf", "sysusers.conf"] {
        assert!(text(file).contains(&unit("User").concat()), "{file}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bytefreezer-proxy.service");
    let here = process::binary().unwrap().display().to_string();
    fs::write(&file, text("bytefreezer-proxy.service").replace(PROGRAM, &here)).unwrap();
    let analyze = || Command::new(peers::program("systemd-analyze").unwrap());
    let verified = analyze().args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let own: Vec<&str> = said.lines().filter(|line| line.contains("bytefreezer-proxy.service")).collect();
    assert!(verified.status.success() && own.is_empty(), "{said}");
    // Exposure of at most 2.0 of 10 ("OK" begins below 4.1); what remains is the network.
    run(analyze().args(["security", "--offline=yes", "--no-pager", "--threshold=20"]).arg(&file));
}

/// System calls of a set, and of the sets in it.
fn set(name: &str) -> BTreeSet<String> {
    let listed = run(Command::new(peers::program("systemd-analyze").unwrap()).args([
        "syscall-filter",
        "--no-pager",
        name,
    ]));
    let members =
        listed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members
        .flat_map(|line| if line.starts_with('@') { set(line) } else { BTreeSet::from([line.to_owned()]) })
        .collect()
}

/// The filter kills who calls anything else, so a whole life must do with what the unit permits.
#[test]
fn the_programs_system_calls_are_those_that_the_unit_permits() {
    let mut permitted = BTreeSet::new();
    for filter in unit("SystemCallFilter") {
        let (denied, names) = filter.strip_prefix('~').map_or((false, &filter[..]), |names| (true, names));
        for calls in names.split(' ').map(set) {
            permitted = if denied { &permitted - &calls } else { &permitted | &calls };
        }
    }
    assert!(permitted.len() > 200, "{permitted:?}");

    let receiver = Receiver::start(Settings::default()).unwrap();
    let [udp, tcp, http] = [(); 3].map(|()| free_port().unwrap());
    let config = json!({"inputs": [
        input("udp", "events", udp, &json!({})),
        input("tcp", "jobs", tcp, &json!({})),
        input("http", "hooks", http, &json!({})),
    ]});
    let mut proxy = Proxy::prepare(&receiver.url(), &config).unwrap();
    let trace = proxy.folder().join("trace");
    let mut command = Command::new(peers::program("strace").unwrap());
    command.args(["-f", "-qqq", "-e", "signal=none", "-o"]).arg(&trace).arg(process::binary().unwrap());
    command.arg("--config").arg(proxy.config_path());
    let tracer = Peer::start(command, tempfile::tempdir().unwrap()).unwrap();
    until(LIMIT, "the start", || proxy.get("/readyz").ok().filter(|answer| answer.status == 200))
        .unwrap_or_else(|error| panic!("{error}: {}", tracer.log()));
    let own = fs::read_to_string(format!("/proc/{0}/task/{0}/children", tracer.pid())).unwrap();
    let own = Pid::from_raw(own.split_whitespace().next().unwrap().parse().unwrap());

    let progress = Progress::default();
    let plan = |port| common::plan(port, Shape::Json, port, 50, 1000);
    let sent = [
        load::udp(&plan(udp), &progress).unwrap(),
        load::tcp(&plan(tcp), Framing::Line, &progress).unwrap(),
        load::http(&plan(http), "/webhook", 10, &progress).unwrap(),
    ];
    common::all_delivered(&receiver, &sent, LIMIT);
    receiver.down();
    load::http(&plan(http), "/webhook", 10, &progress).unwrap();
    proxy.reconfigure(&json!({"logging": {"level": "debug"}})).unwrap();
    kill(own, Signal::SIGHUP).unwrap();
    assert_eq!(proxy.get("/metrics").unwrap().status, 200);
    thread::sleep(Duration::from_millis(1500));
    receiver.up().unwrap();
    kill(own, Signal::SIGTERM).unwrap();
    until(LIMIT, "the end", || kill(own, None).is_err().then_some(())).unwrap();
    drop(tracer);

    let called: BTreeSet<String> = fs::read_to_string(trace)
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.split_whitespace().nth(1)?.split_once('(')?.0.to_owned()))
        // A call of a thread that ended meanwhile.
        .filter(|call| call != "???")
        .collect();
    assert!(called.contains("fdatasync") && called.contains("recvmmsg"), "{called:?}");
    let denied: Vec<_> = called.difference(&permitted).collect();
    assert!(denied.is_empty(), "the unit kills the program for {denied:?}");
}

#[test]
fn the_compose_file_is_one_and_fits_the_sample() {
    let compose = text("compose.yaml");
    run(Command::new(peers::program("docker-compose").unwrap())
        .arg("--file")
        .arg(shipped("compose.yaml"))
        .args(["config", "--quiet"]));
    let sample = text("etc/config.yaml");
    let published: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- \"")?.strip_suffix('"'))
        .filter_map(|port| port.split_once('/')?.0.rsplit(':').next())
        .filter(|port| port.parse::<u16>().is_ok())
        .collect();
    assert!(published.len() >= 4, "{published:?}");
    for port in published {
        assert!(sample.contains(&format!("port: {port}")), "nothing in the sample listens on {port}");
    }
    assert!(compose.contains(&format!(":{SPOOL}")));
}

fn buildah(storage: &tempfile::TempDir, arguments: &[&str]) -> String {
    let mut command = Command::new(peers::program("buildah").unwrap());
    command.arg("--root").arg(storage.path().join("root")).arg("--runroot").arg(storage.path().join("run"));
    command
        .args(["--storage-driver", "vfs"])
        .args(arguments)
        .current_dir(shipped(".."))
        .stderr(Stdio::piped());
    run(&mut command).trim().to_owned()
}

/// Configuration and mounted files of an image.
fn open(storage: &tempfile::TempDir, image: &str) -> (Value, PathBuf) {
    let container = buildah(storage, &["from", image]);
    let inspected: Value = serde_json::from_str(&buildah(storage, &["inspect", &container])).unwrap();
    (inspected["OCIv1"]["config"].clone(), buildah(storage, &["mount", &container]).into())
}

/// Paths, owners, modes and sizes below a folder, and its file capabilities.
fn listing(root: &Path) -> (String, String) {
    let found = run(Command::new("find")
        .args([".", "-mindepth", "1", "(", "-type", "d", "-printf", "%P %U %G %m\n", ")"])
        .args(["-o", "-printf", "%P %U %G %m %s\n"])
        .current_dir(root));
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    let capabilities =
        run(Command::new(peers::program("getcap").unwrap()).args(["-r", "."]).current_dir(root));
    (lines.join("\n"), capabilities)
}

/// The image's configuration and a folder with its files.
struct Image {
    config: Value,
    root: PathBuf,
    storage: tempfile::TempDir,
}

impl Image {
    /// Builds the Dockerfile's last stage around `program`.
    fn build() -> Self {
        let storage = tempfile::tempdir().unwrap();
        let out = storage.path().join("context/out/proxy");
        let program = std::env::var_os("IMAGE_BINARY").map(PathBuf::from);
        let own = program.as_deref().unwrap_or(process::binary().unwrap());
        // The stage before the last one copies this.
        fs::create_dir_all(storage.path().join("context/out/operator")).unwrap();
        run(Command::new(shipped("rootfs")).arg(own).arg(&out));
        if program.is_none() {
            // The program of a test needs its libraries; the one of the image (`make image-check`) has none.
            for library in
                run(Command::new("ldd").arg(own)).split_whitespace().filter(|word| word.starts_with('/'))
            {
                let to = out.join(&library[1..]);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(library, to).unwrap();
            }
        }
        let context = format!("build={}", storage.path().join("context").display());
        let file = shipped("Dockerfile").display().to_string();
        let context = ["--build-context", &context, "--file", &file, "--tag", "check", "."];
        buildah(&storage, &[&["build", "--isolation", "chroot"], &context[..]].concat());
        let (config, root) = open(&storage, "localhost/check");
        Self { config, root, storage }
    }

    /// The archive of `make image` has the same settings and files, and the same bytes whenever it is made.
    fn is_what_is_packed_without_an_engine(&self) {
        let [first, second] = ["first.tar", "second.tar"].map(|name| {
            let file = self.storage.path().join(name);
            let mut pack = Command::new(shipped("oci-archive"));
            pack.args(["localhost/check:1"])
                .arg(shipped("Dockerfile"))
                .arg("proxy")
                .arg(&self.root)
                .arg(&file);
            run(&mut pack);
            file
        });
        assert_eq!(fs::read(&first).unwrap(), fs::read(second).unwrap());
        let (config, root) = open(&self.storage, &format!("oci-archive:{}", first.display()));
        for setting in ["User", "Entrypoint", "Cmd", "Volumes", "ExposedPorts", "StopSignal"] {
            assert_eq!(config[setting], self.config[setting], "{setting}");
        }
        assert_eq!(listing(&root), listing(&self.root));
    }

    fn words(&self, name: &str) -> Vec<String> {
        self.config[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }
}

/// Mounts as an engine makes them, then the process that it would start: no rights, and a root that is read-only.
const ENGINE: &str = r#"
set -eu
root=$1 config=$2 spool=$3 hosts=$4 user=$5; shift 5
mount --bind "$root" "$root"
touch "$root/etc/hosts"
mkdir -p "$root/proc" "$root/dev"
mount -o remount,bind,ro "$root"
mount --bind "$spool" "$root/var/spool/bytefreezer-proxy"
mount --bind "$config" "$root/etc/bytefreezer-proxy"
mount -o remount,bind,ro "$root/etc/bytefreezer-proxy"
mount --bind "$hosts" "$root/etc/hosts"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"#;

/// H-55, W-41: the ports of image and program agree, and it runs as the image says.
#[test]
fn the_image_runs_without_rights_on_a_read_only_root() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return eprintln!("skipped: building an image and mounting it takes root");
    }
    let image = Image::build();
    assert_eq!(image.config["User"], "65532:65532");
    assert_eq!(image.config["ExposedPorts"], json!({"8008/tcp": {}}));
    assert!(text("etc/config.yaml").contains("api_port: 8008"));
    assert_eq!(image.words("Cmd"), ["--config", CONFIG]);
    assert!(image.config["Volumes"].get(SPOOL).is_some());
    for shell in ["bin/sh", "bin/bash", "usr/bin/env"] {
        assert!(!image.root.join(shell).exists(), "{shell}");
    }
    assert!(fs::metadata(image.root.join("etc/ssl/certs/ca-certificates.crt")).unwrap().len() > 100_000);

    // The second file is the one that binds ports below 1024 on a host's network.
    let (_, capabilities) = listing(&image.root);
    assert_eq!(capabilities, "./usr/bin/bytefreezer-proxy-privileged cap_net_bind_service=ep\n");
    image.is_what_is_packed_without_an_engine();

    // An engine fills a new volume from the image, owner and all.
    let spool = image.storage.path().join("spool");
    run(Command::new("cp").arg("-a").arg(image.root.join(&SPOOL[1..])).arg(&spool));
    assert_eq!(fs::metadata(&spool).unwrap().uid(), 65532);
    let receiver = Receiver::start(Settings::default()).unwrap();
    let [api, syslog, hooks] = [(); 3].map(|()| free_port().unwrap());
    let config = image.storage.path().join("etc");
    fs::create_dir(&config).unwrap();
    let sample = text("etc/config.yaml")
        .replace("http://receiver.example:8080", &receiver.url().replace("127.0.0.1", "receiver.example"))
        .replace("api_port: 8008", &format!("api_port: {api}"))
        .replace("port: 514", &format!("port: {syslog}"))
        .replace("port: 8081", &format!("port: {hooks}"));
    fs::write(config.join("config.yaml"), sample + "batching: {timeout_seconds: 1}\n").unwrap();
    let hosts = image.storage.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost receiver.example\n").unwrap();

    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENGINE, "engine"]).arg(&image.root).args([&config, &spool, &hosts]);
    command.arg(image.config["User"].as_str().unwrap());
    command.args(image.words("Entrypoint")).args(image.words("Cmd"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut running = Peer::start(command, tempfile::tempdir().unwrap()).unwrap();
    let get =
        |path: &str| Client::new(([127, 0, 0, 1], api).into()).get(path).ok().map(|answer| answer.status);
    until(LIMIT, "readiness", || (get("/readyz") == Some(200)).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", running.log()));
    assert_eq!(get("/livez"), Some(200));
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("Uid:").split_whitespace().collect::<Vec<_>>(), ["65532"; 4]);
    assert_eq!((field("CapEff:").trim_matches('0'), field("NoNewPrivs:").as_str()), ("", "1"));

    let posted =
        Client::new(([127, 0, 0, 1], hooks).into()).post("/webhook", b"{\"from\":\"image\"}").unwrap();
    assert_eq!(posted.status, 200, "{}", running.log());
    peers::logger(syslog, &["-d"], &["from the image".to_owned()]).unwrap();
    let instance = spool.join(".instance-0");
    assert!(instance.exists() || fs::read_dir(&spool).unwrap().count() > 0, "the spool is in the volume");
    // By the name of /etc/hosts, so names are resolved without a C library beside the program.
    receiver.wait_text("acme", "web-hooks", 1, Duration::from_mins(1)).unwrap();
    receiver.wait_text("acme", "network-devices", 1, Duration::from_mins(1)).unwrap();
    let code = running.terminate(LIMIT).unwrap();
    assert!(code.success(), "{code}: {}", running.log());
}

#[test]
fn without_root_the_packages_that_the_tests_need_are_named_and_nothing_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (bin, script) = (root.join("bin"), root.join(".ci/packages"));
    for made in [&bin, &root.join(".ci")] {
        fs::create_dir(made).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(shipped("../.ci/packages"), &script).unwrap();
    for tool in ["id", "dirname"] {
        symlink(Path::new("/usr/bin").join(tool), bin.join(tool)).unwrap();
    }
    // All of them but one.
    for tool in [
        "logger",
        "curl",
        "syslog-ng",
        "openssl",
        "valgrind",
        "systemd-analyze",
        "strace",
        "docker-compose",
        "buildah",
    ] {
        symlink("/bin/true", bin.join(tool)).unwrap();
    }
    let said = || {
        let mut command = if fs::metadata("/proc/self").unwrap().uid() == 0 {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "bash"]);
            command
        } else {
            Command::new("bash")
        };
        let path = std::env::var("PATH").unwrap();
        let inside = format!("PATH={} exec /bin/bash \"$0\"", bin.display());
        let output = command.arg("-c").arg(inside).arg(&script).env("PATH", path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let names = |said: &str, package: &str| said.split([' ', ';']).any(|word| word == package);
    let lacking = said();
    assert!(lacking.starts_with("missing for the tests: ") && names(&lacking, "zstd"), "{lacking}");
    assert!(lacking.contains("run '.ci/packages' as root once"), "{lacking}");
    assert!(names(&lacking, "rsyslog"), "the private copy is not there either: {lacking}");
    assert!(!names(&lacking, "curl") && !names(&lacking, "buildah"), "{lacking}");
    symlink("/bin/true", bin.join("zstd")).unwrap();
    let rest = said();
    assert!(!names(&rest, "zstd") && names(&rest, "rsyslog"), "{rest}");
    assert!(!root.join("target").exists(), "nothing was unpacked");
}
