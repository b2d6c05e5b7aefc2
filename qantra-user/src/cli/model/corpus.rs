//! `qantra model test` and `diff`: enters a labelled corpus and one or two versions. Leaves how they judge it. No daemon
//! scores anything here, and no label reaches a model.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    cli::corpus,
    inspect::RawRequest,
    model::{Comparison, Side},
};

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
    corpus::each_line(path, |line| {
        let row: Row = serde_json::from_slice(line)?;
        see(corpus::is_malicious(&row.label)?, &corpus::request(&row.raw)?)
    })
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
