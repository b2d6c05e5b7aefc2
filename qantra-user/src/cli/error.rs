//! What can go wrong on the command line, and the exit code of each.

use crate::{api::ClientError, app::AppError, config::ConfigErrors, rules::RulesError};

/// One line for people; see [`CliError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The configuration is bad: one line for each problem.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The configuration is bad, and that was said already.
    #[error("the configuration is bad")]
    ConfigSaid,
    /// The rules are bad: file, line and reason.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The rules are bad, and that was said already.
    #[error("the rules are bad")]
    RulesSaid,
    /// The arguments make no sense together.
    #[error("error: {0}")]
    Usage(String),
    /// The daemon did not do it.
    #[error("error: {0}")]
    Client(#[from] ClientError),
    /// The daemon did not start or go on; its errors say all in one line.
    #[error("error: {0}")]
    App(#[from] AppError),
    /// Something else failed.
    #[error("error: {0:#}")]
    Failed(#[from] anyhow::Error),
    /// Standard output is gone.
    #[error("error: standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// 1 failed, 2 bad usage or configuration, 3 daemon not reachable.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::ConfigSaid | Self::Rules(_) | Self::RulesSaid | Self::Usage(_) => 2,
            Self::Client(ClientError::Unreachable { .. }) => 3,
            Self::Client(ClientError::Refused { status, .. }) if *status == http::StatusCode::BAD_REQUEST => 2,
            Self::Client(_) | Self::App(_) | Self::Failed(_) | Self::Output(_) => 1,
        }
    }
}
