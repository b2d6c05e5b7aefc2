//! `qantra rules test`.

use std::{fmt::Write as _, path::PathBuf};

use serde::Serialize;

use super::{engine, name_of};
use crate::{
    cli::{
        error::CliError,
        output::{Format, Output, clean, warn},
    },
    config::{Config, SiteIndex},
    rules::{Draft, LoadedSet, RuleFile, RuleSets, RulesError},
};

/// Load the rules as the daemon would, and say what is wrong with them or what they are; exit code 2 when they are bad
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules test
  qantra rules test ./new.conf             with a file that is not in the folder yet
  qantra rules test --crs ./coreruleset -o json")]
pub(in crate::cli) struct Args {
    /// Rule files to try beside those that are configured
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    sets: Vec<Set>,
    files: Vec<RuleFile>,
    bytes: usize,
}

#[derive(Serialize)]
struct Set {
    sites: Vec<Site>,
    rules: usize,
    /// Of these, what no request can change: paranoia levels that are off, defaults.
    decided: usize,
    bytes: usize,
    load_ms: u64,
    components: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Site {
    name: String,
    engine: &'static str,
}

#[derive(Serialize)]
struct Problem {
    ok: bool,
    file: PathBuf,
    line: Option<u32>,
    reason: String,
}

pub(super) fn run(args: &Args, config: &Config, output: Output) -> Result<(), CliError> {
    let draft = |path: &PathBuf| Ok(Draft { path: std::path::absolute(path)?, text: None });
    let drafts: Vec<Draft> = args.files.iter().map(draft).collect::<Result<_, std::io::Error>>()?;
    let is_json = output.format == Format::Json;
    let sets = match RuleSets::load_with(config, &drafts) {
        Ok(sets) => sets,
        Err(error) if is_json => {
            output.json(&problem(&error))?;
            return Err(CliError::RulesSaid);
        }
        Err(error) => return Err(error.into()),
    };
    let report = Report {
        ok: true,
        sets: sets.sets().iter().map(|set| told(set, config)).collect(),
        files: sets.files().to_vec(),
        bytes: sets.bytes(),
    };
    if is_json {
        return output.json(&report);
    }
    warn(&report.sets.iter().flat_map(|set| set.warnings.clone()).collect::<Vec<_>>());
    output.text(&text(&report))
}

fn problem(error: &RulesError) -> Problem {
    let (file, line) = error.position();
    Problem { ok: false, file, line, reason: error.reason() }
}

fn told(set: &LoadedSet, config: &Config) -> Set {
    let summary = set.summary();
    let site = |site: &SiteIndex| {
        let own = config.sites.get(usize::from(site.0)).map(|site| config.inspect.of_site(&site.inspect));
        Site { name: name_of(config, *site), engine: own.map_or("on", |own| engine(own.engine)) }
    };
    Set {
        sites: set.sites.iter().map(site).collect(),
        rules: summary.rules,
        decided: summary.folded,
        bytes: summary.bytes,
        load_ms: set.load_ms,
        components: set.rules.signatures().to_vec(),
        warnings: set.warnings(),
    }
}

fn text(report: &Report) -> String {
    if report.sets.is_empty() {
        return "fine: no rules are configured; `[inspect] ruleset = \"crs\"` switches the Core Rule Set on".to_owned();
    }
    let mut text = String::new();
    for set in &report.sets {
        let sites: Vec<String> = set
            .sites
            .iter()
            .map(
                |site| if site.engine == "on" { site.name.clone() } else { format!("{} ({})", site.name, site.engine) },
            )
            .collect();
        let components =
            if set.components.is_empty() { String::new() } else { format!(", {}", set.components.join(", ")) };
        let _ = writeln!(
            text,
            "{}: {} rules, {} of them decided when loading, about {:.1} MB, {} ms{}",
            sites.join(", "),
            set.rules,
            set.decided,
            set.bytes as f64 / 1e6,
            set.load_ms,
            clean(&components),
        );
    }
    let _ = write!(
        text,
        "fine: {} files, {} sets, about {:.1} MB",
        report.files.len(),
        report.sets.len(),
        report.bytes as f64 / 1e6
    );
    text
}
