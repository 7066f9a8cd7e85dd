//! The entries of `inputs`.

use std::{net::Ipv4Addr, time::Duration};

use super::{batch_bytes, secret, server_tls, tenant, values};
use crate::{
    config::{
        document::{
            self, Common, Entry, HttpInput, InputBatching, InputDocument, Lines, Protocol, Proxied,
            SyslogInput, TcpInput, UdpInput,
        },
        model::{
            Batching, DataFormat, HttpSource, Input, KeepRaw, Limits, Listen, Oversize, Secret, Source,
            SyslogMode, SyslogSource, TcpSource, UdpSource,
        },
        problems::Problems,
    },
    ids::{DatasetId, DatasetKey, Hint, TenantId},
};

/// What an input takes from the rest of the file.
pub(super) struct InputContext<'a> {
    pub tenant: Option<&'a TenantId>,
    pub tenant_written: bool,
    pub account: bool,
    pub batching: &'a Batching,
    pub limits: &'a Limits,
    pub receiver_payload: u64,
    /// Of every entry of the file.
    pub hashes: &'a [String],
}

/// An input with its place in the file.
pub(super) struct Built {
    pub index: usize,
    pub input: Input,
}

/// The inputs that are right in themselves.
pub(super) fn validate(
    written: Vec<InputDocument>,
    indices: &[usize],
    context: &InputContext<'_>,
    problems: &mut Problems,
) -> Vec<Built> {
    let mut built = Vec::with_capacity(written.len());
    for (position, document) in written.into_iter().enumerate() {
        let index = indices.get(position).copied().unwrap_or(position);
        let hash = context.hashes.get(index).cloned().unwrap_or_default();
        let mut reader = Reader { key: format!("inputs[{index}]"), hash, context, problems: &mut *problems };
        let input = match document {
            InputDocument::Udp(entry) => reader.udp(entry),
            InputDocument::Tcp(entry) => reader.tcp(entry),
            InputDocument::Syslog(entry) => reader.syslog(entry),
            InputDocument::Http(entry) => reader.http(entry),
            InputDocument::Netflow(entry) => reader.netflow(entry),
            InputDocument::Ipfix(entry) => reader.ipfix(entry),
            InputDocument::Sflow(entry) => reader.sflow(entry),
            InputDocument::Ebpf(entry) => reader.ebpf(entry),
        };
        if let Some(input) = input.filter(|_| !problems.input_failed(index)) {
            built.push(Built { index, input });
        }
    }
    built
}

pub(super) struct Reader<'a> {
    /// `inputs[n]`.
    key: String,
    hash: String,
    context: &'a InputContext<'a>,
    pub problems: &'a mut Problems,
}

/// The members of an entry that are not in `config`.
pub(super) struct Head {
    name: Option<String>,
    paused: bool,
}

