//! Waiting for fetches, with something to see on a terminal meanwhile.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    cli::{daemon::Daemon, error::CliError, output::clean, time},
    intel::{FeedList, FeedStatus, Phase},
};

const LOOK: Duration = Duration::from_millis(150);

/// Waits until each feed has been tried more often than the number beside it says; returns how they are then. A feed
/// that is taken off meanwhile is left out.
pub(super) fn follow(daemon: &Daemon, meant: &[(String, u64)]) -> Result<Vec<FeedStatus>, CliError> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    loop {
        let list: FeedList = daemon.get("/v1/blocklists")?;
        let is_meant = |feed: &&FeedStatus| meant.iter().any(|(name, _)| *name == feed.spec.name);
        let is_done =
            |feed: &FeedStatus| meant.iter().any(|(name, before)| *name == feed.spec.name && feed.attempts > *before);
        let feeds: Vec<&FeedStatus> = list.feeds.iter().filter(is_meant).collect();
        if feeds.iter().all(|feed| is_done(feed)) {
            bar.finish_and_clear();
            return Ok(feeds.into_iter().cloned().collect());
        }
        let done = feeds.iter().filter(|feed| is_done(feed)).count();
        let now = feeds.iter().find(|feed| feed.phase != Phase::Waiting);
        let what = now.map_or("waiting for its turn".to_owned(), |feed| {
            format!("{} {} ({})", feed.phase.as_str(), feed.spec.name, time::bytes(feed.fetched_bytes))
        });
        bar.set_message(clean(&format!("{done}/{} {what}", feeds.len())));
        std::thread::sleep(LOOK);
    }
}
