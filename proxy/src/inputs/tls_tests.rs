use std::{fs, os::unix::fs::symlink};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

fn settings(folder: &Path) -> ServerTls {
    ServerTls {
        cert_file: folder.join("tls.crt"),
        key_file: folder.join("tls.key"),
        client_ca_file: None,
        client_cert_required: true,
    }
}

fn write(folder: &Path, (cert, key): &(String, String)) {
    fs::write(folder.join("tls.crt"), cert).unwrap();
    fs::write(folder.join("tls.key"), key).unwrap();
}

/// One handshake over memory; the certificate the server showed.
async fn shown(
    handle: &TlsHandle,
    roots: &Authority,
    client: Option<&(String, String)>,
) -> std::io::Result<Vec<u8>> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = handle.acceptor();
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"!").await?;
        stream.shutdown().await
    });
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), near).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    // With TLS 1.3 the client learns only here that its certificate was refused.
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    server.await.unwrap()?;
    Ok(shown)
}

#[tokio::test]
async fn a_new_pair_is_served_without_restart_and_a_bad_one_keeps_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    let (first, second) = (authority.sign("localhost"), authority.sign("localhost"));
    write(folder.path(), &first);
    let handle = TlsHandle::load(&settings(folder.path())).unwrap();
    let before = shown(&handle, &authority, None).await.unwrap();

    // Only the chain was replaced so far: the pair does not fit.
    fs::write(folder.path().join("tls.crt"), &second.0).unwrap();
    handle.expire();
    assert_eq!(shown(&handle, &authority, None).await.unwrap(), before);
    fs::remove_file(folder.path().join("tls.key")).unwrap();
    handle.expire();
    assert_eq!(shown(&handle, &authority, None).await.unwrap(), before);

    write(folder.path(), &second);
    handle.expire();
    assert_ne!(shown(&handle, &authority, None).await.unwrap(), before);
}

#[tokio::test]
async fn the_symlink_swap_of_a_mounted_secret_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ca");
    for version in ["v1", "v2"] {
        fs::create_dir(folder.path().join(version)).unwrap();
        write(&folder.path().join(version), &authority.sign("localhost"));
    }
    symlink("v1", folder.path().join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let handle = TlsHandle::load(&settings(folder.path())).unwrap();
    let before = shown(&handle, &authority, None).await.unwrap();
    symlink("v2", folder.path().join("..new")).unwrap();
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    handle.expire();
    assert_ne!(shown(&handle, &authority, None).await.unwrap(), before);
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_named_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    write(folder.path(), &authority.sign("localhost"));
    fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    let mut settings = settings(folder.path());
    settings.client_ca_file = Some(folder.path().join("ca.crt"));
    let required = TlsHandle::load(&settings).unwrap();
    assert!(shown(&required, &authority, Some(&authority.sign("device"))).await.is_ok());
    assert!(shown(&required, &authority, Some(&other.sign("device"))).await.is_err());
    assert!(shown(&required, &authority, None).await.is_err());
    settings.client_cert_required = false;
    let optional = TlsHandle::load(&settings).unwrap();
    assert!(shown(&optional, &authority, None).await.is_ok());
    assert!(shown(&optional, &authority, Some(&other.sign("device"))).await.is_err());
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let text = |settings: &ServerTls| TlsHandle::load(settings).unwrap_err().to_string();
    assert!(text(&settings).contains("tls.crt: cannot be read"), "{}", text(&settings));
    let authority = Authority::new("ca");
    let (cert, key) = authority.sign("localhost");
    write(folder.path(), &("no pem".to_owned(), key));
    assert!(text(&settings).contains("no certificate in PEM form"), "{}", text(&settings));
    write(folder.path(), &(cert.clone(), "no pem".to_owned()));
    assert!(text(&settings).contains("tls.key: no private key"), "{}", text(&settings));
    write(folder.path(), &(cert, authority.sign("localhost").1));
    assert!(text(&settings).contains("cannot be used together"), "{}", text(&settings));
}
