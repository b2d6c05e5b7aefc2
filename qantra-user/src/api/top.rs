//! What `qantra top` is told, once an interval.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    config::Role,
    decide::{Action, DecisionId, Scope},
    enforce::Summary,
};

/// Someone who looks from time to time: rates are those since the last look.
pub trait Watch: Send {
    /// Looks. The first one only takes the counts that the next one is compared with.
    fn look(&mut self) -> TopSnapshot;
}

/// Everything that can be watched, as rates over one interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TopSnapshot {
    /// When it was taken: Unix ms.
    pub at_unix_ms: u64,
    /// The time since the last one.
    pub interval_ms: u64,
    /// Packets on all interfaces.
    pub packets_per_s: f64,
    /// Packets dropped.
    pub drops_per_s: f64,
    /// Requests answered by the proxy.
    pub requests_per_s: f64,
    /// What the kernel half takes of one CPU, 0 to the number of CPUs; `None` while the kernel does not measure it.
    pub cpu_share: Option<f64>,
    /// What one packet costs, the kernel's measuring included.
    pub ns_per_packet: Option<f64>,
    /// What is in force, in numbers.
    pub in_force: Summary,
    /// Sources that sent something lately.
    pub sources_sending: usize,
    /// Interfaces.
    pub interfaces: Vec<TopInterface>,
    /// Why packets are dropped, most often first.
    pub reasons: Vec<TopReason>,
    /// The fastest sources by packets, bytes and SYN.
    pub sources: Vec<TopSource>,
    /// The decisions that stop most now.
    pub decisions: Vec<TopDecision>,
    /// The programs that ran.
    pub programs: Vec<TopProgram>,
    /// What did not go as it should, one line each.
    pub warnings: Vec<String>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopInterface {
    /// Its name.
    pub name: String,
    /// On which side of the box it is.
    pub role: Role,
    /// The rung of the hook ladder.
    pub hook: String,
    /// Packets, dropped ones included; below GRO, the segments that were merged.
    pub packets_per_s: f64,
    /// Their bytes.
    pub bytes_per_s: f64,
    /// Packets dropped.
    pub drops_per_s: f64,
}

impl Default for TopInterface {
    fn default() -> Self {
        Self {
            name: String::new(),
            role: Role::Wan,
            hook: String::new(),
            packets_per_s: 0.0,
            bytes_per_s: 0.0,
            drops_per_s: 0.0,
        }
    }
}

/// One reason to drop.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TopReason {
    /// As in `qantra_kernel_packets_total`.
    pub reason: String,
    /// Packets.
    pub packets_per_s: f64,
    /// Their bytes.
    pub bytes_per_s: f64,
    /// Packets since the interface was first watched.
    pub packets: u64,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopSource {
    /// Its address.
    pub address: IpAddr,
    /// Packets that passed.
    pub packets_per_s: f64,
    /// Bytes, of dropped packets as well.
    pub bytes_per_s: f64,
    /// TCP segments with SYN and without ACK that passed.
    pub tcp_syn_per_s: f64,
    /// UDP datagrams that passed.
    pub udp_per_s: f64,
    /// ICMP messages that passed.
    pub icmp_per_s: f64,
    /// Packets that its own ban dropped.
    pub dropped_per_s: f64,
    /// The strongest decision that covers it.
    pub decision: Option<DecisionId>,
    /// What that does.
    pub action: Option<Action>,
}

impl TopSource {
    /// Packets that passed or were dropped.
    #[must_use]
    pub fn all_per_s(&self) -> f64 {
        self.packets_per_s + self.dropped_per_s
    }
}

/// One decision that stops something now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopDecision {
    /// Its id.
    pub id: DecisionId,
    /// Whom it covers.
    pub scope: Scope,
    /// What it does.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Packets dropped in the kernel.
    pub packets_per_s: f64,
    /// Their bytes.
    pub bytes_per_s: f64,
    /// Requests that the proxy acted on.
    pub requests_per_s: f64,
    /// Packets in all.
    pub packets: u64,
    /// Requests in all.
    pub requests: u64,
}

/// One program of the kernel half.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopProgram {
    /// Its name.
    pub name: String,
    /// How often it runs: once for each buffer, which below GRO may hold many packets.
    pub runs_per_s: f64,
    /// What one run costs.
    pub ns_per_run: f64,
    /// What it takes of one CPU.
    pub cpu_share: f64,
}
