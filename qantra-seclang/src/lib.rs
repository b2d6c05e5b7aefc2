//! Enters: SecLang rule files, and requests piece by piece. Leaves: which rules matched, on what, and the end of the
//! transaction when a rule says so. It must never do IO, read a clock, or let a rule do nothing in silence: what is not
//! supported is refused when loading, by file, line and name.
//!
//! Rules are compiled, not interpreted:
//!
//! - Transformations that rules share run once for each value, and only when the value has a byte that they could change.
//! - Of every pattern it is known which strings its matches contain. Those of all rules stand in one automaton; one pass
//!   over a value tells which rules can match it, and only those run.
//! - Patterns that give no such strings away, and look at the same values, stand in one automaton for each set of values.
//! - Names of `TX` variables, lists of rule ids and jumps are numbers.
//! - What is left runs in linear time, or, where look-around forbids that, with a limit on steps and a budget for each
//!   transaction.
//! - A warm [`Scratch`] keeps its memory from one transaction to the next.
//!
//! ```
//! use std::net::{IpAddr, Ipv4Addr};
//!
//! use qantra_seclang::{Connection, Host, NoCollections, NoLookups, RuleSet, Scratch};
//!
//! let rules = RuleSet::from_text(
//!     r#"
//!     SecRuleEngine On
//!     SecRule ARGS "@rx (?i)union\s+select" "id:1,phase:2,deny,status:403,t:none,t:urlDecodeUni,msg:'SQL in %{MATCHED_VAR_NAME}'"
//!     "#,
//! )?;
//! let mut scratch = Scratch::new();
//! let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
//! let connection = Connection { client: local, client_port: 40_000, server: local, server_port: 80, unique_id: "1" };
//! let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
//!
//! let mut transaction = rules.transaction(&mut scratch, &connection);
//! transaction.request_line(b"GET", b"/?q=1%20UNION%20SELECT%202", b"HTTP/1.1");
//! transaction.request_header(b"Host", b"example.org");
//! assert_eq!(transaction.request_headers(&mut host), None);
//! let ended = transaction.finish_request(&mut host);
//! assert_eq!(ended.map(|ended| (ended.status, ended.rule_id)), Some((403, 1)));
//! let found = transaction.matches().next();
//! assert_eq!(found.map(|found| found.message.to_vec()), Some(b"SQL in ARGS:q".to_vec()));
//! # Ok::<(), qantra_seclang::LoadError>(())
//! ```

#![forbid(unsafe_code)]
mod body;
mod bytes;
mod chain;
mod collections;
mod compile;
mod error;
mod filter;
mod libinjection;
mod operator;
mod parse;
mod patterns;
mod regex;
mod rule;
mod settings;
mod source;
mod store;
mod template;
mod transaction;
mod transform;
mod variable;

/// Rules that choose the reader of a body and refuse what cannot be read. Hand them in by [`Options::before`].
pub const RECOMMENDED: &str = include_str!("recommended.conf");

pub use collections::{Collections, Instance, MemoryCollections, NoCollections};
pub use compile::{Options, Outline, OutlineLink, RuleSet, SharedRules, Summary};
pub use error::{LoadError, Position, Reason};
pub use settings::{EngineMode, LimitAction, Settings};
#[cfg(feature = "load")]
pub use source::StdFiles;
pub use source::{FileProvider, MemoryFiles};
pub use transaction::{
    Connection, Ending, Host, Intervention, Lookups, Match, NoLookups, OwnedTransaction, Scratch, Transaction,
};
pub use transform::Transform;
pub use variable::Variable;
