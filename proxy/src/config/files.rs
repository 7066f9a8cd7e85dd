//! Files that a configuration names, looked for by `check` only: at run time each user of a file says so itself.

use std::path::Path;

use super::{Config, Origin, Problem, Secret, ServerTls, Severity, Source};

/// The files that are not there or cannot be read.
pub fn missing_files(config: &Config) -> Vec<Problem> {
    let mut files: Vec<(String, &Path)> = Vec::new();
    let secrets = [
        ("bearer_token_file", config.tokens.global.as_ref()),
        ("server.read_token_file", config.server.read_token.as_ref()),
        ("server.admin_token_file", config.server.admin_token.as_ref()),
    ];
    files.extend(secrets.into_iter().filter_map(|(key, secret)| Some((key.to_owned(), file(secret?)?))));
    for (tenant, secret) in &config.tokens.tenants {
        files.extend(file(secret).map(|path| (format!("tenants.{tenant}.bearer_token_file"), path)));
    }
    files.extend(config.receiver.ca_file.as_deref().map(|path| ("receiver.ca_file".to_owned(), path)));
    files.extend(tls("server.tls", config.server.tls.as_ref()));
    for input in &config.inputs {
        let key = format!("input {}", input.key);
        let (certificate, token) = match &input.source {
            Source::Udp(_) => (None, None),
            Source::Tcp(tcp) => (tcp.tls.as_ref(), None),
            Source::Syslog(syslog) => (syslog.tcp.as_ref().and_then(|tcp| tcp.tls.as_ref()), None),
            Source::Http(http) => (http.tls.as_ref(), http.auth.as_ref().and_then(file)),
        };
        files.extend(tls(&format!("{key}: tls"), certificate));
        files.extend(token.map(|path| (format!("{key}: auth.token_file"), path)));
    }
    files.into_iter().filter_map(|(key, path)| problem(key, path)).collect()
}

fn file(secret: &Secret) -> Option<&Path> {
    match secret {
        Secret::Inline(_) => None,
        Secret::File(path) => Some(path),
    }
}

fn tls<'a>(key: &str, tls: Option<&'a ServerTls>) -> Vec<(String, &'a Path)> {
    let Some(tls) = tls else { return Vec::new() };
    let mut files = vec![
        (format!("{key}.cert_file"), tls.cert_file.as_path()),
        (format!("{key}.key_file"), tls.key_file.as_path()),
    ];
    files.extend(tls.client_ca_file.as_deref().map(|path| (format!("{key}.client_ca_file"), path)));
    files
}

fn problem(key: String, path: &Path) -> Option<Problem> {
    let error = std::fs::File::open(path).err()?;
    Some(Problem {
        severity: Severity::Error,
        origin: Origin::File { file: path.display().to_string().into(), line: 0, column: 0 },
        key,
        what: format!("cannot be read: {error}"),
        remedy: "create the file or correct the path".to_owned(),
    })
}
