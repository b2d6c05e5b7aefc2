//! `qantra decisions import`: a list of another tool, or of a person, as decisions.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::bufread::MultiGzDecoder;
use http::Method;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{
    super::{
        daemon::Daemon,
        error::CliError,
        exchange::{Entry, ListFormat},
        output::{Format, Output, clean, warn},
        time::{self, Lasting},
    },
    count,
};
use crate::{
    api::{Imported, NewDecision, NewDecisions},
    decide::{Action, Direction},
};

/// Most entries of one import: as many as can be in force at once.
const ENTRIES_MAX: usize = 200_000;
/// Most refused entries that `-o json` lists; standard error has all.
const LISTED_MAX: usize = 1_000;

/// Make decisions of a list: json, csv, plain lines, nftables or RouterOS
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions import bans.csv
  cscli decisions list -o raw | qantra decisions import - --format csv
  qantra decisions import drop.txt --duration 7d --reason \"Spamhaus DROP\" --dry-run
  nft list set inet filter bad | qantra decisions import - --format nft

csv has a heading with any of duration,scope,value,type,reason,direction; json is an array of objects with these names.
Files may be gzipped. Each entry that cannot be read or must not be covered is named with its line on standard error and
keeps no other one out. Exit code 0: at least one was taken; 1: none was. For lists of many thousands that are fetched
again and again use `qantra blocklists`.")]
pub(super) struct Args {
    /// The list; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How it is written [default: by the file's name; plain unless it ends in json, csv, nft or rsc]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ListFormat>,

    /// How long entries last that do not say [default: 4h; for nft and mikrotik forever]
    #[arg(short, long, value_parser = time::lasting)]
    duration: Option<Lasting>,

    /// Why, for entries that do not say
    #[arg(short, long, default_value = "imported", value_name = "TEXT")]
    reason: String,

    /// What is done, for entries that do not say
    #[arg(short = 't', long = "type", value_enum, default_value = "block", value_name = "ACTION")]
    action: Action,

    /// Which end of a packet is compared, for entries that do not say
    #[arg(long, value_enum, default_value = "source")]
    direction: Direction,

    /// Read the list and say what would be refused; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    taken: usize,
    replaced: usize,
    refused: usize,
    unreadable: usize,
    dry_run: bool,
    /// The first ones that were refused.
    refusals: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    line: u64,
    net: ipnet::IpNet,
    why: String,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let is_stdin = args.file == Path::new("-");
    let format = match (args.format, is_stdin) {
        (Some(format), _) => format,
        (None, false) => ListFormat::of_file(&args.file),
        (None, true) => {
            return Err(CliError::Usage("standard input has no name to tell its format by: add --format".into()));
        }
    };
    let name = if is_stdin { "standard input".to_owned() } else { args.file.display().to_string() };
    let failed = |error: io::Error| CliError::Failed(anyhow::Error::from(error).context(clean(&name)));
    let (input, bar) = open(args, is_stdin).map_err(failed)?;
    let mut import = Import {
        args,
        format,
        daemon,
        name: clean(&name),
        bar,
        lines: Vec::new(),
        batch: NewDecisions { decisions: Vec::new(), dry_run: args.dry_run },
        summary: Summary { dry_run: args.dry_run, ..Summary::default() },
        warnings: Vec::new(),
        failure: None,
        entries: 0,
    };
    let mut input = unzipped(input).map_err(failed)?;
    let read = format.read(&mut *input, &mut |line, entry| import.entry(line, entry));
    import.finish(read.map_err(failed), output)
}

/// The input, counted by a bar on a terminal.
fn open(args: &Args, is_stdin: bool) -> io::Result<(Box<dyn Read>, ProgressBar)> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = if is_stdin { "{spinner} {bytes} {msg}" } else { "{wide_bar} {bytes}/{total_bytes} {msg}" };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    if is_stdin {
        return Ok((Box::new(bar.wrap_read(io::stdin())), bar));
    }
    let file = File::open(&args.file)?;
    bar.set_length(file.metadata()?.len());
    Ok((Box::new(bar.wrap_read(file)), bar))
}

fn unzipped(input: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let is_gzip = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(input))) } else { Box::new(input) })
}