impl Reader<'_> {
    pub fn at(&self, key: &str) -> String {
        format!("{}.config.{key}", self.key)
    }

    fn udp(&mut self, entry: Entry<UdpInput>) -> Option<Input> {
        let (head, config) = split(entry)?;
        let source = Source::Udp(UdpSource { read_buffer_size: config.read_buffer_size as usize });
        self.input(head, &config.common, Some(config.lines), None, source)
    }

    fn tcp(&mut self, entry: Entry<TcpInput>) -> Option<Input> {
        let (head, config) = split(entry)?;
        let delimiter = values::delimiter(&config.delimiter, &self.at("delimiter"), self.problems);
        let source = Source::Tcp(self.streams(&config.streams, &config.proxied, delimiter));
        self.input(head, &config.common, Some(config.lines), Some(&config.proxied), source)
    }

    fn syslog(&mut self, entry: Entry<SyslogInput>) -> Option<Input> {
        let (head, config) = split(entry)?;
        let (udp, tcp) = self.transports(&config.protocol, &config.proxied);
        let source = Source::Syslog(SyslogSource {
            udp: udp.then_some(UdpSource { read_buffer_size: config.read_buffer_size as usize }),
            tcp: tcp.then(|| self.streams(&config.streams, &config.proxied, b'\n')),
            mode: match config.syslog_mode {
                document::SyslogMode::Auto => SyslogMode::Auto,
                document::SyslogMode::Rfc3164 => SyslogMode::Rfc3164,
                document::SyslogMode::Rfc5424 => SyslogMode::Rfc5424,
            },
            raw: match config.raw {
                document::KeepRaw::Drop => KeepRaw::Drop,
                document::KeepRaw::Keep => KeepRaw::Keep,
                document::KeepRaw::OnFailure => KeepRaw::OnFailure,
            },
            timezone: values::zone(&config.timezone, &self.at("timezone"), self.problems),
            timezones: self.timezones(&config.timezones),
        });
        self.input(head, &config.common, None, Some(&config.proxied), source)
    }

    /// Whether there are datagrams, and whether there are connections.
    pub fn transports(&mut self, protocol: &[Protocol], proxied: &Proxied) -> (bool, bool) {
        let (udp, tcp) = (protocol.contains(&Protocol::Udp), protocol.contains(&Protocol::Tcp));
        if !udp && !tcp {
            self.problems.error(&self.at("protocol"), "is empty", "write `udp`, `tcp` or `[udp, tcp]`");
        }
        if !tcp && proxied.tls.is_some() {
            self.problems.error(
                &self.at("tls"),
                "needs TCP",
                "add `protocol: tcp` or `protocol: [udp, tcp]`",
            );
        }
        if !tcp && proxied.proxy_protocol {
            self.problems.error(&self.at("proxy_protocol"), "needs TCP", "add `protocol: tcp`");
        }
        (udp, tcp)
    }

    fn streams(&mut self, written: &document::Streams, proxied: &Proxied, delimiter: u8) -> TcpSource {
        TcpSource {
            max_connections: written.max_connections as usize,
            max_connections_per_source: written.max_connections_per_source.map(|most| most as usize),
            read_timeout: (written.read_timeout > 0).then(|| Duration::from_secs(written.read_timeout)),
            max_line_size: written.max_line_size as usize,
            oversize: match written.oversize {
                document::Oversize::Cut => Oversize::Cut,
                document::Oversize::Drop => Oversize::Drop,
                document::Oversize::Close => Oversize::Close,
            },
            delimiter,
            tls: self.tls(proxied.tls.as_ref()),
        }
    }

    fn timezones(&mut self, written: &[document::SourceZone]) -> Vec<(ipnet::IpNet, String)> {
        let mut zones = Vec::with_capacity(written.len());
        for (index, zone) in written.iter().enumerate() {
            let key = self.at(&format!("timezones[{index}]"));
            let (Some(source), Some(name)) = (&zone.source, &zone.timezone) else {
                self.problems.error(
                    &key,
                    "is incomplete",
                    "write `{source: 192.0.2.0/24, timezone: Europe/Berlin}`",
                );
                continue;
            };
            let network = values::network(source, &format!("{key}.source"), self.problems);
            let name = values::zone(name, &format!("{key}.timezone"), self.problems);
            zones.extend(network.map(|network| (network, name)));
        }
        zones.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        zones
    }

    fn http(&mut self, entry: Entry<HttpInput>) -> Option<Input> {
        let (head, mut config) = split(entry)?;
        if u64::from(config.max_payload_size) > self.context.limits.memory_bytes / 2 {
            self.problems.warning(
                &self.at("max_payload_size"),
                "is above half of `limits.memory_bytes`: such requests wait for each other",
                "raise `limits.memory_bytes`",
            );
        }
        let auth = self.client_token(&mut config);
        let source = Source::Http(HttpSource {
            path: values::http_path(&config.path, &self.at("path"), self.problems),
            max_payload_size: config.max_payload_size as usize,
            max_lines_per_request: config.max_lines_per_request as usize,
            max_compression_ratio: config.max_compression_ratio as usize,
            max_connections: config.max_connections as usize,
            max_connections_per_source: config.max_connections_per_source.map(|most| most as usize),
            read_timeout: Duration::from_secs(config.read_timeout),
            write_timeout: Duration::from_secs(config.write_timeout),
            idle_timeout: Duration::from_secs(config.idle_timeout),
            auth,
            tls: self.tls(config.proxied.tls.as_ref()),
        });
        self.input(head, &config.common, Some(config.lines), Some(&config.proxied), source)
    }

    /// `auth`, or the old pair `enable_authentication` and `bearer_token`, which is no upload token any more.
    fn client_token(&mut self, config: &mut HttpInput) -> Option<Secret> {
        let old = config.common.bearer_token.take().filter(|token| !token.is_empty());
        let key = self.at("bearer_token");
        if let Some(auth) = config.auth.take() {
            if old.is_some() {
                self.problems.warning(&key, "has no effect beside `auth`", "leave it out");
            }
            let token = secret(auth.token, auth.token_file, &self.at("auth.token"), self.problems);
            if token.is_none() {
                self.problems.error(&self.at("auth"), "has no token", "add `token_file: /path/to/token`");
            }
            return token;
        }
        if !config.enable_authentication {
            if old.is_some() {
                self.problems.warning(
                    &key,
                    "has no effect without `enable_authentication`",
                    "for clients write `auth: {token_file: ...}`, for uploads `tenants.<id>.bearer_token_file`",
                );
            }
            return None;
        }
        if let Some(token) = old {
            self.problems.warning(
                &key,
                "is taken for the clients' token, no longer for the upload's",
                "write `auth: {token_file: /path/to/token}`",
            );
            return Some(Secret::Inline(token));
        }
        self.problems.error(
            &self.at("enable_authentication"),
            "is true, but there is no token: everybody could post",
            "add `auth: {token_file: /path/to/token}`",
        );
        None
    }

    pub fn tls(&mut self, written: Option<&document::Tls>) -> Option<crate::config::ServerTls> {
        server_tls(written?, &self.at("tls"), self.problems)
    }

    pub fn input(
        &mut self,
        head: Head,
        common: &Common,
        lines: Option<Lines>,
        proxied: Option<&Proxied>,
        source: Source,
    ) -> Option<Input> {
        let dataset = self.dataset(&head, common.dataset_id.as_deref());
        let tenant = self.tenant(common.tenant_id.as_deref());
        let listen = self.listen(common);
        let allowed_sources =
            values::networks(&common.allowed_sources, &self.at("allowed_sources"), self.problems);
        let proxy_protocol_from = proxied.and_then(|proxied| self.proxies(proxied));
        let batching = self.batching(common.batching.as_ref());
        let (hint, format, source_field) = self.lines(lines);
        let key = DatasetKey { tenant: tenant?, dataset: dataset? };
        if key.tenant.as_str().eq_ignore_ascii_case(key.dataset.as_str()) {
            self.problems.error(&self.at("dataset_id"), "equals the tenant", "write another `dataset_id`");
        }
        Some(Input {
            name: head.name.unwrap_or_else(|| key.dataset.to_string()),
            key,
            paused: head.paused,
            hint,
            format,
            source_field,
            listen: listen?,
            allowed_sources,
            proxy_protocol_from,
            batching,
            source,
            hash: std::mem::take(&mut self.hash),
        })
    }

    fn tenant(&mut self, own: Option<&str>) -> Option<TenantId> {
        if let Some(own) = own.filter(|id| !id.is_empty()) {
            return tenant(own, &self.at("tenant_id"), self.problems);
        }
        if self.context.tenant.is_none() && !self.context.tenant_written {
            let why = if self.context.account {
                "an account names none without Control"
            } else {
                "the file names none"
            };
            self.problems.error(
                &self.at("tenant_id"),
                format!("is missing, and {why}"),
                "add `tenant_id: <your tenant>` at the top of the file",
            );
        }
        self.context.tenant.cloned()
    }

    fn dataset(&mut self, head: &Head, own: Option<&str>) -> Option<DatasetId> {
        let key = self.at("dataset_id");
        if let Some(own) = own.filter(|id| !id.is_empty()) {
            return match own.parse() {
                Ok(id) => Some(id),
                Err(error) => {
                    self.problems.error(&key, error.to_string(), "write another id");
                    None
                }
            };
        }
        let Some(name) = &head.name else {
            self.problems.error(&key, "is missing, and so is `name`", "add `name: my-input`");
            return None;
        };
        let legal = legal_id(name);
        match legal.parse() {
            Ok(id) => {
                if legal != *name {
                    self.problems.notice(
                        &key,
                        format!("is made from the name {name:?}"),
                        format!("taken for `{legal}`"),
                    );
                }
                Some(id)
            }
            Err(error) => {
                self.problems.error(
                    &key,
                    format!("is missing, and the name cannot stand for it: {error}"),
                    "add `dataset_id: my-dataset` under `config`",
                );
                None
            }
        }
    }

    fn listen(&mut self, common: &Common) -> Option<Listen> {
        let host = match &common.host {
            Some(text) => values::host(text, &self.at("host"), self.problems),
            None => Some(Ipv4Addr::UNSPECIFIED.into()),
        };
        let port = common.port.and_then(|port| u16::try_from(port).ok());
        if port.is_none() {
            self.problems.error(&self.at("port"), "is missing", "add `port: 5514`");
        }
        Some(Listen { host: host?, port: port? })
    }

    fn proxies(&mut self, proxied: &Proxied) -> Option<Vec<ipnet::IpNet>> {
        let key = self.at("proxy_protocol_from");
        let networks = values::networks(&proxied.proxy_protocol_from, &key, self.problems);
        if !proxied.proxy_protocol {
            if !networks.is_empty() {
                self.problems.warning(
                    &key,
                    "has no effect without `proxy_protocol: true`",
                    "add it or leave this out",
                );
            }
            return None;
        }
        if networks.is_empty() {
            self.problems.error(
                &key,
                "is missing: anybody could claim any address",
                "list the load balancers' addresses",
            );
        }
        Some(networks)
    }

    fn batching(&mut self, own: Option<&InputBatching>) -> Batching {
        let file = self.context.batching;
        let Some(own) = own else { return file.clone() };
        let most = self.context.receiver_payload;
        Batching {
            max_lines: own.max_lines.unwrap_or(file.max_lines),
            max_bytes: own.max_bytes.map_or(file.max_bytes, |bytes| {
                batch_bytes(bytes, most, &self.at("batching.max_bytes"), self.problems)
            }),
            timeout: own.timeout_seconds.map_or(file.timeout, Duration::from_secs),
            compression_enabled: own.compression_enabled.unwrap_or(file.compression_enabled),
            compression_level: own.compression_level.unwrap_or(file.compression_level),
            compression_adaptive: own.compression_adaptive.unwrap_or(file.compression_adaptive),
        }
    }

    fn lines(&mut self, lines: Option<Lines>) -> (Hint, DataFormat, Option<String>) {
        let Some(lines) = lines else { return (Hint::ndjson(), DataFormat::Auto, None) };
        let hint = match lines.data_hint.map(|hint| hint.trim().to_ascii_lowercase()) {
            None => Hint::raw(),
            Some(hint) if hint.is_empty() => Hint::raw(),
            Some(hint) => hint.parse().unwrap_or_else(|error: crate::ids::IdError| {
                self.problems.error(
                    &self.at("data_hint"),
                    error.to_string(),
                    "use up to 32 of `a-z`, `0-9`, `_`",
                );
                Hint::raw()
            }),
        };
        let format = match lines.data_format {
            document::DataFormat::Auto => DataFormat::Auto,
            document::DataFormat::Ndjson => DataFormat::Ndjson,
            document::DataFormat::Text => DataFormat::Text,
        };
        let field = lines.source_field.filter(|name| !name.is_empty());
        let field = field.map(|name| values::member_name(&name, &self.at("source_field"), self.problems));
        (hint, format, field)
    }
}

/// `None` when the entry is switched off.
pub(super) fn split<T: Default>(entry: Entry<T>) -> Option<(Head, T)> {
    let name = entry.name.filter(|name| !name.trim().is_empty());
    entry.enabled.then_some((Head { name, paused: entry.paused }, entry.config))
}

/// The name with everything that no id may hold turned into single hyphens.
pub(in crate::config) fn legal_id(name: &str) -> String {
    let mut id = String::with_capacity(name.len());
    for c in name.trim().chars() {
        let c = if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        if c != '-' || !id.ends_with('-') {
            id.push(c);
        }
    }
    id.trim_matches(['-', '_']).to_owned()
}
