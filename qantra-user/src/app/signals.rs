//! Enters: signals, and how far start has come. Leaves: reloads, the word to stop, and notes to systemd.

use std::{io, sync::Arc};

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::control::Daemon;
use crate::api::Control as _;

/// Returns at SIGTERM or SIGINT; reloads at each SIGHUP.
pub(super) async fn until_told_to_stop(daemon: &Arc<Daemon>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(Arc::clone(daemon)),
        }
    }
}

/// On a thread that may block: files are read and names resolved.
fn reload(daemon: Arc<Daemon>) {
    tokio::task::spawn_blocking(move || match daemon.reload() {
        Ok(done) => tracing::info!(needs_restart = ?done.needs_restart, "configuration reloaded"),
        Err(error) => tracing::error!(%error, "reload failed"),
    });
}

/// Tells systemd that requests are served.
pub(super) fn notify_ready() {
    notify(NotifyState::Ready);
}

/// Tells systemd that running requests are being finished.
pub(super) fn notify_stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
