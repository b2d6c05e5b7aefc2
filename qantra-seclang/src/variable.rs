//! Enters: a variable's name in a rule. Leaves: the closed list of what a rule may look at, and where the values of each
//! come from. It must never accept a name that the engine would leave empty for good.

/// How the values of a variable are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Collected into a group while the request is read; transformed and scanned once.
    Group,
    /// Stands for two groups.
    Union(Variable, Variable),
    /// Computed when it is asked for.
    Dynamic,
}

macro_rules! variables {
    ($($variant:ident $name:literal $kind:expr),* $(,)?) => {
        /// What a rule may look at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is named in the ModSecurity reference")]
        pub enum Variable { $($variant),* }

        impl Variable {
            /// Every variable, in the order of its number.
            pub(crate) const ALL: &'static [Variable] = &[$(Variable::$variant),*];

            /// How its values are held.
            pub(crate) const fn kind(self) -> Kind {
                match self { $(Variable::$variant => $kind),* }
            }

            /// Its name in rules.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Variable::$variant => $name),* }
            }

            /// Finds a variable by its name in any case.
            #[must_use]
            pub fn parse(name: &str) -> Option<Variable> {
                $(if name.eq_ignore_ascii_case($name) { return Some(Variable::$variant); })*
                None
            }
        }
    };
}

use Kind::{Dynamic, Group, Union};

