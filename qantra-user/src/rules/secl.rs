//! Enters: the configuration's settings. Leaves: the same in SecLang, to stand among the rule files. Names and paths were
//! checked with the configuration, so that none of them can end the quotes that it stands in.

use std::fmt::Write as _;

use super::ids;
use crate::config::{BodyLimitAction, ExclusionConfig, InspectConfig};

/// What the engine is told before any rule: limits, and which reader takes which body.
pub(super) fn engine(inspect: &InspectConfig) -> String {
    let on_off = |on| if on { "On" } else { "Off" };
    let action = match inspect.body_limit_action {
        BodyLimitAction::Refuse => "Reject",
        BodyLimitAction::Partial => "ProcessPartial",
    };
    format!(
        "SecRuleEngine On\n\
         SecRequestBodyAccess On\n\
         SecRequestBodyLimit {}\n\
         SecRequestBodyNoFilesLimit {}\n\
         SecArgumentsLimit {}\n\
         SecRequestBodyLimitAction {action}\n\
         SecResponseBodyAccess {}\n\
         SecResponseBodyLimit {}\n\
         SecResponseBodyLimitAction ProcessPartial\n\
         SecResponseBodyMimeType {}\n{}",
        inspect.request_body_bytes_max,
        inspect.request_body_no_files_bytes_max,
        inspect.arguments_max,
        on_off(inspect.response_bodies),
        inspect.response_body_bytes_max,
        inspect.response_types.join(" "),
        qantra_seclang::RECOMMENDED,
    )
}

/// What crs-setup.conf says otherwise. CRS 3 and 4 name the paranoia levels differently; each looks at its own.
pub(super) fn settings(inspect: &InspectConfig, packages: &[String]) -> String {
    let mut set: Vec<String> = Vec::new();
    let mut add = |names: &[&str], value: Option<u32>| {
        set.extend(value.into_iter().flat_map(|value| names.iter().map(move |name| format!("tx.{name}={value}"))));
    };
    let detection = inspect.detection_paranoia.or(inspect.paranoia);
    add(&["blocking_paranoia_level", "paranoia_level"], inspect.paranoia.map(u32::from));
    add(&["detection_paranoia_level", "executing_paranoia_level"], detection.map(u32::from));
    add(&["inbound_anomaly_score_threshold"], inspect.inbound_threshold);
    add(&["outbound_anomaly_score_threshold"], inspect.outbound_threshold);
    set.extend(packages.iter().map(|name| format!("tx.crs_exclusions_{name}=1")));
    if set.is_empty() {
        return String::new();
    }
    let set: String = set.iter().map(|one| format!(",\\\n    setvar:'{one}'")).collect();
    format!("SecAction \"id:{},phase:1,nolog,pass,t:none{set}\"\n", ids::SETTINGS)
}

/// Exclusions that depend on the request: they must stand before the rules that they take out.
pub(super) fn exclusions_before(exclusions: &[ExclusionConfig]) -> String {
    let mut text = String::new();
    for (i, exclusion) in exclusions.iter().enumerate() {
        let Some(path) = &exclusion.path else { continue };
        let mut controls = Vec::new();
        let targets = targets(exclusion);
        for rules in &exclusion.rules {
            if targets.is_empty() {
                controls.push(format!("ctl:ruleRemoveById={rules}"));
            }
            controls.extend(targets.iter().map(|target| format!("ctl:ruleRemoveTargetById={rules};{target}")));
        }
        for tag in &exclusion.tags {
            if targets.is_empty() {
                controls.push(format!("ctl:ruleRemoveByTag={tag}"));
            }
            controls.extend(targets.iter().map(|target| format!("ctl:ruleRemoveTargetByTag={tag};{target}")));
        }
        // Normalised, or `/static/../admin` would take the exclusion of `/static/` along.
        let _ = writeln!(
            text,
            "SecRule REQUEST_FILENAME \"@beginsWith {path}\" \\\n    \
             \"id:{},phase:1,nolog,pass,t:none,t:urlDecodeUni,t:normalizePath,\\\n    {}\"",
            ids::EXCLUSIONS + i as u64,
            controls.join(",\\\n    "),
        );
    }
    text
}

/// Exclusions that hold for every request: the rules are changed when they are loaded, and cost nothing after.
pub(super) fn exclusions_after(exclusions: &[ExclusionConfig]) -> String {
    let mut text = String::new();
    for exclusion in exclusions.iter().filter(|exclusion| exclusion.path.is_none()) {
        let targets: Vec<String> = targets(exclusion).iter().map(|target| format!("!{target}")).collect();
        let list = targets.join("|");
        for rules in &exclusion.rules {
            let _ = match list.as_str() {
                "" => writeln!(text, "SecRuleRemoveById {rules}"),
                list => writeln!(text, "SecRuleUpdateTargetById {rules} \"{list}\""),
            };
        }
        for tag in &exclusion.tags {
            let _ = match list.as_str() {
                "" => writeln!(text, "SecRuleRemoveByTag \"{tag}\""),
                list => writeln!(text, "SecRuleUpdateTargetByTag \"{tag}\" \"{list}\""),
            };
        }
    }
    text
}

fn targets(exclusion: &ExclusionConfig) -> Vec<String> {
    let lists = [
        ("ARGS", &exclusion.parameters),
        ("REQUEST_COOKIES", &exclusion.cookies),
        ("REQUEST_HEADERS", &exclusion.headers),
    ];
    lists.iter().flat_map(|(variable, names)| names.iter().map(move |name| format!("{variable}:{name}"))).collect()
}
