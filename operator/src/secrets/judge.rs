//! Whether a Secret holds what somebody refers to, and may be used for it. Pure.

use std::collections::BTreeMap;

use bytefreezer_crds::{conditions::Reason, labels};

use crate::{
    assets::{AssetKind, AssetRef},
    pin,
};

/// Why an asset cannot be used. Tells nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such Secret.
    NoSecret,
    /// The Secret lacks the key.
    NoKey,
    /// It is of another namespace than the Proxy's and does not say that it may be used there.
    NotShared,
    /// The operator may not read it.
    Forbidden,
    /// It is not what it should be.
    Invalid(String),
    /// The Proxy's Secrets have no room for it.
    Full,
}

impl Problem {
    /// In one word.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoSecret | Self::NoKey => Reason::SecretNotFound,
            Self::NotShared => Reason::SecretNotShared,
            Self::Forbidden => Reason::SecretNotReadable,
            Self::Invalid(_) => Reason::SecretInvalid,
            Self::Full => Reason::AssetsFull,
        }
    }

    /// In a sentence that says what to do.
    pub fn message(&self, asset: &AssetRef) -> String {
        let AssetRef { namespace, secret, key } = asset;
        match self {
            Self::NoSecret => format!(
                "Secret {namespace}/{secret} does not exist: make it with the key {key}; it is found within 30 s"
            ),
            Self::NoKey => {
                format!("Secret {namespace}/{secret} has no key {key}: add it; it is found within 30 s")
            }
            Self::NotShared => format!(
                "Secret {namespace}/{secret} is of another namespace than the Proxy's and is not shared with it: \
                 kubectl -n {namespace} label secret {secret} {}=true",
                labels::PROXY_ASSET
            ),
            Self::Forbidden => format!(
                "the operator may not read Secrets in namespace {namespace}: add it to the chart's secretNamespaces, \
                 or keep the Secret where the operator may read"
            ),
            Self::Invalid(what) => format!(
                "{key} of Secret {namespace}/{secret}: {what}; correct it, what was used before goes on where there is such"
            ),
            Self::Full => format!(
                "{key} of Secret {namespace}/{secret} finds no room in the Proxy's Secrets: move datasets to another Proxy"
            ),
        }
    }
}

/// Values of a Secret by key.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Whether `data` holds under `key` what `kind` needs.
pub(super) fn judge(data: &Data, key: &str, kind: AssetKind) -> Result<(), Problem> {
    let value = data.get(key).ok_or(Problem::NoKey)?;
    let judged = match kind {
        AssetKind::Token => token(value),
        AssetKind::Certificate | AssetKind::Authorities => pin::certificates(value).map(|_| ()),
        AssetKind::Key => match data.get(super::CERTIFICATE) {
            Some(chain) => pin::pair(chain, value).map(|_| ()),
            // The certificate itself is reported.
            None => Ok(()),
        },
    };
    judged.map_err(Problem::Invalid)
}

fn token(value: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(value).unwrap_or_default().trim();
    if value.iter().all(u8::is_ascii_whitespace) {
        Err("it is empty".to_owned())
    } else if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("it is no token: one word of printable ASCII characters".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: &[(&str, &str)]) -> Data {
        values.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn invalid(data: &Data, key: &str, kind: AssetKind) -> String {
        match judge(data, key, kind) {
            Err(Problem::Invalid(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tokens_are_one_word() {
        for good in ["abc", "abc\n", " a.b-c_d=~ "] {
            assert_eq!(judge(&data(&[("token", good)]), "token", AssetKind::Token), Ok(()), "{good:?}");
        }
        for bad in ["", " \n", "two words", "a\nb", "käse"] {
            assert!(judge(&data(&[("token", bad)]), "token", AssetKind::Token).is_err(), "{bad:?}");
        }
        assert_eq!(judge(&data(&[]), "token", AssetKind::Token), Err(Problem::NoKey));
    }

    #[test]
    fn a_key_is_that_of_the_certificate_beside_it() {
        let pair = || rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (one, other) = (pair(), pair());
        let pem =
            |cert: &rcgen::CertifiedKey<rcgen::KeyPair>| (cert.cert.pem(), cert.signing_key.serialize_pem());
        let ((crt, key), (_, foreign)) = (pem(&one), pem(&other));
        let good = data(&[("tls.crt", &crt), ("tls.key", &key)]);
        assert_eq!(judge(&good, "tls.crt", AssetKind::Certificate), Ok(()));
        assert_eq!(judge(&good, "tls.key", AssetKind::Key), Ok(()));
        assert_eq!(judge(&good, "tls.crt", AssetKind::Authorities), Ok(()));

        let mixed = data(&[("tls.crt", &crt), ("tls.key", &foreign)]);
        assert_eq!(
            invalid(&mixed, "tls.key", AssetKind::Key),
            "the first certificate is not that of the key"
        );
        let swapped = data(&[("tls.crt", &key), ("tls.key", &crt)]);
        assert_eq!(
            invalid(&swapped, "tls.crt", AssetKind::Certificate),
            "it holds no certificate in PEM form"
        );
        let torn = data(&[("tls.crt", &crt[..crt.len() / 2]), ("tls.key", &key)]);
        assert!(
            !invalid(&torn, "tls.crt", AssetKind::Certificate).contains(&crt[40..60]),
            "tells no content"
        );
    }

    #[test]
    fn every_message_names_the_secret_and_what_to_do() {
        let asset = AssetRef::new("apps", "tls", "tls.crt");
        let all = [
            Problem::NoSecret,
            Problem::NoKey,
            Problem::NotShared,
            Problem::Forbidden,
            Problem::Invalid("it is empty".to_owned()),
            Problem::Full,
        ];
        for problem in all {
            let message = problem.message(&asset);
            assert!(message.contains("apps") && message.contains(": "), "{message}");
            assert!(!problem.reason().remedy().is_empty());
        }
        let message = Problem::NotShared.message(&asset);
        assert!(
            message.ends_with("kubectl -n apps label secret tls bytefreezer.com/proxy-asset=true"),
            "{message}"
        );
    }
}
