//! `qantra decisions add|delete|list|import|export`.

mod export;
mod import;

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
    api::{DecisionList, DecisionView, Deleted, NewDecision, Which},
    clock::Now,
    config::parse_net,
    decide::{Action, DecisionId, Direction},
};

/// See, add and delete decisions: who is banned, throttled or forwarded
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions list
  qantra decisions add --ip 203.0.113.7 --duration 4h --reason \"scans our ports\"
  qantra decisions delete --ip 203.0.113.7
  qantra decisions import bans.csv
  qantra decisions export --format nft")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(AddArgs),
    Delete(DeleteArgs),
    List(ListArgs),
    Import(import::Args),
    Export(export::Args),
}

/// Ban, throttle or forward an address or a range
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions add --ip 203.0.113.7 --duration 4h --reason \"scans our ports\"
  qantra decisions add --range 2001:db8:bad::/48 --duration 7d
  qantra decisions add --ip 198.51.100.9 --type throttle --duration 30m
  qantra decisions add --ip 192.0.2.66 --direction destination --reason \"command and control\"

What is protected (this box, its gateways and resolvers, the allowlist) cannot be covered: the error says why.")]
struct AddArgs {
    #[command(flatten)]
    whom: Whom,

    /// How long: 30m, 4h, 7d, 1h30m or forever
    #[arg(short, long, default_value = "4h", value_parser = time::lasting)]
    duration: Lasting,

    /// Why, in one line; it is shown by `list` and `explain`
    #[arg(short, long, default_value = "by hand", value_name = "TEXT")]
    reason: String,

    /// What is done
    #[arg(short = 't', long = "type", value_enum, default_value = "block", value_name = "ACTION")]
    action: Action,

    /// Which end of a packet is compared; `destination` is for what the LAN must not reach
    #[arg(long, value_enum, default_value = "source")]
    direction: Direction,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// One address
    #[arg(short, long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,

    /// A prefix, such as 203.0.113.0/24
    #[arg(long, value_name = "PREFIX", value_parser = parse_net)]
    range: Option<IpNet>,
}

/// End decisions before their time
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions delete --ip 203.0.113.7
  qantra decisions delete --id 7q2n4c8h1v9ka
  qantra decisions delete --all")]
struct DeleteArgs {
    #[command(flatten)]
    which: WhichArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// Those about exactly this address
    #[arg(short, long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,

    /// Those about exactly this prefix
    #[arg(long, value_name = "PREFIX", value_parser = parse_net)]
    range: Option<IpNet>,

    /// This one, as `list` prints it
    #[arg(long, value_name = "ID")]
    id: Option<DecisionId>,

    /// All that are in force
    #[arg(long)]
    all: bool,
}

/// List decisions, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra decisions list
  qantra decisions list --ip 203.0.113.7 --all
  qantra decisions list -o raw | cut -f2

Columns of raw: id, scope, action, class, origin, state, created and end (Unix ms; `-` is never), packets, requests, reason")]
struct ListArgs {
    /// Only those that cover this address
    #[arg(short, long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,

    /// Those that have ended as well
    #[arg(short, long)]
    all: bool,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    match &args.verb {
        Verb::Add(args) => add(args, daemon, *output),
        Verb::Delete(args) => delete(args, daemon, *output),
        Verb::List(args) => list(args, daemon, *output),
        Verb::Import(args) => import::run(args, daemon, *output),
        Verb::Export(args) => export::run(args, daemon),
    }
}

