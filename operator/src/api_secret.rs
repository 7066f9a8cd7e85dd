//! `<proxy>-api`: what operator and pods trust each other by.
//!
//! | key | for |
//! |---|---|
//! | `tls.crt`, `tls.key` | the certificate that pods serve their API with |
//! | `read-token` | the operator's questions |
//! | `admin-token` | what changes something |
//!
//! - Made once, by create and never by apply. One that is there is used as it is, whoever made it. It belongs to the Proxy,
//!   so it goes with it, and it has no label of what `build` makes, so no pass removes it.
//! - The operator takes this one certificate and no other (its bytes are compared), so neither name nor time of it mean
//!   anything: it has no end (RFC 5280, 4.1.2.5), since a renewal could only ever break what runs.
//! - To change it, delete the Secret: a new one is made at the next pass, pods see it within the kubelet's minute (at once,
//!   when the operator refreshes them) and use it without a restart. Until then they are reported as not reachable, and
//!   nothing else happens.
//! - A broken one is reported and left alone, unless it is this Proxy's own: then it is replaced, in the very version that
//!   was looked at.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytefreezer_crds::labels;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
};
use rustls::{ClientConfig, pki_types::CertificateDer};

use crate::{apply::MANAGER, pin, validate::ValidatedProxy};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const READ_TOKEN: &str = "read-token";
const ADMIN_TOKEN: &str = "admin-token";
/// In the certificate, for people who look at it.
const NAME: &str = "bytefreezer-proxy-api";
/// How often it is looked at again when somebody else is faster.
const ATTEMPTS: usize = 3;

/// Why there is no access to a Proxy's pods.
#[derive(Debug, thiserror::Error)]
pub enum ApiSecretError {
    /// The API server does not do it.
    #[error("Secret {0} cannot be {1}: {2}")]
    Api(String, &'static str, Box<kube::Error>),
    /// It belongs to a Proxy of this name that was deleted.
    #[error("Secret {0} belongs to a Proxy that was deleted and goes by itself; it is made anew then")]
    Leaving(String),
    /// It is not ours and cannot be used.
    #[error("Secret {0} cannot be used: {1}; correct it, or delete it and it is made anew")]
    Broken(String, String),
    /// It goes and comes.
    #[error("Secret {0} is changed by somebody else all the time; find out by whom")]
    Contended(String),
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Make(String),
}

/// How a Proxy's pods are asked.
#[derive(Clone)]
pub struct Access {
    /// TLS that takes the pods' certificate alone.
    pub(crate) tls: Arc<ClientConfig>,
    certificate: CertificateDer<'static>,
    read_token: Arc<str>,
    admin_token: Arc<str>,
}

impl Access {
    /// For questions.
    pub fn read_token(&self) -> &str {
        &self.read_token
    }

    /// For changes.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        let parts = |access: &Self| (access.read_token.clone(), access.admin_token.clone());
        self.certificate == other.certificate && parts(self) == parts(other)
    }
}

impl Eq for Access {}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access(********)")
    }
}

/// The name of a Proxy's Secret.
pub fn name(proxy: &str) -> String {
    format!("{proxy}-api")
}

/// The Secret as it is, or a new one.
pub async fn ensure(client: &Client, proxy: &ValidatedProxy) -> Result<Access, ApiSecretError> {
    let name = name(&proxy.key.name);
    let api: Api<Secret> = Api::namespaced(client.clone(), &proxy.key.namespace);
    let failed = |what| {
        let name = name.clone();
        move |error| ApiSecretError::Api(name, what, Box::new(error))
    };
    for _ in 0..ATTEMPTS {
        let Some(there) = api.get_opt(&name).await.map_err(failed("read"))? else {
            let secret = make(proxy)?;
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            match api.create(&params, &secret).await {
                Err(kube::Error::Api(status)) if status.code == 409 => continue,
                Err(error) => return Err(failed("made")(error)),
                Ok(made) => return read(&made).map_err(|problem| ApiSecretError::Broken(name, problem)),
            }
        };
        if there.metadata.deletion_timestamp.is_some()
            || owner(&there).is_some_and(|uid| uid != proxy.owner.uid)
        {
            return Err(ApiSecretError::Leaving(name));
        }
        let problem = match read(&there) {
            Ok(access) => return Ok(access),
            Err(problem) => problem,
        };
        if owner(&there).is_none() {
            return Err(ApiSecretError::Broken(name, problem));
        }
        tracing::warn!(secret = %name, namespace = %proxy.key.namespace, problem, "the Proxy's own Secret cannot be used and is made anew");
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: there.uid(),
                resource_version: there.resource_version(),
            }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(failed("removed")(error)),
            Ok(_) => {}
        }
    }
    Err(ApiSecretError::Contended(name))
}

/// UID of the controller of an object.
fn owner(secret: &Secret) -> Option<&str> {
    let owners = secret.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str()).next()
}

/// What the Secret gives access with, or what is wrong with it, in words that tell nothing of its content.
fn read(secret: &Secret) -> Result<Access, String> {
    let value = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| value.0.as_slice()).ok_or_else(|| format!("it has no key {key}"))
    };
    let token = |key: &str| {
        let text = std::str::from_utf8(value(key)?).unwrap_or_default().trim();
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Arc::<str>::from(text)).ok_or_else(|| format!("{key} is no token of one line"))
    };
    let (read_token, admin_token) = (token(READ_TOKEN)?, token(ADMIN_TOKEN)?);
    if read_token == admin_token {
        return Err(format!("{READ_TOKEN} and {ADMIN_TOKEN} are the same"));
    }
    let certificate = pin::pair(value(CERTIFICATE)?, value(KEY)?)
        .map_err(|problem| format!("{CERTIFICATE} and {KEY}: {problem}"))?;
    let tls = pin::client(certificate.clone()).map_err(|error| error.to_string())?;
    Ok(Access { tls: Arc::new(tls), certificate, read_token, admin_token })
}

fn make(proxy: &ValidatedProxy) -> Result<Secret, ApiSecretError> {
    let (certificate, key) = certificate().map_err(|error| ApiSecretError::Make(error.to_string()))?;
    let data = [(CERTIFICATE, certificate), (KEY, key), (READ_TOKEN, token()?), (ADMIN_TOKEN, token()?)];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name(&proxy.key.name)),
            namespace: Some(proxy.key.namespace.clone()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
                (labels::PROXY.to_owned(), proxy.key.name.clone()),
            ])),
            owner_references: Some(vec![proxy.owner.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// A certificate without an end and its key, as PEM.
fn certificate() -> Result<(String, String), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new([NAME.to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// 256 random bits.
fn token() -> Result<String, ApiSecretError> {
    use std::fmt::Write as _;
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| ApiSecretError::Make("the system gives no random numbers".to_owned()))?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
pub(crate) mod tests;
