//! Enters: [`RequestObservation`]s from the proxy and [`PacketObservation`]s from the kernel. Leaves: what each
//! source did over several time windows, in a bounded table. Pure: it must never read a clock or a socket.
//!
//! Windows slide by quarters and sketches by halves ([`Window`], [`Distinct`]), so a window holds between three
//! quarters (half) and the whole of its length and never counts what is older. Time is always an argument and always
//! the boot clock's milliseconds; a moment before the newest one seen counts as the newest.

mod accounts;
mod bounded;
mod distinct;
mod gaps;
mod http;
mod meter;
mod observation;
mod packets;
mod pairs;
mod source;
mod window;

pub use accounts::{AccountFlow, AccountTable};
pub use bounded::{BoundedTable, Worth};
pub use distinct::Distinct;
pub use gaps::{Gaps, Regularity};
pub use http::{HttpFlow, LoginOutcome, RequestMarks};
pub use meter::{SourceMeter, SourceRate};
pub use observation::{
    ConnectionObservation, ConversationEvent, ConversationObservation, Observation, PacketObservation,
    RequestObservation, Transport,
};
pub use packets::PacketFlow;
pub use pairs::{Device, PairFlow, PairKey, PairTable, PairView};
pub use source::{FlowTable, LocalNetworks, SourceFlow, Tracked};
pub use window::Window;

/// One second, in ms.
pub const SECOND_MS: u64 = 1_000;
/// Ten seconds, in ms.
pub const TEN_SECONDS_MS: u64 = 10_000;
/// One minute, in ms.
pub const MINUTE_MS: u64 = 60_000;
/// Ten minutes, in ms.
pub const TEN_MINUTES_MS: u64 = 600_000;
/// One hour, in ms.
pub const HOUR_MS: u64 = 3_600_000;
/// One day, in ms.
pub const DAY_MS: u64 = 86_400_000;
