//! `qantra decisions export`: what is in force, as a list for other tools.

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufWriter, Write as _},
};

use ipnet::IpNet;

use super::super::{
    daemon::Daemon,
    error::CliError,
    exchange::{Entry, ListFormat},
    output::warn,
    time::Lasting,
};
use crate::{
    api::{DecisionState, DecisionView},
    clock::Now,
    decide::{Action, Direction},
};

/// Longest line of the daemon's answer: a decision without its findings.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Write what is in force as a list for other tools
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions export --format csv > bans.csv
  qantra decisions export --format nft | nft -f -
  qantra decisions export --format mikrotik --name blocked > blocked.rsc
  qantra decisions export | ssh other-box qantra decisions import - --format json

json and csv carry everything that `import` reads, with the time that is left. The other formats can only say whom to
block by source: other decisions are left out, with a warning.")]
pub(super) struct Args {
    /// How it is written
    #[arg(long, value_enum, default_value = "json", value_name = "FORMAT")]
    format: ListFormat,

    /// The name of nft's table and of RouterOS' address list
    #[arg(long, default_value = "qantra_export", value_parser = list_name)]
    name: String,
}

fn list_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 31 && text.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits && plain {
        Ok(text.to_owned())
    } else {
        Err("use up to 31 letters, digits, _ and -, a letter first".into())
    }
}

pub(super) fn run(args: &Args, daemon: &Daemon) -> Result<(), CliError> {
    let now_ms = Now::read().unix_ms;
    let (mut entries, mut simulated) = (Vec::new(), 0);
    daemon.stream_lines("/v1/decisions/export", LINE_BYTES_MAX, |view: DecisionView| {
        match view.state {
            DecisionState::Simulated => simulated += 1,
            DecisionState::Active | DecisionState::Ended => entries.push(entry(view, now_ms)),
        }
        true
    })?;
    let mut warnings = Vec::new();
    if simulated > 0 {
        warnings.push(format!("{simulated} simulated decisions are not in the list: they are not in force"));
    }
    if !args.format.carries_actions() {
        let before = entries.len();
        entries = by_prefix(entries);
        if args.format == ListFormat::Nft {
            entries = outermost(entries);
        }
        let left_out = before - entries.len();
        if left_out > 0 {
            warnings.push(format!(
                "{left_out} decisions are not in the list: it only says whom to block by source, each prefix once"
            ));
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    args.format.write(&entries, &args.name, &mut out)?;
    out.flush()?;
    warn(&warnings);
    Ok(())
}

/// With the time that is left, rounded up.
fn entry(view: DecisionView, now_ms: u64) -> Entry {
    let left_s = view.expires_unix_ms.map(|end| end.saturating_sub(now_ms).div_ceil(1_000).max(1));
    Entry {
        net: view.scope.0,
        action: Some(view.action),
        direction: Some(view.direction),
        lasting: Some(Lasting(left_s)),
        reason: Some(view.reason),
    }
}

/// Blocks by source, each prefix once with its longest end.
fn by_prefix(entries: Vec<Entry>) -> Vec<Entry> {
    let is_ban = |entry: &Entry| {
        entry.action == Some(Action::Block) && entry.direction.is_some_and(|d| d != Direction::Destination)
    };
    let end = |entry: &Entry| entry.lasting.and_then(|lasting| lasting.0).unwrap_or(u64::MAX);
    let mut kept: Vec<Entry> = Vec::new();
    let mut places: HashMap<IpNet, usize> = HashMap::new();
    for entry in entries.into_iter().filter(is_ban) {
        match places.get(&entry.net).and_then(|place| kept.get_mut(*place)) {
            Some(known) if end(known) < end(&entry) => *known = entry,
            Some(_) => {}
            None => {
                places.insert(entry.net, kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

/// Without prefixes that lie inside another: an interval set refuses them. Single addresses have a set of their own.
fn outermost(entries: Vec<Entry>) -> Vec<Entry> {
    let is_prefix = |net: &IpNet| net.prefix_len() < net.max_prefix_len();
    let listed: HashSet<IpNet> = entries.iter().map(|entry| entry.net).filter(is_prefix).collect();
    let is_inside = |net: &IpNet| {
        let mut wider = std::iter::successors(net.supernet(), IpNet::supernet);
        is_prefix(net) && wider.any(|wider| listed.contains(&wider))
    };
    entries.into_iter().filter(|entry| !is_inside(&entry.net)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(net: &str, action: Action, direction: Direction, lasting_s: Option<u64>) -> Entry {
        Entry {
            net: crate::config::parse_net(net).unwrap(),
            action: Some(action),
            direction: Some(direction),
            lasting: Some(Lasting(lasting_s)),
            reason: None,
        }
    }

    #[test]
    fn lists_that_only_say_whom_to_block_hold_each_prefix_once() {
        let entries = vec![
            entry("203.0.113.7", Action::Block, Direction::Source, Some(10)),
            entry("203.0.113.7", Action::Block, Direction::Both, None),
            entry("203.0.113.8", Action::Throttle, Direction::Source, None),
            entry("203.0.113.9", Action::Block, Direction::Destination, None),
            entry("203.0.113.0/24", Action::Block, Direction::Source, Some(5)),
            entry("203.0.0.0/16", Action::Block, Direction::Source, Some(5)),
        ];
        let nets =
            |entries: &[Entry]| entries.iter().map(|e| crate::decide::Scope(e.net).to_string()).collect::<Vec<_>>();
        let kept = by_prefix(entries);
        assert_eq!(nets(&kept), ["203.0.113.7", "203.0.113.0/24", "203.0.0.0/16"]);
        assert_eq!(kept[0].lasting, Some(Lasting(None)), "the longer end");
        assert_eq!(nets(&outermost(kept)), ["203.0.113.7", "203.0.0.0/16"]);
    }

    #[test]
    fn names_cannot_break_out_of_the_script() {
        for (name, fits) in
            [("qantra", true), ("a-b_9", true), ("a b", false), ("a;b", false), ("", false), ("9a", false)]
        {
            assert_eq!(list_name(name).is_ok(), fits, "{name}");
        }
    }
}
