//! Enters: a rule set that threads share, and memory. Leaves: a transaction that owns both, so that it can wait between
//! the request and its response, or go to another thread. It must never be continued with other rules or other memory.

use super::{Allowed, Connection, Scratch, Transaction};
use crate::{
    body::Processor,
    compile::{RuleSet, SharedRules},
    settings::EngineMode,
};

/// What a transaction is besides its rules and its memory.
#[derive(Debug, Clone, Copy)]
struct Paused {
    engine: EngineMode,
    request_body_access: bool,
    response_body_access: bool,
    force_request_body: bool,
    processor: Option<Processor>,
    intervention: Option<super::Intervention>,
    allowed: Allowed,
    phase: u8,
}

impl Paused {
    const fn of(transaction: &Transaction<'_, '_>) -> Self {
        Self {
            engine: transaction.engine,
            request_body_access: transaction.request_body_access,
            response_body_access: transaction.response_body_access,
            force_request_body: transaction.force_request_body,
            processor: transaction.processor,
            intervention: transaction.intervention,
            allowed: transaction.allowed,
            phase: transaction.phase,
        }
    }

    const fn resume<'r, 's>(self, rules: &'r RuleSet, s: &'s mut Scratch) -> Transaction<'r, 's> {
        Transaction {
            rules,
            s,
            engine: self.engine,
            request_body_access: self.request_body_access,
            response_body_access: self.response_body_access,
            force_request_body: self.force_request_body,
            processor: self.processor,
            intervention: self.intervention,
            allowed: self.allowed,
            phase: self.phase,
        }
    }
}

/// A transaction that borrows nothing. It goes on where [`OwnedTransaction::with`] left it.
#[derive(Debug)]
pub struct OwnedTransaction {
    rules: SharedRules,
    scratch: Box<Scratch>,
    paused: Paused,
}

impl OwnedTransaction {
    /// Begins a transaction in memory that was used before, or in new one.
    #[must_use]
    pub fn begin(rules: SharedRules, mut scratch: Box<Scratch>, connection: &Connection<'_>) -> Self {
        let paused = Paused::of(&rules.transaction(&mut scratch, connection));
        Self { rules, scratch, paused }
    }

    /// Goes on with the transaction.
    pub fn with<T>(&mut self, run: impl FnOnce(&mut Transaction<'_, '_>) -> T) -> T {
        let mut transaction = self.paused.resume(&self.rules, &mut self.scratch);
        let done = run(&mut transaction);
        self.paused = Paused::of(&transaction);
        done
    }

    /// The rules it runs.
    #[must_use]
    pub const fn rules(&self) -> &SharedRules {
        &self.rules
    }

    /// Ends it, and gives its memory back.
    #[must_use]
    pub fn finish(self) -> Box<Scratch> {
        self.scratch
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use super::*;
    use crate::{Host, NoCollections, NoLookups};

    const RULES: &str = r#"
        SecRuleEngine On
        SecRequestBodyAccess On
        SecResponseBodyAccess On
        SecResponseBodyMimeType text/plain
        SecRule REQUEST_HEADERS:X "@streq engine-off" "id:1,phase:1,nolog,pass,ctl:ruleEngine=Off"
        SecRule ARGS:a "@streq b" "id:2,phase:2,pass,log,setvar:tx.seen=1"
        SecRule RESPONSE_BODY "@contains secret" "id:3,phase:4,deny,status:502,chain"
        SecRule TX:seen "@eq 1" ""
    "#;

    fn host(collections: &mut NoCollections) -> Host<'_> {
        Host { now_s: 0, elapsed_ms: 0, collections, lookups: &NoLookups }
    }

    /// Each step on a thread of its own, as a host that waits for its origin would do.
    fn run(scratch: Box<Scratch>, rules: &SharedRules, header: &'static [u8]) -> (Option<u64>, usize, Box<Scratch>) {
        let client = IpAddr::from([192, 0, 2, 1]);
        let connection = Connection { client, client_port: 1, server: client, server_port: 80, unique_id: "u" };
        let mut transaction = OwnedTransaction::begin(Arc::clone(rules), scratch, &connection);
        let steps: [fn(&mut Transaction<'_, '_>, &[u8]); 3] = [
            |t, header| {
                t.request_line(b"GET", b"/?a=b", b"HTTP/1.1");
                t.request_header(b"X", header);
                let _ = t.request_headers(&mut host(&mut NoCollections));
            },
            |t, _| {
                let _ = t.finish_request(&mut host(&mut NoCollections));
            },
            |t, _| {
                t.response_line(200, b"HTTP/1.1");
                t.response_header(b"Content-Type", b"text/plain");
                let _ = t.response_headers(&mut host(&mut NoCollections));
                let _ = t.response_body(b"a secret");
                let _ = t.finish_response(&mut host(&mut NoCollections));
            },
        ];
        for step in steps {
            transaction = std::thread::spawn(move || {
                transaction.with(|t| step(t, header));
                transaction
            })
            .join()
            .unwrap();
        }
        let (rule, matches) = transaction.with(|t| (t.intervention().map(|i| i.rule_id), t.matches().count()));
        (rule, matches, transaction.finish())
    }

    #[test]
    fn a_transaction_goes_on_where_it_was_left() {
        let rules: SharedRules = Arc::new(RuleSet::from_text(RULES).unwrap());
        let (rule, matches, scratch) = run(Box::default(), &rules, b"on");
        assert_eq!((rule, matches), (Some(3), 2));
        let (rule, matches, scratch) = run(scratch, &rules, b"engine-off");
        assert_eq!((rule, matches), (None, 0), "what `ctl` switched off stays off");
        assert_eq!(run(scratch, &rules, b"on").0, Some(3), "and the next one begins anew");
    }
}
