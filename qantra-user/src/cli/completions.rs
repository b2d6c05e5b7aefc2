//! `qantra completions SHELL`.

use clap_complete::Shell;

use super::{error::CliError, output::Output};

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra completions bash > /usr/share/bash-completion/completions/qantra
  qantra completions fish > ~/.config/fish/completions/qantra.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command, output: &Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "qantra", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}
