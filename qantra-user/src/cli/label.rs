//! `qantra model label`: a person's word on a finding.

use clap::ValueEnum;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
};
use crate::{
    api::{Labelled, NewLabel},
    learn::{Label, Sample},
};

/// Say whether what request models or rules found was an attack; `qantra train` learns from it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra model label 7q2n4c8h1v9ka fp      it was no attack
  qantra model label 7q2n4c8h1v9ka tp      it was one
  qantra model label 1gkq8ahz9y3000000000002m fp   the one request with this id

Ids stand on block pages, in `qantra decisions list` and `qantra rules recent`. What is kept is the field that weighed most,
or that most rules matched, with secrets masked. A ban stays: `qantra decisions delete` ends it.")]
pub(super) struct Args {
    /// A decision's id, or a request's
    id: String,
    /// True positive or false positive
    #[arg(value_enum)]
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// An attack
    Tp,
    /// No attack
    Fp,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let label = match args.verdict {
        Verdict::Tp => Label::Malicious,
        Verdict::Fp => Label::Benign,
    };
    let labelled: Labelled = daemon.send(Method::POST, "/v1/labels", &NewLabel { id: args.id.clone(), label })?;
    warn(&labelled.warnings);
    let row = |sample: &Sample| vec![word(sample.label).to_owned(), sample.name.clone(), sample.text.clone()];
    let rows: Vec<Vec<String>> = labelled.samples.iter().map(row).collect();
    output.rows(&labelled, &["LABEL", "FIELD", "VALUE"], &rows, "Nothing was labelled.")?;
    if output.format == Format::Human && !rows.is_empty() {
        output.text("`qantra train --now` learns from it\n")?;
    }
    Ok(())
}

pub(super) const fn word(label: Label) -> &'static str {
    match label {
        Label::Malicious => "attack",
        Label::Benign => "no attack",
    }
}
