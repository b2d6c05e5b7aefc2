//! Enters: requests over the control socket (HTTP on a Unix socket), from peers that the kernel vouches for. Leaves: JSON.
//! It must never be reached from a network, nor keep a stage waiting: what blocks runs on threads of its own.
//!
//! The daemon is asked through [`Control`], which `app` implements; decisions and the allowlist are handled here, over
//! the enforcer and the store. [`Client`] is the other end, for the command line.

mod batch;
mod blocklists;
mod capture;
mod client;
mod desk;
mod labels;
mod learned;
mod models;
mod rules;
mod server;
mod socket;
mod top;
mod types;

use crate::{
    clock::Now,
    config::ConfigErrors,
    decide::{Decision, DecisionId},
    enforce::{Applied, Ended, EnforceError, Enforcer},
    intel::{FeedError, Feeds},
    learn::{Sample, Sketcher},
    model::ModelLife,
    store::{Store, StoreError},
};

pub use crate::model::{ModelList, ModelStatus};
pub use blocklists::RefreshFeeds;
pub use capture::{CaptureQuery, CapturedDrop, Tap};
pub use client::{Client, ClientError};
pub use labels::{Labelled, NewLabel, PooledSamples};
pub use learned::{Learned, LearnedPlace};
pub use models::Installed;
pub use rules::{RuleCount, RuleOutcome, RuledQuery, RuledRequest};
pub use server::serve;
pub use socket::{Access, ApiError, ControlSocket};
pub use top::{TopDecision, TopInterface, TopProgram, TopReason, TopSnapshot, TopSource, Watch};
pub use types::{
    Allow, Allowed, CheckAnswer, DecisionList, DecisionState, DecisionView, Deleted, ErrorAnswer, Explanation, Hits,
    Imported, InterfaceStatus, ListenerStatus, NewDecision, NewDecisions, NotTaken, Reloaded, RuleSetStatus,
    RulesStatus, Simulation, SiteStatus, Status, SynCookieCounts, TargetStatus, Which,
};

/// The daemon, as the control socket sees it. Calls come from threads that may block.
pub trait Control: Send + Sync + 'static {
    /// What puts decisions into effect.
    fn enforcer(&self) -> &Enforcer;

    /// Where they are kept.
    fn store(&self) -> &Store;

    /// Block list feeds.
    fn feeds(&self) -> &Feeds;

    /// Puts a person's decision into effect, and tells the policy. The caller stores it.
    ///
    /// # Errors
    /// It would hit something protected, or is over.
    fn apply(&self, decision: Decision, now: Now) -> Result<Applied, EnforceError>;

    /// Puts many of a person's decisions into effect; the answers are in their order. The caller stores them.
    fn apply_all(&self, decisions: Vec<Decision>, now: Now) -> Vec<Result<Applied, EnforceError>>;

    /// Ends a decision for a person, and tells the policy. The caller stores the end.
    fn end(&self, id: DecisionId, now: Now) -> Option<Ended>;

    /// The allowlist changed: whoever keeps a copy of what is protected wants to know.
    fn protection_changed(&self, now: Now);

    /// How the daemon is.
    fn status(&self) -> Status;

    /// Begins to watch: rates are metered until the watcher goes.
    fn watch(&self) -> Box<dyn Watch>;

    /// Begins to capture sampled drops, one in `sample` of them if that is more than the configuration says.
    ///
    /// # Errors
    /// There is no kernel half, or nothing would be sampled.
    fn tap(&self, sample: Option<u32>) -> Result<Tap, ControlError>;

    /// The name of a watched interface.
    fn interface_name(&self, ifindex: u32) -> Option<String>;

    /// The models, their versions and what is done with them.
    fn models(&self) -> &ModelLife;

    /// What hashes addresses, and names this box, in labels.
    fn sketcher(&self) -> Sketcher;

    /// Values that a quorum of sources sends, to train on.
    fn benign(&self) -> Vec<Sample>;

    /// What the box has learnt of its sites.
    fn learned(&self) -> Learned;

    /// What rules said of a request and of its response, by the request's id; empty: nothing is remembered.
    fn ruled_request(&self, id: &str) -> Vec<RuledRequest>;

    /// What rules said of the newest requests that they matched, newest first.
    fn ruled_requests(&self, query: &RuledQuery) -> Vec<RuledRequest>;

    /// The rules that match most, those first.
    fn top_rules(&self, site: Option<&str>) -> Vec<RuleCount>;

    /// Turns simulation on or off.
    fn set_simulation(&self, on: bool);

    /// Reads the configuration again and puts it into effect; the old one stays when it is bad. Returns what needs a
    /// restart to take effect, one line each.
    ///
    /// # Errors
    /// The new configuration is bad.
    fn reload(&self) -> Result<Reloaded, ControlError>;
}

/// What was asked for cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request makes no sense.
    #[error("{what}; {hint}")]
    BadRequest {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// There is no such decision.
    #[error("there is no decision {0}; `qantra decisions list --all` shows them")]
    UnknownDecision(DecisionId),
    /// Rules matched no such request, or it is forgotten.
    #[error(
        "no request {0} is remembered that rules matched: the newest are, since the daemon began; `qantra rules recent` lists \
         them"
    )]
    UnknownRequest(String),
    /// There is no such allowlist entry.
    #[error("{0} is not on the allowlist; `qantra allowlists list` shows what is")]
    UnknownAllow(ipnet::IpNet),
    /// It would hit what is protected.
    #[error("{0}; nothing was changed")]
    Refused(#[from] EnforceError),
    /// A file of the box was named by somebody who may not read all of them.
    #[error("only root may add a file: the daemon would read it for anybody; nothing was changed")]
    OnlyRoot,
    /// Something about feeds was not done.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration is bad.
    #[error("the configuration stays as it was: {0}")]
    Config(#[from] ConfigErrors),
    /// A part of the new configuration could not be put into effect.
    #[error("the configuration stays as it was: {0}")]
    Reload(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The models cannot be loaded.
    #[error("the models stay as they were: {0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
}
