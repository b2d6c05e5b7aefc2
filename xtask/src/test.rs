//! Enters: the checkout. Leaves: every test run: plain ones, and those that need root, bpf(2) and network namespaces.
//! It must never call a run good that left tests out without being told to.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    crs, ebpf, fuzz, kernels, process, setup,
    setup::Need,
    workspace::{self, Arch},
};

/// Options of `test`.
#[derive(Debug, Default, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    suite: Option<Suite>,
    /// Only tests that need neither root nor namespaces.
    #[arg(long)]
    pub plain: bool,
    /// Everything, and then every reader fuzzed for some seconds, and the object on other kernels too.
    #[arg(long, conflicts_with_all = ["plain", "filter"])]
    pub full: bool,
    /// Only tests whose name has this in it.
    pub filter: Option<String>,
}

/// Tests that are no part of the others.
#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// The object on other kernels: arm64 with small and large pages, x86-64, and this machine's own.
    Kernels(kernels::Args),
    /// The OWASP Core Rule Set's own regression cases, against qantra-seclang.
    Crs(crs::Args),
}

/// Packages whose tests need nothing but a compiler, or all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Plain,
    Everything,
}

/// `cargo xtask test`.
///
/// # Errors
/// When a test fails, or what the tests need cannot be had.
pub fn run(args: &Args) -> Result<()> {
    match &args.suite {
        Some(Suite::Kernels(args)) => return kernels::run(args),
        Some(Suite::Crs(args)) => return crs::run(args),
        None => {}
    }
    if args.plain {
        setup::ensure(&[Need::Build])?;
        return tests(Scope::Plain, args.filter.as_deref());
    }
    if !process::is_root() {
        bail!(
            "tests of the kernel half make network namespaces and load programs, so they need root: run \
             `sudo env PATH=\"$PATH\" cargo xtask test`, or `cargo xtask test --plain` for the others"
        );
    }
    setup::ensure(&[Need::Build, Need::Run, Need::Lab])?;
    let object = ebpf::build_object(false)?;
    process::run(process::cargo().args(["build", "--package", "qantra-user"]))?;
    // Later tests find what was built here; see tests/support.
    let places =
        Places { object, daemon: workspace::daemon(false, None), onnxruntime: workspace::onnxruntime(Arch::host()) };
    tests_with(Scope::Everything, args.filter.as_deref(), Some(&places))?;
    if !args.full {
        return Ok(());
    }
    fuzz::smoke()?;
    kernels::run(&kernels::Args::default())
}

/// Where tests find what is no part of their own binary.
struct Places {
    object: PathBuf,
    daemon: PathBuf,
    onnxruntime: PathBuf,
}

fn tests(scope: Scope, filter: Option<&str>) -> Result<()> {
    tests_with(scope, filter, None)
}

fn tests_with(scope: Scope, filter: Option<&str>, places: Option<&Places>) -> Result<()> {
    if process::succeeds(process::cargo().args(["nextest", "--version"])) {
        // nextest leaves out examples in documentation; it goes last, so that its summary is what is seen.
        if filter.is_none() {
            process::run(in_places(
                process::cargo().args(["test", "--quiet", "--doc"]).args(selection(scope)),
                places,
            ))?;
        }
        let mut nextest = process::cargo();
        nextest.args(["nextest", "run"]).args(selection(scope)).args(filter);
        return process::run(in_places(&mut nextest, places));
    }
    // One test at a time where they share the machine; the others use every core.
    let mut plain = process::cargo();
    plain.args(["test", "--no-fail-fast"]).args(selection(scope));
    if scope == Scope::Everything {
        plain.args(["--exclude", "qantra-tests"]);
    }
    process::run(in_places(plain.args(filter), places))?;
    if scope == Scope::Everything {
        let mut machine = process::cargo();
        machine.args(["test", "--no-fail-fast", "--package", "qantra-tests", "--features", "privileged"]);
        process::run(in_places(machine.args(filter).args(["--", "--test-threads=1"]), places))?;
    }
    Ok(())
}

/// The packages and features of a scope. qantra-ebpf is built for the kernel, and has no tests of its own.
fn selection(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Plain => &["--workspace", "--exclude", "qantra-ebpf"],
        Scope::Everything => &["--workspace", "--exclude", "qantra-ebpf", "--features", "qantra-tests/privileged"],
    }
}

fn in_places<'a>(command: &'a mut Command, places: Option<&Places>) -> &'a mut Command {
    if let Some(places) = places {
        command
            .env("QANTRA_BPF_OBJECT", &places.object)
            .env("QANTRA_DAEMON", &places.daemon)
            .env("QANTRA_ONNXRUNTIME", &places.onnxruntime);
    }
    command
}