variables! {
    Args "ARGS" Union(Variable::ArgsGet, Variable::ArgsPost),
    ArgsNames "ARGS_NAMES" Union(Variable::ArgsGetNames, Variable::ArgsPostNames),
    ArgsGet "ARGS_GET" Group,
    ArgsGetNames "ARGS_GET_NAMES" Group,
    ArgsPost "ARGS_POST" Group,
    ArgsPostNames "ARGS_POST_NAMES" Group,
    ArgsCombinedSize "ARGS_COMBINED_SIZE" Group,
    RequestCookies "REQUEST_COOKIES" Group,
    RequestCookiesNames "REQUEST_COOKIES_NAMES" Group,
    RequestHeaders "REQUEST_HEADERS" Group,
    RequestHeadersNames "REQUEST_HEADERS_NAMES" Group,
    RequestLine "REQUEST_LINE" Group,
    RequestMethod "REQUEST_METHOD" Group,
    RequestProtocol "REQUEST_PROTOCOL" Group,
    RequestUri "REQUEST_URI" Group,
    RequestUriRaw "REQUEST_URI_RAW" Group,
    RequestFilename "REQUEST_FILENAME" Group,
    RequestBasename "REQUEST_BASENAME" Group,
    PathInfo "PATH_INFO" Group,
    QueryString "QUERY_STRING" Group,
    RequestBody "REQUEST_BODY" Group,
    RequestBodyLength "REQUEST_BODY_LENGTH" Group,
    FullRequestLength "FULL_REQUEST_LENGTH" Group,
    Files "FILES" Group,
    FilesNames "FILES_NAMES" Group,
    FilesSizes "FILES_SIZES" Group,
    FilesCombinedSize "FILES_COMBINED_SIZE" Group,
    FilesTmpContent "FILES_TMP_CONTENT" Group,
    MultipartPartHeaders "MULTIPART_PART_HEADERS" Group,
    MultipartFilename "MULTIPART_FILENAME" Group,
    MultipartName "MULTIPART_NAME" Group,
    MultipartStrictError "MULTIPART_STRICT_ERROR" Group,
    MultipartUnmatchedBoundary "MULTIPART_UNMATCHED_BOUNDARY" Group,
    MultipartBoundaryQuoted "MULTIPART_BOUNDARY_QUOTED" Group,
    MultipartBoundaryWhitespace "MULTIPART_BOUNDARY_WHITESPACE" Group,
    MultipartCrlfLfLines "MULTIPART_CRLF_LF_LINES" Group,
    MultipartDataAfter "MULTIPART_DATA_AFTER" Group,
    MultipartDataBefore "MULTIPART_DATA_BEFORE" Group,
    MultipartFileLimitExceeded "MULTIPART_FILE_LIMIT_EXCEEDED" Group,
    MultipartHeaderFolding "MULTIPART_HEADER_FOLDING" Group,
    MultipartInvalidHeaderFolding "MULTIPART_INVALID_HEADER_FOLDING" Group,
    MultipartInvalidPart "MULTIPART_INVALID_PART" Group,
    MultipartInvalidQuoting "MULTIPART_INVALID_QUOTING" Group,
    MultipartLfLine "MULTIPART_LF_LINE" Group,
    MultipartMissingSemicolon "MULTIPART_MISSING_SEMICOLON" Group,
    XmlText "XML:/*" Group,
    XmlAttributes "XML://@*" Group,
    ReqbodyProcessor "REQBODY_PROCESSOR" Group,
    ReqbodyError "REQBODY_ERROR" Group,
    ReqbodyErrorMsg "REQBODY_ERROR_MSG" Group,
    ReqbodyProcessorError "REQBODY_PROCESSOR_ERROR" Group,
    ReqbodyProcessorErrorMsg "REQBODY_PROCESSOR_ERROR_MSG" Group,
    UrlencodedError "URLENCODED_ERROR" Group,
    InboundDataError "INBOUND_DATA_ERROR" Group,
    OutboundDataError "OUTBOUND_DATA_ERROR" Group,
    RemoteAddr "REMOTE_ADDR" Group,
    RemoteHost "REMOTE_HOST" Group,
    RemotePort "REMOTE_PORT" Group,
    RemoteUser "REMOTE_USER" Group,
    AuthType "AUTH_TYPE" Group,
    ServerAddr "SERVER_ADDR" Group,
    ServerName "SERVER_NAME" Group,
    ServerPort "SERVER_PORT" Group,
    UniqueId "UNIQUE_ID" Group,
    ResponseBody "RESPONSE_BODY" Group,
    ResponseContentLength "RESPONSE_CONTENT_LENGTH" Group,
    ResponseContentType "RESPONSE_CONTENT_TYPE" Group,
    ResponseHeaders "RESPONSE_HEADERS" Group,
    ResponseHeadersNames "RESPONSE_HEADERS_NAMES" Group,
    ResponseProtocol "RESPONSE_PROTOCOL" Group,
    ResponseStatus "RESPONSE_STATUS" Group,
    StatusLine "STATUS_LINE" Group,
    Geo "GEO" Group,
    Tx "TX" Dynamic,
    Ip "IP" Dynamic,
    Global "GLOBAL" Dynamic,
    Session "SESSION" Dynamic,
    User "USER" Dynamic,
    Resource "RESOURCE" Dynamic,
    Env "ENV" Dynamic,
    Rule "RULE" Dynamic,
    MatchedVar "MATCHED_VAR" Dynamic,
    MatchedVarName "MATCHED_VAR_NAME" Dynamic,
    MatchedVars "MATCHED_VARS" Dynamic,
    MatchedVarsNames "MATCHED_VARS_NAMES" Dynamic,
    HighestSeverity "HIGHEST_SEVERITY" Dynamic,
    Duration "DURATION" Dynamic,
    SessionId "SESSIONID" Dynamic,
    UserId "USERID" Dynamic,
    WebAppId "WEBAPPID" Group,
    ModsecBuild "MODSEC_BUILD" Dynamic,
    Time "TIME" Dynamic,
    TimeDay "TIME_DAY" Dynamic,
    TimeEpoch "TIME_EPOCH" Dynamic,
    TimeHour "TIME_HOUR" Dynamic,
    TimeMin "TIME_MIN" Dynamic,
    TimeMon "TIME_MON" Dynamic,
    TimeSec "TIME_SEC" Dynamic,
    TimeWday "TIME_WDAY" Dynamic,
    TimeYear "TIME_YEAR" Dynamic,
}

