//! Enters: the name of a bench. Leaves: its rows and ratios, as a table or as one JSON object whose keys stay the same
//! over time. Benches measure peers in the same run, interleaved: ratios count, since machines are shared and noisy.
//! It must never print a number that was not measured in this run.

pub(crate) mod inspect;
mod model;
mod proxy;
mod report;
mod xdp;

use anyhow::Result;
use clap::ValueEnum;

pub use report::{Report, Row};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure.
    #[arg(value_enum)]
    name: Name,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Requests per second and latency: bare nginx, bare Pingora, Qantra.
    Proxy,
    /// Time per request of the rules (OWASP CRS): qantra-seclang, libmodsecurity 3, zentinel-modsec.
    Inspect,
    /// Time per request of features and models.
    Model,
    /// Time per packet, floods and large block lists: the kernel half beside xdp-filter and nftables. Needs root.
    Xdp,
}

/// `cargo xtask bench NAME`.
///
/// # Errors
/// When a peer is missing or a measurement fails.
pub fn run(args: &Args) -> Result<()> {
    let report = match args.name {
        Name::Proxy => proxy::run()?,
        Name::Inspect => inspect::run()?,
        Name::Model => model::run()?,
        Name::Xdp => xdp::run()?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
