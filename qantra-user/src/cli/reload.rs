//! `qantra reload`: put a changed configuration into effect.

use http::Method;

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
};
use crate::api::Reloaded;

/// Put the changed configuration into effect; a bad one is refused and the old one stays
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra config check && qantra reload")]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let reloaded: Reloaded = daemon.send(Method::POST, "/v1/reload", &serde_json::json!({}))?;
    if output.format == Format::Json {
        return output.json(&reloaded);
    }
    let restart: Vec<String> =
        reloaded.needs_restart.iter().map(|what| format!("needs a restart to take effect: {what}")).collect();
    warn(&restart);
    output.text("the configuration was reloaded")
}
