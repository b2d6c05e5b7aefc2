//! Enters: the sites' certificate files. Leaves: the certificate for each TLS handshake, by SNI, the new ones as soon as
//! the files change. A bad file must never take a good certificate out: the old one stays until a good one is there.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use notify::Watcher as _;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::mpsc;

use super::{ProxyError, hosts::HostTable};
use crate::config::{Config, SiteIndex, TlsConfig};

/// The certificates of all sites.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    hosts: HostTable,
    by_site: Vec<Option<Arc<CertifiedKey>>>,
    /// For clients that send no SNI.
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads every site's files.
    ///
    /// # Errors
    /// [`ProxyError`], naming site and file.
    pub(super) fn load(config: &Config) -> Result<Self, ProxyError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut all = Self::default();
        for (index, site) in config.sites.iter().enumerate() {
            let key = match &site.tls {
                Some(files) => Some(Arc::new(read_pair(&site.name, files, &provider)?)),
                None => None,
            };
            if key.is_some() {
                for host in &site.hosts {
                    // That no host is claimed twice was made sure when the sites were built.
                    let _ = all.hosts.add(host, SiteIndex(index as u16));
                }
                all.first = all.first.or_else(|| key.clone());
            }
            all.by_site.push(key);
        }
        Ok(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn find(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = server_name else { return self.first.clone() };
        let site = self.hosts.find(name)?;
        self.by_site.get(usize::from(site.0))?.clone()
    }
}

fn read_pair(site: &str, files: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<CertifiedKey, ProxyError> {
    let unreadable =
        |path: &Path, source: io::Error| ProxyError::TlsFile { site: site.to_owned(), path: path.to_owned(), source };
    let pem = |path: &Path, error: rustls::pki_types::pem::Error| match error {
        rustls::pki_types::pem::Error::Io(source) => unreadable(path, source),
        other => unreadable(path, io::Error::new(io::ErrorKind::InvalidData, other.to_string())),
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.certificate).map_err(|error| pem(&files.certificate, error))?.collect();
    let chain = chain.map_err(|error| pem(&files.certificate, error))?;
    if chain.is_empty() {
        let none = io::Error::new(io::ErrorKind::InvalidData, "no PEM certificate in it");
        return Err(unreadable(&files.certificate, none));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| pem(&files.key, error))?;
    // Also checks that the key belongs to the certificate.
    CertifiedKey::from_der(chain, key, provider).map_err(|source| ProxyError::TlsPair {
        site: site.to_owned(),
        certificate: files.certificate.clone(),
        source,
    })
}

/// Picks the certificate in force for each handshake.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name())
    }
}

/// What TLS listeners speak: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
///
/// # Errors
/// [`ProxyError::Tls`] when the provider lacks a protocol version.
pub(super) fn server_config(certificates: Arc<ArcSwap<Certificates>>) -> Result<Arc<ServerConfig>, ProxyError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ProxyError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver(certificates)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(ProxyError::Tls)?;
    Ok(Arc::new(config))
}

/// Watches the folders of certificate files and says when something in them changed.
pub(super) struct FileWatch {
    watcher: Option<notify::RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    changed: mpsc::Sender<()>,
}

impl FileWatch {
    pub(super) fn new(changed: mpsc::Sender<()>) -> Self {
        Self { watcher: None, folders: BTreeSet::new(), changed }
    }

    /// Watches what the config names now. Folders, not files: who replaces a certificate renames a new file over it.
    pub(super) fn follow(&mut self, config: &Config) {
        let files = config.sites.iter().filter_map(|site| site.tls.as_ref());
        let folder = |file: &Path| file.parent().map(Path::to_path_buf);
        let folders: BTreeSet<PathBuf> =
            files.flat_map(|tls| [folder(&tls.certificate), folder(&tls.key)]).flatten().collect();
        if folders == self.folders {
            return;
        }
        let changed = self.changed.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            let read_only = event.as_ref().is_ok_and(|event| event.kind.is_access());
            if !read_only {
                // A full queue of one: a reload is due already.
                let _ = changed.try_send(());
            }
        };
        self.watcher = notify::recommended_watcher(tell).ok();
        self.folders = folders;
        let Some(watcher) = &mut self.watcher else {
            tracing::warn!("certificate files cannot be watched: reload by `qantra reload` after you renew them");
            return;
        };
        for folder in &self.folders {
            if let Err(error) = watcher.watch(folder, notify::RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "certificate folder cannot be watched");
            }
        }
    }
}
