//! `qantra rules list`.

use std::path::Path;

use serde::Serialize;

use super::{name_of, severity, site_named};
use crate::{
    cli::{
        error::CliError,
        output::{Format, Output},
    },
    config::{Config, SiteIndex},
    rules::{BookRule, RuleBook, RuleState, SiteState},
};

/// List the rules: where they stand, what they are about, and for which sites they run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules list --site shop
  qantra rules list --tag attack-sqli -o json
  qantra rules list --all                  those that were excluded or never run, too")]
pub(in crate::cli) struct Args {
    /// Only the rules of this site
    #[arg(long)]
    site: Option<String>,
    /// Only rules with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Rules that do not run, too: excluded ones, and those whose paranoia level is off
    #[arg(long)]
    all: bool,
}

/// One rule as programs read it.
#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    file: String,
    line: u32,
    phase: u8,
    paranoia: Option<u8>,
    severity: &'static str,
    tags: Vec<String>,
    message: String,
    /// Sites for which it runs.
    sites: Vec<String>,
    state: &'static str,
}

pub(super) fn run(args: &Args, config: &Config, output: Output) -> Result<(), CliError> {
    let only = args.site.as_ref().map(|name| site_named(config, name)).transpose()?;
    let book = RuleBook::read(config, &[])?;
    let rows: Vec<Row> =
        book.rules.iter().filter(|rule| is_asked(rule, args, only)).map(|rule| row(rule, config, only)).collect();
    let is_raw = output.format == Format::Raw;
    let cells = |row: &Row| {
        let file = if is_raw { row.file.as_str() } else { short(&row.file) };
        let mut cells = vec![
            row.id.to_string(),
            row.phase.to_string(),
            row.paranoia.map_or_else(String::new, |level| level.to_string()),
            row.severity.to_owned(),
            format!("{file}:{}", row.line),
            if row.state == "runs" { row.sites.join(" ") } else { row.state.to_owned() },
        ];
        cells.extend(is_raw.then(|| row.tags.join(" ")));
        cells.push(row.message.clone());
        cells
    };
    let table: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let heading = ["ID", "PHASE", "PL", "SEVERITY", "WHERE", "SITES", "MESSAGE"];
    output.rows(&rows, &heading, &table, "No rule; `[inspect] ruleset = \"crs\"` switches the Core Rule Set on.")
}

fn is_asked(rule: &BookRule, args: &Args, only: Option<SiteIndex>) -> bool {
    let of_site =
        |own: &SiteState| only.is_none_or(|only| only == own.site) && (args.all || own.state == RuleState::Runs);
    rule.sites.iter().any(of_site) && args.tag.as_ref().is_none_or(|tag| rule.outline.tags.contains(tag))
}

fn row(rule: &BookRule, config: &Config, only: Option<SiteIndex>) -> Row {
    let outline = &rule.outline;
    let asked: Vec<_> = rule.sites.iter().filter(|own| only.is_none_or(|only| only == own.site)).collect();
    let runs: Vec<SiteIndex> = asked.iter().filter(|own| own.state == RuleState::Runs).map(|own| own.site).collect();
    let state = match asked.first().map(|own| &own.state) {
        _ if !runs.is_empty() => "runs",
        Some(RuleState::Removed(_)) => "excluded",
        _ => "decided",
    };
    Row {
        id: outline.id,
        file: outline.position.file.to_string(),
        line: outline.position.line,
        phase: outline.phase,
        paranoia: rule.paranoia(),
        severity: severity(outline.severity),
        tags: outline.tags.clone(),
        message: outline.message.clone().unwrap_or_default(),
        sites: runs.into_iter().map(|site| name_of(config, site)).collect(),
        state,
    }
}

/// A file's name without its folder.
pub(super) fn short(file: &str) -> &str {
    Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or(file)
}
