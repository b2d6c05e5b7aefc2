//! `[inspect]` and `[site.inspect]`: the rules that requests and responses are looked at with.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which rules run, beside those of `rules_dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruleset {
    /// None.
    #[default]
    None,
    /// The OWASP Core Rule Set, from `crs_dir`.
    Crs,
}

/// What is done with what rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulesEngine {
    /// Rules run, and what they deny is refused.
    #[default]
    On,
    /// Rules run and report; they refuse nothing.
    Detect,
    /// No rule runs.
    Off,
}

/// What is done with a request's body beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyLimitAction {
    /// The request is answered with 413.
    Refuse,
    /// What came before the limit is looked at; the rest goes on unseen.
    #[default]
    Partial,
}

/// What is done with a request whose inspection comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateAction {
    /// It goes on; the models and its head were looked at all the same.
    #[default]
    Pass,
    /// It is answered with 503.
    Refuse,
}

/// Who has to agree before an anomaly score refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulesConfirm {
    /// Nobody: the score alone refuses, as with ModSecurity.
    #[default]
    None,
    /// The request models: they weigh what rules matched, and have the last word about a score.
    /// Rules that deny by themselves need nobody's word.
    Models,
}

/// `[inspect]`: rules for every site that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InspectConfig {
    /// Which rules run, beside those of `rules_dir`.
    pub ruleset: Ruleset,
    /// The folder of the Core Rule Set, 3.3 or 4: Debian's package, or an unpacked release.
    pub crs_dir: PathBuf,
    /// The folder of own rules, `*.conf`, and of virtual patches. `before-*.conf` run before the Core Rule Set.
    pub rules_dir: PathBuf,
    /// What is done with what rules say.
    pub engine: RulesEngine,
    /// Who has to agree before an anomaly score refuses a request.
    pub confirm: RulesConfirm,
    /// The paranoia level whose rules count for refusing, 1 to 4; none: that of crs-setup.conf, else 1.
    pub paranoia: Option<u8>,
    /// The paranoia level whose rules run and report, `paranoia` to 4; none: that of crs-setup.conf, else `paranoia`.
    pub detection_paranoia: Option<u8>,
    /// The score from which a request is refused; none: that of crs-setup.conf, else 5.
    pub inbound_threshold: Option<u32>,
    /// The score from which a response is withheld; none: that of crs-setup.conf, else 4.
    pub outbound_threshold: Option<u32>,
    /// Plugins of CRS 4 and exclusion packages of CRS 3 by name, such as `wordpress`.
    pub plugins: Vec<String>,
    /// What rules may not look at.
    #[serde(rename = "exclude")]
    pub exclusions: Vec<ExclusionConfig>,
    /// Most of a request's body that rules look at, in bytes; what `proxy.inspect_body_bytes` holds back is the limit above
    /// it.
    pub request_body_bytes_max: usize,
    /// Most of a request's body without uploaded files; a longer one that rules have to parse is refused with 400.
    pub request_body_no_files_bytes_max: usize,
    /// Most arguments of a request that rules look at: parameters, and leaves of a JSON body. With more, a body counts as one
    /// that cannot be read, and gets 400.
    pub arguments_max: usize,
    /// What is done with a body beyond `request_body_bytes_max`.
    pub body_limit_action: BodyLimitAction,
    /// How long a request with a large body waits for its inspection.
    pub deadline_ms: u64,
    /// What is done with a request whose inspection comes too late, or finds no room.
    pub when_late: LateAction,
    /// Whether bodies of responses are buffered for rules as well.
    pub response_bodies: bool,
    /// Most of a response's body that rules look at, in bytes; the rest goes on unseen.
    pub response_body_bytes_max: usize,
    /// Media types of responses whose bodies rules look at.
    pub response_types: Vec<String>,
}

impl Default for InspectConfig {
    fn default() -> Self {
        Self {
            ruleset: Ruleset::None,
            crs_dir: "/usr/share/modsecurity-crs".into(),
            rules_dir: Self::RULES_DIR.into(),
            engine: RulesEngine::On,
            confirm: RulesConfirm::None,
            paranoia: None,
            detection_paranoia: None,
            inbound_threshold: None,
            outbound_threshold: None,
            plugins: Vec::new(),
            exclusions: Vec::new(),
            request_body_bytes_max: 13_107_200,
            request_body_no_files_bytes_max: 1_048_576,
            arguments_max: 1_000,
            body_limit_action: BodyLimitAction::Partial,
            deadline_ms: 200,
            when_late: LateAction::Pass,
            response_bodies: false,
            response_body_bytes_max: 524_288,
            response_types: ["text/plain", "text/html", "text/xml", "application/json"].map(str::to_owned).to_vec(),
        }
    }
}

