//! Enters: [`RequestObservation`]s from the proxy and [`PacketObservation`]s from the kernel. Leaves: what each
//! source did over several time windows, in a bounded table. Pure: it must never read a clock or a socket.

mod observation;

pub use observation::{ConnectionObservation, Observation, PacketObservation, RequestObservation};
