//! Enters: the checkout. Leaves: whether it may land: format, lints, invariants, licences, documentation, tests. Every
//! step has a time budget and says what it took. It must never pass with a step left out that
//! nobody asked to leave out.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context as _, Result};

use crate::{ebpf, process, setup, setup::Need, test, tidy};

/// Options of `ci`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Everything but the tests.
    #[arg(long)]
    without_tests: bool,
    /// Only the steps whose name begins so.
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// A step: its name, its budget in minutes on two cores and a fresh machine, and what it does.
type Step = (&'static str, f64, fn() -> Result<()>);

/// The step that can be left to a command of its own.
const TESTS: &str = "tests";

/// The quickest to fail come first. Tests are last, so that their summary is what is seen.
const STEPS: [Step; 8] = [
    ("format", 0.5, format),
    ("setup", 6.0, setup_all),
    ("tidy", 0.5, || tidy::run(&tidy::Args {})),
    ("licences and sources", 0.5, licences),
    ("clippy", 6.0, clippy),
    ("clippy of the kernel half", 2.0, clippy_ebpf),
    ("documentation", 3.0, documentation),
    (TESTS, 20.0, || test::run(&test::Args::default())),
];

/// `cargo xtask ci`.
///
/// # Errors
/// At the first step that fails.
pub fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let mut times = String::new();
    for (name, budget_min, step) in STEPS {
        let wanted = args.only.as_deref().is_none_or(|only| name.starts_with(only));
        if !wanted || (name == TESTS && args.without_tests) {
            continue;
        }
        eprintln!("\n── {name} ──");
        if name == TESTS {
            eprint!("{times}");
        }
        let at = Instant::now();
        step().with_context(|| name.to_owned())?;
        let minutes = at.elapsed().as_secs_f64() / 60.0;
        let over = if minutes > budget_min { ": over its budget" } else { "" };
        writeln!(times, "  {name:<28} {minutes:5.1} of {budget_min:4.1} min{over}")?;
    }
    if args.without_tests {
        eprint!("\n{times}");
    }
    let all = if args.only.is_some() { "these" } else { "all" };
    eprintln!("ci: {all} steps passed in {:.1} min", begun.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn setup_all() -> Result<()> {
    setup::ensure(&[Need::Build, Need::Run, Need::Deny]).map(|_| ())
}

fn licences() -> Result<()> {
    let deny = setup::cargo_deny().context("there is no cargo-deny; `cargo xtask setup deny` installs it")?;
    let mut command = std::process::Command::new(deny);
    command.current_dir(crate::workspace::root());
    process::run(command.args(["--log-level", "warn", "check", "licenses", "bans", "sources"]))
}

fn clippy() -> Result<()> {
    let mut clippy = process::cargo();
    clippy.args(["clippy", "--workspace", "--exclude", "qantra-ebpf", "--all-targets", "--all-features", "--quiet"]);
    process::run(clippy.args(["--", "--deny", "warnings"]))
}

fn clippy_ebpf() -> Result<()> {
    if !ebpf::clippy()? {
        eprintln!("the toolchain that builds for the kernel has no clippy: rustc's own warnings come with the build");
    }
    Ok(())
}

fn documentation() -> Result<()> {
    let mut doc = process::cargo();
    doc.args(["doc", "--workspace", "--exclude", "qantra-ebpf", "--no-deps", "--document-private-items", "--quiet"]);
    process::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}