/// `[site.inspect]`: what a site has instead of `[inspect]`; `plugins` and `exclude` are added to those.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiteInspectConfig {
    /// Instead of `inspect.ruleset`.
    pub ruleset: Option<Ruleset>,
    /// Instead of `inspect.crs_dir`.
    pub crs_dir: Option<PathBuf>,
    /// Instead of `inspect.rules_dir`.
    pub rules_dir: Option<PathBuf>,
    /// Instead of `inspect.engine`.
    pub engine: Option<RulesEngine>,
    /// Instead of `inspect.confirm`.
    pub confirm: Option<RulesConfirm>,
    /// Instead of `inspect.paranoia`.
    pub paranoia: Option<u8>,
    /// Instead of `inspect.detection_paranoia`.
    pub detection_paranoia: Option<u8>,
    /// Instead of `inspect.inbound_threshold`.
    pub inbound_threshold: Option<u32>,
    /// Instead of `inspect.outbound_threshold`.
    pub outbound_threshold: Option<u32>,
    /// Besides `inspect.plugins`.
    pub plugins: Vec<String>,
    /// Besides `[[inspect.exclude]]`.
    #[serde(rename = "exclude")]
    pub exclusions: Vec<ExclusionConfig>,
    /// Instead of `inspect.request_body_bytes_max`.
    pub request_body_bytes_max: Option<usize>,
    /// Instead of `inspect.request_body_no_files_bytes_max`.
    pub request_body_no_files_bytes_max: Option<usize>,
    /// Instead of `inspect.arguments_max`.
    pub arguments_max: Option<usize>,
    /// Instead of `inspect.body_limit_action`.
    pub body_limit_action: Option<BodyLimitAction>,
    /// Instead of `inspect.response_bodies`.
    pub response_bodies: Option<bool>,
    /// Instead of `inspect.response_body_bytes_max`.
    pub response_body_bytes_max: Option<usize>,
    /// Instead of `inspect.response_types`.
    pub response_types: Option<Vec<String>>,
}

impl InspectConfig {
    /// Where own rules are unless the configuration says otherwise.
    pub const RULES_DIR: &'static str = "/etc/qantra/rules";

    /// What holds for a site.
    #[must_use]
    pub fn of_site(&self, site: &SiteInspectConfig) -> Self {
        let joined = |own: &[String]| {
            let mut all = self.plugins.clone();
            all.extend(own.iter().filter(|name| !self.plugins.contains(name)).cloned());
            all
        };
        Self {
            ruleset: site.ruleset.unwrap_or(self.ruleset),
            crs_dir: site.crs_dir.as_ref().unwrap_or(&self.crs_dir).clone(),
            rules_dir: site.rules_dir.as_ref().unwrap_or(&self.rules_dir).clone(),
            engine: site.engine.unwrap_or(self.engine),
            confirm: site.confirm.unwrap_or(self.confirm),
            paranoia: site.paranoia.or(self.paranoia),
            detection_paranoia: site.detection_paranoia.or(self.detection_paranoia),
            inbound_threshold: site.inbound_threshold.or(self.inbound_threshold),
            outbound_threshold: site.outbound_threshold.or(self.outbound_threshold),
            plugins: joined(&site.plugins),
            exclusions: [self.exclusions.as_slice(), &site.exclusions].concat(),
            request_body_bytes_max: site.request_body_bytes_max.unwrap_or(self.request_body_bytes_max),
            request_body_no_files_bytes_max: site
                .request_body_no_files_bytes_max
                .unwrap_or(self.request_body_no_files_bytes_max),
            arguments_max: site.arguments_max.unwrap_or(self.arguments_max),
            body_limit_action: site.body_limit_action.unwrap_or(self.body_limit_action),
            deadline_ms: self.deadline_ms,
            when_late: self.when_late,
            response_bodies: site.response_bodies.unwrap_or(self.response_bodies),
            response_body_bytes_max: site.response_body_bytes_max.unwrap_or(self.response_body_bytes_max),
            response_types: site.response_types.as_ref().unwrap_or(&self.response_types).clone(),
        }
    }
}

/// `[[inspect.exclude]]`: rules that do not run, or do not look at some fields, everywhere or below one path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExclusionConfig {
    /// The rules: ids such as `942100`, or ranges such as `"942100-942199"`.
    pub rules: Vec<RuleRange>,
    /// All rules with one of these tags, such as `attack-sqli`.
    pub tags: Vec<String>,
    /// Only requests whose path begins so; none: all.
    pub path: Option<String>,
    /// Only these parameters (query, form and JSON) are left out; with `cookies` and `headers` empty too: the whole rule.
    pub parameters: Vec<String>,
    /// Only these cookies are left out.
    pub cookies: Vec<String>,
    /// Only these request headers are left out.
    pub headers: Vec<String>,
}

/// One rule id, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleRange {
    /// The first id.
    pub first: u64,
    /// The last id.
    pub last: u64,
}

impl RuleRange {
    /// Whether a rule is in it.
    #[must_use]
    pub const fn contains(self, id: u64) -> bool {
        self.first <= id && id <= self.last
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (0 < first && first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for RuleRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Serialize for RuleRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RuleRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RuleRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule's id such as 942100, or a range such as \"942100-942199\"")
            }

            fn visit_i64<E: de::Error>(self, id: i64) -> Result<RuleRange, E> {
                self.visit_str(&id.to_string())
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<RuleRange, E> {
                self.visit_str(&id.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RuleRange, E> {
                RuleRange::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for RuleRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RuleRange".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A rule's id, or a range of ids.",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" }]
        })
    }
}
