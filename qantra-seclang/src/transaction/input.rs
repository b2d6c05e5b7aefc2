//! Enters: the request line, headers and bodies as the host read them. Leaves: the variables that rules look at. It must
//! never refuse odd input: oddness is what rules are about.

use super::{Connection, Intervention, Transaction};
use crate::{
    body::{Processor, form},
    settings::{EngineMode, LimitAction},
    store::Span,
    transform::hex_pair,
    variable::Variable,
};

/// Headers, and cookies, of a request or of a response. Requests with more are refused: what is not looked at could be
/// anything.
const HEADERS_MAX: usize = 1000;
/// Bytes of a request's target, header names and values. More than any server takes by default.
const HEAD_BYTES_MAX: usize = 128 * 1024;

impl Transaction<'_, '_> {
    pub(super) fn connection(&mut self, connection: &Connection<'_>) {
        let store = &mut self.s.store;
        store.set_shown(Variable::RemoteAddr, connection.client);
        store.set_shown(Variable::RemoteHost, connection.client);
        store.set_shown(Variable::RemotePort, connection.client_port);
        store.set_shown(Variable::ServerAddr, connection.server);
        store.set_shown(Variable::ServerPort, connection.server_port);
        store.set_single(Variable::UniqueId, connection.unique_id.as_bytes());
        for variable in [
            Variable::ReqbodyError,
            Variable::ReqbodyProcessorError,
            Variable::UrlencodedError,
            Variable::InboundDataError,
            Variable::OutboundDataError,
            Variable::MultipartStrictError,
            Variable::MultipartUnmatchedBoundary,
        ] {
            store.set_single(variable, b"0");
        }
        store.set_single(Variable::ReqbodyErrorMsg, b"");
        store.set_single(Variable::ReqbodyProcessor, b"");
        store.set_single(Variable::WebAppId, b"default");
    }

    /// Which of the sites that share these rules the request is for: `WEBAPPID`, `default` without it.
    pub fn set_web_application(&mut self, name: &[u8]) {
        self.s.store.set_single(Variable::WebAppId, name);
    }

    /// Whether the request's head may grow by some bytes. If not, [`Transaction::request_headers`] ends the transaction.
    fn head_takes(&mut self, bytes: usize) -> bool {
        self.s.head_bytes = self.s.head_bytes.saturating_add(bytes);
        let fits = self.s.head_bytes <= HEAD_BYTES_MAX;
        if !fits {
            self.head_cut();
        }
        fits
    }

    fn head_cut(&mut self) {
        self.s.heads_cut.0 = true;
        self.s.store.set_single(Variable::InboundDataError, b"1");
    }

    /// The request line as it was received: method, target and protocol (`HTTP/1.1`).
    pub fn request_line(&mut self, method: &[u8], target: &[u8], protocol: &[u8]) {
        let target = if self.head_takes(target.len()) { target } else { &target[..target.len().min(HEAD_BYTES_MAX)] };
        let store = &mut self.s.store;
        let line = store.keep_joined(&[method, b" ", target, b" ", protocol]);
        store.forget(Variable::RequestLine);
        store.add_span(Variable::RequestLine, Span::EMPTY, line);
        store.set_single(Variable::RequestMethod, method);
        store.set_single(Variable::RequestProtocol, protocol);
        store.set_single(Variable::RequestUriRaw, target);
        // An absolute target is judged by its path and query.
        let path_and_query = without_authority(target);
        let path_and_query = path_and_query.split(|b| *b == b'#').next().unwrap_or_default();
        let (path, query) = match memchr::memchr(b'?', path_and_query) {
            Some(at) => (&path_and_query[..at], &path_and_query[at + 1..]),
            None => (path_and_query, &[][..]),
        };
        store.set_single(Variable::QueryString, query);
        let uri = decoded_path(path_and_query, store);
        store.forget(Variable::RequestUri);
        store.add_span(Variable::RequestUri, Span::EMPTY, uri);
        let name = decoded_path(path, store);
        store.forget(Variable::RequestFilename);
        store.add_span(Variable::RequestFilename, Span::EMPTY, name);
        let base = store.get(name).iter().rposition(|b| *b == b'/' || *b == b'\\').map_or(0, |at| at + 1);
        store.forget(Variable::RequestBasename);
        let base = name.part(u32::try_from(base).unwrap_or(0), u32::try_from(name.len()).unwrap_or(0));
        store.add_span(Variable::RequestBasename, Span::EMPTY, base);
        let (separator, limit) = (self.rules.settings.argument_separator, self.rules.settings.arguments_limit);
        let groups = (Variable::ArgsGet, Variable::ArgsGetNames);
        match form::parse(query, separator, groups, limit, store) {
            Ok(false) => {}
            Ok(true) => store.set_single(Variable::UrlencodedError, b"1"),
            Err(error) => self.body_failed(error.0),
        }
    }

