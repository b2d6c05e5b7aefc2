//! Enters: [`Decision`](crate::decide::Decision)s. Leaves: kernel bans by way of [`KernelPlane`], and the table that
//! the proxy looks each client up in. It must never decide anything by itself, nor block a request on IO.

mod kernel;

pub use kernel::{BanHits, KernelBan, KernelPlane, PlaneError};
