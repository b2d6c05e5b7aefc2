//! Sampled drops, as `qantra capture` gets them.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use qantra_common::{DropReason, event::DropEvent, packet::Address};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{clock::Now, decide::DecisionId};

/// Which drops someone wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CaptureQuery {
    /// Only for this reason.
    pub reason: Option<String>,
    /// Only of this interface.
    pub interface: Option<String>,
    /// One in how many drops is sampled meanwhile, a power of two; never fewer than the configuration says.
    pub sample: Option<u32>,
}

/// A running capture: drops come until it goes, and with it the raised sampling.
pub struct Tap {
    /// Sampled drops.
    pub drops: mpsc::Receiver<DropEvent>,
    /// Those that found the queue full.
    pub lost: Arc<AtomicU64>,
    /// Ends the capture when it goes.
    pub guard: Box<dyn Send>,
}

/// One dropped packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedDrop {
    /// When: ns since the Unix epoch.
    pub at_unix_ns: u64,
    /// The interface it came in by.
    pub interface: String,
    /// Why it was dropped.
    pub reason: String,
    /// The decision behind the ban.
    pub decision: Option<DecisionId>,
    /// The source; `None` when the frame was malformed.
    pub source: Option<IpAddr>,
    /// The destination, likewise.
    pub destination: Option<IpAddr>,
    /// Source port; 0 when there is none.
    pub source_port: u16,
    /// Destination port; 0 when there is none.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// VLAN; 0 when there is none.
    pub vlan: u16,
    /// How long the frame was.
    pub frame_bytes: u32,
    /// Its beginning, in base64.
    pub data: String,
    /// Sampled drops that were lost before this one because the reader was slow.
    pub lost: u64,
}

impl CapturedDrop {
    /// `started` ties the boot clock to the wall clock, once for a whole capture, so that distances in time are exact.
    pub(super) fn new(event: &DropEvent, interface: String, started: Now, lost: &AtomicU64) -> Self {
        let ip = |address: Address| {
            let ip = IpAddr::from(address.bytes()).to_canonical();
            (!ip.is_unspecified()).then_some(ip)
        };
        let since_ns = i128::from(event.at_boot_ns) - i128::from(started.boot_ns);
        let at_unix_ns = i128::from(started.unix_ms) * 1_000_000 + since_ns;
        let kept = (event.captured_bytes as usize).min(event.data.len());
        Self {
            at_unix_ns: u64::try_from(at_unix_ns).unwrap_or(0),
            interface,
            reason: reason_name(event.reason),
            decision: (event.decision != 0).then_some(DecisionId(event.decision)),
            source: ip(event.source),
            destination: ip(event.destination),
            source_port: event.source_port,
            destination_port: event.destination_port,
            protocol: event.protocol,
            vlan: event.vlan,
            frame_bytes: event.frame_bytes,
            data: STANDARD.encode(&event.data[..kept]),
            lost: lost.load(Ordering::Relaxed),
        }
    }

    /// The beginning of the frame; empty when it is not readable.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        STANDARD.decode(&self.data).unwrap_or_default()
    }
}

pub(super) fn reason_name(number: u32) -> String {
    DropReason::from_u32(number).map_or_else(|| format!("reason_{number}"), |reason| reason.as_str().to_owned())
}