impl Variable {
    /// How many variables there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// Its number.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Whether single values are chosen from it by name.
    pub(crate) const fn has_keys(self) -> bool {
        matches!(
            self,
            Self::Args
                | Self::ArgsNames
                | Self::ArgsGet
                | Self::ArgsGetNames
                | Self::ArgsPost
                | Self::ArgsPostNames
                | Self::RequestCookies
                | Self::RequestCookiesNames
                | Self::RequestHeaders
                | Self::RequestHeadersNames
                | Self::ResponseHeaders
                | Self::ResponseHeadersNames
                | Self::Files
                | Self::FilesNames
                | Self::FilesSizes
                | Self::FilesTmpContent
                | Self::MultipartPartHeaders
                | Self::MultipartFilename
                | Self::MultipartName
                | Self::Geo
                | Self::Tx
                | Self::Ip
                | Self::Global
                | Self::Session
                | Self::User
                | Self::Resource
                | Self::Env
                | Self::Rule
                | Self::MatchedVars
                | Self::MatchedVarsNames
        )
    }

    /// Computed when asked for, and one value.
    pub(crate) const fn is_single(self) -> bool {
        let many = matches!(
            self,
            Self::Tx | Self::Env | Self::MatchedVar | Self::MatchedVarName | Self::MatchedVars | Self::MatchedVarsNames
        );
        matches!(self.kind(), Kind::Dynamic) && !many && !self.is_persistent()
    }

    /// How much of a request or response a match on it tells: what a client or an origin wrote, most; a count or a mode of
    /// the rules themselves, nothing.
    pub(crate) const fn telling(self) -> u8 {
        match self {
            Self::RequestMethod
            | Self::RequestProtocol
            | Self::ReqbodyProcessor
            | Self::RemoteAddr
            | Self::ServerName
            | Self::ServerPort
            | Self::WebAppId
            | Self::ResponseStatus
            | Self::ResponseProtocol => 1,
            Self::RequestUri | Self::RequestUriRaw | Self::RequestFilename | Self::RequestBasename | Self::PathInfo => {
                2
            }
            // Persistent collections, times, and what rules wrote down.
            _ if matches!(self.kind(), Kind::Dynamic) => 0,
            _ => 3,
        }
    }

    /// Whether it is known from the head of the response on.
    pub(crate) const fn is_of_response_head(self) -> bool {
        matches!(
            self,
            Self::ResponseContentLength
                | Self::ResponseContentType
                | Self::ResponseHeaders
                | Self::ResponseHeadersNames
                | Self::ResponseProtocol
                | Self::ResponseStatus
                | Self::StatusLine
        )
    }

    /// The persistent collections.
    pub(crate) const fn is_persistent(self) -> bool {
        matches!(self, Self::Ip | Self::Global | Self::Session | Self::User | Self::Resource)
    }
}

/// Why a variable of the reference is refused.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    const LUA: &str = "it measures ModSecurity itself";
    const FILES: &str = "the engine writes no files";
    const SCRIPT: &str = "the engine knows no scripts on the server";
    let known = [
        ("FILES_TMPNAMES", FILES),
        ("SCRIPT_FILENAME", SCRIPT),
        ("SCRIPT_BASENAME", SCRIPT),
        ("SCRIPT_GID", SCRIPT),
        ("SCRIPT_GROUPNAME", SCRIPT),
        ("SCRIPT_MODE", SCRIPT),
        ("SCRIPT_UID", SCRIPT),
        ("SCRIPT_USERNAME", SCRIPT),
        ("FULL_REQUEST", "use REQUEST_LINE, REQUEST_HEADERS and REQUEST_BODY"),
        ("STREAM_INPUT_BODY", "use REQUEST_BODY"),
        ("STREAM_OUTPUT_BODY", "use RESPONSE_BODY"),
        ("USERAGENT_IP", "use REMOTE_ADDR"),
    ];
    if name.to_ascii_uppercase().starts_with("PERF_") {
        return Some(LUA);
    }
    known.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_found_by_its_name_and_has_its_number() {
        for (number, variable) in Variable::ALL.iter().enumerate() {
            assert_eq!(variable.index(), number);
            assert_eq!(Variable::parse(&variable.name().to_lowercase()), Some(*variable));
        }
        assert_eq!(Variable::parse("ARG"), None);
        assert!(refused("perf_all").is_some());
    }
}
