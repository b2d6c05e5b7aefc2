//! `qantra rules list|test|explain|why|patch`: the rules as the daemon would load them, without a daemon but for the reload
//! after a patch. `qantra rules recent|top`: what those of the running daemon said.

mod explain;
mod list;
mod patch;
mod recent;
mod test;
mod why;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Cli, daemon::Daemon, error::CliError, explain::request as remembered, output::Output};
use crate::config::{self, Config, LoginConfig, RulesEngine, Ruleset, SiteConfig, SiteIndex};

/// See, try and patch the rules that requests are looked at with
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules test                        do they load, and how large are they?
  qantra rules list --site shop            which rules does a site have?
  qantra rules explain 942100              what is this rule?
  qantra rules why \"/search?q=1' or 1=1--\"  what do they say of a request?
  qantra rules top                         which match most?
  qantra rules recent --outcome refused    what did they refuse lately?
  qantra rules patch add --site shop --path /item --param id --allow '[0-9]+'
  qantra rules test --crs ./coreruleset    try a release before you configure it")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,

    /// Try the Core Rule Set of this folder, with one site named `default`, instead of the configuration
    #[arg(long, global = true, value_name = "DIR")]
    crs: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Args),
    Test(test::Args),
    Explain(explain::Args),
    Why(why::Args),
    Recent(recent::Recent),
    Top(recent::Top),
    Patch(patch::Args),
}

pub(super) fn run(args: &Args, cli: &Cli, output: &Output) -> Result<(), CliError> {
    let config = || configured(args.crs.as_deref(), &cli.config);
    match &args.verb {
        Verb::List(args) => list::run(args, &config()?, *output),
        Verb::Test(args) => test::run(args, &config()?, *output),
        Verb::Explain(args) => explain::run(args, &config()?, *output),
        Verb::Why(args) => match args.remembered() {
            Some(id) => remembered(id, &Daemon::find(cli)?, output),
            None => why::run(args, &config()?, *output),
        },
        Verb::Recent(_) | Verb::Top(_) if args.crs.is_some() => {
            Err(CliError::Usage("the daemon has rules of its own: leave out --crs".to_owned()))
        }
        Verb::Recent(args) => recent::recent(args, &Daemon::find(cli)?, *output),
        Verb::Top(args) => recent::top(args, &Daemon::find(cli)?, *output),
        Verb::Patch(_) if args.crs.is_some() => {
            Err(CliError::Usage("patches belong to the configuration: leave out --crs".to_owned()))
        }
        Verb::Patch(args) => patch::run(args, &config()?, || Daemon::find(cli), *output),
    }
}

/// The configuration, with a site to look at where it has none.
fn configured(crs: Option<&Path>, path: &Path) -> Result<Config, CliError> {
    Ok(with_a_site(match crs {
        Some(dir) => with_crs(dir)?,
        None => config::load(path)?,
    }))
}

/// The configuration, with a site where it has none.
pub(super) fn with_a_site(mut config: Config) -> Config {
    if config.sites.is_empty() {
        config.sites.push(SiteConfig {
            name: "default".into(),
            hosts: vec!["*".into()],
            targets: Vec::new(),
            health: None,
            tls: None,
            decoy: None,
            login: LoginConfig::default(),
            headers: config::HeadersConfig::default(),
            inspect: config::SiteInspectConfig::default(),
            body_bytes_max: None,
            simulation: false,
        });
    }
    config
}

/// A configuration that is a Core Rule Set and nothing else.
pub(super) fn with_crs(dir: &Path) -> Result<Config, CliError> {
    let mut config = Config::default();
    config.inspect.ruleset = Ruleset::Crs;
    config.inspect.crs_dir = std::path::absolute(dir)?;
    config.inspect.rules_dir = PathBuf::new();
    Ok(config)
}

/// The site of a name.
fn site_named(config: &Config, name: &str) -> Result<SiteIndex, CliError> {
    let names: Vec<&str> = config.sites.iter().map(|site| site.name.as_str()).collect();
    match names.iter().position(|known| *known == name) {
        Some(at) => Ok(SiteIndex(u16::try_from(at).unwrap_or(u16::MAX))),
        None => Err(CliError::Usage(format!("no site is named `{name}`; sites are: {}", names.join(", ")))),
    }
}

fn name_of(config: &Config, site: SiteIndex) -> String {
    config.sites.get(usize::from(site.0)).map_or_else(String::new, |site| site.name.clone())
}

/// Severities as the ModSecurity reference numbers them.
fn severity(number: Option<u8>) -> &'static str {
    const NAMES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
    number.and_then(|number| NAMES.get(usize::from(number))).copied().unwrap_or("")
}

const fn engine(mode: RulesEngine) -> &'static str {
    match mode {
        RulesEngine::On => "on",
        RulesEngine::Detect => "detect",
        RulesEngine::Off => "off",
    }
}
