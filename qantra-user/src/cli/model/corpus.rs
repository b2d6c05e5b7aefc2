//! `qantra model test` and `diff`: enters a labelled corpus and one or two versions. Leaves how they judge it. No daemon
//! scores anything here, and no label reaches a model.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::{
    inspect::RawRequest,
    model::{Comparison, Side},
};

/// Longest line of a corpus: a request with a body of 16 MiB, in base64.
const LINE_BYTES_MAX: u64 = 24 << 20;

#[derive(Deserialize)]
struct Row {
    label: String,
    raw: String,
}

/// How one version judged a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) malicious: u64,
    pub(super) found: u64,
    pub(super) benign: u64,
    pub(super) refused: u64,
}

impl Counts {
    fn add(&mut self, is_malicious: bool, is_refused: bool) {
        let (all, hit) =
            if is_malicious { (&mut self.malicious, &mut self.found) } else { (&mut self.benign, &mut self.refused) };
        *all += 1;
        *hit += u64::from(is_refused);
    }
}

/// Hands out each request of a corpus with whether it is malicious.
fn each(path: &Path, mut see: impl FnMut(bool, &RawRequest) -> Result<()>) -> Result<()> {
    let shown = path.display();
    let file = BufReader::new(File::open(path).with_context(|| shown.to_string())?);
    let mut reader: Box<dyn BufRead> = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(file),
    };
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        let place = || format!("{shown} line {number}");
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).with_context(place)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_slice(&line).with_context(place)?;
        let is_malicious = match row.label.as_str() {
            "malicious" => true,
            "benign" => false,
            _ => bail!("{}: the label must be `malicious` or `benign`", place()),
        };
        let raw = STANDARD.decode(&row.raw).context("raw is not base64").with_context(place)?;
        see(is_malicious, &RawRequest::parse(&raw)).with_context(place)?;
    }
    Ok(())
}

/// What one version makes of corpora.
pub(super) fn test(side: &mut Side, inputs: &[impl AsRef<Path>]) -> Result<Counts> {
    let mut counts = Counts::default();
    for path in inputs {
        each(path.as_ref(), |is_malicious, request| {
            counts.add(is_malicious, side.request(&request.view())?.class.is_some());
            Ok(())
        })?;
    }
    if counts == Counts::default() {
        bail!("no request in the input");
    }
    Ok(counts)
}

/// How two versions differ over corpora.
pub(super) fn diff(
    first: &mut Side,
    second: &mut Side,
    inputs: &[impl AsRef<Path>],
) -> Result<(Comparison, [Counts; 2])> {
    let (mut comparison, mut counts) = (Comparison::default(), [Counts::default(); 2]);
    for path in inputs {
        each(path.as_ref(), |is_malicious, request| {
            let opinions = [first.request(&request.view())?, second.request(&request.view())?];
            comparison.request(&opinions[0], &opinions[1]);
            for (counts, opinion) in counts.iter_mut().zip(&opinions) {
                counts.add(is_malicious, opinion.class.is_some());
            }
            Ok(())
        })?;
    }
    if comparison.requests == 0 {
        bail!("no request in the input");
    }
    Ok((comparison, counts))
}
