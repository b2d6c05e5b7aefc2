//! Enters: a task's options. Leaves: the task done. One file a task; [`process`], [`progress`] and [`workspace`] are
//! what they share. It must never hold anything that the daemon needs at run time.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to the person who started them")]

pub mod bench;
pub mod build;
pub mod ci;
pub mod crs;
pub mod data;
pub mod demo;
pub mod dist;
pub mod ebpf;
pub mod eval;
pub mod fuzz;
pub mod kernels;
pub mod lab;
pub mod model;
pub mod process;
pub mod progress;
pub mod setup;
pub mod test;
pub mod tidy;
pub mod workspace;
