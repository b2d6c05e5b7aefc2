//! Qantra's user half: the daemon and its command line.
//!
//! What follows one packet or one request, stage by stage:
//!
//! ```text
//! packet ──► qantra-ebpf ── Verdict: pass | drop(reason) | SYN cookie ──► network stack
//!              │ counters, events      ▲ bans
//!              ▼                       └───────────────────────────────────────┐
//!            collect ─► flow ──┐                                               │
//!                              ├─► features ─► model ─► detect ─► decide ─► enforce
//! request ─► proxy ─► inspect ─┘                                               │
//!              ▲────── allow | throttle | block | forward ─────────────────────┘
//! ```
//!
//! Modules stand in that order. Those marked `[pure]` import no socket, no clock, no tokio and none of
//! aya, Pingora and ort: time and seeds are arguments. `cargo xtask tidy` keeps it so.

pub mod clock;
pub mod config;

pub mod capture; // [pure]
pub mod collect;
pub mod conntrack;
pub mod decide; // [pure]
pub mod detect; // [pure]
pub mod enforce;
pub mod features; // [pure]
pub mod flow; // [pure]
pub mod inspect; // [pure]
pub mod intel;
pub mod learn; // [pure]
pub mod model;
mod netlink;
pub mod nft;
pub mod proxy;
pub mod rules;
pub mod xdp;

pub mod api;
pub mod cli;
pub mod metrics;
pub mod store;

pub mod app;