/// A running import: at most one batch is held.
struct Import<'a> {
    args: &'a Args,
    format: ListFormat,
    daemon: &'a Daemon,
    name: String,
    bar: ProgressBar,
    /// The line of each entry of the batch.
    lines: Vec<u64>,
    batch: NewDecisions,
    summary: Summary,
    warnings: Vec<String>,
    failure: Option<CliError>,
    entries: usize,
}

impl Import<'_> {
    /// Takes one entry; `false` when there is no use in more.
    fn entry(&mut self, line: u64, entry: Result<Entry, String>) -> bool {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => {
                self.summary.unreadable += 1;
                self.complain(line, &why);
                return true;
            }
        };
        if self.entries == ENTRIES_MAX {
            self.warnings.push(format!(
                "{}:{line}: from here on nothing was read: at most {ENTRIES_MAX} decisions are in force at once; \
                 `qantra blocklists add` takes lists of any size",
                self.name
            ));
            return false;
        }
        self.entries += 1;
        let lasting = entry.lasting.or(self.args.duration).unwrap_or(self.format.default_lasting());
        self.lines.push(line);
        self.batch.decisions.push(NewDecision {
            net: entry.net,
            action: entry.action.unwrap_or(self.args.action),
            direction: entry.direction.unwrap_or(self.args.direction),
            duration_s: lasting.0,
            reason: entry.reason.unwrap_or_else(|| self.args.reason.clone()),
        });
        self.lines.len() < NewDecisions::MAX || self.send()
    }

    /// Sends what has gathered; `false` when the daemon failed.
    fn send(&mut self) -> bool {
        if self.lines.is_empty() {
            return true;
        }
        let sent: Result<Imported, CliError> = self.daemon.send(Method::POST, "/v1/decisions/import", &self.batch);
        let imported = match sent {
            Ok(imported) => imported,
            Err(error) => {
                self.failure = Some(error);
                return false;
            }
        };
        for refused in imported.refused {
            let line = self.lines.get(refused.index).copied().unwrap_or(0);
            self.summary.refused += 1;
            self.complain(line, &refused.why);
            if self.summary.refusals.len() < LISTED_MAX {
                self.summary.refusals.push(Refusal { line, net: refused.net, why: refused.why });
            }
        }
        for warning in imported.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.summary.taken += imported.taken;
        self.summary.replaced += imported.replaced;
        self.bar.set_message(format!("{} taken", self.summary.taken));
        self.lines.clear();
        self.batch.decisions.clear();
        true
    }

    fn complain(&self, line: u64, why: &str) {
        // With standard error gone there is nobody left to tell.
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{}:{line}: {}", self.name, clean(why))));
    }

    fn finish(mut self, read: Result<(), CliError>, output: Output) -> Result<(), CliError> {
        if self.failure.is_none() {
            self.send();
        }
        self.bar.finish_and_clear();
        warn(&self.warnings);
        let summary = &self.summary;
        if let Some(error) = self.failure.map(Err).or(Some(read)).filter(Result::is_err) {
            if summary.taken > 0 {
                warn(&[format!("{} taken before this", count(summary.taken, "decision"))]);
            }
            return error;
        }
        let total = summary.taken + summary.refused + summary.unreadable;
        if summary.taken == 0 {
            let why = match total {
                0 => "it has no entries".to_owned(),
                _ => format!("{} refused, {} unreadable", summary.refused, summary.unreadable),
            };
            return Err(anyhow::anyhow!("nothing was taken from {}: {why}", self.name).into());
        }
        match output.format {
            Format::Json => output.json(summary),
            Format::Raw => output
                .text(&format!("{}\t{}\t{}\t{}", summary.taken, summary.replaced, summary.refused, summary.unreadable)),
            Format::Human => output.text(&human(summary, total)),
        }
    }
}

fn human(summary: &Summary, total: usize) -> String {
    let would = if summary.dry_run { " would be" } else { "" };
    let mut text = format!("{} of {}{would} taken", summary.taken, entries(total));
    for (number, what) in [
        (summary.replaced, "in place of earlier ones"),
        (summary.refused, "refused"),
        (summary.unreadable, "unreadable"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    text
}

fn entries(number: usize) -> String {
    if number == 1 { "1 entry".into() } else { format!("{number} entries") }
}
