//! Enters: lists of whom to ban, as other tools write them. Leaves: entries with the line each stands on, and the same
//! lists for other tools. It must never hold a whole file: one line, or one JSON object, at a time.

mod columns;
mod duration;
mod lines;
mod mikrotik;
mod nft;
mod objects;
mod plain;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufRead, Write},
    path::Path,
};

use clap::ValueEnum;
use ipnet::IpNet;

use super::time::Lasting;
use crate::decide::{Action, Direction, Scope};

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// Objects with value, duration, type, reason: as `cscli decisions import` reads them
    Json,
    /// The same as columns with a heading
    Csv,
    /// One address or prefix a line
    Values,
    /// The same; ranges a-b and comments after # or ; are read as well
    Plain,
    /// Sets of nftables, for `nft -f`
    Nft,
    /// A RouterOS script, for `/import`
    Mikrotik,
}

/// One entry of a list; what the list does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) net: IpNet,
    pub(super) action: Option<Action>,
    pub(super) direction: Option<Direction>,
    pub(super) lasting: Option<Lasting>,
    pub(super) reason: Option<String>,
}

impl Entry {
    const fn of(net: IpNet) -> Self {
        Self { net, action: None, direction: None, lasting: None, reason: None }
    }
}

/// Takes what was read: the line it stands on, and the entry or what is wrong with it. `false` ends the reading.
pub(super) type Each<'a> = dyn FnMut(u64, Result<Entry, String>) -> bool + 'a;

impl ListFormat {
    /// By the end of a file's name; everything unknown is taken for plain lines.
    pub(super) fn of_file(path: &Path) -> Self {
        match extension(path).as_str() {
            "json" | "jsonl" | "ndjson" => Self::Json,
            "csv" => Self::Csv,
            "nft" => Self::Nft,
            "rsc" => Self::Mikrotik,
            _ => Self::Plain,
        }
    }

    /// What an entry lasts that does not say, unless a person does. A set's element without timeout stays for ever.
    pub(super) const fn default_lasting(self) -> Lasting {
        match self {
            Self::Nft | Self::Mikrotik => Lasting(None),
            Self::Json | Self::Csv | Self::Values | Self::Plain => Lasting(Some(4 * 3_600)),
        }
    }

    /// Whether a list can say more than whom to block by source.
    pub(super) const fn carries_actions(self) -> bool {
        matches!(self, Self::Json | Self::Csv)
    }

    /// Reads a list to its end.
    ///
    /// # Errors
    /// The input itself fails; what is wrong with an entry goes to `each`.
    pub(super) fn read(self, input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
        match self {
            Self::Json => objects::read(input, each),
            Self::Csv => columns::read(input, each),
            Self::Values => plain::read(input, false, each),
            Self::Plain => plain::read(input, true, each),
            Self::Nft => nft::read(input, each),
            Self::Mikrotik => mikrotik::read(input, each),
        }
    }

    /// Writes a list; `name` is that of the table or address list.
    ///
    /// # Errors
    /// The output fails.
    pub(super) fn write(self, entries: &[Entry], name: &str, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Json => objects::write(entries, out),
            Self::Csv => columns::write(entries, out),
            Self::Values | Self::Plain => plain::write(entries, out),
            Self::Nft => nft::write(entries, name, out),
            Self::Mikrotik => mikrotik::write(entries, name, out),
        }
    }
}

/// `list.csv.gz` is a `csv`.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_owned())
}

/// CrowdSec says `ban` where Qantra says `block`.
fn action_of(text: &str) -> Result<Action, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "ban" | "block" | "drop" => Ok(Action::Block),
        "throttle" => Ok(Action::Throttle),
        "forward" => Ok(Action::Forward),
        "observe" => Ok(Action::Observe),
        _ => Err(format!("type `{}` is unknown: use ban, throttle, forward or observe", short(text))),
    }
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Block => "ban",
        other => other.as_str(),
    }
}

fn direction_of(text: &str) -> Result<Direction, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "source" => Ok(Direction::Source),
        "destination" => Ok(Direction::Destination),
        "both" => Ok(Direction::Both),
        _ => Err(format!("direction `{}` is unknown: use source, destination or both", short(text))),
    }
}

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Source => "source",
        Direction::Destination => "destination",
        Direction::Both => "both",
    }
}

/// `Ip:203.0.113.7`, as cscli's raw listing has it, is read as well.
fn net_of(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let unscoped = |scope: &str| {
        let (head, tail) = text.split_at_checked(scope.len())?;
        head.eq_ignore_ascii_case(scope).then_some(tail)
    };
    let bare = unscoped("ip:").or_else(|| unscoped("range:")).unwrap_or(text);
    crate::config::parse_net(bare).map_err(|error| error.to_string())
}

fn scope_name(net: &IpNet) -> &'static str {
    if Scope(*net).single().is_some() { "Ip" } else { "Range" }
}

/// A piece of bad input, short enough for a line.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A reason as text formats can carry it: one line, no longer than that many bytes.
fn one_line(reason: &str, bytes_max: usize) -> String {
    let mut text = String::new();
    for c in reason.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if text.len() + c.len_utf8() > bytes_max {
            break;
        }
        text.push(c);
    }
    text
}
