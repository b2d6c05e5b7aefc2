//! Enters: names. Leaves: certificates on disk, and connections of clients that trust nothing else. It must never accept
//! another certificate than the one it was told of.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::Result;
use qantra_user::config::TlsConfig;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certificate to trust.
pub struct Certificate {
    der: CertificateDer<'static>,
}

/// Writes a self-signed certificate and its key.
///
/// # Errors
/// When they cannot be made or written.
pub fn certify(folder: &Path, name: &str, hosts: &[&str]) -> Result<(Certificate, TlsConfig)> {
    let made = rcgen::generate_simple_self_signed(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let files = TlsConfig { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    fs::write(&files.certificate, made.cert.pem())?;
    fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok((Certificate { der: made.cert.der().clone() }, files))
}

/// Connects to a proxy in the name of a host, with one protocol offered.
///
/// # Errors
/// When the certificate is another, or there is no connection.
pub async fn connect(proxy: SocketAddr, host: &str, trust: &Certificate, alpn: &str) -> Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trust.der.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from(host.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(proxy).await?).await?)
}