fn add(args: &AddArgs, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let Some(net) = args.whom.ip.map(IpNet::from).or(args.whom.range) else { return Ok(()) };
    let new = NewDecision {
        net,
        action: args.action,
        direction: args.direction,
        duration_s: args.duration.0,
        reason: args.reason.clone(),
    };
    let added: DecisionList = daemon.send(Method::POST, "/v1/decisions", &new)?;
    warn(&added.warnings);
    match output.format {
        Format::Json => output.json(&added),
        Format::Raw => output.rows(&added, &[], &raw(&added), ""),
        Format::Human => {
            let said = |view: &DecisionView| {
                let lasting =
                    args.duration.0.map_or("for ever".into(), |seconds| format!("for {}", time::short(seconds)));
                format!("{} {} {lasting}: decision {}\n", view.scope, done(view.action), view.id)
            };
            output.text(&added.decisions.iter().map(said).collect::<String>())
        }
    }
}

const fn done(action: Action) -> &'static str {
    match action {
        Action::Observe => "observed",
        Action::Throttle => "throttled",
        Action::Forward => "forwarded",
        Action::Block => "blocked",
    }
}

fn delete(args: &DeleteArgs, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let which = match &args.which {
        WhichArgs { id: Some(id), .. } => Which::Id(*id),
        WhichArgs { ip: Some(ip), .. } => Which::Net(IpNet::from(ip.to_canonical())),
        WhichArgs { range: Some(range), .. } => Which::Net(*range),
        _ => Which::All,
    };
    let deleted: Deleted = daemon.send(Method::DELETE, "/v1/decisions", &which)?;
    warn(&deleted.warnings);
    match output.format {
        Format::Json => output.json(&deleted),
        Format::Raw => output.text(&deleted.deleted.to_string()),
        Format::Human => output.text(&format!("{} deleted", count(deleted.deleted, "decision"))),
    }
}

fn list(args: &ListArgs, daemon: &Daemon, output: Output) -> Result<(), CliError> {
    let ip = args.ip.map(|ip| format!("&ip={ip}")).unwrap_or_default();
    let list: DecisionList = daemon.get(&format!("/v1/decisions?all={}{ip}", args.all))?;
    warn(&list.warnings);
    if output.format == Format::Raw {
        return output.rows(&list, &[], &raw(&list), "");
    }
    let empty = match args.ip {
        Some(ip) => format!("No decision covers {ip}."),
        None => "No decision is in force.".into(),
    };
    let now_ms = Now::read().unix_ms;
    let rows: Vec<Vec<String>> = list.decisions.iter().map(|view| row(view, now_ms)).collect();
    output.rows(&list.decisions, HEADING, &rows, &empty)
}

const HEADING: &[&str] =
    &["ID", "SCOPE", "ACTION", "CLASS", "ORIGIN", "AGE", "ENDS IN", "PACKETS", "REQUESTS", "REASON"];

fn row(view: &DecisionView, now_ms: u64) -> Vec<String> {
    let left = match (view.state.as_str(), view.expires_unix_ms) {
        ("ended", _) => "ended".into(),
        (_, None) => "never".into(),
        (state, Some(end)) => {
            let left = time::short(end.saturating_sub(now_ms) / 1_000);
            if state == "simulated" { format!("{left} (simulated)") } else { left }
        }
    };
    vec![
        view.id.to_string(),
        view.scope.to_string(),
        view.action.to_string(),
        view.class.map_or("-".into(), |class| class.to_string()),
        view.origin.as_str().into(),
        time::short(now_ms.saturating_sub(view.created_unix_ms) / 1_000),
        left,
        view.packets.to_string(),
        view.requests.to_string(),
        view.reason.clone(),
    ]
}

fn raw(list: &DecisionList) -> Vec<Vec<String>> {
    let row = |view: &DecisionView| {
        vec![
            view.id.to_string(),
            view.scope.to_string(),
            view.action.to_string(),
            view.class.map_or("-".into(), |class| class.to_string()),
            view.origin.as_str().into(),
            view.state.as_str().into(),
            view.created_unix_ms.to_string(),
            view.expires_unix_ms.map_or("-".into(), |end| end.to_string()),
            view.packets.to_string(),
            view.requests.to_string(),
            view.reason.clone(),
        ]
    };
    list.decisions.iter().map(row).collect()
}

/// `1 decision`, `2 decisions`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