    pub(super) fn body_failed(&mut self, message: &str) {
        let store = &mut self.s.store;
        store.set_single(Variable::ReqbodyError, b"1");
        store.set_single(Variable::ReqbodyProcessorError, b"1");
        store.set_single(Variable::ReqbodyErrorMsg, message.as_bytes());
        store.set_single(Variable::ReqbodyProcessorErrorMsg, message.as_bytes());
    }

    /// One header of the request, in the order they came.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        if self.s.store.items(Variable::RequestHeaders).len() >= HEADERS_MAX {
            return self.head_cut();
        }
        if !self.head_takes(name.len() + value.len()) {
            return;
        }
        let store = &mut self.s.store;
        let key = store.keep_value(name);
        let value_span = store.keep_value(value);
        store.add_span(Variable::RequestHeaders, key, value_span);
        store.add_span(Variable::RequestHeadersNames, key, key);
        if name.eq_ignore_ascii_case(b"cookie") {
            self.cookies(value);
        } else if name.eq_ignore_ascii_case(b"host") {
            let host = value.rsplit_once_colon();
            store.set_single(Variable::ServerName, host);
        } else if name.eq_ignore_ascii_case(b"authorization") {
            let scheme = value.split(|b| *b == b' ').next().unwrap_or_default();
            store.set_single(Variable::AuthType, scheme);
        }
    }

    fn cookies(&mut self, value: &[u8]) {
        let store = &mut self.s.store;
        for pair in value.split(|b| *b == b';').map(<[u8]>::trim_ascii_start).filter(|pair| !pair.is_empty()) {
            if store.items(Variable::RequestCookies).len() >= HEADERS_MAX {
                return self.head_cut();
            }
            let (name, value) = match memchr::memchr(b'=', pair) {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let key = store.keep_value(name);
            let value = store.keep_value(value);
            store.add_span(Variable::RequestCookies, key, value);
            store.add_span(Variable::RequestCookiesNames, key, key);
        }
    }

    /// The user that the host knows.
    pub fn remote_user(&mut self, user: &[u8]) {
        self.s.store.set_single(Variable::RemoteUser, user);
    }

    /// How much of the request's body is looked at. Only multipart bodies have files.
    pub(super) fn request_body_limit(&self) -> usize {
        let settings = &self.rules.settings;
        match self.processor {
            None | Some(Processor::Multipart) => settings.request_body_limit,
            Some(_) => settings.request_body_limit.min(settings.request_body_no_files_limit),
        }
    }

    /// A piece of the request's body. Beyond the limit, `SecRequestBodyLimitAction` decides: 413, or the rest is cut.
    pub fn request_body(&mut self, piece: &[u8]) -> Option<Intervention> {
        if self.intervention.is_some() || !self.wants_request_body() {
            return self.intervention;
        }
        let limit = self.request_body_limit();
        let room = limit.saturating_sub(self.s.request_body.len());
        self.s.request_body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room && !self.s.bodies_cut.0 {
            self.s.bodies_cut.0 = true;
            self.body_too_long();
        }
        self.intervention
    }

    /// The body has more than is looked at: rules are told, and the limit may end the transaction.
    pub(super) fn body_too_long(&mut self) {
        self.s.store.set_single(Variable::InboundDataError, b"1");
        let rejects = self.rules.settings.request_body_limit_action == LimitAction::Reject;
        if rejects && self.engine == EngineMode::On {
            self.intervention = Some(Intervention { status: 413, ending: super::Ending::Deny, rule_id: 0 });
        }
    }

    /// What was handed in of the request's body is only its beginning: the host looks at no more. What cannot be read for
    /// that reason alone is no error of the client's.
    /// `SecRequestBodyLimitAction` decides whether it goes on.
    pub fn request_body_is_cut(&mut self) -> Option<Intervention> {
        if self.intervention.is_none() && self.wants_request_body() {
            self.s.bodies_cut.0 = true;
            self.body_too_long();
        }
        self.intervention
    }

    /// The status line of the response.
    pub fn response_line(&mut self, status: u16, protocol: &[u8]) {
        let store = &mut self.s.store;
        store.set_shown(Variable::ResponseStatus, status);
        store.set_single(Variable::ResponseProtocol, protocol);
        let line = store.keep_joined(&[protocol, b" "]);
        let number = store.keep_shown(status);
        store.forget(Variable::StatusLine);
        store.add_span(Variable::StatusLine, Span::EMPTY, Span { end: number.end, ..line });
    }

    /// One header of the response.
    pub fn response_header(&mut self, name: &[u8], value: &[u8]) {
        let store = &mut self.s.store;
        if store.items(Variable::ResponseHeaders).len() >= HEADERS_MAX {
            self.s.heads_cut.1 = true;
            store.set_single(Variable::OutboundDataError, b"1");
            return;
        }
        let key = store.keep_value(name);
        let value_span = store.keep_value(value);
        store.add_span(Variable::ResponseHeaders, key, value_span);
        store.add_span(Variable::ResponseHeadersNames, key, key);
        if name.eq_ignore_ascii_case(b"content-type") {
            store.set_single(Variable::ResponseContentType, value);
        }
    }

    /// A piece of the response's body. Beyond the limit, `SecResponseBodyLimitAction` decides: 500, or the rest is cut.
    pub fn response_body(&mut self, piece: &[u8]) -> Option<Intervention> {
        if self.intervention.is_some() || !self.wants_response_body() {
            return self.intervention;
        }
        let limit = self.rules.settings.response_body_limit;
        let room = limit.saturating_sub(self.s.response_body.len());
        self.s.response_body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room && !self.s.bodies_cut.1 {
            self.s.bodies_cut.1 = true;
            self.s.store.set_single(Variable::OutboundDataError, b"1");
            let rejects = self.rules.settings.response_body_limit_action == LimitAction::Reject;
            if rejects && self.engine == EngineMode::On {
                self.intervention = Some(Intervention { status: 500, ending: super::Ending::Deny, rule_id: 0 });
            }
        }
        self.intervention
    }

    pub(super) fn is_inspected_type(&self) -> bool {
        let content_type = self.s.store.first(Variable::ResponseContentType);
        let end = content_type.iter().position(|b| *b == b';').unwrap_or(content_type.len());
        let bare = content_type[..end].trim_ascii();
        self.rules.settings.response_mime_types.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(bare))
    }
}

