//! Ctrl-C. Enters: SIGINT, SIGTERM, SIGHUP. Leaves: a flag that long work asks, so that it ends by the ordinary way and
//! everything that was started is stopped and removed on it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on signals to end only set the flag.
///
/// # Errors
/// The kernel refuses the handlers.
pub(crate) fn catch() -> Result<()> {
    let flag = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Fails when we were asked to end.
///
/// # Errors
/// We were.
pub(crate) fn check() -> Result<()> {
    if ASKED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted; the lab is being removed");
    }
    Ok(())
}
