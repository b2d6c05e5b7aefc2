//! Enters: what a person typed. Leaves: what they asked for on standard output, one line of trouble on standard error,
//! and an exit code: 0 done, 1 failed, 2 bad usage or configuration, 3 daemon not reachable. One file a verb; a new
//! verb is a file with `Args` and `run`, and one line in `Verb` and `dispatch`. It must never touch a stage: all but
//! `run` and the offline verbs ask the daemon over its socket.

mod allowlists;
mod blocklists;
mod capture;
mod completions;
mod config;
mod corpus;
mod daemon;
mod dataset;
mod decisions;
mod detach;
mod error;
mod eval;
mod exchange;
mod explain;
mod label;
mod man;
mod model;
mod output;
mod reload;
mod replay;
mod rules;
mod run;
mod simulation;
mod status;
mod thresholds;
mod time;
mod top;
mod train;

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::{CommandFactory, Parser, Subcommand};

use daemon::Daemon;
use error::CliError;
use output::{Format, Output};

use crate::model::NO_TELEMETRY;

/// Where the configuration is when nobody says otherwise.
const CONFIG_PATH: &str = "/etc/qantra/qantra.toml";

/// Network-edge sensor and proxy: finds attacks in packets and requests, and drops their sources in the kernel.
#[derive(Debug, Parser)]
#[command(name = "qantra", version, max_term_width = 100)]
#[command(after_help = "Examples:
  qantra config check                      is the configuration fine?
  qantra run                               be the daemon, in the foreground
  qantra status                            how is it doing?
  qantra top                               what happens right now?
  qantra decisions list                    who is banned?
  qantra explain 7q2n4c8h1v9ka             why?
  qantra decisions delete --ip 203.0.113.7
  qantra allowlists add 198.51.100.0/24 --comment office
  qantra rules why \"/search?q=1' or 1=1--\"
  qantra blocklists add https://www.spamhaus.org/drop/drop_v4.json --name drop

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 daemon not reachable")]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(short, long, global = true, env = "QANTRA_CONFIG", value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,

    /// The daemon's control socket [default: the configuration's]
    #[arg(long, global = true, env = "QANTRA_CONTROL_SOCKET", value_name = "SOCKET")]
    socket: Option<PathBuf>,

    /// How listings are printed
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Status(status::Args),
    Top(top::Args),
    Capture(capture::Args),
    #[command(visible_alias = "decision")]
    Decisions(decisions::Args),
    #[command(visible_alias = "allowlist")]
    Allowlists(allowlists::Args),
    #[command(visible_alias = "blocklist")]
    Blocklists(blocklists::Args),
    Explain(explain::Args),
    Eval(eval::Args),
    #[command(visible_alias = "models")]
    Model(model::Args),
    Train(train::Args),
    Dataset(dataset::Args),
    #[command(visible_alias = "rule")]
    Rules(rules::Args),
    Simulation(simulation::Args),
    Config(config::Args),
    Reload(reload::Args),
    Detach(detach::Args),
    Replay(replay::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the arguments, does what they say, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Err(error) = in_environment_of_onnx(&cli.verb) {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "error: cannot begin again without ONNX Runtime's telemetry: {error}");
        return ExitCode::FAILURE;
    }
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Has the program begin again with the environment that ONNX Runtime shall have, where a verb loads it: its reports to its maker
/// off, and one arena to allocate from, so that models that are loaded again and again do not spread over many. A process with
/// threads to come cannot change its own environment safely.
fn in_environment_of_onnx(verb: &Verb) -> std::io::Result<()> {
    let loads_it = match verb {
        Verb::Run(_) | Verb::Eval(_) | Verb::Train(_) => true,
        Verb::Replay(args) => args.loads_runtime(),
        Verb::Model(args) => args.loads_runtime(),
        _ => false,
    };
    if !loads_it || std::env::var_os(NO_TELEMETRY).is_some_and(|value| value == "1") {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "qantra".into());
    let mut again = Command::new(std::env::current_exe()?);
    again.envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "65536")]);
    Err(again.arg0(name).args(arguments).env(NO_TELEMETRY, "1").exec())
}

/// Help and version go to standard output; a mistake is one line on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // A reader that closed the pipe has seen enough.
        let _ = error.print();
        return ExitCode::from(code);
    }
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{}", one_line(&error.render().to_string()));
    ExitCode::from(code)
}

/// clap's message without its line breaks.
fn one_line(rendered: &str) -> String {
    let lines =
        rendered.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let joined = lines.fold(String::new(), |mut text, line| {
        match text.chars().next_back() {
            None => {}
            Some(':') => text.push(' '),
            Some(_) => text.push_str("; "),
        }
        text + &line.replacen("Usage: ", "usage: ", 1)
    });
    output::clean(&joined)
}

fn dispatch(cli: &Cli) -> Result<(), CliError> {
    let output = Output::new(cli.output);
    let daemon = || Daemon::find(cli);
    match &cli.verb {
        Verb::Run(args) => run::run(args, &cli.config),
        Verb::Status(args) => status::run(args, &daemon()?, &output),
        Verb::Top(args) => top::run(args, &daemon()?, &output),
        Verb::Capture(args) => capture::run(args, &daemon()?, &output),
        Verb::Decisions(args) => decisions::run(args, &daemon()?, &output),
        Verb::Allowlists(args) => allowlists::run(args, &daemon()?, &output),
        Verb::Blocklists(args) => blocklists::run(args, &daemon()?, &output),
        Verb::Explain(args) => explain::run(args, &daemon()?, &output),
        Verb::Eval(args) => eval::run(args, &cli.config, &output),
        Verb::Model(args) => model::run(args, &daemon, &cli.config, &output),
        Verb::Train(args) => train::run(args, &daemon, &cli.config, &output),
        Verb::Dataset(args) => dataset::run(args, &daemon, &output),
        Verb::Rules(args) => rules::run(args, cli, &output),
        Verb::Simulation(args) => simulation::run(args, &daemon()?, &output),
        Verb::Config(args) => config::run(args, &cli.config, &output),
        Verb::Reload(args) => reload::run(args, &daemon()?, &output),
        Verb::Detach(args) => detach::run(args, &cli.config, &daemon()?, &output),
        Verb::Replay(args) => replay::run(args, &cli.config, &output),
        Verb::Completions(args) => completions::run(args, &mut Cli::command(), &output),
        Verb::Man(args) => man::run(args, Cli::command(), &output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
