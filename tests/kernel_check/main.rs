//! Enters: the eBPF object that ships, on some kernel (`kernel-check [--hide-btf] OBJECT`). Leaves: one JSON line about the
//! machine and one for each check: what the real loader and the real programs do there, on a veth pair in namespaces of
//! their own. Exit code 1 when a check fails. `cargo xtask test kernels` runs it, in guests and on the host. It must
//! never start another program: a guest has hardly any.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the lines are its result")]

mod cable;
mod checks;
mod isolation;
mod lists;
mod logbook;
mod report;
mod wire;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use qantra_user::{
    config::{Hook, KernelConfig},
    xdp::Rung,
};

use crate::{checks::Checks, logbook::Logbook, report::Report};

/// The kernel that brought TCX; before it the rung must refuse in words.
const TCX_SINCE: (u32, u32) = (6, 6);

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let given = arguments.len();
    arguments.retain(|argument| argument != "--hide-btf");
    let [object] = &arguments[..] else {
        eprintln!("usage: kernel-check [--hide-btf] OBJECT");
        return ExitCode::from(2);
    };
    if let Err(error) = isolation::begin(arguments.len() < given) {
        eprintln!("kernel-check: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut report = Report::begin(Logbook::begin());
    let has_tcx = report.machine().version() >= TCX_SINCE;
    // The sizes are those that ship: a map that an old kernel cannot make must show here.
    let config = KernelConfig { object: PathBuf::from(object), drop_sample: 1, ..KernelConfig::default() };
    // A veth has native XDP in several buffers on every kernel that is tried.
    for (name, hook, rung, is_there) in [
        ("native", Hook::Auto, Rung::NativeFrags, true),
        ("tcx", Hook::Tcx, Rung::Tcx, has_tcx),
        ("clsact", Hook::Clsact, Rung::Clsact, true),
        ("generic", Hook::Generic, Rung::Generic, true),
    ] {
        let mut checks = Checks { name, hook, rung, config: &config, report: &mut report };
        if is_there {
            checks.run();
        } else {
            checks.run_refused();
        }
    }
    // Most of a Pi's network cards have no native XDP, as loopback.
    let rung = if has_tcx { Rung::Tcx } else { Rung::Clsact };
    Checks { name: "ladder", hook: Hook::Auto, rung, config: &config, report: &mut report }.run_without_native();
    if report.end() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
