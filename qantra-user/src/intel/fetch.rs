//! Enters: where a list is, and what is known of the last good one. Leaves: the list in a file, or the word that it did
//! not change. Servers are strangers: time, size and redirects have limits, and TLS is always verified.
//!
//! Certificates are trusted as the system trusts them, so that its updates, and an organisation's own, count here too.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::{
    files::{CopyFacts, Draft},
    spec::FeedSource,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: u32 = 5;
const PIECE_BYTES: usize = 64 * 1024;
/// Longest ETag or date that is kept.
const VALIDATOR_BYTES_MAX: usize = 256;

/// A list could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server did not answer, or not over verified TLS.
    #[error("{0}")]
    Server(#[from] Box<ureq::Error>),
    /// The server refused.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// The list is too long.
    #[error("it has more than {0} bytes: `feeds.download_max_mb` is the most")]
    TooLong(u64),
    /// The system has no certificates to trust.
    #[error("no certificate authority is known to this system: install the package ca-certificates{0}")]
    NoRoots(String),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is no file.
    #[error("{0} is no regular file")]
    NotAFile(PathBuf),
    /// The list cannot be kept.
    #[error("the list cannot be kept: {0}")]
    Keep(io::Error),
    /// Reading broke off.
    #[error("reading broke off: {0}")]
    Broken(io::Error),
    /// The daemon ends.
    #[error("the daemon ends")]
    Stopped,
}

/// Limits of one fetch, and where others see how far it is.
pub(super) struct FetchLimits<'a> {
    pub(super) bytes_max: u64,
    pub(super) timeout: Duration,
    pub(super) progress: &'a AtomicU64,
    pub(super) stop: &'a AtomicBool,
}

/// What came of a fetch.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The last good list is current.
    Unchanged,
    /// Another list, in the draft.
    Fresh(CopyFacts),
}

/// Fetches into a draft.
pub(super) fn fetch(
    source: &FeedSource,
    known: Option<&CopyFacts>,
    draft: &mut Draft,
    limits: &FetchLimits<'_>,
) -> Result<Fetched, FetchError> {
    match source {
        FeedSource::File(path) => from_file(path, known, draft, limits),
        FeedSource::Url { url, tls } => from_server(url, *tls, known, draft, limits),
    }
}

fn from_file(
    path: &Path,
    known: Option<&CopyFacts>,
    draft: &mut Draft,
    limits: &FetchLimits<'_>,
) -> Result<Fetched, FetchError> {
    let failed = |source| FetchError::File { path: path.into(), source };
    let is_file = fs::metadata(path).map_err(failed)?.is_file();
    // Asked before it is opened: opening a pipe would wait for its other end.
    if !is_file {
        return Err(FetchError::NotAFile(path.into()));
    }
    let file = fs::File::open(path).map_err(failed)?;
    let changed = file.metadata().and_then(|meta| meta.modified()).map_err(failed)?;
    let changed_ns = changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
    if known.is_some_and(|known| known.file_changed_ns == Some(changed_ns)) {
        return Ok(Fetched::Unchanged);
    }
    let sha256 = keep(file, draft, limits)?;
    let facts = CopyFacts { file_changed_ns: Some(changed_ns), sha256, ..CopyFacts::default() };
    Ok(same_or_fresh(known, facts))
}

fn from_server(
    url: &str,
    tls: bool,
    known: Option<&CopyFacts>,
    draft: &mut Draft,
    limits: &FetchLimits<'_>,
) -> Result<Fetched, FetchError> {
    let mut request = agent(tls, limits.timeout)?.get(url).header(header::ACCEPT_ENCODING, "gzip");
    if let Some(etag) = known.and_then(|known| known.etag.as_deref()) {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    if let Some(date) = known.and_then(|known| known.last_modified.as_deref()) {
        request = request.header(header::IF_MODIFIED_SINCE, date);
    }
    let response = request.call().map_err(Box::new)?;
    if response.status() == StatusCode::NOT_MODIFIED && known.is_some() {
        return Ok(Fetched::Unchanged);
    }
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let declared = response.body().content_length();
    if declared.is_some_and(|length| length > limits.bytes_max) {
        return Err(FetchError::TooLong(limits.bytes_max));
    }
    let validator = |name| validator(response.headers(), name);
    let (etag, last_modified) = (validator(header::ETAG), validator(header::LAST_MODIFIED));
    let sha256 = keep(response.into_body().into_reader(), draft, limits)?;
    let facts = CopyFacts { etag, last_modified, sha256, ..CopyFacts::default() };
    Ok(same_or_fresh(known, facts))
}

fn validator(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= VALIDATOR_BYTES_MAX).then(|| value.to_owned())
}

/// A server that knows no conditions sends the same list again.
fn same_or_fresh(known: Option<&CopyFacts>, facts: CopyFacts) -> Fetched {
    if known.is_some_and(|known| known.sha256 == facts.sha256) { Fetched::Unchanged } else { Fetched::Fresh(facts) }
}

/// Without gzip of its own: the list is kept as it came, and unpacked with a limit when it is read.
fn agent(tls: bool, timeout: Duration) -> Result<ureq::Agent, FetchError> {
    let config = ureq::Agent::config_builder()
        // With TLS at the start, a redirect to a server without it is refused.
        .https_only(tls)
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .timeout_global(Some(timeout))
        .user_agent(concat!("qantra/", env!("CARGO_PKG_VERSION")))
        .max_idle_connections(0);
    Ok(config.tls_config(trust(tls)?).build().into())
}

/// Read anew for each fetch: fetches are rare, and updates of the system count at once.
fn trust(is_needed: bool) -> Result<TlsConfig, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    if is_needed && found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(FetchError::NoRoots(why));
    }
    let roots = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Writes the stream into the draft; returns its SHA-256.
fn keep(mut input: impl Read, draft: &mut Draft, limits: &FetchLimits<'_>) -> Result<String, FetchError> {
    let mut piece = vec![0; PIECE_BYTES];
    let (mut total, mut hash) = (0_u64, Sha256::new());
    loop {
        if limits.stop.load(Ordering::Relaxed) {
            return Err(FetchError::Stopped);
        }
        let count = match input.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FetchError::Broken(error)),
        };
        total += count as u64;
        if total > limits.bytes_max {
            return Err(FetchError::TooLong(limits.bytes_max));
        }
        hash.update(&piece[..count]);
        draft.file.write_all(&piece[..count]).map_err(FetchError::Keep)?;
        limits.progress.store(total, Ordering::Relaxed);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
