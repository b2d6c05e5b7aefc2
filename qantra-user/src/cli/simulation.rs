//! `qantra simulation on|off|status`.

use clap::ValueEnum;
use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output},
};
use crate::api::Simulation;

/// Turn enforcement off and on again: decide, log and count, but stop nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra simulation on                     lift every ban; decisions go on being made
  qantra simulation off                    put them back
  qantra simulation status

It lasts until the daemon ends; `daemon.simulation` in the configuration is what it begins with.")]
pub(super) struct Args {
    /// What to do
    #[arg(value_enum)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    /// Enforce nothing
    On,
    /// Enforce
    Off,
    /// Say which
    Status,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let answer: Simulation = match args.verb {
        Verb::On => daemon.send(Method::PUT, "/v1/simulation", &Simulation { on: true })?,
        Verb::Off => daemon.send(Method::PUT, "/v1/simulation", &Simulation { on: false })?,
        Verb::Status => daemon.get("/v1/simulation")?,
    };
    match output.format {
        Format::Json => output.json(&answer),
        Format::Raw => output.text(if answer.on { "on" } else { "off" }),
        Format::Human if answer.on => output.text("simulation is on: decisions are made and nothing is enforced"),
        Format::Human => output.text("simulation is off: decisions are enforced"),
    }
}
