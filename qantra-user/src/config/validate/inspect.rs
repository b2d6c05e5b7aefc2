//! Rules about `[inspect]` and `[site.inspect]`. Looks whether folders are there, reads no rules.

use std::{collections::HashSet, path::Path};

use super::Report;
use crate::config::{Config, ExclusionConfig, InspectConfig, RulesEngine, Ruleset, SiteInspectConfig};

/// Largest body that is buffered: what a box with 1 GB can hold of one request.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;

pub(super) fn inspect(config: &Config, report: &mut Report<'_>) {
    let general = &config.inspect;
    values(general, &general.exclusions, "inspect", report);
    let mut checked = HashSet::new();
    if config.sites.is_empty() {
        folders(general, ["inspect.crs_dir", "inspect.rules_dir"], &mut checked, report);
    }
    for (i, site) in config.sites.iter().enumerate() {
        let own = general.of_site(&site.inspect);
        let key = |name, is_own| if is_own { format!("site[{i}].inspect.{name}") } else { format!("inspect.{name}") };
        let crs = key("crs_dir", site.inspect.crs_dir.is_some());
        let rules = key("rules_dir", site.inspect.rules_dir.is_some());
        folders(&own, [&crs, &rules], &mut checked, report);
        if site.inspect != SiteInspectConfig::default() {
            values(&own, &site.inspect.exclusions, &format!("site[{i}].inspect"), report);
        }
    }
}

/// What several sites share is checked, and said, once.
fn folders(inspect: &InspectConfig, keys: [&str; 2], checked: &mut HashSet<String>, report: &mut Report<'_>) {
    if inspect.engine == RulesEngine::Off {
        return;
    }
    let [crs_key, rules_key] = keys;
    let (crs, rules) = (inspect.crs_dir.as_path(), inspect.rules_dir.as_path());
    if inspect.ruleset == Ruleset::Crs && checked.insert(crs_key.to_owned()) && !crs.join("rules").is_dir() {
        report.bad(
            crs_key,
            format!("there is no Core Rule Set in {}", crs.display()),
            "install it (`apt install modsecurity-crs`), name its folder here, or write `ruleset = \"none\"`",
        );
    }
    let may_be_missing = rules == Path::new(InspectConfig::RULES_DIR);
    if !may_be_missing && checked.insert(rules_key.to_owned()) && !rules.is_dir() {
        report.bad(rules_key, format!("{} is no folder", rules.display()), "make it, or name another one");
    }
}

fn values(inspect: &InspectConfig, exclusions: &[ExclusionConfig], key: &str, report: &mut Report<'_>) {
    for (name, level) in [("paranoia", inspect.paranoia), ("detection_paranoia", inspect.detection_paranoia)] {
        if let Some(level) = level {
            report.range(&format!("{key}.{name}"), level, 1, 4);
        }
    }
    if let (Some(runs), Some(counts)) = (inspect.detection_paranoia, inspect.paranoia)
        && runs < counts
    {
        report.bad(
            format!("{key}.detection_paranoia"),
            format!("{runs} is below `paranoia`, {counts}: rules that count would not run"),
            format!("write a number from {counts} to 4"),
        );
    }
    for (name, threshold) in
        [("inbound_threshold", inspect.inbound_threshold), ("outbound_threshold", inspect.outbound_threshold)]
    {
        if let Some(threshold) = threshold {
            report.range(&format!("{key}.{name}"), threshold, 1, 100_000);
        }
    }
    for (name, bytes) in [
        ("request_body_bytes_max", inspect.request_body_bytes_max),
        ("request_body_no_files_bytes_max", inspect.request_body_no_files_bytes_max),
        ("response_body_bytes_max", inspect.response_body_bytes_max),
    ] {
        report.range(&format!("{key}.{name}"), bytes, 1_024, BODY_BYTES_MAX);
    }
    report.range(&format!("{key}.arguments_max"), inspect.arguments_max, 100, 100_000);
    for plugin in inspect.plugins.iter().filter(|name| !is_word(name)) {
        report.bad(
            format!("{key}.plugins"),
            format!("`{}` cannot be a plugin's name", plugin.escape_debug()),
            "write a name such as `wordpress`",
        );
    }
    for name in inspect.response_types.iter().filter(|name| !is_media_type(name)) {
        report.bad(
            format!("{key}.response_types"),
            format!("`{}` is no media type", name.escape_debug()),
            "write it as `text/html`",
        );
    }
    for (i, exclusion) in exclusions.iter().enumerate() {
        excluded(exclusion, &format!("{key}.exclude[{i}]"), report);
    }
}

/// Names and paths are written into rules: none may end the quotes that it stands in, or begin a macro.
fn excluded(exclusion: &ExclusionConfig, key: &str, report: &mut Report<'_>) {
    if exclusion.rules.is_empty() && exclusion.tags.is_empty() {
        report.bad(key, "excludes no rule", "add `rules = [942100]` or `tags = [\"attack-sqli\"]`");
    }
    if let Some(path) = &exclusion.path
        && (!path.starts_with('/') || !path.chars().all(is_plain) || path.contains("%{"))
    {
        report.bad(
            format!("{key}.path"),
            format!("`{}` cannot be compared with paths", path.escape_debug()),
            "write it decoded, as `/admin/`, without quotes and backslashes",
        );
    }
    let names = [
        ("tags", &exclusion.tags),
        ("parameters", &exclusion.parameters),
        ("cookies", &exclusion.cookies),
        ("headers", &exclusion.headers),
    ];
    for (list, names) in names {
        for name in names.iter().filter(|name| name.is_empty() || !name.chars().all(is_name)) {
            report.bad(
                format!("{key}.{list}"),
                format!("`{}` cannot be a name here", name.escape_debug()),
                "leave out quotes, commas, spaces and signs that SecLang gives a meaning",
            );
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

fn is_media_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, of)| {
        is_word(kind) && !of.is_empty() && of.chars().all(|c| c.is_ascii_alphanumeric() || "_-+.".contains(c))
    })
}

fn is_plain(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !"\"'\\`".contains(c)
}

fn is_name(c: char) -> bool {
    is_plain(c) && !",|;:!&%{}".contains(c)
}
