//! `qantra rules explain`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{name_of, severity};
use crate::{
    cli::{
        error::CliError,
        output::{Format, Output, clean},
    },
    config::{Config, ExclusionConfig, InspectConfig},
    rules::{BookRule, RuleBook, RuleState, SiteState, ids},
};

/// How many rules that exclude one are named: CRS 3's packages for applications have dozens.
const OTHERS_MAX: usize = 8;

/// Show a rule: its text, what it looks at and how, and for which sites it runs or why not
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra rules explain 942100
  qantra rules explain 942100 -o json")]
pub(in crate::cli) struct Args {
    /// The rule's id
    id: u64,
}

#[derive(Serialize)]
struct Explained {
    id: u64,
    file: String,
    line: u32,
    phase: u8,
    paranoia: Option<u8>,
    severity: &'static str,
    message: String,
    tags: Vec<String>,
    links: Vec<Link>,
    sites: Vec<Site>,
    text: String,
}

#[derive(Serialize)]
struct Link {
    variables: Vec<String>,
    operator: String,
    transformations: Vec<&'static str>,
}

#[derive(Serialize)]
struct Site {
    name: String,
    runs: bool,
    /// What takes it out, whole or in part, or changes it.
    because: Vec<String>,
}

pub(super) fn run(args: &Args, config: &Config, output: Output) -> Result<(), CliError> {
    let book = RuleBook::read(config, &[])?;
    let found: Vec<Explained> = book
        .rules
        .iter()
        .filter(|rule| rule.outline.id == args.id)
        .map(|rule| explained(rule, &book, config))
        .collect();
    if found.is_empty() {
        return Err(CliError::Failed(anyhow::anyhow!(
            "no rule has the id {}; `qantra rules list --all` shows them",
            args.id
        )));
    }
    if output.format == Format::Json {
        return output.json(&found);
    }
    output.text(&found.iter().map(text).collect::<Vec<_>>().join("\n"))
}

fn explained(rule: &BookRule, book: &RuleBook, config: &Config) -> Explained {
    let outline = &rule.outline;
    let link = |link: &qantra_seclang::OutlineLink| Link {
        variables: link.targets.clone(),
        operator: link.operator.clone(),
        transformations: link.transforms.iter().map(|transform| transform.name()).collect(),
    };
    Explained {
        id: outline.id,
        file: outline.position.file.to_string(),
        line: outline.position.line,
        phase: outline.phase,
        paranoia: rule.paranoia(),
        severity: severity(outline.severity),
        message: outline.message.clone().unwrap_or_default(),
        tags: outline.tags.clone(),
        links: outline.links.iter().map(link).collect(),
        sites: rule.sites.iter().map(|own| of_site(rule, own, book, config)).collect(),
        text: book.text(outline),
    }
}

fn of_site(rule: &BookRule, own: &SiteState, book: &RuleBook, config: &Config) -> Site {
    let inspect = config.sites.get(usize::from(own.site.0)).map(|site| config.inspect.of_site(&site.inspect));
    let inspect = inspect.unwrap_or_default();
    let directive = |position| format!("{position}: {}", book.directive(position).trim_end());
    let mut because = match &own.state {
        RuleState::Runs => Vec::new(),
        RuleState::Removed(position) => vec![format!("excluded by {}", directive(position))],
        RuleState::Decided => vec![decided(rule, &inspect)],
    };
    because.extend(own.changed_by.iter().map(|position| format!("changed by {}", directive(position))));
    let runs = own.state == RuleState::Runs;
    let mut others = Vec::new();
    for id in own.excepted_by.iter().filter(|_| runs) {
        // Those of the configuration are told in its words.
        let exclusion =
            id.checked_sub(ids::EXCLUSIONS).and_then(|at| inspect.exclusions.get(usize::try_from(at).ok()?));
        match exclusion {
            Some(exclusion) => because.push(format!("excluded by `exclude` {}", exclude(exclusion))),
            None => others.push(id.to_string()),
        }
    }
    if !others.is_empty() {
        let more = others.len().saturating_sub(OTHERS_MAX);
        others.truncate(OTHERS_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        because.push(format!("excluded, whole or in part, where one of these matches: {}{more}", others.join(", ")));
    }
    Site { name: name_of(config, own.site), runs, because }
}

fn decided(rule: &BookRule, inspect: &InspectConfig) -> String {
    let configured = inspect.detection_paranoia.or(inspect.paranoia);
    match (rule.paranoia(), configured) {
        (Some(level), Some(runs_up_to)) if level > runs_up_to => {
            format!("its paranoia level is {level}, and only those up to {runs_up_to} run (`inspect.paranoia`)")
        }
        (Some(level), None) if level > 1 => {
            format!("its paranoia level is {level}, above what runs: see crs-setup.conf, or set `inspect.paranoia`")
        }
        _ => "no request can change its outcome: it was worked out when loading".to_owned(),
    }
}

fn exclude(exclusion: &ExclusionConfig) -> String {
    let mut parts: Vec<String> = exclusion.path.iter().map(|path| format!("below {path}")).collect();
    for (what, names) in
        [("parameter", &exclusion.parameters), ("cookie", &exclusion.cookies), ("header", &exclusion.headers)]
    {
        parts.extend(names.iter().map(|name| format!("{what} {name}")));
    }
    parts.join(", ")
}

fn text(rule: &Explained) -> String {
    let mut text = format!("rule {} at {}:{}\n", rule.id, rule.file, rule.line);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<10} {}", clean(&value));
        }
    };
    fact("message", rule.message.clone());
    fact("phase", rule.phase.to_string());
    fact("paranoia", rule.paranoia.map_or_else(String::new, |level| level.to_string()));
    fact("severity", rule.severity.to_owned());
    fact("tags", rule.tags.join(" "));
    for (i, link) in rule.links.iter().enumerate() {
        fact(if i == 0 { "looks at" } else { "and at" }, link.variables.join(" "));
        fact("decoded", link.transformations.join(", "));
        fact("with", link.operator.clone());
    }
    for site in &rule.sites {
        fact("site", format!("{}: {}", site.name, if site.runs { "runs" } else { "does not run" }));
        for why in &site.because {
            fact("", format!("  {why}"));
        }
    }
    text.push('\n');
    text.extend(rule.text.lines().map(|line| format!("  {}\n", clean(line))));
    text
}
