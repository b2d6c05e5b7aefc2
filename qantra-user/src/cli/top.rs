//! `qantra top`: what happens right now, once a second: on a terminal a screen with keys, elsewhere one block of text or
//! one line of JSON each time.

mod keys;
mod page;

use std::io::{self, IsTerminal as _, Write as _};

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
};
use crate::{api::TopSnapshot, xdp::RunTimeStats};
use page::{Page, Sort};

/// Longest line of the daemon's answer: a few hundred rows.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Show live who sends how much, what is dropped and why, and what it costs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra top
  qantra top --sort syn --interval 5
  qantra top --once
  qantra top -o json --count 60 | jq '.sources[0]'

Keys: q quits, s sorts by the next column, p pauses. Elsewhere than on a terminal one block of text is printed each time,
with -o json one object a line. What a packet costs is measured by the kernel while root watches; the measuring itself
takes some tens of ns a packet and is part of what is shown.")]
pub(super) struct Args {
    /// Seconds between two looks, 0.1 to 60
    #[arg(short, long, default_value_t = 1.0, value_name = "SECONDS", value_parser = interval)]
    interval: f64,

    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print one look and end
    #[arg(long, conflicts_with = "count")]
    once: bool,

    /// Which sources come first
    #[arg(short, long, value_enum, default_value_t)]
    sort: Sort,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds)).ok_or_else(|| "write 0.1 to 60".to_owned())
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    // Held until the end; without it everything but the cost is shown.
    let stats = RunTimeStats::enable();
    let note = stats.as_ref().err().map(|error| format!("what packets cost is not measured: {error}; run as root"));
    let path = format!("/v1/top?interval_ms={}", (args.interval * 1_000.0) as u64);
    let count = if args.once { Some(1) } else { args.count };
    let is_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    if output.format == Format::Human && is_screen && !args.once {
        return keys::run(daemon, &path, args.sort, count, note.as_deref());
    }
    warn(note.as_slice());
    let mut shown = 0;
    let mut failure = None;
    daemon.stream_lines(&path, LINE_BYTES_MAX, |snapshot: TopSnapshot| {
        shown += 1;
        match print(&snapshot, args, *output) {
            Ok(()) => count.is_none_or(|count| shown < count),
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn print(snapshot: &TopSnapshot, args: &Args, output: Output) -> Result<(), CliError> {
    match output.format {
        Format::Json => {
            let mut out = io::stdout().lock();
            serde_json::to_writer(&mut out, snapshot).map_err(io::Error::from)?;
            Ok(out.write_all(b"\n").and_then(|()| out.flush())?)
        }
        Format::Human => output.text(&(Page::new(snapshot, args.sort).text(None) + "\n")),
        Format::Raw => {
            let rows = page::raw(snapshot);
            output.rows(snapshot, &[], &rows, "")
        }
    }
}
