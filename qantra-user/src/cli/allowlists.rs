//! `qantra allowlists add|list|delete|check`.

use std::net::IpAddr;

use clap::Subcommand;
use http::Method;
use ipnet::IpNet;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
    time::{self, Lasting},
};
use crate::{
    api::{Allow, Allowed, CheckAnswer, Deleted},
    clock::Now,
    config::parse_net,
    decide::Scope,
    enforce::AllowEntry,
};

/// See and change who is never banned
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra allowlists add 198.51.100.0/24 --comment office
  qantra allowlists check 198.51.100.9")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add an address or a prefix; one that is there already is replaced
    #[command(after_help = "Examples:
  qantra allowlists add 198.51.100.0/24 --comment office
  qantra allowlists add 2001:db8::7 --comment \"load test\" --duration 2h")]
    Add {
        /// The address or prefix
        #[arg(value_parser = parse_net)]
        net: IpNet,
        /// Why, in one line
        #[arg(long, default_value = "", value_name = "TEXT", hide_default_value = true)]
        comment: String,
        /// How long: 30m, 4h, 7d or forever
        #[arg(short, long, default_value = "forever", value_parser = time::lasting)]
        duration: Lasting,
    },
    /// List the entries
    List,
    /// Take an entry off
    Delete {
        /// The address or prefix, as `list` prints it
        #[arg(value_parser = parse_net)]
        net: IpNet,
    },
    /// Say whether an address may be banned, and what covers it
    Check {
        /// The address
        address: IpAddr,
    },
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Verb::Add { net, comment, duration } => {
            let entry = Allow { net: *net, comment: comment.clone(), duration_s: duration.0 };
            let added: Allowed = daemon.send(Method::POST, "/v1/allowlist", &entry)?;
            warn(&added.warnings);
            let lasting = duration.0.map_or("for ever".into(), |seconds| format!("for {}", time::short(seconds)));
            print(*output, &added, &format!("{} is on the allowlist {lasting}", Scope(*net)))
        }
        Verb::List => list(daemon, *output),
        Verb::Delete { net } => {
            let deleted: Deleted = daemon.send(
                Method::DELETE,
                &format!("/v1/allowlist?net={}", net.to_string().replace('/', "%2F")),
                &(),
            )?;
            warn(&deleted.warnings);
            print(*output, &deleted, &format!("{} is off the allowlist", Scope(*net)))
        }
        Verb::Check { address } => {
            let answer: CheckAnswer = daemon.get(&format!("/v1/check?ip={address}"))?;
            print(*output, &answer, &said(*address, &answer))
        }
    }
}

fn print(output: Output, value: &impl serde::Serialize, said: &str) -> Result<(), CliError> {
    if output.format == Format::Json { output.json(value) } else { output.text(&super::output::clean(said)) }
}

fn said(address: IpAddr, answer: &CheckAnswer) -> String {
    let covered: Vec<String> =
        answer.decisions.iter().map(|view| format!("{} ({}, {})", view.id, view.action, view.scope)).collect();
    let covered =
        if covered.is_empty() { String::new() } else { format!("; decisions that cover it: {}", covered.join(", ")) };
    match &answer.protection {
        Some(protection) => format!("{address} is protected by {}: {}{covered}", Scope(protection.net), protection.why),
        None => format!("{address} may be banned{covered}"),
    }
}

fn list(daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let list: Allowed = daemon.get("/v1/allowlist")?;
    let now_ms = Now::read().unix_ms;
    let is_raw = output.format == Format::Raw;
    let row = |entry: &AllowEntry| {
        let ends = match entry.expires_unix_ms {
            None if is_raw => "-".into(),
            Some(end) if is_raw => end.to_string(),
            None => "never".into(),
            Some(end) => time::short(end.saturating_sub(now_ms) / 1_000),
        };
        let created = if is_raw { entry.created_unix_ms.to_string() } else { time::moment(entry.created_unix_ms) };
        vec![Scope(entry.net).to_string(), created, ends, entry.comment.clone()]
    };
    let rows: Vec<Vec<String>> = list.entries.iter().map(row).collect();
    output.rows(&list.entries, &["NET", "ADDED", "ENDS IN", "COMMENT"], &rows, "The allowlist is empty.")
}
