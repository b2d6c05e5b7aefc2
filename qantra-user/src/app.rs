//! Enters: a checked configuration. Leaves: a running daemon. The only place that joins stages; it must hold no logic of
//! its own.

use std::path::Path;

use crate::config::Config;

/// The daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The stages are not joined in this build.
    #[error("this build does not join the stages")]
    NotJoined,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// Something it needs is missing or taken; nothing is left half-started.
pub fn run(_config: Config, _path: &Path, _bpf_log: bool) -> Result<(), AppError> {
    Err(AppError::NotJoined)
}
