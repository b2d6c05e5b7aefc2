//! `qantra rules patch add|list|remove`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde::Serialize;

use super::site_named;
use crate::{
    api::Reloaded,
    cli::{
        daemon::Daemon,
        error::CliError,
        output::{Format, Output, clean, warn},
        time::{self, Lasting},
    },
    clock::Now,
    config::{Config, InspectConfig, RulesEngine},
    rules::{Patch, PatchAllows, PatchError, PatchFile, RuleSets},
};

/// Close a hole in an application until it is mended: refuse what a parameter should never hold
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules patch add --site shop --path /item --param id --allow '[0-9]+'
  qantra rules patch add --path '/search*' --param q --deny-class sqli --ttl 14d --comment 'CVE-2026-1234'
  qantra rules patch list
  qantra rules patch remove 70200000")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a patch: written when all rules still load with it, then the daemon reloads
    #[command(after_help = "Examples:
  qantra rules patch add --site shop --path /item --param id --allow '[0-9]{1,9}'
  qantra rules patch add --site shop --path /api/login --param user.name --deny-class sqli")]
    Add(Add),
    /// List the patches
    List,
    /// Take a patch out; the daemon reloads
    Remove {
        /// Its id, as `list` prints it
        id: u64,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The site [default: all sites]
    #[arg(long)]
    site: Option<String>,
    /// The path, decoded; with `*` at its end: all that begin so
    #[arg(long)]
    path: String,
    /// The parameter of query, form or JSON (`a.b` is `b` in `a`)
    #[arg(long)]
    param: String,
    /// Refuse every value that this pattern does not fit from beginning to end
    #[arg(long, value_name = "REGEX", required_unless_present = "deny_class", conflicts_with = "deny_class")]
    allow: Option<String>,
    /// Refuse values that look like this attack
    #[arg(long, value_enum, value_name = "CLASS")]
    deny_class: Option<Class>,
    /// How long: 30m, 4h, 7d or forever
    #[arg(long, default_value = "forever", value_parser = time::lasting)]
    ttl: Lasting,
    /// Why, in one line
    #[arg(long, default_value = "", value_name = "TEXT", hide_default_value = true)]
    comment: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Class {
    Sqli,
    Xss,
    Traversal,
    Rce,
    Rfi,
    Ssrf,
    Ssti,
}

#[derive(Serialize)]
struct Done<'a> {
    patch: &'a Patch,
    file: &'a PathBuf,
    /// Whether a running daemon has it already.
    reloaded: bool,
}

pub(super) fn run(
    args: &Args,
    config: &Config,
    daemon: impl FnOnce() -> Result<Daemon, CliError>,
    output: Output,
) -> Result<(), CliError> {
    match &args.verb {
        Verb::Add(add) => {
            let inspect = inspect_of(config, add.site.as_deref())?;
            let mut file = PatchFile::open(&inspect.rules_dir).map_err(said)?;
            let patch = file.add(wanted(add)).map_err(said)?.clone();
            check(config, &file)?;
            file.save().map_err(said)?;
            if inspect.engine != RulesEngine::On {
                warn(&["`inspect.engine` is not \"on\": the patch refuses nothing".to_owned()]);
            }
            finish(&patch, &file, "added", daemon, output)
        }
        Verb::List => list(config, output),
        Verb::Remove { id } => {
            for dir in folders(config) {
                let known = PatchFile::read(&dir).map_err(said)?;
                if !known.patches().iter().any(|patch| patch.id == *id) {
                    continue;
                }
                let mut file = PatchFile::open(&dir).map_err(said)?;
                let patch = file.remove(*id).map_err(said)?;
                check(config, &file)?;
                file.save().map_err(said)?;
                return finish(&patch, &file, "removed", daemon, output);
            }
            Err(said(PatchError::NoSuch(*id)))
        }
    }
}

/// Bad input is a matter of usage, the rest has failed.
fn said(error: PatchError) -> CliError {
    match error {
        PatchError::Invalid { .. } => CliError::Usage(error.to_string()),
        error => CliError::Failed(error.into()),
    }
}

/// The settings that a patch of a site comes under; of all sites: those of `[inspect]`.
fn inspect_of(config: &Config, site: Option<&str>) -> Result<InspectConfig, CliError> {
    let Some(name) = site else { return Ok(config.inspect.clone()) };
    let at = site_named(config, name)?;
    let own = config.sites.get(usize::from(at.0)).map(|site| config.inspect.of_site(&site.inspect));
    Ok(own.unwrap_or_default())
}

/// The folders of own rules of all sites.
fn folders(config: &Config) -> Vec<PathBuf> {
    let mut all = vec![config.inspect.rules_dir.clone()];
    all.extend(config.sites.iter().map(|site| config.inspect.of_site(&site.inspect).rules_dir));
    all.sort();
    all.dedup();
    all
}

