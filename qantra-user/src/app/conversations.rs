//! Enters: the configuration. Leaves: connection tracking that is listened to where there is a LAN to watch, and why not
//! where there should be. Without it everything else goes on; it must never keep the daemon from starting.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;

use crate::{
    config::{Config, Role},
    conntrack::{self, Tracker, Tracking},
    flow::{LocalNetworks, Observation},
    metrics::Metrics,
};

/// Opened before privileges are dropped; started once there is somebody to tell.
#[derive(Default)]
pub(super) struct Conversations {
    tracking: Option<Tracking>,
    problem: Option<String>,
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
            Ok(tracking) => Self { tracking: Some(tracking), problem: None },
            Err(error) => {
                let problem = conntrack::problem().unwrap_or_else(|| {
                    format!(
                        "connection tracking cannot be listened to: {error}; calls home and uploads of LAN devices \
                         are not looked for"
                    )
                });
                Self { tracking: None, problem: Some(problem) }
            }
        }
    }

    /// What kept it from being opened.
    pub(super) const fn problem(&self) -> Option<&String> {
        self.problem.as_ref()
    }

    /// Starts the thread, where there is something to listen to.
    pub(super) fn start(
        self,
        local: Arc<ArcSwap<LocalNetworks>>,
        observations: Sender<Observation>,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Option<Tracker>> {
        if let Some(problem) = &self.problem {
            metrics.fail_open("conntrack").inc();
            tracing::warn!("{problem}");
        }
        let Some(tracking) = self.tracking else { return Ok(None) };
        if let Some(problem) = conntrack::problem() {
            metrics.fail_open("conntrack").inc();
            tracing::warn!("{problem}");
        }
        let is_device = move |address| local.load().contains(address);
        tracking.start(is_device, observations, Arc::clone(metrics)).map(Some)
    }
}
