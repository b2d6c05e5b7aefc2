//! `qantra dataset export|import|merge`: labels out of one box and into others, as files.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
};
use crate::{
    api::PooledSamples,
    features::http::http_schema,
    learn::{Dataset, Merged, ORIGIN_SAMPLES_MAX, Sample},
};

/// Samples of one request to the daemon: their texts may be escaped to six times their length.
const AT_ONCE: usize = 250;
/// Longest line of what the daemon answers.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Take labelled samples from one box to others, without addresses and with secrets masked
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra dataset export labels.jsonl
  qantra dataset merge berlin.jsonl paris.jsonl --to all.jsonl
  qantra dataset import all.jsonl
  qantra train --now --dataset all.jsonl

A data set is JSON lines: a header with format, schema and counts, then one sample a line. Read it before you hand it on:
values are what visitors sent, and only what looks like a secret is masked.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write what was labelled here to a file
    Export {
        /// The file; it must not be there
        file: PathBuf,
        /// Also values that many networks send, which nobody labelled
        #[arg(long)]
        quorum: bool,
    },
    /// Add the samples of a file to what was labelled here; where they differ, this box's own word stays
    Import {
        /// The file
        file: PathBuf,
    },
    /// Pool files: each sample once, no more of one box than its share, nothing that boxes disagree on
    Merge {
        /// The files
        #[arg(required = true, num_args = 1..)]
        files: Vec<PathBuf>,
        /// The pooled file; it must not be there
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

pub(super) fn run(args: &Args, daemon: &dyn Fn() -> Result<Daemon, CliError>, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Verb::Export { file, quorum } => {
            let set = fetch(&daemon()?, *quorum)?;
            write(&set, file)?;
            said(&set, file, output)
        }
        Verb::Import { file } => {
            let set = read(file)?;
            let daemon = daemon()?;
            let mut merged = Merged::default();
            for samples in set.samples().chunks(AT_ONCE) {
                let part = PooledSamples { samples: samples.to_vec() };
                let part: Merged = daemon.send(Method::POST, "/v1/labels/import", &part)?;
                merged.added += part.added;
                merged.known += part.known;
                merged.conflicts += part.conflicts;
            }
            report(&merged, output)
        }
        Verb::Merge { files, to } => {
            let sets = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            let (set, merged) = Dataset::merge(sets);
            write(&set, to)?;
            report(&merged, output)
        }
    }
}

/// What was labelled at a daemon.
pub(super) fn fetch(daemon: &Daemon, quorum: bool) -> Result<Dataset, CliError> {
    let mut samples: Vec<Sample> = Vec::new();
    daemon.stream_lines(&format!("/v1/labels?quorum={quorum}"), LINE_BYTES_MAX, |sample| {
        samples.push(sample);
        true
    })?;
    Ok(samples.into_iter().collect())
}

/// Reads a data set; another schema is said and no hindrance, since samples are text.
pub(super) fn read(path: &Path) -> Result<Dataset, CliError> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let (header, set) = Dataset::read(BufReader::new(file)).with_context(|| path.display().to_string())?;
    if header.schema != http_schema().hash() {
        let schema = header.schema;
        warn(&[format!(
            "{}: written for another feature schema ({schema}); its texts are used all the same",
            path.display()
        )]);
    }
    Ok(set)
}

fn write(set: &Dataset, path: &Path) -> Result<(), CliError> {
    if set.samples().is_empty() {
        return Err(anyhow!("there is no sample: `qantra model label` makes some").into());
    }
    let file = File::create_new(path).with_context(|| path.display().to_string())?;
    Ok(set.write(&http_schema().hash(), BufWriter::new(file)).with_context(|| path.display().to_string())?)
}

fn said(set: &Dataset, path: &Path, output: &Output) -> Result<(), CliError> {
    let header = set.header(&http_schema().hash());
    if output.format == Format::Json {
        return output.json(&header);
    }
    let (shown, samples, malicious) = (path.display(), header.samples, header.malicious);
    output.text(&format!("{shown}: {samples} samples, {malicious} of them attacks; read it before you hand it on\n"))
}

fn report(merged: &Merged, output: &Output) -> Result<(), CliError> {
    if output.format == Format::Json {
        return output.json(merged);
    }
    let Merged { added, known, conflicts, over_share } = merged;
    output.text(&format!(
        "{added} taken, {known} known already, {conflicts} labelled otherwise elsewhere, {over_share} beyond the \
         {ORIGIN_SAMPLES_MAX} of one box\n"
    ))
}
