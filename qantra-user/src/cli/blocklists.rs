//! `qantra blocklists add|list|refresh|remove|rejected|check`.

mod follow;
mod show;

use std::{net::IpAddr, path::Path};

use anyhow::Context as _;
use clap::Subcommand;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format as Printed, Output, clean, warn},
    time::{self, Lasting},
};
use crate::{
    api::RefreshFeeds,
    intel::{
        FeedCheck, FeedDirection, FeedList, FeedSpec, FeedStatus,
        list::{Complaint, Format},
    },
};

/// Longest line of a complaint.
const COMPLAINT_BYTES_MAX: usize = 16 * 1024;

/// See and change the block lists that are fetched from others
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra blocklists add https://www.spamhaus.org/drop/drop_v4.json --name drop --refresh 12h
  qantra blocklists list
  qantra blocklists check 198.51.100.9")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(AddArgs),
    /// List the feeds: how current each is, what it lists, what it stopped
    #[command(after_help = "Examples:
  qantra blocklists list
  qantra blocklists list -o json | jq '.feeds[] | {name, problem, report}'

Columns of raw: name, source, format, direction, confidence, refresh (s), entries, rejected, ranges, current since and next \
attempt (Unix ms; `-` is never), packets, requests, problem")]
    List,
    /// Fetch lists now
    #[command(after_help = "Examples:
  qantra blocklists refresh
  qantra blocklists refresh drop
  qantra blocklists refresh drop --believe    the list has become short, and that is right")]
    Refresh {
        /// This feed; without it all
        name: Option<String>,
        /// Take the list however short it has become
        #[arg(long)]
        believe: bool,
    },
    /// Take a feed off; what it listed is lifted at once
    #[command(after_help = "Example:
  qantra blocklists remove drop")]
    Remove {
        /// The feed
        name: String,
    },
    /// Print every line of a feed's list that is not in force, with its number and the reason
    #[command(after_help = "Examples:
  qantra blocklists rejected drop
  qantra blocklists rejected drop -o raw | cut -f2 | sort | uniq -c
  qantra blocklists rejected drop -o json > rejected.json

Columns of raw: line, reason, text, explanation")]
    Rejected {
        /// The feed
        name: String,
    },
    /// Say which feeds list an address, and what was stopped of it
    #[command(after_help = "Example:
  qantra blocklists check 198.51.100.9")]
    Check {
        /// The address
        address: IpAddr,
    },
}

/// Add a list from a web server or a file, and fetch it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra blocklists add https://iplists.firehol.org/files/firehol_level1.netset --name firehol1 --confidence 90
  qantra blocklists add https://www.spamhaus.org/drop/drop_v4.json --name drop --direction both --refresh 12h
  qantra blocklists add https://example.org/c2.csv.gz --name c2 --direction out
  qantra blocklists add /etc/qantra/own.txt --name own --confidence 100 --allow-private

Overlapping lists are joined. What is protected (this box, its gateways and resolvers, the allowlist) is left out, and so
are private and reserved addresses and prefixes wider than /8 (IPv6: /19); `qantra blocklists rejected` shows each. A list
that cannot be fetched, or has lost half of its entries, does not take the last good one's place.")]
struct AddArgs {
    /// An https:// or http:// URL, or a file that the daemon may read
    #[arg(value_name = "URL|FILE")]
    source: String,

    /// What to call it: lower-case letters, digits, `_`, `-`, `.`
    #[arg(short, long)]
    name: String,

    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,

    /// How often it is fetched: 30m, 1h, 1d
    #[arg(short, long, default_value = "1h", value_parser = time::lasting)]
    refresh: Lasting,

    /// How sure it is, from 0 to 100: where memory is short, the least sure entries are left out
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    confidence: u8,

    /// Which end of a packet is compared with it
    #[arg(short, long, value_enum, default_value_t)]
    direction: FeedDirection,

