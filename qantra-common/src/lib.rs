//! What Qantra's kernel and user halves agree on.
//!
//! Enters: bytes of a frame, by way of [`Load`]. Leaves: a [`Packet`](packet::Packet) or the [`DropReason`] that
//! refuses it, and the layout of every map and event. It must never allocate, read a clock or panic: the same code
//! runs in the kernel, in unit tests and under the fuzzer.

#![cfg_attr(not(test), no_std)]

pub mod cookie;
pub mod event;
pub mod feed;
pub mod filter;
pub mod limit;
pub mod map;
pub mod packet;
mod reason;
pub mod source;
mod wire;

pub use packet::{Load, parse};
pub use reason::{DropReason, Verdict};

/// The version of every layout in this crate. Maps are pinned below `v<ABI_VERSION>/`; raise it whenever the meaning
/// or the layout of a map or an event changes.
pub const ABI_VERSION: u32 = 3;

/// The section of the object that says its [`ABI_VERSION`], as four bytes, little end first. No program refers to it, so
/// no map is made of it, and the loader can read it before the kernel sees anything.
pub const ABI_SECTION: &str = "qantra_abi";
