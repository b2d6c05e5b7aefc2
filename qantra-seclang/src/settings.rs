//! Enters: directives that are no rules. Leaves: limits and modes. It must never accept a setting that has no effect here
//! unless it belongs to the host (logs, temporary files), which is said where it is listed.

use crate::error::{Reason, cut};

/// What the engine does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineMode {
    /// Rules run, and may end a transaction.
    On,
    /// Rules run and report; nothing is refused.
    DetectionOnly,
    /// No rule runs.
    #[default]
    Off,
}

/// What happens to a body beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitAction {
    /// The transaction is refused with 413 (requests) or 500 (responses).
    #[default]
    Reject,
    /// What came before the limit is looked at; the rest is not.
    ProcessPartial,
}

/// The settings of a rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `SecRuleEngine`.
    pub engine: EngineMode,
    /// `SecRequestBodyAccess`.
    pub request_body_access: bool,
    /// `SecRequestBodyLimit`, in bytes.
    pub request_body_limit: usize,
    /// `SecRequestBodyNoFilesLimit`, in bytes.
    pub request_body_no_files_limit: usize,
    /// `SecRequestBodyLimitAction`.
    pub request_body_limit_action: LimitAction,
    /// `SecRequestBodyJsonDepthLimit`.
    pub json_depth_limit: usize,
    /// `SecArgumentsLimit`: further arguments are not looked at, and `REQBODY_ERROR` says so.
    pub arguments_limit: usize,
    /// `SecUploadFileLimit`.
    pub upload_file_limit: usize,
    /// `SecResponseBodyAccess`.
    pub response_body_access: bool,
    /// `SecResponseBodyLimit`, in bytes.
    pub response_body_limit: usize,
    /// `SecResponseBodyLimitAction`.
    pub response_body_limit_action: LimitAction,
    /// `SecResponseBodyMimeType`.
    pub response_mime_types: Vec<String>,
    /// `SecCollectionTimeout`, in seconds.
    pub collection_timeout_s: u64,
    /// `SecArgumentSeparator`.
    pub argument_separator: u8,
    /// `SecPcreMatchLimit`: steps that a pattern with look-around may take.
    pub backtrack_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: EngineMode::Off,
            request_body_access: false,
            request_body_limit: 134_217_728,
            request_body_no_files_limit: 1_048_576,
            request_body_limit_action: LimitAction::Reject,
            json_depth_limit: 512,
            arguments_limit: 1000,
            upload_file_limit: 100,
            response_body_access: false,
            response_body_limit: 524_288,
            response_body_limit_action: LimitAction::Reject,
            response_mime_types: ["text/plain", "text/html", "text/xml"].map(str::to_owned).to_vec(),
            collection_timeout_s: 3600,
            argument_separator: b'&',
            backtrack_limit: 100_000,
        }
    }
}

/// Settings of logs, temporary files and other things that the host does or does not do. They change nothing in the
/// engine, and a rule file written for ModSecurity need not be edited for them.
const OF_THE_HOST: [&str; 29] = [
    "secauditengine",
    "secauditlog",
    "secauditlog2",
    "secauditlogdirmode",
    "secauditlogfilemode",
    "secauditlogformat",
    "secauditlogparts",
    "secauditlogprefix",
    "secauditlogrelevantstatus",
    "secauditlogstoragedir",
    "secauditlogtype",
    "secconnengine",
    "seccookieformat",
    "seccookiev0separator",
    "secdatadir",
    "secdebuglog",
    "secdebugloglevel",
    "sechttpblkey",
    "secpcrematchlimitrecursion",
    "secrequestbodyinmemorylimit",
    "secsensorid",
    "secstatusengine",
    "secstreaminbodyinspection",
    "secstreamoutbodyinspection",
    "sectmpdir",
    "sectmpsaveuploadedfiles",
    "secuploaddir",
    "secuploadfilemode",
    "secuploadkeepfiles",
];

impl Settings {
    /// Takes one directive; `false` when it is none of the settings.
    pub(crate) fn set(&mut self, name: &str, arguments: &[&str]) -> Result<bool, Reason> {
        if OF_THE_HOST.contains(&name) {
            return Ok(true);
        }
        let first = arguments.first().copied().unwrap_or_default();
        match name {
            "secruleengine" => {
                self.engine = EngineMode::from_word(first).ok_or_else(|| Reason::Invalid {
                    what: "SecRuleEngine",
                    value: cut(first),
                    expected: "On, Off or DetectionOnly",
                })?;
            }
            "secrequestbodyaccess" => self.request_body_access = on_off("SecRequestBodyAccess", first)?,
            "secresponsebodyaccess" => self.response_body_access = on_off("SecResponseBodyAccess", first)?,
            "secrequestbodylimit" => self.request_body_limit = bytes(first)?,
            "secrequestbodynofileslimit" => self.request_body_no_files_limit = bytes(first)?,
            "secrequestbodyjsondepthlimit" => self.json_depth_limit = bytes(first)?,
            "secresponsebodylimit" => self.response_body_limit = bytes(first)?,
            "secargumentslimit" => self.arguments_limit = bytes(first)?,
            "secuploadfilelimit" => self.upload_file_limit = bytes(first)?,
            "secpcrematchlimit" => self.backtrack_limit = bytes(first)?,
            "seccollectiontimeout" => self.collection_timeout_s = bytes(first)? as u64,
            "secrequestbodylimitaction" => self.request_body_limit_action = limit_action(first)?,
            "secresponsebodylimitaction" => self.response_body_limit_action = limit_action(first)?,
            "secresponsebodymimetype" => {
                let types = arguments.iter().flat_map(|argument| argument.split_whitespace());
                self.response_mime_types = types.map(str::to_ascii_lowercase).collect();
            }
            "secresponsebodymimetypesclear" => self.response_mime_types.clear(),
            "secargumentseparator" => {
                self.argument_separator = match first.as_bytes() {
                    [one] => *one,
                    _ => {
                        let (what, expected) = ("SecArgumentSeparator", "single character");
                        return Err(Reason::Invalid { what, value: cut(first), expected });
                    }
                };
            }
            "secxmlexternalentity" if on_off("SecXmlExternalEntity", first)? => {
                let name = "SecXmlExternalEntity On".to_owned();
                return Err(Reason::Unsupported { kind: "directive", name, why: "entities are never expanded" });
            }
            "secxmlexternalentity" => {}
            "secparsexmlintoargs" if !first.eq_ignore_ascii_case("off") => {
                let name = format!("SecParseXmlIntoArgs {}", cut(first));
                return Err(Reason::Unsupported { kind: "directive", name, why: "use XML:/* and XML://@*" });
            }
            "secparsexmlintoargs" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn on_off(what: &'static str, value: &str) -> Result<bool, Reason> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Reason::Invalid { what, value: cut(value), expected: "`On` or `Off`" }),
    }
}

fn bytes(value: &str) -> Result<usize, Reason> {
    value.parse().map_err(|_| Reason::Invalid { what: "limit", value: cut(value), expected: "whole number" })
}

fn limit_action(value: &str) -> Result<LimitAction, Reason> {
    match value.to_ascii_lowercase().as_str() {
        "reject" => Ok(LimitAction::Reject),
        "processpartial" => Ok(LimitAction::ProcessPartial),
        _ => Err(Reason::Invalid { what: "limit action", value: cut(value), expected: "Reject or ProcessPartial" }),
    }
}
