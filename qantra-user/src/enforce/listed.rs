//! What feeds list, as the proxy sees it: where the kernel half cannot compare a client (behind a trusted proxy, or with
//! no interface) the proxy does. Read for every request without a lock; counted only when something is stopped.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use prometheus::IntCounter;

use super::AddressRanges;

/// Most stopped requests between two readings of the counts; more are stopped, and counted as not attributed.
const STOPPED_MAX: usize = 8_192;

/// See the module.
#[derive(Debug)]
pub(super) struct Listed {
    ranges: ArcSwap<AddressRanges>,
    stopped: (Sender<IpAddr>, Receiver<IpAddr>),
    shed: IntCounter,
}

impl Listed {
    pub(super) fn new(shed: IntCounter) -> Self {
        Self { ranges: ArcSwap::default(), stopped: bounded(STOPPED_MAX), shed }
    }

    pub(super) fn replace(&self, ranges: Arc<AddressRanges>) {
        self.ranges.store(ranges);
    }

    /// Whether a client is listed: two binary searches at most, no allocation.
    pub(super) fn has(&self, client: IpAddr) -> bool {
        let ranges = self.ranges.load();
        !ranges.is_empty() && ranges.contains(client.to_canonical())
    }

    /// Remembers that a client's request is stopped.
    pub(super) fn count(&self, client: IpAddr) {
        if self.stopped.0.try_send(client.to_canonical()).is_err() {
            self.shed.inc();
        }
    }

    /// The clients whose requests were stopped since the last call, one for each request.
    pub(super) fn take(&self) -> Vec<IpAddr> {
        self.stopped.1.try_iter().take(STOPPED_MAX).collect()
    }
}
