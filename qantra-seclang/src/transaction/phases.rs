//! Enters: the end of a part of the request or response. Leaves: that part's rules run. It must never run a phase of a
//! transaction that was ended, but the last: logging always runs.

use super::{Allowed, Ending, Host, Intervention, Transaction};
use crate::{
    body::{Processor, TOO_LONG, form, json, multipart, xml},
    settings::EngineMode,
    variable::Variable,
};

impl Transaction<'_, '_> {
    /// Phase 1: all headers of the request are in. More of them than are looked at end it with 431.
    pub fn request_headers(&mut self, host: &mut Host<'_>) -> Option<Intervention> {
        let content_type = self.s.store.by_key(Variable::RequestHeaders, b"content-type").unwrap_or_default();
        let starts = |with: &[u8]| content_type.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        if starts(b"application/x-www-form-urlencoded") {
            self.processor = Some(Processor::Urlencoded);
        } else if starts(b"multipart/form-data") {
            self.processor = Some(Processor::Multipart);
        }
        let name = self.processor.map_or("", Processor::name);
        self.s.store.set_single(Variable::ReqbodyProcessor, name.as_bytes());
        self.combined_size();
        if self.s.heads_cut.0 && self.engine == EngineMode::On {
            self.intervention = Some(Intervention { status: 431, ending: Ending::Deny, rule_id: 0 });
        }
        self.run_phase(1, host)
    }

    /// Phase 2: the request's body is in, or there is none.
    pub fn finish_request(&mut self, host: &mut Host<'_>) -> Option<Intervention> {
        if self.intervention.is_none() && self.engine != EngineMode::Off {
            self.read_body();
        }
        self.combined_size();
        self.run_phase(2, host)
    }

    fn combined_size(&mut self) {
        let store = &mut self.s.store;
        let mut size = 0;
        for group in [Variable::ArgsGet, Variable::ArgsPost] {
            size +=
                store.items(group).iter().map(|item| item.key.len() + store.node(item.node).span.len()).sum::<usize>();
        }
        store.set_shown(Variable::ArgsCombinedSize, size);
        if store.items(Variable::FilesCombinedSize).is_empty() {
            store.set_single(Variable::FilesCombinedSize, b"0");
        }
    }

    fn read_body(&mut self) {
        let body = std::mem::take(&mut self.s.request_body);
        let settings = &self.rules.settings;
        self.s.store.set_shown(Variable::RequestBodyLength, body.len());
        let whole = !body.is_empty() && self.request_body_access;
        if whole
            && (self.processor == Some(Processor::Urlencoded) || (self.force_request_body && self.processor.is_none()))
        {
            self.s.store.set_single(Variable::RequestBody, &body);
        }
        let done = match self.processor.filter(|_| whole) {
            None => Ok(()),
            Some(Processor::Urlencoded) => {
                let groups = (Variable::ArgsPost, Variable::ArgsPostNames);
                let separator = settings.argument_separator;
                match form::parse(&body, separator, groups, settings.arguments_limit, &mut self.s.store) {
                    Ok(broken) => {
                        if broken {
                            self.s.store.set_single(Variable::UrlencodedError, b"1");
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            Some(Processor::Multipart) => {
                let content_type = self.s.store.by_key(Variable::RequestHeaders, b"content-type").unwrap_or_default();
                let content_type = content_type.to_vec();
                let limits = multipart::Limits {
                    arguments: settings.arguments_limit,
                    files: settings.upload_file_limit,
                    no_files_bytes: settings.request_body_no_files_limit,
                    keep_files: self.rules.looks_at_files,
                    cut: self.s.bodies_cut.0,
                };
                multipart::parse(&body, &content_type, limits, &mut self.s.store)
            }
            Some(Processor::Json) => {
                json::parse(&body, settings.json_depth_limit, settings.arguments_limit, &mut self.s.store)
            }
            Some(Processor::Xml) => xml::parse(&body, settings.arguments_limit, &mut self.s.store),
        };
        self.s.request_body = body;
        if done == Err(TOO_LONG) {
            self.body_failed(TOO_LONG.0);
            self.body_too_long();
            return;
        }
        if self.s.bodies_cut.0 {
            // The end is missing: that a boundary or a bracket is missing as well says nothing.
            self.s.store.set_single(Variable::MultipartStrictError, b"0");
            self.s.store.set_single(Variable::MultipartUnmatchedBoundary, b"0");
            return;
        }
        match done {
            Ok(()) => {}
            Err(error) if self.processor == Some(Processor::Multipart) => {
                self.body_failed(&format!("Multipart parsing error: {error}"));
            }
            Err(error) => self.body_failed(error.0),
        }
    }

    /// Phase 3: all headers of the response are in.
    pub fn response_headers(&mut self, host: &mut Host<'_>) -> Option<Intervention> {
        self.run_phase(3, host)
    }

    /// Phase 4: the response's body is in.
    pub fn finish_response(&mut self, host: &mut Host<'_>) -> Option<Intervention> {
        if !self.s.response_body.is_empty() && self.wants_response_body() {
            let body = std::mem::take(&mut self.s.response_body);
            self.s.store.set_single(Variable::ResponseBody, &body);
            self.s.response_body = body;
        }
        self.s.store.set_shown(Variable::ResponseContentLength, self.s.response_body.len());
        self.run_phase(4, host)
    }

    /// Phase 5: logging. It runs whatever happened before, and ends nothing.
    pub fn logging(&mut self, host: &mut Host<'_>) {
        self.run_phase(5, host);
    }

    fn run_phase(&mut self, phase: u8, host: &mut Host<'_>) -> Option<Intervention> {
        let runs = match phase {
            _ if self.engine == EngineMode::Off => false,
            5 => true,
            _ if self.intervention.is_some() || self.allowed == Allowed::Everything => false,
            2 => self.allowed == Allowed::Nothing,
            _ => true,
        };
        self.phase = phase;
        if runs {
            self.evaluate(phase, host);
        }
        self.intervention
    }
}