trait HostName {
    fn rsplit_once_colon(&self) -> &Self;
}

impl HostName for [u8] {
    /// A host without its port; the brackets of IPv6 stay.
    fn rsplit_once_colon(&self) -> &Self {
        match memchr::memrchr(b':', self) {
            Some(at) if self[at + 1..].iter().all(u8::is_ascii_digit) => &self[..at],
            _ => self,
        }
    }
}

fn without_authority(target: &[u8]) -> &[u8] {
    let Some(at) = memchr::memmem::find(target, b"://").filter(|at| target[..*at].iter().all(u8::is_ascii_alphabetic))
    else {
        return target;
    };
    let rest = &target[at + 3..];
    let path = rest.iter().position(|b| *b == b'/' || *b == b'?').unwrap_or(rest.len());
    &rest[path..]
}

/// Escapes decoded; `+` stays, since it is no space in a path.
fn decoded_path(text: &[u8], store: &mut crate::store::Store) -> Span {
    if memchr::memchr(b'%', text).is_none() {
        return store.keep(text);
    }
    let start = store.arena.len();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match (byte, hex_pair(text, at)) {
            (b'%', Some(decoded)) => {
                store.arena.push(decoded);
                at += 2;
            }
            _ => store.arena.push(*byte),
        }
    }
    store.since(start)
}
