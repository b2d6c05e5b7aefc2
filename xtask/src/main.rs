//! Enters: a task's name and options (`cargo xtask TASK`). Leaves: the task done, or one error that says what failed
//! and what to do. It must never do more than parse, call and set the exit code.

#![expect(clippy::print_stderr, reason = "the error of a task goes to the person who started it")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, build, ci, data, demo, dist, eval, fuzz, lab, model, setup, test, tidy};

/// Qantra's tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing on this machine; a second call does nothing.
    Setup(setup::Args),
    /// Build the daemon and the eBPF object.
    Build(build::Args),
    /// Namespaces to play in: up, down, or a shell inside.
    Lab(lab::Args),
    /// The main job on real traffic: attacks and honest clients, and a table of what happened.
    Demo(demo::Args),
    /// Every test: plain ones, and those that need root and namespaces.
    Test(test::Args),
    /// Measure something, beside its peers.
    Bench(bench::Args),
    /// Detection quality on labelled corpora.
    Eval(eval::Args),
    /// Random bytes for the readers of the rule engine and of models, bounded in time and memory.
    Fuzz(fuzz::Args),
    /// Record requests of real applications and attack tools, to train and to test with.
    Data(data::Args),
    /// Train the shipped models.
    Model(model::Args),
    /// Check the invariants of ARCHITECTURE.md.
    Tidy(tidy::Args),
    /// Debian packages for amd64 and arm64.
    Dist(dist::Args),
    /// Everything that must hold before a change lands.
    Ci(ci::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(args) => setup::run(&args),
        Task::Build(args) => build::run(&args),
        Task::Lab(args) => lab::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Eval(args) => eval::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Data(args) => data::run(&args),
        Task::Model(args) => model::run(&args),
        Task::Tidy(args) => tidy::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Ci(args) => ci::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
