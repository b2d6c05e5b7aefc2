//! `qantra status`: how the daemon is doing.

use super::{
    daemon::Daemon,
    decisions::count,
    error::CliError,
    model,
    output::{Format, Output, Tone, clean},
    time,
};
use crate::{
    api::{RuleSetStatus, Status},
    config::{Role, SynCookieMode},
};

/// Show how the daemon is doing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra status
  qantra status -o json | jq .warnings")]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let status: Status = daemon.get("/v1/status")?;
    match output.format {
        Format::Json => output.json(&status),
        Format::Raw => {
            let rows = facts(&status).into_iter().map(|(name, value)| format!("{name}\t{}\n", clean(&value)));
            output.text(&rows.collect::<String>())
        }
        Format::Human => output.text(&human(&status, *output)),
    }
}

/// What fits on a line each.
fn facts(status: &Status) -> Vec<(&'static str, String)> {
    let decisions = &status.decisions;
    let mut in_force =
        format!("{} in force, {} prefixes dropped in the kernel", decisions.decisions, decisions.kernel_bans);
    if decisions.kernel_refused > 0 {
        in_force.push_str(&format!(", {} refused by it and tried again", decisions.kernel_refused));
    }
    if decisions.simulated > 0 {
        in_force.push_str(&format!(", {} simulated", decisions.simulated));
    }
    let store = &status.store;
    let mut kept = format!("{} ({})", store.path.display(), time::bytes(store.bytes));
    if store.lost > 0 {
        kept.push_str(&format!(", {} writes lost", store.lost));
    }
    let mut facts = vec![
        ("version", status.version.clone()),
        ("running", format!("{} (pid {})", time::short(status.uptime_s), status.pid)),
        ("config", status.config.display().to_string()),
        ("simulation", if status.simulation { "on: nothing is enforced".into() } else { "off".into() }),
        ("decisions", in_force),
        ("protected", format!("{} prefixes, {} of them on the allowlist", decisions.protected, decisions.allowlist)),
        ("blocklists", feeds_of(status)),
        ("SYN cookies", syn_cookies_of(status)),
        ("store", kept),
    ];
    facts.extend(rules_of(status).map(|rules| ("rules", rules)));
    facts.extend(model::show::line(&status.models).map(|models| ("models", models)));
    facts.extend(status.resident_bytes.map(|count| ("memory", time::bytes(count))));
    facts
}

fn syn_cookies_of(status: &Status) -> String {
    let Some(counts) = &status.syn_cookies else { return "off: there is no kernel half".into() };
    let mode = match counts.mode {
        SynCookieMode::Off => return "off".into(),
        _ if !counts.is_on => return "off, see the warning".into(),
        SynCookieMode::Auto => "in a flood",
        SynCookieMode::Always => "always",
    };
    let mut text = format!("{mode}, {} sent", counts.answered);
    if counts.failed > 0 {
        text.push_str(&format!(", {} failed", counts.failed));
    }
    text
}

fn feeds_of(status: &Status) -> String {
    let feeds = &status.feeds;
    if feeds.feeds == 0 {
        return "none".into();
    }
    let mut text = format!("{}, {} ranges of sources in force", count(feeds.feeds, "feed"), feeds.inbound_ranges);
    if feeds.outbound_ranges > 0 {
        text.push_str(&format!(", {} of destinations", feeds.outbound_ranges));
    }
    if feeds.failing > 0 {
        text.push_str(&format!(", {} failing", feeds.failing));
    }
    if feeds.is_shed {
        text.push_str(", some left out for want of memory");
    }
    text
}

/// The rule sets in force, and why the last change of them is not; `None`: no site has rules.
fn rules_of(status: &Status) -> Option<String> {
    let rules = &status.rules;
    let set = |set: &RuleSetStatus| {
        let sites = set.sites.join(" ");
        format!(
            "{}: {}, {}, for {sites}, loaded in {} ms",
            set.name,
            count(set.rules, "rule"),
            time::bytes(set.bytes as u64),
            set.load_ms
        )
    };
    let mut lines: Vec<String> = rules.sets.iter().map(set).collect();
    if !lines.is_empty() {
        lines.push(format!("in force since {}", time::moment(rules.loaded_unix_ms)));
    }
    lines.extend(rules.problem.iter().map(|problem| format!("the last change is not in force: {problem}")));
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn human(status: &Status, output: Output) -> String {
    let rows: Vec<Vec<String>> = facts(status).into_iter().map(|(name, value)| vec![name.into(), value]).collect();
    let mut text = output.table(&[], &rows);
    let mut section = |heading: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&output.table(heading, &rows));
        }
    };
    let role = |role| if role == Role::Wan { "wan" } else { "lan" };
    section(
        &["INTERFACE", "SIDE", "HOOK", "NOTE"],
        status
            .interfaces
            .iter()
            .map(|iface| {
                let hook = iface.hook.clone().unwrap_or_else(|| "none".into());
                vec![iface.name.clone(), role(iface.role).into(), hook, iface.note.clone().unwrap_or_default()]
            })
            .collect(),
    );
    let listen = |tls| if tls { "https" } else { "http" };
    section(
        &["LISTENER", "SPEAKS"],
        status.listeners.iter().map(|l| vec![l.address.to_string(), listen(l.tls).into()]).collect(),
    );
    let health = |healthy| match healthy {
        Some(true) => "up",
        Some(false) => "down",
        None => "not checked",
    };
    let targets = status.sites.iter().flat_map(|site| {
        site.targets.iter().map(move |target| {
            let simulated = if site.simulation { "simulation" } else { "" };
            vec![
                site.name.clone(),
                site.hosts.join(" "),
                target.address.clone(),
                health(target.healthy).into(),
                simulated.into(),
            ]
        })
    });
    section(&["SITE", "HOSTS", "TARGET", "STATE", ""], targets.collect());
    section(
        &["MODEL", "NAME", "VERSION", "SCORED"],
        status
            .models
            .models
            .iter()
            .map(|model| vec![model.role.clone(), model.name.clone(), model.version.clone(), model.scored.to_string()])
            .collect(),
    );
    let problem = status.models.problem.iter().map(|problem| format!("models: {problem}"));
    let failing = status.store.failing.iter().map(|why| format!("the store cannot be written: {why}"));
    let aside =
        status.store.set_aside.iter().map(|path| format!("a corrupt store was set aside as {}", path.display()));
    let warnings: Vec<String> = status.warnings.iter().cloned().chain(problem).chain(failing).chain(aside).collect();
    text.push('\n');
    if warnings.is_empty() {
        text.push_str(&output.tone("All well.\n", Tone::Good));
    }
    for warning in warnings {
        text.push_str(&format!("{} {}\n", output.tone("warning:", Tone::Bad), clean(&warning)));
    }
    text
}