    /// Take private and reserved addresses as well
    #[arg(long)]
    allow_private: bool,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Verb::Add(args) => add(args, daemon, *output),
        Verb::List => {
            let list: FeedList = daemon.get("/v1/blocklists")?;
            show::list(&list, *output)
        }
        Verb::Refresh { name, believe } => refresh(name.clone(), *believe, daemon, *output),
        Verb::Remove { name } => {
            let left: FeedList = daemon.send(Method::DELETE, &format!("/v1/blocklists?name={}", escaped(name)), &())?;
            match output.format {
                Printed::Human => output.text(&clean(&format!("{name} is taken off"))),
                Printed::Json => output.json(&left),
                Printed::Raw => Ok(()),
            }
        }
        Verb::Rejected { name } => rejected(name, daemon, *output),
        Verb::Check { address } => {
            let check: FeedCheck = daemon.get(&format!("/v1/blocklists/check?ip={address}"))?;
            show::check(&check, *output)
        }
    }
}

fn add(args: &AddArgs, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let Some(refresh_s) = args.refresh.0 else {
        return Err(CliError::Usage("--refresh forever: write an interval from 1m to 31d".into()));
    };
    let spec = FeedSpec {
        name: args.name.clone(),
        source: absolute(&args.source)?,
        format: args.format,
        refresh_s,
        confidence: args.confidence,
        direction: args.direction,
        allow_private: args.allow_private,
    };
    let _: FeedList = daemon.send(Method::POST, "/v1/blocklists", &spec)?;
    let done = follow::follow(daemon, &[(spec.name.clone(), 0)])?;
    if done.iter().any(|feed| feed.problem.is_some()) {
        warn(&[format!("it is tried again; `qantra blocklists remove {}` takes it off", spec.name)]);
    }
    said(&done, output)
}

/// The daemon stands in another folder than whoever types.
fn absolute(source: &str) -> Result<String, CliError> {
    if source.contains("://") || source.starts_with('/') {
        return Ok(source.to_owned());
    }
    let path = std::fs::canonicalize(Path::new(source)).with_context(|| source.to_owned())?;
    Ok(path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("{source}: the path is not UTF-8"))?)
}

fn refresh(name: Option<String>, believe: bool, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let before: FeedList = daemon.get("/v1/blocklists")?;
    let names: Vec<String> = daemon.send(Method::POST, "/v1/blocklists/refresh", &RefreshFeeds { name, believe })?;
    let attempts = |name: &str| before.feeds.iter().find(|feed| feed.spec.name == name).map_or(0, |feed| feed.attempts);
    let meant: Vec<(String, u64)> = names.into_iter().map(|name| (name.clone(), attempts(&name))).collect();
    if meant.is_empty() && output.format == Printed::Human {
        return output.text("There are no feeds; `qantra blocklists add` adds one.");
    }
    said(&follow::follow(daemon, &meant)?, output)
}

/// What came of fetches; one that failed is a failure of the command.
fn said(done: &[FeedStatus], output: Output) -> Result<(), CliError> {
    match output.format {
        Printed::Json => output.json(&done)?,
        Printed::Raw => output.rows(&done, &[], &done.iter().map(show::raw).collect::<Vec<_>>(), "")?,
        Printed::Human => {
            let good = done.iter().filter(|feed| feed.problem.is_none());
            let lines: String = good.map(|feed| clean(&show::sentence(feed)) + "\n").collect();
            if !lines.is_empty() {
                output.text(&lines)?;
            }
        }
    }
    let failed: Vec<String> = done
        .iter()
        .filter_map(|feed| Some(format!("{}: {}", feed.spec.name, feed.problem.as_ref()?)))
        .map(|line| clean(&line))
        .collect();
    if let [first, rest @ ..] = failed.as_slice() {
        warn(rest);
        return Err(anyhow::anyhow!("{first}").into());
    }
    Ok(())
}

fn rejected(name: &str, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let mut trouble = None;
    let mut count = 0_u64;
    let path = format!("/v1/blocklists/rejected?name={}", escaped(name));
    daemon.stream_lines(&path, COMPLAINT_BYTES_MAX, |complaint: Complaint| {
        let printed = show::complaint(&complaint, count == 0, output);
        count += 1;
        printed.map_err(|error| trouble = Some(error)).is_ok()
    })?;
    if let Some(error) = trouble {
        return Err(error);
    }
    match (output.format, count) {
        (Printed::Json, 0) => output.text("[]"),
        (Printed::Json, _) => output.text("\n]"),
        (Printed::Human, 0) => output.text(&clean(&format!("All of {name} is in force."))),
        _ => Ok(()),
    }
}

/// A name as a part of a URL; what is no name the daemon refuses.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
