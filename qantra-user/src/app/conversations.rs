//! Enters: the configuration. Leaves: connection tracking that is listened to where there is a LAN to watch, and why not
//! where there should be. Without it everything else goes on; it must never keep the daemon from starting.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Sender;

use crate::{
    config::{Config, Role},
    conntrack::{self, Failure, Tracker, Tracking},
    flow::{LocalNetworks, Observation},
    metrics::Metrics,
};

/// Opened before privileges are dropped; started once there is somebody to tell.
#[derive(Default)]
pub(super) struct Conversations {
    tracking: Option<Tracking>,
    failure: Failure,
}

/// Whether conversations are to be watched: by the configuration, and because there is a LAN.
pub(super) fn is_wanted(config: &Config) -> bool {
    config.detect.conversations && config.interfaces.iter().any(|interface| interface.role == Role::Lan)
}

impl Conversations {
    pub(super) fn open(config: &Config) -> Self {
        if !is_wanted(config) {
            return Self::default();
        }
        match Tracking::listen() {
            Ok(tracking) => Self { tracking: Some(tracking), failure: Failure::default() },
            Err(error) => {
                let problem = conntrack::problem().unwrap_or_else(|| {
                    format!(
                        "connection tracking cannot be listened to: {error}; calls home and uploads of LAN devices \
                         are not looked for"
                    )
                });
                Self { tracking: None, failure: Arc::new(ArcSwapOption::from_pointee(problem)) }
            }
        }
    }

    /// Why connection tracking is not followed: that it could not be opened, or what happened later.
    pub(super) fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    /// Starts the thread, where there is something to listen to.
    pub(super) fn start(
        self,
        local: Arc<ArcSwap<LocalNetworks>>,
        observations: Sender<Observation>,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Option<Tracker>> {
        let unopened = self.failure.load_full().map(|problem| problem.to_string());
        if let Some(problem) = unopened.or_else(|| self.tracking.as_ref().and_then(|_| conntrack::problem())) {
            metrics.fail_open("conntrack").inc();
            tracing::warn!("{problem}");
        }
        let Some(tracking) = self.tracking else { return Ok(None) };
        let is_device = move |address| local.load().contains(address);
        tracking.start(is_device, observations, Arc::clone(metrics), self.failure).map(Some)
    }
}
