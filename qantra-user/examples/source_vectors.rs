//! Enters: capture files, and what an origin observed of HTTP. Leaves: behaviour vectors as CSV, made by the same
//! parser and flow code that serve. For training; it must never see live traffic.
//!
//! `source_vectors [--repeat N] [--label L] [--group G] [--source ADDRESS]… [--pcap FILE]… [--http FILE]…`: one run, its packets and
//! its requests joined by time and source. Prints `label,group,source,seconds` and the columns of the behaviour vector: one row
//! for each source and second in which it was seen, fewer for long ones. `--schema` prints the schema's hash.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{collections::HashMap, fs, io::Write as _, net::IpAddr};

use anyhow::{Context as _, Error, Result, bail};
use qantra_user::{
    capture::{self, ConversationTracker, SourceCounter},
    features::source::{self, COLUMNS},
    flow::{FlowTable, LocalNetworks, Observation},
};

const TICK_MS: u64 = 1_000;
/// A source gives a row each second at first, then one in ten seconds.
const DENSE_ROWS: u32 = 20;
const SPARSE_EVERY: u32 = 10;
const ROWS_MAX: u32 = 120;

#[derive(Debug, Default)]
struct Options {
    label: String,
    group: String,
    repeat: u64,
    /// Only of these; none: of all.
    sources: Vec<IpAddr>,
    pcaps: Vec<String>,
    https: Vec<String>,
}

fn options() -> Result<Option<Options>> {
    let mut options = Options { repeat: 1, label: "benign".into(), ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--schema" {
            println!("{}", source::schema().hash());
            return Ok(None);
        }
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--label" => options.label = value,
            "--group" => options.group = value,
            "--repeat" => options.repeat = value.parse()?,
            "--source" => options.sources.push(value.parse()?),
            "--pcap" => options.pcaps.push(value),
            "--http" => options.https.push(value),
            other => bail!("unknown option {other}"),
        }
    }
    Ok(Some(options))
}

fn main() -> Result<()> {
    let Some(options) = options()? else { return Ok(()) };
    let mut seen: Vec<(u64, Observation)> = Vec::new();
    for path in &options.pcaps {
        let mut counter = SourceCounter::new(1_000, 200, Vec::new());
        let bytes = fs::read(path)?;
        // Vectors hold nothing of conversations.
        let mut none = ConversationTracker::new(Vec::new());
        let read = capture::observations(&bytes, &mut counter, &mut none, |o| seen.push((o.at_ms(), o)));
        // Captures of exotic links are part of the collections: they give no rows.
        if let Err(error) = read {
            tracing::debug!("{path}: {error}");
        }
    }
    for path in &options.https {
        let observed =
            capture::observed(&fs::read_to_string(path)?).map_err(Error::msg).with_context(|| path.clone())?;
        seen.extend(observed.into_iter().map(|observation| (observation.at_ms(), observation)));
    }
    seen.sort_by_key(|(at_ms, _)| *at_ms);
    rows(&options, &seen)
}

/// Plays the observations, as often as asked for, and prints vectors at every tick.
fn rows(options: &Options, seen: &[(u64, Observation)]) -> Result<()> {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
    let length_ms = (last.0 - first.0).max(TICK_MS);
    let mut table = FlowTable::<()>::new(FlowTable::<()>::LIMIT, LocalNetworks::default(), 1);
    let mut printed: HashMap<IpAddr, u32> = HashMap::new();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // A day after boot: no window is cut short by the clock's beginning.
    let mut start_ms = 86_400_000;
    let mut tick_ms = start_ms + TICK_MS;
    for _ in 0..options.repeat {
        for (at_ms, observation) in seen {
            let at_ms = start_ms + (at_ms - first.0);
            while tick_ms <= at_ms {
                print(&mut out, options, &table, &mut printed, tick_ms)?;
                // A long silence has nothing to print.
                tick_ms = if at_ms - tick_ms > 2 * TICK_MS { at_ms } else { tick_ms + TICK_MS };
            }
            let (tracked, _) = table.source_of(observation, at_ms);
            match observation {
                Observation::Request(seen) => {
                    tracked.flow.http.get_or_insert_default().request(at_ms, seen);
                }
                Observation::Connection(_) => tracked.flow.http.get_or_insert_default().connection(at_ms),
                Observation::Packets(seen) => tracked.flow.packets.get_or_insert_default().packets(at_ms, seen),
                Observation::Conversation(_) => {}
            }
        }
        start_ms += length_ms;
    }
    print(&mut out, options, &table, &mut printed, tick_ms)?;
    Ok(out.flush()?)
}

fn print(
    out: &mut impl std::io::Write,
    options: &Options,
    table: &FlowTable<()>,
    printed: &mut HashMap<IpAddr, u32>,
    tick_ms: u64,
) -> Result<()> {
    for tracked in table.iter().filter(|tracked| tracked.flow.last_ms + TICK_MS >= tick_ms) {
        let address = tracked.flow.address;
        // What serving does not look at is no example either.
        let is_wanted = options.sources.is_empty() || options.sources.contains(&address);
        if !is_wanted || !source::is_enough(&tracked.flow, tick_ms) {
            continue;
        }
        let rows = printed.entry(address).or_insert(0);
        *rows += 1;
        if *rows > DENSE_ROWS && (!(*rows).is_multiple_of(SPARSE_EVERY) || *rows > DENSE_ROWS + ROWS_MAX * SPARSE_EVERY)
        {
            continue;
        }
        write!(out, "{},{},{address},{rows}", options.label, options.group)?;
        let vector = source::vector(&tracked.flow, tick_ms);
        debug_assert_eq!(vector.values.len(), COLUMNS.len());
        for value in vector.values {
            write!(out, ",{value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
