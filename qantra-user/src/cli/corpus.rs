//! Enters: a corpus of labelled requests as JSON lines, plain or gzipped. Leaves: its lines and what stands in them. An error
//! must name file and line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;

use crate::inspect::RawRequest;

/// Longest line: a request with a body of 16 MiB, in base64.
const LINE_BYTES_MAX: u64 = 24 << 20;

/// Hands over the lines of a corpus that are not blank; an error names file and line.
pub(super) fn each_line(path: &Path, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    let mut line = Vec::new();
    for number in 1_usize.. {
        let place = || format!("{} line {number}", path.display());
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).with_context(place)? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            visit(&line).with_context(place)?;
        }
    }
    Ok(())
}

/// What a label says.
pub(super) fn is_malicious(label: &str) -> Result<bool> {
    match label {
        "malicious" => Ok(true),
        "benign" => Ok(false),
        other => bail!("label is `{other}`, expected `malicious` or `benign`"),
    }
}

/// The request of a line's `raw`.
pub(super) fn request(raw: &str) -> Result<RawRequest> {
    Ok(RawRequest::parse(&STANDARD.decode(raw).context("raw is not base64")?))
}

/// Opens a corpus; gzip is told by its first two bytes (RFC 1952).
fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut reader = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let is_gzip = reader.fill_buf().with_context(|| path.display().to_string())?.starts_with(&[0x1F, 0x8B]);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(reader))) } else { Box::new(reader) })
}
