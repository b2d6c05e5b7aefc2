//! Enters: the eBPF object that ships, and kernels. Leaves: what the real loader and programs do on each of them, with and
//! without BTF in sight: a table, or one JSON object. Guests are whole machines in QEMU, emulated: their time says
//! nothing, so it must never print how fast a packet was there.
//!
//! It is no part of every CI run: the check program has to be built for arm64 too, with all that the daemon depends on.

mod console;
mod guest;
mod initramfs;
mod program;
mod report;
mod rows;

use std::{process::Command, time::Duration};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

pub use guest::{GUESTS, Guest};

use crate::{ebpf, process, progress::Step, setup, setup::Need, workspace::Arch};
use console::{Ended, Limits, follow};
use program::Program;
use report::Report;
use rows::{Row, Rows};

/// The host's own kernel, without QEMU.
const HOST: &str = "host";

/// Emulated on a busy machine, one load of the programs can take half a minute; a guest that says nothing for longer hangs.
const LIMITS: Limits = Limits { silence: Duration::from_secs(180), total: Duration::from_secs(2_400) };

/// Options of `test kernels`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Which kernels; none: all.
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    pub names: Vec<String>,
}

fn names() -> impl Iterator<Item = &'static str> {
    GUESTS.iter().map(|guest| guest.name).chain([HOST])
}

/// `cargo xtask test kernels`.
///
/// # Errors
/// When a check fails, a guest hangs, or what they need cannot be had.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|given| given == name);
    let guests: Vec<&Guest> = GUESTS.iter().filter(|guest| wanted(guest.name)).collect();
    let on_host = wanted(HOST);
    if on_host && !process::is_root() {
        bail!(
            "the host's own kernel loads programs for root alone: name the others ({})",
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let mut needs = vec![Need::Build, Need::Kernels];
    if guests.iter().any(|guest| guest.arch != Arch::host()) {
        needs.push(Need::Cross);
    }
    setup::ensure(&needs)?;
    let object = ebpf::build_object(false)?;
    let mut report = Report::default();
    // One guest after the other: an emulated machine with two processors has no use for less.
    for guest in guests {
        let program = Program::build(guest.arch)?;
        let image = initramfs::write(guest, &program, &object)?;
        // With BTF and without.
        report.add(check(guest.name, guest.command(&image)?, 2)?);
    }
    if on_host {
        let program = Program::build(Arch::host())?;
        for hide_btf in [false, true] {
            let mut command = Command::new(&program.file);
            command.args(hide_btf.then_some("--hide-btf")).arg(&object);
            report.add(check(HOST, command, 1)?);
        }
    }
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    match report.failures() {
        0 => Ok(()),
        failures => bail!("{failures} of the checks on other kernels failed"),
    }
}

/// Runs one kernel to its end and reads what it says of so many runs.
fn check(name: &'static str, mut command: Command, runs: usize) -> Result<Vec<Row>> {
    let step = Step::begin(format!("checks on {name}"));
    let mut rows = Rows::new(name);
    let outcome = follow(&mut command, LIMITS, |line, at| {
        if let Some(check) = rows.read(line, at) {
            step.note(check);
        }
    })?;
    let rows = rows.finish(runs, || {
        let how = match &outcome.ended {
            Ended::Silent(time) => format!("killed, as it said nothing for {} s", time.as_secs()),
            Ended::Late(time) => format!("killed, as it was not done after {} s", time.as_secs()),
            Ended::Exited(status) => format!("ended too early ({status})"),
        };
        format!("{how}; its last lines:\n{}", outcome.tail())
    });
    if rows.iter().all(Row::is_ok) {
        step.done();
    } else {
        step.failed();
        // At once: the next kernel may take minutes.
        eprint!("{}", report::failures(&rows));
    }
    Ok(rows)
}
