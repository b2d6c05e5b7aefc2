//! Enters: block lists that others keep, from files and web servers. Leaves: one set of addresses for each direction, for
//! the kernel half and the proxy, and what each list stopped. It must never ban what is protected, nor let a list that
//! is gone, broken or suddenly short take the last good one's place.

pub mod list; // [pure]
