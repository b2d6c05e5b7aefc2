//! Enters: what went wrong while rules were read or compiled. Leaves: one line that names file, line, what and what to do.
//! It must never hide a directive that is not supported: a rule that does nothing in silence protects nobody.

use std::{fmt, sync::Arc};

/// Where a directive begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file's name as it was given or included.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a rule set does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {reason}")]
pub struct LoadError {
    /// Where.
    pub position: Position,
    /// What, and what to do.
    pub reason: Reason,
}

/// What is wrong with a directive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Something exists in the reference and is not built here.
    #[error("{kind} `{name}` is not supported: {why}")]
    Unsupported {
        /// `directive`, `action`, `operator`, …
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why, or what to use instead.
        why: &'static str,
    },
    /// Something that the reference does not know.
    #[error("unknown {kind} `{name}`: check its spelling against the ModSecurity v3 reference")]
    Unknown {
        /// `directive`, `action`, `operator`, …
        kind: &'static str,
        /// What was written.
        name: String,
    },
    /// A value that cannot be used.
    #[error("{what} `{value}` is no {expected}")]
    Invalid {
        /// What has the value.
        what: &'static str,
        /// The value, cut.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The text cannot be read.
    #[error("{0}")]
    Syntax(&'static str),
    /// A pattern that does not compile, or is too large.
    #[error("pattern `{pattern}` does not compile: {why}")]
    Pattern {
        /// The pattern, cut.
        pattern: String,
        /// The regex compiler's words.
        why: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{name}`: {why}")]
    File {
        /// The file's name.
        name: String,
        /// The system's words.
        why: String,
    },
    /// Two rules with one id.
    #[error("rule id {id} is taken already, at {first}: give this rule an id of its own")]
    DuplicateId {
        /// The id.
        id: u64,
        /// Where it stands first.
        first: Position,
    },
    /// A rule set beyond what an engine should hold.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The start of a text, for messages.
pub(crate) fn cut(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}
