//! Enters: the bytes of a block list, and what may not be banned. Leaves: what it lists as sets of addresses, and a
//! complaint with line number, text and reason for each line that is no entry. Lists are hostile: it must never trust a
//! line, hold a list whole, or be stopped by one bad line. `[pure]`

mod budget;
mod json;
mod lines;
mod merge;
mod policy;
mod read;
mod reason;
mod record;
mod sniff;
mod span;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use budget::{Combined, Part, combine, kernel_bytes};
pub use merge::{RangeBuilder, count_v4, holds, range_of, union};
pub use policy::EntryPolicy;
pub use read::{List, ListError, ListOptions, Tier, read_list};
pub use reason::{Complaint, Reason, Rejected, Report};
pub use span::Span;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Found out from the list itself
    #[default]
    Auto,
    /// FireHOL and ipset: an address, prefix or range a line, `#` comments
    Netset,
    /// The same with `;` comments (Spamhaus DROP) and counts (ipsum)
    Plain,
    /// Comma-separated, with or without a heading (cscli, abuse.ch)
    Csv,
    /// One document or an object a line (cscli, LAPI, Spamhaus DROP)
    Json,
    /// Suricata's `ip,category,score`
    Iprep,
    /// Lines of an address and names, as in /etc/hosts
    Hosts,
}

impl Format {
    /// As written on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Netset => "netset",
            Self::Plain => "plain",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Iprep => "iprep",
            Self::Hosts => "hosts",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