fn wanted(add: &Add) -> Patch {
    let now_s = Now::read().unix_ms / 1_000;
    let allows = match (&add.allow, add.deny_class.and_then(|class| class.to_possible_value())) {
        (Some(pattern), _) => PatchAllows::Only(pattern.clone()),
        (None, class) => PatchAllows::AllBut(class.map_or_else(String::new, |class| class.get_name().to_owned())),
    };
    Patch {
        id: 0,
        site: add.site.clone(),
        path: add.path.clone(),
        parameter: add.param.clone(),
        allows,
        expires_unix_s: add.ttl.0.map(|seconds| now_s.saturating_add(seconds)),
        created_unix_s: now_s,
        created_by: who(),
        comment: add.comment.clone(),
    }
}

/// Who is at the keyboard, as far as the system knows.
fn who() -> String {
    let sudo = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let name = sudo.unwrap_or_else(|_| format!("uid {}", nix::unistd::getuid()));
    clean(&name.chars().take(64).collect::<String>())
}

/// All rules of all sites with the changed file; it is not written when they do not load.
fn check(config: &Config, file: &PatchFile) -> Result<(), CliError> {
    match RuleSets::load_with(config, &[file.draft()]) {
        // The line that it names is one that is not written.
        Err(error) if error.position().0 == file.path() => {
            Err(CliError::Usage(format!("the patch does not load, nothing is written: {}", error.reason())))
        }
        tried => Ok(tried.map(drop)?),
    }
}

fn finish(
    patch: &Patch,
    file: &PatchFile,
    what: &str,
    daemon: impl FnOnce() -> Result<Daemon, CliError>,
    output: Output,
) -> Result<(), CliError> {
    let asked = daemon().and_then(|daemon| daemon.send::<Reloaded>(Method::POST, "/v1/reload", &serde_json::json!({})));
    let reloaded = match asked {
        Ok(_) => true,
        // It will read the file when it starts.
        Err(error) if error.exit_code() == 3 => {
            warn(&[format!("the daemon was not told: {}", error.to_string().trim_start_matches("error: "))]);
            false
        }
        Err(error) => {
            let error = error.to_string();
            let error = error.trim_start_matches("error: ");
            return Err(CliError::Failed(anyhow::anyhow!(
                "{} is written, but the daemon did not reload: {error}",
                file.path().display()
            )));
        }
    };
    if output.format == Format::Json {
        return output.json(&Done { patch, file: &file.path().to_owned(), reloaded });
    }
    let then = if reloaded { ", and the daemon has reloaded" } else { "" };
    output.text(&clean(&format!("patch {} {what}: {}{then}", patch.id, told(patch))))
}

fn told(patch: &Patch) -> String {
    let what = match &patch.allows {
        PatchAllows::Only(pattern) => format!("may only be {pattern}"),
        PatchAllows::AllBut(class) => format!("may not be {class}"),
    };
    let site = patch.site.as_ref().map_or_else(|| "all sites".to_owned(), |site| format!("site {site}"));
    format!("{} on {} of {site} {what}", patch.parameter, patch.path)
}

fn list(config: &Config, output: Output) -> Result<(), CliError> {
    let now_s = Now::read().unix_ms / 1_000;
    let mut patches = Vec::new();
    for dir in folders(config) {
        patches.extend(PatchFile::read(&dir).map_err(said)?.patches().to_vec());
    }
    let is_raw = output.format == Format::Raw;
    let row = |patch: &Patch| {
        let ends = match patch.expires_unix_s {
            None => if is_raw { "-" } else { "never" }.to_owned(),
            Some(end) if is_raw => end.to_string(),
            Some(end) if end <= now_s => "ended".to_owned(),
            Some(end) => time::short(end - now_s),
        };
        let allows = match &patch.allows {
            PatchAllows::Only(pattern) => format!("allow {pattern}"),
            PatchAllows::AllBut(class) => format!("deny {class}"),
        };
        let created =
            if is_raw { patch.created_unix_s.to_string() } else { time::moment(patch.created_unix_s * 1_000) };
        let site = patch.site.clone().unwrap_or_else(|| "*".to_owned());
        let (path, parameter) = (patch.path.clone(), patch.parameter.clone());
        vec![
            patch.id.to_string(),
            site,
            path,
            parameter,
            allows,
            ends,
            created,
            patch.created_by.clone(),
            patch.comment.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = patches.iter().map(row).collect();
    let heading = ["ID", "SITE", "PATH", "PARAMETER", "RULE", "ENDS IN", "ADDED", "BY", "COMMENT"];
    output.rows(&patches, &heading, &rows, "There are no patches.")
}
